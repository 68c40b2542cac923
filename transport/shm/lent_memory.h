// LentMemory: a frame of the daemon's that this client may read for a while.
//
// Model. The client maps extents of its tenant, read-only; those in the memory of a GPU as the
// driver maps them, which is for writing, too. The daemon may end a lease at any time (too old, the
// client seemed dead): the bytes then change under the reader, who learns it from Intact. So: read,
// then ask Intact; only when it says yes were the bytes the block. Memory of a GPU is nobody's word
// any more when its daemon has gone, or the connection to it.
//
// Lifetime: keeps its mapping and the shared page alive, also past the connection.
// Thread: any; Release once.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>

#include "base/device_mapping.h"
#include "base/link.h"
#include "base/result.h"
#include "transport/shm/daemon_life.h"
#include "transport/shm/sealed_memory.h"
#include "transport/shm/shared_page.h"
#include "transport/socket.h"

namespace terrace {

/// What memory of GPUs that a connection lends hangs on.
struct DeviceSession {
  std::shared_ptr<const DaemonProcess> daemon;
  std::atomic<bool> over{false};  ///< the connection has ended
  /// Of a daemon that is about to exit the GPU may be gone before its process is.
  [[nodiscard]] bool Lives() const noexcept {
    return !over && !daemon->Exited() && !daemon->Exiting();
  }
};

/// An extent of the daemon's, mapped for reading.
class ExtentMapping {
 public:
  /// kIo with errno; kInvalid when the memory is smaller than `bytes`, or not sealed.
  static Result<std::shared_ptr<const ExtentMapping>> Map(int fd, std::uint64_t bytes);
  /// Memory of a GPU. `held` is closed once it is not mapped any more.
  static std::shared_ptr<const ExtentMapping> OfDevice(
      std::shared_ptr<const DeviceMapping> mapping, UniqueFd held,
      std::shared_ptr<const DeviceSession> session);
  ~ExtentMapping();
  ExtentMapping(const ExtentMapping&) = delete;
  ExtentMapping& operator=(const ExtentMapping&) = delete;
  /// Of the host, or of the GPU `gpu`.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    if (device_ != nullptr) return device_->bytes();
    return {mapping_.begin, size_};
  }
  /// UUID; empty: it is memory of the host.
  [[nodiscard]] std::string_view gpu() const noexcept {
    return device_ == nullptr ? std::string_view() : device_->gpu();
  }
  /// The daemon still vouches for the memory. Of a GPU's, reads /proc: some microseconds.
  [[nodiscard]] bool Vouched() const noexcept { return session_ == nullptr || session_->Lives(); }
  /// What `make` returns is destroyed before the memory is unmapped: a registration of it
  /// somewhere, for instance. Only the first that is made stays; while there is none, each caller
  /// tries.
  /// @return whether there is one now.
  bool Attach(const std::function<std::shared_ptr<void>()>& make) const;

 private:
  ExtentMapping(SealedMapping mapping, std::size_t size) : mapping_(mapping), size_(size) {}
  const SealedMapping mapping_{};
  const std::size_t size_ = 0;
  // Of a GPU's, with all of these; in this order, the last goes first.
  UniqueFd held_;
  std::shared_ptr<const DeviceMapping> device_;
  std::shared_ptr<const DeviceSession> session_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<void> attached_;  // guarded by mutex_
};

class LentMemory {
 public:
  /// kInvalid when the loan does not lie within its extent, or names no slot.
  static Result<std::unique_ptr<LentMemory>> Make(const Loan& loan,
                                                  std::shared_ptr<SharedPage> page,
                                                  std::shared_ptr<const ExtentMapping> extent);
  /// Tells the daemon that a lease is not needed any more. REQUIRES: slot < kLeaseSlots.
  static void GiveBack(SharedLayout& page, std::uint32_t slot, std::uint32_t generation) noexcept;
  /// Releases.
  ~LentMemory() { Release(); }
  LentMemory(const LentMemory&) = delete;
  LentMemory& operator=(const LentMemory&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// True: what was read before this call was the block.
  [[nodiscard]] bool Intact() const noexcept {
    std::atomic_thread_fence(std::memory_order_acquire);
    return page_->layout().generations[loan_.slot].load(std::memory_order_acquire) ==
               loan_.generation &&
           extent_->Vouched();
  }
  /// Gives it back; the daemon sees it with the next request, or within some 20 ms. As Intact, and
  /// false when it was released before. In a child of the process that it was lent to it gives
  /// nothing back, and answers false.
  bool Release() noexcept;
  [[nodiscard]] bool released() const noexcept { return released_.load(); }
  [[nodiscard]] const ExtentMapping& extent() const noexcept { return *extent_; }

 private:
  LentMemory(const Loan& loan, std::shared_ptr<SharedPage> page,
             std::shared_ptr<const ExtentMapping> extent);

  const Loan loan_;
  const pid_t process_;
  const std::shared_ptr<SharedPage> page_;
  const std::shared_ptr<const ExtentMapping> extent_;
  std::span<const std::byte> bytes_;
  std::atomic<bool> released_{false};
};

}  // namespace terrace
