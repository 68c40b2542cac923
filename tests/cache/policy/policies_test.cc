// Every policy against its contract, and against a slow one that is plainly right.
#include "cache/policy/policies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "cache/policy/retaining_policy.h"
#include "tests/cache/policy/plain_policies.h"

namespace terrace {
namespace {

class PoliciesTest : public testing::TestWithParam<PolicyKind> {
 protected:
  static std::vector<BlockId> Order(EvictionPolicy& policy) {
    std::vector<BlockId> order;
    for (BlockId block = policy.First(); block != kNoBlock; block = policy.After(block)) {
      order.push_back(block);
      if (order.size() > 1000) break;  // it goes round in circles
    }
    return order;
  }
};

TEST_P(PoliciesTest, HasItsNameAndStartsEmpty) {
  const auto policy = GetParam().make(4);
  EXPECT_EQ(policy->name(), GetParam().name);
  EXPECT_EQ(policy->First(), kNoBlock);
  EXPECT_GT(policy->BytesPerBlock(), 0u);
  EXPECT_EQ(FindPolicy(GetParam().name).value()->name, GetParam().name);
}

// A policy that forgets a block would leave it in memory for ever; one that names a block twice
// would have the daemon evict it twice.
TEST_P(PoliciesTest, EachPresentBlockComesOnce) {
  SeededRandom random(7);
  constexpr std::size_t kBlocks = 40;
  const auto policy = GetParam().make(kBlocks);
  std::set<BlockId> present;
  for (int step = 0; step < 4000; ++step) {
    const auto block = static_cast<BlockId>(random.Below(kBlocks));
    if (!present.contains(block)) {
      policy->Insert({.block = block, .identity = random.Below(100)});
      present.insert(block);
    } else if (random.Chance(0.4)) {
      policy->Remove(block);
      present.erase(block);
    } else {
      policy->Touch({&block, 1}, {});
    }
    if (step % 7 != 0) continue;
    std::vector<BlockId> order = Order(*policy);
    ASSERT_EQ(order.size(), present.size()) << "step " << step;
    ASSERT_EQ(std::set<BlockId>(order.begin(), order.end()), present);
  }
}

TEST_P(PoliciesTest, ChoosesWhatTheTextbookChooses) {
  if (GetParam().name == "terrace") GTEST_SKIP() << "it is in no textbook: terrace_policy_test";
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const auto plain = test::PlainOf(GetParam().name);
    SeededRandom random(seed);
    const std::size_t capacity = 1 + random.Below(30);
    const auto policy = GetParam().make(capacity);
    std::map<std::uint64_t, BlockId> present;  // by identity
    std::vector<BlockId> free;
    for (std::size_t i = 0; i < capacity; ++i) free.push_back(static_cast<BlockId>(i));
    const auto leave = [&](BlockId block, bool evicted) {
      std::erase_if(present, [block](const auto& entry) { return entry.second == block; });
      if (evicted) {
        policy->Evict(block);
        plain->Evict(block);
      } else {
        policy->Remove(block);
        plain->Remove(block);
      }
      free.push_back(block);
    };
    for (int step = 0; step < 3000; ++step) {
      const std::uint64_t identity =
          std::min(random.Below(2 * capacity), random.Below(3 * capacity));
      if (const auto found = present.find(identity); found != present.end()) {
        if (random.Chance(0.02)) {
          leave(found->second, false);
        } else {
          policy->Touch({&found->second, 1}, {});
          plain->Touch({found->second});
        }
        continue;
      }
      if (free.empty()) {
        const std::vector<BlockId> order = Order(*policy);
        ASSERT_EQ(order, plain->Order()) << "seed " << seed << " step " << step;
        leave(order.front(), true);
      }
      const BlockId block = free.back();
      free.pop_back();
      present[identity] = block;
      policy->Insert({.block = block, .identity = identity});
      plain->Insert(block, kNoBlock, identity);
    }
  }
}

// Blocks of a label that come from a policy that ages what it passes must not be aged by each touch
// of others.
TEST_P(PoliciesTest, TouchesOfOthersLeaveTheOrderOfKeptBlocks) {
  RetainingPolicy policy(GetParam().make(12), 12);
  for (BlockId block = 0; block < 12; ++block) policy.Insert({.block = block, .identity = block});
  for (BlockId block = 0; block < 6; ++block) policy.SetKept({.block = block}, true, true);
  const std::vector<BlockId> used = {2, 4};
  policy.Touch(used, {});
  const auto kept_order = [&policy] {
    const std::vector<BlockId> order = Order(policy);
    return std::vector<BlockId>(order.end() - 6, order.end());
  };
  const std::vector<BlockId> before = kept_order();
  for (BlockId block = 6; block < 12; ++block) policy.Touch({&block, 1}, {});
  EXPECT_EQ(kept_order(), before);
}

// What is pinned is passed over; the daemon then takes the next ones.
TEST_P(PoliciesTest, TheOrderHoldsWhileNothingButTouchesHappen) {
  const auto policy = GetParam().make(8);
  for (BlockId block = 0; block < 8; ++block) policy->Insert({.block = block, .identity = block});
  const std::vector<BlockId> used = {1, 2, 5};
  policy->Touch(used, {});
  std::vector<BlockId> order = Order(*policy);
  EXPECT_EQ(order, Order(*policy));
  const BlockId second = policy->After(policy->First());
  EXPECT_EQ(second, order[1]);
}

TEST_P(PoliciesTest, KeptBlocksLeaveLastUnderEveryPolicy) {
  RetainingPolicy policy(GetParam().make(6), 6);
  for (BlockId block = 0; block < 6; ++block) policy.Insert({.block = block, .identity = block});
  policy.SetKept({.block = 0}, true, true);
  policy.SetKept({.block = 3}, true, true);
  const std::vector<BlockId> order = Order(policy);
  ASSERT_EQ(order.size(), 6u);
  EXPECT_EQ(std::set<BlockId>(order.end() - 2, order.end()), (std::set<BlockId>{0, 3}));
}

INSTANTIATE_TEST_SUITE_P(All, PoliciesTest, testing::ValuesIn(Policies().begin(), Policies().end()),
                         [](const auto& info) {
                           std::string name(info.param.name);
                           std::erase(name, '-');
                           return name;
                         });

TEST(PolicyNamesTest, AnUnknownNameIsToldWhatThereIs) {
  const auto found = FindPolicy("belady");
  EXPECT_EQ(found.code(), StatusCode::kInvalid);
  EXPECT_EQ(found.status().message(),
            "no policy 'belady'; there are: terrace, leaf-lru, lru, fifo, lfu, s3fifo, sieve");
}

}  // namespace
}  // namespace terrace
