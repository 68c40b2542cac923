// Who goes when there is no room.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <list>
#include <map>
#include <thread>
#include <utility>

#include "tests/cache/cache_fixture.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using testing::MakeCall;
using testing::MakeChain;
using testing::SimulatedTime;
using testing::SliceOf;
using testing::StatusText;

/// An arena of 2 MiB, that is at most 32 blocks of 64 KiB; `capacity_` is what it really holds.
class CacheEvictionTest : public CacheTest {
 protected:
  void SetUp() override {
    CacheOptions options;
    options.transfers_max = 256;  // so that no call here waits for a slot
    MakeCache(2 << 20, options);
    const Namespace* space = Open("acme", "filler");
    std::size_t stored = 0;
    const BatchAnswer answer = Put(space, MakeChain("filler", 40), 0, 40);
    for (const BlockAnswer& block : answer.blocks) {
      if (block.status == StatusCode::kOk) ++stored;
    }
    capacity_ = stored;
    ASSERT_GE(capacity_, 24u);
    ASSERT_LE(capacity_, 32u);
    EXPECT_EQ(time_.Run(cache_->Clear(space->id)), stored);
  }
  std::size_t capacity_ = 0;
};

TEST_F(CacheEvictionTest, TheSuffixGoesFirst) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys old_chain = MakeChain("old", capacity_);
  const ChainKeys new_chain = MakeChain("new", capacity_);
  Put(space, old_chain, 0, capacity_);
  for (std::size_t i = 0; i < capacity_; ++i) {
    EXPECT_EQ(StatusText(Put(space, new_chain, i, 1)), "ok");
    EXPECT_EQ(Matched(space, old_chain), capacity_ - i - 1) << "one block went, the deepest";
  }
  EXPECT_EQ(cache_->Counters().evictions, capacity_);
  EXPECT_EQ(cache_->Counters().evicted_bytes, capacity_ * kBlockBytes);
}

TEST_F(CacheEvictionTest, WhatWasReadStaysLonger) {
  const Namespace* space = Open("acme", "a");
  const std::size_t half = capacity_ / 2;
  const ChainKeys first = MakeChain("first", half);
  const ChainKeys second = MakeChain("second", capacity_ - half);
  Put(space, first, 0, half);
  Put(space, second, 0, capacity_ - half);
  Get(space, first, 0, half);
  Put(space, MakeChain("third", 3), 0, 3);
  EXPECT_EQ(Matched(space, first), half);
  EXPECT_EQ(Matched(space, second), capacity_ - half - 3);
  Matched(space, second);  // a match is no use: it does not refresh
  Put(space, MakeChain("fourth", 1), 0, 1);
  EXPECT_EQ(Matched(space, second), capacity_ - half - 4);
}

// Where the policy named the head of the chain that was being put first, 64 blocks of it, nothing
// was evicted and the rest of the chain was refused.
TEST_F(CacheEvictionTest, ALongChainWhoseHeadWouldLeaveFirstStillFindsRoom) {
  CacheOptions options;
  options.policy = "fifo";
  options.transfers_max = 256;
  MakeCache(16 << 20, options);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("long", 150);
  Put(space, chain, 0, 100);
  for (int i = 0; cache_->arena().Stats().capacity_bytes - cache_->arena().Stats().used_bytes >
                  20 * kBlockBytes;
       ++i) {
    Put(space, MakeChain("other" + std::to_string(i), 8), 0, 8);
  }
  ASSERT_EQ(Matched(space, chain), 100U);
  EXPECT_EQ(Put(space, chain, 0, 150).blocks.back().status, StatusCode::kOk);
  EXPECT_EQ(Matched(space, chain), 150U);
}

TEST_F(CacheEvictionTest, AChainLongerThanTheCacheKeepsItsPrefix) {
  const Namespace* space = Open("acme", "a");
  Put(space, MakeChain("other", 10), 0, 10);
  const ChainKeys chain = MakeChain("long", 100);
  const std::uint64_t refused_before = cache_->Counters().put_no_space;
  const BatchAnswer answer = Put(space, chain, 0, 100);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(answer.blocks[i].status, i < capacity_ ? StatusCode::kOk : StatusCode::kRetry) << i;
  }
  EXPECT_EQ(Matched(space, chain), capacity_);
  EXPECT_EQ(cache_->Counters().put_no_space - refused_before, 100 - capacity_);
  // The same again changes nothing: no descendant pushes out its own ancestors.
  EXPECT_EQ(Put(space, chain, 0, 100).blocks[0].status, StatusCode::kExists);
  EXPECT_EQ(Matched(space, chain), capacity_);
}

TEST_F(CacheEvictionTest, ATailPutAloneDoesNotPushOutItsAncestors) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", capacity_ + 1);
  Put(space, chain, 0, capacity_);
  // The request names its parent only; the ancestors above it are of as much use to it.
  EXPECT_EQ(StatusText(Put(space, chain, capacity_, 1)), "retry");
  EXPECT_EQ(Matched(space, chain), capacity_);
  time_.Run(cache_->Remove(SliceOf(*space, chain, 4, capacity_ - 4)));
  const ChainKeys other = MakeChain("other", capacity_ - 4);
  Put(space, other, 0, capacity_ - 4);
  EXPECT_EQ(StatusText(Put(space, chain, 4, 1)), "ok") << "others' blocks give way";
  EXPECT_EQ(Matched(space, chain), 5u);
}

TEST_F(CacheEvictionTest, AHoleIsFilledAtTheCostOfItsDescendants) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", capacity_ + 1);
  Put(space, chain, 0, 3);
  Put(space, chain, 4, capacity_ - 3);  // block 3 is not there, its descendants are of no use
  EXPECT_EQ(Matched(space, chain), 3u);
  const BatchAnswer answer = Put(space, chain, 0, capacity_ + 1);
  EXPECT_EQ(answer.blocks[3].status, StatusCode::kOk);
  EXPECT_EQ(Matched(space, chain), capacity_);
}

TEST_F(CacheEvictionTest, OneSizeGivesWayToAnother) {
  const Namespace* large = Open("acme", "large", 64 << 10);
  const Namespace* small = Open("acme", "small", 12 << 10);
  const Namespace* odd = Open("acme", "odd", 36 << 10);
  for (int round = 0; round < 3; ++round) {
    const std::string name = std::to_string(round);
    for (const Namespace* space : {large, small, odd}) {
      const ChainKeys chain = MakeChain(name, 20);
      const BatchAnswer answer = Put(space, chain, 0, 20);
      EXPECT_EQ(std::ranges::count(answer.blocks, StatusCode::kOk, &BlockAnswer::status), 20)
          << space->spec.name << ' ' << StatusText(answer);
      Get(space, chain, 0, 20);
      ExpectValid();
    }
  }
}

TEST_F(CacheEvictionTest, OneTenantGivesWayToAnother) {
  const Namespace* acme = Open("acme", "a");
  const Namespace* globex = Open("globex", "a");
  const ChainKeys chain = MakeChain("c", capacity_);
  EXPECT_EQ(Put(acme, chain, 0, capacity_).blocks.back().status, StatusCode::kOk);
  const BatchAnswer answer = Put(globex, chain, 0, 4);
  EXPECT_EQ(StatusText(answer), "ok ok ok ok");
  EXPECT_EQ(StatusText(Get(globex, chain, 0, 4)), "ok ok ok ok");
  EXPECT_LT(Matched(acme, chain), capacity_);
}

TEST_F(CacheEvictionTest, AFullIndexEvictsToo) {
  CacheOptions options;
  options.blocks_max = 5;
  cache_.reset();
  MakeCache(2 << 20, options);
  EXPECT_EQ(cache_->IndexCapacity(), 5u);
  const Namespace* space = Open("acme", "a");
  const ChainKeys first = MakeChain("first", 5);
  const ChainKeys second = MakeChain("second", 8);
  EXPECT_EQ(StatusText(Put(space, first, 0, 5)), "ok ok ok ok ok");
  EXPECT_EQ(StatusText(Put(space, second, 0, 8)), "ok ok ok ok ok retry retry retry");
  EXPECT_EQ(Matched(space, first), 0u);
  EXPECT_EQ(Matched(space, second), 5u);
}

TEST_F(CacheEvictionTest, BlocksBeingReadAreNotEvictedForAPut) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", capacity_);
  Put(space, chain, 0, capacity_);
  // Everything is being pushed at once: nothing may give way, and the put says so.
  std::list<ClientCall> calls;
  std::list<std::optional<BatchAnswer>> answers;
  TaskScope scope;
  for (std::size_t i = 0; i < capacity_; ++i) {
    calls.push_back(
        MakeCall(*space, memory_, SliceOf(*space, chain, i, 1), time_.Now() + kSecond, i));
    scope.Spawn(
        SimulatedTime::Store(cache_->Get(link_, calls.back().request), &answers.emplace_back()));
  }
  time_.RunReady();
  const ChainKeys other = MakeChain("other", 2);
  ClientCall put =
      MakeCall(*space, memory_, SliceOf(*space, other, 0, 2), time_.Now() + kSecond, 100);
  FillSources(put, memory_);
  std::optional<BatchAnswer> put_answer;
  scope.Spawn(SimulatedTime::Store(cache_->Put(link_, put.request), &put_answer));
  time_.RunReady();
  ASSERT_TRUE(put_answer.has_value());
  EXPECT_EQ(StatusText(*put_answer), "retry retry");
  EXPECT_EQ(Matched(space, chain), capacity_) << "evicted, though that makes no room";
  while (scope.live() > 0) time_.Step();
  auto call = calls.begin();
  for (const auto& answer : answers) {
    EXPECT_EQ(StatusText(*answer), "ok");
    EXPECT_EQ(testing::WrongBlocks(*call++, memory_, *answer), 0u);
  }
  EXPECT_EQ(StatusText(Put(space, other, 0, 2)), "ok ok") << "the pins are gone";
}

/// Tenants whose clients have every extent mapped, in an arena of four extents, each of which holds
/// 32 blocks of 64 KiB at most.
class LendingEvictionTest : public CacheTest {
 protected:
  static constexpr std::size_t kExtents = 4;
  static constexpr std::size_t kExtentBytes = 2 << 20;

  void Start(Nanos patience) {
    CacheOptions options;
    options.arena.lendable = true;
    options.arena.let_go_patience = patience;
    options.policy = "leaf-lru";  // whose newest blocks do not give way to each other
    MakeCache(kExtents * kExtentBytes, options);
  }
  void TearDown() override {
    for (const auto& [extent, mapping] : mappings_) ::munmap(mapping.second, kExtentBytes);
    CacheTest::TearDown();
  }
  /// Maps what was not mapped yet. False where memory cannot be lent.
  bool MapAll() {
    for (std::uint32_t extent = 0; extent < kExtents; ++extent) {
      std::uint32_t edition = std::max(1U, mappings_[extent].first);
      auto shared = cache_->arena().ShareExtent(extent, edition);
      if (shared.code() == StatusCode::kExpired) {
        shared = cache_->arena().ShareExtent(extent, ++edition);
      }
      if (shared.code() == StatusCode::kUnsupported) return false;
      if (!shared.ok() || mappings_[extent].first == edition) continue;
      Unmap(extent);
      void* const at = ::mmap(nullptr, kExtentBytes, PROT_READ, MAP_SHARED, shared->descriptor, 0);
      EXPECT_NE(at, MAP_FAILED);
      mappings_[extent] = {edition, at};
    }
    return true;
  }
  void Unmap(std::uint32_t extent) {
    void*& at = mappings_[extent].second;
    if (at != nullptr) ::munmap(at, kExtentBytes);
    at = nullptr;
  }
  /// Puts blocks one by one until `wanted` of them were taken. False: not within 20 s.
  bool PutUntil(const Namespace* space, const std::string& name, std::size_t wanted) {
    for (int tries = 0; wanted > 0; ++tries) {
      if (tries == 20'000) return false;
      const auto chain = MakeChain(name + "-" + std::to_string(tries), 1);
      if (Put(space, chain, 0, 1).blocks[0].status == StatusCode::kOk) {
        --wanted;
        MapAll();
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    return true;
  }

  std::map<std::uint32_t, std::pair<std::uint32_t, void*>> mappings_;  ///< edition, address
};

TEST_F(LendingEvictionTest, TenantsWhoseClientsMappedEverythingStillGiveWayToEachOther) {
  Start(20 * kSecond);
  cache_->arena().OnExtentWanted([this](std::uint32_t extent, std::uint32_t edition) {
    EXPECT_EQ(mappings_[extent].first, edition);
    Unmap(extent);
  });
  const Namespace* acme = Open("acme", "a");
  const Namespace* globex = Open("globex", "a");
  ASSERT_TRUE(PutUntil(acme, "first", 1));
  if (!MapAll()) GTEST_SKIP() << "memory cannot be lent here";
  for (int round = 0; round < 3; ++round) {
    const std::string name = std::to_string(round);
    // Each takes all that the other has.
    ASSERT_TRUE(PutUntil(acme, name, 200));
    ASSERT_TRUE(PutUntil(globex, name, 200));
    ExpectValid();
  }
  const ArenaStats stats = cache_->arena().Stats();
  EXPECT_GE(stats.extents_replaced, 3 * kExtents);
  EXPECT_EQ(stats.extents_not_let_go, 0U);
}

TEST_F(LendingEvictionTest, ClientsThatKeepTheirMemoryCostTheirTenantOneExtentAtATime) {
  Start(kMillisecond);
  const Namespace* acme = Open("acme", "a");
  const Namespace* globex = Open("globex", "a");
  const ChainKeys chain = MakeChain("c", 128);
  Put(acme, chain, 0, 128);
  if (!MapAll()) GTEST_SKIP() << "memory cannot be lent here";
  const std::uint64_t before = cache_->arena().Stats().frames;
  for (int tries = 0; cache_->arena().Stats().extents_not_let_go == 0; ++tries) {
    ASSERT_LT(tries, 20'000);
    ASSERT_EQ(StatusText(Put(globex, MakeChain("other", 1), 0, 1)), "retry");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    cache_->arena().Poll();
  }
  // One for each that was not let go, and one that the last try may have emptied since.
  const ArenaStats stats = cache_->arena().Stats();
  EXPECT_GE(stats.frames + 32 * (stats.extents_not_let_go + 1), before)
      << "more was evicted in vain";
  EXPECT_GE(Matched(acme, chain), 1U);
  // What was emptied is not lost to its tenant.
  EXPECT_TRUE(PutUntil(acme, "again", 32));
  ExpectValid();
}

}  // namespace
}  // namespace terrace
