// What DURABLE promises, why it is declined, and what a restart finds.
#include "tests/cache/cache_nvme_fixture.h"
#include "tests/common/samples.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::ClientCall;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::FillSources;
using testing::MakeChain;
using testing::Op;
using testing::SimulatedTime;
using testing::SliceOf;
using testing::StatusText;

class CacheDurabilityTest : public CacheNvmeTest {
 protected:
  std::uint64_t Declined(NotDurable reason) {
    return cache_->nvme()->Counters().declined[static_cast<std::size_t>(reason)];
  }
  std::uint64_t DeclinedForAnyReason() {
    std::uint64_t declined = 0;
    for (const auto& count : cache_->nvme()->Counters().declined) declined += count;
    return declined;
  }
};

TEST_F(CacheDurabilityTest, WhatIsAcknowledgedDurableSurvivesPowerLoss) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_ = SeededRandom(seed);
    Close();
    media_.clear();
    store_ = SimulatedIndexStore();
    MakeMedia(1 + static_cast<std::uint32_t>(seed % 3));
    const Namespace* space = Open("acme", "a");
    const ChainKeys kept = MakeChain("kept", 8);
    const ChainKeys hoped = MakeChain("hoped", 8);
    Put(space, hoped, 0, 8);
    EXPECT_THAT(Acks(PutDurable(space, kept, 0, 8)), Each("durable"));
    LosePower();
    EXPECT_EQ(Matched(space, kept), 8u);
    EXPECT_EQ(Got(space, kept), "ok ok ok ok ok ok ok ok");
    // COMMITTED promised nothing here; the fixture fails on wrong bytes.
    for (const BlockAnswer& block : Get(space, hoped, 0, 8).blocks) {
      EXPECT_TRUE(block.status == StatusCode::kOk || block.status == StatusCode::kMiss);
    }
    EXPECT_THAT(Acks(PutDurable(space, hoped, 0, 8)), Each("durable"));
  }
}

TEST_F(CacheDurabilityTest, ABlockWrittenWithoutAPromiseIsMadeDurableByALaterPut) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  Settle();
  const std::uint64_t written = Log().Counters().records_written;
  const BatchAnswer put = PutDurable(space, chain, 0, 4);
  EXPECT_EQ(StatusText(put), "exists exists exists exists");
  EXPECT_THAT(Acks(put), Each("durable"));
  EXPECT_EQ(Log().Counters().records_written, written) << "a sync is enough";
  LosePower();
  EXPECT_EQ(Got(space, chain), "ok ok ok ok");
}

TEST_F(CacheDurabilityTest, AnEntryThatTheIndexRefusedIsNotPromisedLater) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  journal_->QueueMost(0);
  Put(space, chain, 0, 2);
  Settle();
  EXPECT_EQ(Declined(NotDurable::kQueueFull), 2u);
  journal_->QueueMost(1000);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 2)), Each("durable"));
  LosePower();
  EXPECT_EQ(Got(space, chain), "ok ok");
}

TEST_F(CacheDurabilityTest, KillLosesNothingThatReachedTheIndex) {
  MakeMedia(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  Put(space, chain, 0, 16);
  Settle();
  Kill();
  EXPECT_EQ(Matched(space, chain), 16u);
  const BatchAnswer got = Get(space, chain, 0, 16);
  for (const BlockAnswer& block : got.blocks) {
    EXPECT_EQ(block.status, StatusCode::kOk);
    EXPECT_EQ(block.tier, TierKind::kNvme);
    EXPECT_EQ(block.valid_tokens, 16u);
  }
}

TEST_F(CacheDurabilityTest, RemoveAndClearSurviveTheRestart) {
  MakeMedia(2);
  const Namespace* space = Open("acme", "a");
  const Namespace* other = Open("acme", "b");
  const ChainKeys chain = MakeChain("c", 8);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 8)), Each("durable"));
  EXPECT_THAT(Acks(PutDurable(other, chain, 0, 8)), Each("durable"));
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space, chain, 4, 4)))), "ok ok ok ok");
  Kill();
  EXPECT_EQ(Matched(space, chain), 4u);
  EXPECT_EQ(time_.Run(cache_->Clear(space->id)), 4u);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), Each("durable"));
  Kill();
  EXPECT_EQ(Matched(space, chain), 1u) << "what was put after the clear is there";
  EXPECT_EQ(Matched(other, chain), 8u);
}

TEST_F(CacheDurabilityTest, ARemovalThatTheIndexDidNotTakeIsSaid) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), Each("durable"));
  store_.FailNext(1);
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space, chain, 0, 1)))), "io");
  EXPECT_EQ(cache_->Counters().removals_not_logged, 1u);
  EXPECT_EQ(Matched(space, chain), 0u);
}

TEST_F(CacheDurabilityTest, WithoutATierItIsDeclined) {
  MakeCache(4 << 20);
  const Namespace* space = Open("acme", "a");
  const BatchAnswer put = PutDurable(space, MakeChain("c", 1), 0, 1);
  EXPECT_EQ(StatusText(put), "ok");
  EXPECT_THAT(Acks(put), ElementsAre("no_tier"));
  cache_.reset();
}

TEST_F(CacheDurabilityTest, ABlockAboveTheTiersLimitIsDeclined) {
  tier_.block_bytes_max = kBlockBytes - 1;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  EXPECT_THAT(Acks(PutDurable(space, MakeChain("c", 1), 0, 1)), ElementsAre("too_large"));
  EXPECT_EQ(Declined(NotDurable::kTooLarge), 1u) << "once, though it was asked twice";
}

TEST_F(CacheDurabilityTest, BeyondTheWriteBudgetItIsDeclinedUntilTheBudgetFills) {
  tier_.write_bytes_per_day = 24 * 4 * (kBlockBytes + nvme::kPageBytes);  // four blocks an hour
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 6);
  for (std::size_t i = 0; i < 5; ++i) {  // the last overdraws it
    EXPECT_THAT(Acks(PutDurable(space, chain, i, 1)), ElementsAre("durable"));
  }
  const BatchAnswer put = PutDurable(space, chain, 5, 1);
  EXPECT_EQ(StatusText(put), "ok") << "it is stored in DRAM all the same";
  EXPECT_THAT(Acks(put), ElementsAre("write_budget"));
  time_.RunUntil(time_.Now() + nvme::WriteBudget::kHour / 2);
  EXPECT_THAT(Acks(PutDurable(space, chain, 5, 1)), ElementsAre("durable"));
}

TEST_F(CacheDurabilityTest, ALongQueueIsDeclinedAndTheRestIsWritten) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  Script().Hold(Op::kWrite);
  const ChainKeys chain = MakeChain("c", 46);  // half of the arena is 32 blocks
  Put(space, chain, 0, 46);
  EXPECT_EQ(cache_->Counters().write_queue_bytes, 32 * kBlockBytes);
  EXPECT_EQ(Declined(NotDurable::kQueueFull), 14u);
  EXPECT_THAT(Acks(PutDurable(space, chain, 45, 1, 10 * kMillisecond)), ElementsAre("queue_full"));
  EXPECT_EQ(Declined(NotDurable::kQueueFull), 15u) << "once, though it was asked twice";
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1, 10 * kMillisecond)), ElementsAre("timeout"));
  Script().LetGo(Op::kWrite);
  Settle();
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 46)), Each("durable"));
}

TEST_F(CacheDurabilityTest, AWriteOrASyncThatFailsIsDeclined) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 3);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), ElementsAre("durable"));
  Script().FailNext(Op::kWrite, 1);
  EXPECT_THAT(Acks(PutDurable(space, chain, 1, 1)), ElementsAre("write_failed"));
  Script().FailNext(Op::kSync, 1);
  EXPECT_THAT(Acks(PutDurable(space, chain, 2, 1)), ElementsAre("write_failed"));
  EXPECT_EQ(Got(space, chain), "ok ok ok") << "all of them are COMMITTED";
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 3)), Each("durable"));
  LosePower();
  EXPECT_EQ(Got(space, chain), "ok ok ok") << "a second try is no promise about the first";
}

TEST_F(CacheDurabilityTest, DurablePutsAreCountedAsDeclinedOnceForEachAnswerThatSaysSo) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  std::uint64_t answered = 0;
  std::uint64_t durable_in_spite = 0;
  int number = 0;
  for (const Op op : {Op::kWrite, Op::kSync}) {
    for (std::uint64_t failures = 1; failures <= 6; ++failures) {
      SCOPED_TRACE(std::to_string(failures) + (op == Op::kWrite ? " writes" : " syncs"));
      const ChainKeys chain = MakeChain("c" + std::to_string(number++), 6);
      Script().FailNext(op, failures);
      std::uint64_t durable = 0;
      for (const std::string& ack : Acks(PutDurable(space, chain, 0, 6))) {
        ++(ack == "durable" ? durable : answered);
      }
      Script().FailNext(op, 0);
      Settle();
      EXPECT_EQ(DeclinedForAnyReason(), answered);
      durable_in_spite += durable;
      time_.RunUntil(time_.Now() + 2 * tier_.log.errors_window);  // the device stays online
    }
  }
  EXPECT_GT(answered, 0u);
  EXPECT_GT(durable_in_spite, 0u) << "a second try, which is no refusal";
}

TEST_F(CacheDurabilityTest, ASyncThatTakesLongerThanTheDeadlineDoesNotHoldThePut) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  Put(space, chain, 0, 2);
  Settle();
  Script().Hold(Op::kSync);
  const Nanos before = time_.Now();
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 2, 10 * kMillisecond)), Each("timeout"));
  EXPECT_LE(time_.Now(), before + 10 * kMillisecond);
  Script().LetGo(Op::kSync);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 2)), Each("durable"));
}

TEST_F(CacheDurabilityTest, WhatReclaimMovesIsDurableBeforeItsOldPlaceGoes) {
  for (std::uint64_t seed = 1; seed <= testing::SampleOf(60); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_ = SeededRandom(seed);
    Close();
    media_.clear();
    store_ = SimulatedIndexStore();
    tier_.log.segments = 8;
    MakeMedia();
    const Namespace* space = Open("acme", "a");
    const ChainKeys loved = MakeChain("loved", 2);
    EXPECT_THAT(Acks(PutDurable(space, loved, 0, 2)), Each("durable"));
    Got(space, loved);
    Got(space, loved);
    int round = 0;
    while (cache_->nvme()->Counters().blocks_reinserted < 2 && round < 100) {
      const ChainKeys other = MakeChain("o" + std::to_string(round++), 4);
      Put(space, other, 0, 4);
    }
    ASSERT_LT(round, 100);
    time_.RunUntil(time_.Now() + static_cast<Nanos>(random_.Below(4)) * kMillisecond);
    LosePower();
    EXPECT_EQ(Got(space, loved), "ok ok");
  }
}

TEST_F(CacheDurabilityTest, ABlockWhoseRecordWasDroppedIsRemovedFromTheIndexToo) {
  tier_.log.segments = 8;
  cache_options_.arena.capacity_bytes = 32 << 20;  // all that is put stays in DRAM
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), Each("durable"));
  // Until its segment is given up, and not yet overwritten: the write of a header is under way.
  for (int round = 0; Log().Counters().segments_reclaimed == 0; ++round) {
    ASSERT_LT(round, 200);
    if (Log().OldestSegment(0) == 0) Script().Hold(Op::kWrite);
    Put(space, MakeChain("o" + std::to_string(round), 1), 0, 1);
    time_.RunUntil(time_.Now() + 20 * kMillisecond);
    if (Log().Counters().segments_reclaimed == 0) Script().LetGo(Op::kWrite);
  }
  ASSERT_TRUE(AllOn(TierKind::kDram, space, chain));
  std::optional<BatchAnswer> removed;
  const ChainSlice slice = SliceOf(*space, chain, 0, 1);
  TaskScope scope;
  scope.Spawn(SimulatedTime::Store(cache_->Remove(slice), &removed));
  time_.RunUntil(time_.Now() + 20 * kMillisecond);
  media_.front().scripted->Die();
  while (scope.live() > 0) time_.Step();
  Kill();
  EXPECT_EQ(Matched(space, chain), 0u);
}

TEST_F(CacheDurabilityTest, AnIndexThatIsUnhealthyDeclines) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  store_.FailNext(100);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), ElementsAre("durable")) << "the log has it";
  time_.RunUntil(time_.Now() + 10 * kMillisecond);
  EXPECT_THAT(Acks(PutDurable(space, chain, 1, 1)), ElementsAre("offline"));
  store_.FailNext(0);
}

TEST_F(CacheDurabilityTest, ABlockRemovedBeforeItWasWrittenIsGone) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  Script().Hold(Op::kWrite);
  ClientCall call = Call(space, chain, 0, 1);
  call.request.ack = Ack::kDurable;
  FillSources(call, memory_);
  std::optional<BatchAnswer> answer;
  TaskScope scope;
  scope.Spawn(SimulatedTime::Store(cache_->Put(link_, call.request), &answer));
  time_.RunUntil(time_.Now() + 10 * kMillisecond);
  std::optional<BatchAnswer> removed;
  const ChainSlice slice = SliceOf(*space, chain, 0, 1);
  scope.Spawn(SimulatedTime::Store(cache_->Remove(slice), &removed));
  time_.RunUntil(time_.Now() + 10 * kMillisecond);
  Script().LetGo(Op::kWrite);
  while (scope.live() > 0) time_.Step();
  EXPECT_THAT(Acks(*answer), ElementsAre("gone"));
  EXPECT_EQ(StatusText(*removed), "ok");
  Kill();
  EXPECT_EQ(Matched(space, chain), 0u);
}

TEST_F(CacheDurabilityTest, NamespacesOfAnEarlierRunSleepUntilTheirOwnDescriptorOpensThem) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const std::uint32_t id = space->id;
  const Hash128 fingerprint = space->fingerprint;
  const ChainKeys chain = MakeChain("c", 4);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 4)), Each("durable"));
  const ChainSlice slice = SliceOf(*space, chain, 0, 4);
  Close();
  registry_ = std::make_unique<NamespaceRegistry>(kBlockBytesMax);
  ASSERT_TRUE(registry_->Adopt(id, "acme", "a", fingerprint).ok());
  Start();
  EXPECT_EQ(cache_->UsageOf(id).blocks, 4u);
  EXPECT_EQ(cache_->Match(slice).status.code(), StatusCode::kInvalid) << "nobody opened it yet";
  NamespaceSpec other;
  other.tenant = "acme";
  other.name = "a";
  other.block_tokens = 16;
  other.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
  EXPECT_EQ(registry_->Open(other).code(), StatusCode::kIncompatible);
  const Namespace* again = Open("acme", "a");
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->id, id);
  EXPECT_EQ(Got(again, chain), "ok ok ok ok");
}

TEST_F(CacheDurabilityTest, BlocksOfANamespaceThatNobodyKnowsAreDropped) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  EXPECT_THAT(Acks(PutDurable(space, MakeChain("c", 4), 0, 4)), Each("durable"));
  time_.RunUntil(time_.Now() + 2 * kSecond);  // the marker is there too
  const std::size_t entries = store_.entries();
  Close();
  registry_ = std::make_unique<NamespaceRegistry>(kBlockBytesMax);
  Start();
  EXPECT_EQ(cache_->Counters().blocks, 0u);
  EXPECT_EQ(store_.entries(), entries - 4);
}

TEST_F(CacheDurabilityTest, CloseWritesAndSyncsWhatWaits) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  Put(space, chain, 0, 16);
  Close();
  for (Medium& medium : media_) medium.device.Crash();
  Start();
  EXPECT_EQ(Matched(space, chain), 16u);
  const BatchAnswer got = Get(space, chain, 0, 16);
  for (const BlockAnswer& block : got.blocks) EXPECT_EQ(block.status, StatusCode::kOk);
}

}  // namespace
}  // namespace terrace
