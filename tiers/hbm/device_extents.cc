#include "tiers/hbm/device_extents.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/signals_blocked.h"

namespace terrace {
namespace {

/// Time between two looks at who has an extent: longer each time, as of DRAM's.
constexpr Nanos kLookFirst = kMillisecond;
constexpr Nanos kLookLast = 50 * kMillisecond;
/// Of `patience`, between two tries to get memory.
constexpr Nanos kTriesPerPatience = 10;

/// Nobody has the other end any more.
bool HungUp(int descriptor) {
  pollfd asked{.fd = descriptor, .events = 0, .revents = 0};
  return ::poll(&asked, 1, 0) == 1 && (asked.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

}  // namespace

DeviceExtents::File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::unique_ptr<DeviceExtents>> DeviceExtents::Create(DeviceMemory& device,
                                                             const ExtentGeometry& geometry,
                                                             Nanos patience) {
  std::unique_ptr<DeviceExtents> extents(new DeviceExtents(device, patience));
  for (std::uint32_t number = 0; number < geometry.extents(); ++number) {
    const std::uint32_t pages =
        std::min(geometry.extent_pages, geometry.arena_pages - number * geometry.extent_pages);
    const std::uint64_t bytes = std::uint64_t{pages} * kPageBytes;
    const Result<std::byte*> memory = device.Renew(nullptr, bytes);
    if (!memory.ok()) return memory.status();
    extents->extents_.push_back({.memory = *memory, .bytes = bytes, .exported = {}, .given = {}});
  }
  return extents;
}

DeviceExtents::~DeviceExtents() {
  Stop();
  if (thread_.joinable()) thread_.join();
  for (Extent& extent : extents_) {
    extent.given = File();
    if (extent.memory == nullptr || !LetGo(extent)) continue;  // D4
    // Of a lost device nothing can be given back; its driver does that when the process ends.
    [[maybe_unused]] const Status freed = device_.Free(extent.memory);
  }
}

Result<SharedExtent> DeviceExtents::Share(std::uint32_t number) {
  Extent& extent = extents_[number];
  if (extent.exported.handle.empty()) {
    Result<DeviceExport> exported = device_.Export({extent.memory, extent.bytes});
    if (!exported.ok()) return exported.status();
    extent.exported = std::move(*exported);
  }
  if (extent.given.get() < 0) {
    LetGo(extent);
    if (extent.kept.size() >= kPipesMax) {
      return Status(StatusCode::kRetry, "extent " + std::to_string(number) + ": clients keep it");
    }
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
      return Status(StatusCode::kIo, std::string("pipe of a lent extent: ") + std::strerror(errno));
    }
    extent.kept.emplace_back(ends[0]);
    extent.given = File(ends[1]);
  }
  return SharedExtent{
      .descriptor = extent.given.get(), .bytes = extent.bytes, .device = &extent.exported};
}

bool DeviceExtents::Replace(std::uint32_t number) {
  TERRACE_CHECK(Idle());
  const std::lock_guard lock(mutex_);
  if (stop_) return false;
  if (!thread_.joinable()) {
    const SignalsBlocked blocked;
    try {
      thread_ = std::thread([this] { Work(); });
    } catch (const std::system_error&) {
      ++failures_;
      return false;
    }
  }
  extents_[number].given = File();
  working_ = true;
  started_ = number;
  wake_.notify_all();
  return true;
}

std::optional<DeviceExtents::Done> DeviceExtents::Take() {
  if (!done_.load(std::memory_order_acquire)) return std::nullopt;
  const Done done = last_;
  done_.store(false, std::memory_order_release);
  return done;
}

void DeviceExtents::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
}

void DeviceExtents::Work() {
  for (;;) {
    std::uint32_t extent = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || started_.has_value(); });
      if (stop_) return;
      extent = *started_;
      started_.reset();
    }
    ReplaceNow(extent);
  }
}

void DeviceExtents::ReplaceNow(std::uint32_t number) {
  Extent& extent = extents_[number];
  const bool fresh = AwaitLetGo(extent);
  if (fresh) {
    const Nanos pause = std::max<Nanos>(kMillisecond, patience_ / kTriesPerPatience);
    extent.exported = {};
    std::byte* old = std::exchange(extent.memory, nullptr);
    while (extent.memory == nullptr) {
      in_driver_ = true;
      const Result<std::byte*> memory = device_.Renew(std::exchange(old, nullptr), extent.bytes);
      in_driver_ = false;
      if (memory.ok()) {
        extent.memory = *memory;
        away_bytes_ = 0;
        break;
      }
      NoteFailure(memory.status());
      away_bytes_ = extent.bytes;
      if (!Wait(pause)) return;
    }
  }
  last_ = {.extent = number, .fresh = fresh};
  done_ = true;
  working_ = false;  // after done_: never idle in between
}

void DeviceExtents::NoteFailure(const Status& why) {
  ++failures_;
  const std::lock_guard lock(mutex_);
  failure_ = why;
}

Status DeviceExtents::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

bool DeviceExtents::LetGo(Extent& extent) {
  std::erase_if(extent.kept, [](const File& end) { return HungUp(end.get()); });
  return extent.kept.empty();
}

bool DeviceExtents::AwaitLetGo(Extent& extent) {
  Nanos waited = 0;
  for (Nanos pause = kLookFirst; !LetGo(extent); pause = std::min(kLookLast, 2 * pause)) {
    if (waited >= patience_ || !Wait(pause)) return false;
    waited += pause;
  }
  return true;
}

bool DeviceExtents::Wait(Nanos time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, std::chrono::nanoseconds(time), [this] { return stop_; });
}

}  // namespace terrace
