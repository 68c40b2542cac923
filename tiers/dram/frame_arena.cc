#include "tiers/dram/frame_arena.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "tiers/dram/arena_memory.h"
#include "tiers/dram/extent_replacer.h"
#include "tiers/dram/slab_allocator.h"
#include "tiers/dram/slab_shape.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace terrace {

namespace {

constexpr std::uint64_t kCapacityStep = 2 << 20;
/// 16 TiB less one step, so that kNoFrame names no page.
constexpr std::uint64_t kCapacityBytesMax = (1ULL << 32) * kPageBytes - kCapacityStep;

/// Headers of a slab stand side by side at the start of the slab's share of the header memory,
/// which is 1/32 of its units: the 128 bytes that a frame of one page needs.
constexpr std::uint32_t kHeaderShare = 32;
constexpr std::uint64_t kCacheLineBytes = 64;

constexpr std::uint64_t HeaderStride(std::uint32_t frame_pages) noexcept {
  const std::uint64_t checksums =
      ChecksumPieceCount(static_cast<std::uint64_t>(frame_pages) * kPageBytes);
  const std::uint64_t bytes = sizeof(FrameHeader) + checksums * sizeof(std::uint64_t);
  return (bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
}
static_assert(HeaderStride(1) * kHeaderShare <= kPageBytes);
static_assert(HeaderStride(16) == 128, "a block of 64 KiB should cost two cache lines of header");
static_assert(sizeof(FrameHeader) % alignof(std::uint64_t) == 0);

}  // namespace

struct FrameArena::Impl {
  Impl(const ExtentGeometry& geometry, const ArenaOptions& options)
      : slabs(geometry, options.lendable),
        lendable(options.lendable),
        let_go_patience(options.let_go_patience),
        shared(geometry.extents()) {}

  [[nodiscard]] std::byte* HeaderAddress(FrameId frame) const noexcept {
    const SlabAllocator::Place place = slabs.PlaceOf(frame);
    return headers->base() + static_cast<std::uint64_t>(place.unit) * header_unit_bytes +
           place.index * HeaderStride(place.frame_pages);
  }
  [[nodiscard]] std::byte* FrameAddress(FrameId frame) const noexcept {
    return payload->base() + static_cast<std::uint64_t>(frame) * kPageBytes;
  }

  SlabAllocator slabs;
  std::unique_ptr<ArenaMemory> payload;
  std::unique_ptr<ArenaMemory> headers;
  const bool lendable;
  const Nanos let_go_patience;
  std::vector<bool> shared;  ///< by extent: clients may have mapped it
  ExtentMemoryUser* memory_user = nullptr;
  bool stopped = false;                      ///< no extent is replaced any more
  std::unique_ptr<ExtentReplacer> replacer;  ///< null until the first replacement; after `payload`
  std::uint64_t header_unit_bytes = 0;
  std::uint64_t pins = 0;  ///< of all frames

  // Written by the owning reactor only, read by any thread.
  std::atomic<std::uint64_t> used_bytes{0};
  std::atomic<std::uint64_t> payload_bytes{0};
  std::atomic<std::uint64_t> header_bytes{0};
  std::atomic<std::uint64_t> huge_bytes{0};
  std::atomic<std::uint64_t> frames{0};
  std::atomic<std::uint64_t> extents_free{0};
  std::atomic<std::uint64_t> extents_shared{0};
  std::atomic<std::uint64_t> extents_replacing{0};
  std::atomic<std::uint64_t> extents_replaced{0};
  std::atomic<std::uint64_t> extents_not_let_go{0};
  std::atomic<std::uint64_t> thread_failures{0};
  std::atomic<const ExtentReplacer*> replacer_to_read{nullptr};
};

Result<std::unique_ptr<FrameArena>> FrameArena::Create(const ArenaOptions& options) {
  if (options.capacity_bytes < kCapacityStep) {
    return Status::Invalid("arena " + options.name + ": capacity of " +
                           std::to_string(options.capacity_bytes) + " bytes, at least " +
                           std::to_string(kCapacityStep));
  }
  if (options.capacity_bytes > kCapacityBytesMax) {
    return Status::Invalid("arena " + options.name + ": capacity of " +
                           std::to_string(options.capacity_bytes) + " bytes, at most " +
                           std::to_string(kCapacityBytesMax));
  }
  std::unique_ptr<FrameArena> arena(new FrameArena(options));
  Impl& impl = *arena->impl_;
  const ExtentGeometry& geometry = impl.slabs.geometry();
  auto payload = ArenaMemory::Create(
      {.bytes = static_cast<std::uint64_t>(geometry.arena_pages) * kPageBytes,
       .part_bytes = static_cast<std::uint64_t>(geometry.extent_pages) * kPageBytes,
       .huge_pages = options.huge_pages,
       .name = options.name});
  if (!payload.ok()) return payload.status();
  impl.payload = std::move(payload).value();
  // The first page of each unit's share holds the headers of all frames from 64 KiB on; smaller
  // blocks touch more when they first come.
  auto headers = ArenaMemory::Create(
      {.bytes = impl.payload->bytes() / kHeaderShare,
       .part_bytes =
           std::max<std::uint64_t>(kPageBytes, static_cast<std::uint64_t>(geometry.extent_pages) *
                                                   kPageBytes / kHeaderShare),
       .huge_pages = false,
       .touch_bytes = kPageBytes,
       .touch_stride = std::max<std::uint64_t>(kPageBytes, impl.header_unit_bytes),
       .name = options.name + "-headers"});
  if (!headers.ok()) return headers.status();
  impl.headers = std::move(headers).value();
  impl.header_bytes =
      std::min<std::uint64_t>(impl.headers->bytes(), std::uint64_t{geometry.units()} * kPageBytes);
  ASAN_POISON_MEMORY_REGION(impl.payload->base(), impl.payload->bytes());
  return arena;
}

FrameArena::FrameArena(const ArenaOptions& options)
    : impl_(std::make_unique<Impl>(
          GeometryFor(options.capacity_bytes / kCapacityStep * kCapacityStep, options.extent_bytes),
          options)) {
  const ExtentGeometry& geometry = impl_->slabs.geometry();
  impl_->header_unit_bytes =
      static_cast<std::uint64_t>(geometry.unit_pages) * kPageBytes / kHeaderShare;
  CountExtents();
}

FrameArena::~FrameArena() {
  // A Hold that outlives its arena would unpin freed memory.
  TERRACE_CHECK(impl_->pins == 0);
  impl_->replacer.reset();
  if (impl_->payload != nullptr) {
    ASAN_UNPOISON_MEMORY_REGION(impl_->payload->base(), impl_->payload->bytes());
  }
}

std::uint64_t FrameArena::BlockBytesMaxOf(const ArenaOptions& options) noexcept {
  const ExtentGeometry geometry =
      GeometryFor(options.capacity_bytes / kCapacityStep * kCapacityStep, options.extent_bytes);
  return std::min<std::uint64_t>(kBlockBytesMax,
                                 static_cast<std::uint64_t>(geometry.extent_pages) * kPageBytes);
}

std::uint64_t FrameArena::BlockBytesMax() const noexcept {
  return std::min<std::uint64_t>(
      kBlockBytesMax,
      static_cast<std::uint64_t>(impl_->slabs.geometry().extent_pages) * kPageBytes);
}

Result<FrameId> FrameArena::Allocate(TenantId tenant, std::uint64_t block_bytes) {
  if (block_bytes == 0 || block_bytes > BlockBytesMax()) {
    return Status::Invalid("block of " + std::to_string(block_bytes) +
                           " bytes in an arena that holds 1 to " + std::to_string(BlockBytesMax()));
  }
  const auto pages = static_cast<std::uint32_t>((block_bytes + kPageBytes - 1) / kPageBytes);
  Poll();
  const FrameId frame = impl_->slabs.Allocate(tenant, pages);
  if (frame == kNoFrame) {
    ReplaceFor(tenant, pages);
    CountExtents();
    return Status(StatusCode::kRetry);
  }
  auto* const header = new (impl_->HeaderAddress(frame)) FrameHeader;
  header->block_bytes = block_bytes;
  header->tenant = tenant;
  ASAN_UNPOISON_MEMORY_REGION(impl_->FrameAddress(frame), block_bytes);
  impl_->used_bytes += std::uint64_t{pages} * kPageBytes;
  impl_->payload_bytes += block_bytes;
  ++impl_->frames;
  CountExtents();
  return frame;
}

void FrameArena::Free(FrameId frame) {
  TERRACE_CHECK(impl_->slabs.IsAllocated(frame));
  const FrameHeader& header = Header(frame);
  TERRACE_CHECK(header.pins == 0);
  const std::uint64_t pages = (header.block_bytes + kPageBytes - 1) / kPageBytes;
  ASAN_POISON_MEMORY_REGION(impl_->FrameAddress(frame), pages * kPageBytes);
  impl_->used_bytes -= pages * kPageBytes;
  impl_->payload_bytes -= header.block_bytes;
  --impl_->frames;
  impl_->slabs.Free(frame);
  CountExtents();
}

std::vector<FrameId> FrameArena::FramesInTheWay(FrameId victim, TenantId tenant,
                                                std::uint64_t block_bytes) {
  if (block_bytes == 0 || block_bytes > BlockBytesMax()) return {};
  Poll();
  const std::uint32_t extent = impl_->slabs.ExtentOfFrame(victim);
  const bool replacing = impl_->replacer != nullptr && !impl_->replacer->Idle();
  if (impl_->slabs.NeedsReplacing(extent, tenant) &&
      (replacing || impl_->slabs.IsHeldBack(extent))) {
    return {};
  }
  return impl_->slabs.FramesInTheWay(
      victim, tenant, static_cast<std::uint32_t>((block_bytes + kPageBytes - 1) / kPageBytes));
}

void FrameArena::CountExtents() { impl_->extents_free = impl_->slabs.extents_free(); }

LentPlace FrameArena::PlaceForLending(FrameId frame) const noexcept {
  const std::uint32_t extent = impl_->slabs.ExtentOfFrame(frame);
  const std::uint32_t page = frame - extent * impl_->slabs.geometry().extent_pages;
  return {.extent = extent,
          .edition = impl_->slabs.Edition(extent),
          .offset = std::uint64_t{page} * kPageBytes};
}

Result<SharedExtent> FrameArena::ShareExtent(std::uint32_t extent, std::uint32_t edition) {
  Impl& impl = *impl_;
  if (extent >= impl.slabs.geometry().extents()) {
    return Status::Invalid("extent " + std::to_string(extent) + " of " +
                           std::to_string(impl.slabs.geometry().extents()));
  }
  if (!impl.lendable) {
    return Status(StatusCode::kUnsupported, "the arena was not made to be lent from");
  }
  if (!impl.slabs.MayBeShared(extent) || impl.slabs.Edition(extent) != edition) {
    return Status(StatusCode::kExpired, "extent " + std::to_string(extent) + " is not of edition " +
                                            std::to_string(edition) + " any more");
  }
  const Result<int> descriptor = impl.payload->SharePart(extent);
  if (!descriptor.ok()) return descriptor.status();
  if (!impl.shared[extent]) ++impl.extents_shared;
  impl.shared[extent] = true;
  return SharedExtent{.descriptor = *descriptor, .bytes = impl.payload->PartBytes(extent)};
}

void FrameArena::ReplaceFor(TenantId tenant, std::uint32_t frame_pages) {
  Impl& impl = *impl_;
  if (!impl.lendable || impl.stopped) return;
  if (impl.replacer != nullptr && !impl.replacer->Idle()) return;
  const std::uint32_t extent = impl.slabs.FindReplaceable(tenant, frame_pages);
  if (extent == kNoUnit) return;
  if (impl.replacer == nullptr) {
    auto replacer = ExtentReplacer::Create(*impl.payload, impl.let_go_patience, impl.memory_user);
    if (!replacer.ok()) {
      ++impl.thread_failures;
      return;  // the next Allocate tries again
    }
    impl.replacer = std::move(replacer).value();
    impl.replacer_to_read = impl.replacer.get();
  }
  impl.slabs.TakeAway(extent, tenant);
  impl.extents_replacing = 1;
  if (impl.shared[extent] && wanted_) wanted_(extent, impl.slabs.Edition(extent));
  impl.replacer->Start(extent);
}

void FrameArena::Poll() {
  Impl& impl = *impl_;
  if (impl.replacer == nullptr) return;
  const std::optional<ExtentThread::Done> done = impl.replacer->Take();
  if (!done) return;
  impl.extents_replacing = 0;
  if (done->fresh) {
    impl.slabs.Fresh(done->extent);
    // Mapping it made its addresses good for the sanitizer; nobody has been given any.
    ASAN_POISON_MEMORY_REGION(impl.payload->PartBase(done->extent),
                              impl.payload->PartBytes(done->extent));
    if (impl.shared[done->extent]) --impl.extents_shared;
    impl.shared[done->extent] = false;
    ++impl.extents_replaced;
  } else {
    impl.slabs.Kept(done->extent);
    ++impl.extents_not_let_go;
  }
  CountExtents();
}

std::span<std::byte> FrameArena::PayloadPages(FrameId frame) noexcept {
  const std::uint64_t pages = (Header(frame).block_bytes + kPageBytes - 1) / kPageBytes;
  const std::span<std::byte> bytes(impl_->FrameAddress(frame), pages * kPageBytes);
  ASAN_UNPOISON_MEMORY_REGION(bytes.data(), bytes.size());
  return bytes;
}

std::vector<std::span<std::byte>> FrameArena::Memory() {
  std::vector<std::span<std::byte>> memory;
  for (std::uint32_t extent = 0; extent < impl_->slabs.geometry().extents(); ++extent) {
    memory.emplace_back(impl_->payload->PartBase(extent), impl_->payload->PartBytes(extent));
  }
  return memory;
}

void FrameArena::OnReplaced(ExtentMemoryUser* user) {
  TERRACE_CHECK(impl_->replacer == nullptr);
  impl_->memory_user = user;
}

void FrameArena::StopReplacing() {
  impl_->stopped = true;
  if (impl_->replacer != nullptr) impl_->replacer->Stop();
}

std::span<std::byte> FrameArena::Payload(FrameId frame) noexcept {
  return {impl_->FrameAddress(frame), Header(frame).block_bytes};
}

FrameHeader& FrameArena::Header(FrameId frame) noexcept {
  return *std::launder(reinterpret_cast<FrameHeader*>(impl_->HeaderAddress(frame)));
}

std::span<std::uint64_t> FrameArena::Checksums(FrameId frame) noexcept {
  std::byte* const header = impl_->HeaderAddress(frame);
  return {reinterpret_cast<std::uint64_t*>(header + sizeof(FrameHeader)),
          ChecksumPieceCount(Header(frame).block_bytes)};
}

void FrameArena::PrefetchHeader(FrameId frame) const noexcept {
  const std::byte* const header = impl_->HeaderAddress(frame);
  __builtin_prefetch(header);
  __builtin_prefetch(header + kCacheLineBytes);
}

Hold FrameArena::Pin(FrameId frame) {
  TERRACE_CHECK(impl_->slabs.IsAllocated(frame));
  ++Header(frame).pins;
  ++impl_->pins;
  return {Payload(frame), this, frame};
}

std::uint64_t FrameArena::Pins() const noexcept { return impl_->pins; }

FrameId FrameArena::FrameOf(const Hold& pin) const noexcept {
  const std::byte* base = impl_->payload->base();
  return static_cast<FrameId>(static_cast<std::uint64_t>(pin.bytes().data() - base) / kPageBytes);
}

void FrameArena::Release(std::uint64_t token) noexcept {
  const auto frame = static_cast<FrameId>(token);
  FrameHeader& header = Header(frame);
  TERRACE_CHECK(header.pins > 0);
  --impl_->pins;
  if (--header.pins == 0 && unpinned_) unpinned_(frame);
}

ArenaStats FrameArena::Stats() const {
  const ExtentGeometry& geometry = impl_->slabs.geometry();
  const ExtentReplacer* const replacer = impl_->replacer_to_read;
  return {.capacity_bytes = impl_->payload->bytes(),
          .used_bytes = impl_->used_bytes,
          .payload_bytes = impl_->payload_bytes,
          .header_bytes = impl_->header_bytes,
          .huge_bytes = impl_->huge_bytes,
          .frames = impl_->frames,
          .extents = geometry.extents(),
          .extents_free = impl_->extents_free,
          .extents_shared = impl_->extents_shared,
          .extents_replacing = impl_->extents_replacing,
          .extents_replaced = impl_->extents_replaced,
          .extents_not_let_go = impl_->extents_not_let_go,
          .replace_failures =
              impl_->thread_failures + (replacer == nullptr ? 0 : replacer->failures())};
}

void FrameArena::MeasureHugePages() {
  impl_->huge_bytes = impl_->payload->MeasurePages().huge_bytes;
  const std::uint64_t header_bytes = impl_->headers->MeasurePages().resident_bytes;
  if (header_bytes > 0) impl_->header_bytes = header_bytes;
}

}  // namespace terrace
