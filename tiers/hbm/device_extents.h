// DeviceExtents: a pool of a GPU that clients may map, as allocations of their own: its extents.
//
// Model. Who maps an allocation may read and write all of it, at any time, as often as he likes:
// its handle is good for as long as it is allocated. So an extent that changes its owner becomes
// other memory: it is freed and allocated anew, zeroed, which nobody has a handle of.
//
//   D1. Memory that clients have mapped is not freed; CUDA promises nothing for that. With the
//       handle of an extent each client gets the end of a pipe, and keeps it open for as long as it
//       has the extent mapped. Its last copy goes with the client, however that ends.
//   D2. Replace waits for that for at most `patience`, on a thread, or the extent stays as it is.
//   D3. Never is more memory in use than the pool's. What cannot be had is tried again every
//       `patience` / 10, until it can or this object goes.
//   D4. At the end what is still mapped is not freed: the driver does that after the process.
//
// Memory: a multiple of 2 MiB each, so that no other allocation shares its pages. Thread: the
// owning reactor's, but for Create and the destructor; from failures() to failure() any. The thread
// of D2 exists from the first Replace on, and touches only the extent that is being replaced.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/link.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "tiers/dram/extent_thread.h"
#include "tiers/dram/slab_shape.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

class DeviceExtents {
 public:
  static constexpr std::size_t kPipesMax = 8;  ///< of an extent

  /// Allocates all extents. kRetry when the device has not so much. Blocks. `device` outlives it.
  static Result<std::unique_ptr<DeviceExtents>> Create(DeviceMemory& device,
                                                       const ExtentGeometry& geometry,
                                                       Nanos patience);
  /// Waits for an extent being allocated. REQUIRES: no batch in flight uses the memory.
  ~DeviceExtents();
  DeviceExtents(const DeviceExtents&) = delete;
  DeviceExtents& operator=(const DeviceExtents&) = delete;

  /// REQUIRES: not being replaced.
  [[nodiscard]] std::byte* At(std::uint32_t extent) const noexcept {
    return extents_[extent].memory;
  }
  /// What a client needs to map an extent; all of it stays this object's, until Replace of the
  /// extent. kUnsupported when the device cannot export it, kIo with errno. kRetry: clients have
  /// kept it through kPipesMax replacements that were given up. Blocks for microseconds.
  Result<SharedExtent> Share(std::uint32_t extent);
  /// No replacement is under way or waits to be taken.
  [[nodiscard]] bool Idle() const noexcept { return thread_.Idle(); }
  /// Begins to give the extent other memory; false: there is no thread to be had. REQUIRES: Idle;
  /// nobody uses the extent until Take names it.
  bool Replace(std::uint32_t extent);
  /// What ended since it was last asked. One load when nothing did.
  std::optional<ExtentThread::Done> Take() { return thread_.Take(); }
  /// The thread is in a call of the driver's, which may not return.
  [[nodiscard]] bool InDriver() const noexcept { return in_driver_; }
  /// No extent is replaced from now on; one that waits stays taken. Does not wait.
  void Stop() { thread_.Stop(); }

  /// Tries to get memory that failed.
  [[nodiscard]] std::uint64_t failures() const noexcept { return failures_.load(); }
  /// Of an extent whose memory was freed, and there is none in its place now.
  [[nodiscard]] std::uint64_t away_bytes() const noexcept { return away_bytes_.load(); }
  /// Why the last of those tries failed.
  [[nodiscard]] Status failure() const;

 private:
  struct Extent {
    std::byte* memory = nullptr;
    std::uint64_t bytes = 0;
    DeviceExport exported;  ///< of this memory, once it was shared
    UniqueFd given;         ///< the end that clients get copies of; none: it is not shared now
    std::vector<UniqueFd> kept{};  ///< the other ends: each hangs up when no copy is left
  };

  DeviceExtents(DeviceMemory& device, Nanos patience)
      : device_(device),
        thread_(patience, [this](std::uint32_t extent) { return ReplaceNow(extent); }) {}
  std::optional<bool> ReplaceNow(std::uint32_t extent);
  void NoteFailure(const Status& why);
  /// Forgets the pipes that no client has any more; true: there is none left.
  static bool LetGo(Extent& extent);

  DeviceMemory& device_;
  std::vector<Extent> extents_;
  mutable std::mutex mutex_;
  Status failure_;  ///< under mutex_
  std::atomic<bool> in_driver_ = false;
  std::atomic<std::uint64_t> failures_ = 0;
  std::atomic<std::uint64_t> away_bytes_ = 0;
  ExtentThread thread_;  ///< last: it ends before what it works with
};

}  // namespace terrace
