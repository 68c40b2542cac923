// DeviceMemory: one GPU as the HBM tier sees it: its memory, copies to and from pinned memory of
// the host, and checksums computed where the bytes lie.
//
// Model. No call waits for the GPU but the constructor, the destructor and what says "blocks": a
// batch is submitted, and asked about with Poll until it has ended. Batches between host and device
// of one direction and urgency run in the order of their submission; others run beside each other,
// so none of them may touch what another writes. Addresses of device memory are opaque: the host
// never follows them (of the double it may).
//
// Failure. A failure that the GPU does not recover from (a lost context, an illegal address, memory
// errors: "sticky") is kept: health() tells it, every later call answers it, and batches in flight
// end with it, once nothing of them runs any more. Running out of memory is not one.
//
// Memory of another process. A process exports memory of the GPU, another one of the same host maps
// it; its bytes are then as good as the mapper's own for batches. The driver keeps the memory while
// it is mapped, but whose it is must not free it before: CUDA promises nothing for that.
//
// Thread: one at a time, but for what is said to be any's; CopyEngine (copy_engine.h) drives it
// from a reactor. PinHost and UnpinHost from any other beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/device_export.h"
#include "base/device_region.h"
#include "base/result.h"
#include "base/status.h"

namespace terrace {

enum class CopyDirection : std::uint8_t {
  kIn,      ///< from the host to the device
  kOut,     ///< from the device to the host
  kWithin,  ///< from device memory to device memory
};
inline constexpr std::size_t kCopyDirections = 3;

enum class CopyUrgency : std::uint8_t {
  kDemand,      ///< somebody waits for it
  kBackground,  ///< a move between the tiers
};
inline constexpr std::size_t kCopyUrgencies = 2;

/// Both places stay as they are until the batch has ended; of the host's side is all pinned.
struct DeviceCopy {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::size_t bytes = 0;
};

/// Device memory to be checksummed as one piece.
struct DevicePiece {
  /// Of `at`; pieces of at most kShortBytes may lie anywhere.
  static constexpr std::size_t kAlignment = DeviceCopier::Sum::kAlignment;
  static constexpr std::uint32_t kShortBytes = DeviceCopier::Sum::kShortBytes;
  const std::byte* at = nullptr;
  std::uint32_t bytes = 0;  ///< at most kChecksumPieceBytes
};

/// Copies, and pieces whose Checksum64 is computed on the device: after the copies, except of kOut,
/// where both read the same memory side by side, and of copies within the device that the pieces
/// cover: those may be summed as they are read, and written then.
struct CopyBatch {
  static constexpr std::size_t kCopiesMax = 64;
  static constexpr std::size_t kPiecesMax = 512;
  CopyDirection direction = CopyDirection::kIn;
  CopyUrgency urgency = CopyUrgency::kBackground;
  std::span<const DeviceCopy> copies;  ///< read during Submit only, as `pieces`
  std::span<const DevicePiece> pieces;
};

struct DeviceSpace {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;  ///< for whoever asks first
};

class DeviceMemory {
 public:
  /// Batches in flight at once, at most.
  static constexpr std::size_t kSlots = 16;

  virtual ~DeviceMemory() = default;
  /// For messages and metrics, e.g. "gpu 0 (NVIDIA H200)".
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  /// The same in every process of the host, as nvidia-smi -L names it: "GPU-...".
  [[nodiscard]] virtual const std::string& uuid() const noexcept = 0;
  [[nodiscard]] virtual DeviceMemoryKind kind() const noexcept = 0;
  /// The first failure that it does not recover from; ok when there was none.
  [[nodiscard]] virtual const Status& health() const noexcept = 0;
  virtual Result<DeviceSpace> Space() = 0;

  /// Device memory at a multiple of 256 bytes. kRetry when the device has not so much. Blocks.
  virtual Result<std::byte*> Allocate(std::uint64_t bytes) = 0;
  /// Blocks. REQUIRES: from Allocate or Renew, no batch in flight uses it.
  virtual Status Free(std::byte* memory) = 0;
  /// Frees `old`, unless it is null, and allocates zeros in its place, which nobody knows who knew
  /// the old: it has another export. kRetry when the device has not so much, and kIo: `old` is gone
  /// all the same. Blocks, and waits for all that is in flight. Any thread; health() is not
  /// changed. REQUIRES: as Free.
  virtual Result<std::byte*> Renew(std::byte* old, std::uint64_t bytes) = 0;
  /// Pins memory of the host, once, for the copies of all batches to come. Blocks: about 40 us a
  /// MiB. The memory is not unmapped before UnpinHost.
  virtual Status PinHost(std::span<std::byte> memory) = 0;
  /// Blocks. REQUIRES: pinned, no batch in flight uses it.
  virtual Status UnpinHost(std::span<std::byte> memory) = 0;

  /// What another process needs to map `memory`, which lies in an allocation of this one. kInvalid:
  /// it does not, or beyond its end; kUnsupported: memory of a kind that cannot be mapped
  /// elsewhere. Any thread.
  virtual Result<DeviceExport> Export(std::span<const std::byte> memory) = 0;
  /// Maps what another process exported; of one allocation there is one mapping, counted. kInvalid
  /// names the field that is wrong: of another GPU, no handle, or more bytes than there are;
  /// kPeerDead: whose it was is gone, or has freed it. The device is none the worse. Blocks, up to
  /// milliseconds. Any thread.
  virtual Result<std::span<std::byte>> OpenExport(const DeviceExport& exported) = 0;
  /// Blocks. Any thread. REQUIRES: from OpenExport, no batch in flight uses it.
  virtual void CloseExport(std::span<std::byte> memory) = 0;

  /// Hands the batch to the device; the answer is its slot. kRetry when none is free. REQUIRES: a
  /// batch within its limits, with copies or pieces.
  virtual Result<std::size_t> Submit(const CopyBatch& batch) = 0;
  /// How the batch ended, and the slot is free again; nothing while it is under way. When ok,
  /// checksums[i] is that of pieces[i]. REQUIRES: as many checksums as pieces.
  virtual std::optional<Status> Poll(std::size_t slot, std::span<std::uint64_t> checksums) = 0;
  /// How long it is of no use to ask again, ns; 0: ask as often as the loop turns.
  [[nodiscard]] virtual Nanos PollPause() const noexcept = 0;
};

}  // namespace terrace
