// Copies of blocks in the memory of GPUs (doubles): when they are made, what is read from them, and
// that nothing is lost or wrong when a GPU is.
#include <algorithm>
#include <optional>
#include <string>

#include "tests/cache/cache_hbm_fixture.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

class CacheHbmTest : public testing::OverHbm<CacheNvmeTest> {
 protected:
  void MakeTiers(std::size_t gpus = 1, std::uint64_t pool_bytes = 8 << 20) {
    MakeMedia();
    AddGpus(gpus, pool_bytes);
  }
  void TearDown() override {
    OverHbm::TearDown();
    journal_.reset();
  }
  /// A chain of which there is nothing but copies: its records were overwritten.
  ChainKeys InHbmAlone(const Namespace* space, std::size_t blocks) {
    ChainKeys chain = PutAndUse(space, "c", blocks);
    LeaveDram(space, chain);
    const auto alone = [&](const std::string& key) {
      return cache_->Explain(space->id, 0, 0, testing::AsKey(key)).tiers == kTierSetHbm;
    };
    // The ring comes round; they are written again for their gets until those are used up.
    for (int i = 0; i < 120 && !std::ranges::all_of(chain, alone); ++i) {
      Put(space, MakeChain("more" + std::to_string(i), 16), 0, 16);
      Settle();
    }
    EXPECT_TRUE(std::ranges::all_of(chain, alone));
    return chain;
  }
};

TEST_F(CacheHbmTest, WhatIsUsedAgainComesBackFromTheGpuByteForByte) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 4);
  EXPECT_EQ(Copies(), 4u);
  EXPECT_TRUE(AllOn(TierKind::kDram, space, chain)) << "a get is still answered from there";
  LeaveDram(space, chain);
  EXPECT_TRUE(AllOn(TierKind::kHbm, space, chain));
  const BatchAnswer got = Get(space, chain, 0, 4);
  EXPECT_EQ(StatusText(got), "ok ok ok ok");
  for (const BlockAnswer& block : got.blocks) {
    EXPECT_EQ(block.tier, TierKind::kHbm);
    EXPECT_EQ(block.valid_tokens, 16u);
  }
  EXPECT_EQ(cache_->Counters().loads, 0u) << "read from NVMe";
  EXPECT_EQ(cache_->Counters().get_hits_hbm, 4u);
  EXPECT_TRUE(AllOn(TierKind::kDram, space, chain)) << "what is read is promoted";
}

TEST_F(CacheHbmTest, WhatIsUsedOnceIsNotCopied) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  Get(space, chain, 0, 4);
  Settle();
  EXPECT_EQ(Copies(), 0u);
}

TEST_F(CacheHbmTest, ACopyThatRottedIsReadFromNvmeInsteadAndGone) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 4);
  LeaveDram(space, chain);
  devices_[0]->Rot();
  EXPECT_EQ(Got(space, chain), "ok ok ok ok");
  EXPECT_EQ(cache_->Counters().loads, 4u);
  EXPECT_EQ(cache_->Counters().hbm_failures, 4u);
  EXPECT_EQ(Copies(), 0u);
}

TEST_F(CacheHbmTest, BytesThatChangeOnTheWayOutAreNoticedBeforeAnybodySeesThem) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 1);
  LeaveDram(space, chain);
  devices_[0]->CorruptBatches(1);
  EXPECT_EQ(Got(space, chain), "ok");
  EXPECT_EQ(cache_->Counters().loads, 1u);
}

TEST_F(CacheHbmTest, AGetSaysWhereItsBytesCameFromWhenTheGpuFailed) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  LeaveDram(space, chain);
  devices_[0]->Rot();
  EXPECT_EQ(Found(space, chain), "hbm hbm");
  EXPECT_EQ(GotFrom(space, chain), "ok:nvme ok:nvme");
  EXPECT_EQ(cache_->Counters().get_hits_nvme, 2u);
  EXPECT_EQ(cache_->Counters().get_hits_hbm, 0u);
}

TEST_F(CacheHbmTest, WhatLostItsRecordStaysInHbm) {
  MakeTiers(1, 8 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = InHbmAlone(space, 2);
  // A GPU's memory cannot promise DURABLE: the block is written from DRAM, where it is brought.
  const std::uint64_t pulled = cache_->Counters().bytes_put;
  const BatchAnswer put = PutDurable(space, chain, 0, 1);
  EXPECT_EQ(StatusText(put), "exists");
  EXPECT_EQ(Acks(put), (std::vector<std::string>{"durable"}));
  EXPECT_EQ(cache_->Counters().bytes_put, pulled);
  EXPECT_EQ(Got(space, chain), "ok ok");
  ExpectValid();
}

TEST_F(CacheHbmTest, ADurablePutThatFailsDoesNotCostTheOnlyCopy) {
  MakeTiers(1, 8 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = InHbmAlone(space, 1);
  EXPECT_EQ(StatusText(PutDurable(space, chain, 0, 1, 0)), "timeout");
  EXPECT_EQ(Found(space, chain), "hbm");
  devices_[0]->Hang(true);
  EXPECT_EQ(StatusText(PutDurable(space, chain, 0, 1)), "timeout");
  devices_[0]->Hang(false);
  time_.RunUntil(time_.Now() + kSecond);
  EXPECT_EQ(Got(space, chain), "ok");
}

TEST_F(CacheHbmTest, ADurablePutOfACopyThatRottedStoresTheBlockAnew) {
  MakeTiers(1, 8 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = InHbmAlone(space, 1);
  devices_[0]->Rot();
  const BatchAnswer put = PutDurable(space, chain, 0, 1);
  EXPECT_EQ(StatusText(put), "ok");
  EXPECT_EQ(Acks(put), (std::vector<std::string>{"durable"}));
  EXPECT_EQ(Got(space, chain), "ok");
}

TEST_F(CacheHbmTest, ADurablePutOfWhatWasOnALostGpuAloneStoresTheBlockAnew) {
  MakeTiers(1, 8 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = InHbmAlone(space, 2);
  devices_[0]->Lose("gone");
  // The put finds out by itself: its read of the copy is the first that the GPU fails.
  const BatchAnswer put = PutDurable(space, chain, 0, 2);
  EXPECT_EQ(StatusText(put), "ok ok");
  EXPECT_EQ(Acks(put), (std::vector<std::string>{"durable", "durable"}));
  Wait();
  EXPECT_EQ(Copies(), 0u);
  EXPECT_EQ(lost_.size(), 1u);
  EXPECT_EQ(Got(space, chain), "ok ok");
}

TEST_F(CacheHbmTest, APutOfABlockWhoseRecordGoesMeanwhileLeavesItsCopy) {
  MakeTiers(1, 8 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  LeaveDram(space, chain);
  const auto tiers = [&] {
    return cache_->Explain(space->id, 0, 0, testing::AsKey(chain[0])).tiers;
  };
  ASSERT_EQ(tiers(), kTierSetHbm | kTierSetNvme);
  // Puts of it over and over, while the ring of the log comes round.
  bool dropped = false;
  for (int i = 0; i < 120 && !dropped; ++i) {
    EXPECT_EQ(StatusText(Put(space, chain, 0, 2)), "exists exists");
    Put(space, MakeChain("more" + std::to_string(i), 16), 0, 16);
    Settle();
    dropped = (tiers() & kTierSetNvme) == 0;
  }
  ASSERT_TRUE(dropped);
  EXPECT_EQ(StatusText(Put(space, chain, 0, 1)), "exists") << "it is in HBM";
  const BatchAnswer put = PutDurable(space, chain, 0, 1);
  EXPECT_EQ(StatusText(put), "exists");
  EXPECT_EQ(Acks(put), (std::vector<std::string>{"durable"}));
  EXPECT_EQ(Got(space, chain), "ok ok");
  ExpectValid();
}

TEST_F(CacheHbmTest, AGpuThatHangsIsLeftForNvmeOnceItIsOffline) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  LeaveDram(space, chain);
  devices_[0]->Hang(true);
  const ClientCall call = Call(space, chain, 0, 2, 20 * kSecond);
  const Nanos began = time_.Now();
  const BatchAnswer answer = time_.Run(cache_->Get(link_, call.request));
  EXPECT_EQ(StatusText(answer), "ok ok");
  EXPECT_EQ(answer.blocks[0].tier, TierKind::kNvme);
  EXPECT_LT(time_.Now() - began, 11 * kSecond);
  EXPECT_EQ(lost_.size(), 1u);
  devices_[0]->Hang(false);
}

TEST_F(CacheHbmTest, AStopWaitsForNoGetThatAGpuKeepsWaiting) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  LeaveDram(space, chain);
  devices_[0]->Hang(true);
  ClientCall call = Call(space, chain, 0, 2, 30 * kSecond);
  std::optional<BatchAnswer> answer;
  TaskScope scope;
  scope.Spawn([](Cache* cache, Link* link, const GetRequest* request,
                 std::optional<BatchAnswer>* into) -> Task<void> {
    *into = co_await cache->Get(*link, *request);
  }(cache_.get(), &link_, &call.request, &answer));
  time_.RunUntil(time_.Now() + 100 * kMillisecond);
  ASSERT_FALSE(answer.has_value());
  call.request.deadline = 0;  // its client has gone
  cache_->BeginClose();
  time_.RunUntil(time_.Now() + 100 * kMillisecond);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(StatusText(*answer), "timeout timeout");
  devices_[0]->Hang(false);
}

TEST_F(CacheHbmTest, AGpuThatIsLostCostsNoBlock) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 4);
  LeaveDram(space, chain);
  devices_[0]->Lose("fell off the bus");
  EXPECT_EQ(Got(space, chain), "ok ok ok ok");
  LeaveDram(space, chain);
  EXPECT_TRUE(AllOn(TierKind::kNvme, space, chain)) << "a copy that cannot be read is none";
  EXPECT_EQ(Got(space, chain), "ok ok ok ok");
}

TEST_F(CacheHbmTest, WhatIsRemovedOrClearedLeavesTheGpu) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys first = PutAndUse(space, "c", 4);
  const ChainKeys second = PutAndUse(space, "d", 3);
  EXPECT_EQ(Copies(), 7u);
  time_.Run(cache_->Remove(SliceOf(*space, first, 0, 4)));
  EXPECT_EQ(Copies(), 3u);
  ExpectValid();
  time_.Run(cache_->Clear(space->id));
  EXPECT_EQ(Copies(), 0u);
  EXPECT_EQ(tiers_[0]->Stats().frames, 0u);
}

TEST_F(CacheHbmTest, ABlockThatIsRemovedWhileItIsCopiedLeavesNothingBehind) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  Settle();
  devices_[0]->Hang(true);
  for (int use = 0; use < 3; ++use) Get(space, chain, 0, 4);
  ASSERT_GT(devices_[0]->in_flight(), 0u);
  time_.Run(cache_->Remove(SliceOf(*space, chain, 0, 4)));
  ExpectValid();
  EXPECT_EQ(tiers_[0]->Stats().frames, 4u) << "bytes are still on their way there";
  devices_[0]->Hang(false);
  Settle();
  EXPECT_EQ(tiers_[0]->Stats().frames, 0u);
  EXPECT_EQ(Copies(), 0u);
}

TEST_F(CacheHbmTest, ASmallPoolGivesUpWhatWasUsedLongestAgo) {
  MakeTiers(1, 2 << 20);
  const Namespace* space = Open("acme", "a");
  std::vector<ChainKeys> chains;
  for (int i = 0; i < 12; ++i) chains.push_back(PutAndUse(space, "c" + std::to_string(i), 4));
  EXPECT_GT(cache_->Counters().hbm_evictions, 0u);
  EXPECT_LE(Copies(), 32u) << "2 MiB hold 32 blocks of 64 KiB";
  LeaveDram(space, chains.front());
  LeaveDram(space, chains.back());
  EXPECT_TRUE(AllOn(TierKind::kHbm, space, chains.back()));
  EXPECT_TRUE(AllOn(TierKind::kNvme, space, chains.front()));
  for (const ChainKeys& chain : chains) EXPECT_EQ(Got(space, chain), "ok ok ok ok");
}

TEST_F(CacheHbmTest, SeveralGpusShareTheCopies) {
  MakeTiers(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 8);
  EXPECT_EQ(tiers_[0]->Stats().frames, 4u);
  EXPECT_EQ(tiers_[1]->Stats().frames, 4u);
  devices_[1]->Lose("gone");
  LeaveDram(space, chain);
  EXPECT_EQ(Got(space, chain), "ok ok ok ok ok ok ok ok");
}

TEST_F(CacheHbmTest, RandomUseWithFaultsGivesNoWrongByte) {
  MakeTiers(2, 2 << 20);
  const Namespace* space = Open("acme", "a");
  SeededRandom random(20);
  std::vector<ChainKeys> chains;
  for (int i = 0; i < 30; ++i) chains.push_back(MakeChain("r" + std::to_string(i), 6));
  for (int step = 0; step < 600; ++step) {
    const ChainKeys& chain = chains[random.Below(random.Chance(0.7) ? 8 : chains.size())];
    HostDeviceMemory& device = *devices_[random.Below(2)];
    if (random.Chance(0.05)) device.CorruptBatches(1);
    if (random.Chance(0.05)) device.FailBatches(1);
    if (random.Chance(0.01)) device.Rot();
    if (random.Chance(0.05)) {
      time_.Run(cache_->Remove(SliceOf(*space, chain, 2, 4)));
    } else if (Matched(space, chain) < chain.size()) {
      Put(space, chain, 0, chain.size());
    } else {
      Get(space, chain, 0, chain.size());  // fails the test on a wrong byte
    }
    if (step % 50 == 0) ExpectValid();
  }
  EXPECT_GT(cache_->Counters().hbm_loads, 0u);
  EXPECT_GT(cache_->Counters().hbm_failures, 0u);
}

TEST_F(CacheHbmTest, ATierThatCannotBeAttachedSaysWhy) {
  MakeMedia();
  EXPECT_EQ(cache_->AttachHbm({}).code(), StatusCode::kInvalid);
}

}  // namespace
}  // namespace terrace
