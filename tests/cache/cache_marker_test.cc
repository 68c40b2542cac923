// What the log holds beyond the index: found by every start, and nothing else with it.
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

class CacheMarkerTest : public CacheNvmeTest {
 protected:
  void BeginAnew(std::uint64_t seed, std::uint32_t lanes = 1) {
    random_ = SeededRandom(seed);
    Close();
    media_.clear();
    store_ = SimulatedIndexStore();
    MakeMedia(lanes);
  }
  /// Nothing is written to the index from now on, until the next start.
  void HoldIndex() { journal_->Hold(true); }
  std::uint64_t TailRecords() { return cache_->nvme()->Counters().tail_records; }
  std::uint64_t TailBlocks() { return cache_->nvme()->Counters().tail_blocks; }
  void Sleep(Nanos time) { time_.RunUntil(time_.Now() + time); }
  /// The marker covers what was put so far.
  void SettleMarker() { Sleep(2 * tier_.marker_period); }
  std::string Removed(const Namespace* space, const ChainKeys& chain, std::size_t count) {
    const ChainSlice slice = SliceOf(*space, chain, 0, count);
    return StatusText(time_.Run(cache_->Remove(slice)));
  }
  /// A put to DURABLE that is under way.
  struct UnderWay {
    ClientCall call;
    std::optional<BatchAnswer> answer;
  };
  void Begin(TaskScope& scope, UnderWay& put) {
    put.call.request.ack = Ack::kDurable;
    FillSources(put.call, memory_);
    scope.Spawn(SimulatedTime::Store(cache_->Put(link_, put.call.request), &put.answer));
  }
  void Join(TaskScope& scope) {
    while (scope.live() > 0) time_.Step();
  }
};

TEST_F(CacheMarkerTest, ADurableBlockNeedsNothingOfTheIndex) {
  for (const std::uint32_t lanes : {1U, 3U}) {
    BeginAnew(lanes, lanes);
    const Namespace* space = Open("acme", "a");
    const ChainKeys early = MakeChain("early", 4);
    const ChainKeys late = MakeChain("late", 8);
    EXPECT_THAT(Acks(PutDurable(space, early, 0, 4)), Each("durable"));
    SettleMarker();
    HoldIndex();
    EXPECT_THAT(Acks(PutDurable(space, late, 0, 8)), Each("durable"));
    LosePower();
    EXPECT_EQ(Matched(space, early), 4u);
    EXPECT_EQ(Got(space, late), "ok ok ok ok ok ok ok ok");
    EXPECT_EQ(TailBlocks(), 8u);
    EXPECT_THAT(Acks(PutDurable(space, MakeChain("more", 1), 0, 1)), Each("durable"));
    SettleMarker();
    LosePower();
    EXPECT_EQ(TailRecords(), 0u) << "the start before brought the index up to the log";
    EXPECT_EQ(Got(space, late), "ok ok ok ok ok ok ok ok");
  }
}

TEST_F(CacheMarkerTest, TheMarkerDoesNotPassARecordThatIsBeingWritten) {
  MakeMedia(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys slow = MakeChain("slow", 1);
  const ChainKeys quick = MakeChain("quick", 4);
  EXPECT_THAT(Acks(PutDurable(space, MakeChain("first", 8), 0, 8)), Each("durable"));
  TaskScope scope;
  UnderWay put{.call = Call(space, slow, 0, 1, 60 * kSecond), .answer = {}};
  Script(0).Hold(Op::kWrite, 1);
  Script(1).Hold(Op::kWrite, 1);
  Begin(scope, put);
  Sleep(10 * kMillisecond);
  ASSERT_EQ(Script(0).Held(Op::kWrite) + Script(1).Held(Op::kWrite), 1u);
  for (const std::size_t lane : {0U, 1U}) {
    if (Script(lane).Held(Op::kWrite) == 0) Script(lane).LetGo(Op::kWrite);
  }
  EXPECT_THAT(Acks(PutDurable(space, quick, 0, 4)), Each("durable"));
  SettleMarker();
  HoldIndex();
  for (const std::size_t lane : {0U, 1U}) Script(lane).LetGo(Op::kWrite);
  Join(scope);
  EXPECT_THAT(Acks(*put.answer), ElementsAre("durable"));
  LosePower();
  EXPECT_EQ(Got(space, slow), "ok");
  EXPECT_EQ(Got(space, quick), "ok ok ok ok");
}

TEST_F(CacheMarkerTest, ARecordThatTheMarkerPassedIsPromisedOnlyWithItsEntry) {
  tier_.marker_patience = 2 * kSecond;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys slow = MakeChain("slow", 1);
  const ChainKeys later = MakeChain("later", 1);
  TaskScope scope;
  UnderWay put{.call = Call(space, slow, 0, 1, 60 * kSecond), .answer = {}};
  EXPECT_THAT(Acks(PutDurable(space, later, 0, 1)), Each("durable"));  // its segment is ready
  Script().Hold(Op::kWrite, 1);
  Begin(scope, put);
  Sleep(5 * kSecond);
  HoldIndex();
  Script().LetGo(Op::kWrite);
  Sleep(kSecond);
  EXPECT_FALSE(put.answer.has_value()) << "no start would look for its record any more";
  journal_->Hold(false);
  Join(scope);
  EXPECT_THAT(Acks(*put.answer), ElementsAre("durable"));
  HoldIndex();
  LosePower();
  EXPECT_EQ(Got(space, slow), "ok");
}

TEST_F(CacheMarkerTest, ABlockThatTheMarkerPassedIsNotMadeDurableByASyncOfItsDeviceAlone) {
  tier_.marker_patience = 2 * kSecond;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  EXPECT_THAT(Acks(PutDurable(space, MakeChain("first", 1), 0, 1)), Each("durable"));
  Script().Hold(Op::kWrite, 1);
  Put(space, chain, 0, 1);
  Sleep(5 * kSecond);
  HoldIndex();
  Script().LetGo(Op::kWrite);
  Sleep(10 * kMillisecond);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1, 100 * kMillisecond)), ElementsAre("timeout"));
  journal_->Hold(false);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), ElementsAre("durable"));
  HoldIndex();
  LosePower();
  EXPECT_EQ(Got(space, chain), "ok");
}

TEST_F(CacheMarkerTest, ARemovalThatTheLogHasCountsThoughTheIndexLostIt) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    BeginAnew(seed, 1 + seed % 2);
    const Namespace* space = Open("acme", "a");
    const Namespace* other = Open("acme", "b");
    const ChainKeys chain = MakeChain("c", 4);
    EXPECT_THAT(Acks(PutDurable(space, chain, 0, 4)), Each("durable"));
    EXPECT_THAT(Acks(PutDurable(other, chain, 0, 4)), Each("durable"));
    if (seed % 4 < 2) SettleMarker();  // else it is in the tail with what it removes
    EXPECT_EQ(Removed(space, chain, 4), "ok ok ok ok");
    EXPECT_EQ(time_.Run(cache_->Clear(other->id)), 4u);
    // A put to DURABLE on every device syncs the log, and nothing of the index.
    EXPECT_THAT(Acks(PutDurable(space, MakeChain("last", 8), 0, 8)), Each("durable"));
    LosePower();
    EXPECT_EQ(Matched(space, chain), 0u);
    EXPECT_EQ(Matched(other, chain), 0u);
    Restart();
    EXPECT_EQ(TailRecords(), 0u);
    EXPECT_EQ(Matched(space, chain), 0u) << "it is in the index now";
    EXPECT_EQ(Matched(other, chain), 0u) << "it is in the index now";
  }
}

TEST_F(CacheMarkerTest, ABlockForgottenBeforeItHadAPlaceLeavesNoRecord) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  TaskScope scope;
  UnderWay put{.call = Call(space, chain, 0, 1, 60 * kSecond), .answer = {}};
  // The first segment is being made ready, so that the block waits for a place.
  Script().Hold(Op::kSync, 1);
  Begin(scope, put);
  Sleep(10 * kMillisecond);
  std::optional<BatchAnswer> removed;
  const ChainSlice slice = SliceOf(*space, chain, 0, 1);
  scope.Spawn(SimulatedTime::Store(cache_->Remove(slice), &removed));
  Sleep(10 * kMillisecond);
  Script().LetGo(Op::kSync);
  Join(scope);
  EXPECT_THAT(Acks(*put.answer), ElementsAre("gone"));
  EXPECT_EQ(StatusText(*removed), "ok");
  EXPECT_EQ(Log().Counters().records_written, 1u) << "the removal";
  Kill();
  EXPECT_EQ(Matched(space, chain), 0u);
}

TEST_F(CacheMarkerTest, ARemovalThatNoDeviceTookIsInTheIndex) {
  tier_.log.errors_max = 1;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), ElementsAre("durable"));
  Script().FailNext(Op::kWrite, 1000);
  Put(space, MakeChain("other", 1), 0, 1);
  Sleep(100 * kMillisecond);
  ASSERT_FALSE(Log().AnyOnline());
  EXPECT_EQ(Removed(space, chain, 1), "ok");
  Kill();
  EXPECT_GT(TailRecords(), 0u);
  EXPECT_EQ(Matched(space, chain), 0u) << "its record stands in the log behind the marker";
  Kill();
  EXPECT_EQ(Matched(space, chain), 0u);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 1)), ElementsAre("durable"));
  Kill();
  EXPECT_EQ(Matched(space, chain), 1u) << "it was put again";
}

TEST_F(CacheMarkerTest, WhatWasRemovedIsNotedUntilTheMarkerHasPassedIt) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 4)), Each("durable"));
  EXPECT_EQ(Removed(space, chain, 4), "ok ok ok ok");
  SettleMarker();
  EXPECT_EQ(store_.entries(), 5u);
  Restart();
  EXPECT_EQ(store_.entries(), 1u) << "the marker alone";
}

TEST_F(CacheMarkerTest, WhatIsPutAfterARemovalKeepsItsEntry) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 40);  // more than are told to the tier at once
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 40)), Each("durable"));
  Script().Hold(Op::kWrite);
  TaskScope scope;
  std::optional<BatchAnswer> removed;
  const ChainSlice slice = SliceOf(*space, chain, 0, 40);
  scope.Spawn(SimulatedTime::Store(cache_->Remove(slice), &removed));
  Sleep(10 * kMillisecond);
  UnderWay put{.call = Call(space, chain, 39, 1, 60 * kSecond), .answer = {}};
  Begin(scope, put);
  Sleep(10 * kMillisecond);
  Script().LetGo(Op::kWrite);
  Join(scope);
  EXPECT_THAT(Acks(*put.answer), ElementsAre("durable"));
  SettleMarker();
  Kill();
  EXPECT_EQ(StatusText(Get(space, chain, 39, 1)), "ok");
  EXPECT_EQ(Matched(space, chain), 0u);
}

TEST_F(CacheMarkerTest, TheNamespaceOfABlockIsFoundWithIt) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const std::uint32_t id = space->id;
  const ChainKeys chain = MakeChain("c", 4);
  HoldIndex();
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 4)), Each("durable"));
  for (Medium& medium : media_) medium.scripted->Die();
  journal_->Kill();
  Close();
  for (int start = 0; start < 2; ++start) {  // the second goes by the index
    registry_ = std::make_unique<NamespaceRegistry>(kBlockBytesMax);
    std::size_t noted = 0;
    ASSERT_TRUE(store_
                    .Scan(nvme::kNamespacePrefix,
                          [&](std::string_view key, std::string_view value) {
                            const auto found = nvme::ReadNamespace(key, value);
                            ++noted;
                            return registry_
                                ->Adopt(found->id, found->tenant, found->name, found->fingerprint)
                                .ok();
                          })
                    .ok());
    EXPECT_EQ(noted, start == 0 ? 0u : 1u);
    Start();
    EXPECT_EQ(cache_->UsageOf(id).blocks, 4u);
    space = Open("acme", "a");
    ASSERT_NE(space, nullptr);
    EXPECT_EQ(space->id, id);
    EXPECT_EQ(Got(space, chain), "ok ok ok ok");
    Close();
  }
}

TEST_F(CacheMarkerTest, ABlockOfANamespaceWhoseNumberIsAnothersNowIsNotFound) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  HoldIndex();
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 4)), Each("durable"));
  for (Medium& medium : media_) medium.scripted->Die();
  journal_->Kill();
  Close();
  registry_ = std::make_unique<NamespaceRegistry>(kBlockBytesMax);
  ASSERT_TRUE(registry_->Adopt(1, "other", "b", {.low = 1, .high = 2}).ok());
  Start();
  EXPECT_EQ(cache_->Counters().blocks, 0u);
}

TEST_F(CacheMarkerTest, ARecordWithoutItsPayloadDoesNotReplaceAWholeOne) {
  int torn = 0;
  for (std::uint64_t seed = 1; seed <= testing::SampleOf(120); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    tier_.log.segments = 8;
    BeginAnew(seed);
    const Namespace* space = Open("acme", "a");
    const ChainKeys loved = MakeChain("loved", 2);
    EXPECT_THAT(Acks(PutDurable(space, loved, 0, 2)), Each("durable"));
    Got(space, loved);
    Got(space, loved);
    // Until its block is moved; the power goes while the copy has been written, but not synced.
    for (int round = 0; Log().OldestSegment(0) != 0 && round < 200; ++round) {
      Put(space, MakeChain("o" + std::to_string(round), 1), 0, 1);
      Sleep(20 * kMillisecond);
    }
    Script().Hold(Op::kSync);
    for (int round = 0; cache_->nvme()->Counters().blocks_reinserted == 0 && round < 200; ++round) {
      Put(space, MakeChain("p" + std::to_string(round), 1), 0, 1);
      Sleep(20 * kMillisecond);
    }
    ASSERT_GT(cache_->nvme()->Counters().blocks_reinserted, 0u);
    LosePower();
    const std::uint64_t before = TailRecords();
    EXPECT_EQ(Got(space, loved), "ok ok");
    torn += before > 0 ? 1 : 0;
  }
  EXPECT_GT(torn, testing::RunsWhole() ? 10 : 0) << "the log held more than the index";
}

TEST_F(CacheMarkerTest, AfterACleanStopNothingOfTheLogIsRead) {
  MakeMedia(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  Put(space, chain, 0, 16);
  Restart();
  EXPECT_EQ(TailRecords(), 0u);
  EXPECT_EQ(Matched(space, chain), 16u);
  Put(space, MakeChain("d", 1), 0, 1);
  Sleep(10 * kMillisecond);
  Kill();
  EXPECT_EQ(TailRecords(), 1u) << "a marker of an earlier run is final no more";
}

TEST_F(CacheMarkerTest, WithoutAMarkerEveryHeaderOfTheLogIsRead) {
  MakeMedia(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 16)), Each("durable"));
  Close();
  store_ = SimulatedIndexStore();
  Start();
  EXPECT_EQ(TailBlocks(), 16u);
  EXPECT_EQ(Matched(space, chain), 16u);
}

TEST_F(CacheMarkerTest, AStartThatCannotWriteTheIndexLeavesTheLogToTheNext) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  HoldIndex();
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 4)), Each("durable"));
  store_.FailNext(1);
  LosePower();
  EXPECT_EQ(Matched(space, chain), 4u);
  SettleMarker();
  Put(space, MakeChain("d", 1), 0, 1);
  SettleMarker();
  LosePower();
  EXPECT_EQ(Got(space, chain), "ok ok ok ok");
}

TEST_F(CacheMarkerTest, BlocksUnderAHeaderThatCouldNotBeReadAreThereWhenItCan) {
  BeginAnew(1);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 40);  // over three segments
  for (std::size_t first = 0; first < 40; first += 8) {
    EXPECT_THAT(Acks(PutDurable(space, chain, first, 8)), Each("durable"));
  }
  SettleMarker();  // from here on the log's end does not have them, the index alone does
  Close();
  unreadable_ = {1};
  Start();
  const std::uint64_t missed = cache_->nvme()->Counters().unheaded;
  EXPECT_GT(missed, 0u);
  EXPECT_LT(missed, 40u);
  const BatchAnswer got = Get(space, chain, 0, 40);
  EXPECT_EQ(std::ranges::count(got.blocks, StatusCode::kMiss, &BlockAnswer::status),
            static_cast<std::ptrdiff_t>(missed));
  EXPECT_TRUE(cache_->nvme()->incomplete()) << "the next start must look again";
  unreadable_.clear();
  Restart();
  EXPECT_EQ(cache_->nvme()->Counters().unheaded, 0u);
  for (const BlockAnswer& block : Get(space, chain, 0, 40).blocks) {
    EXPECT_EQ(block.status, StatusCode::kOk);
  }
}

TEST_F(CacheMarkerTest, APromisedBlockFindsRoomInAFullIndexBeforeOthers) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys old = MakeChain("old", 24);
  const ChainKeys promised = MakeChain("promised", 8);
  Put(space, old, 0, 24);
  Settle();
  SettleMarker();
  HoldIndex();
  EXPECT_THAT(Acks(PutDurable(space, promised, 0, 8)), Each("durable"));
  cache_options_.blocks_max = 12;
  Kill();
  EXPECT_EQ(Matched(space, promised), 8u);
  EXPECT_EQ(cache_->Counters().blocks, 12u);
}

TEST_F(CacheMarkerTest, ARemovalOutlivesItsOwnRecords) {
  // A block on a device that is offline when it is removed: its removal stands on the other only,
  // whose ring goes on.
  tier_.log.segments = 8;
  tier_.log.errors_max = 1;
  tier_.log.probe_period = 1000 * kSecond;
  tier_.marker_period = 1000 * kSecond;
  tier_.marker_patience = 1000 * kSecond;
  MakeMedia(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  EXPECT_THAT(Acks(PutDurable(space, chain, 0, 16)), Each("durable"));
  Script(0).FailNext(Op::kWrite, 1000);
  Put(space, MakeChain("x", 8), 0, 8);
  Sleep(100 * kMillisecond);
  ASSERT_FALSE(Log().Online(0));
  ASSERT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space, chain, 0, 16)))).find("io"),
            std::string::npos);
  const std::uint64_t begun = Log().Counters().segments_begun;
  for (int round = 0; Log().Counters().segments_begun < begun + 10; ++round) {
    ASSERT_LT(round, 1000);
    Put(space, MakeChain("o" + std::to_string(round), 4), 0, 4);
    Sleep(20 * kMillisecond);
  }
  LosePower();
  EXPECT_EQ(Matched(space, chain), 0u);
  for (std::size_t i = 0; i < chain.size(); ++i) {
    EXPECT_EQ(StatusText(Get(space, chain, i, 1)), "miss") << i;
  }
}

}  // namespace
}  // namespace terrace
