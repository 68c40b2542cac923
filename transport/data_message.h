// Data messages: active messages with id kDataAmId on the data plane of a TCP link.
//
// The fixed header below, little-endian, then up to kDataPayloadMax bytes of one block. Both sides
// check every field before use; a message whose token or request nobody knows is dropped.
//
//   kBlock   daemon -> client (get) and client -> daemon (put): `length` bytes of a block from
//            `offset` on, with the XXH3-64 of each 256 KiB piece of them. Offsets of one block come
//            in ascending order without gaps; `offset` is a multiple of 256 KiB.
//   kPull    daemon -> client: send block `block` of Offer `request_id`, `block_bytes` long. No
//            payload.
//   kRefuse  client -> daemon: that block is not offered (any more). No payload.
//   kOpen    client -> daemon: the first message of a data connection; its token says whose it is.
//   kOpened  daemon -> client: the answer; the data plane works in both directions.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/checksum.h"

namespace terrace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

/// Active message ids. 0 and 3 are not used.
inline constexpr unsigned kControlAmId =
    1;  ///< header: the token; data: a wire::Message to the client
inline constexpr unsigned kDataAmId = 2;  ///< DataHeader and payload, both ways

/// Most payload of one data message, bytes: whole checksum pieces that fit one UCX segment.
inline constexpr std::size_t kDataPayloadMax = 512 << 10;
inline constexpr std::size_t kDataPiecesMax = kDataPayloadMax / kChecksumPieceBytes;
static_assert(kDataPayloadMax % kChecksumPieceBytes == 0);

enum class DataKind : std::uint32_t { kBlock = 1, kPull = 2, kRefuse = 3, kOpen = 4, kOpened = 5 };

struct DataHeader {
  std::uint64_t token = 0;        ///< HelloReply.data_token
  std::uint64_t incarnation = 0;  ///< the client's
  std::uint64_t request_id = 0;
  std::uint64_t offset = 0;       ///< of the payload in the block, bytes
  std::uint64_t block_bytes = 0;  ///< length of the whole block
  std::uint32_t block = 0;        ///< index within the request
  std::uint32_t length = 0;       ///< of the payload, bytes
  DataKind kind = DataKind::kBlock;
  std::uint32_t pieces = 0;  ///< checksums that follow: ChecksumPieceCount(length)
  std::array<std::uint64_t, kDataPiecesMax> checksums{};
};
// The layout is the wire: docs/protocol.md draws it.
static_assert(sizeof(DataHeader) == 56 + 8 * kDataPiecesMax);
static_assert(offsetof(DataHeader, offset) == 24);
static_assert(offsetof(DataHeader, block_bytes) == 32);
static_assert(offsetof(DataHeader, block) == 40);
static_assert(offsetof(DataHeader, kind) == 48);
static_assert(offsetof(DataHeader, pieces) == 52);
static_assert(offsetof(DataHeader, checksums) == 56);

/// The header as bytes to send.
inline std::span<const std::byte> DataHeaderBytes(const DataHeader& header) noexcept {
  return std::as_bytes(std::span(&header, 1));
}

/// Copies and checks what came: lengths agree with each other and with the limits. False: drop it.
inline bool ReadDataHeader(std::span<const std::byte> bytes, std::size_t payload,
                           DataHeader& header) noexcept {
  if (bytes.size() != sizeof(DataHeader)) return false;
  std::memcpy(&header, bytes.data(), sizeof(DataHeader));
  if (header.length != payload || payload > kDataPayloadMax) return false;
  switch (header.kind) {
    case DataKind::kPull:
    case DataKind::kRefuse:
    case DataKind::kOpen:
    case DataKind::kOpened: return payload == 0;
    case DataKind::kBlock: break;
    default: return false;
  }
  return payload > 0 && header.pieces == ChecksumPieceCount(payload) &&
         header.offset % kChecksumPieceBytes == 0 && header.offset <= header.block_bytes &&
         payload <= header.block_bytes - header.offset;
}

}  // namespace terrace
