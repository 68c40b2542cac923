#include "tiers/hbm/device_extents.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"

namespace terrace {
namespace {

/// Nobody has the other end any more.
bool HungUp(int descriptor) {
  pollfd asked{.fd = descriptor, .events = 0, .revents = 0};
  return ::poll(&asked, 1, 0) == 1 && (asked.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

}  // namespace

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
  thread_.Join();
  for (Extent& extent : extents_) {
    extent.given = UniqueFd();
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
    extent.given = UniqueFd(ends[1]);
  }
  return SharedExtent{
      .descriptor = extent.given.get(), .bytes = extent.bytes, .device = &extent.exported};
}

bool DeviceExtents::Replace(std::uint32_t number) {
  TERRACE_CHECK(Idle());
  if (const Status none = thread_.Begin(); !none.ok()) {
    if (none.code() == StatusCode::kIo) ++failures_;
    return false;
  }
  extents_[number].given = UniqueFd();
  thread_.Start(number);
  return true;
}

std::optional<bool> DeviceExtents::ReplaceNow(std::uint32_t number) {
  Extent& extent = extents_[number];
  if (!thread_.AwaitLetGo([&] { return LetGo(extent); })) return false;
  extent.exported = {};
  std::byte* old = std::exchange(extent.memory, nullptr);
  for (;;) {
    in_driver_ = true;
    const Result<std::byte*> memory = device_.Renew(std::exchange(old, nullptr), extent.bytes);
    in_driver_ = false;
    if (memory.ok()) {
      extent.memory = *memory;
      away_bytes_ = 0;
      return true;
    }
    NoteFailure(memory.status());
    away_bytes_ = extent.bytes;
    if (!thread_.Wait(thread_.RetryPause())) return std::nullopt;
  }
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
  std::erase_if(extent.kept, [](const UniqueFd& end) { return HungUp(end.get()); });
  return extent.kept.empty();
}

}  // namespace terrace
