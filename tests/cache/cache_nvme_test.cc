// The cache over its NVMe tier: what goes down, what comes up, and what happens in between.
#include "tests/cache/cache_nvme_fixture.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::ClientCall;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::FillSources;
using testing::MakeCall;
using testing::MakeChain;
using testing::Op;
using testing::PoisonDestinations;
using testing::SimulatedTime;
using testing::SliceOf;
using testing::StatusText;
using testing::WrongBlocks;

TEST_F(CacheNvmeTest, WhatLeavesDramComesBackFromNvmeByteForByte) {
  MakeMedia(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  EXPECT_EQ(StatusText(Put(space, chain, 0, 4)), "ok ok ok ok");
  EXPECT_TRUE(AllOn(TierKind::kDram, space, chain));
  PushOut(space, chain);
  const BatchAnswer got = Get(space, chain, 0, 4);
  EXPECT_EQ(StatusText(got), "ok ok ok ok");
  for (const BlockAnswer& block : got.blocks) {
    EXPECT_EQ(block.tier, TierKind::kNvme);
    EXPECT_EQ(block.valid_tokens, 16u);
  }
  EXPECT_TRUE(AllOn(TierKind::kDram, space, chain)) << "what is read is promoted";
  EXPECT_EQ(Get(space, chain, 0, 4).blocks[0].tier, TierKind::kDram);
  EXPECT_EQ(cache_->Counters().get_hits_nvme, 4u);
  EXPECT_EQ(cache_->Counters().loads, 4u);
}

TEST_F(CacheNvmeTest, BlocksThatAreNoMultipleOfAPageGoDownAndComeBack) {
  MakeMedia();
  const Namespace* space = Open("acme", "a", kBlockBytes - 4095);
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  PushOut(space, chain);
  EXPECT_EQ(Got(space, chain), "ok ok ok ok");
  EXPECT_EQ(cache_->Counters().get_hits_nvme, 4u);
}

TEST_F(CacheNvmeTest, APutOfABlockThatIsOnNvmeMovesNoBytes) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  Put(space, chain, 0, 2);
  PushOut(space, chain);
  const std::uint64_t bytes = cache_->Counters().bytes_put;
  const BatchAnswer again = Put(space, chain, 0, 2);
  EXPECT_EQ(StatusText(again), "exists exists");
  EXPECT_EQ(again.blocks[0].tier, TierKind::kNvme);
  EXPECT_EQ(again.blocks[0].valid_tokens, 16u);
  EXPECT_EQ(cache_->Counters().bytes_put, bytes);
}

TEST_F(CacheNvmeTest, TwoGetsOfOneBlockAtOnceReadItOnce) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  Put(space, chain, 0, 1);
  PushOut(space, chain);
  const std::size_t reads = Script().Count(Op::kRead);
  std::list<ClientCall> calls;
  std::list<std::optional<BatchAnswer>> answers;
  TaskScope scope;
  for (std::size_t i = 0; i < 3; ++i) {
    calls.push_back(
        MakeCall(*space, memory_, SliceOf(*space, chain, 0, 1), time_.Now() + kSecond, i));
    PoisonDestinations(calls.back(), memory_);
    scope.Spawn(
        SimulatedTime::Store(cache_->Get(link_, calls.back().request), &answers.emplace_back()));
  }
  while (scope.live() > 0) time_.Step();
  auto answer = answers.begin();
  for (const ClientCall& call : calls) {
    EXPECT_EQ(StatusText(**answer), "ok");
    EXPECT_EQ(WrongBlocks(call, memory_, **answer++), 0u);
  }
  EXPECT_EQ(Script().Count(Op::kRead), reads + 1);
}

/// Gets a block some turns from now.
Task<void> GetLater(Cache& cache, Link& link, const GetRequest* request, int turns,
                    std::optional<BatchAnswer>* answer) {
  for (int turn = 0; turn < turns; ++turn) co_await Yield{};
  *answer = co_await cache.Get(link, *request);
}

TEST_F(CacheNvmeTest, AGetThatLooksJustBeforeALoadEndsDoesNotLoadTheBlockAgain) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  Put(space, chain, 0, 1);
  // Whenever the second get begins, it looks at the block before, at, or after the load's end.
  for (int turns = 0; turns < 60; ++turns) {
    PushOut(space, chain);
    const std::size_t reads = Script().Count(Op::kRead);
    const ClientCall first = Call(space, chain, 0, 1);
    const ClientCall second =
        MakeCall(*space, memory_, SliceOf(*space, chain, 0, 1), time_.Now() + kSecond, 1);
    PoisonDestinations(second, memory_);
    std::optional<BatchAnswer> one;
    std::optional<BatchAnswer> two;
    TaskScope scope;
    scope.Spawn(SimulatedTime::Store(cache_->Get(link_, first.request), &one));
    while (Script().Count(Op::kRead) == reads) time_.Step();
    time_.RunReady();
    time_.Step();  // the device answers: from here to the load's end it takes some turns
    scope.Spawn(GetLater(*cache_, link_, &second.request, turns, &two));
    while (scope.live() > 0) time_.Step();
    ASSERT_EQ(StatusText(*one), "ok") << turns;
    ASSERT_EQ(StatusText(*two), "ok") << turns;
    ASSERT_EQ(WrongBlocks(second, memory_, *two), 0u) << turns;
    ExpectValid();
  }
}

TEST_F(CacheNvmeTest, AGetThatLosesPatienceLeavesTheFrameToTheDevice) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  Put(space, chain, 0, 1);
  PushOut(space, chain);
  Script().Hold(Op::kRead);
  const ClientCall call = Call(space, chain, 0, 1, 5 * kMillisecond);
  const Nanos before = time_.Now();
  EXPECT_EQ(StatusText(time_.Run(cache_->Get(link_, call.request))), "timeout");
  EXPECT_LE(time_.Now(), before + 5 * kMillisecond);
  EXPECT_EQ(cache_->FlowsInProgress(), 0u);
  ExpectValid();
  // Puts that need all of DRAM go round the frame that the device may still write to.
  const ChainKeys others = MakeChain("o", 40);
  for (std::size_t i = 0; i < 40; ++i) Put(space, others, i, 1);
  ExpectValid();
  Script().LetGo(Op::kRead);
  Settle();
  EXPECT_EQ(StatusText(Get(space, others, 39, 1)), "ok");
  EXPECT_EQ(StatusText(Get(space, chain, 0, 1)), "ok") << "the read was not in vain";
}

TEST_F(CacheNvmeTest, ABlockRemovedWhileItIsReadIsAMissAndFreesItsFrame) {
  for (const bool clear : {false, true}) {
    SCOPED_TRACE(clear ? "clear" : "remove");
    Close();
    media_.clear();
    store_ = SimulatedIndexStore();
    MakeMedia();
    const Namespace* space = Open("acme", "a");
    const ChainKeys chain = MakeChain("c", 1);
    Put(space, chain, 0, 1);
    PushOut(space, chain);
    Script().Hold(Op::kRead);
    const ClientCall call = Call(space, chain, 0, 1);
    std::optional<BatchAnswer> answer;
    TaskScope scope;
    scope.Spawn(SimulatedTime::Store(cache_->Get(link_, call.request), &answer));
    time_.RunReady();
    if (clear) {
      EXPECT_GT(time_.Run(cache_->Clear(space->id)), 0u);
    } else {
      EXPECT_EQ(StatusText(time_.Run(cache_->Remove(call.request.chain))), "ok");
    }
    EXPECT_EQ(StatusText(Put(space, chain, 0, 1)), "ok") << "and may come anew meanwhile";
    Script().LetGo(Op::kRead);
    while (scope.live() > 0) time_.Step();
    EXPECT_EQ(StatusText(*answer), "miss");
    EXPECT_EQ(Got(space, chain), "ok");
    Settle();
  }
}

TEST_F(CacheNvmeTest, ABlockRemovedWhileItIsWrittenStaysAway) {
  for (const bool clear : {false, true}) {
    SCOPED_TRACE(clear ? "clear" : "remove");
    Close();
    media_.clear();
    store_ = SimulatedIndexStore();
    MakeMedia();
    const Namespace* space = Open("acme", "a");
    const ChainKeys chain = MakeChain("c", 2);
    Put(space, MakeChain("first", 1), 0, 1);
    Settle();
    Script().Hold(Op::kWrite, 2);
    Put(space, chain, 0, 2);
    time_.RunUntil(time_.Now() + 10 * kMillisecond);
    ASSERT_EQ(Script().Held(Op::kWrite), 2u);
    if (clear) {
      time_.Run(cache_->Clear(space->id));
    } else {
      const ChainSlice slice = SliceOf(*space, chain, 0, 2);
      EXPECT_EQ(StatusText(time_.Run(cache_->Remove(slice))), "ok ok");
    }
    Script().LetGo(Op::kWrite);
    Settle();
    EXPECT_EQ(Matched(space, chain), 0u);
    Kill();
    EXPECT_EQ(Matched(space, chain), 0u);
  }
}

TEST_F(CacheNvmeTest, AWriteThatEndsAfterItsBlockWasPutAnewTakesNothingWithIt) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  Put(space, MakeChain("first", 1), 0, 1);
  Settle();
  Script().Hold(Op::kWrite, 1);
  Put(space, chain, 0, 1);
  time_.RunUntil(time_.Now() + 10 * kMillisecond);
  const ChainSlice slice = SliceOf(*space, chain, 0, 1);
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(slice))), "ok");
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), ElementsAre("durable"));
  Script().LetGo(Op::kWrite);
  Settle();
  Kill();
  EXPECT_EQ(Got(space, chain), "ok") << "the old write's end removed the new block";
}

TEST_F(CacheNvmeTest, ACorruptRecordIsAMissAndForgotten) {
  FaultyDeviceOptions faults;
  faults[DeviceFault::kFlippedWrite] = {.probability = 1, .times_max = 1};
  MakeMedia(1, faults);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  Put(space, MakeChain("first", 1), 0, 1);
  Settle();
  media_.front().faulty.Enable(true);
  Put(space, chain, 0, 1);
  Settle();
  media_.front().faulty.Enable(false);
  PushOut(space, chain);
  EXPECT_EQ(Got(space, chain), "miss");
  EXPECT_EQ(cache_->Counters().load_corrupt, 1u);
  EXPECT_EQ(Matched(space, chain), 0u);
  Restart();
  EXPECT_EQ(Matched(space, chain), 0u) << "no start looks for it again";
  EXPECT_EQ(StatusText(Put(space, chain, 0, 1)), "ok");
}

TEST_F(CacheNvmeTest, AReadThatFailsIsAMissAndTheBlockStays) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  Put(space, chain, 0, 1);
  PushOut(space, chain);
  Script().FailNext(Op::kRead, 1);
  EXPECT_EQ(Got(space, chain), "miss");
  EXPECT_EQ(cache_->Counters().load_io_errors, 1u);
  EXPECT_EQ(Got(space, chain), "ok");
}

Hash128 OneHash(std::span<const std::byte> /*bytes*/) noexcept { return {.low = 1, .high = 1}; }

TEST_F(CacheNvmeTest, AnotherKeysRecordUnderTheSameLocatorIsAMiss) {
  cache_options_.locator_hash = OneHash;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const Namespace* other = Open("acme", "b");
  const ChainKeys chain = MakeChain("c", 1);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), ElementsAre("durable"));
  Restart();
  const ChainKeys stranger = MakeChain("s", 1);
  EXPECT_EQ(Got(space, stranger), "miss");
  EXPECT_EQ(cache_->Counters().key_mismatches, 1u);
  EXPECT_EQ(Got(other, chain), "miss");
  EXPECT_EQ(Got(space, chain), "ok");
}

TEST_F(CacheNvmeTest, ADeviceThatIsOfflineIsNotPromisedAndWhatItHeldCanBePutAnew) {
  tier_.log.errors_max = 2;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 3);
  Put(space, chain, 0, 3);
  PushOut(space, chain);
  Script().FailNext(Op::kRead, 1000);
  EXPECT_EQ(StatusText(Get(space, chain, 0, 1)), "miss");
  EXPECT_EQ(StatusText(Get(space, chain, 0, 1)), "miss");
  EXPECT_THAT(changes_, ElementsAre("sim:0 offline"));
  EXPECT_EQ(Matched(space, chain), 0u);
  EXPECT_EQ(StatusText(Get(space, chain, 1, 1)), "miss");
  EXPECT_EQ(StatusText(Put(space, chain, 0, 3)), "ok ok ok");
  EXPECT_EQ(Got(space, chain), "ok ok ok");
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 3)), Each("offline"));
  Script().FailNext(Op::kRead, 0);
  time_.RunUntil(time_.Now() + 2 * tier_.log.probe_period);
  EXPECT_THAT(changes_, ElementsAre("sim:0 offline", "sim:0 online"));
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 3)), Each("durable"));
}

TEST_F(CacheNvmeTest, ReclaimDropsWhatNobodyGotAndKeepsWhatTwoDid) {
  tier_.log.segments = 8;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys loved = MakeChain("loved", 2);
  const ChainKeys once = MakeChain("once", 2);
  Put(space, loved, 0, 2);
  Put(space, once, 0, 2);
  PushOut(space, loved);
  PushOut(space, once);
  for (int turn = 0; turn < 5; ++turn) {
    Got(space, loved);
    Got(space, loved);
    for (int round = 0; round < 5; ++round) {  // less than the ring, so that they are got in time
      const ChainKeys other = MakeChain("o" + std::to_string(turn * 100 + round), 16);
      Put(space, other, 0, 16);
      Settle();
    }
  }
  EXPECT_GT(cache_->Counters().nvme_evictions, 100u);
  EXPECT_GE(cache_->nvme()->Counters().blocks_reinserted, 2u);
  EXPECT_EQ(Got(space, loved), "ok ok");
  EXPECT_EQ(Got(space, once), "miss miss");
}

TEST_F(CacheNvmeTest, RemovalsOfBlocksThatAreMovedDoNotStopTheRing) {
  // Segments hold little more than what is moved, so removals wait for room that Reclaim makes.
  tier_.log.segments = 8;
  tier_.log.segment_bytes = 16 * nvme::kPageBytes;
  cache_options_.arena.capacity_bytes = 2 << 20;
  MakeMedia();
  const Namespace* space = Open("acme", "a", 8192);
  const ChainKeys hot = MakeChain("hot", 40);
  for (int round = 0; round < 30; ++round) {
    Put(space, hot, 0, hot.size());
    Get(space, hot, 0, hot.size());
    Get(space, hot, 0, hot.size());
    const ChainKeys other = MakeChain("o" + std::to_string(round), 30);
    Put(space, other, 0, other.size());
    const ChainSlice slice = SliceOf(*space, hot, 0, hot.size());
    const BatchAnswer removed = time_.Run(cache_->Remove(slice));
    for (const BlockAnswer& block : removed.blocks) EXPECT_NE(block.status, StatusCode::kIo);
    ExpectValid();
  }
}

TEST_F(CacheNvmeTest, AFullIndexGivesUpBlocksThatAreOnNvmeOnly) {
  cache_options_.blocks_max = 80;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys old = MakeChain("old", 8);
  Put(space, old, 0, 8);
  PushOut(space, old);
  for (int round = 0; round < 8; ++round) {
    const ChainKeys other = MakeChain("n" + std::to_string(round), 16);
    const BatchAnswer put = Put(space, other, 0, 16);
    for (const BlockAnswer& block : put.blocks) EXPECT_EQ(block.status, StatusCode::kOk);
    Settle();
  }
  EXPECT_LT(Matched(space, old), 8u);
  EXPECT_GT(cache_->Counters().nvme_evictions, 8u);
}

TEST_F(CacheNvmeTest, WhatWaitsToBeWrittenGivesWayLast) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys first = MakeChain("first", 8);
  Put(space, first, 0, 8);
  Settle();
  Script().Hold(Op::kWrite);
  const ChainKeys waiting = MakeChain("waiting", 8);
  Put(space, waiting, 0, 8);
  const ChainKeys more = MakeChain("more", 60);
  for (std::size_t i = 0; i < 60; ++i) Put(space, more, i, 1);
  EXPECT_TRUE(AllOn(TierKind::kNvme, space, first));
  EXPECT_TRUE(AllOn(TierKind::kDram, space, waiting));
  Script().LetGo(Op::kWrite);
}

}  // namespace
}  // namespace terrace
