// The bookkeeping of the arena against a model of its pages.
#include "tiers/dram/slab_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/random.h"
#include "tiers/dram/slab_shape.h"
#include "tiers/dram/unit_map.h"

namespace terrace {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

TEST(SlabShapeTest, LosesAtMostFivePercentOfSlabsAndExtentsForEverySizeInEveryArena) {
  for (const std::uint64_t capacity :
       {2 * kMiB, 64 * kMiB, 512 * kMiB, 2048 * kMiB, 16384 * kMiB, 1024 * 1024 * kMiB}) {
    const ExtentGeometry geometry = GeometryFor(capacity, 1024 * kMiB);
    ASSERT_GE(geometry.units_per_extent(), 64U);
    const std::uint32_t largest =
        std::min<std::uint32_t>(geometry.extent_pages, (64 * kMiB) / kPageBytes);
    for (std::uint32_t pages = 1; pages <= largest; ++pages) {
      const SlabShape shape = ShapeFor(pages, geometry.unit_pages, geometry.units_per_extent());
      SCOPED_TRACE(testing::Message() << "capacity " << capacity << " frame pages " << pages);
      ASSERT_GT(shape.frames, 0U);
      ASSERT_LE(shape.lost_pages * 20ULL, std::uint64_t{shape.units} * geometry.unit_pages);
      ASSERT_EQ(shape.frames * pages + shape.lost_pages, shape.units * geometry.unit_pages);
      // 4 MiB and 4 KiB in extents of 16 MiB once came out two to an extent.
      ASSERT_GE(geometry.units_per_extent() / shape.units * shape.frames * 20,
                geometry.extent_pages / pages * 19);
    }
  }
}

TEST(SlabShapeTest, ArenaHasSixteenExtentsUnlessTheyWouldBeSmallerThan2MiB) {
  EXPECT_EQ(GeometryFor(2 * kMiB, 1024 * kMiB).extents(), 1U);
  EXPECT_EQ(GeometryFor(64 * kMiB, 1024 * kMiB).extents(), 16U);
  EXPECT_EQ(GeometryFor(16384 * kMiB, 1024 * kMiB).extents(), 16U);
  EXPECT_EQ(GeometryFor(16384 * kMiB, 1024 * kMiB).extent_pages, 1024 * kMiB / kPageBytes);
  EXPECT_EQ(GeometryFor(102 * kMiB, 1024 * kMiB).arena_pages, 102 * kMiB / kPageBytes);
  EXPECT_EQ(GeometryFor(1024 * kMiB, 8 * kMiB).extent_pages, 8 * kMiB / kPageBytes);
}

TEST(UnitMapTest, FindsRunsAcrossWordsAndAtTheEnd) {
  UnitMap map(130);
  EXPECT_EQ(map.FindRun(130), 0U);
  EXPECT_EQ(map.FindRun(131), kNoUnit);
  map.Take(0, 60);
  EXPECT_EQ(map.FindRun(70), 60U);
  map.Take(62, 1);
  EXPECT_EQ(map.FindRun(2), 60U);
  EXPECT_EQ(map.FindRun(3), 63U);
  EXPECT_EQ(map.longest_run(), 67U);
  map.Take(63, 66);
  EXPECT_EQ(map.longest_run(), 2U);
  EXPECT_EQ(map.free_units(), 3U);
  map.Give(62, 1);
  map.Give(63, 66);
  map.Give(0, 60);
  EXPECT_EQ(map.longest_run(), 130U);
}

TEST(UnitMapDeathTest, TakingTwiceAborts) {
  UnitMap map(64);
  map.Take(3, 2);
  EXPECT_DEATH(map.Take(4, 1), "invariant failed");
  EXPECT_DEATH(map.Give(2, 2), "invariant failed");
}

/// What the allocator must never do: hand out a page twice, or mix tenants in one extent.
class PageModel {
 public:
  explicit PageModel(const ExtentGeometry& geometry)
      : geometry_(geometry), taken_(geometry.arena_pages) {}

  void Allocated(FrameId frame, TenantId tenant, std::uint32_t pages) {
    ASSERT_LE(frame + pages, geometry_.arena_pages);
    ASSERT_EQ(frame / geometry_.extent_pages, (frame + pages - 1) / geometry_.extent_pages);
    for (std::uint32_t page = frame; page < frame + pages; ++page) {
      ASSERT_FALSE(taken_[page]) << "page " << page;
      taken_[page] = true;
    }
    const std::uint32_t extent = frame / geometry_.extent_pages;
    for (const auto& [other, held] : frames_) {
      if (other / geometry_.extent_pages != extent) continue;
      ASSERT_EQ(held.tenant, tenant) << "extent " << extent << " is shared";
      break;
    }
    frames_[frame] = {tenant, pages};
  }
  void Freed(FrameId frame) {
    const auto held = frames_.find(frame);
    ASSERT_NE(held, frames_.end());
    std::fill_n(taken_.begin() + frame, held->second.pages, false);
    frames_.erase(held);
  }
  FrameId Any(Random& random) const {
    auto at = frames_.lower_bound(static_cast<FrameId>(random.Below(geometry_.arena_pages)));
    return at == frames_.end() ? frames_.begin()->first : at->first;
  }
  [[nodiscard]] bool empty() const { return frames_.empty(); }
  [[nodiscard]] std::size_t size() const { return frames_.size(); }

 private:
  struct Held {
    TenantId tenant;
    std::uint32_t pages;
  };
  ExtentGeometry geometry_;
  std::vector<bool> taken_;
  std::map<FrameId, Held> frames_;
};

TEST(SlabAllocatorTest, RandomSizesAndTenantsNeverOverlapAndAlwaysGiveWay) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    const std::uint64_t capacity = random.Between(1, 40) * 2 * kMiB;
    SlabAllocator slabs(GeometryFor(capacity, random.Chance(0.5) ? 1024 * kMiB : 2 * kMiB));
    const ExtentGeometry& geometry = slabs.geometry();
    std::vector<std::uint32_t> sizes;
    for (int i = 0; i < 6; ++i) {
      sizes.push_back(static_cast<std::uint32_t>(
          random.Chance(0.5) ? random.Between(1, 64) : random.Between(1, geometry.extent_pages)));
    }
    PageModel model(geometry);
    for (int step = 0; step < 3000; ++step) {
      if (random.Chance(0.2) && !model.empty()) {
        const FrameId frame = model.Any(random);
        slabs.Free(frame);
        ASSERT_NO_FATAL_FAILURE(model.Freed(frame));
        continue;
      }
      const auto tenant = static_cast<TenantId>(random.Between(1, 3));
      const std::uint32_t pages = sizes[random.Below(sizes.size())];
      FrameId frame = slabs.Allocate(tenant, pages);
      for (int tries = 0; frame == kNoFrame; ++tries) {
        ASSERT_LT(tries, 100) << "no victim gives way";
        ASSERT_FALSE(model.empty());
        const FrameId victim = model.Any(random);
        const std::vector<FrameId> in_the_way = slabs.FramesInTheWay(victim, tenant, pages);
        if (in_the_way.empty()) continue;  // a shorter last extent
        ASSERT_EQ(std::count(in_the_way.begin(), in_the_way.end(), victim), 1);
        for (const FrameId other : in_the_way) {
          ASSERT_EQ(other / geometry.extent_pages, victim / geometry.extent_pages);
          slabs.Free(other);
          ASSERT_NO_FATAL_FAILURE(model.Freed(other));
        }
        frame = slabs.Allocate(tenant, pages);
        ASSERT_NE(frame, kNoFrame) << "freed " << in_the_way.size() << " frames in vain";
      }
      ASSERT_TRUE(slabs.IsAllocated(frame));
      ASSERT_NO_FATAL_FAILURE(model.Allocated(frame, tenant, pages));
    }
    while (!model.empty()) {
      const FrameId frame = model.Any(random);
      slabs.Free(frame);
      ASSERT_NO_FATAL_FAILURE(model.Freed(frame));
    }
    EXPECT_EQ(slabs.extents_free(), geometry.extents());
  }
}

/// A lendable allocator, its pages, and which tenant's bytes each extent's memory may hold.
class LendableContest {
 public:
  explicit LendableContest(std::uint64_t seed)
      : random_(seed),
        slabs_(GeometryFor(random_.Between(1, 12) * 2 * kMiB, 2 * kMiB), true),
        model_(slabs_.geometry()),
        memory_(slabs_.geometry().extents()),
        edition_(slabs_.geometry().extents(), 1) {}

  void Step() {
    if (away_ != kNoUnit && random_.Chance(0.05)) Return();
    if (random_.Chance(0.2) && !model_.empty()) return Free(model_.Any(random_));
    const auto tenant = static_cast<TenantId>(random_.Between(1, 3));
    const auto pages = static_cast<std::uint32_t>(random_.Between(1, 100));
    FrameId frame = slabs_.Allocate(tenant, pages);
    if (frame == kNoFrame) frame = MakeRoom(tenant, pages);
    if (frame == kNoFrame) return;
    ++got_;
    ASSERT_NO_FATAL_FAILURE(model_.Allocated(frame, tenant, pages));
    const std::uint32_t extent = slabs_.ExtentOfFrame(frame);
    ASSERT_NE(extent, away_);
    ASSERT_TRUE(memory_[extent] == 0 || memory_[extent] == tenant) << "extent " << extent;
    ASSERT_EQ(slabs_.Edition(extent), edition_[extent]);
    ASSERT_TRUE(slabs_.MayBeShared(extent));
    memory_[extent] = tenant;
  }
  void Finish() {
    while (!model_.empty()) ASSERT_NO_FATAL_FAILURE(Free(model_.Any(random_)));
    if (away_ != kNoUnit) Return();
    // Nothing is held back for ever: each tenant can have every extent in the end.
    for (TenantId tenant = 1; tenant <= 3; ++tenant) {
      const std::uint32_t pages = slabs_.geometry().extent_pages;
      std::vector<FrameId> frames;
      for (int tries = 0; frames.size() < slabs_.geometry().extents(); ++tries) {
        ASSERT_LT(tries, 100'000);
        const FrameId frame = slabs_.Allocate(tenant, pages);
        if (frame != kNoFrame) {
          frames.push_back(frame);
          continue;
        }
        away_ = slabs_.FindReplaceable(tenant, pages);
        if (away_ == kNoUnit) continue;
        slabs_.TakeAway(away_, tenant);
        slabs_.Fresh(away_);
      }
      for (const FrameId frame : frames) slabs_.Free(frame);
    }
    ASSERT_EQ(slabs_.extents_free(), slabs_.geometry().extents());
  }
  [[nodiscard]] int got() const { return got_; }

 private:
  FrameId MakeRoom(TenantId tenant, std::uint32_t pages) {
    if (away_ == kNoUnit) {
      away_ = slabs_.FindReplaceable(tenant, pages);
      if (away_ != kNoUnit) slabs_.TakeAway(away_, tenant);
    }
    if (model_.empty()) return kNoFrame;
    const FrameId victim = model_.Any(random_);
    if (slabs_.NeedsReplacing(slabs_.ExtentOfFrame(victim), tenant) && away_ != kNoUnit) {
      return kNoFrame;
    }
    for (const FrameId frame : slabs_.FramesInTheWay(victim, tenant, pages)) Free(frame);
    return slabs_.Allocate(tenant, pages);
  }
  void Free(FrameId frame) {
    slabs_.Free(frame);
    ASSERT_NO_FATAL_FAILURE(model_.Freed(frame));
  }
  void Return() {
    if (random_.Chance(0.7)) {
      slabs_.Fresh(away_);
      memory_[away_] = 0;
      ++edition_[away_];
    } else {
      slabs_.Kept(away_);
    }
    away_ = kNoUnit;
  }

  SeededRandom random_;
  SlabAllocator slabs_;
  PageModel model_;
  std::vector<TenantId> memory_;  ///< 0: nobody's bytes
  std::vector<std::uint32_t> edition_;
  std::uint32_t away_ = kNoUnit;
  int got_ = 0;
};

TEST(SlabAllocatorTest, MemoryThatATenantUsedIsNeverAnothersInALendableArena) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    LendableContest contest(seed);
    for (int step = 0; step < 3000; ++step) ASSERT_NO_FATAL_FAILURE(contest.Step());
    EXPECT_GT(contest.got(), 100);
    ASSERT_NO_FATAL_FAILURE(contest.Finish());
  }
}

TEST(SlabAllocatorDeathTest, TakingAwayAnExtentInUseAborts) {
  SlabAllocator slabs(GeometryFor(2 * kMiB, 2 * kMiB), true);
  const FrameId frame = slabs.Allocate(1, 4);
  EXPECT_DEATH(slabs.TakeAway(0, 2), "invariant failed");
  slabs.Free(frame);
  EXPECT_DEATH(slabs.Fresh(0), "invariant failed");
  EXPECT_DEATH(slabs.Kept(0), "invariant failed");
}

TEST(SlabAllocatorTest, FullArenaHoldsNearlyAllFramesThatFit) {
  const ExtentGeometry geometry = GeometryFor(64 * kMiB, 1024 * kMiB);
  for (std::uint32_t pages = 16; pages <= geometry.extent_pages; pages += 7) {
    SlabAllocator slabs(geometry);
    std::uint32_t frames = 0;
    while (slabs.Allocate(1, pages) != kNoFrame) ++frames;
    EXPECT_GE(frames * 20, geometry.extents() * (geometry.extent_pages / pages) * 19)
        << "frame pages " << pages;
  }
}

TEST(SlabAllocatorTest, VictimOfTheSameTenantAndSizeGoesAlone) {
  SlabAllocator slabs(GeometryFor(2 * kMiB, kMiB));
  FrameId last = kNoFrame;
  for (FrameId frame = slabs.Allocate(7, 16); frame != kNoFrame; frame = slabs.Allocate(7, 16)) {
    last = frame;
  }
  EXPECT_EQ(slabs.FramesInTheWay(last, 7, 16), std::vector<FrameId>{last});
}

TEST(SlabAllocatorTest, AnotherSizeTakesTheFewestBytesAroundTheVictim) {
  SlabAllocator slabs(GeometryFor(2 * kMiB, 2 * kMiB));  // 64 units of 8 pages
  std::vector<FrameId> frames;
  for (FrameId frame = slabs.Allocate(1, 8); frame != kNoFrame; frame = slabs.Allocate(1, 8)) {
    frames.push_back(frame);
  }
  ASSERT_EQ(frames.size(), 64U);
  slabs.Free(80);  // the tenth unit is free: the row of units 9 and 10 costs one frame only
  EXPECT_EQ(slabs.FramesInTheWay(72, 1, 16), std::vector<FrameId>{72});
  EXPECT_EQ(slabs.FramesInTheWay(88, 1, 16), std::vector<FrameId>{88});
  EXPECT_EQ(slabs.FramesInTheWay(0, 1, 16).size(), 2U);
  EXPECT_EQ(slabs.FramesInTheWay(0, 2, 8).size(), 63U) << "another tenant needs the whole extent";
}

TEST(SlabAllocatorDeathTest, FreeingTwiceAborts) {
  SlabAllocator slabs(GeometryFor(2 * kMiB, 2 * kMiB));
  const FrameId frame = slabs.Allocate(1, 4);
  slabs.Free(frame);
  EXPECT_DEATH(slabs.Free(frame), "invariant failed");
  EXPECT_DEATH(slabs.Free(kNoFrame), "invariant failed");
}

}  // namespace
}  // namespace terrace
