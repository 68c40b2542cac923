// BlockLinks: doubly linked lists of blocks in an array of numbers, for policies. A block is in at
// most one list; which one, its owner knows.
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

  explicit BlockLinks(std::size_t capacity_blocks) : links_(capacity_blocks) {
    TERRACE_CHECK(capacity_blocks <= kAbsent);
  }

  [[nodiscard]] bool Linked(BlockId block) const noexcept {
    return block < links_.size() && links_[block].next != kAbsent;
  }
  /// Towards the back; kNoBlock after the last. REQUIRES: linked.
  [[nodiscard]] BlockId Next(BlockId block) const noexcept {
    TERRACE_CHECK(Linked(block));
    return links_[block].next;
  }

  /// Towards the front; kNoBlock before the first. REQUIRES: linked.
  [[nodiscard]] BlockId Previous(BlockId block) const noexcept {
    TERRACE_CHECK(Linked(block));
    return links_[block].previous;
  }

  void PushBack(List& list, BlockId block) { InsertBefore(list, block, kNoBlock); }

  /// Right before `other`, at the back when that is kNoBlock. REQUIRES: `block` is in no list,
  /// `other` in this one.
  void InsertBefore(List& list, BlockId block, BlockId other) {
    TERRACE_CHECK(block < links_.size() && !Linked(block));
    BlockId& above_previous = other == kNoBlock ? list.back : links_[other].previous;
    const BlockId below = above_previous;
    links_[block] = {.next = other, .previous = below};
    above_previous = block;
    (below == kNoBlock ? list.front : links_[below].next) = block;
    ++list.size;
  }

  /// REQUIRES: it is in this list.
  void Unlink(List& list, BlockId block) {
    TERRACE_CHECK(Linked(block));
    const BlockId below = links_[block].previous;
    const BlockId above = links_[block].next;
    (below == kNoBlock ? list.front : links_[below].next) = above;
    (above == kNoBlock ? list.back : links_[above].previous) = below;
    links_[block].next = kAbsent;
    --list.size;
  }

  static constexpr std::size_t kBytesPerBlock = 2 * sizeof(BlockId);

 private:
  static constexpr BlockId kAbsent = kNoBlock - 1;  // as next: in no list

  struct Link {
    BlockId next = kAbsent;
    BlockId previous = kNoBlock;
  };

  std::vector<Link> links_;
};

}  // namespace terrace
