// SlabShape: how many units a slab of one frame size has, so that little of it is lost.
//
// Pure arithmetic. Pages are 4 KiB. A shape is good when at most 1/20 of the slab is lost, and the
// whole slabs of an extent hold at least 19/20 of the frames that fit an extent laid end to end.
// An extent of at least 64 units (GeometryFor sees to that) has a good shape for every frame that
// fits it: all frames of an extent in one slab fill more than half of it, 32 units, and lose less
// than one. Most sizes need far fewer units.
#pragma once

#include <cstdint>

namespace terrace {

inline constexpr std::uint32_t kPageBytes = 4096;

struct SlabShape {
  std::uint32_t units = 0;   ///< 0: no slab of an extent this large holds such a frame
  std::uint32_t frames = 0;  ///< frames in the slab
  std::uint32_t lost_pages = 0;
};

/// The good shape with the fewest units, so that the slab gives way soonest. At most 512 divisions;
/// a handful for usual sizes. REQUIRES: frame_pages and unit_pages > 0, extent_units >= 64.
constexpr SlabShape ShapeFor(std::uint32_t frame_pages, std::uint32_t unit_pages,
                             std::uint32_t extent_units) noexcept {
  const std::uint64_t frames_most =
      static_cast<std::uint64_t>(extent_units) * unit_pages / frame_pages;
  const std::uint32_t fewest = (frame_pages + unit_pages - 1) / unit_pages;
  for (std::uint32_t units = fewest; units <= extent_units; ++units) {
    const std::uint32_t pages = units * unit_pages;
    const SlabShape shape = {
        .units = units, .frames = pages / frame_pages, .lost_pages = pages % frame_pages};
    const std::uint64_t frames = static_cast<std::uint64_t>(extent_units / units) * shape.frames;
    if (shape.lost_pages * 20ULL <= pages && frames * 20 >= frames_most * 19) return shape;
  }
  return {};
}

/// How an arena is cut. All sizes in pages; extent_pages and unit_pages are powers of two.
struct ExtentGeometry {
  std::uint32_t arena_pages = 0;
  std::uint32_t extent_pages = 0;  ///< of every extent but the last, which may be shorter
  std::uint32_t unit_pages = 0;

  [[nodiscard]] constexpr std::uint32_t extents() const noexcept {
    return (arena_pages + extent_pages - 1) / extent_pages;
  }
  [[nodiscard]] constexpr std::uint32_t units() const noexcept { return arena_pages / unit_pages; }
  [[nodiscard]] constexpr std::uint32_t units_per_extent() const noexcept {
    return extent_pages / unit_pages;
  }
};

/// Extents: the largest power of two of at most `extent_bytes` of which the arena has 16, at least
/// 2 MiB. Units: 1/64 extent, at most 2 MiB (a huge page), so 64 to 512 units an extent. Large
/// units keep the headers of small blocks close together; 64 are enough for the loss above.
/// REQUIRES: capacity_bytes is a multiple of 2 MiB below 16 TiB.
constexpr ExtentGeometry GeometryFor(std::uint64_t capacity_bytes,
                                     std::uint64_t extent_bytes) noexcept {
  constexpr std::uint64_t kExtentBytesMin = 2 << 20;
  constexpr std::uint64_t kUnitBytesMax = 2 << 20;
  std::uint64_t extent = kExtentBytesMin;
  while (extent * 2 <= extent_bytes && extent * 2 * 16 <= capacity_bytes) extent *= 2;
  const std::uint64_t unit = extent / 64 < kUnitBytesMax ? extent / 64 : kUnitBytesMax;
  return {.arena_pages = static_cast<std::uint32_t>(capacity_bytes / kPageBytes),
          .extent_pages = static_cast<std::uint32_t>(extent / kPageBytes),
          .unit_pages = static_cast<std::uint32_t>(unit / kPageBytes)};
}

}  // namespace terrace
