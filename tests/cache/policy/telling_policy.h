// A policy that evicts as leaf-lru does and says how probable reuse is, for tests of what goes by
// EvictionPolicy::ReuseWithin.
//
// The category of the request that brings a block says it, in thousandths. Without one it follows
// from the block's identity: of one in eight nothing is known.
#pragma once

#include <memory>
#include <vector>

#include "cache/policy/policies.h"

namespace terrace::testing {

class TellingPolicy final : public EvictionPolicy {
 public:
  explicit TellingPolicy(std::size_t capacity_blocks)
      : order_(MakeLeafLruPolicy(capacity_blocks)), reuse_(capacity_blocks, 1) {}
  [[nodiscard]] std::string_view name() const noexcept override { return "telling"; }
  void Insert(const NewBlock& block) override {
    order_->Insert(block);
    const double told = block.request.category / 1000.0;
    const double of_itself =
        block.identity % 8 == 0 ? 1 : static_cast<double>(block.identity % 1000) / 1000;
    reuse_[block.block] = told > 0 ? told : of_itself;
  }
  void Touch(std::span<const BlockId> chain, const RequestFacts& request) override {
    order_->Touch(chain, request);
  }
  void Remove(BlockId block) override { order_->Remove(block); }
  [[nodiscard]] double ReuseWithin(BlockId block,
                                   std::uint64_t /*blocks*/) const noexcept override {
    return reuse_[block];
  }
  [[nodiscard]] BlockId First() override { return order_->First(); }
  [[nodiscard]] BlockId After(BlockId block) const noexcept override {
    return order_->After(block);
  }
  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override { return 0; }

 private:
  const std::unique_ptr<EvictionPolicy> order_;
  std::vector<double> reuse_;
};

inline constexpr PolicyKind kTellingPolicy = {
    "telling", "for tests", [](std::size_t capacity) -> std::unique_ptr<EvictionPolicy> {
      return std::make_unique<TellingPolicy>(capacity);
    }};

}  // namespace terrace::testing
