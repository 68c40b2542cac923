#include "client/plan/block_sources.h"

#include <algorithm>

namespace terrace {

BlockSpan BlocksNeeded(const GroupPolicy& policy, std::uint32_t stop) noexcept {
  std::uint32_t count = stop;
  if (policy.policy == StopPolicy::kTrailing) count = std::min(policy.blocks, stop);
  if (policy.policy == StopPolicy::kExact) count = std::min(1U, stop);
  return {.first = stop - count, .count = count};
}

BlockSources::BlockSources(const GroupPolicy& policy, std::uint64_t block_bytes,
                           std::span<const std::uint16_t> of_block, std::size_t source_count)
    : policy_(policy),
      block_bytes_(block_bytes),
      source_count_(source_count),
      blocks_(static_cast<std::uint32_t>(of_block.size())) {
  std::vector<std::uint32_t> so_far(source_count);
  std::uint16_t source = kNoSource;
  for (std::uint32_t position = 0; position < of_block.size(); ++position) {
    if (position == 0 || of_block[position] != source) {
      if (!begins_.empty() && begins_.size() % RowEvery() == 0) {
        before_.insert(before_.end(), so_far.begin(), so_far.end());
      }
      source = of_block[position];
      begins_.push_back(position);
      of_stretch_.push_back(source);
    }
    if (source != kNoSource) ++so_far[source];
  }
}

std::size_t BlockSources::StretchOf(std::uint32_t position) const {
  return static_cast<std::size_t>(std::ranges::upper_bound(begins_, position) - begins_.begin()) -
         1;
}

void BlockSources::AddBytes(std::uint32_t first, std::uint32_t end,
                            std::span<std::uint64_t> bytes) const {
  if (first >= end || begins_.empty()) return;
  const std::size_t from = StretchOf(first);
  const std::size_t to = StretchOf(end - 1);
  const auto walk = [&](std::size_t stretch, std::size_t stretch_end) {
    for (; stretch < stretch_end; ++stretch) {
      if (of_stretch_[stretch] == kNoSource) continue;
      const bool last = stretch + 1 == begins_.size();
      const std::uint32_t begins = std::max(begins_[stretch], first);
      const std::uint32_t ends = std::min(last ? blocks_ : begins_[stretch + 1], end);
      bytes[of_stretch_[stretch]] += block_bytes_ * (ends - begins);
    }
  };
  // Whole rows between two that are stored, and what is before and behind them stretch by stretch.
  const std::size_t low = from / RowEvery() + 1;
  const std::size_t high = to / RowEvery();
  if (low >= high) return walk(from, to + 1);
  walk(from, low * RowEvery());
  const std::uint32_t* const before_low = &before_[(low - 1) * source_count_];
  const std::uint32_t* const before_high = &before_[(high - 1) * source_count_];
  for (std::size_t source = 0; source < source_count_; ++source) {
    bytes[source] += block_bytes_ * (before_high[source] - before_low[source]);
  }
  walk(high * RowEvery(), to + 1);
}

}  // namespace terrace
