// SimulatedTiers: the daemon's tiers without bytes, driven by the daemon's own eviction policies in
// the order of operations of a replay; it says which hit ratio the daemon should have reached.
//
// The rules of the DRAM tier are the cache's (cache/get_flow.cc, put_flow.cc, evict.cc):
//   - match does not touch;
//   - a get touches the requested blocks that are in DRAM, once, in chain order;
//   - a put touches those of its blocks that are in DRAM, then inserts those that are on no tier in
//     chain order, each just behind its parent;
//   - it never evicts the blocks of the same request, or the one before it, that come before the
//     block that needs room; at most 1,024 of these are passed over; when one block finds no room,
//     the later ones of the request are refused too: a chain that does not fit keeps its prefix.
// The NVMe tier is a log in a ring of segments:
//   - every block that a put stores is appended to the current segment;
//   - when that has more than half of its records, the next segment of the ring is reclaimed, in
//     record order: blocks that two gets or more have found since they were put or written again,
//     on whichever tier, are appended again (at most a quarter of a segment, and no more than there
//     is room for); the others lose their record. When the current segment is full, the reclaimed
//     one follows it;
//   - a block evicted from DRAM is found as long as it has a record; one that has a record is not
//     kept from eviction by its request, but for the three before the block that needs room:
//     they are in transfer with it, and only go when nothing else can;
//   - a get promotes what it finds on NVMe only: it is inserted into DRAM in its turn in the chain,
//     under the rules of a put. Where there is no room it is a hit all the same, and stays where
//     it is.
// Where only what is worth it is written (nvme_write_share; cache/demote.cc), by the same
// WritePrice:
//   - what a put stores is appended at once only when the policy knows nothing of it;
//   - a block that leaves DRAM and has no record is offered: one whose parent was on the same slice
//     and is on no tier, or whose value does not pay, is refused; else it is appended, after those
//     before it in its chain that have no record;
//   - a block is written again when its segment is reclaimed if one get or more has found it since
//     it was written and its value, as of its last use or eviction, still pays;
//   - a block that is not full counts as half full: a trace does not say how full. Nor does
//     anything wait to be written here, or fail.
// The daemon's reactors each own a slice of both tiers; a run of blocks belongs to one slice.
//
// Thread: one. Blocks are named by their number in the trace (BlockNumbers).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/advice/miss_ratio_curve.h"
#include "cache/block_index.h"
#include "cache/policy/policies.h"
#include "cache/write_price.h"

namespace terrace::replay {

struct SimulatedTiersOptions {
  std::uint64_t dram_blocks = 0;      ///< capacity over all slices, in units of block_units
  std::uint32_t distinct_blocks = 0;  ///< numbers of blocks are below this
  std::uint32_t slices = 1;           ///< reactors of the daemon
  std::uint32_t run_blocks = 64;      ///< blocks placed together
  std::uint32_t nvme_segments = 0;    ///< of each slice; 0: no NVMe tier
  std::uint64_t nvme_records_per_segment = 0;
  const PolicyKind* policy = Policies().data();  ///< of the DRAM tier; the default one
  double nvme_write_share = 0;      ///< as CacheOptions has it; 0: everything is written
  MissRatioCurve* curve = nullptr;  ///< shown what is asked for, as by the cache; outlives them
  /// By block, at least 1: how many units of DRAM it takes, where blocks of several models share
  /// it. Empty: one each. Outlives them.
  std::span<const std::uint8_t> block_units{};
};

/// What a block counts for in bytes, where a curve is shown it.
inline constexpr std::uint64_t kSimulatedBlockBytes = 1 << 20;

/// What a get found.
struct SimulatedHits {
  std::uint32_t dram = 0;
  std::uint32_t nvme = 0;     ///< on NVMe only
  std::uint32_t leading = 0;  ///< blocks before the first that was not found

  [[nodiscard]] std::uint32_t Found() const noexcept { return dram + nvme; }
};

/// What is known of a request beside its chain.
struct RequestOrigin {
  RequestFacts facts{};
  bool ends_partial = false;  ///< the last block of its chain is not full
};

class SimulatedTiers {
 public:
  /// REQUIRES: slices >= 1, run_blocks >= 1; nvme_segments 0, or at least 2 and
  /// nvme_records_per_segment >= 1; with block_units nvme_segments 0 and no curve.
  explicit SimulatedTiers(const SimulatedTiersOptions& options);
  ~SimulatedTiers();

  /// Leading blocks of the chain that are stored, on either tier.
  [[nodiscard]] std::uint32_t Match(std::span<const std::uint32_t> chain) const;
  /// One get request for positions [first, first + count). REQUIRES: they lie in the chain, whose
  /// blocks are all different (also below).
  SimulatedHits Get(std::span<const std::uint32_t> chain, std::uint32_t first, std::uint32_t count,
                    const RequestOrigin& origin = {});
  /// One put request for positions [first, first + count).
  /// @return how many leading ones of them are stored afterwards.
  std::uint32_t Put(std::span<const std::uint32_t> chain, std::uint32_t first, std::uint32_t count,
                    const RequestOrigin& origin = {});

  [[nodiscard]] bool InDram(std::uint32_t block) const { return places_[block].slot != kNoBlock; }
  [[nodiscard]] bool HasRecord(std::uint32_t block) const { return has_record_[block]; }

  /// Blocks in DRAM, and on any tier.
  [[nodiscard]] std::uint64_t in_dram() const noexcept { return in_dram_; }
  [[nodiscard]] std::uint64_t stored() const noexcept { return stored_; }
  /// Blocks that left DRAM; blocks that left the cache.
  [[nodiscard]] std::uint64_t evictions() const noexcept { return evictions_; }
  [[nodiscard]] std::uint64_t gone() const noexcept { return gone_; }
  /// Blocks that a put stored.
  [[nodiscard]] std::uint64_t blocks_put() const noexcept { return blocks_put_; }
  /// Records written, and those of them that were written again when a segment was reclaimed.
  [[nodiscard]] std::uint64_t blocks_written() const noexcept { return blocks_written_; }
  [[nodiscard]] std::uint64_t blocks_reinserted() const noexcept { return blocks_reinserted_; }
  /// Blocks that left DRAM without a record, as they were not worth the write.
  [[nodiscard]] std::uint64_t blocks_refused() const noexcept { return blocks_refused_; }

 private:
  struct Slice {
    std::unique_ptr<EvictionPolicy> policy;
    std::vector<BlockId> free;  // slots without a block
    std::uint64_t free_units = 0;
    std::vector<std::uint32_t> block_of;               // the block in each slot
    std::vector<std::vector<std::uint32_t>> segments;  // blocks in record order
    std::size_t current = 0;                           // segment being written
    bool next_is_reclaimed = false;                    // the one after it
    // Of the request in progress:
    std::vector<std::uint32_t> positions;  // in chain order
    std::vector<BlockId> present;          // slots, of those in DRAM
    RequestFacts facts;                    // as the policy gave them, once `extends`
    bool extends = false;                  // the policy was asked what it makes of the request
    std::optional<WritePrice> price;       // when only what is worth it is written
  };

  [[nodiscard]] bool Stored(std::uint32_t block) const { return InDram(block) || HasRecord(block); }
  [[nodiscard]] std::size_t SliceOf(std::span<const std::uint32_t> chain,
                                    std::uint32_t position) const;
  [[nodiscard]] static bool EndsPartial(std::span<const std::uint32_t> chain,
                                        std::uint32_t position, const RequestOrigin& origin);
  void ShowCurve(CurveUse use, std::span<const std::uint32_t> chain, std::uint32_t first,
                 std::uint32_t count, const RequestOrigin& origin);
  [[nodiscard]] std::uint64_t UnitsOf(std::uint32_t block) const {
    return block_units_.empty() ? 1 : block_units_[block];
  }
  /// Fills positions and present of every slice for a request.
  void Split(std::span<const std::uint32_t> chain, std::uint32_t first, std::uint32_t count);
  void PutSlice(Slice& slice, std::span<const std::uint32_t> chain, const RequestOrigin& origin);
  /// Puts a block into DRAM that is not there. `block` says what the policy shall know of it; its
  /// number and its parent's are filled in, and what the policy makes of the request.
  /// @return false when nothing may be evicted for it.
  bool Insert(Slice& slice, std::span<const std::uint32_t> chain, NewBlock& block);
  [[nodiscard]] BlockId FindVictim(Slice& slice, std::span<const std::uint32_t> in_transfer) const;
  bool Evict(Slice& slice, std::span<const std::uint32_t> chain, std::uint32_t position);
  /// Writes a record, and reclaims the next segment when it is time to.
  void Append(Slice& slice, std::uint32_t block);
  void Write(Slice& slice, std::uint32_t block);
  void Reclaim(Slice& slice);
  void CountGone();
  /// A block that is in DRAM or not was put or got.
  void NoteUse(Slice& slice, std::uint32_t block);
  /// One leaves DRAM: if it has no record and is worth one, it is written with those before it in
  /// its chain.
  void Offer(Slice& slice, BlockId slot);
  [[nodiscard]] double ValueOf(const Slice& slice, BlockId slot) const;
  [[nodiscard]] bool WorthKeeping(const Slice& slice, std::uint32_t block) const;

  MissRatioCurve* curve_;
  std::span<const std::uint8_t> block_units_;
  std::uint32_t run_blocks_;
  std::uint64_t records_per_segment_;
  std::vector<Slice> slices_;
  struct Place {
    BlockId slot = kNoBlock;    // kNoBlock: not in DRAM
    std::uint32_t guarded = 0;  // the last request that must not evict it
  };
  std::vector<Place> places_;     // per block
  std::vector<bool> has_record_;  // per block
  // Per block, when only what is worth it is written:
  std::vector<std::uint32_t> parent_of_;  // before it in its chain and on its slice, or kNoBlock
  std::vector<float> value_;              // when it was last used or offered
  std::vector<bool> partial_;
  std::vector<std::uint8_t> gets_;         // per block, up to kReinsertGets, since it was written
  std::vector<std::uint64_t> identities_;  // of Insert, kept for its memory
  std::uint32_t request_number_ = 0;       // after 2^32 requests it begins anew, which does no harm
  std::uint64_t in_dram_ = 0;
  std::uint64_t stored_ = 0;
  std::uint64_t evictions_ = 0;
  std::uint64_t gone_ = 0;
  std::uint64_t blocks_put_ = 0;
  std::uint64_t blocks_written_ = 0;
  std::uint64_t blocks_reinserted_ = 0;
  std::uint64_t blocks_refused_ = 0;
};

}  // namespace terrace::replay
