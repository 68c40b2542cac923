// EventLog: what happened to the blocks of one reactor, the newest of it, for whoever reads.
//
// Model. Events get numbers 1, 2, 3, ... without gaps, of this reactor of this run of the daemon.
// They lie one after the other in a ring of bytes; a new one takes the room of the oldest. Nothing
// waits for readers and nothing is kept for one: who comes too late is told which numbers are gone,
// because first() is above what it asked for. Writing an event costs a copy of some 170 bytes,
// whether anybody reads or not: somebody who comes later reads what came before.
//
//   V1. first() <= next(), and all numbers in between are there; first() == next(): none are.
//   V2. The views of an event that was read hold until the next Append.
//
// Thread: the owning reactor's; Counters() and Bytes() any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/block_event.h"
#include "base/checksum.h"
#include "base/result.h"
#include "base/wait.h"
#include "cache/flat_array.h"

namespace terrace {

struct BlockEvent {
  EventKind kind = EventKind::kCommitted;
  EventCause cause = EventCause::kNone;
  TierSet tiers = 0;  ///< from now on
  std::uint32_t namespace_id = 0;
  Hash128 identity;  ///< of the block: HashLocator of group, shard and key
  std::uint32_t position = 0;
  std::uint32_t valid_tokens = 0;
  /// Empty for a block that is on NVMe only, whose group and shard are then unknown, too.
  std::span<const std::byte> key;
  std::uint32_t group = 0;
  std::uint32_t shard = 0;
  std::span<const std::byte> parent;     ///< key of the block before it; kCommitted, when known
  Hash128 parent_identity;               ///< its identity; of a walk, and when known: else 0
  std::span<const std::byte> placement;  ///< first key of its run; likewise
  std::span<const std::byte> tokens;     ///< ids that its put brought, 4 bytes each; kCommitted
};

/// One writer, the reactor.
struct EventCounters {
  std::atomic<std::uint64_t> committed{0}, moved{0}, removed{0}, cleared{0};  ///< ever
  std::atomic<std::uint64_t> kept{0};                                         ///< now
};

/// Kept here by whoever reads the log for clients; one writer, the reactor.
struct EventReaders {
  std::atomic<std::uint64_t> now{0};  ///< requests that are being answered, or wait for an event
  std::atomic<std::uint64_t> reads{0}, snapshots{0};  ///< requests, ever
  std::atomic<std::uint64_t> gaps{0}, lost{0};        ///< told to readers; events in them
  std::atomic<std::uint64_t> restarts{0};  ///< readers that came from another run of the daemon
};

class EventLog {
 public:
  static constexpr std::uint64_t kBytesMin = 1 << 20;  ///< less, but 0, counts as this
  static constexpr std::uint64_t kBytesMax = 2ULL << 30;

  /// Keeps nothing: as made by Create(0).
  EventLog() = default;
  /// `bytes`: of the ring, taken as it fills; an eighth of that is added for finding events. 0: no
  /// event is kept and none gets a number. kInvalid above kBytesMax, kIo when memory cannot be had.
  static Result<EventLog> Create(std::uint64_t bytes);

  [[nodiscard]] bool enabled() const noexcept { return ring_.size() > 0; }
  /// The number of the oldest event that is kept, and of the next one to come.
  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }
  [[nodiscard]] std::uint64_t next() const noexcept { return next_; }
  /// REQUIRES: first() <= sequence < next().
  [[nodiscard]] BlockEvent At(std::uint64_t sequence) const noexcept;
  /// REQUIRES: keys of at most kKeyBytesMax, tokens of at most kEventTokensMax.
  void Append(const BlockEvent& event);

  /// Sets `news` at the next Append, once, unless it is taken back. It outlives that.
  void Watch(Event* news) { watchers_.push_back(news); }
  void Unwatch(Event* news) noexcept { std::erase(watchers_, news); }

  [[nodiscard]] const EventCounters& Counters() const noexcept { return *counters_; }
  [[nodiscard]] EventReaders& readers() noexcept { return *readers_; }
  [[nodiscard]] const EventReaders& readers() const noexcept { return *readers_; }
  /// Memory that is taken at most, bytes.
  [[nodiscard]] std::uint64_t Bytes() const noexcept { return ring_.Bytes() + places_.Bytes(); }

 private:
  struct Record;
  /// Room for `units` at `head_`, which may begin anew at the ring's start; the oldest give way.
  void MakeRoom(std::uint32_t units) noexcept;
  void DropOldest() noexcept;
  [[nodiscard]] std::uint32_t& PlaceOf(std::uint64_t sequence) noexcept {
    return places_[sequence % places_.size()];
  }

  FlatArray<std::uint64_t> ring_;    // units of 8 bytes
  FlatArray<std::uint32_t> places_;  // of event n in ring_: [n % size]
  std::uint32_t head_ = 0;           // where the next one is put
  std::uint64_t first_ = 1;
  std::uint64_t next_ = 1;
  std::vector<Event*> watchers_;
  // Any thread may look at them: they stay where they are when the log is moved.
  std::unique_ptr<EventCounters> counters_ = std::make_unique<EventCounters>();
  std::unique_ptr<EventReaders> readers_ = std::make_unique<EventReaders>();
};

}  // namespace terrace
