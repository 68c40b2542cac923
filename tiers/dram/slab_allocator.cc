#include "tiers/dram/slab_allocator.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace terrace {

SlabAllocator::SlabAllocator(const ExtentGeometry& geometry, bool lendable)
    : geometry_(geometry),
      lendable_(lendable),
      unit_shift_(static_cast<std::uint32_t>(std::countr_zero(geometry.unit_pages))),
      slabs_(geometry.units()),
      slab_of_unit_(geometry.units(), kNoUnit),
      next_(std::make_unique_for_overwrite<std::uint16_t[]>(geometry.arena_pages)),
      allocated_((geometry.arena_pages + 63) / 64),
      extents_free_(geometry.extents()) {
  TERRACE_CHECK(std::has_single_bit(geometry.unit_pages));
  extents_.reserve(geometry.extents());
  for (std::uint32_t unit = 0; unit < geometry.units(); unit += geometry.units_per_extent()) {
    extents_.push_back(
        {.units = UnitMap(std::min(geometry.units_per_extent(), geometry.units() - unit))});
  }
}

bool SlabAllocator::IsAllocated(FrameId frame) const noexcept {
  return frame < geometry_.arena_pages && (allocated_[frame / 64] >> (frame % 64) & 1) != 0;
}

SlabShape SlabAllocator::ShapeOf(std::uint32_t frame_pages) const {
  const auto [at, added] = shapes_.try_emplace(frame_pages);
  if (added) {
    at->second = ShapeFor(frame_pages, geometry_.unit_pages, geometry_.units_per_extent());
  }
  TERRACE_CHECK(at->second.units > 0);
  return at->second;
}

FrameId SlabAllocator::Allocate(TenantId tenant, std::uint32_t frame_pages) {
  TERRACE_CHECK(frame_pages > 0 && frame_pages <= geometry_.extent_pages);
  const auto found = classes_.find(ClassKey(tenant, frame_pages));
  if (found != classes_.end() && found->second.head != kNoUnit) {
    return TakeFrame(found->second.head, found->second);
  }
  const std::uint32_t unit = MakeSlab(tenant, frame_pages);
  if (unit == kNoUnit) return kNoFrame;
  SlabClass& slab_class = classes_[ClassKey(tenant, frame_pages)];
  ++slab_class.slabs;
  LinkSlab(unit, slab_class);
  return TakeFrame(unit, slab_class);
}

FrameId SlabAllocator::TakeFrame(std::uint32_t unit, SlabClass& slab_class) {
  Slab& slab = slabs_[unit];
  std::uint32_t index = slab.fresh;
  if (slab.free_head != 0) {
    index = slab.free_head - 1;
    slab.free_head = next_[(unit << unit_shift_) + index];
  } else {
    ++slab.fresh;
  }
  if (++slab.used == slab.frames) UnlinkSlab(unit, slab_class);
  const FrameId frame = FrameOf(unit, index);
  allocated_[frame / 64] |= 1ULL << (frame % 64);
  return frame;
}

void SlabAllocator::Free(FrameId frame) {
  TERRACE_CHECK(IsAllocated(frame));
  allocated_[frame / 64] &= ~(1ULL << (frame % 64));
  const Place place = PlaceOf(frame);
  Slab& slab = slabs_[place.unit];
  const TenantId owner = extents_[ExtentOf(place.unit)].owner;
  const auto slab_class = classes_.find(ClassKey(owner, slab.frame_pages));
  TERRACE_CHECK(slab_class != classes_.end());
  if (slab.used-- == slab.frames) LinkSlab(place.unit, slab_class->second);
  if (slab.used == 0) {
    DropSlab(place.unit, slab_class);
    return;
  }
  next_[(place.unit << unit_shift_) + place.index] = static_cast<std::uint16_t>(slab.free_head);
  slab.free_head = place.index + 1;
}

std::uint32_t SlabAllocator::PickExtent(TenantId tenant, std::uint32_t units) const noexcept {
  // The tenant's own extents first, and of those the one with the shortest row that is long
  // enough, so that long rows last.
  std::uint32_t best = kNoUnit;
  bool best_is_own = false;
  for (std::uint32_t number = 0; number < extents_.size(); ++number) {
    const Extent& extent = extents_[number];
    const bool owned = !extent.Free() || (lendable_ && extent.used);
    const bool own = owned && extent.owner == tenant;
    if (extent.units.longest_run() < units || extent.away || (owned && !own)) continue;
    if (best == kNoUnit || (own && !best_is_own) ||
        (own == best_is_own && extent.units.longest_run() < extents_[best].units.longest_run())) {
      best = number;
      best_is_own = own;
    }
  }
  return best;
}

std::uint32_t SlabAllocator::MakeSlab(TenantId tenant, std::uint32_t frame_pages) {
  const SlabShape shape = ShapeOf(frame_pages);
  const std::uint32_t number = PickExtent(tenant, shape.units);
  if (number == kNoUnit) {
    if (extents_held_back_ > 0) CountRefusal(tenant);
    return kNoUnit;
  }
  Extent& extent = extents_[number];
  const std::uint32_t first = extent.units.FindRun(shape.units);
  extent.units.Take(first, shape.units);
  Own(extent, tenant);
  ++extent.slabs;
  const std::uint32_t unit = number * geometry_.units_per_extent() + first;
  slabs_[unit] = {.frame_pages = frame_pages, .units = shape.units, .frames = shape.frames};
  std::fill_n(slab_of_unit_.begin() + unit, shape.units, unit);
  return unit;
}

void SlabAllocator::DropSlab(std::uint32_t unit, ClassMap::iterator slab_class) {
  UnlinkSlab(unit, slab_class->second);
  if (--slab_class->second.slabs == 0) classes_.erase(slab_class);
  const std::uint32_t units = slabs_[unit].units;
  Extent& extent = extents_[ExtentOf(unit)];
  extent.units.Give(unit % geometry_.units_per_extent(), units);
  --extent.slabs;
  if (extent.Free()) ++extents_free_;
  std::fill_n(slab_of_unit_.begin() + unit, units, kNoUnit);
  slabs_[unit] = {};
}

void SlabAllocator::Own(Extent& extent, TenantId tenant) {
  if (extent.Free()) --extents_free_;
  if (!extent.used) HoldBack(extent, 0);
  if (extent.used && extent.owner != tenant) ++extent.edition;
  extent.used = true;
  extent.owner = tenant;
}

void SlabAllocator::HoldBack(Extent& extent, std::uint32_t refusals) {
  if (extent.held_back > 0) --extents_held_back_;
  if (refusals > 0) ++extents_held_back_;
  extent.held_back = refusals;
}

void SlabAllocator::CountRefusal(TenantId tenant) {
  for (Extent& extent : extents_) {
    if (extent.held_back == 0 || extent.owner == tenant) continue;
    HoldBack(extent, extent.held_back - 1);
    if (extent.Free()) ++extents_free_;
  }
}

std::uint32_t SlabAllocator::FindReplaceable(TenantId tenant, std::uint32_t frame_pages) const {
  const SlabShape shape = ShapeOf(frame_pages);
  for (std::uint32_t number = 0; number < extents_.size(); ++number) {
    if (extents_[number].Free() && NeedsReplacing(number, tenant) &&
        shape.units <= extents_[number].units.units()) {
      return number;
    }
  }
  return kNoUnit;
}

void SlabAllocator::TakeAway(std::uint32_t extent, TenantId wanted_by) {
  Extent& taken = extents_[extent];
  TERRACE_CHECK(!taken.away && taken.slabs == 0);
  if (taken.Free()) --extents_free_;
  taken.away = true;
  taken.wanted_by = wanted_by;
}

void SlabAllocator::Fresh(std::uint32_t extent) {
  Extent& fresh = extents_[extent];
  TERRACE_CHECK(fresh.away);
  fresh.away = false;
  fresh.used = false;
  ++fresh.edition;
  fresh.owner = fresh.wanted_by;
  HoldBack(fresh, kHeldBackRefusals);
}

void SlabAllocator::Kept(std::uint32_t extent) {
  TERRACE_CHECK(extents_[extent].away);
  extents_[extent].away = false;
  HoldBack(extents_[extent], kHeldBackRefusals);
}

void SlabAllocator::LinkSlab(std::uint32_t unit, SlabClass& slab_class) {
  slabs_[unit].before = kNoUnit;
  slabs_[unit].after = slab_class.head;
  if (slab_class.head != kNoUnit) slabs_[slab_class.head].before = unit;
  slab_class.head = unit;
}

void SlabAllocator::UnlinkSlab(std::uint32_t unit, SlabClass& slab_class) {
  const Slab& slab = slabs_[unit];
  if (slab.before != kNoUnit) {
    slabs_[slab.before].after = slab.after;
  } else {
    slab_class.head = slab.after;
  }
  if (slab.after != kNoUnit) slabs_[slab.after].before = slab.before;
}

void SlabAllocator::AppendFrames(std::uint32_t unit, std::vector<FrameId>& frames) const {
  for (std::uint32_t index = 0; index < slabs_[unit].fresh; ++index) {
    const FrameId frame = FrameOf(unit, index);
    if (IsAllocated(frame)) frames.push_back(frame);
  }
}

std::vector<FrameId> SlabAllocator::FramesOfUnits(std::uint32_t first, std::uint32_t count) const {
  std::vector<FrameId> frames;
  std::uint32_t last_slab = kNoUnit;
  for (std::uint32_t unit = first; unit < first + count; ++unit) {
    const std::uint32_t slab = slab_of_unit_[unit];
    if (slab == kNoUnit || slab == last_slab) continue;
    AppendFrames(slab, frames);
    last_slab = slab;
  }
  return frames;
}

std::uint32_t SlabAllocator::CheapestRun(std::uint32_t slab, std::uint32_t count) const {
  const std::uint32_t extent = ExtentOf(slab);
  const std::uint32_t base = extent * geometry_.units_per_extent();
  const std::uint32_t units = extents_[extent].units.units();
  if (count > units) return kNoUnit;
  // started[i]: pages in use by slabs that start before unit i; ended[i]: by slabs that end at or
  // before it. A row [i, j) meets the slabs that start before j and do not end at or before i.
  std::vector<std::uint64_t> started(units + 1);
  std::vector<std::uint64_t> ended(units + 1);
  for (std::uint32_t unit = 0; unit < units; ++unit) {
    const Slab& there = slabs_[base + unit];
    if (there.frame_pages == 0) continue;
    const std::uint64_t pages = static_cast<std::uint64_t>(there.used) * there.frame_pages;
    started[unit + 1] += pages;
    ended[unit + there.units] += pages;
  }
  for (std::uint32_t unit = 0; unit < units; ++unit) {
    started[unit + 1] += started[unit];
    ended[unit + 1] += ended[unit];
  }
  const std::uint32_t start = slab - base;
  const std::uint32_t end = start + slabs_[slab].units;
  std::uint32_t best = kNoUnit;
  for (std::uint32_t first = start + 1 > count ? start + 1 - count : 0;
       first < end && first + count <= units; ++first) {
    if (best == kNoUnit ||
        started[first + count] - ended[first] < started[best + count] - ended[best]) {
      best = first;
    }
  }
  return best == kNoUnit ? kNoUnit : base + best;
}

std::vector<FrameId> SlabAllocator::FramesInTheWay(FrameId victim, TenantId tenant,
                                                   std::uint32_t frame_pages) const {
  TERRACE_CHECK(IsAllocated(victim));
  const Place place = PlaceOf(victim);
  const std::uint32_t number = ExtentOf(place.unit);
  const Extent& extent = extents_[number];
  const SlabShape shape = ShapeOf(frame_pages);
  if (extent.owner != tenant) {
    if (shape.units > extent.units.units()) return {};
    return FramesOfUnits(number * geometry_.units_per_extent(), extent.units.units());
  }
  if (place.frame_pages == frame_pages) return {victim};
  const std::uint32_t first = CheapestRun(place.unit, shape.units);
  if (first == kNoUnit) return {};
  return FramesOfUnits(first, shape.units);
}

}  // namespace terrace
