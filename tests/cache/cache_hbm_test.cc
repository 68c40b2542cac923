// Copies of blocks in the memory of GPUs (doubles): when they are made, what is read from them, and
// that nothing is lost or wrong when a GPU is.
#include <string>

#include "tests/cache/cache_nvme_fixture.h"
#include "tiers/hbm/hbm_tier.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

class CacheHbmTest : public CacheNvmeTest {
 protected:
  void MakeTiers(std::size_t gpus = 1, std::uint64_t pool_bytes = 8 << 20) {
    MakeMedia();
    std::vector<HbmTier*> tiers;
    for (std::size_t i = 0; i < gpus; ++i) {
      devices_.push_back(std::make_unique<HostDeviceMemory>(
          HostDeviceOptions{.name = "gpu " + std::to_string(i)}));
      auto tier = HbmTier::Create(*devices_.back(), {.capacity_bytes = pool_bytes, .copies = {}});
      ASSERT_TRUE(tier.ok()) << tier.status().ToString();
      tiers_.push_back(std::move(*tier));
      tiers.push_back(tiers_.back().get());
    }
    const Status attached = cache_->AttachHbm(tiers);
    ASSERT_TRUE(attached.ok()) << attached.ToString();
  }
  /// In this order: the tiers have the arena pinned.
  void TearDown() override {
    if (cache_ == nullptr) return;
    Settle();
    EXPECT_EQ(link_.late_changes(), 0u);
    time_.Run(cache_->Close());
    ExpectValid();
    EXPECT_EQ(cache_->arena().Pins(), 0u);
    for (const auto& tier : tiers_) EXPECT_EQ(tier->Stats().frames, 0u);
    tiers_.clear();
    for (const auto& device : devices_) EXPECT_EQ(device->pinned_ranges(), 0u);
    cache_.reset();
    journal_.reset();
  }

  /// Puts a chain and uses it until it has copies.
  ChainKeys PutAndUse(const Namespace* space, const std::string& name, std::size_t blocks) {
    ChainKeys chain = MakeChain(name, blocks);
    Put(space, chain, 0, blocks);
    Settle();
    for (int use = 0; use < 3; ++use) {
      Get(space, chain, 0, blocks);
      Settle();
    }
    return chain;
  }
  /// Puts other blocks until the chain has left DRAM.
  void LeaveDram(const Namespace* space, const ChainKeys& chain) {
    Settle();
    for (int round = 0; round < 20 && AnyOn(TierKind::kDram, space, chain); ++round) {
      const ChainKeys other = MakeChain("filler" + std::to_string(fillers_++), 16);
      Put(space, other, 0, other.size());
      Settle();
    }
    EXPECT_FALSE(AnyOn(TierKind::kDram, space, chain));
  }
  bool AnyOn(TierKind tier, const Namespace* space, const ChainKeys& chain) {
    const MatchAnswer answer = cache_->Match(SliceOf(*space, chain, 0, chain.size()));
    return std::ranges::count(answer.tiers, tier) > 0;
  }
  [[nodiscard]] std::uint64_t Copies() const { return cache_->Counters().blocks_hbm; }

  std::vector<std::unique_ptr<HostDeviceMemory>> devices_;
  std::vector<std::unique_ptr<HbmTier>> tiers_;
  int fillers_ = 0;
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
