// RetainingPolicy: a policy over another, so that blocks that are kept leave after all others.
//
// Model. Each block is in the ordinary policy or in the kept one, by a bit that its owner sets and
// that stays while the block is not present at all. Candidates are the ordinary ones in their
// order, then the kept ones, those least recently used first and suffixes before prefixes, whatever
// the ordinary policy is. Constant time per block; eviction never walks over kept
// blocks to find others.
//
// A block whose parent is in the other policy counts as the first of its chain there.
// Thread: the owning reactor's.
#pragma once

#include <memory>
#include <vector>

#include "cache/policy/eviction_policy.h"
#include "cache/policy/kept_blocks.h"

namespace terrace {

class RetainingPolicy final : public EvictionPolicy {
 public:
  /// `ordinary` holds `capacity_blocks`.
  RetainingPolicy(std::unique_ptr<EvictionPolicy> ordinary, std::size_t capacity_blocks);

  [[nodiscard]] std::string_view name() const noexcept override { return ordinary_->name(); }
  void Insert(const NewBlock& block) override;
  [[nodiscard]] RequestFacts Extend(const Extension& extension) override;
  void Touch(std::span<const BlockId> chain, const RequestFacts& request) override;
  void PutOff(const NewBlock& block) override;
  void Remove(BlockId block) override;
  void Evict(BlockId block) override;
  [[nodiscard]] bool Promotes(BlockId block) const noexcept override {
    return ordinary_->Promotes(block);
  }
  [[nodiscard]] double ReuseWithin(BlockId block, std::uint64_t blocks) const noexcept override;
  [[nodiscard]] double CostFactor(BlockId block) const noexcept override {
    return keeps_[block] ? 1 : ordinary_->CostFactor(block);
  }
  [[nodiscard]] RequestFacts FactsOf(BlockId block) const override {
    return keeps_[block] ? RequestFacts{} : ordinary_->FactsOf(block);
  }
  [[nodiscard]] std::unique_ptr<EvictionPolicy> Follower(std::size_t capacity) const override {
    return ordinary_->Follower(capacity);
  }
  [[nodiscard]] std::unique_ptr<EvictionPolicy> Learner(std::size_t capacity,
                                                        std::size_t held) const override {
    return ordinary_->Learner(capacity, held);
  }
  [[nodiscard]] std::uint64_t IgnoredHints() const noexcept override {
    return ordinary_->IgnoredHints();
  }
  [[nodiscard]] BlockId First() override;
  [[nodiscard]] BlockId After(BlockId block) const noexcept override;
  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override;
  [[nodiscard]] std::size_t FixedBytes() const noexcept override { return ordinary_->FixedBytes(); }

  /// The first of the kept ones.
  [[nodiscard]] BlockId FirstKept() const { return kept_.First(); }
  [[nodiscard]] bool Keeps(BlockId block) const noexcept { return keeps_[block]; }
  /// `present`: it is in this policy; the rest of `block` counts then only. REQUIRES: a change.
  void SetKept(const NewBlock& block, bool kept, bool present);

 private:
  /// Without a parent that is kept. REQUIRES: the block is not.
  [[nodiscard]] NewBlock AmongOrdinary(const NewBlock& block) const;

  const std::unique_ptr<EvictionPolicy> ordinary_;
  KeptBlocks kept_;
  std::vector<bool> keeps_;
};

}  // namespace terrace
