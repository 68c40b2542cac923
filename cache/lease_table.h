// LeaseTable: what matches with a lease keep in place for their clients.
//
// Model. A lease belongs to a *holder*, a client's connection, and names blocks that were ready
// when it was granted. It keeps each of them readable in its own way:
//   E1. A block that was in DRAM is pinned: eviction passes over it, and a get finds it without a
//       device.
//   E2. A block that was on NVMe or in HBM only is *marked*. Index and GPUs forget others for room,
//       and when the log reuses its segment it is written again while there is budget and room for
//       that, before the segment's other blocks; else it is pinned, if a get has brought it to DRAM
//       meanwhile; else it goes: Reclaim waits for nobody. A get of it is then a miss, never wrong
//       bytes. Nor does a lease mend a device: while that is offline such a block is a miss too.
//   E3. Whoever removes or clears blocks is not kept from it: they are no longer found (C4), though
//       the memory of those that are pinned is used until the lease ends.
//   E4. A lease of which a block went, by E2 or E3, is broken: Renew ends it with kExpired. Until
//       then, its other blocks stay where they are.
//   E5. It ends by Release, by its time, with its holder, or with the table. Blocks are let go at
//       most kBlocksPerTurn in a turn of the loop; what still waits for that counts as leased.
//   E6. Leases and blocks of one holder, and bytes of one and of all, are bounded. A block counts
//       once for each lease that names it.
//
// Thread: the owning reactor's, except the counters. Its timer is the current scheduler's, which
// outlives the table.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/scheduler.h"
#include "cache/block_index.h"
#include "tiers/dram/frame_arena.h"

namespace terrace {

/// Names a client's connection.
using LeaseHolder = std::uint64_t;
/// Names a lease of one table; 0 is none. Never used twice.
using LeaseNumber = std::uint64_t;

/// Single writer (the reactor), readable from any thread.
struct MatchLeaseCounters {
  std::atomic<std::uint64_t> granted{0}, released{0};
  std::atomic<std::uint64_t> expired{0};  ///< ended by their time, or with their client
  std::atomic<std::uint64_t> refused{0};  ///< the client, or all of them, held enough
  std::atomic<std::uint64_t> broken{0};   ///< a block had gone (E4)
  std::atomic<std::uint64_t> now{0}, blocks_now{0}, bytes_now{0};
};

class LeaseTable {
 public:
  /// What a client forgets to release costs this much, and an entry of the table is small.
  static constexpr std::size_t kLeasesPerHolderMax = 1024;
  /// 7 MiB of table for one holder.
  static constexpr std::size_t kBlocksPerHolderMax = 1 << 17;
  /// Of the arena, what all holders may have leased, 1 / this; one holder half of it. Frames that
  /// are lent may be half of the arena: so a quarter can always be evicted.
  static constexpr std::uint64_t kShareOfArena = 4;
  /// Blocks let go in one turn: less than 100 us, doomed frames among them.
  static constexpr std::size_t kBlocksPerTurn = 1024;

  /// `arena`, `index` and `counters` outlive the table.
  LeaseTable(FrameArena& arena, const BlockIndex& index, MatchLeaseCounters& counters,
             std::uint64_t bytes_max)
      : arena_(arena), index_(index), counters_(counters), bytes_max_(bytes_max) {}
  /// Lets go of everything.
  ~LeaseTable();
  LeaseTable(const LeaseTable&) = delete;
  LeaseTable& operator=(const LeaseTable&) = delete;

  // Making a lease: Begin, Add for each block, Start. It may end in between, with its holder.
  /// A lease without blocks and without end; 0: the holder has as many as it may.
  LeaseNumber Begin(LeaseHolder holder);
  /// The block with index `cell` in the match's answer. False: it would be too much, or the lease
  /// has ended. REQUIRES: `id` is published.
  bool Add(LeaseNumber lease, BlockId id, std::uint32_t cell);
  /// From here on it lasts until `until`. False: it has ended, or has no block and ends now.
  bool Start(LeaseNumber lease, Nanos until);
  /// It comes to nothing.
  void Refuse(LeaseNumber lease);

  // What a holder asks for. kInvalid for what is no lease of its own, kExpired for one that has
  // ended.
  /// Keeps the blocks whose cell has a set bit in `keep` (cell 0: the lowest bit of the first
  /// byte); cells past its end have none.
  Status Trim(LeaseHolder holder, LeaseNumber lease, std::span<const std::byte> keep);
  /// It lasts for `time` from now on. kExpired also when it is broken (E4): then it ends.
  Status Renew(LeaseHolder holder, LeaseNumber lease, Nanos time);
  Status Release(LeaseHolder holder, LeaseNumber lease);
  void EndHolder(LeaseHolder holder);
  /// Lets go of everything, at once.
  void EndAll();

  /// True while a lease marks this block (E2).
  [[nodiscard]] bool Marks(BlockId id) const noexcept {
    return !marks_.empty() && marks_.contains(id);
  }
  /// The record of a marked block goes while it is in DRAM: from now on it is pinned.
  void PinMarked(BlockId id);
  /// The block is about to be doomed.
  void OnForget(BlockId id) {
    if (!marks_.empty()) marks_.erase(id);
  }
  /// True while any block is leased: a pinned frame may be one of them.
  [[nodiscard]] bool HasBlocks() const noexcept { return bytes_ > 0; }

  /// Leases, and the pins that they hold now.
  [[nodiscard]] std::size_t leases() const noexcept { return leases_.size(); }
  [[nodiscard]] std::uint64_t Pins() const noexcept;
  /// Checks the counts against the leases; walks everything. For tests and sim.
  [[nodiscard]] Status Validate() const;

 private:
  struct Block {
    Hold pin;                // E1
    std::uint64_t mark = 0;  // E2: Mark::serial; 0 when it is pinned
    BlockId id = kNoBlock;
    std::uint32_t cell = 0;
    std::uint32_t bytes = 0;
  };
  struct Lease {
    LeaseHolder holder = 0;
    bool started = false;
    std::multimap<Nanos, LeaseNumber>::iterator until;  // once it is started
    std::vector<Block> blocks;
  };
  struct Mark {
    std::uint64_t serial = 0;  // a BlockId is given out again, this is not
    std::uint32_t leases = 0;
    Hold pin;
  };
  struct Holder {
    std::unordered_set<LeaseNumber> leases;
    std::uint64_t blocks = 0;  // with those that wait to be let go
    std::uint64_t bytes = 0;
  };
  struct Ending {
    LeaseHolder holder = 0;
    std::vector<Block> blocks;
  };
  using Leases = std::unordered_map<LeaseNumber, Lease>;

  /// The holder's lease; else why there is none.
  Result<Leases::iterator> Find(LeaseHolder holder, LeaseNumber lease);
  void End(Leases::iterator lease, std::atomic<std::uint64_t>& counter);
  [[nodiscard]] bool Stands(const Block& block) const;
  void LetGo(LeaseHolder holder, Block& block);
  void ForgetIfEmpty(LeaseHolder holder);
  /// Lets go of at most kBlocksPerTurn blocks that wait for it.
  void Drain();
  void OnTimer();
  void SetTimer();
  void Show() noexcept;

  FrameArena& arena_;
  const BlockIndex& index_;
  MatchLeaseCounters& counters_;
  const std::uint64_t bytes_max_;
  Leases leases_;
  std::unordered_map<LeaseHolder, Holder> holders_;
  std::unordered_map<BlockId, Mark> marks_;
  std::multimap<Nanos, LeaseNumber> by_end_;
  std::deque<Ending> ending_;
  std::uint64_t blocks_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t last_number_ = 0;
  std::uint64_t last_mark_ = 0;
  Scheduler* scheduler_ = nullptr;
  std::optional<Scheduler::TimerId> timer_;
  Nanos timer_at_ = 0;
};

}  // namespace terrace
