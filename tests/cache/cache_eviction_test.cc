// Who goes when there is no room.
#include <algorithm>
#include <list>

#include "tests/cache/cache_fixture.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using testing::MakeCall;
using testing::MakeChain;
using testing::SimulatedTime;
using testing::SliceOf;
using testing::StatusText;

/// An arena of 2 MiB, that is at most 32 blocks of 64 KiB; `capacity_` is what it really holds.
class CacheEvictionTest : public CacheTest {
 protected:
  void SetUp() override {
    CacheOptions options;
    options.transfers_max = 256;  // so that no call here waits for a slot
    MakeCache(2 << 20, options);
    const Namespace* space = Open("acme", "filler");
    std::size_t stored = 0;
    const BatchAnswer answer = Put(space, MakeChain("filler", 40), 0, 40);
    for (const BlockAnswer& block : answer.blocks) {
      if (block.status == StatusCode::kOk) ++stored;
    }
    capacity_ = stored;
    ASSERT_GE(capacity_, 24u);
    ASSERT_LE(capacity_, 32u);
    EXPECT_EQ(time_.Run(cache_->Clear(space->id)), stored);
  }
  std::size_t capacity_ = 0;
};

TEST_F(CacheEvictionTest, TheSuffixGoesFirst) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys old_chain = MakeChain("old", capacity_);
  const ChainKeys new_chain = MakeChain("new", capacity_);
  Put(space, old_chain, 0, capacity_);
  for (std::size_t i = 0; i < capacity_; ++i) {
    EXPECT_EQ(StatusText(Put(space, new_chain, i, 1)), "ok");
    EXPECT_EQ(Matched(space, old_chain), capacity_ - i - 1) << "one block went, the deepest";
  }
  EXPECT_EQ(cache_->Counters().evictions, capacity_);
  EXPECT_EQ(cache_->Counters().evicted_bytes, capacity_ * kBlockBytes);
}

TEST_F(CacheEvictionTest, WhatWasReadStaysLonger) {
  const Namespace* space = Open("acme", "a");
  const std::size_t half = capacity_ / 2;
  const ChainKeys first = MakeChain("first", half);
  const ChainKeys second = MakeChain("second", capacity_ - half);
  Put(space, first, 0, half);
  Put(space, second, 0, capacity_ - half);
  Get(space, first, 0, half);
  Put(space, MakeChain("third", 3), 0, 3);
  EXPECT_EQ(Matched(space, first), half);
  EXPECT_EQ(Matched(space, second), capacity_ - half - 3);
  Matched(space, second);  // a match is no use: it does not refresh
  Put(space, MakeChain("fourth", 1), 0, 1);
  EXPECT_EQ(Matched(space, second), capacity_ - half - 4);
}

TEST_F(CacheEvictionTest, AChainLongerThanTheCacheKeepsItsPrefix) {
  const Namespace* space = Open("acme", "a");
  Put(space, MakeChain("other", 10), 0, 10);
  const ChainKeys chain = MakeChain("long", 100);
  const std::uint64_t refused_before = cache_->Counters().put_no_space;
  const BatchAnswer answer = Put(space, chain, 0, 100);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(answer.blocks[i].status, i < capacity_ ? StatusCode::kOk : StatusCode::kRetry) << i;
  }
  EXPECT_EQ(Matched(space, chain), capacity_);
  EXPECT_EQ(cache_->Counters().put_no_space - refused_before, 100 - capacity_);
  // The same again changes nothing: no descendant pushes out its own ancestors.
  EXPECT_EQ(Put(space, chain, 0, 100).blocks[0].status, StatusCode::kExists);
  EXPECT_EQ(Matched(space, chain), capacity_);
}

TEST_F(CacheEvictionTest, ATailPutAloneDoesNotPushOutItsAncestors) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", capacity_ + 1);
  Put(space, chain, 0, capacity_);
  // The request names its parent only; the ancestors above it are of as much use to it.
  EXPECT_EQ(StatusText(Put(space, chain, capacity_, 1)), "retry");
  EXPECT_EQ(Matched(space, chain), capacity_);
  time_.Run(cache_->Remove(SliceOf(*space, chain, 4, capacity_ - 4)));
  const ChainKeys other = MakeChain("other", capacity_ - 4);
  Put(space, other, 0, capacity_ - 4);
  EXPECT_EQ(StatusText(Put(space, chain, 4, 1)), "ok") << "others' blocks give way";
  EXPECT_EQ(Matched(space, chain), 5u);
}

TEST_F(CacheEvictionTest, AHoleIsFilledAtTheCostOfItsDescendants) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", capacity_ + 1);
  Put(space, chain, 0, 3);
  Put(space, chain, 4, capacity_ - 3);  // block 3 is not there, its descendants are of no use
  EXPECT_EQ(Matched(space, chain), 3u);
  const BatchAnswer answer = Put(space, chain, 0, capacity_ + 1);
  EXPECT_EQ(answer.blocks[3].status, StatusCode::kOk);
  EXPECT_EQ(Matched(space, chain), capacity_);
}

TEST_F(CacheEvictionTest, OneSizeGivesWayToAnother) {
  const Namespace* large = Open("acme", "large", 64 << 10);
  const Namespace* small = Open("acme", "small", 12 << 10);
  const Namespace* odd = Open("acme", "odd", 36 << 10);
  for (int round = 0; round < 3; ++round) {
    const std::string name = std::to_string(round);
    for (const Namespace* space : {large, small, odd}) {
      const ChainKeys chain = MakeChain(name, 20);
      const BatchAnswer answer = Put(space, chain, 0, 20);
      EXPECT_EQ(std::ranges::count(answer.blocks, StatusCode::kOk, &BlockAnswer::status), 20)
          << space->spec.name << ' ' << StatusText(answer);
      Get(space, chain, 0, 20);
      ExpectValid();
    }
  }
}

TEST_F(CacheEvictionTest, OneTenantGivesWayToAnother) {
  const Namespace* acme = Open("acme", "a");
  const Namespace* globex = Open("globex", "a");
  const ChainKeys chain = MakeChain("c", capacity_);
  EXPECT_EQ(Put(acme, chain, 0, capacity_).blocks.back().status, StatusCode::kOk);
  const BatchAnswer answer = Put(globex, chain, 0, 4);
  EXPECT_EQ(StatusText(answer), "ok ok ok ok");
  EXPECT_EQ(StatusText(Get(globex, chain, 0, 4)), "ok ok ok ok");
  EXPECT_LT(Matched(acme, chain), capacity_);
}

TEST_F(CacheEvictionTest, AFullIndexEvictsToo) {
  CacheOptions options;
  options.blocks_max = 5;
  cache_.reset();
  MakeCache(2 << 20, options);
  EXPECT_EQ(cache_->IndexCapacity(), 5u);
  const Namespace* space = Open("acme", "a");
  const ChainKeys first = MakeChain("first", 5);
  const ChainKeys second = MakeChain("second", 8);
  EXPECT_EQ(StatusText(Put(space, first, 0, 5)), "ok ok ok ok ok");
  EXPECT_EQ(StatusText(Put(space, second, 0, 8)), "ok ok ok ok ok retry retry retry");
  EXPECT_EQ(Matched(space, first), 0u);
  EXPECT_EQ(Matched(space, second), 5u);
}

TEST_F(CacheEvictionTest, BlocksBeingReadAreNotEvictedForAPut) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", capacity_);
  Put(space, chain, 0, capacity_);
  // Everything is being pushed at once: nothing may give way, and the put says so.
  std::list<ClientCall> calls;
  std::list<std::optional<BatchAnswer>> answers;
  TaskScope scope;
  for (std::size_t i = 0; i < capacity_; ++i) {
    calls.push_back(
        MakeCall(*space, memory_, SliceOf(*space, chain, i, 1), time_.Now() + kSecond, i));
    scope.Spawn(
        SimulatedTime::Store(cache_->Get(link_, calls.back().request), &answers.emplace_back()));
  }
  time_.RunReady();
  const ChainKeys other = MakeChain("other", 2);
  ClientCall put =
      MakeCall(*space, memory_, SliceOf(*space, other, 0, 2), time_.Now() + kSecond, 100);
  FillSources(put, memory_);
  std::optional<BatchAnswer> put_answer;
  scope.Spawn(SimulatedTime::Store(cache_->Put(link_, put.request), &put_answer));
  time_.RunReady();
  ASSERT_TRUE(put_answer.has_value());
  EXPECT_EQ(StatusText(*put_answer), "retry retry");
  EXPECT_EQ(Matched(space, chain), capacity_) << "evicted, though that makes no room";
  while (scope.live() > 0) time_.Step();
  auto call = calls.begin();
  for (const auto& answer : answers) {
    EXPECT_EQ(StatusText(*answer), "ok");
    EXPECT_EQ(testing::WrongBlocks(*call++, memory_, *answer), 0u);
  }
  EXPECT_EQ(StatusText(Put(space, other, 0, 2)), "ok ok") << "the pins are gone";
}

}  // namespace
}  // namespace terrace
