// What a tenant says of its costs must move its own blocks against each other, and nobody else's.
#include "cache/policy/cost_classes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace terrace {
namespace {

RequestFacts Of(std::uint32_t tenant, float cost_per_byte, std::uint32_t block_bytes = 1 << 20) {
  return {.tenant = tenant, .cost_per_byte = cost_per_byte, .block_bytes = block_bytes};
}

TEST(CostClassesTest, ATenantWhoseBlocksAreAllAlikeIsLikeAnyOtherWhateverItTells) {
  for (const float cost : {1e-20F, 3e-9F, 1.0F, 1e20F}) {
    CostClasses costs(100);
    EXPECT_EQ(costs.ClassOf(Of(1, cost)), 0) << "nothing came yet";
    for (int i = 0; i < 10'000; ++i) costs.Came(Of(1, cost));
    EXPECT_EQ(costs.ClassOf(Of(1, cost)), 0) << cost;
  }
}

TEST(CostClassesTest, ClassesAreQuarterOctavesOfTheMeanOverBytes) {
  CostClasses costs(1000);
  // Three quarters of the bytes cost 1, one quarter 5: 2 on average.
  for (int i = 0; i < 3; ++i) costs.Came(Of(1, 1, 1 << 20));
  for (int i = 0; i < 4; ++i) costs.Came(Of(1, 5, 1 << 18));
  EXPECT_EQ(costs.ClassOf(Of(1, 2)), 0);
  EXPECT_EQ(costs.ClassOf(Of(1, 1)), -4);
  EXPECT_EQ(costs.ClassOf(Of(1, 8)), 8);
  EXPECT_EQ(CostClasses::FactorOf(8), 4);
  EXPECT_EQ(CostClasses::FactorOf(-4), 0.5F);
  EXPECT_EQ(CostClasses::FactorOf(0), 1);
  EXPECT_EQ(costs.ClassOf(Of(2, 8)), 0) << "nothing is known of another tenant's";
}

TEST(CostClassesTest, WhatCannotBeCountedWithIsAsAnyOther) {
  CostClasses costs(10);
  const float none[] = {0, -1, std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN()};
  for (const float cost : none) {
    costs.Came(Of(1, cost));
    EXPECT_EQ(costs.ClassOf(Of(1, cost)), 0);
  }
  costs.Came(Of(1, 1, 0));
  costs.Came(Of(1, 1));
  for (const float cost : none) EXPECT_EQ(costs.ClassOf(Of(1, cost)), 0);
  EXPECT_EQ(costs.ClassOf(Of(1, 1)), 0) << "it alone counted";
  EXPECT_EQ(costs.ClassOf(Of(1, std::numeric_limits<float>::max())), CostClasses::kMost);
  EXPECT_EQ(costs.ClassOf(Of(1, std::numeric_limits<float>::min())), -CostClasses::kMost);
}

TEST(CostClassesTest, WhoClaimsMoreOfSomeBlocksTakesItFromItsOthers) {
  CostClasses costs(1000);
  double claimed = 0;
  for (int i = 0; i < 10'000; ++i) {
    const RequestFacts request = Of(1, i % 10 == 0 ? 1e6F : 1e-6F);
    costs.Came(request);
    claimed += static_cast<double>(CostClasses::FactorOf(costs.ClassOf(request)));
  }
  EXPECT_LT(claimed, 1.2 * 10'000) << "an average block of it counts as anybody's";
}

TEST(CostClassesTest, AMeanFollowsWhatCameOfLate) {
  CostClasses costs(100);
  for (int i = 0; i < 1000; ++i) costs.Came(Of(1, 1));
  for (int i = 0; i < 1000; ++i) costs.Came(Of(1, 16));
  EXPECT_EQ(costs.ClassOf(Of(1, 16)), 0);
  EXPECT_EQ(costs.ClassOf(Of(1, 1)), -16);
}

TEST(CostClassesTest, ManyTenantsTakeNoMoreMemoryAndTheLaterOnesAreAsAnyOther) {
  CostClasses costs(100);
  for (std::uint32_t tenant = 1; tenant <= CostClasses::kTenantsMax; ++tenant) {
    costs.Came(Of(tenant, 1));
  }
  const std::size_t bytes = costs.Bytes();
  for (std::uint32_t tenant = 5000; tenant < 15'000; ++tenant) {
    costs.Came(Of(tenant, 1));
    EXPECT_EQ(costs.ClassOf(Of(tenant, 100)), 0);
  }
  EXPECT_EQ(costs.Bytes(), bytes);
  EXPECT_LT(bytes, 100U << 10);
}

}  // namespace
}  // namespace terrace
