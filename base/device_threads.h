// ThreadDevice: a Device on threads that block in preadv and pwritev, where io_uring is refused
// (containers, gVisor, epoll reactors).
//
// Thread: calls on the reactor's thread; the I/O on `threads` threads of the device's own, which
// answer through Reactor::Post. Lifetime: the reactor outlives the device, the device outlives its
// calls (checked), and the reactor must run until they have ended.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/device.h"
#include "base/device_buffers.h"
#include "base/device_file.h"
#include "base/reactor.h"
#include "base/result.h"
#include "base/wait.h"

namespace terrace {

class ThreadDevice final : public Device {
 public:
  /// See DeviceFile::Open. REQUIRES: 1 <= threads <= 64.
  static Result<std::unique_ptr<ThreadDevice>> Open(Reactor& reactor, const DeviceOptions& options,
                                                    unsigned threads = 4);
  /// On what is open already, a slice for example. Never fails; a Result as the others.
  static Result<std::unique_ptr<ThreadDevice>> Open(Reactor& reactor, DeviceFile file,
                                                    unsigned threads = 4);
  ~ThreadDevice() override;
  ThreadDevice(const ThreadDevice&) = delete;
  ThreadDevice& operator=(const ThreadDevice&) = delete;

  [[nodiscard]] const std::string& name() const noexcept override { return file_.name(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return file_.size(); }
  [[nodiscard]] std::uint32_t alignment() const noexcept override { return file_.alignment(); }

  using Device::Read;
  using Device::Write;
  Task<Status> Read(std::uint64_t offset, std::span<std::byte> first,
                    std::span<std::byte> second) override;
  Task<Status> Write(std::uint64_t offset, std::span<const std::byte> first,
                     std::span<const std::byte> second) override;
  Task<Status> Sync() override;

 private:
  enum class Kind : std::uint8_t { kRead, kWrite, kSync };
  struct Job;

  ThreadDevice(Reactor& reactor, DeviceFile file) : reactor_(reactor), file_(std::move(file)) {}
  Task<Status> Do(Kind kind, std::uint64_t offset, DeviceBuffers buffers);
  void Work();
  void Perform(Job& job) const;

  /// Calls in the threads' queue; more wait in order on the reactor.
  static constexpr std::size_t kQueuedMax = 64;

  Reactor& reactor_;
  DeviceFile file_;
  Semaphore queue_slots_{kQueuedMax};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> jobs_;  // guarded by mutex_
  bool stop_ = false;      // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace terrace
