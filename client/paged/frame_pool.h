// FramePool: the numbers of a fixed count of frames. Thread: any.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "client/types.hpp"

namespace terrace::paged {

class FramePool {
 public:
  explicit FramePool(std::uint32_t count) {
    for (std::uint32_t i = count; i > 0; --i) free_.push_back(i - 1);
  }
  /// At most `most` of what is free; waits until the deadline for one. Empty: there was none.
  std::vector<std::uint32_t> Take(std::size_t most, Deadline deadline) {
    std::unique_lock lock(mutex_);
    freed_.wait_until(lock, deadline, [&] { return !free_.empty(); });
    const std::size_t count = std::min(most, free_.size());
    std::vector<std::uint32_t> taken(free_.end() - static_cast<std::ptrdiff_t>(count), free_.end());
    free_.resize(free_.size() - count);
    return taken;
  }
  void GiveBack(std::span<const std::uint32_t> frames) {
    const std::lock_guard lock(mutex_);
    free_.insert(free_.end(), frames.begin(), frames.end());
    freed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::uint32_t> free_;  // guarded by mutex_
};

}  // namespace terrace::paged
