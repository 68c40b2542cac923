// What matches say about loading, and gets against what was predicted of them.
#include <cmath>

#include "base/load_time.h"
#include "tests/cache/cache_nvme_fixture.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::ClientCall;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::MakeChain;
using testing::Op;
using testing::SliceOf;
using testing::StatusText;

class CachePredictTest : public CacheNvmeTest {
 protected:
  /// Blocks of 64 KiB on NVMe that reads slowly enough for it to be told from all else.
  void MakeSlowMedia(std::uint32_t lanes = 1) {
    tier_.log.read_bytes_per_s = kDeviceRate;
    MakeMedia(lanes);
  }
  GroupsAnswer MatchGroups(const Namespace* space, const ChainKeys& chain, const Link* link) {
    const GroupsQuery query{.chain = SliceOf(*space, chain, 0, chain.size()),
                            .groups = {0},
                            .shards = {0},
                            .link = link};
    return time_.Run(cache_->MatchGroups(query));
  }
  const LoadCounters& Predicted() { return cache_->Counters().predicted; }

  static constexpr std::uint64_t kDeviceRate = 20'000'000;
};

TEST_F(CachePredictTest, AMatchSaysWhereEachBlockComesFromAndWhatThatCanDo) {
  MakeSlowMedia(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys cold = MakeChain("c", 4);
  Put(space, cold, 0, 4);
  PushOut(space, cold);
  ChainKeys chain = cold;
  for (const std::string& key : MakeChain("warm", 2)) chain.push_back(key);
  Put(space, chain, 4, 2);
  const MatchAnswer match = cache_->Match(SliceOf(*space, chain, 0, chain.size()), &link_);
  ASSERT_EQ(match.sources.size(), 6u);
  ASSERT_EQ(match.load_from.size(), 3u) << "the connection and two devices";
  EXPECT_EQ(match.load_from[0].tier, TierKind::kDram);
  EXPECT_EQ(match.load_from[1].tier, TierKind::kNvme);
  EXPECT_EQ(match.load_from[1].bytes_per_s, kDeviceRate) << "no device is faster than its limit";
  for (std::size_t i = 0; i < 4; ++i) EXPECT_GT(match.sources[i], 0u) << i;
  EXPECT_EQ(match.sources[4], 0u);
  const GroupsAnswer groups = MatchGroups(space, chain, &link_);
  EXPECT_EQ(groups.sources, match.sources);
  EXPECT_EQ(groups.load_from.size(), 3u);
  EXPECT_TRUE(MatchGroups(space, chain, nullptr).load_from.empty()) << "nobody asked";
}

TEST_F(CachePredictTest, WhatGetsTookIsLearnedAndTheNextOnesArePredicted) {
  tier_.log.segments = 64;  // what is pushed out stays on NVMe
  MakeSlowMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 32);
  for (int round = 0; round < 6; ++round) {
    Put(space, chain, 0, 32);
    PushOut(space, chain);
    const ClientCall call = Call(space, chain, 0, 32, 10 * kSecond);
    const MatchAnswer match = cache_->Match(call.request.chain, &link_);
    const Nanos begun = time_.Now();
    const BatchAnswer got = time_.Run(cache_->Get(link_, call.request));
    EXPECT_THAT(got.blocks, Each(::testing::Field(&BlockAnswer::status, StatusCode::kOk)));
    const double took = static_cast<double>(time_.Now() - begun) * 1e-9;
    std::vector<std::uint64_t> bytes(match.load_from.size());
    for (const std::uint8_t source : match.sources) bytes[source] += kBlockBytes;
    const double predicted = LoadSeconds(match.load_from, bytes, kBlockBytes);
    if (round > 2) EXPECT_NEAR(took / predicted, 1, 0.1) << round;
  }
  EXPECT_EQ(Predicted().nvme.count, 6u);
  EXPECT_EQ(Predicted().dram.count, 0u);
  EXPECT_NEAR(static_cast<double>(Predicted().nvme_bytes_per_s) / kDeviceRate, 1, 0.15);
  const double error = static_cast<double>(Predicted().nvme.error_millionths) / 1e6 / 6;
  EXPECT_LT(error, 0.3) << "the mean, the first ones included";
}

TEST_F(CachePredictTest, WhatGetsUnderWayWaitForIsAQueueAndGoesWithThem) {
  MakeSlowMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  Put(space, chain, 0, 16);
  PushOut(space, chain);
  const ClientCall call = Call(space, chain, 0, 16, 10 * kSecond);
  TaskScope scope;
  scope.Spawn([](Cache* cache, Link* link, const GetRequest* request) -> Task<void> {
    (void)co_await cache->Get(*link, *request);
  }(cache_.get(), &link_, &call.request));
  time_.RunReady();
  const auto queues = [&] {
    const MatchAnswer match = cache_->Match(call.request.chain, &link_);
    return std::pair(match.load_from[0].queue_us, match.load_from[1].queue_us);
  };
  const double all_us = 16.0 * kBlockBytes / kDeviceRate * 1e6;
  EXPECT_NEAR(queues().second, all_us, all_us * 0.1);
  EXPECT_GT(queues().first, 0u);
  while (scope.live() > 0) time_.Step();
  EXPECT_EQ(queues(), std::pair(0U, 0U));
}

TEST_F(CachePredictTest, AGetThatRunsOutOfTimeLeavesNoQueueAndNoComparison) {
  MakeSlowMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  Put(space, chain, 0, 16);
  PushOut(space, chain);
  const ClientCall call = Call(space, chain, 0, 16, 10 * kMillisecond);
  const Nanos begun = time_.Now();
  const BatchAnswer got = time_.Run(cache_->Get(link_, call.request));
  EXPECT_LT(time_.Now() - begun, 20 * kMillisecond) << "a limit does not hold a deadline up";
  EXPECT_EQ(got.blocks[15].status, StatusCode::kTimeout);
  // Requests that had given up went on waiting for their turn, without end and before all others.
  const std::uint64_t read = cache_->nvme()->log().Counters().records_read;
  time_.RunUntil(time_.Now() + 5 * kSecond);
  EXPECT_LE(cache_->nvme()->log().Counters().records_read, read + 2)
      << "none but those whose turn came in time";
  const MatchAnswer match = cache_->Match(call.request.chain, &link_);
  EXPECT_EQ(match.load_from[0].queue_us, 0u);
  EXPECT_EQ(match.load_from[1].queue_us, 0u);
  EXPECT_EQ(Predicted().nvme.count, 0u);
}

TEST_F(CachePredictTest, AMissADeviceThatFailsAndALoanAreNoComparison) {
  MakeSlowMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  Get(space, chain, 0, 2);
  EXPECT_EQ(Predicted().dram.count, 0u);
  Put(space, chain, 0, 2);
  Get(space, chain, 0, 2);
  EXPECT_EQ(Predicted().dram.count, 1u);
  PushOut(space, chain);
  Script().FailNext(Op::kRead, 2);
  Get(space, chain, 0, 2);
  EXPECT_EQ(Predicted().nvme.count, 0u);
  const MatchAnswer match = cache_->Match(SliceOf(*space, chain, 0, 2), &link_);
  EXPECT_EQ(match.load_from[1].queue_us, 0u);
}

TEST_F(CachePredictTest, EveryComparisonIsInOneClassOfItsRatio) {
  MakeSlowMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  for (int i = 0; i < 5; ++i) Get(space, chain, 0, 4);
  std::uint64_t sum = 0;
  for (const auto& count : Predicted().dram.by_ratio) sum += count;
  EXPECT_EQ(sum, 5u);
  EXPECT_EQ(Predicted().dram.count, 5u);
  EXPECT_GT(Predicted().dram.actual_us, 0u);
  EXPECT_GT(Predicted().link_bytes_per_s, 0u);
}

}  // namespace
}  // namespace terrace
