// What an event says happened to a block. Part of the wire protocol and of the client library:
// numbers are only appended.
#pragma once

#include <cstdint>
#include <string_view>

namespace terrace {

enum class EventKind : std::uint8_t {
  kCommitted = 1,  ///< visible from now on; also every entry of a snapshot
  kMoved = 2,      ///< the set of tiers that have a copy is another
  kRemoved = 3,    ///< no tier has a copy any more
  kCleared = 4,    ///< all blocks of a namespace have gone
};
inline constexpr std::uint8_t kEventKindEnd = 5;  ///< above the last

/// Why a block was removed.
enum class EventCause : std::uint8_t {
  kNone = 0,       ///< nothing was removed
  kEvicted = 1,    ///< for room, in DRAM, on NVMe or in the index
  kRequested = 2,  ///< by a client, by name or by prefix
  kCorrupt = 3,    ///< its bytes, or what stood in its place, were wrong
  kLost = 4,       ///< its device is offline or doubtful, and the block is put once more
  kCleared = 5,    ///< with its namespace; told by kCleared, never block by block
};
inline constexpr std::uint8_t kEventCauseEnd = 6;  ///< above the last

/// A set of tiers: a bit for each TierKind.
using TierSet = std::uint8_t;
inline constexpr TierSet kTierSetHbm = 1U << 1;
inline constexpr TierSet kTierSetDram = 1U << 2;
inline constexpr TierSet kTierSetNvme = 1U << 3;

/// "committed", "moved", ...; "unknown".
constexpr std::string_view EventKindName(EventKind kind) noexcept {
  switch (kind) {
    case EventKind::kCommitted: return "committed";
    case EventKind::kMoved: return "moved";
    case EventKind::kRemoved: return "removed";
    case EventKind::kCleared: return "cleared";
  }
  return "unknown";
}

/// "none", "evicted", ...; "unknown".
constexpr std::string_view EventCauseName(EventCause cause) noexcept {
  switch (cause) {
    case EventCause::kNone: return "none";
    case EventCause::kEvicted: return "evicted";
    case EventCause::kRequested: return "requested";
    case EventCause::kCorrupt: return "corrupt";
    case EventCause::kLost: return "lost";
    case EventCause::kCleared: return "cleared";
  }
  return "unknown";
}

}  // namespace terrace
