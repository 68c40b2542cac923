// Why a block that was asked for was not answered with its bytes. Part of the wire protocol and of
// the client library: numbers are only appended.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace terrace {

enum class MissReason : std::uint8_t {
  kNone = 0,          ///< it was answered
  kNeverSeen = 1,     ///< never stored here, or gone for longer than is remembered
  kEvicted = 2,       ///< made room in DRAM, and NVMe had no record of it
  kNvmeReused = 3,    ///< its segment on NVMe was reused, or its record gave way to a new put
  kIndexFull = 4,     ///< forgotten because the index was full
  kRemoved = 5,       ///< a client removed it, by name or by prefix
  kCleared = 6,       ///< with its namespace
  kCorrupt = 7,       ///< its bytes, or what stood in its place, were wrong
  kDevice = 8,        ///< its device is offline or failed
  kNoFrame = 9,       ///< on NVMe, and no room in DRAM to load it
  kPutRefused = 10,   ///< it was put, and there was no room
  kPutFailed = 11,    ///< it was put, and its bytes did not come
  kPending = 12,      ///< being put by somebody at that moment
  kKeyMismatch = 13,  ///< another key's block has its place (C2 of cache/cache.h)
  kTimeout = 14,      ///< the deadline passed before it was read
  kMoved = 15,        ///< it moved between the tiers each time it was looked at
  kHandoff = 16,      ///< what it was waited for will not come, or was asked for wrongly
  kTransfer = 17,     ///< found, but its bytes did not reach the client, or could not be lent
  kBehind = 18,       ///< of a match: behind the first block that is missing, not looked at
};
inline constexpr std::size_t kMissReasonCount = 19;

/// "never_seen", "evicted", ... as in metrics and documents; "unknown".
constexpr std::string_view MissReasonName(MissReason reason) noexcept {
  constexpr std::array<std::string_view, kMissReasonCount> kNames = {
      "none",    "never_seen", "evicted",  "nvme_reused", "index_full", "removed", "cleared",
      "corrupt", "device",     "no_frame", "put_refused", "put_failed", "pending", "key_mismatch",
      "timeout", "moved",      "handoff",  "transfer",    "behind"};
  const auto number = static_cast<std::size_t>(reason);
  return number < kNames.size() ? kNames[number] : "unknown";
}

}  // namespace terrace
