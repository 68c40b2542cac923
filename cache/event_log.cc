#include "cache/event_log.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/counter.h"
#include "base/limits.h"

namespace terrace {

namespace {
constexpr std::uint64_t kUnitBytes = 8;
/// Of the ring so many bytes for each place in `places_`: no event is shorter.
constexpr std::uint64_t kBytesPerPlace = 64;

std::byte* Append(std::byte* to, std::span<const std::byte> bytes) noexcept {
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  return to + bytes.size();
}

std::atomic<std::uint64_t>& CounterOf(EventCounters& counters, EventKind kind) noexcept {
  switch (kind) {
    case EventKind::kCommitted: return counters.committed;
    case EventKind::kMoved: return counters.moved;
    case EventKind::kRemoved: return counters.removed;
    case EventKind::kCleared: break;
  }
  return counters.cleared;
}
}  // namespace

/// As it lies in the ring; the tokens, key, parent and placement follow in this order.
struct EventLog::Record {
  Hash128 identity;
  std::uint32_t namespace_id;
  std::uint32_t position;
  std::uint32_t valid_tokens;
  std::uint32_t group;
  std::uint32_t shard;
  std::uint32_t token_bytes;
  std::uint8_t kind;
  std::uint8_t cause;
  TierSet tiers;
  std::uint8_t key_bytes;
  std::uint8_t parent_bytes;
  std::uint8_t placement_bytes;
  std::uint8_t reserved[18];
};

Result<EventLog> EventLog::Create(std::uint64_t bytes) {
  static_assert(sizeof(Record) == kBytesPerPlace);
  // The largest event fits an eighth of the smallest ring, so room can always be made.
  static_assert((sizeof(Record) + 3 * kKeyBytesMax + 4 * kEventTokensMax + 8) * 8 <= kBytesMin);
  EventLog log;
  if (bytes == 0) return log;
  if (bytes > kBytesMax) {
    return Status::Invalid("events: " + std::to_string(bytes) + " bytes, at most " +
                           std::to_string(kBytesMax));
  }
  bytes = std::max(bytes, kBytesMin);
  auto ring = FlatArray<std::uint64_t>::Create(bytes / kUnitBytes);
  if (!ring.ok()) return ring.status();
  auto places = FlatArray<std::uint32_t>::Create(bytes / kBytesPerPlace);
  if (!places.ok()) return places.status();
  log.ring_ = std::move(*ring);
  log.places_ = std::move(*places);
  return log;
}

void EventLog::DropOldest() noexcept { ++first_; }

void EventLog::MakeRoom(std::uint32_t units) noexcept {
  const auto oldest = [this] { return PlaceOf(first_); };
  const auto size = static_cast<std::uint32_t>(ring_.size());
  if (head_ + units > size) {
    while (first_ < next_ && oldest() >= head_) DropOldest();
    head_ = 0;
  }
  while (first_ < next_ && oldest() >= head_ && oldest() < head_ + units) DropOldest();
}

void EventLog::Append(const BlockEvent& event) {
  if (!enabled()) return;
  TERRACE_CHECK(event.key.size() <= kKeyBytesMax && event.parent.size() <= kKeyBytesMax &&
                event.placement.size() <= kKeyBytesMax &&
                event.tokens.size() <= 4 * std::size_t{kEventTokensMax});
  const std::size_t bytes = sizeof(Record) + event.key.size() + event.parent.size() +
                            event.placement.size() + event.tokens.size();
  const auto units = static_cast<std::uint32_t>((bytes + kUnitBytes - 1) / kUnitBytes);
  MakeRoom(units);
  const Record record{.identity = event.identity,
                      .namespace_id = event.namespace_id,
                      .position = event.position,
                      .valid_tokens = event.valid_tokens,
                      .group = event.group,
                      .shard = event.shard,
                      .token_bytes = static_cast<std::uint32_t>(event.tokens.size()),
                      .kind = static_cast<std::uint8_t>(event.kind),
                      .cause = static_cast<std::uint8_t>(event.cause),
                      .tiers = event.tiers,
                      .key_bytes = static_cast<std::uint8_t>(event.key.size()),
                      .parent_bytes = static_cast<std::uint8_t>(event.parent.size()),
                      .placement_bytes = static_cast<std::uint8_t>(event.placement.size()),
                      .reserved = {}};
  auto* at = reinterpret_cast<std::byte*>(&ring_[head_]);
  std::memcpy(at, &record, sizeof(record));
  at = terrace::Append(at + sizeof(record), event.tokens);
  at = terrace::Append(at, event.key);
  at = terrace::Append(at, event.parent);
  terrace::Append(at, event.placement);
  PlaceOf(next_) = head_;
  head_ += units;
  ++next_;
  Count(CounterOf(*counters_, event.kind));
  counters_->kept.store(next_ - first_, std::memory_order_relaxed);
  if (watchers_.empty()) return;
  for (Event* news : std::exchange(watchers_, {})) news->Set();
}

BlockEvent EventLog::At(std::uint64_t sequence) const noexcept {
  TERRACE_CHECK(first_ <= sequence && sequence < next_);
  const std::uint32_t place = places_[sequence % places_.size()];
  Record record;
  const auto* at = reinterpret_cast<const std::byte*>(&ring_[place]);
  std::memcpy(&record, at, sizeof(record));
  at += sizeof(record);
  const auto take = [&at](std::size_t bytes) {
    return std::span<const std::byte>(std::exchange(at, at + bytes), bytes);
  };
  BlockEvent event;
  event.kind = static_cast<EventKind>(record.kind);
  event.cause = static_cast<EventCause>(record.cause);
  event.tiers = record.tiers;
  event.namespace_id = record.namespace_id;
  event.identity = record.identity;
  event.position = record.position;
  event.valid_tokens = record.valid_tokens;
  event.group = record.group;
  event.shard = record.shard;
  event.tokens = take(record.token_bytes);
  event.key = take(record.key_bytes);
  event.parent = take(record.parent_bytes);
  event.placement = take(record.placement_bytes);
  return event;
}

}  // namespace terrace
