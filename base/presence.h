// Presence: what a match says of one block.
#pragma once

#include <cstdint>

namespace terrace {

/// Part of the wire protocol: append only.
enum class Presence : std::uint8_t {
  kMiss = 0,     ///< Not stored.
  kReady = 1,    ///< Stored: a get finds it.
  kPending = 2,  ///< Somebody is putting it now.
  kRetry = 3,    ///< Not to be had for the moment: its device is offline, or its reactor did not
                 ///< answer.
};
inline constexpr int kPresenceCount = 4;

}  // namespace terrace
