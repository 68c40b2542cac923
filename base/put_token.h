// PutToken's bytes: which reservation of which reactor of which run of a daemon a token names
// (client/types.hpp, docs/protocol.md). Little-endian on the wire, as everything there.
//
// Who holds a token may write the block, so it must not be guessable: the nonce is 128 random bits.
// Plain data, any thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace terrace {

inline constexpr std::size_t kPutTokenBytes = 32;
inline constexpr std::uint16_t kPutTokenVersion = 1;

struct PutTokenParts {
  std::uint64_t incarnation = 0;  ///< HelloReply.daemon_incarnation
  std::uint16_t version = kPutTokenVersion;
  std::uint16_t reactor = 0;  ///< index of it in HelloReply.shards
  std::uint32_t slot = 0;     ///< of the reactor's reservations
  std::uint64_t nonce[2] = {};
};
static_assert(sizeof(PutTokenParts) == kPutTokenBytes);
static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

inline std::array<std::byte, kPutTokenBytes> PackPutToken(const PutTokenParts& parts) noexcept {
  return std::bit_cast<std::array<std::byte, kPutTokenBytes>>(parts);
}
inline PutTokenParts UnpackPutToken(const std::array<std::byte, kPutTokenBytes>& bytes) noexcept {
  return std::bit_cast<PutTokenParts>(bytes);
}

}  // namespace terrace
