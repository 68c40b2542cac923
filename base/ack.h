// Ack: how safe a block is when a put answers, and why it is no safer. Part of the wire protocol:
// append only.
#pragma once

#include <cstdint>
#include <string_view>

namespace terrace {

/// What a put waits for.
enum class Ack : std::uint8_t {
  kCommitted = 0,  ///< Visible to every client; the source memory may be reused.
  kDurable = 1,    ///< Survives kill -9 of the daemon and power loss, until it is evicted.
};

/// Why a block that was to be durable is only committed.
enum class NotDurable : std::uint8_t {
  kNone = 0,         ///< It is durable, or nobody asked.
  kNoTier = 1,       ///< The daemon has no NVMe tier.
  kOffline = 2,      ///< Every device, or the index store, has failed for the time being.
  kWriteBudget = 3,  ///< Today's writes are spent.
  kQueueFull = 4,    ///< More is waiting to be written than may wait.
  kTooLarge = 5,     ///< Above nvme.block_max.
  kWriteFailed = 6,  ///< The write, the sync or the index entry failed.
  kTimeout = 7,      ///< The deadline came first; it may become durable yet.
  kGone = 8,         ///< Removed, cleared or evicted before it was written.
};
inline constexpr int kNotDurableCount = 9;

/// "none", "no_tier", ... for messages, logs and metrics.
constexpr std::string_view NotDurableName(NotDurable reason) noexcept {
  switch (reason) {
    case NotDurable::kNone: return "none";
    case NotDurable::kNoTier: return "no_tier";
    case NotDurable::kOffline: return "offline";
    case NotDurable::kWriteBudget: return "write_budget";
    case NotDurable::kQueueFull: return "queue_full";
    case NotDurable::kTooLarge: return "too_large";
    case NotDurable::kWriteFailed: return "write_failed";
    case NotDurable::kTimeout: return "timeout";
    case NotDurable::kGone: return "gone";
  }
  return "unknown";
}

}  // namespace terrace
