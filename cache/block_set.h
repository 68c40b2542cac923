// BlockSet: the BlockIds that one request has to do with. Sized once, never grows.
#pragma once

#include <bit>
#include <cstddef>
#include <vector>

#include "base/check.h"
#include "cache/policy/eviction_policy.h"

namespace terrace {

class BlockSet {
 public:
  explicit BlockSet(std::size_t most)
      : slots_(std::bit_ceil(2 * most + 1), kNoBlock), most_(most) {}

  /// False when it was there already. REQUIRES: block != kNoBlock, fewer than `most` blocks.
  bool Insert(BlockId block) {
    BlockId& slot = slots_[Place(block)];
    if (slot == block) return false;
    TERRACE_CHECK(size_ < most_);
    slot = block;
    ++size_;
    return true;
  }
  [[nodiscard]] bool Contains(BlockId block) const { return slots_[Place(block)] == block; }

 private:
  /// Where the block is, or the empty slot where it would be. Ends: half the slots are empty.
  [[nodiscard]] std::size_t Place(BlockId block) const {
    // Neighbouring ids are common; the odd constant (2^64 / golden ratio) spreads them.
    std::size_t place = (block * 0x9e3779b97f4a7c15ULL >> 32) & (slots_.size() - 1);
    while (slots_[place] != kNoBlock && slots_[place] != block) {
      place = (place + 1) & (slots_.size() - 1);
    }
    return place;
  }

  std::vector<BlockId> slots_;
  std::size_t most_;
  std::size_t size_ = 0;
};

}  // namespace terrace
