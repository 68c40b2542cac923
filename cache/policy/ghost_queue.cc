#include "cache/policy/ghost_queue.h"

#include <bit>

#include "base/check.h"

namespace terrace {

GhostQueue::GhostQueue(std::size_t length)
    : links_(length), tag_(length), table_(std::bit_ceil(2 * length), kEmpty) {
  TERRACE_CHECK(length >= 1);
  for (std::size_t entry = 0; entry < length; ++entry) {
    links_.PushBack(free_, static_cast<BlockId>(entry));
  }
}

std::size_t GhostQueue::Home(std::uint32_t tag) const noexcept { return tag & (table_.size() - 1); }

std::size_t GhostQueue::FindSlot(std::uint32_t tag) const noexcept {
  std::size_t slot = Home(tag);
  while (table_[slot] != kEmpty && tag_[table_[slot]] != tag) {
    slot = (slot + 1) & (table_.size() - 1);
  }
  return slot;
}

void GhostQueue::Drop(std::size_t slot) {
  const BlockId entry = table_[slot];
  links_.Unlink(queue_, entry);
  links_.PushBack(free_, entry);
  // Close the gap, so that no search ends too early.
  const std::size_t mask = table_.size() - 1;
  std::size_t gap = slot;
  for (std::size_t at = (slot + 1) & mask; table_[at] != kEmpty; at = (at + 1) & mask) {
    const std::size_t home = Home(tag_[table_[at]]);
    if (((at - home) & mask) >= ((at - gap) & mask)) {
      table_[gap] = table_[at];
      gap = at;
    }
  }
  table_[gap] = kEmpty;
}

void GhostQueue::Push(std::uint32_t tag, std::size_t keep) {
  TERRACE_CHECK(keep >= 1 && keep <= tag_.size());
  Take(tag);
  while (queue_.size >= keep) Drop(FindSlot(tag_[queue_.front]));
  const BlockId entry = free_.front;
  links_.Unlink(free_, entry);
  links_.PushBack(queue_, entry);
  tag_[entry] = tag;
  table_[FindSlot(tag)] = entry;
}

bool GhostQueue::Take(std::uint32_t tag) {
  const std::size_t slot = FindSlot(tag);
  if (table_[slot] == kEmpty) return false;
  Drop(slot);
  return true;
}

}  // namespace terrace
