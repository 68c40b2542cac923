#include "cache/policy/kind_lists.h"

#include "base/check.h"
#include "cache/policy/cost_classes.h"

namespace terrace {

void KindLists::Resize(std::size_t kinds) {
  TERRACE_CHECK(kinds <= kKindsMax);
  while (usual_.size() < kinds) {
    usual_.push_back(AddList(static_cast<std::uint16_t>(usual_.size()), 0));
  }
}

std::uint16_t KindLists::AddList(std::uint16_t kind, std::int8_t cost_class) {
  lists_.push_back(
      {.kind = kind, .cost_class = cost_class, .factor = CostClasses::FactorOf(cost_class)});
  changed_.push_back(1);
  return static_cast<std::uint16_t>(lists_.size() - 1);
}

std::uint16_t KindLists::OtherListOf(std::uint16_t kind, std::int8_t cost_class) {
  const std::uint32_t key = std::uint32_t{kind} << 8 | static_cast<std::uint8_t>(cost_class);
  const auto found = others_.find(key);
  if (found != others_.end()) return found->second;
  if (others_.size() >= kOthersMax) return usual_[kind];
  return others_[key] = AddList(kind, cost_class);
}

void KindLists::Append(BlockId block) {
  const std::size_t number = state_[block].list;
  List& list = lists_[number];
  Change(number);
  const bool begins = list.blocks.size == 0 || state_[list.blocks.back].when != state_[block].when;
  if (begins) list.deepest = block;
  ++blocks_;
  links_.PushBack(list.blocks, block);
}

void KindLists::InsertBefore(BlockId block, BlockId other) {
  const std::size_t number = state_[block].list;
  List& list = lists_[number];
  Change(number);
  ++blocks_;
  links_.InsertBefore(list.blocks, block, other);
  if (list.deepest == other) list.deepest = block;
  if (list.closed_deepest == other) list.closed_deepest = block;
}

void KindLists::Unlink(BlockId block) {
  const std::size_t number = state_.at(block).list;
  List& list = lists_[number];
  Change(number);
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

BlockId KindLists::Youngest(std::size_t number, std::uint32_t open) {
  List& list = lists_[number];
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
  const List& list = lists_[state_[block].list];
  const BlockId next = links_.Next(block);
  if (next != kNoBlock && state_[next].when == state_[block].when) return next;
  if (next == kNoBlock && state_[block].when == open) return kNoBlock;  // the one under way ends
  const BlockId head = links_.Previous(DeepestOf(block));
  if (head != kNoBlock) return DeepestOf(head);
  return state_[list.blocks.back].when == open ? DeepestOf(list.blocks.back) : kNoBlock;
}

}  // namespace terrace
