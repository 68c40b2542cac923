// BlockLinks: doubly linked lists of blocks in two arrays of numbers, for policies. A block is in
// at most one list; which one, its owner knows.
#pragma once

#include <cstddef>
#include <vector>

#include "base/check.h"
#include "cache/policy/eviction_policy.h"

namespace terrace {

class BlockLinks {
 public:
  /// Ends are kNoBlock when it is empty.
  struct List {
    BlockId front = kNoBlock;
    BlockId back = kNoBlock;
    std::size_t size = 0;
  };

  explicit BlockLinks(std::size_t capacity_blocks)
      : next_(capacity_blocks, kAbsent), previous_(capacity_blocks, kNoBlock) {
    TERRACE_CHECK(capacity_blocks <= kAbsent);
  }

  [[nodiscard]] bool Linked(BlockId block) const noexcept {
    return block < next_.size() && next_[block] != kAbsent;
  }
  /// Towards the back; kNoBlock after the last. REQUIRES: linked.
  [[nodiscard]] BlockId Next(BlockId block) const noexcept {
    TERRACE_CHECK(Linked(block));
    return next_[block];
  }

  /// Towards the front; kNoBlock before the first. REQUIRES: linked.
  [[nodiscard]] BlockId Previous(BlockId block) const noexcept {
    TERRACE_CHECK(Linked(block));
    return previous_[block];
  }

  void PushBack(List& list, BlockId block) { InsertBefore(list, block, kNoBlock); }

  /// Right before `other`, at the back when that is kNoBlock. REQUIRES: `block` is in no list,
  /// `other` in this one.
  void InsertBefore(List& list, BlockId block, BlockId other) {
    TERRACE_CHECK(block < next_.size() && !Linked(block));
    BlockId& above_previous = other == kNoBlock ? list.back : previous_[other];
    const BlockId below = above_previous;
    previous_[block] = below;
    next_[block] = other;
    above_previous = block;
    (below == kNoBlock ? list.front : next_[below]) = block;
    ++list.size;
  }

  /// REQUIRES: it is in this list.
  void Unlink(List& list, BlockId block) {
    TERRACE_CHECK(Linked(block));
    const BlockId below = previous_[block];
    const BlockId above = next_[block];
    (below == kNoBlock ? list.front : next_[below]) = above;
    (above == kNoBlock ? list.back : previous_[above]) = below;
    next_[block] = kAbsent;
    --list.size;
  }

  static constexpr std::size_t kBytesPerBlock = 2 * sizeof(BlockId);

 private:
  static constexpr BlockId kAbsent = kNoBlock - 1;  // in next_: in no list

  std::vector<BlockId> next_;
  std::vector<BlockId> previous_;
};

}  // namespace terrace
