// HandoffToken's bytes: which hand-off of which run of a daemon a token names (client/types.hpp,
// docs/protocol.md). Little-endian on the wire, as everything there.
//
// Who holds a token may send to the hand-off and receive from it, so it must not be guessable: the
// number is 128 random bits, made by the producer. Plain data, any thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace terrace {

inline constexpr std::size_t kHandoffTokenBytes = 32;
inline constexpr std::uint16_t kHandoffTokenVersion = 1;

/// Names a hand-off. None has the number 0.
struct HandoffNumber {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  [[nodiscard]] explicit operator bool() const noexcept { return (high | low) != 0; }
  friend auto operator<=>(const HandoffNumber&, const HandoffNumber&) = default;
};

struct HandoffTokenParts {
  std::uint64_t incarnation = 0;  ///< HelloReply.daemon_incarnation
  std::uint16_t version = kHandoffTokenVersion;
  std::uint16_t reserved[3] = {};  ///< 0
  HandoffNumber number;
};
static_assert(sizeof(HandoffTokenParts) == kHandoffTokenBytes);
static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

using HandoffTokenBytes = std::array<std::byte, kHandoffTokenBytes>;

inline HandoffTokenBytes PackHandoffToken(const HandoffTokenParts& parts) noexcept {
  return std::bit_cast<HandoffTokenBytes>(parts);
}
inline HandoffTokenParts UnpackHandoffToken(const HandoffTokenBytes& bytes) noexcept {
  return std::bit_cast<HandoffTokenParts>(bytes);
}

}  // namespace terrace

template <>
struct std::hash<terrace::HandoffNumber> {
  std::size_t operator()(const terrace::HandoffNumber& number) const noexcept {
    return number.low;  // random bits
  }
};
