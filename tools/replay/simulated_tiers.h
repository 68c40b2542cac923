// SimulatedTiers: the daemon's tiers without bytes, driven by the daemon's own eviction policy in
// the order of operations of a replay; it says which hit ratio the daemon should have reached.
//
// The rules are the cache's (cache/get_flow.cc, put_flow.cc, evict.cc):
//   - match does not touch;
//   - a get touches the requested blocks that are present, once, in chain order;
//   - a put touches those of its blocks that are present, then inserts the others in chain order,
//     each just behind its parent;
//   - it never evicts the blocks of the same request, or the one before it, that come before the
//     block that needs room; at most 64 candidates are looked at; when one block finds no room, the
//     later ones of the request are refused too: a chain that does not fit keeps its prefix.
// The daemon's reactors each own a slice of the memory; a run of blocks belongs to one slice.
//
// Thread: one. Blocks are named by their number in the trace (BlockNumbers).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/eviction_policy.h"

namespace terrace::replay {

struct SimulatedTiersOptions {
  std::uint64_t dram_blocks = 0;      ///< capacity over all slices
  std::uint32_t distinct_blocks = 0;  ///< numbers of blocks are below this
  std::uint32_t slices = 1;           ///< reactors of the daemon
  std::uint32_t run_blocks = 64;      ///< blocks placed together
};

class SimulatedTiers {
 public:
  /// REQUIRES: slices >= 1, run_blocks >= 1.
  explicit SimulatedTiers(const SimulatedTiersOptions& options);
  ~SimulatedTiers();

  /// Leading blocks of the chain that are stored.
  [[nodiscard]] std::uint32_t Match(std::span<const std::uint32_t> chain) const;
  /// One get request for positions [first, first + count). REQUIRES: they lie in the chain, whose
  /// blocks are all different (also below). @return how many of them were there.
  std::uint32_t Get(std::span<const std::uint32_t> chain, std::uint32_t first, std::uint32_t count);
  /// One put request for positions [first, first + count).
  /// @return how many leading ones of them are stored afterwards.
  std::uint32_t Put(std::span<const std::uint32_t> chain, std::uint32_t first, std::uint32_t count);

  [[nodiscard]] std::uint64_t evictions() const noexcept { return evictions_; }
  [[nodiscard]] std::uint64_t stored() const noexcept { return stored_; }

 private:
  struct Slice {
    std::unique_ptr<EvictionPolicy> policy;
    std::vector<BlockId> free;            // slots without a block
    std::vector<std::uint32_t> block_of;  // the block in each slot
    // Of the request in progress:
    std::vector<std::uint32_t> positions;  // in chain order
    std::vector<BlockId> present;
  };

  [[nodiscard]] std::size_t SliceOf(std::span<const std::uint32_t> chain,
                                    std::uint32_t position) const;
  /// Fills positions and present of every slice for a request.
  void Split(std::span<const std::uint32_t> chain, std::uint32_t first, std::uint32_t count);
  void PutSlice(Slice& slice, std::span<const std::uint32_t> chain);
  bool Insert(Slice& slice, std::span<const std::uint32_t> chain, std::uint32_t position);
  bool Evict(Slice& slice);

  std::uint32_t run_blocks_;
  std::vector<Slice> slices_;
  std::vector<BlockId> slot_of_;        // per block; kNoBlock: not stored
  std::vector<std::uint64_t> guarded_;  // per block: the last put that must not evict it
  std::uint64_t put_number_ = 0;
  std::uint64_t evictions_ = 0;
  std::uint64_t stored_ = 0;
};

}  // namespace terrace::replay
