// BlockSources: where the blocks of a match come from, so that the bytes of any range of them are
// counted in a few steps. Pure; any thread.
#pragma once

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
  /// Adds the bytes of blocks [first, end) to those of their sources.
  void AddBytes(std::uint32_t first, std::uint32_t end, std::span<std::uint64_t> bytes) const;
  /// Where stretches of one source begin, ascending; the first is 0.
  [[nodiscard]] std::span<const std::uint32_t> stretches() const noexcept { return begins_; }
  [[nodiscard]] std::uint16_t SourceOfStretch(std::size_t stretch) const noexcept {
    return of_stretch_[stretch];
  }

 private:
  [[nodiscard]] std::size_t StretchOf(std::uint32_t position) const;

  GroupPolicy policy_;
  std::uint64_t block_bytes_;
  std::size_t source_count_;
  std::vector<std::uint32_t> begins_;
  std::vector<std::uint16_t> of_stretch_;
  // [stretch][source]: blocks of that source before the stretch.
  std::vector<std::uint32_t> before_;
};

}  // namespace terrace
