// BlockSources: where the blocks of a match come from, so that the bytes of any range of them are
// counted in a few steps.
//
// Model. Stretches of blocks of one source; before each n-th of them, n being the number of
// sources, how many blocks of each source there were. Memory is 10 bytes a stretch at most, however
// many sources there are; to count takes a step for each source and two searches. Pure; any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "client/types.hpp"

namespace terrace {

/// What continuing after `stop` blocks needs of a group with that policy.
[[nodiscard]] BlockSpan BlocksNeeded(const GroupPolicy& policy, std::uint32_t stop) noexcept;

/// One group of one shard.
class BlockSources {
 public:
  /// `of_block`: per block its source, or kNoSource; all below `source_count`.
  BlockSources(const GroupPolicy& policy, std::uint64_t block_bytes,
               std::span<const std::uint16_t> of_block, std::size_t source_count);

  [[nodiscard]] const GroupPolicy& policy() const noexcept { return policy_; }
  [[nodiscard]] std::uint64_t block_bytes() const noexcept { return block_bytes_; }
  /// Adds the bytes of blocks [first, end) to those of their sources. REQUIRES: end is at most the
  /// number of blocks.
  void AddBytes(std::uint32_t first, std::uint32_t end, std::span<std::uint64_t> bytes) const;
  /// Where stretches of one source begin, ascending; the first is 0.
  [[nodiscard]] std::span<const std::uint32_t> stretches() const noexcept { return begins_; }
  [[nodiscard]] std::uint16_t SourceOfStretch(std::size_t stretch) const noexcept {
    return of_stretch_[stretch];
  }

  /// Memory that its tables use, bytes.
  [[nodiscard]] std::size_t Bytes() const noexcept {
    return begins_.size() * sizeof(begins_[0]) + of_stretch_.size() * sizeof(of_stretch_[0]) +
           before_.size() * sizeof(before_[0]);
  }

 private:
  static constexpr std::size_t kRowMin = 4;

  [[nodiscard]] std::size_t RowEvery() const noexcept { return std::max(source_count_, kRowMin); }
  [[nodiscard]] std::size_t StretchOf(std::uint32_t position) const;

  GroupPolicy policy_;
  std::uint64_t block_bytes_;
  std::size_t source_count_;
  std::uint32_t blocks_;
  std::vector<std::uint32_t> begins_;
  std::vector<std::uint16_t> of_stretch_;
  // [row][source]: blocks of that source before stretch (row + 1) x RowEvery().
  std::vector<std::uint32_t> before_;
};

}  // namespace terrace
