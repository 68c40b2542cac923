#include "client/block_sources.h"

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
    : policy_(policy), block_bytes_(block_bytes), source_count_(source_count) {
  std::vector<std::uint32_t> so_far(source_count);
  std::uint16_t source = kNoSource;
  for (std::uint32_t position = 0; position < of_block.size(); ++position) {
    if (position == 0 || of_block[position] != source) {
      source = of_block[position];
      begins_.push_back(position);
      of_stretch_.push_back(source);
      before_.insert(before_.end(), so_far.begin(), so_far.end());
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
  if (from != to) {
    const std::uint32_t* const before_from = &before_[from * source_count_];
    const std::uint32_t* const before_to = &before_[to * source_count_];
    for (std::size_t source = 0; source < source_count_; ++source) {
      bytes[source] += block_bytes_ * (before_to[source] - before_from[source]);
    }
  }
  // The first stretch counts from its beginning above, and the last one not at all.
  if (of_stretch_[from] != kNoSource) {
    bytes[of_stretch_[from]] -= block_bytes_ * (first - begins_[from]);
  }
  if (of_stretch_[to] != kNoSource) {
    bytes[of_stretch_[to]] += block_bytes_ * (end - begins_[to]);
  }
}

}  // namespace terrace
