// FrameArena: one reactor's DRAM, cut into frames that hold one block each.
//
// Model. The arena is made of *extents* (1 GiB memfds, smaller when the whole arena is small), each
// owned by at most one tenant. An extent is cut into *units*; a *slab* is a row of units that holds
// frames of one size. Allocation pops a free frame of the right slab: O(1). Sizes are rounded up to
// 4 KiB; for block sizes that are multiples of 4 KiB from 64 KiB on, at most 5 % of a slab is lost.
// A slab whose last frame was freed becomes free units again, an extent whose last slab went
// belongs to nobody: so one size's slabs and one tenant's extents give way to another's.
//
//   A1. A frame's bytes and header are touched only between Allocate and Free of that frame.
//   A2. A pinned frame is never freed: Free REQUIRES pins == 0 (checked).
//   A3. Frame headers live in a memfd too; no pointer is ever stored in shared memory.
//   A4. Memory is touched (and so huge pages are gained) when an extent is made, not on a flow.
//   A5. Clients of the tenant that owns an extent of a lendable arena may map it, read-only
//       (ShareExtent); headers are never shared. Memory that a tenant used there is never another
//       tenant's: whoever may still read it sees that tenant's bytes only, whatever he promised,
//       and who is given it finds nobody else's, in no corner. So an extent that was used belongs
//       to its tenant, shared or not, also without frames.
//   A6. Another tenant gets such an extent with other memory. OnExtentWanted tells the clients to
//       let go; a thread of the arena waits for them, frees the old memory and touches new, one
//       extent at a time (extent_replacer.h). Clients that keep the memory keep the extent with
//       their tenant: never is more memory in use than the arena's capacity.
//   A7. An extent's edition names one tenant's time with one memory (slab_allocator.h). Who asks by
//       a place that he was told of earlier cannot get another tenant's bytes.
//
// Thread: the owning reactor's, except Stats() and MeasureHugePages(). The thread of A6 exists from
// the first replacement on, and touches only extents that nobody has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "base/link.h"
#include "base/result.h"

namespace terrace {

/// Names a frame: the number of its first 4 KiB page within the arena.
using FrameId = std::uint32_t;
inline constexpr FrameId kNoFrame = 0xffffffff;

using TenantId = std::uint32_t;

/// What a frame holds. The full key is compared on every hit, so that a collision of locators is
/// a miss. `checksums` follow the header: ChecksumPieceCount(block_bytes) of them.
struct FrameHeader {
  std::uint32_t pins = 0;          ///< transfers and flows that use the frame now
  std::uint32_t namespace_id = 0;  ///< 0: nothing published here
  std::uint64_t block_bytes = 0;   ///< payload bytes (the frame may be up to 4 KiB longer)
  std::uint32_t group = 0;
  std::uint32_t shard = 0;
  std::uint32_t position = 0;  ///< index of the block in its chain
  std::uint32_t valid_tokens = 0;
  std::uint32_t block_id = 0;  ///< the owner's number of the block (index entry)
  TenantId tenant = 0;
  std::uint8_t key_bytes = 0;
  std::byte key[kKeyBytesMax] = {};
};

struct ArenaOptions {
  std::uint64_t capacity_bytes = 0;         ///< rounded down to 2 MiB; at least 2 MiB
  std::uint64_t extent_bytes = 1ULL << 30;  ///< largest extent; the arena picks a smaller power
                                            ///< of two so that it has at least 16, min 2 MiB
  bool huge_pages = true;                   ///< MADV_HUGEPAGE, then plain pages
  std::string name = "dram";                ///< shown in /proc/PID/maps
  /// Whether clients may map extents: then tenants get only memory that no other used, and wait
  /// for it while it is touched.
  bool lendable = false;
  /// How long clients have to let go of a shared extent that another tenant wants, ns: four
  /// heartbeats. Other replacements wait meanwhile.
  Nanos let_go_patience = 2 * kSecond;
};

struct ArenaStats {
  std::uint64_t capacity_bytes = 0;  ///< of all extents
  std::uint64_t used_bytes = 0;      ///< frames allocated, rounded sizes
  std::uint64_t payload_bytes = 0;   ///< frames allocated, block sizes
  std::uint64_t header_bytes = 0;    ///< memory of headers
  std::uint64_t huge_bytes = 0;      ///< backed by huge pages, as last measured
  std::uint64_t frames = 0;
  std::uint64_t extents = 0;
  std::uint64_t extents_free = 0;       ///< without frames, held back for nobody
  std::uint64_t extents_shared = 0;     ///< that clients may have mapped
  std::uint64_t extents_replacing = 0;  ///< now: 0 or 1
  // Since the start:
  std::uint64_t extents_replaced = 0;
  std::uint64_t extents_not_let_go = 0;  ///< replacements given up: a client kept the memory
  std::uint64_t replace_failures = 0;    ///< tries to get an extent's new memory that failed
};

class ExtentMemoryUser;

class FrameArena final : public Hold::Owner, public ExtentSource {
 public:
  /// kInvalid when the capacity is too small, kIo with errno when memory cannot be had.
  static Result<std::unique_ptr<FrameArena>> Create(const ArenaOptions& options);
  ~FrameArena();
  FrameArena(const FrameArena&) = delete;
  FrameArena& operator=(const FrameArena&) = delete;

  /// The largest block that an arena of these options can hold, bytes: one extent at most.
  [[nodiscard]] static std::uint64_t BlockBytesMaxOf(const ArenaOptions& options) noexcept;
  /// The largest block this arena can hold, bytes.
  [[nodiscard]] std::uint64_t BlockBytesMax() const noexcept;

  /// A free frame of at least `block_bytes`, header reset but for block_bytes and tenant, payload
  /// undefined. kRetry when there is none: evict (see FramesInTheWay) and ask again. Memory
  /// that another tenant used in a lendable arena is no room; it is replaced (A6) if nothing else
  /// is.
  Result<FrameId> Allocate(TenantId tenant, std::uint64_t block_bytes);
  /// REQUIRES: allocated, pins == 0.
  void Free(FrameId frame);

  /// Which frames must be freed, `victim` among them, so that Allocate(tenant, block_bytes) finds
  /// room: the victim alone when its frame fits, else every frame of its slab (sizes give way) or
  /// of the units or the whole extent needed (tenants give way). Empty: freeing around this victim
  /// cannot help. The caller checks pins. At most one extent's frames.
  /// When another tenant's extent gives way in a lendable arena, Allocate starts to replace it and
  /// answers kRetry until that is done. Meanwhile no other one gives way, nor does one whose
  /// clients did not let go lately: nothing is freed in vain.
  std::vector<FrameId> FramesInTheWay(FrameId victim, TenantId tenant, std::uint64_t block_bytes);

  [[nodiscard]] std::span<std::byte> Payload(FrameId frame) noexcept;  ///< block_bytes long
  /// The same, with the rest of its last page, for devices; what is there is undefined.
  [[nodiscard]] std::span<std::byte> PayloadPages(FrameId frame) noexcept;
  [[nodiscard]] FrameHeader& Header(FrameId frame) noexcept;
  [[nodiscard]] std::span<std::uint64_t> Checksums(FrameId frame) noexcept;
  /// Where the payloads lie, by extent, for devices that pin it; with `lendable` its pages are
  /// replaced (A6).
  [[nodiscard]] std::vector<std::span<std::byte>> Memory();
  /// Told of each replacement, on the thread of A6, until StopReplacing. Before the first Allocate.
  void OnReplaced(ExtentMemoryUser* user);
  /// Waits for an extent being touched; from now on no extent is replaced.
  void StopReplacing();
  /// Asks the CPU to load the header's first lines, for batched lookups.
  void PrefetchHeader(FrameId frame) const noexcept;

  /// Pins the frame until the Hold goes.
  [[nodiscard]] Hold Pin(FrameId frame);
  /// Of all frames, now.
  [[nodiscard]] std::uint64_t Pins() const noexcept;
  /// The frame that a Hold of Pin is of. REQUIRES: such a Hold, not moved from.
  [[nodiscard]] FrameId FrameOf(const Hold& pin) const noexcept;
  /// Called, if set, when a frame's last pin goes: the owner may free what it doomed meanwhile.
  void OnUnpinned(std::function<void(FrameId)> unpinned) { unpinned_ = std::move(unpinned); }

  /// REQUIRES: allocated (not checked: once per block that is lent).
  [[nodiscard]] LentPlace PlaceForLending(FrameId frame) const noexcept;
  /// A descriptor of the extent's memory, read-only and sealed, for a client of the tenant that
  /// owns it. The descriptor stays the arena's, and open until OnExtentWanted names the extent:
  /// pass it on at once. kExpired when the extent is of another edition now or being replaced,
  /// kUnsupported when the arena is not lendable, or where the kernel cannot seal memory or tell
  /// who has it, kIo with errno. Blocks for microseconds.
  Result<SharedExtent> ShareExtent(std::uint32_t extent, std::uint32_t edition) override;
  /// Called, if set, when a shared extent is wanted by another tenant: its clients must unmap it
  /// and close its descriptor. It has no frames. Should they not within `let_go_patience`, it is
  /// their tenant's again, of the same edition. Called within Allocate: it calls nothing here.
  void OnExtentWanted(std::function<void(std::uint32_t extent, std::uint32_t edition)> wanted) {
    wanted_ = std::move(wanted);
  }
  /// Takes in what was replaced meanwhile; Allocate does so too.
  void Poll();

  /// Counters; from any thread. `huge_bytes` is measured by MeasureHugePages.
  [[nodiscard]] ArenaStats Stats() const;
  /// Reads the share of huge pages from /proc/self/smaps. Blocks for milliseconds: not on a flow.
  void MeasureHugePages();

 private:
  void Release(std::uint64_t token) noexcept override;
  explicit FrameArena(const ArenaOptions& options);
  /// Starts to replace the memory of an extent that such a frame would fit, if there is one.
  void ReplaceFor(TenantId tenant, std::uint32_t frame_pages);
  void CountExtents();
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::function<void(FrameId)> unpinned_;
  std::function<void(std::uint32_t, std::uint32_t)> wanted_;
};

}  // namespace terrace
