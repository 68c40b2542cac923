// The policy terrace must never lose or invent a block, whatever it has learned.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <set>
#include <vector>

#include "base/random.h"
#include "cache/policy/policies.h"

namespace terrace {
namespace {

std::vector<BlockId> Order(EvictionPolicy& policy, std::size_t most) {
  std::vector<BlockId> order;
  for (BlockId block = policy.First(); block != kNoBlock; block = policy.After(block)) {
    order.push_back(block);
    if (order.size() > most) break;  // it goes round in circles
  }
  return order;
}

/// Random calls of all kinds, as a cache with many clients could make them.
class RandomCalls {
 public:
  RandomCalls(std::uint64_t seed, std::size_t capacity)
      : random_(seed),
        capacity_(capacity),
        hinted_(seed == 1 ? 0.5 : 0.03),
        policy_(MakeTerracePolicy(capacity)) {}

  void Step() {
    const std::uint64_t what = random_.Below(10);
    if (what < 2) {
      Bring({.block = Absent(), .parent = Parent()});
    } else if (what < 4) {
      Extend();
    } else if (what < 7) {
      Touch();
    } else if (what == 7) {
      PutOff();
    } else if (!present_.empty()) {
      const BlockId block = random_.Chance(0.5) ? policy_->First() : Any();
      ASSERT_TRUE(present_.contains(block)) << "it offers a block that is gone";
      if (what == 8) {
        policy_->Evict(block);
      } else {
        policy_->Remove(block);
      }
      present_.erase(block);
    }
  }
  void Check() {
    const std::vector<BlockId> order = Order(*policy_, capacity_);
    ASSERT_EQ(order.size(), present_.size());
    ASSERT_EQ(std::set<BlockId>(order.begin(), order.end()), present_);
    for (const BlockId block : order) {
      const double soon = policy_->ReuseWithin(block, random_.Below(1000));
      const double later = policy_->ReuseWithin(block, 1000 + random_.Next() / 2);
      ASSERT_GE(soon, 0);
      ASSERT_LE(soon, later);
      ASSERT_LE(later, 1);
    }
  }

 private:
  BlockId Any() {
    return *std::next(present_.begin(),
                      static_cast<std::ptrdiff_t>(random_.Below(present_.size())));
  }
  BlockId Parent() { return present_.empty() || random_.Chance(0.3) ? kNoBlock : Any(); }
  BlockId Absent() {
    if (present_.size() == capacity_) return kNoBlock;
    for (;;) {
      const auto block = static_cast<BlockId>(random_.Below(capacity_));
      if (!present_.contains(block)) return block;
    }
  }
  RequestFacts Facts() {
    RequestFacts facts{.tenant = static_cast<std::uint32_t>(random_.Below(5))};
    if (random_.Chance(0.5)) {
      facts.space = static_cast<std::uint32_t>(random_.Below(4));
      facts.block_bytes = 4096U << random_.Below(10);
      facts.cost_per_byte = static_cast<float>(random_.Below(1000));
    }
    if (!random_.Chance(hinted_)) return facts;
    facts.category = static_cast<std::uint32_t>(random_.Below(random_.Chance(0.1) ? 100'000 : 4));
    facts.turn = static_cast<std::uint16_t>(random_.Chance(0.1) ? 65535 : random_.Below(9));
    facts.continuation = static_cast<Continuation>(random_.Below(3));
    return facts;
  }
  void Bring(NewBlock block) {
    if (block.block == kNoBlock) return;
    if (!block.request.extended) block.request = Facts();
    block.identity = random_.Below(4 * capacity_ + 5) * 0x9e3779b97f4a7c15U;
    block.partial = random_.Chance(0.1);
    block.returns = random_.Chance(0.2);
    policy_->Insert(block);
    present_.insert(block.block);
  }
  void Extend() {
    std::vector<std::uint64_t> identities(1 + random_.Below(8));
    for (std::uint64_t& identity : identities) identity = random_.Below(4 * capacity_ + 5);
    BlockId parent = Parent();
    const auto position = static_cast<std::uint32_t>(parent == kNoBlock ? 0 : random_.Below(40));
    const RequestFacts facts =
        policy_->Extend({.parent = parent,
                         .position = position,
                         .blocks = static_cast<std::uint32_t>(identities.size()),
                         .identities = identities,
                         .request = Facts()});
    for (std::size_t i = 0; i < identities.size(); ++i) {
      if (random_.Chance(0.2)) Touch();  // other requests go on meanwhile
      if (random_.Chance(0.2) && !present_.empty()) {
        const BlockId victim = policy_->First();
        ASSERT_TRUE(present_.contains(victim));
        policy_->Evict(victim);
        present_.erase(victim);
      }
      const BlockId block = Absent();
      Bring({.block = block,
             .parent = present_.contains(parent) ? parent : kNoBlock,
             .position = position + static_cast<std::uint32_t>(i),
             .behind = static_cast<std::uint32_t>(identities.size() - i - 1),
             .request = facts});
      if (block != kNoBlock) parent = block;
    }
  }
  void Touch() {
    std::vector<BlockId> chain;
    for (const BlockId block : present_) {
      if (chain.size() < 6 && random_.Chance(0.3)) chain.push_back(block);
    }
    policy_->Touch(chain, Facts());
  }
  void PutOff() {
    if (present_.empty()) return;
    const BlockId block = random_.Chance(0.5) ? policy_->First() : Any();
    policy_->PutOff({.block = block, .parent = Parent(), .request = Facts()});
  }

  SeededRandom random_;
  const std::size_t capacity_;
  const double hinted_;  // share of requests; with many, all kinds there can be come up
  std::unique_ptr<EvictionPolicy> policy_;
  std::set<BlockId> present_;
};

// A block that is forgotten stays in memory for ever; one that is gone and offered is used twice.
TEST(TerracePolicyTest, WhateverHappensEachPresentBlockComesOnce) {
  for (const std::size_t capacity : {1U, 2U, 7U, 300U}) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE(testing::Message() << "capacity " << capacity << ", seed " << seed);
      RandomCalls calls(seed, capacity);
      for (int step = 0; step < 1500; ++step) {
        ASSERT_NO_FATAL_FAILURE(calls.Step()) << "step " << step;
        if (capacity < 100 || step % 13 == 0) ASSERT_NO_FATAL_FAILURE(calls.Check()) << step;
      }
    }
  }
}

}  // namespace
}  // namespace terrace
