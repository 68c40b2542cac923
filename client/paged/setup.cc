#include "client/paged/setup.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>

#include "base/limits.h"
#include "client/paged/cache_extent.h"
#include "client/paged/make_map.h"
#include "client/paged/pick_mover.h"

namespace terrace::paged {
namespace {

constexpr std::uint64_t kFrameAlignment = 4096;
constexpr std::chrono::milliseconds kQuiesceTime{1000};
/// Longer than the daemon waits for its driver.
constexpr std::chrono::seconds kMapTime{15};
constexpr std::uint32_t kFramesMax = 65536;
constexpr std::uint32_t kStretchesMax = 65536;  // BlockRange::count

std::uint64_t RoundUp(std::uint64_t bytes) {
  return (bytes + kFrameAlignment - 1) / kFrameAlignment * kFrameAlignment;
}

/// The hulls of the layers, joined where they touch.
std::vector<DirectRegion> HullsOf(const CacheLayout& cache, std::span<void* const> bases) {
  std::vector<DirectRegion> hulls;
  for (void* base : bases) {
    const Extent extent = ExtentOf(cache, base);
    hulls.push_back({.begin = extent.begin, .end = extent.end, .region = {}});
  }
  std::sort(hulls.begin(), hulls.end(),
            [](const DirectRegion& a, const DirectRegion& b) { return a.begin < b.begin; });
  std::vector<DirectRegion> joined;
  for (const DirectRegion& hull : hulls) {
    if (!joined.empty() && hull.begin <= joined.back().end) {
      joined.back().end = std::max(joined.back().end, hull.end);
    } else {
      joined.push_back(hull);
    }
  }
  return joined;
}

}  // namespace

PagedSetup::PagedSetup(Client& client_, PagedCacheOptions&& options)
    : client(client_),
      cache(options.cache),
      stored(options.stored),
      bases(std::move(options.layer_bases)),
      shape(ShapeOf(cache, stored)),
      mover(std::move(options.mover)),
      whole(HoldsWholeBlock(cache, stored)),
      wide(IsQuantised(stored) && cache.heads != shape.heads_total) {}

Result<std::unique_ptr<PagedSetup>> PagedSetup::Make(Client& client, PagedCacheOptions options) {
  Status status = ValidateStored(options.cache, options.stored);
  if (status.ok()) status = ValidateBases(options.cache, options.layer_bases);
  if (!status.ok()) return status;
  for (const StoredRun& run : StoredRuns(options.cache, options.stored)) {
    if (run.block.count > kStretchesMax) {
      return Status::Invalid("stored.order: this rank's part of a block is " +
                             std::to_string(run.block.count) + " stretches, at most " +
                             std::to_string(kStretchesMax) + ": store heads first");
    }
  }
  if (options.mover == nullptr) {
    Result<std::shared_ptr<PageMover>> mover =
        PickMover(options.cache, options.stored, options.layer_bases);
    if (!mover.ok()) return mover.status();
    options.mover = std::move(mover.value());
  }
  const std::uint64_t staging_bytes = options.staging_bytes;
  const std::uint32_t direct_bytes = options.direct_bytes;
  const bool frames_on_device = options.frames_on_device;
  std::unique_ptr<PagedSetup> setup(new PagedSetup(client, std::move(options)));
  setup->on_cpu = setup->mover->EventFd() < 0;
  status = setup->MakeFrames(staging_bytes, frames_on_device);
  if (status.ok() && setup->on_cpu && !IsQuantised(setup->stored) && direct_bytes != 0) {
    status = setup->RegisterPages(direct_bytes);
  }
  if (!status.ok()) return status;
  return setup;
}

PagedSetup::~PagedSetup() {
  for (const DirectRegion& region : direct_regions) {
    // Nothing is under way, but of an earlier call in doubt the daemon may still write.
    [[maybe_unused]] Status status = client.Quiesce(region.region, In(kQuiesceTime));
    status = client.DeregisterMemory(region.region);
  }
  if (frames_region.value == 0 || spare_frames_) return;
  if (!on_device) mover->DeregisterFrames(frames);
  const Status status = client.DeregisterMemory(frames_region);
  if (!status.ok()) return;
  if (on_device) mover->FreeDeviceFrames(frames);
  std::free(own_memory_);
}

Status PagedSetup::MakeFrames(std::uint64_t staging_bytes, bool frames_on_device) {
  const std::uint64_t dense = RoundUp(FrameBytes(cache, stored));
  frame_stride = dense;
  if (wide) {
    wide_offset = dense;
    frame_stride += RoundUp(std::uint64_t{cache.layers} * cache.parts * shape.section_bytes);
  }
  frame_count = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(staging_bytes / frame_stride, 2, kFramesMax));
  const std::uint64_t bytes = frame_count * frame_stride;
  if (frames_on_device) return AllocateDeviceFrames(bytes);
  if (Status status = AllocateFrames(bytes); !status.ok()) return status;
  Status status = mover->RegisterFrames(frames, false);
  if (status.code() != StatusCode::kUnsupported) return status;
  // Not memory that is shared with the daemon, then.
  status = client.DeregisterMemory(std::exchange(frames_region, {}));
  if (!status.ok()) return status;
  own_memory_ = std::aligned_alloc(kFrameAlignment, bytes);
  if (own_memory_ == nullptr) return Status(StatusCode::kRetry, "no memory for frames");
  Result<RegionId> region = client.RegisterMemory(own_memory_, bytes);
  if (!region.ok()) {
    std::free(std::exchange(own_memory_, nullptr));
    return region.status();
  }
  frames_region = region.value();
  frames = {static_cast<std::byte*>(own_memory_), bytes};
  return mover->RegisterFrames(frames, false);
}

Status PagedSetup::AllocateFrames(std::uint64_t bytes) {
  Result<RegionId> region = client.AllocateRegion(bytes);
  if (!region.ok()) return region.status();
  frames_region = region.value();
  frames = client.RegionMemory(frames_region);
  return {};
}

Status PagedSetup::AllocateDeviceFrames(std::uint64_t bytes) {
  if (wide) {
    return {
        StatusCode::kUnsupported,
        "frames_on_device: a rank with some of the heads of quantised blocks takes its part out "
        "of frames in host memory"};
  }
  Result<std::span<std::byte>> memory = mover->AllocateDeviceFrames(bytes);
  if (!memory.ok()) return {memory.code(), "frames_on_device: " + memory.status().message()};
  const Result<RegionId> region =
      client.RegisterDeviceMemory(memory->data(), memory->size(), In(kMapTime));
  if (!region.ok()) {
    // In doubt the daemon may have it mapped: it stays allocated.
    if (region.code() != StatusCode::kInDoubt) mover->FreeDeviceFrames(*memory);
    return {region.code(), "frames_on_device: " + region.status().message()};
  }
  on_device = true;
  frames_region = *region;
  frames = *memory;
  return {};
}

Status PagedSetup::RegisterPages(std::uint32_t direct_bytes) {
  const PageMap map = BuildPageMap(cache, stored, bases, {});
  if (map.unit_bytes < direct_bytes || map.units > kStretchesMax - 1) return {};
  for (DirectRegion hull : HullsOf(cache, bases)) {
    // The address was a pointer that the engine gave.
    void* base = reinterpret_cast<void*>(hull.begin);  // NOLINT(performance-no-int-to-ptr)
    Result<RegionId> region = client.RegisterMemory(base, hull.end - hull.begin);
    if (!region.ok()) return region.status();
    hull.region = region.value();
    direct_regions.push_back(hull);
  }
  direct = true;
  return {};
}

MemoryPiece PagedSetup::DirectPiece(std::uint64_t address, std::uint64_t length) const {
  const auto after =
      std::upper_bound(direct_regions.begin(), direct_regions.end(), address,
                       [](std::uint64_t at, const DirectRegion& hull) { return at < hull.begin; });
  const DirectRegion& hull = *(after - 1);
  return {hull.region, address - hull.begin, length};
}

}  // namespace terrace::paged
