// PagedSetup: what a PagedCache found out when it was opened, and does not change: layouts, frames,
// the memory that pieces go to directly. Thread: any.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "client/paged.hpp"
#include "client/paged/mover.h"
#include "client/paged/stored_shape.h"

namespace terrace::paged {

/// Registered memory of the cache itself.
struct DirectRegion {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  RegionId region;
};

class PagedSetup {
 public:
  /// @return kInvalid names the field; what the Client says to a region.
  static Result<std::unique_ptr<PagedSetup>> Make(Client& client, PagedCacheOptions options);
  /// Frees regions, those of the frames only when nothing may write to them any more (SpareFrames).
  ~PagedSetup();
  PagedSetup(const PagedSetup&) = delete;
  PagedSetup& operator=(const PagedSetup&) = delete;

  [[nodiscard]] MemoryPiece FramePiece(std::uint32_t frame, std::uint64_t offset,
                                       std::uint64_t length) const {
    return {frames_region, frame * frame_stride + offset, length};
  }
  [[nodiscard]] std::byte* Frame(std::uint32_t frame) const {
    return frames.data() + frame * frame_stride;
  }
  /// Of memory of the cache. REQUIRES: direct.
  [[nodiscard]] MemoryPiece DirectPiece(std::uint64_t address, std::uint64_t length) const;
  /// The frames stay allocated and registered for good.
  void SpareFrames() { spare_frames_ = true; }

  Client& client;
  const CacheLayout cache;
  const StoredLayout stored;
  const std::vector<void*> bases;
  const StoredShape shape;
  std::shared_ptr<PageMover> mover;
  bool on_cpu = false;     // moves end as they begin, and frames may be any memory
  bool on_device = false;  // the frames are, which the host cannot follow
  bool whole = false;      // this cache holds all of a block
  /// The heads of a quantised block that it holds are a part: a get brings all heads to
  /// wide_offset of the frame first, as payload and scales must be of one and the same block.
  bool wide = false;
  bool direct = false;                       // pieces go to the pages themselves
  std::vector<DirectRegion> direct_regions;  // ascending

  std::span<std::byte> frames;
  RegionId frames_region;
  std::uint64_t frame_stride = 0;
  std::uint64_t wide_offset = 0;
  std::uint32_t frame_count = 0;

 private:
  PagedSetup(Client& client_, PagedCacheOptions&& options);
  Status MakeFrames(std::uint64_t staging_bytes, bool frames_on_device);
  Status AllocateFrames(std::uint64_t bytes);
  Status AllocateDeviceFrames(std::uint64_t bytes);
  Status RegisterPages(std::uint32_t direct_bytes);

  bool spare_frames_ = false;
  void* own_memory_ = nullptr;  // of the frames, where the Client's regions are not to be had
};

}  // namespace terrace::paged
