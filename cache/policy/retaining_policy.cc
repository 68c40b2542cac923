#include "cache/policy/retaining_policy.h"

#include <utility>

#include "base/check.h"
#include "cache/policy/policies.h"

namespace terrace {

RetainingPolicy::RetainingPolicy(std::unique_ptr<EvictionPolicy> ordinary,
                                 std::size_t capacity_blocks)
    : ordinary_(std::move(ordinary)), keeps_(capacity_blocks, false) {}

NewBlock RetainingPolicy::AmongOrdinary(const NewBlock& block) const {
  NewBlock result = block;
  if (block.parent != kNoBlock && keeps_[block.parent]) result.parent = kNoBlock;
  return result;
}

RequestFacts RetainingPolicy::Extend(const Extension& extension) {
  Extension ordinary = extension;
  if (extension.parent != kNoBlock && keeps_[extension.parent]) ordinary.parent = kNoBlock;
  return ordinary_->Extend(ordinary);
}

void RetainingPolicy::Insert(const NewBlock& block) {
  TERRACE_CHECK(block.block < keeps_.size());
  if (keeps_[block.block]) return kept_.Insert(block.block, block.parent);
  ordinary_->Insert(AmongOrdinary(block));
}

void RetainingPolicy::PutOff(const NewBlock& block) {
  if (keeps_[block.block]) return kept_.Touch({&block.block, 1});
  ordinary_->PutOff(AmongOrdinary(block));
}

void RetainingPolicy::Remove(BlockId block) {
  if (keeps_[block]) return kept_.Remove(block);
  ordinary_->Remove(block);
}

void RetainingPolicy::Evict(BlockId block) {
  if (keeps_[block]) return kept_.Remove(block);
  ordinary_->Evict(block);
}

double RetainingPolicy::ReuseWithin(BlockId block, std::uint64_t blocks) const noexcept {
  return keeps_[block] ? 1 : ordinary_->ReuseWithin(block, blocks);
}

void RetainingPolicy::Touch(std::span<const BlockId> chain, const RequestFacts& request) {
  if (kept_.First() == kNoBlock) return ordinary_->Touch(chain, request);
  std::vector<BlockId> ordinary;
  std::vector<BlockId> kept;
  for (const BlockId block : chain) (keeps_[block] ? kept : ordinary).push_back(block);
  ordinary_->Touch(ordinary, request);
  kept_.Touch(kept);
}

BlockId RetainingPolicy::First() {
  const BlockId first = ordinary_->First();
  return first != kNoBlock ? first : kept_.First();
}

BlockId RetainingPolicy::After(BlockId block) const noexcept {
  if (keeps_[block]) return kept_.After(block);
  const BlockId next = ordinary_->After(block);
  return next != kNoBlock ? next : kept_.First();
}

std::size_t RetainingPolicy::BytesPerBlock() const noexcept {
  return ordinary_->BytesPerBlock() + 1;  // a bit
}

void RetainingPolicy::SetKept(const NewBlock& block, bool kept, bool present) {
  TERRACE_CHECK(keeps_[block.block] != kept);
  if (present) Remove(block.block);
  keeps_[block.block] = kept;
  if (present) Insert(block);
}

}  // namespace terrace
