#include "tiers/hbm/hbm_tier.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "base/checksum.h"

namespace terrace {
namespace {

constexpr std::uint64_t kCapacityStep = 2 << 20;
constexpr std::uint64_t kCapacityMax = 16ULL << 40;  // what 4 KiB pages in 32 bits reach
constexpr std::uint64_t kExtentBytes = 1ULL << 30;
static_assert(DeviceCopier::kPartsMax <= CopyBatch::kCopiesMax);
static_assert(DeviceCopier::kSumsMax <= CopyRequest::kPiecesMax);
static_assert(DeviceCopier::Sum::kAlignment == DevicePiece::kAlignment);
static_assert(DeviceCopier::Sum::kShortBytes == DevicePiece::kShortBytes);

std::uint32_t PagesOf(std::uint64_t bytes) noexcept {
  return static_cast<std::uint32_t>((bytes + kPageBytes - 1) / kPageBytes);
}

/// The pieces that `bytes` bytes at `at` are checked in.
void AddPieces(const std::byte* at, std::size_t bytes, std::vector<DevicePiece>& pieces) {
  for (std::size_t done = 0; done < bytes; done += kChecksumPieceBytes) {
    pieces.push_back(
        {.at = at + done,
         .bytes = static_cast<std::uint32_t>(std::min(kChecksumPieceBytes, bytes - done))});
  }
}

ExtentGeometry GeometryOf(std::uint64_t capacity_bytes) noexcept {
  return GeometryFor(capacity_bytes / kCapacityStep * kCapacityStep, kExtentBytes);
}

}  // namespace

Result<std::unique_ptr<HbmTier>> HbmTier::Create(DeviceMemory& device, const HbmOptions& options) {
  const std::uint64_t bytes = options.capacity_bytes / kCapacityStep * kCapacityStep;
  if (bytes == 0 || bytes >= kCapacityMax) {
    return Status::Invalid(device.name() + ": a pool of " + std::to_string(options.capacity_bytes) +
                           " bytes is not 2 MiB to 16 TiB");
  }
  const Result<DeviceSpace> space = device.Space();
  if (!space.ok()) return space.status();
  const auto too_large = [&] {
    return Status::Invalid(
        device.name() + ": a pool of " + std::to_string(bytes) +
        " bytes is more than is free there: " + std::to_string(space->free_bytes) + " of " +
        std::to_string(space->total_bytes));
  };
  if (bytes > space->free_bytes) return too_large();
  std::unique_ptr<HbmTier> tier(new HbmTier(device, options));
  Status taken = tier->TakeMemory();
  if (taken.code() == StatusCode::kRetry) return too_large();
  if (!taken.ok()) return taken;
  return tier;
}

HbmTier::HbmTier(DeviceMemory& device, const HbmOptions& options)
    : device_(device),
      options_(options),
      slabs_(GeometryOf(options.capacity_bytes), options.lendable),
      engine_(device, options.copies) {
  stats_.capacity_bytes = options.capacity_bytes / kCapacityStep * kCapacityStep;
}

Status HbmTier::TakeMemory() {
  if (!options_.lendable) {
    const Result<std::byte*> pool = device_.Allocate(stats_.capacity_bytes);
    if (pool.ok()) pool_ = *pool;
    return pool.status();
  }
  auto extents = DeviceExtents::Create(device_, slabs_.geometry(), options_.let_go_patience);
  if (!extents.ok()) return extents.status();
  extents_ = std::move(*extents);
  shared_.resize(slabs_.geometry().extents());
  return {};
}

HbmTier::~HbmTier() {
  // Of a lost device nothing can be given back; its driver does that when the process ends.
  for (const auto& [first, memory] : pinned_) {
    [[maybe_unused]] const Status unpinned = device_.UnpinHost(memory);
  }
  if (pool_ == nullptr) return;
  [[maybe_unused]] const Status freed = device_.Free(pool_);
}

Status HbmTier::Pin(std::span<std::byte> memory) {
  Status status = device_.PinHost(memory);
  const std::lock_guard lock(mutex_);
  if (status.ok()) pinned_.emplace(memory.data(), memory);
  return status;
}

void HbmTier::Unpin(std::span<std::byte> memory) {
  {
    const std::lock_guard lock(mutex_);
    if (pinned_.erase(memory.data()) == 0) return;  // Pin had failed
  }
  // What a lost device does not give back, its driver does when the process ends.
  [[maybe_unused]] const Status unpinned = device_.UnpinHost(memory);
}

bool HbmTier::IsPinned(const std::byte* at, std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  auto next = pinned_.upper_bound(at);
  if (next == pinned_.begin()) return false;
  const std::span<std::byte> memory = std::prev(next)->second;
  const auto offset = static_cast<std::size_t>(at - memory.data());
  return offset <= memory.size() && bytes <= memory.size() - offset;
}

Status HbmTier::NotPinned() const {
  return {StatusCode::kUnsupported, name() + ": the host memory is not pinned"};
}

Result<FrameId> HbmTier::Allocate(std::uint64_t block_bytes, TenantId owner) {
  if (!health().ok()) return health();
  const std::uint32_t pages = PagesOf(block_bytes);
  if (pages == 0 || pages > slabs_.geometry().extent_pages) {
    return Status::Invalid(
        name() + ": no frame of " + std::to_string(block_bytes) + " bytes, at most " +
        std::to_string(std::uint64_t{slabs_.geometry().extent_pages} * kPageBytes));
  }
  TakeReplaced();
  const FrameId frame = slabs_.Allocate(lendable() ? owner : kNobody, pages);
  if (frame == kNoFrame) {
    ReplaceFor(owner, pages);
    return Status(StatusCode::kRetry, name() + ": no frame is free");
  }
  ++stats_.frames;
  stats_.used_bytes += std::uint64_t{slabs_.PlaceOf(frame).frame_pages} * kPageBytes;
  return frame;
}

void HbmTier::Free(FrameId frame) {
  TERRACE_CHECK(slabs_.IsAllocated(frame));
  --stats_.frames;
  stats_.used_bytes -= std::uint64_t{slabs_.PlaceOf(frame).frame_pages} * kPageBytes;
  slabs_.Free(frame);
}

std::vector<FrameId> HbmTier::FramesInTheWay(FrameId victim, std::uint64_t block_bytes,
                                             TenantId owner) {
  if (!lendable()) return slabs_.FramesInTheWay(victim, kNobody, PagesOf(block_bytes));
  TakeReplaced();
  const std::uint32_t extent = slabs_.ExtentOfFrame(victim);
  const bool waits = !extents_->Idle() || slabs_.IsHeldBack(extent);
  if (waits && slabs_.NeedsReplacing(extent, owner)) return {};
  return slabs_.FramesInTheWay(victim, owner, PagesOf(block_bytes));
}

LentPlace HbmTier::PlaceForLending(FrameId frame) const noexcept {
  const std::uint32_t extent = slabs_.ExtentOfFrame(frame);
  return {.extent = options_.first_extent + extent,
          .edition = slabs_.Edition(extent),
          .offset = std::uint64_t{PageInExtent(frame, extent)} * kPageBytes};
}

Result<SharedExtent> HbmTier::ShareExtent(std::uint32_t extent, std::uint32_t edition) {
  if (!lendable()) return Status(StatusCode::kUnsupported, name() + ": its memory is not lent");
  if (!HasExtent(extent)) {
    return Status::Invalid(name() + ": extent " + std::to_string(extent) + " is another pool's");
  }
  const std::uint32_t number = extent - options_.first_extent;
  if (!slabs_.MayBeShared(number) || slabs_.Edition(number) != edition) {
    return Status(StatusCode::kExpired, name() + ": extent " + std::to_string(extent) +
                                            " is not of edition " + std::to_string(edition) +
                                            " any more");
  }
  Result<SharedExtent> shared = extents_->Share(number);
  if (!shared.ok()) return Status(shared.code(), name() + ": " + shared.status().message());
  if (!shared_[number]) ++stats_.extents_shared;
  shared_[number] = true;
  return shared;
}

HbmStats HbmTier::Stats() const noexcept {
  HbmStats stats = stats_;
  if (extents_ == nullptr) return stats;
  stats.renewal_failures = extents_->failures();
  stats.away_bytes = extents_->away_bytes();
  return stats;
}

void HbmTier::ReplaceFor(TenantId owner, std::uint32_t frame_pages) {
  if (!lendable() || !extents_->Idle()) return;
  const std::uint32_t extent = slabs_.FindReplaceable(owner, frame_pages);
  if (extent == kNoUnit) return;
  if (!extents_->Replace(extent)) return;  // the next Allocate tries again
  slabs_.TakeAway(extent, owner);
  if (shared_[extent] && wanted_) wanted_(options_.first_extent + extent, slabs_.Edition(extent));
}

void HbmTier::TakeReplaced() {
  if (!lendable()) return;
  const std::optional<ExtentThread::Done> done = extents_->Take();
  if (!done) return;
  if (!done->fresh) {
    slabs_.Kept(done->extent);
    ++stats_.extents_not_let_go;
    return;
  }
  slabs_.Fresh(done->extent);
  ++stats_.extents_replaced;
  if (shared_[done->extent]) --stats_.extents_shared;
  shared_[done->extent] = false;
}

Task<Status> HbmTier::MoveChecked(CopyDirection direction, CopyUrgency urgency, DeviceCopy copy,
                                  const std::byte* checked,
                                  std::span<const std::uint64_t> checksums) {
  TERRACE_CHECK(checksums.size() == ChecksumPieceCount(copy.bytes));
  std::vector<DevicePiece> pieces;
  AddPieces(checked, copy.bytes, pieces);
  std::vector<std::uint64_t> found(pieces.size());
  co_return co_await RunChecked({.direction = direction,
                                 .urgency = urgency,
                                 .copies = {&copy, 1},
                                 .pieces = pieces,
                                 .checksums = found},
                                checksums);
}

Task<Status> HbmTier::RunChecked(CopyRequest request, std::span<const std::uint64_t> expected) {
  TERRACE_CHECK(expected.size() == request.checksums.size());
  const std::span<const std::uint64_t> found = request.checksums;
  Status status = co_await engine_.Run(request);
  if (status.ok() && !std::ranges::equal(found, expected)) {
    ++stats_.corrupt;
    const auto wrong = std::ranges::mismatch(found, expected).in1 - found.begin();
    status = Status(StatusCode::kCorrupt,
                    name() + ": piece " + std::to_string(wrong) + " has another checksum");
  }
  co_return status;
}

Task<Status> HbmTier::Fill(FrameId frame, std::span<const std::byte> from,
                           std::span<const std::uint64_t> checksums, CopyUrgency urgency) {
  TERRACE_CHECK(slabs_.IsAllocated(frame));
  if (!IsPinned(from.data(), from.size())) co_return NotPinned();
  const DeviceCopy copy = {.to = AddressOf(frame), .from = from.data(), .bytes = from.size()};
  co_return co_await MoveChecked(CopyDirection::kIn, urgency, copy, copy.to, checksums);
}

Task<Status> HbmTier::Read(FrameId frame, std::span<std::byte> to,
                           std::span<const std::uint64_t> checksums, CopyUrgency urgency) {
  TERRACE_CHECK(slabs_.IsAllocated(frame));
  if (!IsPinned(to.data(), to.size())) co_return NotPinned();
  const DeviceCopy copy = {.to = to.data(), .from = AddressOf(frame), .bytes = to.size()};
  co_return co_await MoveChecked(CopyDirection::kOut, urgency, copy, copy.from, checksums);
}

Task<Status> HbmTier::CopyTo(FrameId frame, std::span<const std::span<std::byte>> to,
                             std::span<const std::uint64_t> checksums) {
  TERRACE_CHECK(slabs_.IsAllocated(frame));
  std::vector<DeviceCopy> copies;
  std::vector<DevicePiece> pieces;
  const std::byte* from = AddressOf(frame);
  for (const std::span<std::byte> place : to) {
    copies.push_back({.to = place.data(), .from = from, .bytes = place.size()});
    AddPieces(place.data(), place.size(), pieces);
    from += place.size();
  }
  std::vector<std::uint64_t> found(pieces.size());
  co_return co_await RunChecked({.direction = CopyDirection::kWithin,
                                 .urgency = CopyUrgency::kDemand,
                                 .copies = copies,
                                 .pieces = pieces,
                                 .checksums = found},
                                checksums);
}

DevicePool HbmTier::Pool() {
  TERRACE_CHECK(!lendable());
  return {.gpu = this,
          .name = name(),
          .kind = device_.kind(),
          .memory = {{pool_, static_cast<std::size_t>(stats_.capacity_bytes)}}};
}

Task<Status> HbmTier::Check(FrameId frame, std::uint64_t bytes,
                            std::span<const std::uint64_t> checksums) {
  TERRACE_CHECK(slabs_.IsAllocated(frame));
  std::vector<DevicePiece> pieces;
  AddPieces(AddressOf(frame), bytes, pieces);
  std::vector<std::uint64_t> found(pieces.size());
  co_return co_await RunChecked({.direction = CopyDirection::kWithin,
                                 .urgency = CopyUrgency::kDemand,
                                 .copies = {},
                                 .pieces = pieces,
                                 .checksums = found},
                                checksums);
}

Task<Status> HbmTier::Copy(Way way, std::span<const Part> parts, std::span<Sum> sums) {
  const bool in = way == Way::kToDevice;
  std::vector<DeviceCopy> copies;
  copies.reserve(parts.size());
  for (const Part& part : parts) {
    if (!IsPinned(part.host, part.bytes)) co_return NotPinned();
    copies.push_back({.to = in ? part.device : part.host,
                      .from = in ? part.host : part.device,
                      .bytes = part.bytes});
  }
  std::vector<DevicePiece> pieces;
  pieces.reserve(sums.size());
  for (const Sum& sum : sums) pieces.push_back({.at = sum.device, .bytes = sum.bytes});
  std::vector<std::uint64_t> found(sums.size());
  // What is only summed waits for no copy over PCIe.
  const CopyDirection direction = parts.empty() ? CopyDirection::kWithin
                                  : in          ? CopyDirection::kIn
                                                : CopyDirection::kOut;
  Status status = co_await engine_.Run({.direction = direction,
                                        .urgency = CopyUrgency::kDemand,
                                        .copies = copies,
                                        .pieces = pieces,
                                        .checksums = found});
  if (status.ok()) {
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i].checksum = found[i];
  }
  co_return status;
}

Task<void> HbmTier::Close() {
  if (extents_ != nullptr) extents_->Stop();
  return engine_.Drain();
}

}  // namespace terrace
