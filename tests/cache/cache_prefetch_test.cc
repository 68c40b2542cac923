// Prefetch, and labels and prefixes of blocks that lie on NVMe.
#include "cache/prefetch_queue.h"
#include "tests/cache/cache_nvme_fixture.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::MakeChain;
using testing::Op;
using testing::SimulatedTime;
using testing::SliceOf;
using testing::StatusText;

class CachePrefetchTest : public CacheNvmeTest {
 protected:
  PrefetchRequest Request(const Namespace* space, const ChainKeys& chain,
                          std::uint32_t priority = 0, Nanos timeout = kSecond) {
    return {.chain = SliceOf(*space, chain, 0, chain.size()),
            .priority = priority,
            .deadline = time_.Now() + timeout};
  }
};

TEST_F(CachePrefetchTest, WhatIsPrefetchedIsInDramWhenItIsWanted) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 6);
  Put(space, chain, 0, 6);
  PushOut(space, chain);
  const PrefetchRequest request = Request(space, chain);
  EXPECT_EQ(StatusText(time_.Run(cache_->Prefetch(request))), "ok ok ok ok ok ok");
  EXPECT_TRUE(AllOn(TierKind::kDram, space, chain));
  EXPECT_EQ(cache_->Counters().prefetch_loads, 6u);
  EXPECT_EQ(Get(space, chain, 0, 6).blocks[5].tier, TierKind::kDram);
  const PrefetchRequest again = Request(space, chain);
  EXPECT_EQ(StatusText(time_.Run(cache_->Prefetch(again))), "ok ok ok ok ok ok");
  EXPECT_EQ(cache_->Counters().prefetch_loads, 6u) << "nothing to do";
  const ChainKeys none = MakeChain("none", 1);
  const PrefetchRequest miss = Request(space, none);
  EXPECT_EQ(StatusText(time_.Run(cache_->Prefetch(miss))), "miss");
}

TEST_F(CachePrefetchTest, MoreThanDramHoldsIsRefusedAndDoesNotPushOutItsOwn) {
  cache_options_.arena.capacity_bytes = 2 << 20;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("long", 48);
  Put(space, chain, 0, 24);
  Settle();
  Put(space, chain, 24, 24);
  Settle();
  const PrefetchRequest request = Request(space, chain, 0, 10 * kSecond);
  const BatchAnswer answer = time_.Run(cache_->Prefetch(request));
  std::size_t there = 0;
  std::size_t refused = 0;
  std::size_t absent = 0;  // deep blocks that found no room when they were put
  for (const BlockAnswer& block : answer.blocks) {
    there += block.status == StatusCode::kOk ? 1 : 0;
    refused += block.status == StatusCode::kRetry ? 1 : 0;
    absent += block.status == StatusCode::kMiss ? 1 : 0;
  }
  EXPECT_EQ(there + refused + absent, 48u) << StatusText(answer);
  EXPECT_GT(refused, 0u);
  const MatchAnswer match = cache_->Match(SliceOf(*space, chain, 0, 48));
  std::size_t in_dram = 0;
  for (const TierKind tier : match.tiers) in_dram += tier == TierKind::kDram ? 1 : 0;
  EXPECT_EQ(in_dram, there) << "what it says is there is there";
}

TEST_F(CachePrefetchTest, CancelledPrefetchGivesUpWhatItHasNotBegun) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  Put(space, chain, 0, 16);
  PushOut(space, chain);
  PrefetchRequest request = Request(space, chain, 0, 3600 * kSecond);
  const std::size_t reads = Script().Count(Op::kRead);
  std::optional<BatchAnswer> answer;
  TaskScope scope;
  scope.Spawn(SimulatedTime::Store(cache_->Prefetch(request), &answer));
  time_.RunReady();
  request.deadline = 0;  // as a Cancel, or a peer that went, does
  while (scope.live() > 0) time_.Step();
  EXPECT_EQ(answer->blocks[15].status, StatusCode::kTimeout);
  EXPECT_LE(Script().Count(Op::kRead) - reads, PrefetchQueue::kAtOnce);
  EXPECT_LT(time_.Now(), 600 * kSecond) << "it did not wait for its old deadline";
}

TEST_F(CachePrefetchTest, ALabelKeepsARecordWhoseSegmentIsReused) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys kept = MakeChain("kept", 2);
  const ChainKeys loose = MakeChain("loose", 2);
  Put(space, kept, 0, 2);
  Put(space, loose, 0, 2);
  Settle();
  const RetainRequest retain{
      .chain = SliceOf(*space, kept, 0, 2), .label = "session", .time = 24 * 3600 * kSecond};
  EXPECT_EQ(StatusText(time_.Run(cache_->Retain(retain))), "ok ok");
  // Twice the log: every segment is reused.
  for (int i = 0; i < 32; ++i) {
    Put(space, MakeChain("flood" + std::to_string(i), 16), 0, 16);
    Settle();
  }
  EXPECT_EQ(Matched(space, kept), 2u);
  EXPECT_EQ(Matched(space, loose), 0u);
  EXPECT_EQ(cache_->Counters().retained_blocks, 2u);
}

TEST_F(CachePrefetchTest, ARemovedPrefixDoesNotComeBackAfterARestart) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 6);
  PutDurable(space, chain, 0, 6);
  PushOut(space, chain);  // its keys stand on NVMe alone
  const ChainKeys named(chain.begin(), chain.begin() + 3);
  const PrefixRequest request{.chain = SliceOf(*space, named, 2, 1),
                              .deadline = time_.Now() + 10 * kSecond};
  const auto removed = time_.Run(cache_->RemovePrefix(request));
  ASSERT_TRUE(removed.ok()) << removed.status().ToString();
  EXPECT_EQ(*removed, 4u) << "the one that was named, and the three behind it";
  Kill();
  EXPECT_EQ(Matched(space, chain), 2u);
  EXPECT_EQ(Got(space, chain), "ok ok miss miss miss miss");
}

TEST(PrefetchQueueTest, HigherPriorityIsNextAndGetsGoBeforeAll) {
  SimulatedTime time;
  bool gets_wait = true;
  PrefetchQueue queue([&gets_wait] { return gets_wait; });
  std::vector<int> order;
  const auto wait = [](PrefetchQueue* queue_of, std::vector<int>* order_of, std::uint32_t priority,
                       int name) -> Task<void> {
    if (co_await queue_of->Acquire(priority, kSecond)) order_of->push_back(name);
  };
  TaskScope scope;
  scope.Spawn(wait(&queue, &order, 1, 0));
  time.RunReady();
  EXPECT_EQ(order, (std::vector<int>{0})) << "one goes on all the same";
  for (const auto& [priority, name] : {std::pair{1U, 1}, {5U, 2}, {1U, 3}, {5U, 4}}) {
    scope.Spawn(wait(&queue, &order, priority, name));
    time.RunReady();
  }
  EXPECT_EQ(order.size(), 1u);
  queue.Release();
  time.RunReady();
  EXPECT_EQ(order, (std::vector<int>{0, 2}));
  gets_wait = false;
  queue.Grant();
  time.RunReady();
  EXPECT_EQ(order, (std::vector<int>{0, 2, 4, 1, 3}));
  for (int i = 0; i < 4; ++i) queue.Release();
  // One that waits in vain leaves.
  for (std::size_t i = 0; i < PrefetchQueue::kAtOnce + 1; ++i) {
    scope.Spawn(wait(&queue, &order, 0, 9));
  }
  time.RunUntil(2 * kSecond);
  EXPECT_EQ(order.size(), 5 + PrefetchQueue::kAtOnce);
  EXPECT_EQ(queue.waiting(), 0u);
  for (std::size_t i = 0; i < PrefetchQueue::kAtOnce; ++i) queue.Release();
  while (scope.live() > 0) time.Step();
}

}  // namespace
}  // namespace terrace
