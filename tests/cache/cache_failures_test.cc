// Deadlines, dead links, corruption, collisions, and blocks that go while they are in use.
#include <array>

#include "tests/cache/cache_fixture.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using testing::MakeCall;
using testing::MakeChain;
using testing::PoisonDestinations;
using testing::SimulatedTime;
using testing::SliceOf;
using testing::StatusText;
using testing::WrongBlocks;

class CacheFailuresTest : public CacheTest {
 protected:
  void SetUp() override {
    MakeCache(16 << 20);
    space_ = Open("acme", "a");
    chain_ = MakeChain("c", 6);
  }
  /// Starts a call and lets it come into flight, without moving time.
  void Start(Task<BatchAnswer> task) {
    scope_.Spawn(SimulatedTime::Store(std::move(task), &answer_));
    time_.RunReady();
    ASSERT_FALSE(answer_.has_value());
  }
  std::string Finish() {
    while (!answer_) {
      if (!time_.Step()) return "hangs";
    }
    time_.RunReady();
    return StatusText(*std::exchange(answer_, std::nullopt));
  }
  std::uint64_t Frames() { return cache_->arena().Stats().frames; }

  const Namespace* space_ = nullptr;
  ChainKeys chain_;
  TaskScope scope_;
  std::optional<BatchAnswer> answer_;
};

TEST_F(CacheFailuresTest, StalledTransfersEndAtTheDeadline) {
  Put(space_, chain_, 0, 1);
  link_.SetFaults({.stall = 1, .quarantine_max = 10 * kMillisecond});
  const Nanos deadline = time_.Now() + kSecond;
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 6)),
            "exists timeout timeout timeout timeout timeout");
  EXPECT_EQ(time_.Now(), deadline);
  EXPECT_GT(link_.quarantined(), 0u);
  EXPECT_GT(Frames(), 1u) << "frames in quarantine are not free";
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 2)), "timeout miss");
  EXPECT_EQ(time_.Now(), deadline + kSecond);
  EXPECT_EQ(cache_->Counters().put_failures, 5u);
  EXPECT_EQ(cache_->Counters().get_failures, 1u);
  time_.RunUntil(time_.Now() + kSecond);
  EXPECT_EQ(Frames(), 1u);
  link_.SetFaults({});
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 1)), "ok") << "a late push does no harm";
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 2)), "exists ok");
}

TEST_F(CacheFailuresTest, ADeadlineThatHasPassedMovesNothing) {
  Put(space_, chain_, 0, 2);
  const ClientCall call = Call(space_, chain_, 0, 4, 0);
  EXPECT_EQ(StatusText(time_.Run(cache_->Get(link_, call.request))), "timeout timeout miss miss");
  EXPECT_EQ(StatusText(time_.Run(cache_->Put(link_, call.request))),
            "exists exists timeout timeout");
  EXPECT_EQ(link_.quarantined(), 0u);
}

TEST_F(CacheFailuresTest, WaitingForASlotEndsAtTheDeadline) {
  CacheOptions options;
  options.transfers_max = 1;
  cache_.reset();
  MakeCache(16 << 20, options);
  Put(space_, chain_, 0, 1);
  link_.SetFaults({.stall = 1});
  const ClientCall slow = Call(space_, chain_, 0, 1, 10 * kSecond);
  Start(cache_->Get(link_, slow.request));
  const Nanos deadline = time_.Now() + kSecond;
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 2)), "exists timeout");
  EXPECT_EQ(time_.Now(), deadline);
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 2)), "timeout miss");
  EXPECT_EQ(Frames(), 1u) << "nothing stands reserved for who waits in a queue";
  EXPECT_EQ(Finish(), "timeout");
}

TEST_F(CacheFailuresTest, ALinkThatDiesInMidPutLeavesNothingBehind) {
  const ClientCall call = Call(space_, chain_, 0, 6);
  FillSources(call, memory_);
  Start(cache_->Put(link_, call.request));
  EXPECT_EQ(link_.in_flight(), 4u);
  const Nanos died = time_.Now();
  link_.Close();
  EXPECT_EQ(Finish(), "peer_dead peer_dead peer_dead peer_dead peer_dead peer_dead");
  EXPECT_EQ(time_.Now(), died) << "a dead peer is found at once";
  EXPECT_EQ(Matched(space_, chain_), 0u);
  EXPECT_EQ(Frames(), 4u) << "in quarantine";
  ExpectValid();
  time_.RunUntil(time_.Now() + kSecond);
  EXPECT_EQ(Frames(), 0u);
}

TEST_F(CacheFailuresTest, ALinkThatDiesInMidGetKeepsTheBlocks) {
  Put(space_, chain_, 0, 6);
  const ClientCall call = Call(space_, chain_, 0, 6);
  Start(cache_->Get(link_, call.request));
  link_.Close();
  EXPECT_EQ(Finish(), "peer_dead peer_dead peer_dead peer_dead peer_dead peer_dead");
  SimLink other(time_.scheduler(), random_, memory_.memory(), {});
  EXPECT_EQ(StatusText(time_.Run(cache_->Get(other, call.request))), "ok ok ok ok ok ok");
  EXPECT_EQ(cache_->Counters().get_failures, 6u);
}

TEST_F(CacheFailuresTest, AnAncestorWhosePutFailedDoesNotTakeOthersAlong) {
  ClientCall call = Call(space_, chain_, 0, 3);
  FillSources(call, memory_);
  call.request.places[1].pieces[0].region = 77;  // not registered
  EXPECT_EQ(StatusText(time_.Run(cache_->Put(link_, call.request))), "ok invalid ok");
  EXPECT_EQ(Matched(space_, chain_), 1u);
  EXPECT_EQ(Frames(), 2u);
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 3)), "exists ok exists");
}

TEST_F(CacheFailuresTest, BytesThatChangedOnTheWayAreNeverStored) {
  link_.SetFaults({.corruption = 1});
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 2)), "corrupt corrupt");
  EXPECT_EQ(Matched(space_, chain_), 0u);
  EXPECT_EQ(Frames(), 0u);
  link_.SetFaults({});
  Put(space_, chain_, 0, 2);
  link_.SetFaults({.corruption = 1});
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 2)), "corrupt corrupt");
  EXPECT_EQ(Matched(space_, chain_), 2u) << "only the copy on the way was bad";
}

TEST_F(CacheFailuresTest, AFrameWhoseMemoryChangedIsForgotten) {
  Put(space_, chain_, 0, 1);
  const FrameId frame = 0;  // the first page of an empty arena
  ASSERT_EQ(cache_->arena().Header(frame).namespace_id, space_->id);
  cache_->arena().Payload(frame)[1234] ^= std::byte{1};
  EXPECT_EQ(cache_->Validate().code(), StatusCode::kInternal);
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 1)), "corrupt");
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 1)), "miss");
  EXPECT_EQ(Frames(), 0u);
}

TEST_F(CacheFailuresTest, ABlockRemovedWhileItIsReadStaysUntilTheReadEnds) {
  Put(space_, chain_, 0, 2);
  const ClientCall call = Call(space_, chain_, 0, 2);
  PoisonDestinations(call, memory_);
  std::optional<BatchAnswer> answer;
  scope_.Spawn(SimulatedTime::Store(cache_->Get(link_, call.request), &answer));
  time_.RunReady();
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space_, chain_, 0, 2)))), "ok ok");
  EXPECT_EQ(Matched(space_, chain_), 0u);
  EXPECT_EQ(Frames(), 2u) << "C4: doomed, not freed";
  ExpectValid();
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 1)), "ok") << "the key is free again";
  while (!answer) time_.Step();
  EXPECT_EQ(StatusText(*answer), "ok ok");
  time_.RunReady();
  EXPECT_EQ(Frames(), 1u);
}

TEST_F(CacheFailuresTest, ANamespaceClearedWhileItIsPutStoresNothing) {
  const ClientCall call = Call(space_, chain_, 0, 2);
  FillSources(call, memory_);
  Start(cache_->Put(link_, call.request));
  EXPECT_EQ(time_.Run(cache_->Clear(space_->id)), 0u) << "nothing was stored yet";
  ExpectValid();
  EXPECT_EQ(Frames(), 2u);
  // The same keys may be put again at once, into other frames.
  const ClientCall again =
      MakeCall(*space_, memory_, SliceOf(*space_, chain_, 0, 2), time_.Now() + kSecond, 10);
  FillSources(again, memory_);
  EXPECT_EQ(StatusText(time_.Run(cache_->Put(link_, again.request))), "ok ok");
  EXPECT_EQ(Finish(), "retry retry");
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 2)), "ok ok");
  EXPECT_EQ(Frames(), 2u);
}

TEST_F(CacheFailuresTest, ARemoveDuringAPutComesBeforeIt) {
  const ClientCall call = Call(space_, chain_, 0, 1);
  FillSources(call, memory_);
  Start(cache_->Put(link_, call.request));
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(call.request.chain))), "miss");
  EXPECT_EQ(Finish(), "ok");
  EXPECT_EQ(Matched(space_, chain_), 1u);
}

Hash128 Constant(std::span<const std::byte>) noexcept { return {.low = 7, .high = 7}; }

TEST_F(CacheFailuresTest, KeysWithOneLocatorAreAMissNeverWrongBytes) {
  CacheOptions options;
  options.locator_hash = Constant;
  cache_.reset();
  MakeCache(16 << 20, options);
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 1)), "ok");
  EXPECT_EQ(StatusText(Put(space_, chain_, 1, 1)), "retry") << "the place is taken";
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 3)), "ok miss miss");
  EXPECT_EQ(Matched(space_, chain_), 1u);
  EXPECT_EQ(Matched(space_, MakeChain("d", 1)), 0u);
  EXPECT_GE(cache_->Counters().key_mismatches, 4u);
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space_, chain_, 1, 1)))), "miss");
  EXPECT_EQ(StatusText(Get(Open("acme", "b"), chain_, 0, 1)), "miss")
      << "another namespace's id is exact";
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space_, chain_, 0, 1)))), "ok");
  EXPECT_EQ(StatusText(Put(space_, chain_, 1, 1)), "ok");
  EXPECT_EQ(StatusText(Get(space_, chain_, 1, 1)), "ok");
}

}  // namespace
}  // namespace terrace
