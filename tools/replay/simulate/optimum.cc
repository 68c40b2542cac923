#include "tools/replay/simulate/optimum.h"

#include <algorithm>

#include "base/check.h"

namespace terrace::replay {
namespace {

/// A heap of blocks by their rank, the highest first, in which a block's rank can be changed.
class RankedBlocks {
 public:
  explicit RankedBlocks(std::uint32_t distinct_blocks)
      : place_(distinct_blocks, kAbsent), rank_(distinct_blocks) {}

  [[nodiscard]] bool Contains(std::uint32_t block) const { return place_[block] != kAbsent; }
  [[nodiscard]] std::uint64_t size() const { return heap_.size(); }
  [[nodiscard]] std::uint64_t HighestRank() const { return rank_[heap_.front()]; }

  /// Adds it, or gives it another rank.
  void Set(std::uint32_t block, std::uint64_t rank) {
    rank_[block] = rank;
    if (!Contains(block)) {
      place_[block] = static_cast<std::uint32_t>(heap_.size());
      heap_.push_back(block);
    }
    SinkFrom(RiseFrom(place_[block]));
  }

  void RemoveHighest() {
    place_[heap_.front()] = kAbsent;
    const std::uint32_t last = heap_.back();
    heap_.pop_back();
    if (heap_.empty()) return;
    Put(0, last);
    SinkFrom(0);
  }

 private:
  static constexpr std::uint32_t kAbsent = 0xffffffff;

  void Put(std::uint32_t place, std::uint32_t block) {
    heap_[place] = block;
    place_[block] = place;
  }
  [[nodiscard]] bool Above(std::uint32_t left, std::uint32_t right) const {
    return rank_[heap_[left]] > rank_[heap_[right]];
  }
  void Swap(std::uint32_t left, std::uint32_t right) {
    const std::uint32_t block = heap_[left];
    Put(left, heap_[right]);
    Put(right, block);
  }
  std::uint32_t RiseFrom(std::uint32_t place) {
    while (place > 0 && Above(place, (place - 1) / 2)) {
      Swap(place, (place - 1) / 2);
      place = (place - 1) / 2;
    }
    return place;
  }
  void SinkFrom(std::uint32_t place) {
    for (;;) {
      std::uint32_t highest = place;
      for (const std::uint32_t child : {2 * place + 1, 2 * place + 2}) {
        if (child < heap_.size() && Above(child, highest)) highest = child;
      }
      if (highest == place) return;
      Swap(place, highest);
      place = highest;
    }
  }

  std::vector<std::uint32_t> heap_;   // blocks
  std::vector<std::uint32_t> place_;  // in heap_, by block
  std::vector<std::uint64_t> rank_;   // by block
};

/// Farther next uses rank higher, then deeper blocks.
std::uint64_t Rank(std::uint32_t next_use, std::uint32_t position) {
  return (std::uint64_t{next_use} << 32) | position;
}

}  // namespace

std::vector<std::uint32_t> NextUses(const Trace& trace, const BlockNumbers& blocks) {
  std::vector<std::uint32_t> result(blocks.numbers.size());
  std::vector<std::uint32_t> next(blocks.distinct, kNeverAgain);
  for (std::size_t request = trace.requests.size(); request-- > 0;) {
    const TraceRequest& entry = trace.requests[request];
    const std::span<const std::uint32_t> chain = blocks.Of(entry);
    for (std::size_t position = 0; position < chain.size(); ++position) {
      result[entry.first_reference + position] = next[chain[position]];
      next[chain[position]] = static_cast<std::uint32_t>(request);
    }
  }
  return result;
}

RequestHits OptimalHits(const Trace& trace, const BlockNumbers& blocks,
                        const std::vector<std::uint32_t>& next_uses, std::uint64_t capacity_blocks,
                        const HitProgress& progress) {
  TERRACE_CHECK(capacity_blocks >= 1 && next_uses.size() == blocks.numbers.size());
  RankedBlocks kept(blocks.distinct);
  RequestHits result;
  result.leading.reserve(trace.requests.size());
  ProgressSteps steps(progress);
  for (const TraceRequest& request : trace.requests) {
    const std::span<const std::uint32_t> chain = blocks.Of(request);
    const auto miss =
        std::ranges::find_if_not(chain, [&](std::uint32_t block) { return kept.Contains(block); });
    result.leading.push_back(static_cast<std::uint32_t>(miss - chain.begin()));
    result.run.blocks_looked_up += chain.size();
    result.run.blocks_hit += result.leading.back();
    result.run.hits_dram += result.leading.back();
    for (std::uint32_t position = 0; position < chain.size(); ++position) {
      const std::uint32_t block = chain[position];
      const std::uint32_t next = next_uses[request.first_reference + position];
      const std::uint64_t rank = Rank(next, position);
      if (!kept.Contains(block)) {
        if (next == kNeverAgain) continue;
        if (kept.size() == capacity_blocks) {
          if (rank > kept.HighestRank()) continue;
          kept.RemoveHighest();
        }
        ++result.run.blocks_put;
      }
      kept.Set(block, rank);
    }
    if (!steps.Add(chain.size())) {
      result.stopped = true;
      break;
    }
  }
  (void)steps.Flush();
  return result;
}

}  // namespace terrace::replay
