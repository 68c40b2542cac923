#include "client/request/shard_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "base/random.h"
#include "client/wire/encode.h"
#include "transport/server.h"

namespace terrace {
namespace {

Chain ChainOf(std::uint32_t keys) {
  Chain chain;
  for (std::uint32_t i = 0; i < keys; ++i) {
    EXPECT_TRUE(chain.Append("key " + std::to_string(i)).ok());
  }
  return chain;
}

TEST(ShardPlan, EveryBlockGoesToTheReactorOfItsRun) {
  const Chain chain = ChainOf(203);
  const Placement placement{.daemon_namespace = 5, .run_blocks = 8, .shards = 4};
  std::vector<MatchStep> steps;
  const auto plans = PlanRange(chain, placement, 0, chain.size(), &steps);
  ASSERT_GT(plans.size(), 1U);
  EXPECT_EQ(steps.size(), 26U);
  std::vector<bool> seen(chain.size());
  for (const ShardPlan& plan : plans) {
    std::size_t next = 0;
    for (const Stretch& stretch : plan.stretches) {
      EXPECT_EQ(ShardOf(5, chain.key(stretch.first / 8 * 8), 4), plan.shard);
      EXPECT_EQ(stretch.first / 8, (stretch.first + stretch.count - 1) / 8) << "one run each";
      for (std::uint32_t i = 0; i < stretch.count; ++i) {
        EXPECT_EQ(plan.blocks[next++], stretch.first + i);
        EXPECT_FALSE(seen[stretch.first + i]);
        seen[stretch.first + i] = true;
      }
    }
    EXPECT_EQ(next, plan.blocks.size());
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 203);
}

TEST(ShardPlan, RangeInTheMiddleIsPlacedByTheFirstKeyOfItsRun) {
  const Chain chain = ChainOf(20);
  const Placement placement{.daemon_namespace = 1, .run_blocks = 16, .shards = 1};
  const auto plans = PlanRange(chain, placement, 5, 12, nullptr);
  ASSERT_EQ(plans.size(), 1U);
  ASSERT_EQ(plans[0].stretches.size(), 2U);
  EXPECT_EQ(plans[0].stretches[0].first, 5U);
  EXPECT_EQ(plans[0].stretches[0].count, 11U);
  EXPECT_EQ(plans[0].stretches[1].first, 16U);
  EXPECT_EQ(plans[0].stretches[1].count, 1U);
  EXPECT_EQ(plans[0].blocks.front(), 0U);
  EXPECT_EQ(PlacementKey(chain, placement, 5).data(), chain.key(0).data());
}

TEST(ShardPlan, BlocksInAnyOrderKeepTheirPlaceInTheCallersList) {
  const std::uint64_t seed = SystemRandom().Next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  for (int round = 0; round < 50; ++round) {
    const auto keys = static_cast<std::uint32_t>(random.Between(1, 300));
    const Chain chain = ChainOf(keys);
    const Placement placement{.daemon_namespace = 9,
                              .run_blocks = static_cast<std::uint32_t>(random.Between(1, 40)),
                              .shards = static_cast<std::uint32_t>(random.Between(1, 5))};
    std::vector<std::uint32_t> positions(keys);
    std::iota(positions.begin(), positions.end(), 0U);
    for (std::uint32_t i = keys; i > 1; --i)
      std::swap(positions[i - 1], positions[random.Below(i)]);
    std::vector<BlockBuffer> blocks(random.Between(1, keys));
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i].position = positions[i];
    std::vector<bool> seen(blocks.size());
    for (const ShardPlan& plan : PlanBlocks(chain, placement, blocks)) {
      std::size_t next = 0;
      std::uint32_t end = 0;
      for (const Stretch& stretch : plan.stretches) {
        ASSERT_GE(stretch.first, end) << "chain order";
        end = stretch.first + stretch.count;
        const std::uint32_t run = stretch.first / placement.run_blocks;
        ASSERT_EQ(run, (end - 1) / placement.run_blocks);
        ASSERT_EQ(plan.shard,
                  placement.shards == 1
                      ? 0
                      : ShardOf(9, chain.key(run * placement.run_blocks), placement.shards));
        for (std::uint32_t i = 0; i < stretch.count; ++i) {
          const std::uint32_t index = plan.blocks[next++];
          ASSERT_EQ(blocks[index].position, stretch.first + i);
          ASSERT_FALSE(seen[index]);
          seen[index] = true;
        }
      }
      ASSERT_EQ(next, plan.blocks.size());
    }
    ASSERT_EQ(std::count(seen.begin(), seen.end(), false), 0);
  }
}

TEST(ShardPlan, MatchCountsARunOnlyWhenAllBeforeItAreWhole) {
  const std::vector<MatchStep> steps = {{0, 4}, {1, 4}, {0, 4}, {1, 2}};
  const Tier d = Tier::kDram;
  const Tier n = Tier::kNvme;
  const auto match = [&steps](std::vector<Tier> first, std::vector<Tier> second) {
    const std::vector<std::span<const Tier>> tiers = {first, second};
    return CombineMatch<Tier>(steps, tiers);
  };
  EXPECT_EQ(match({d, d, d, d, d, d, d, d}, {n, n, n, n, n, n}).size(), 14U);
  EXPECT_EQ(match({d, d, d, d, d, d}, {n, n, n, n, n, n}),
            (std::vector<Tier>{d, d, d, d, n, n, n, n, d, d}));
  EXPECT_EQ(match({d, d, d, d, d, d, d, d}, {}).size(), 4U) << "the second run is missing";
  EXPECT_EQ(match({}, {n, n, n, n, n, n}).size(), 0U);
  EXPECT_EQ(match({d, d, d}, {n, n, n, n}).size(), 3U);
}

TEST(Encode, MessagesSayWhatTheCallerAskedFor) {
  const Chain chain = ChainOf(10);
  const Placement placement{.daemon_namespace = 77, .run_blocks = 4, .shards = 1};
  const std::vector<BlockBuffer> blocks = {
      {.position = 6, .region = {2}, .offset = 100, .valid_tokens = 3},
      {.position = 5, .region = {1}, .offset = 200, .valid_tokens = 0}};
  const auto plans = PlanBlocks(chain, placement, blocks);
  ASSERT_EQ(plans.size(), 1U);
  const auto bytes = EncodePut({.request_id = 5, .incarnation = 6, .budget_us = 7},
                               {chain, placement, {.group = 8, .shard = 9}, plans[0]}, blocks, 4096,
                               Ack::kDurable);
  const auto message = VerifyMessage(bytes);
  ASSERT_TRUE(message.ok()) << message.status().ToString();
  EXPECT_EQ((*message)->request_id(), 5U);
  EXPECT_EQ((*message)->incarnation(), 6U);
  EXPECT_EQ((*message)->budget_us(), 7U);
  const wire::Put* put = (*message)->body_as_Put();
  ASSERT_NE(put, nullptr);
  EXPECT_EQ(put->namespace_id(), 77U);
  EXPECT_EQ(put->group(), 8U);
  EXPECT_EQ(put->shard(), 9U);
  const auto runs = ReadRuns(put->runs(), 100);
  ASSERT_TRUE(runs.ok()) << runs.status().ToString();
  ASSERT_EQ(runs->size(), 1U);
  const KeyRun& run = runs->front();
  EXPECT_EQ(run.first_position, 5U);
  EXPECT_TRUE(std::ranges::equal(run.placement, chain.key(4)));
  EXPECT_TRUE(std::ranges::equal(run.parent, chain.key(4)));
  ASSERT_EQ(run.keys.size(), 2U);
  EXPECT_TRUE(std::ranges::equal(run.keys[1], chain.key(6)));
  ASSERT_EQ(put->pieces()->size(), 2U);
  EXPECT_EQ(put->pieces()->Get(0)->offset(), 200U) << "in chain order";
  EXPECT_EQ(put->pieces()->Get(1)->region(), 2U);
  EXPECT_EQ(put->pieces()->Get(1)->length(), 4096U);
  EXPECT_EQ(put->piece_counts()->Get(1), 1U);
  EXPECT_EQ(put->valid_tokens()->Get(1), 3U);
  EXPECT_EQ(put->ack(), static_cast<std::uint8_t>(Ack::kDurable));
}

TEST(Encode, BudgetIsRoundedUpAndBounded) {
  EXPECT_EQ(BudgetMicroseconds(1000, 1000), 0U);
  EXPECT_EQ(BudgetMicroseconds(1000, 500), 0U);
  EXPECT_EQ(BudgetMicroseconds(1000, 1001), 1U);
  EXPECT_EQ(BudgetMicroseconds(0, kForever), 3'600'000'000U);
}

}  // namespace
}  // namespace terrace
