// The order of eviction against a plain list, and the promise that suffixes go first.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <vector>

#include "base/random.h"
#include "cache/policy/policies.h"

namespace terrace {
namespace {

std::vector<BlockId> Order(EvictionPolicy& policy) {
  std::vector<BlockId> order;
  for (BlockId block = policy.First(); block != kNoBlock; block = policy.After(block)) {
    order.push_back(block);
  }
  return order;
}

TEST(LeafLruPolicyTest, EmptyPolicyNamesNoVictim) {
  const auto policy = MakeLeafLruPolicy(4);
  EXPECT_EQ(policy->First(), kNoBlock);
  EXPECT_EQ(policy->name(), "leaf-lru");
  EXPECT_LE(policy->BytesPerBlock(), 8U);
  policy->Insert({.block = 2});
  policy->Remove(2);
  EXPECT_EQ(policy->First(), kNoBlock);
}

TEST(LeafLruPolicyTest, SuffixLeavesBeforePrefix) {
  const auto policy = MakeLeafLruPolicy(8);
  policy->Insert({.block = 0});
  policy->Insert({.block = 1, .parent = 0});
  policy->Insert({.block = 2, .parent = 1});
  EXPECT_EQ(Order(*policy), (std::vector<BlockId>{2, 1, 0}));
  policy->Insert({.block = 5});
  policy->Insert(
      {.block = 3, .parent = 0});  // a second continuation of block 0: behind it, before block 1
  EXPECT_EQ(Order(*policy), (std::vector<BlockId>{2, 1, 3, 0, 5}));
  const std::vector<BlockId> chain = {0, 1};
  policy->Touch(chain, {});
  EXPECT_EQ(Order(*policy), (std::vector<BlockId>{2, 3, 5, 1, 0}));
  policy->Touch({}, {});
  policy->Touch(std::vector<BlockId>{0}, {});
  EXPECT_EQ(policy->After(0), kNoBlock);
}

class BruteForceLru {
 public:
  void Insert(BlockId block, BlockId parent) {
    order_.insert(parent == kNoBlock ? order_.end() : Find(parent), block);
  }
  void Touch(const std::vector<BlockId>& chain) {
    for (std::size_t i = chain.size(); i-- > 0;) {
      order_.erase(Find(chain[i]));
      order_.push_back(chain[i]);
    }
  }
  void Remove(BlockId block) { order_.erase(Find(block)); }
  [[nodiscard]] const std::vector<BlockId>& order() const { return order_; }

 private:
  std::vector<BlockId>::iterator Find(BlockId block) { return std::ranges::find(order_, block); }
  std::vector<BlockId> order_;
};

/// The chain from its first present block down to `block`, in prefix order.
std::vector<BlockId> ChainTo(const std::map<BlockId, BlockId>& parents, BlockId block) {
  std::vector<BlockId> chain;
  for (auto at = parents.find(block); at != parents.end(); at = parents.find(at->second)) {
    chain.push_back(at->first);
  }
  std::ranges::reverse(chain);
  return chain;
}

TEST(LeafLruPolicyTest, RandomUseMatchesAPlainListAndNeverPutsAnAncestorFirst) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    constexpr BlockId kBlocks = 60;
    const auto policy = MakeLeafLruPolicy(kBlocks);
    BruteForceLru model;
    std::map<BlockId, BlockId> parents;  // of the present blocks; kNoBlock for a first one
    const auto any = [&] {
      return std::next(parents.begin(), static_cast<std::ptrdiff_t>(random.Below(parents.size())))
          ->first;
    };
    for (int step = 0; step < 600; ++step) {
      const auto block = static_cast<BlockId>(random.Below(kBlocks));
      if (!parents.contains(block)) {
        const BlockId parent = parents.empty() || random.Chance(0.3) ? kNoBlock : any();
        policy->Insert({.block = block, .parent = parent});
        model.Insert(block, parent);
        parents[block] = parent;
      } else if (random.Chance(0.5)) {
        const std::vector<BlockId> chain = ChainTo(parents, any());
        policy->Touch(chain, {});
        model.Touch(chain);
      } else {
        // Mostly the victim; now and then a removal in the middle (a client's remove), with the
        // whole of what hangs on it, because a chain with a hole is not touched as a prefix.
        const BlockId victim = random.Chance(0.7) ? policy->First() : any();
        std::vector<BlockId> gone;
        for (const auto& [other, parent] : parents) {
          if (std::ranges::count(ChainTo(parents, other), victim) != 0) gone.push_back(other);
        }
        if (victim == policy->First()) ASSERT_EQ(gone.size(), 1U) << "an ancestor goes first";
        for (const BlockId other : gone) {
          policy->Remove(other);
          model.Remove(other);
          parents.erase(other);
        }
      }
      ASSERT_EQ(Order(*policy), model.order());
      for (std::size_t i = 0; i < model.order().size(); ++i) {
        const BlockId parent = parents.at(model.order()[i]);
        if (parent == kNoBlock) continue;
        const auto at = std::ranges::find(model.order(), parent);
        ASSERT_GT(at - model.order().begin(), static_cast<std::ptrdiff_t>(i));
      }
    }
  }
}

TEST(LruPolicyDeathTest, MisuseAborts) {
  const auto policy = MakeLeafLruPolicy(4);
  policy->Insert({.block = 1});
  EXPECT_DEATH(policy->Insert({.block = 1}), "invariant failed");
  EXPECT_DEATH(policy->Insert({.block = 4}), "invariant failed");
  EXPECT_DEATH(policy->Insert({.block = 2, .parent = 3}), "invariant failed");
  EXPECT_DEATH(policy->Remove(2), "invariant failed");
  EXPECT_DEATH(policy->Touch(std::vector<BlockId>{1, 2}, {}), "invariant failed");
}

}  // namespace
}  // namespace terrace
