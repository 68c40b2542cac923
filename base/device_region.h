// DeviceRegion: memory of a client on a GPU of this host, as a Link moves blocks into and out of
// it.
//
// Model. A client exports memory of a GPU (device_export.h), the daemon maps it. What moves are
// copies by that GPU, between the region and frames, which are pinned, or from a block that lies on
// the same GPU; checksums are the GPU's too, of what then stands in device memory. Addresses of
// device memory are opaque here.
//
// Implementation: tools/terraced/gpu_regions.h. Thread: the reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/device_export.h"
#include "base/result.h"
#include "base/task.h"

namespace terrace {

/// What kind of memory a device's is to a NIC: of the double, the host's own.
enum class DeviceMemoryKind : std::uint8_t { kHost, kCuda };

/// What copies between frames and regions of one GPU.
class DeviceCopier {
 public:
  /// Of one call.
  static constexpr std::size_t kPartsMax = 64;
  static constexpr std::size_t kSumsMax = 256;

  struct Part {
    std::byte* device = nullptr;
    std::byte* host = nullptr;  ///< of a frame
    std::uint64_t bytes = 0;
  };
  /// Bytes of device memory, at most 256 KiB; at a multiple of 16 unless they are kShortBytes.
  struct Sum {
    static constexpr std::uint64_t kAlignment = 16;
    static constexpr std::uint64_t kShortBytes = 240;
    const std::byte* device = nullptr;
    std::uint32_t bytes = 0;
    std::uint64_t checksum = 0;  ///< Checksum64 of them, set when the call ended ok
  };
  enum class Way : std::uint8_t { kToDevice, kToHost };

  /// Copies the parts, and sums what then stands at the sums' places; without parts it only sums,
  /// also what lies in frames of the device. The call ends when the GPU touches none of it any
  /// more, however it ends. kIo: the GPU failed; kRetry: too much waits for it. `parts` and `sums`
  /// outlive the task.
  virtual Task<Status> Copy(Way way, std::span<const Part> parts, std::span<Sum> sums) = 0;

 protected:
  ~DeviceCopier() = default;
};

/// Where a GPU keeps blocks for a daemon: memory that a NIC may read them from.
struct DevicePool {
  DeviceCopier* gpu = nullptr;
  std::string name;  ///< of the GPU, for messages
  DeviceMemoryKind kind = DeviceMemoryKind::kHost;
  std::vector<std::span<std::byte>> memory;  ///< its allocations; a block lies in one of them
};

class DeviceRegion {
 public:
  /// Lets the mapping go, elsewhere. REQUIRES: no copy of it is under way.
  virtual ~DeviceRegion() = default;
  [[nodiscard]] virtual DeviceCopier& copier() const noexcept = 0;
  /// Of device memory.
  [[nodiscard]] virtual std::span<std::byte> memory() const noexcept = 0;
};

/// The GPUs that a daemon has, for its Server.
class DeviceRegions {
 public:
  /// Maps what a client exported, on another thread. kUnsupported: the daemon has no such GPU; kIo:
  /// its driver does not answer, and what it maps late is unmapped; kRetry: too much waits for it;
  /// otherwise as DeviceMemory::OpenExport.
  virtual Task<Result<std::shared_ptr<DeviceRegion>>> Open(DeviceExport exported) = 0;
  /// Ok when the regions that were let go before are not mapped any more; kIo and kRetry as above:
  /// they may be.
  virtual Task<Status> Settle() = 0;

 protected:
  ~DeviceRegions() = default;
};

/// A block that lies on a GPU, for a Link that takes it from there. Held until nothing reads it.
class DeviceSource {
 public:
  virtual ~DeviceSource() = default;
  [[nodiscard]] virtual std::uint64_t bytes() const noexcept = 0;
  /// Where it lies, device memory, which nobody writes while this lives.
  [[nodiscard]] virtual std::span<std::byte> memory() const noexcept = 0;
  /// One XXH3-64 per 256 KiB, as the block was put.
  [[nodiscard]] virtual std::span<const std::uint64_t> checksums() const noexcept = 0;
  /// Of the GPU that it lies on.
  [[nodiscard]] virtual DeviceCopier& copier() const noexcept = 0;
  /// Copies the block to these places, one after the other, and compares the checksums of what was
  /// written there: kCorrupt. The call ends when the GPU touches none of it any more. `places`
  /// outlive the task. REQUIRES: together as long as the block; each at a multiple of 16 and, but
  /// for the last, a multiple of 256 KiB long.
  virtual Task<Status> CopyTo(std::span<const std::span<std::byte>> places) = 0;
};

}  // namespace terrace
