#include "cache/policy/kept_blocks.h"

#include <iterator>

#include "base/check.h"

namespace terrace {

void KeptBlocks::Insert(BlockId block, BlockId parent) {
  TERRACE_CHECK(!Holds(block));
  const auto above = places_.find(parent);
  places_[block] = order_.insert(above == places_.end() ? order_.end() : above->second, block);
}

void KeptBlocks::Touch(std::span<const BlockId> chain) {
  for (std::size_t i = chain.size(); i-- > 0;) {
    order_.splice(order_.end(), order_, places_.at(chain[i]));
  }
}

void KeptBlocks::Remove(BlockId block) {
  const auto found = places_.find(block);
  TERRACE_CHECK(found != places_.end());
  order_.erase(found->second);
  places_.erase(found);
}

BlockId KeptBlocks::After(BlockId block) const {
  const auto next = std::next(std::list<BlockId>::const_iterator(places_.at(block)));
  return next == order_.end() ? kNoBlock : *next;
}

}  // namespace terrace
