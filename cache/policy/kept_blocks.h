// KeptBlocks: the blocks that labels keep, least recently used first, suffixes before prefixes.
//
// They are few beside all blocks, so it has memory for those that there are and none for the
// others. Constant time a block. Thread: the owner's.
#pragma once

#include <list>
#include <span>
#include <unordered_map>

#include "cache/policy/eviction_policy.h"

namespace terrace {

class KeptBlocks {
 public:
  [[nodiscard]] bool Holds(BlockId block) const { return places_.contains(block); }
  /// Right before its parent if that is here, else as the most recently used. REQUIRES: not held.
  void Insert(BlockId block, BlockId parent);
  /// REQUIRES: all held; in prefix order.
  void Touch(std::span<const BlockId> chain);
  /// REQUIRES: held.
  void Remove(BlockId block);

  /// kNoBlock when there is none.
  [[nodiscard]] BlockId First() const { return order_.empty() ? kNoBlock : order_.front(); }
  /// kNoBlock after the last. REQUIRES: held.
  [[nodiscard]] BlockId After(BlockId block) const;

 private:
  std::list<BlockId> order_;
  std::unordered_map<BlockId, std::list<BlockId>::iterator> places_;
};

}  // namespace terrace
