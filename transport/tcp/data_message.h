// Data messages: what goes over the data connection of a TCP link, after the OpenData message that
// says whose it is.
//
// The fixed header below, little-endian, then `length` bytes. Both sides check every field before
// use. Token and incarnation stand in every header: a stream that does not repeat them is out of
// step, and is ended.
//
//   kOpened   daemon -> client: the first message; the data plane works in both directions.
//   kBlock    daemon -> client (get) and client -> daemon (put): `length` bytes of a block from
//             `offset` on. Offsets of one block come in ascending order without gaps; each message
//             but the last carries kDataPayloadMax bytes.
//   kPull     daemon -> client: send block `block` of Offer `request_id`, `block_bytes` long.
//   kRefuse   client -> daemon: that block is not offered (any more).
//   kControl  daemon -> client: a wire::Message, in its order with the blocks before it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/checksum.h"
#include "transport/codec.h"

namespace terrace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

/// Most payload of one kBlock message, bytes: one checksum piece, so that a block's messages and
/// its checksums are the same pieces, and a received one is hashed while it is in the L2 cache.
inline constexpr std::size_t kDataPayloadMax = kChecksumPieceBytes;

enum class DataKind : std::uint32_t {
  kBlock = 1,
  kPull = 2,
  kRefuse = 3,
  kOpened = 4,
  kControl = 5,
};

struct DataHeader {
  std::uint64_t token = 0;        ///< HelloReply.data_token
  std::uint64_t incarnation = 0;  ///< the client's
  std::uint64_t request_id = 0;
  std::uint64_t offset = 0;       ///< of the payload in the block, bytes
  std::uint64_t block_bytes = 0;  ///< length of the whole block
  std::uint32_t block = 0;        ///< index within the request
  std::uint32_t length = 0;       ///< of the payload, bytes
  DataKind kind = DataKind::kBlock;
  std::uint32_t reserved = 0;  ///< 0
  std::uint64_t checksum = 0;  ///< Checksum64 of the payload; 0 without one
};
// The layout is the wire: docs/protocol.md draws it.
static_assert(sizeof(DataHeader) == 64);
static_assert(offsetof(DataHeader, offset) == 24);
static_assert(offsetof(DataHeader, block_bytes) == 32);
static_assert(offsetof(DataHeader, block) == 40);
static_assert(offsetof(DataHeader, kind) == 48);
static_assert(offsetof(DataHeader, checksum) == 56);

/// The header as bytes to send.
inline std::span<const std::byte> DataHeaderBytes(const DataHeader& header) noexcept {
  return std::as_bytes(std::span(&header, 1));
}

/// Copies and checks what came: whether the fields agree with each other and with the limits.
/// False: this is no header, and what follows it is nothing either.
inline bool ReadDataHeader(std::span<const std::byte> bytes, DataHeader& header) noexcept {
  if (bytes.size() != sizeof(DataHeader)) return false;
  std::memcpy(&header, bytes.data(), sizeof(DataHeader));
  if (header.reserved != 0) return false;
  switch (header.kind) {
    case DataKind::kPull:
    case DataKind::kRefuse:
    case DataKind::kOpened: return header.length == 0;
    case DataKind::kControl: return header.length > 0 && header.length <= kControlBytesMax;
    case DataKind::kBlock: break;
    default: return false;
  }
  if (header.offset % kDataPayloadMax != 0 || header.offset >= header.block_bytes) return false;
  const std::uint64_t left = header.block_bytes - header.offset;
  return header.length == (left < kDataPayloadMax ? left : kDataPayloadMax);
}

}  // namespace terrace
