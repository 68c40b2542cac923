#include "cache/policy/retaining_policy.h"

#include <utility>

#include "base/check.h"
#include "cache/policy/policies.h"

namespace terrace {

RetainingPolicy::RetainingPolicy(std::unique_ptr<EvictionPolicy> ordinary,
                                 std::size_t capacity_blocks)
    : ordinary_(std::move(ordinary)),
      kept_(MakeLeafLruPolicy(capacity_blocks)),
      keeps_(capacity_blocks, false) {}

void RetainingPolicy::Insert(const NewBlock& block) {
  TERRACE_CHECK(block.block < keeps_.size());
  NewBlock among_its_kind = block;
  if (block.parent != kNoBlock && keeps_[block.parent] != keeps_[block.block]) {
    among_its_kind.parent = kNoBlock;
  }
  Of(block.block).Insert(among_its_kind);
}

void RetainingPolicy::Touch(std::span<const BlockId> chain) {
  if (kept_->First() == kNoBlock) return ordinary_->Touch(chain);
  std::vector<BlockId> ordinary;
  std::vector<BlockId> kept;
  for (const BlockId block : chain) (keeps_[block] ? kept : ordinary).push_back(block);
  ordinary_->Touch(ordinary);
  kept_->Touch(kept);
}

BlockId RetainingPolicy::First() {
  const BlockId first = ordinary_->First();
  return first != kNoBlock ? first : kept_->First();
}

BlockId RetainingPolicy::After(BlockId block) const noexcept {
  if (keeps_[block]) return kept_->After(block);
  const BlockId next = ordinary_->After(block);
  return next != kNoBlock ? next : kept_->First();
}

std::size_t RetainingPolicy::BytesPerBlock() const noexcept {
  return ordinary_->BytesPerBlock() + kept_->BytesPerBlock() + 1;  // and a bit
}

void RetainingPolicy::SetKept(const NewBlock& block, bool kept, bool present) {
  TERRACE_CHECK(keeps_[block.block] != kept);
  if (present) Of(block.block).Remove(block.block);
  keeps_[block.block] = kept;
  if (present) Insert(block);
}

}  // namespace terrace
