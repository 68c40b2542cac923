// HbmTier: one GPU's pool of device memory, cut into frames that hold one block each.
//
// Model. The pool is cut as the DRAM arena is (slab_allocator.h). One that is not lendable is one
// allocation of one owner, and shown to no client. What is in a frame is the owner's to know; this
// class moves bytes and checks them. Every Fill, Read, CopyTo and Check compares checksums that the
// GPU computed with those that the owner kept since the block was put.
//
//   H1. A frame's bytes are touched only between Allocate and Free of that frame; a frame is freed
//       when no Fill, Read or CopyTo of it is under way.
//   H2. Host memory that is copied from or to is pinned (Pin): else kUnsupported, and nothing
//       moves.
//   H3. A GPU that is lost takes the tier offline: health() says why, calls answer kIo, and frames
//       are only there to be freed.
//   H4. Clients of the owner of an extent of a lendable pool may map it, and then write it. So an
//       extent that was shared lies in memory that no other owner has or had there, and another
//       gets it as fresh memory, once nobody has it mapped (device_extents.h), as of FrameArena A5
//       to A7. What a client has broken is found by the checksums.
//
// Thread: the scheduler's that is current, but for Create, Pin, Unpin and the destructor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/device_region.h"
#include "base/result.h"
#include "base/task.h"
#include "tiers/dram/slab_allocator.h"
#include "tiers/hbm/copy_engine.h"
#include "tiers/hbm/device_extents.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

struct HbmOptions {
  std::uint64_t capacity_bytes = 0;  ///< of the pool; rounded down to 2 MiB, at least 2 MiB
  CopyLimits copies;
  /// Whether clients may map extents of it.
  bool lendable = false;
  /// Number of its first extent among those that a client may be shown: of pools that one client
  /// sees none twice.
  std::uint32_t first_extent = kDeviceExtentFirst;
  Nanos let_go_patience = 2 * kSecond;  ///< as ArenaOptions::let_go_patience
};

struct HbmStats {
  std::uint64_t capacity_bytes = 0;
  std::uint64_t used_bytes = 0;  ///< of frames, rounded sizes
  std::uint64_t frames = 0;
  std::uint64_t corrupt = 0;             ///< blocks whose bytes did not have their checksums
  std::uint64_t extents_shared = 0;      ///< that clients may have mapped
  std::uint64_t extents_replaced = 0;    ///< since the start, as the next
  std::uint64_t extents_not_let_go = 0;  ///< replacements given up: a client kept the memory
  std::uint64_t renewal_failures = 0;    ///< tries to get memory for an extent that was freed
  std::uint64_t away_bytes = 0;          ///< of such an extent now: the pool lacks them
};

class HbmTier final : public DeviceCopier, public ExtentSource {
 public:
  /// Allocates the pool. kInvalid names what is wrong with the capacity: below 2 MiB, or more than
  /// the GPU has free. Blocks. The device outlives the tier.
  static Result<std::unique_ptr<HbmTier>> Create(DeviceMemory& device, const HbmOptions& options);
  /// REQUIRES: Close has ended, or nothing was ever moved.
  ~HbmTier();
  HbmTier(const HbmTier&) = delete;
  HbmTier& operator=(const HbmTier&) = delete;

  /// Pins host memory until Unpin or the tier goes, which must be before the memory does. Blocks.
  /// From any thread, as Unpin.
  Status Pin(std::span<std::byte> memory);
  /// REQUIRES: a span that was given to Pin; nothing is copied from or to it.
  void Unpin(std::span<std::byte> memory);
  /// So many bytes from `at` on are pinned. From any thread.
  [[nodiscard]] bool IsPinned(const std::byte* at, std::size_t bytes) const;

  /// Whom memory is for that is shown to nobody.
  static constexpr TenantId kNobody = 0;
  /// A free frame of at least `block_bytes`; kRetry when there is none: free those of
  /// FramesInTheWay and ask again. kInvalid: no frame can be so large. kIo: the tier is offline.
  /// `owner`: whose clients may be lent it (H4); of a lendable pool it finds room in his extents,
  /// and in those that nobody used; else one begins to be replaced for him, and the answer is
  /// kRetry until that is done.
  Result<FrameId> Allocate(std::uint64_t block_bytes, TenantId owner = kNobody);
  /// REQUIRES: allocated, H1.
  void Free(FrameId frame);
  /// Which frames must be freed, `victim` among them, so that Allocate(block_bytes, owner) finds
  /// room, or an extent to replace. Empty: freeing around this victim cannot help. REQUIRES: victim
  /// allocated.
  [[nodiscard]] std::vector<FrameId> FramesInTheWay(FrameId victim, std::uint64_t block_bytes,
                                                    TenantId owner = kNobody);

  [[nodiscard]] bool lendable() const noexcept { return extents_ != nullptr; }
  /// Where a frame lies, for clients of its owner. REQUIRES: lendable, allocated.
  [[nodiscard]] LentPlace PlaceForLending(FrameId frame) const noexcept;
  /// As FrameArena's, of this pool's extents: kExpired, kUnsupported, kIo.
  Result<SharedExtent> ShareExtent(std::uint32_t extent, std::uint32_t edition) override;
  /// As FrameArena's. Called within Allocate: it calls nothing here.
  void OnExtentWanted(std::function<void(std::uint32_t extent, std::uint32_t edition)> wanted) {
    wanted_ = std::move(wanted);
  }
  /// Numbers of its extents: this one, and the next ones.
  [[nodiscard]] std::uint32_t first_extent() const noexcept { return options_.first_extent; }
  [[nodiscard]] std::uint32_t extents() const noexcept { return slabs_.geometry().extents(); }
  /// The number of the extent is one of this pool's.
  [[nodiscard]] bool HasExtent(std::uint32_t extent) const noexcept {
    return extent >= options_.first_extent && extent - options_.first_extent < extents();
  }
  /// The memory of a frame: of the device, not to be followed. REQUIRES: allocated, of that size.
  [[nodiscard]] std::span<std::byte> Memory(FrameId frame, std::uint64_t bytes) const noexcept {
    return {AddressOf(frame), bytes};
  }

  /// Fills a frame with a block. kCorrupt: what stands there now has other checksums, and is of no
  /// use. `checksums`: ChecksumPieceCount(from.size()) of them; they, and the bytes, outlive the
  /// task, as below. Otherwise as CopyEngine::Run. REQUIRES: the frame holds so many bytes.
  Task<Status> Fill(FrameId frame, std::span<const std::byte> from,
                    std::span<const std::uint64_t> checksums, CopyUrgency urgency);
  /// The block in a frame, to host memory. kCorrupt: `to` must not be used. Likewise.
  Task<Status> Read(FrameId frame, std::span<std::byte> to,
                    std::span<const std::uint64_t> checksums, CopyUrgency urgency);
  /// The same, to device memory of a client, which is mapped on this GPU, in several places one
  /// after the other: checked is what the GPU wrote there. `to` outlives the task, too. REQUIRES:
  /// at most CopyBatch::kCopiesMax places, each at a multiple of DevicePiece::kAlignment and, but
  /// for the last, of kChecksumPieceBytes long.
  Task<Status> CopyTo(FrameId frame, std::span<const std::span<std::byte>> to,
                      std::span<const std::uint64_t> checksums);
  /// Whether a frame holds the block of these checksums: kCorrupt if not. Likewise.
  Task<Status> Check(FrameId frame, std::uint64_t bytes, std::span<const std::uint64_t> checksums);
  /// All that frames lie in, for a NIC that is to read them there. REQUIRES: not lendable, as that
  /// memory does not stay the same.
  [[nodiscard]] DevicePool Pool();
  /// As of DeviceCopier: between pinned memory of the host and memory that is mapped on this GPU.
  Task<Status> Copy(Way way, std::span<const Part> parts, std::span<Sum> sums) override;
  /// Ends when nothing is under way. No call after it.
  Task<void> Close();

  /// Nothing is under way: Close ends at once.
  [[nodiscard]] bool Idle() const noexcept {
    return engine_.Idle() && (extents_ == nullptr || !extents_->InDriver());
  }
  /// As CopyEngine::OnOffline.
  void OnOffline(std::function<void()> offline) { engine_.OnOffline(std::move(offline)); }

  [[nodiscard]] const Status& health() const noexcept { return engine_.health(); }
  [[nodiscard]] const std::string& name() const noexcept { return device_.name(); }
  [[nodiscard]] DeviceMemory& device() noexcept { return device_; }
  [[nodiscard]] HbmStats Stats() const noexcept;
  /// Why memory is away (HbmStats).
  [[nodiscard]] Status WhyAway() const {
    return extents_ == nullptr ? Status() : extents_->failure();
  }
  [[nodiscard]] const CopyCounters& copies() const noexcept { return engine_.counters(); }

 private:
  HbmTier(DeviceMemory& device, const HbmOptions& options);
  /// Allocates the pool.
  Status TakeMemory();
  [[nodiscard]] std::byte* AddressOf(FrameId frame) const noexcept {
    if (extents_ == nullptr) return pool_ + static_cast<std::uint64_t>(frame) * kPageBytes;
    const std::uint32_t extent = slabs_.ExtentOfFrame(frame);
    return extents_->At(extent) + std::uint64_t{PageInExtent(frame, extent)} * kPageBytes;
  }
  [[nodiscard]] std::uint32_t PageInExtent(FrameId frame, std::uint32_t extent) const noexcept {
    return frame - extent * slabs_.geometry().extent_pages;
  }
  /// Starts to replace the memory of an extent that such a frame would fit, if there is one.
  void ReplaceFor(TenantId owner, std::uint32_t frame_pages);
  /// Takes in what was replaced meanwhile.
  void TakeReplaced();
  [[nodiscard]] Status NotPinned() const;
  /// Runs one copy, and compares the checksums of what then stands at `checked`, device memory.
  Task<Status> MoveChecked(CopyDirection direction, CopyUrgency urgency, DeviceCopy copy,
                           const std::byte* checked, std::span<const std::uint64_t> checksums);
  /// Runs a request, whose checksums are to be as `expected`.
  Task<Status> RunChecked(CopyRequest request, std::span<const std::uint64_t> expected);

  DeviceMemory& device_;
  const HbmOptions options_;
  std::byte* pool_ = nullptr;               ///< all of it, unless lendable
  std::unique_ptr<DeviceExtents> extents_;  ///< of a lendable one; null
  std::vector<bool> shared_;                ///< by extent: clients may have it mapped
  std::function<void(std::uint32_t, std::uint32_t)> wanted_;
  SlabAllocator slabs_;
  CopyEngine engine_;
  HbmStats stats_;
  mutable std::mutex mutex_;
  std::map<const std::byte*, std::span<std::byte>> pinned_;  ///< by first byte; under mutex_
};

}  // namespace terrace
