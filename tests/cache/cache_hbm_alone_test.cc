// GPUs (doubles) without an NVMe tier: what left DRAM lives in HBM alone, is found there, and goes
// with a reason when its copy does.
#include <optional>
#include <string>

#include "tests/cache/cache_hbm_fixture.h"
#include "tests/cache/cache_lease_fixture.h"

namespace terrace {
namespace {

using testing::AsKey;
using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

class CacheHbmAloneTest : public testing::OverHbm<CacheTest> {
 protected:
  void MakeTiers(std::size_t gpus = 1, std::uint64_t pool_bytes = 8 << 20,
                 std::uint32_t blocks_max = 0) {
    CacheOptions options;
    options.policy = "leaf-lru";  // LeaveDram: what was used longest ago leaves
    options.blocks_max = blocks_max;
    MakeCache(4 << 20, options);
    AddGpus(gpus, pool_bytes);
  }
  BlockStory Story(const Namespace* space, const std::string& key) {
    return cache_->Explain(space->id, 0, 0, AsKey(key));
  }
};

TEST_F(CacheHbmAloneTest, WhatLeftDramIsFoundInHbmAndComesBackFromThere) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 4);
  EXPECT_EQ(Story(space, chain[0]).tiers, kTierSetDram | kTierSetHbm);
  LeaveDram(space, chain);
  EXPECT_EQ(Found(space, chain), "hbm hbm hbm hbm");
  EXPECT_EQ(Story(space, chain[0]).tiers, kTierSetHbm);
  EXPECT_EQ(GotFrom(space, chain), "ok:hbm ok:hbm ok:hbm ok:hbm");
  EXPECT_EQ(cache_->Counters().get_hits_hbm, 4u);
  EXPECT_EQ(Found(space, chain), "dram dram dram dram");
  // And once more: its copy was there all the time.
  LeaveDram(space, chain);
  EXPECT_EQ(GotFrom(space, chain), "ok:hbm ok:hbm ok:hbm ok:hbm");
  EXPECT_EQ(cache_->Counters().hbm_promotions, 4u);
}

TEST_F(CacheHbmAloneTest, WhatHasNoCopyIsForgottenAsEver) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  Put(space, chain, 0, 2);
  LeaveDram(space, chain);
  EXPECT_EQ(GotFrom(space, chain), "miss:evicted miss:evicted");
}

/// One place for all keys that end with "/0".
Hash128 CollidingHash(std::span<const std::byte> bytes) noexcept {
  const bool first = bytes[bytes.size() - 2] == std::byte{'/'} && bytes.back() == std::byte{'0'};
  return first ? Hash128{.low = 7, .high = 0} : HashBytes128(bytes);
}

TEST_F(CacheHbmAloneTest, AnotherKeyAtItsPlaceIsNotAnsweredWithItsBytes) {
  CacheOptions options;
  options.policy = "leaf-lru";
  options.locator_hash = CollidingHash;
  MakeCache(4 << 20, options);
  AddGpus(1, 8 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 1);
  LeaveDram(space, chain);
  ASSERT_EQ(Found(space, chain), "hbm");
  EXPECT_EQ(GotFrom(space, MakeChain("d", 1)), "miss:key_mismatch");
  EXPECT_EQ(GotFrom(space, chain), "ok:dram");
}

TEST_F(CacheHbmAloneTest, AGpuThatIsLostCostsWhatWasThereAloneAndSaysWhy) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 4);
  LeaveDram(space, chain);
  const ChainKeys in_dram = PutAndUse(space, "d", 2);
  devices_[0]->Lose("fell off the bus");
  EXPECT_EQ(GotFrom(space, chain), "miss:device miss:device miss:device miss:device");
  Wait();
  ASSERT_EQ(lost_.size(), 1u) << "told once";
  EXPECT_NE(lost_[0].find("fell off the bus"), std::string::npos) << lost_[0];
  EXPECT_EQ(Copies(), 0u);
  EXPECT_EQ(Story(space, chain[0]).reason, MissReason::kDevice);
  EXPECT_FALSE(Story(space, chain[0]).published);
  EXPECT_EQ(GotFrom(space, in_dram), "ok:dram ok:dram");
  // It can be put again, and is there then.
  EXPECT_EQ(StatusText(Put(space, chain, 0, 4)), "ok ok ok ok");
  EXPECT_EQ(GotFrom(space, chain), "ok:dram ok:dram ok:dram ok:dram");
}

TEST_F(CacheHbmAloneTest, ACopyOnALostGpuIsNoReasonToDropTheFrame) {
  MakeTiers();
  cache_->NameReservations(random_, 1, 0);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 60);
  const ChainKeys other = MakeChain("other", 1);
  Put(space, other, 0, 1);
  ASSERT_EQ(Copies(), 60U);
  ASSERT_EQ(Matched(space, chain), 60U);
  // In the turn in which the GPU is found lost its copies stand in the index yet, and are worth
  // nothing: descendants that want room must not take that of their own ancestors.
  std::size_t reserved = 0;
  cache_->OnGpuLost([&](const std::string& /*name*/, const std::string& /*why*/) {
    for (int i = 0; i < 12; ++i) {
      ChainKeys longer = chain;
      longer.push_back("c/60 of " + std::to_string(i));
      const ReserveRequest request{.chain = SliceOf(*space, longer, 60, 1), .patience = kSecond};
      const StatusCode outcome =
          cache_->Reserve(link_, static_cast<std::uint64_t>(i), request).outcome;
      if (outcome == StatusCode::kOk) ++reserved;
    }
  });
  devices_[0]->Lose("fell off the bus");
  for (int use = 0; use < 3; ++use) {  // until it is worth a copy, which fails
    Get(space, other, 0, 1);
    Wait();
  }
  EXPECT_GT(reserved, 0U);
  EXPECT_LT(reserved, 12U) << "all of them found room";
  EXPECT_EQ(Matched(space, chain), 60U);
}

TEST_F(CacheHbmAloneTest, ARottenCopyIsAMissAndNeverItsBytes) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  LeaveDram(space, chain);
  devices_[0]->Rot();
  EXPECT_EQ(GotFrom(space, chain), "miss:corrupt miss:corrupt");
  EXPECT_EQ(Copies(), 0u);
  EXPECT_EQ(tiers_[0]->Stats().frames, 0u);
}

TEST_F(CacheHbmAloneTest, ABatchThatFailsOnceCostsNoBlock) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 1);
  LeaveDram(space, chain);
  devices_[0]->FailBatches(1);
  EXPECT_EQ(GotFrom(space, chain), "ok:hbm");
}

TEST_F(CacheHbmAloneTest, RemovedClearedAndReplacedBlocksLeaveNothingInHbm) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys first = PutAndUse(space, "c", 2);
  const ChainKeys second = PutAndUse(space, "d", 2);
  LeaveDram(space, first);
  LeaveDram(space, second);
  time_.Run(cache_->Remove(SliceOf(*space, first, 0, 2)));
  EXPECT_EQ(GotFrom(space, first), "miss:removed miss:removed");
  EXPECT_EQ(StatusText(Put(space, second, 0, 2)), "exists exists");
  time_.Run(cache_->Clear(space->id));
  EXPECT_EQ(GotFrom(space, second), "miss:cleared miss:cleared");
  EXPECT_EQ(tiers_[0]->Stats().frames, 0u);
}

TEST_F(CacheHbmAloneTest, APoolThatIsFullForgetsWhatLiesThereAlone) {
  MakeTiers(1, 2 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys first = PutAndUse(space, "first", 4);
  LeaveDram(space, first);
  for (int i = 0; i < 12; ++i) PutAndUse(space, "c" + std::to_string(i), 4);
  EXPECT_EQ(GotFrom(space, first), "miss:evicted miss:evicted miss:evicted miss:evicted");
  EXPECT_GT(cache_->Counters().hbm_evictions, 0u);
}

TEST_F(CacheHbmAloneTest, WhatIsLeasedOrKeptInHbmAloneMakesRoomForNobody) {
  MakeTiers(1, 2 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys leased = PutAndUse(space, "leased", 2);
  const ChainKeys kept = PutAndUse(space, "kept", 2);
  LeaveDram(space, leased);
  LeaveDram(space, kept);
  const auto query = testing::QueryOf(*space, leased, {0}, {0}, 3600 * kSecond);
  EXPECT_EQ(testing::PresenceText(time_.Run(cache_->MatchGroups(query))), "rr");
  RetainRequest retain;
  retain.chain = SliceOf(*space, kept, 0, 2);
  retain.label = "system";
  retain.time = 3600 * kSecond;
  EXPECT_EQ(StatusText(time_.Run(cache_->Retain(retain))), "ok ok");
  for (int i = 0; i < 12; ++i) PutAndUse(space, "c" + std::to_string(i), 4);
  EXPECT_GT(cache_->Counters().hbm_evictions, 0u);
  EXPECT_EQ(GotFrom(space, leased), "ok:hbm ok:hbm");
  EXPECT_EQ(GotFrom(space, kept), "ok:hbm ok:hbm");
  cache_->leases().EndAll();
}

TEST_F(CacheHbmAloneTest, AnIndexThatIsFullOfBlocksInHbmTakesNewOnes) {
  MakeTiers(1, 8 << 20, 70);
  const Namespace* space = Open("acme", "a");
  for (int i = 0; i < 10; ++i) PutAndUse(space, "c" + std::to_string(i), 8);
  for (int i = 0; i < 10; ++i) {
    const ChainKeys chain = MakeChain("new" + std::to_string(i), 8);
    EXPECT_EQ(StatusText(Put(space, chain, 0, 8)), "ok ok ok ok ok ok ok ok");
    ExpectValid();
  }
  EXPECT_GT(cache_->Counters().index_evictions, 0u);
}

TEST_F(CacheHbmAloneTest, AGpuThatHangsHoldsNobodyBeyondTheDeadlineAndTheStopNotForLong) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  LeaveDram(space, chain);
  devices_[0]->Hang(true);
  const Nanos began = time_.Now();
  EXPECT_EQ(GotFrom(space, chain), "timeout:timeout timeout:timeout");
  EXPECT_LE(time_.Now() - began, 2 * kSecond);
  time_.RunUntil(time_.Now() + 11 * kSecond);
  EXPECT_EQ(lost_.size(), 1u);
  EXPECT_EQ(GotFrom(space, chain), "miss:device miss:device");
  const Nanos stop = time_.Now();
  time_.Run(cache_->Close());
  EXPECT_LE(time_.Now() - stop, 3 * kSecond);
  EXPECT_EQ(cache_->Closed().code(), StatusCode::kIo);
  EXPECT_NE(cache_->Closed().message().find("gpu 0"), std::string::npos);
  // A process would end here. The test gives the bytes back.
  devices_[0]->Hang(false);
  time_.RunUntil(time_.Now() + kSecond);
  time_.Run(cache_->Close());
  EXPECT_TRUE(cache_->Closed().ok());
  EndHbm();
}

TEST_F(CacheHbmAloneTest, AnIdleTierWakesNobody) {
  MakeTiers(2);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 4);
  LeaveDram(space, chain);
  Get(space, chain, 0, 4);
  Wait();
  EXPECT_GT(Copies(), 0u);
  EXPECT_FALSE(time_.scheduler().HasReady());
  EXPECT_EQ(time_.scheduler().NextTimer(), kForever) << "something asks GPUs that do nothing";
}

TEST_F(CacheHbmAloneTest, RandomUseWithFaultsGivesNoWrongByte) {
  MakeTiers(2, 2 << 20);
  const Namespace* space = Open("acme", "a");
  SeededRandom random(21);
  std::vector<ChainKeys> chains;
  for (int i = 0; i < 40; ++i) chains.push_back(MakeChain("r" + std::to_string(i), 6));
  for (int step = 0; step < 600; ++step) {
    const ChainKeys& chain = chains[random.Below(random.Chance(0.7) ? 12 : chains.size())];
    HostDeviceMemory& device = *devices_[random.Below(2)];
    if (random.Chance(0.02)) device.CorruptBatches(1);
    if (random.Chance(0.05)) device.FailBatches(1);
    if (random.Chance(0.005)) device.Rot();
    if (random.Chance(0.05)) {
      time_.Run(cache_->Remove(SliceOf(*space, chain, 2, 4)));
    } else if (Matched(space, chain) < chain.size()) {
      Put(space, chain, 0, chain.size());
    } else {
      Get(space, chain, 0, chain.size());  // fails the test on a wrong byte
    }
    if (step == 500) device.Lose("gone");
    if (step % 20 == 0) ExpectValid();
  }
  EXPECT_GT(cache_->Counters().get_hits_hbm, 0u);
  EXPECT_GT(cache_->Counters().hbm_failures, 0u);
}

}  // namespace
}  // namespace terrace
