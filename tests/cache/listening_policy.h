// A policy that notes what it is told of requests; else it is the default one.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/policy/policies.h"

namespace terrace::testing {

/// "touch", "extend", "insert" or "return" (insert of a block that comes back from a lower tier),
/// and the facts that came with it.
struct Heard {
  std::string call;
  RequestFacts facts;
};

/// What every ListeningPolicy has heard since Clear. One thread.
inline std::vector<Heard>& HeardFacts() {
  static std::vector<Heard> heard;
  return heard;
}

class ListeningPolicy final : public EvictionPolicy {
 public:
  explicit ListeningPolicy(std::size_t capacity_blocks)
      : policy_(MakeLeafLruPolicy(capacity_blocks)) {}
  static std::unique_ptr<EvictionPolicy> Make(std::size_t capacity_blocks) {
    return std::make_unique<ListeningPolicy>(capacity_blocks);
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "listening"; }
  [[nodiscard]] RequestFacts Extend(const Extension& extension) override {
    HeardFacts().push_back({"extend", extension.request});
    return policy_->Extend(extension);
  }
  void Insert(const NewBlock& block) override {
    HeardFacts().push_back({block.returns ? "return" : "insert", block.request});
    policy_->Insert(block);
  }
  void Touch(std::span<const BlockId> chain, const RequestFacts& request) override {
    if (!chain.empty()) HeardFacts().push_back({"touch", request});
    policy_->Touch(chain, request);
  }
  void Remove(BlockId block) override { policy_->Remove(block); }
  [[nodiscard]] BlockId First() override { return policy_->First(); }
  [[nodiscard]] BlockId After(BlockId block) const noexcept override {
    return policy_->After(block);
  }
  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override {
    return policy_->BytesPerBlock();
  }

 private:
  std::unique_ptr<EvictionPolicy> policy_;
};

inline constexpr PolicyKind kListeningPolicy{
    .name = "listening", .what = "for tests", .make = ListeningPolicy::Make};

}  // namespace terrace::testing
