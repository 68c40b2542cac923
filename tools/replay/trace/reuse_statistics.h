// When blocks come back: the gap between two uses of a block, in time and in other blocks.
//
// Model. The gap in blocks is the LRU stack distance: how many other distinct blocks were used in
// between. A cache with room for N blocks that keeps the most recently used ones hits exactly the
// uses whose distance is below N. It is exact: a Fenwick tree over the order of last uses,
// renumbered when it is full, so that memory follows the distinct blocks and not the length of the
// trace.
//
// Thread: any; nothing is kept. Cost: O(log distinct) per reference.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

/// Of whole numbers. A percentile is the smallest value that so many percent do not exceed.
struct Distribution {
  std::uint64_t count = 0;
  double mean = 0;
  std::uint64_t p10 = 0;
  std::uint64_t p50 = 0;
  std::uint64_t p90 = 0;
  std::uint64_t p99 = 0;
  std::uint64_t max = 0;
};
[[nodiscard]] Distribution Summarize(std::vector<std::uint64_t> values);

/// LRU stack distances of a sequence of uses.
class StackDistances {
 public:
  /// @param distinct blocks are numbered below it.
  explicit StackDistances(std::uint32_t distinct);
  /// Uses a block. @return how many other blocks were used since its last use; nothing at its
  /// first.
  std::optional<std::uint32_t> Use(std::uint32_t block);

 private:
  void Add(std::uint32_t place, std::int32_t change);
  [[nodiscard]] std::uint32_t UsedUpTo(std::uint32_t place) const;
  void Renumber();

  std::vector<std::uint32_t> place_of_;  // of each block's last use, from 1; 0: never used
  std::vector<std::uint32_t> block_at_;  // of each place; stale where place_of_ differs
  std::vector<std::uint32_t> tree_;      // Fenwick: places that are some block's last use
  std::uint32_t next_ = 1;
  std::uint32_t used_ = 0;  // blocks that were used
};

struct ReuseGaps {
  Distribution ms;
  Distribution blocks;
};
[[nodiscard]] ReuseGaps MeasureReuse(const Trace& trace, const BlockNumbers& blocks);

}  // namespace terrace::replay
