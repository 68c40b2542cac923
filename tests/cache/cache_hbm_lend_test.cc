// GPUs (doubles) beside an arena that lends: memory that another tenant gets is replaced, and what
// GPUs copy from and to must be the pages that are there now.
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/cache/cache_hbm_fixture.h"
#include "tests/cache/keeping_link.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::KeepingLink;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

class CacheHbmLendTest : public testing::OverHbm<CacheTest> {
 protected:
  static constexpr std::uint64_t kArenaBytes = 32 << 20;
  static constexpr std::size_t kExtents = 16;

  void MakeTiers(std::size_t gpus) {
    CacheOptions options;
    options.policy = "leaf-lru";
    options.arena.lendable = true;
    MakeCache(kArenaBytes, options);
    AddGpus(gpus, 8 << 20);
  }
  /// Of one tenant, as many blocks as the arena holds.
  void FillArena(const Namespace* space, const std::string& name) {
    for (std::size_t i = 0; i < kArenaBytes / kBlockBytes / 16; ++i) {
      const ChainKeys chain = MakeChain(name + std::to_string(i), 16);
      Put(space, chain, 0, chain.size());
    }
    Wait();
  }
  /// Puts until the arena's thread has replaced an extent for it; 10 s of real time at most.
  void PutOnceReplaced(const Namespace* space, const ChainKeys& chain) {
    for (int turn = 0; turn < 10'000; ++turn) {
      const std::string put = StatusText(Put(space, chain, 0, chain.size()));
      if (put.find("retry") == std::string::npos) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    FAIL() << "no extent was replaced";
  }
};

TEST_F(CacheHbmLendTest, MemoryThatAnotherTenantGetsIsPinnedAnewByEveryGpu) {
  MakeTiers(2);
  EXPECT_EQ(devices_[0]->pinned_ranges(), kExtents);
  const Namespace* first = Open("acme", "a");
  FillArena(first, "a");
  const Namespace* second = Open("other", "b");
  const ChainKeys chain = MakeChain("b", 2);
  PutOnceReplaced(second, chain);
  Wait();
  EXPECT_GT(cache_->arena().Stats().extents_replaced, 0u);
  for (const auto& device : devices_) {
    EXPECT_EQ(device->pinned_ranges(), kExtents);
    EXPECT_EQ(device->pins(), kExtents + cache_->arena().Stats().extents_replaced);
  }
  for (int use = 0; use < 3; ++use) {
    EXPECT_EQ(GotFrom(second, chain), "ok:dram ok:dram");
    Wait();
  }
  EXPECT_EQ(Copies(), 2u);
  EXPECT_EQ(cache_->Counters().hbm_failures, 0u);
}

TEST_F(CacheHbmLendTest, MemoryThatCannotBePinnedAnewIsUsedWithoutTheGpu) {
  MakeTiers(1);
  const Namespace* first = Open("acme", "a");
  FillArena(first, "a");
  devices_[0]->FailPins(1000);
  const Namespace* second = Open("other", "b");
  const ChainKeys chain = MakeChain("b", 2);
  PutOnceReplaced(second, chain);
  for (int use = 0; use < 3; ++use) {
    EXPECT_EQ(GotFrom(second, chain), "ok:dram ok:dram");
    Wait();
  }
  EXPECT_EQ(Copies(), 0u);
  EXPECT_GT(cache_->Counters().hbm_pin_failures, 0u);
  EXPECT_GT(cache_->Counters().hbm_failures, 0u);
  EXPECT_EQ(devices_[0]->submitted(), 0u) << "no byte is asked of memory that is not pinned";
}

/// Blocks that are lent where they lie on a GPU.
class CacheLendOnGpuTest : public testing::OverHbm<CacheTest> {
 protected:
  void MakeTiers(std::uint64_t pool_bytes = 8 << 20) {
    CacheOptions options;
    options.policy = "leaf-lru";
    options.hbm_lend_tenants = {"acme"};
    MakeCache(4 << 20, options);
    AddGpus(1, pool_bytes, true);
    cache_->OnLoansOver([this](const HbmTier& /*tier*/, std::optional<LentPlace> place) {
      if (place) ++places_over_;
    });
  }
  void TearDown() override {
    keeper_.kept.clear();
    OverHbm::TearDown();
  }
  ClientCall LendCall(const Namespace* space, const ChainKeys& chain, Nanos timeout) {
    ClientCall call = Call(space, chain, 0, chain.size(), timeout);
    call.request.places.clear();
    call.request.lend_for = 5 * kSecond;
    call.request.lend_gpu = "DOUBLE-0";
    return call;
  }
  /// Begins; its answer comes into answer_.
  void Begin(const ClientCall& call) {
    scope_.Spawn([](CacheLendOnGpuTest* test, const GetRequest* request) -> Task<void> {
      test->answer_ = co_await test->cache_->Get(test->keeper_, *request);
    }(this, &call.request));
  }
  /// The same, with a GPU that keeps it waiting.
  void BeginBesideAGpuThatHangs(const ClientCall& call) {
    devices_[0]->Hang(true);
    Begin(call);
    time_.RunUntil(time_.Now() + 100 * kMillisecond);
    ASSERT_FALSE(answer_.has_value());
  }
  /// "hbm dram" of the tiers that the blocks were lent in, or why they were not.
  static std::string From(const BatchAnswer& answer) {
    std::string text;
    for (const BlockAnswer& block : answer.blocks) {
      const bool ok = block.status == StatusCode::kOk;
      text += (text.empty() ? "" : " ") +
              std::string(ok ? TierName(block.tier) : StatusCodeName(block.status));
    }
    return text;
  }
  std::string LentFrom(const Namespace* space, const ChainKeys& chain) {
    const ClientCall call = LendCall(space, chain, kSecond);
    return From(time_.Run(cache_->Get(keeper_, call.request)));
  }

  KeepingLink keeper_;
  std::optional<BatchAnswer> answer_;
  std::size_t places_over_ = 0;
  TaskScope scope_;
};

TEST_F(CacheLendOnGpuTest, AGpuThatHangsHoldsUpNoReply) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  EXPECT_EQ(LentFrom(space, chain), "hbm hbm");
  devices_[0]->Hang(true);
  const Nanos began = time_.Now();
  EXPECT_EQ(LentFrom(space, chain), "dram dram");
  EXPECT_LT(time_.Now() - began, kSecond) << "in time for the client";
  const Nanos slow = time_.Now();
  EXPECT_EQ(LentFrom(space, chain), "dram dram");
  EXPECT_LT(time_.Now() - slow, 10 * kMillisecond) << "a GPU that is known to hang is not asked";
  devices_[0]->Hang(false);
  Wait();
  EXPECT_EQ(LentFrom(space, chain), "hbm hbm");
}

TEST_F(CacheLendOnGpuTest, NoGpuWorksForABlockThatMayNotBeLent) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  const std::uint64_t submitted = devices_[0]->submitted();
  keeper_.most = 0;
  EXPECT_EQ(LentFrom(space, chain), "retry retry") << "DRAM is asked as well";
  EXPECT_EQ(devices_[0]->submitted(), submitted);
}

TEST_F(CacheLendOnGpuTest, AStopWaitsForNoLendThatAGpuKeepsWaiting) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  LeaveDram(space, chain);
  ClientCall call = LendCall(space, chain, 30 * kSecond);
  ASSERT_NO_FATAL_FAILURE(BeginBesideAGpuThatHangs(call));
  call.request.deadline = 0;  // its client has gone
  cache_->BeginClose();
  time_.RunUntil(time_.Now() + 100 * kMillisecond);
  ASSERT_TRUE(answer_.has_value());
  EXPECT_EQ(From(*answer_), "timeout timeout");
  EXPECT_TRUE(keeper_.kept.empty());
  devices_[0]->Hang(false);
}

TEST_F(CacheLendOnGpuTest, ALendThatIsCancelledWaitsForNoGpu) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  LeaveDram(space, chain);
  ClientCall call = LendCall(space, chain, 30 * kSecond);
  ASSERT_NO_FATAL_FAILURE(BeginBesideAGpuThatHangs(call));
  call.request.deadline = 0;
  cache_->Wake(call.request);
  time_.RunUntil(time_.Now() + 100 * kMillisecond);
  ASSERT_TRUE(answer_.has_value());
  EXPECT_EQ(From(*answer_), "timeout timeout");
  devices_[0]->Hang(false);
}

TEST_F(CacheLendOnGpuTest, AGpuThatIsLostIsWaitedForNoLonger) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 2);
  const ClientCall call = LendCall(space, chain, 3600 * kSecond);
  ASSERT_NO_FATAL_FAILURE(BeginBesideAGpuThatHangs(call));
  for (int i = 0; i < 600 && !answer_; ++i) time_.RunUntil(time_.Now() + kSecond);
  EXPECT_EQ(lost_.size(), 1u);
  ASSERT_TRUE(answer_.has_value());
  EXPECT_EQ(From(*answer_), "dram dram");
  devices_[0]->Hang(false);
}

TEST_F(CacheLendOnGpuTest, AGpuThatHasNotTheMemoryForAnotherTenantSaysSoOnce) {
  MakeTiers(2 << 20);
  std::vector<std::string> told;
  cache_->OnGpuMemoryAway([&](const std::string& name, std::uint64_t bytes, const Status& why) {
    told.push_back(name + " " + std::to_string(bytes));
    EXPECT_FALSE(why.ok());
  });
  (void)PutAndUse(Open("acme", "a"), "c", 2);
  const Namespace* second = Open("other", "b");
  const ChainKeys chain = MakeChain("d", 1);
  Put(second, chain, 0, 1);
  devices_[0]->FailRenewals(~std::uint64_t{0});
  for (int use = 0; use < 5000 && told.empty(); ++use) {
    Get(second, chain, 0, 1);
    Wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (int use = 0; use < 3; ++use) {
    Get(second, chain, 0, 1);
    Wait();
  }
  EXPECT_EQ(told, std::vector<std::string>{"gpu 0 2097152"});
  EXPECT_EQ(cache_->Counters().hbm_away_bytes, 2U << 20);
  EXPECT_GT(cache_->Counters().hbm_renewal_failures, 0U);
}

TEST_F(CacheLendOnGpuTest, LoansOfWrongBytesEndAlsoWhenTheBlockWentMeanwhile) {
  MakeTiers();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = PutAndUse(space, "c", 1);
  ASSERT_EQ(LentFrom(space, chain), "hbm");
  devices_[0]->Hang(true);
  const ClientCall call = LendCall(space, chain, 30 * kSecond);
  Begin(call);
  time_.RunUntil(time_.Now() + 100 * kMillisecond);
  time_.Run(cache_->Remove(SliceOf(*space, chain, 0, 1)));
  devices_[0]->Rot();
  devices_[0]->Hang(false);
  Wait();
  EXPECT_EQ(places_over_, 1u) << "the first reader still has it";
  ASSERT_TRUE(answer_.has_value());
  EXPECT_EQ(From(*answer_), "miss");
}

}  // namespace
}  // namespace terrace
