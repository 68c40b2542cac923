#include "tests/crash/oracle.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/common/block_content.h"
#include "tests/crash/log_marks.h"

namespace terrace::crash {
namespace {

constexpr Place kPlace{.space = 0, .chain = 1, .position = 2};
constexpr Place kSharedPlace{.space = 0, .chain = 0, .position = 2};

class CrashOracleTest : public testing::Test {
 protected:
  explicit CrashOracleTest(const Oracle::Options& options = {}) : oracle_(options) {
    oracle_.AddSpace(2, 4, 1);
  }
  std::uint32_t Put(PutEnd end, const Place& place = kPlace) {
    const std::uint32_t version = oracle_.BeginPut(place);
    oracle_.EndPut(place, version, end);
    return version;
  }
  void Remove(RemoveEnd end) {
    oracle_.BeginRemove(kPlace);
    oracle_.EndRemove(kPlace, end);
  }
  void Clear(bool answered) {
    oracle_.BeginClear(0);
    oracle_.EndClear(0, answered);
  }
  [[nodiscard]] bool Right(std::uint32_t version) const {
    return oracle_.CheckGet(kPlace, version, oracle_.Now()).ok();
  }
  [[nodiscard]] bool MustBeThere(const Place& place = kPlace) const {
    return oracle_.DurableLife(place) != Oracle::kNone;
  }

  Oracle oracle_;
};

TEST_F(CrashOracleTest, BytesThatNobodyPutAreWrong) {
  EXPECT_FALSE(Right(1));
  const std::uint32_t version = Put(PutEnd::kStored);
  EXPECT_TRUE(Right(version));
  EXPECT_FALSE(Right(version + 1));
  EXPECT_EQ(oracle_.totals().right, 1U);
}

TEST_F(CrashOracleTest, APutWithoutAnAnswerMayHaveStoredItsBytesOrNot) {
  const std::uint32_t version = oracle_.BeginPut(kPlace);
  EXPECT_TRUE(Right(version));
  oracle_.EndPut(kPlace, version, PutEnd::kUnknown);
  EXPECT_TRUE(Right(version));
  EXPECT_FALSE(MustBeThere());
}

TEST_F(CrashOracleTest, BytesOfAPutThatFoundABlockAreWrong) {
  const std::uint32_t first = Put(PutEnd::kStored);
  const std::uint32_t second = Put(PutEnd::kThere);
  EXPECT_TRUE(Right(first));
  EXPECT_FALSE(Right(second));
}

TEST_F(CrashOracleTest, ABlockThatComesBackAfterItsRemovalIsWrong) {
  const std::uint32_t version = Put(PutEnd::kStored);
  oracle_.BeginRemove(kPlace);
  const Tick during = oracle_.Now();
  EXPECT_TRUE(Right(version)) << "not answered yet";
  oracle_.EndRemove(kPlace, RemoveEnd::kRemoved);
  EXPECT_FALSE(Right(version));
  EXPECT_TRUE(oracle_.CheckGet(kPlace, version, during).ok()) << "that get began before";
  oracle_.EndLife();
  EXPECT_FALSE(Right(version)) << "kill -9 brings nothing back";
}

TEST_F(CrashOracleTest, ABlockThatComesBackAfterAClearIsWrong) {
  const std::uint32_t version = Put(PutEnd::kDurable);
  Clear(true);
  EXPECT_FALSE(Right(version));
  EXPECT_FALSE(MustBeThere());
}

TEST_F(CrashOracleTest, ARemovalWithoutAnAnswerProvesNothing) {
  const std::uint32_t version = Put(PutEnd::kDurable);
  Remove(RemoveEnd::kUnknown);
  EXPECT_TRUE(Right(version));
  EXPECT_FALSE(MustBeThere());
  Put(PutEnd::kDurable);
  EXPECT_FALSE(MustBeThere()) << "the removal may come after that put";
  oracle_.EndLife();
  Put(PutEnd::kDurable);
  EXPECT_TRUE(MustBeThere()) << "a daemon that is dead removes nothing";
}

TEST_F(CrashOracleTest, APutThatMayStillHappenOutlivesARemoval) {
  const std::uint32_t version = Put(PutEnd::kUnknown);
  Remove(RemoveEnd::kRemoved);
  EXPECT_TRUE(Right(version)) << "it may have come after the removal";
  oracle_.EndLife();
  Remove(RemoveEnd::kRemoved);
  EXPECT_FALSE(Right(version));
}

TEST_F(CrashOracleTest, WhatWasAnsweredDurableMustBeThereUntilItIsRemoved) {
  Put(PutEnd::kStored);
  EXPECT_FALSE(MustBeThere());
  Put(PutEnd::kThereDurable);
  EXPECT_EQ(oracle_.DurableLife(kPlace), 0U);
  oracle_.EndLife();
  EXPECT_EQ(oracle_.DurableLife(kPlace), 0U);
  oracle_.BeginRemove(kPlace);
  EXPECT_FALSE(MustBeThere());
}

TEST_F(CrashOracleTest, APutThatARemovalOverlapsIsNotOwed) {
  const std::uint32_t version = oracle_.BeginPut(kPlace);
  Remove(RemoveEnd::kNothing);
  oracle_.EndPut(kPlace, version, PutEnd::kDurable);
  EXPECT_FALSE(MustBeThere());
  EXPECT_TRUE(Right(version));
}

TEST_F(CrashOracleTest, ADurableBlockMayLieWhereTheOldestOfItsBytesWerePut) {
  Put(PutEnd::kUnknown);
  oracle_.EndLife();
  oracle_.EndLife();
  Put(PutEnd::kThereDurable);
  EXPECT_EQ(oracle_.DurableLife(kPlace), 0U);
  Remove(RemoveEnd::kRemoved);
  Put(PutEnd::kDurable);
  EXPECT_EQ(oracle_.DurableLife(kPlace), 2U);
}

TEST_F(CrashOracleTest, OlderBytesAfterADurablePutAreWrong) {
  const std::uint32_t old = Put(PutEnd::kStored);
  Put(PutEnd::kStored);  // the old one had been evicted
  EXPECT_TRUE(Right(old)) << "it may come back as long as its successor is in DRAM alone";
  const std::uint32_t newest = Put(PutEnd::kDurable);
  EXPECT_FALSE(Right(old));
  EXPECT_TRUE(Right(newest));
}

TEST_F(CrashOracleTest, AMissWhileOthersWorkIsJudgedWhenTheLifeHasEnded) {
  Put(PutEnd::kDurable);
  oracle_.NoteMiss(kPlace, oracle_.Now());
  const auto suspects = oracle_.EndLife();
  ASSERT_EQ(suspects.size(), 1U);
  EXPECT_EQ(suspects[0].life, 0U);
  EXPECT_TRUE(oracle_.EndLife().empty());
}

TEST_F(CrashOracleTest, APutThatFindsADurableBlockGoneShowsThatItWasLost) {
  Put(PutEnd::kDurable);
  Put(PutEnd::kStored);
  EXPECT_EQ(oracle_.EndLife().size(), 1U);
}

TEST_F(CrashOracleTest, AMissThatMayHaveComeBeforeThePutShowsNothing) {
  const Tick before = oracle_.Now();
  Put(PutEnd::kDurable);
  oracle_.NoteMiss(kPlace, before);
  EXPECT_TRUE(oracle_.EndLife().empty());
  EXPECT_TRUE(MustBeThere());
}

TEST_F(CrashOracleTest, SharedBlocksAreOwedTooOnceOnePutWasDurable) {
  EXPECT_EQ(oracle_.BeginPut(kSharedPlace), 0U);
  EXPECT_EQ(oracle_.BeginPut(kSharedPlace), 0U);
  oracle_.EndPut(kSharedPlace, 0, PutEnd::kRefused);
  oracle_.EndPut(kSharedPlace, 0, PutEnd::kDurable);
  EXPECT_TRUE(MustBeThere(kSharedPlace));
  EXPECT_TRUE(oracle_.CheckGet(kSharedPlace, 0, oracle_.Now()).ok());
}

class SmallIndexOracleTest : public CrashOracleTest {
 protected:
  SmallIndexOracleTest() : CrashOracleTest({.one_device = true, .evicts = true}) {}
};

TEST_F(SmallIndexOracleTest, OwesNothingButStillKnowsWhatIsWrong) {
  const std::uint32_t version = Put(PutEnd::kDurable);
  EXPECT_FALSE(MustBeThere());
  oracle_.NoteMiss(kPlace, oracle_.Now());
  EXPECT_TRUE(oracle_.EndLife().empty());
  Remove(RemoveEnd::kRemoved);
  EXPECT_FALSE(Right(version));
}

TEST(BlockContentTest, EveryChangedByteAndEveryOtherBlockIsSeen) {
  const BlockName name{.store = 7, .space = 1, .chain = 2, .position = 3};
  std::array<std::byte, 256> bytes{};
  FillBlock(name, 5, bytes);
  const Result<std::uint32_t> version = VersionOf(name, bytes);
  ASSERT_TRUE(version.ok()) << version.status().message();
  EXPECT_EQ(*version, 5U);
  for (std::byte& byte : bytes) {
    byte ^= std::byte{0x10};
    const Result<std::uint32_t> changed = VersionOf(name, bytes);
    EXPECT_EQ(changed.code(), StatusCode::kCorrupt);
    byte ^= std::byte{0x10};
  }
  for (const BlockName& other : {BlockName{.store = 8, .space = 1, .chain = 2, .position = 3},
                                 BlockName{.store = 7, .space = 0, .chain = 2, .position = 3},
                                 BlockName{.store = 7, .space = 1, .chain = 3, .position = 3},
                                 BlockName{.store = 7, .space = 1, .chain = 2, .position = 2}}) {
    EXPECT_EQ(VersionOf(other, bytes).code(), StatusCode::kCorrupt);
  }
}

TEST(LogMarkTest, TheRingCameRoundOnlyWhenAllSegmentsButOneWereBegunSince) {
  const LogMark then{.begun = {{10, 20, 30, 5}}};
  EXPECT_FALSE(CameRound(then, then));
  EXPECT_FALSE(CameRound(then, {.begun = {{10, 20, 30, 40}}}));
  EXPECT_FALSE(CameRound(then, {.begun = {{50, 20, 30, 40}}}));
  EXPECT_TRUE(CameRound(then, {.begun = {{50, 60, 30, 40}}}));
  const LogMark empty;
  EXPECT_FALSE(CameRound(empty, {.begun = {{1, 2, 0, 0}}}));
  EXPECT_TRUE(CameRound(empty, {.begun = {{1, 2, 3, 0}}}));
  const LogMark two{.begun = {{10, 20, 30}, {10, 20, 30}}};
  EXPECT_TRUE(CameRound(two, {.begun = {{10, 20, 30}, {10, 40, 50}}})) << "any ring";
}

}  // namespace
}  // namespace terrace::crash
