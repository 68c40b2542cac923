// The versions of the wire protocol that this build speaks; docs/protocol.md has the rules.
#pragma once

#include <cstdint>

namespace terrace {

inline constexpr std::uint16_t kProtocolVersionMin = 1;
inline constexpr std::uint16_t kProtocolVersionMax = 1;

}  // namespace terrace
