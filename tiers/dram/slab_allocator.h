// SlabAllocator: the bookkeeping of an arena, without its memory.
//
// Model. Pages (4 KiB) are numbered through the whole arena. Extents are cut into units (see
// slab_shape.h); a slab is a row of units within one extent that holds frames of one size, for the
// tenant that owns the extent.
//
//   S1. A unit belongs to at most one slab; a slab has at least one allocated frame.
//   S2. An extent with a slab has an owner. One without has none, unless it is held back (S5).
//   S3. Every slab with a free frame stands in the list of its class (tenant, frame size), and
//       nothing else does. So Allocate takes from a list's head; only making a slab looks further,
//       at one number per extent and then at the 8 words of one extent.
//   S4. An extent's `edition` names one tenant's time with one memory: it rises when the extent
//       goes to another tenant, and when its memory is replaced.
//   S5. In a lendable arena memory that a tenant used never goes to another, who would be shown
//       what was left in it: an extent without slabs is taken away for him, and comes back with
//       fresh memory, or as it was. With fresh memory it is held back for the tenant that asked:
//       a busier one would take it first. As it was, it is held back for its owner, so that his
//       blocks are not evicted for the same attempt again at once. Whoever else finds no room
//       counts that down: neither lasts when nobody needs it.
//
// Thread: the owning reactor's. Memory: 2 bytes and a bit per page (touched where frames are),
// about 60 bytes per unit.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "tiers/dram/frame_arena.h"
#include "tiers/dram/slab_shape.h"
#include "tiers/dram/unit_map.h"

namespace terrace {

class SlabAllocator {
 public:
  explicit SlabAllocator(const ExtentGeometry& geometry, bool lendable = false);

  /// First page of a free frame of `frame_pages` pages; kNoFrame when no slab has one and none
  /// can be made. REQUIRES: 0 < frame_pages <= extent_pages.
  FrameId Allocate(TenantId tenant, std::uint32_t frame_pages);
  /// REQUIRES: allocated.
  void Free(FrameId frame);
  [[nodiscard]] bool IsAllocated(FrameId frame) const noexcept;

  /// See FrameArena::FramesInTheWay. REQUIRES: victim allocated.
  [[nodiscard]] std::vector<FrameId> FramesInTheWay(FrameId victim, TenantId tenant,
                                                    std::uint32_t frame_pages) const;

  [[nodiscard]] std::uint32_t ExtentOfFrame(FrameId frame) const noexcept {
    return frame / geometry_.extent_pages;
  }
  [[nodiscard]] std::uint32_t Edition(std::uint32_t extent) const noexcept {
    return extents_[extent].edition;
  }
  /// Whether its owner's clients may be given it: nobody else's bytes are or will be there in this
  /// edition.
  [[nodiscard]] bool MayBeShared(std::uint32_t extent) const noexcept {
    return lendable_ && extents_[extent].used && !extents_[extent].away;
  }
  /// Whether `tenant` can have the extent only with fresh memory.
  [[nodiscard]] bool NeedsReplacing(std::uint32_t extent, TenantId tenant) const noexcept {
    return lendable_ && extents_[extent].used && extents_[extent].owner != tenant;
  }
  [[nodiscard]] bool IsHeldBack(std::uint32_t extent) const noexcept {
    return extents_[extent].held_back > 0;
  }
  /// An extent without slabs that needs replacing for `tenant` and then holds such a frame; kNoUnit
  /// when there is none.
  [[nodiscard]] std::uint32_t FindReplaceable(TenantId tenant, std::uint32_t frame_pages) const;
  /// Nobody gets the extent until Fresh or Kept. REQUIRES: no slab, not taken away.
  void TakeAway(std::uint32_t extent, TenantId wanted_by);
  /// It has fresh memory. REQUIRES: taken away.
  void Fresh(std::uint32_t extent);
  /// It has the memory that it had. REQUIRES: taken away.
  void Kept(std::uint32_t extent);

  /// Where a frame lies: its slab's first unit (of the arena) and its place in the slab.
  struct Place {
    std::uint32_t unit = 0;
    std::uint32_t index = 0;
    std::uint32_t frame_pages = 0;
  };
  /// REQUIRES: allocated (not checked: on every access to a header).
  [[nodiscard]] Place PlaceOf(FrameId frame) const noexcept {
    const std::uint32_t unit = slab_of_unit_[frame >> unit_shift_];
    const Slab& slab = slabs_[unit];
    return {unit, (frame - (unit << unit_shift_)) / slab.frame_pages, slab.frame_pages};
  }

  [[nodiscard]] const ExtentGeometry& geometry() const noexcept { return geometry_; }
  /// Extents that belong to nobody.
  [[nodiscard]] std::uint32_t extents_free() const noexcept { return extents_free_; }
  /// Allocations of others that must find no room before an extent is held back no more: about as
  /// many as a busy tenant tries within a second.
  static constexpr std::uint32_t kHeldBackRefusals = 1000;

 private:
  struct Slab {
    std::uint32_t frame_pages = 0;  ///< 0: no slab starts at this unit
    std::uint32_t units = 0;
    std::uint32_t frames = 0;
    std::uint32_t used = 0;
    std::uint32_t fresh = 0;         ///< frames from here on were never allocated
    std::uint32_t free_head = 0;     ///< a freed frame's index + 1; 0: none. Others follow in next_
    std::uint32_t before = kNoUnit;  ///< neighbours in the list of the class, by first unit
    std::uint32_t after = kNoUnit;
  };
  struct SlabClass {
    std::uint32_t slabs = 0;
    std::uint32_t head = kNoUnit;  ///< a slab with a free frame
  };
  struct Extent {
    UnitMap units;
    std::uint32_t slabs = 0;
    TenantId owner = 0;      ///< its last one, when nobody has it
    TenantId wanted_by = 0;  ///< meaningful while away
    std::uint32_t edition = 1;
    std::uint32_t held_back = 0;  ///< refusals of others left
    bool away = false;
    bool used = false;  ///< the owner had slabs in this memory

    /// Whether nobody has it.
    [[nodiscard]] bool Free() const noexcept { return slabs == 0 && !away && held_back == 0; }
  };
  using ClassMap = std::unordered_map<std::uint64_t, SlabClass>;

  [[nodiscard]] static std::uint64_t ClassKey(TenantId tenant, std::uint32_t frame_pages) noexcept {
    return static_cast<std::uint64_t>(tenant) << 32 | frame_pages;
  }
  [[nodiscard]] std::uint32_t ExtentOf(std::uint32_t unit) const noexcept {
    return unit / geometry_.units_per_extent();
  }
  [[nodiscard]] SlabShape ShapeOf(std::uint32_t frame_pages) const;
  [[nodiscard]] FrameId FrameOf(std::uint32_t unit, std::uint32_t index) const noexcept {
    return (unit << unit_shift_) + index * slabs_[unit].frame_pages;
  }
  std::uint32_t MakeSlab(TenantId tenant, std::uint32_t frame_pages);
  void Own(Extent& extent, TenantId tenant);
  void HoldBack(Extent& extent, std::uint32_t refusals);
  void CountRefusal(TenantId tenant);
  void DropSlab(std::uint32_t unit, ClassMap::iterator slab_class);
  [[nodiscard]] std::uint32_t PickExtent(TenantId tenant, std::uint32_t units) const noexcept;
  FrameId TakeFrame(std::uint32_t unit, SlabClass& slab_class);
  void LinkSlab(std::uint32_t unit, SlabClass& slab_class);
  void UnlinkSlab(std::uint32_t unit, SlabClass& slab_class);
  void AppendFrames(std::uint32_t unit, std::vector<FrameId>& frames) const;
  [[nodiscard]] std::vector<FrameId> FramesOfUnits(std::uint32_t first, std::uint32_t count) const;
  [[nodiscard]] std::uint32_t CheapestRun(std::uint32_t slab, std::uint32_t count) const;

  const ExtentGeometry geometry_;
  const bool lendable_;
  const std::uint32_t unit_shift_;  ///< log2 of the pages of a unit
  std::vector<Extent> extents_;
  std::vector<Slab> slabs_;                  ///< by the slab's first unit
  std::vector<std::uint32_t> slab_of_unit_;  ///< first unit of the unit's slab; kNoUnit: free
  /// By page of a slab: the free list's links. Not initialised, so that only pages in use cost.
  std::unique_ptr<std::uint16_t[]> next_;
  std::vector<std::uint64_t> allocated_;  ///< a bit per page: an allocated frame starts here
  ClassMap classes_;
  mutable std::unordered_map<std::uint32_t, SlabShape> shapes_;  ///< by frame_pages, as computed
  std::uint32_t extents_free_;
  std::uint32_t extents_held_back_ = 0;
};

}  // namespace terrace
