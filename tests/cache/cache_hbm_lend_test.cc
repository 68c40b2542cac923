// GPUs (doubles) beside an arena that lends: memory that another tenant gets is replaced, and what
// GPUs copy from and to must be the pages that are there now.
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "tests/cache/cache_hbm_fixture.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::MakeChain;
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

}  // namespace
}  // namespace terrace
