#include "base/device_threads.h"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace terrace {

namespace {
constexpr std::uint32_t kRetriesMax = 8;  // of one call, as Device says
}  // namespace

/// One call; it lives in the caller's coroutine.
struct ThreadDevice::Job {
  Kind kind;
  std::uint64_t offset;  ///< on the descriptor, not in a slice
  DeviceBuffers buffers;
  Event done;
  // Written by the thread, read after `done`.
  int error = 0;
  bool cut_short = false;
};

Result<std::unique_ptr<ThreadDevice>> ThreadDevice::Open(Reactor& reactor,
                                                         const DeviceOptions& options,
                                                         unsigned threads) {
  Result<DeviceFile> file = DeviceFile::Open(options);
  if (!file.ok()) return file.status();
  return Open(reactor, std::move(file).value(), threads);
}

Result<std::unique_ptr<ThreadDevice>> ThreadDevice::Open(Reactor& reactor, DeviceFile file,
                                                         unsigned threads) {
  TERRACE_CHECK(threads >= 1 && threads <= 64);
  std::unique_ptr<ThreadDevice> device(new ThreadDevice(reactor, std::move(file)));
  for (unsigned i = 0; i < threads; ++i) {
    device->threads_.emplace_back([raw = device.get()] { raw->Work(); });
  }
  return device;
}

ThreadDevice::~ThreadDevice() {
  TERRACE_CHECK(queue_slots_.free() == kQueuedMax);
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadDevice::Work() {
  ::pthread_setname_np(::pthread_self(), "terrace-device");
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job* const job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    Perform(*job);
    reactor_.Post([job] { job->done.Set(); });
    lock.lock();
  }
}

void ThreadDevice::Perform(Job& job) const {
  const int descriptor = file_.descriptor();
  if (job.kind == Kind::kSync) {
    if (::fdatasync(descriptor) != 0) job.error = errno;
    return;
  }
  std::uint32_t retries = 0;
  while (job.buffers.size() > 0) {
    const std::size_t chunk = DeviceOperationBytes(job.buffers.size());
    std::array<iovec, 2> vectors{};
    DeviceBuffers rest = job.buffers;
    const auto count = static_cast<int>(rest.Take(chunk).ToVectors(vectors));
    const auto offset = static_cast<off_t>(job.offset);
    const ssize_t moved = job.kind == Kind::kRead
                              ? ::preadv(descriptor, vectors.data(), count, offset)
                              : ::pwritev(descriptor, vectors.data(), count, offset);
    const int error = moved < 0 ? errno : 0;
    if (moved == 0 || (moved < 0 && error != EINTR && error != EAGAIN)) {
      job.error = error;
      job.cut_short = moved == 0;
      return;
    }
    if (moved > 0) {
      job.offset += static_cast<std::uint64_t>(moved);
      (void)job.buffers.Take(static_cast<std::size_t>(moved));
      if (static_cast<std::size_t>(moved) == chunk) continue;
    }
    if (retries++ == kRetriesMax) {
      job.error = error;
      job.cut_short = moved > 0;
      return;
    }
  }
}

Task<Status> ThreadDevice::Read(std::uint64_t offset, std::span<std::byte> first,
                                std::span<std::byte> second) {
  return Do(Kind::kRead, offset, {.first = first, .second = second});
}

Task<Status> ThreadDevice::Write(std::uint64_t offset, std::span<const std::byte> first,
                                 std::span<const std::byte> second) {
  return Do(Kind::kWrite, offset, DeviceBuffers::OfWrite(first, second));
}

Task<Status> ThreadDevice::Sync() { return Do(Kind::kSync, 0, {}); }

Task<Status> ThreadDevice::Do(Kind kind, std::uint64_t offset, DeviceBuffers buffers) {
  TERRACE_CHECK(buffers.Fit(offset, size(), alignment()));
  co_await queue_slots_.Acquire();
  Job job{.kind = kind, .offset = file_.start() + offset, .buffers = buffers, .done = {}};
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(&job);
  }
  wake_.notify_one();
  // Without a deadline on purpose: the buffer is the thread's until it has answered.
  (void)co_await job.done.Wait();
  queue_slots_.Release();
  if (job.error == 0 && !job.cut_short) co_return Status::Ok();
  const char* const what = kind == Kind::kRead ? "read" : kind == Kind::kWrite ? "write" : "sync";
  co_return Status(
      StatusCode::kIo,
      "device " + name() + ": " + what + " at " + std::to_string(job.offset) + ": " +
          (job.error != 0 ? std::strerror(job.error) : "moved fewer bytes than asked"));
}

}  // namespace terrace
