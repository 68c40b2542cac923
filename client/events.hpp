// Terrace client library: events of blocks, for cache-aware routers. Included by terrace.hpp;
// docs/events.md is the page about it.
//
// Model. Each reactor of a daemon numbers what happens to its blocks: committed, moved between
// tiers, removed, cleared. A reader has a *cursor*: which run of the daemon, and for each reactor
// the next number it wants. It begins with a snapshot, which sets the cursor, and goes on with
// events; each answer has the cursor to go on from. Events name the whole state of a block, so that
// one that is applied twice, or after a newer snapshot, does no harm once those behind it are
// applied as well.
//
//   EventCursor cursor;
//   while (!snapshot.complete) snapshot = client->ReadSnapshot(cursor, {}, In(1s)), apply, cursor =
//   for (;;) batch = client->ReadEvents(cursor, {}, In(5s)), apply, cursor = batch.cursor
//
// Plain data, any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/block_event.h"
#include "base/result.h"
#include "client/types.hpp"

namespace terrace {

// What happened is EventKind (kCommitted, kMoved, kRemoved, kCleared), why a block was removed
// EventCause, on which tiers it is TierSet: base/block_event.h.

/// Names a block within its namespace: XXH3-128, seed 0, of group and shard (4 bytes each, little
/// endian) and key.
struct BlockIdentity {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend bool operator==(const BlockIdentity&, const BlockIdentity&) = default;
  friend auto operator<=>(const BlockIdentity&, const BlockIdentity&) = default;
};

/// The identity of a block whose key is known, to look it up among those that events named.
/// REQUIRES: a key of at most 64 bytes; longer ones count to their 64th byte.
[[nodiscard]] TERRACE_API BlockIdentity IdentityOf(BlockKind kind, std::span<const std::byte> key);

/// Where a reader is. Its default is a reader that knows nothing.
struct EventCursor {
  /// Of one reactor.
  struct Place {
    std::uint64_t sequence = 0;    ///< the next event to read; 0: none was read yet
    std::uint64_t from_block = 0;  ///< where the snapshot goes on
    bool walked = false;           ///< the snapshot has seen all blocks of it
    friend bool operator==(const Place&, const Place&) = default;
  };
  std::uint64_t incarnation = 0;  ///< of the daemon; each run has another
  std::vector<Place> reactors;
  friend bool operator==(const EventCursor&, const EventCursor&) = default;

  /// The snapshot that ReadSnapshot reads next begins anew.
  void BeginSnapshot() noexcept {
    for (Place& place : reactors) place.from_block = 0, place.walked = false;
  }
  /// As bytes, to be kept or passed on, and back. kInvalid for bytes that are none.
  [[nodiscard]] TERRACE_API std::vector<std::byte> Serialize() const;
  [[nodiscard]] TERRACE_API static Result<EventCursor> Parse(std::span<const std::byte> bytes);
};

struct BlockEventInfo {
  EventKind kind = EventKind::kCommitted;
  EventCause cause = EventCause::kNone;
  TierSet tiers = 0;               ///< Where copies are from now on: kTierSetHbm and so on.
  std::uint32_t reactor = 0;       ///< Whose sequence it is.
  std::uint64_t sequence = 0;      ///< 0 in a snapshot.
  std::string space;               ///< Name of the namespace.
  std::uint32_t space_number = 0;  ///< The daemon's number of it; of this run of the daemon.
  BlockIdentity identity;          ///< Not of kCleared, which is about all blocks of `space`.
  std::uint32_t position = 0;      ///< Index in its chain.
  std::uint32_t valid_tokens = 0;
  /// Key, group and shard; the key is empty, and the others mean nothing, where the daemon does not
  /// have them in memory: the block was, or had been, on NVMe only.
  std::vector<std::byte> key;
  BlockKind block;
  BlockIdentity parent;                  ///< The block before it; 0 when that is not known.
  std::vector<std::byte> parent_key;     ///< When known: kCommitted, and position > 0.
  std::vector<std::byte> placement;      ///< First key of its run: kCommitted, not in snapshots.
  std::vector<std::uint32_t> token_ids;  ///< What its put brought: kCommitted, not in snapshots.
};

/// Events that the daemon no longer has: the reader was too slow.
struct EventGap {
  std::uint32_t reactor = 0;
  std::uint64_t first = 0;  ///< Sequence of the first that is lost, and of the last.
  std::uint64_t last = 0;
};

struct EventQuery {
  std::uint32_t most = 1024;  ///< Events of each reactor in one answer, 1 to 4096.
  std::string space{};        ///< Only of the namespace of this name; empty: all of the tenant.
  /// ReadEvents: until an event comes, the deadline is near, or the daemon's heartbeat of 1 s.
  bool wait = true;
};

struct EventBatch {
  std::vector<BlockEventInfo> events;  ///< Those of one reactor in the order of their sequences.
  EventCursor cursor;                  ///< To go on from.
  /// ReadEvents: the cursor is of another run of the daemon, or of none. ReadSnapshot: the daemon
  /// restarted since the snapshot began. Nothing that the reader knows counts: it begins anew with
  /// a snapshot from `cursor`.
  bool restarted = false;
  /// Not empty: what the reader knows of those reactors may be wrong, and it takes a snapshot.
  std::vector<EventGap> gaps;
  std::uint64_t behind = 0;  ///< Events, of all tenants, that had happened and were not read yet.
  bool complete = false;     ///< ReadSnapshot: that was the last of it.
};

}  // namespace terrace
