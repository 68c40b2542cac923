// What is told apart must be, at the edges too, and what clients say must not grow without end.
#include "cache/policy/block_kinds.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <set>

namespace terrace {
namespace {

class BlockKindsTest : public testing::Test {
 protected:
  std::uint16_t First(std::uint32_t blocks) { return kinds.OfTurn(1, blocks, blocks, {}); }
  std::uint16_t Later(std::uint32_t turn, std::uint32_t blocks, std::uint32_t fresh) {
    return kinds.OfTurn(turn, blocks, fresh, {});
  }
  std::uint16_t Said(const RequestFacts& request) { return kinds.OfTurn(2, 10, 4, request); }

  ReuseHistory history{100};
  BlockKinds kinds{history};
};

TEST_F(BlockKindsTest, FirstTurnsAreToldApartByOctavesOfTheirLength) {
  std::set<std::uint16_t> seen;
  for (std::uint32_t octave = 0; octave < 8; ++octave) {
    const std::uint32_t most = 2U << octave;  // 2, 4, ... 256 blocks
    const std::uint32_t least = octave == 0 ? 1 : most / 2 + 1;
    EXPECT_EQ(First(least), First(most)) << most;
    EXPECT_TRUE(seen.insert(First(most)).second) << most;
  }
  EXPECT_EQ(First(0), First(1));
  EXPECT_EQ(First(257), First(256));
  EXPECT_EQ(First(0xffffffff), First(256));
}

TEST_F(BlockKindsTest, LaterTurnsAreToldApartByWhatTheyAddedAndBeingLong) {
  std::set<std::uint16_t> seen;
  for (std::uint32_t turn = 2; turn <= BlockKinds::kTurnMax; ++turn) {
    for (const std::uint32_t blocks : {16U, 17U}) {
      for (const auto& [least, most] : {std::pair{0U, 1U}, {2U, 3U}, {4U, 7U}, {8U, 0xffffffffU}}) {
        EXPECT_EQ(Later(turn, blocks, least), Later(turn, blocks, most)) << turn << ' ' << least;
        EXPECT_TRUE(seen.insert(Later(turn, blocks, least)).second) << turn << ' ' << least;
      }
    }
    EXPECT_EQ(Later(turn, 1, 0), Later(turn, 16, 0));
    EXPECT_EQ(Later(turn, 17, 0), Later(turn, 0xffffffff, 0));
  }
}

TEST_F(BlockKindsTest, AbsurdTurnsCountAsTheLastAndNoneAsTheFirst) {
  const std::uint16_t last = Later(BlockKinds::kTurnMax, 10, 4);
  EXPECT_EQ(Later(BlockKinds::kTurnMax + 1, 10, 4), last);
  EXPECT_EQ(Later(0xffffffff, 10, 4), last);
  EXPECT_EQ(Said({.turn = 65535}), Later(2, 10, 4)) << "the chain tells it, not the client";
  EXPECT_EQ(kinds.TurnOf(last), BlockKinds::kTurnMax);
  EXPECT_EQ(Later(0, 10, 4), Later(1, 10, 4));
  for (std::uint32_t turn = 1; turn <= BlockKinds::kTurnMax; ++turn) {
    EXPECT_EQ(kinds.TurnOf(Later(turn, 10, 4)), turn);
  }
}

TEST_F(BlockKindsTest, SharedBlocksAreToldApartByUsesAndNoTurn) {
  const auto of = [this](std::uint32_t uses) { return kinds.OfShared(uses); };
  EXPECT_EQ(of(0), of(1));
  EXPECT_EQ(of(2), of(3));
  EXPECT_EQ(of(4), of(7));
  EXPECT_EQ(of(8), of(0xffffffff));
  const std::set<std::uint16_t> all = {of(1),           of(2), of(4), of(8), kinds.OfPartial(),
                                       kinds.OfPutOff()};
  EXPECT_EQ(all.size(), 6U);
  for (const std::uint16_t kind : all) EXPECT_EQ(kinds.TurnOf(kind), 0U);
}

TEST_F(BlockKindsTest, WhatOneTenantSaysIsLearnedOfThatTenantAlone) {
  const std::uint16_t base = Later(2, 10, 4);
  EXPECT_EQ(Said({.tenant = 3}), base) << "the first tenant seen has the base kinds";
  std::set<std::uint16_t> seen = {base};
  for (const std::uint32_t tenant : {3U, 4U, 5U}) {
    if (tenant != 3) EXPECT_TRUE(seen.insert(Said({.tenant = tenant})).second);
    for (const std::uint32_t category : {0U, 1U, 2U}) {
      for (const auto expected :
           {Continuation::kUnknown, Continuation::kWillContinue, Continuation::kDone}) {
        if (category == 0 && expected == Continuation::kUnknown) continue;
        const RequestFacts facts{.tenant = tenant, .category = category, .continuation = expected};
        const std::uint16_t kind = Said(facts);
        EXPECT_TRUE(seen.insert(kind).second) << tenant << ' ' << category;
        EXPECT_EQ(Said(facts), kind) << "it is another each time";
        EXPECT_EQ(kinds.TurnOf(kind), 2U);
      }
    }
  }
  EXPECT_EQ(kinds.ignored(), 0U);
}

TEST_F(BlockKindsTest, WhenThereAreTooManyHintsOfNewComersAreIgnoredAndCounted) {
  const std::uint16_t base = Said({.tenant = 1});
  const RequestFacts known{.tenant = 1, .category = 1, .continuation = Continuation::kDone};
  const std::uint16_t before = Said(known);
  std::uint64_t refused = 0;
  for (std::uint32_t category = 2; category < 3000; ++category) {
    const std::uint16_t kind = Said({.tenant = 1, .category = category});
    if (kind == base) ++refused;
    ASSERT_LE(kinds.size(), BlockKinds::kKindsMax);
    ASSERT_LT(kind, kinds.size());
  }
  EXPECT_GT(refused, 1900U);
  EXPECT_EQ(kinds.ignored(), refused);
  EXPECT_EQ(Said(known), before);
  EXPECT_NE(Said({.tenant = 77}), base) << "another tenant has room of its own";
  EXPECT_EQ(kinds.ignored(), refused) << "it said nothing";
}

TEST_F(BlockKindsTest, NamespacesOfATenantAreLearnedApartAndTakeNoRoomOfOtherTenants) {
  const auto of = [this](std::uint32_t tenant, std::uint32_t space) {
    return Said({.tenant = tenant, .space = space});
  };
  std::set<std::uint16_t> seen = {of(1, 10)};
  for (std::uint32_t space = 11; space < 11 + BlockKinds::kSpaces; ++space) {
    EXPECT_TRUE(seen.insert(of(1, space)).second) << space;
  }
  EXPECT_EQ(of(1, 50), of(1, 10)) << "one too many: as the first";
  for (std::uint32_t tenant = 2; tenant <= BlockKinds::kFamilies; ++tenant) {
    EXPECT_TRUE(seen.insert(of(tenant, 100 + tenant)).second) << tenant;
    EXPECT_EQ(of(tenant, 7), of(tenant, 100 + tenant));
  }
  EXPECT_EQ(of(1, 12), of(1, 12)) << "what has kinds keeps them";
  EXPECT_TRUE(seen.insert(of(90, 1)).second);
  EXPECT_EQ(of(91, 2), of(90, 1)) << "later tenants share one family, with all that is theirs";
  EXPECT_EQ(of(0, 3), of(0, 4)) << "who is not known has one";
  EXPECT_LE(kinds.size(), BlockKinds::kKindsMax);
}

}  // namespace
}  // namespace terrace
