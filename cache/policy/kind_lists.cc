#include "cache/policy/kind_lists.h"

namespace terrace {

void KindLists::Append(BlockId block) {
  const std::size_t kind = state_[block].kind;
  List& list = lists_[kind];
  Change(kind);
  const bool begins = list.blocks.size == 0 || state_[list.blocks.back].when != state_[block].when;
  if (begins) list.deepest = block;
  ++blocks_;
  links_.PushBack(list.blocks, block);
}

void KindLists::InsertBefore(BlockId block, BlockId other) {
  const std::size_t kind = state_[block].kind;
  List& list = lists_[kind];
  Change(kind);
  ++blocks_;
  links_.InsertBefore(list.blocks, block, other);
  if (list.deepest == other) list.deepest = block;
  if (list.closed_deepest == other) list.closed_deepest = block;
}

void KindLists::Unlink(BlockId block) {
  const std::size_t kind = state_.at(block).kind;
  List& list = lists_[kind];
  Change(kind);
  const BlockId next = links_.Next(block);
  const BlockId before = links_.Previous(block);
  const bool more = next != kNoBlock && state_[next].when == state_[block].when;
  if (!more && next != kNoBlock && before != kNoBlock && state_[before].when == state_[next].when) {
    // Two groups of one tick become one.
    if (list.deepest == next) list.deepest = kNoBlock;
    if (list.closed_deepest == next) list.closed_deepest = kNoBlock;
  }
  if (list.deepest == block) list.deepest = more ? next : kNoBlock;
  if (list.closed_deepest == block) list.closed_deepest = more ? next : kNoBlock;
  if (list.closed_head == block) list.closed_head = kNoBlock;
  --blocks_;
  links_.Unlink(list.blocks, block);
}

BlockId KindLists::DeepestOf(BlockId head) const noexcept {
  for (BlockId block = head;;) {
    const BlockId before = links_.Previous(block);
    if (before == kNoBlock || state_[before].when != state_[head].when) return block;
    block = before;
  }
}

BlockId KindLists::Youngest(std::size_t kind, std::uint32_t open) {
  List& list = lists_[kind];
  if (list.blocks.size == 0) return kNoBlock;
  if (list.deepest == kNoBlock) list.deepest = DeepestOf(list.blocks.back);
  if (state_[list.deepest].when != open) return list.deepest;
  const BlockId head = links_.Previous(list.deepest);
  if (head == kNoBlock) return kNoBlock;
  if (list.closed_head != head || list.closed_deepest == kNoBlock) {
    list.closed_head = head;
    list.closed_deepest = DeepestOf(head);
  }
  return list.closed_deepest;
}

BlockId KindLists::FromYoung(BlockId block, std::uint32_t open) const noexcept {
  const List& list = lists_[state_[block].kind];
  const BlockId next = links_.Next(block);
  if (next != kNoBlock && state_[next].when == state_[block].when) return next;
  if (next == kNoBlock && state_[block].when == open) return kNoBlock;  // the one under way ends
  const BlockId head = links_.Previous(DeepestOf(block));
  if (head != kNoBlock) return DeepestOf(head);
  return state_[list.blocks.back].when == open ? DeepestOf(list.blocks.back) : kNoBlock;
}

}  // namespace terrace
