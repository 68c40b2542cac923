// DeviceMemory: the memory of one GPU, as one reactor uses it: a pool in it, and copies between the
// pool and the host's pinned arena, that end without anybody having waited.
//
// CudaDeviceMemory is a GPU, HostDeviceMemory its double in host memory, for tests and for hosts
// without a GPU. Used by its reactor's thread alone, but for the counters. No call blocks but
// Allocate, Free, RegisterHost, Export, OpenExported and their opposites, which are for start and
// stop and for the coming and going of clients.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/reactor.h"
#include "base/result.h"
#include "base/status.h"
#include "base/task.h"

namespace terrace {

/// A place in device memory; 0 is none. Arithmetic as of pointers. On the host it is no address.
using DeviceAddress = std::uint64_t;

/// Which copies go first where they queue.
enum class CopyUrgency : std::uint8_t {
  kDemand = 0,      ///< Somebody waits for the bytes.
  kBackground = 1,  ///< Promotions and demotions.
};

/// Memory of another process of this host, as it is passed on: a CUDA IPC handle.
struct ExportedMemory {
  std::array<std::byte, 64> handle{};
  std::uint64_t bytes = 0;
};

class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;

  /// For messages and metrics: "cuda:0 NVIDIA H200", "double:0".
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t total_bytes() const noexcept = 0;
  /// Ok, or why the device is used no more: a sticky error or a lost context. Every call then
  /// answers it at once.
  [[nodiscard]] virtual Status State() const = 0;
  /// What the reactor polls for the ends of copies. Sleeps cost nothing while none is under way.
  [[nodiscard]] virtual Poller& poller() noexcept = 0;

  /// @return kRetry when the device has not so much memory: the message says how much is free.
  virtual Result<DeviceAddress> Allocate(std::uint64_t bytes) = 0;
  virtual void Free(DeviceAddress memory) = 0;
  /// Pins host memory, once, so that copies from and to it need nobody. Copies take any other
  /// memory, too, but slowly. @return kUnsupported when the driver cannot take it.
  virtual Status RegisterHost(std::span<std::byte> memory) = 0;
  virtual void DeregisterHost(std::span<std::byte> memory) = 0;

  // Each ends when the last byte is there. Buffers belong to the device until then; there is no
  // cancel. At most so many are under way as the device was made for: others queue, demand first.
  // `checksums`: of each 256 KiB (base/checksum.h) of what the device has in the end (CopyIn), of
  // what it has (CopyOut, CopyWithin): computed by the device; empty: none are.
  virtual Task<Status> CopyIn(DeviceAddress to, std::span<const std::byte> from,
                              std::span<std::uint64_t> checksums, CopyUrgency urgency) = 0;
  virtual Task<Status> CopyOut(std::span<std::byte> to, DeviceAddress from,
                               std::span<std::uint64_t> checksums, CopyUrgency urgency) = 0;
  /// Between places of the device, memory of OpenExported among them.
  virtual Task<Status> CopyWithin(DeviceAddress to, DeviceAddress from, std::uint64_t bytes,
                                  std::span<std::uint64_t> checksums, CopyUrgency urgency) = 0;
  /// Only the checksums.
  virtual Task<Status> Checksum(DeviceAddress from, std::uint64_t bytes,
                                std::span<std::uint64_t> checksums, CopyUrgency urgency) = 0;

  /// For another process of this host. REQUIRES: of Allocate.
  virtual Result<ExportedMemory> Export(DeviceAddress memory) = 0;
  /// Maps what another process exported. @return kPeerDead when that process is gone, kUnsupported
  /// where the host has no such thing, kInvalid for a handle of this process or of none.
  virtual Result<DeviceAddress> OpenExported(const ExportedMemory& memory) = 0;
  /// REQUIRES: no copy of it is under way.
  virtual void CloseExported(DeviceAddress memory) = 0;
};

}  // namespace terrace
