#include "tiers/dram/extent_thread.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>

#include "base/check.h"
#include "base/signals_blocked.h"

namespace terrace {
namespace {

/// Time between two looks at who has the memory: longer each time, so that who lets go at once is
/// seen at once, and who does not costs nothing.
constexpr Nanos kLookFirst = kMillisecond;
constexpr Nanos kLookLast = 50 * kMillisecond;
constexpr Nanos kTriesPerPatience = 10;

}  // namespace

ExtentThread::~ExtentThread() {
  Stop();
  Join();
}

Status ExtentThread::Begin() {
  const std::lock_guard lock(mutex_);
  if (stop_) return {StatusCode::kCancelled, "no extent is replaced any more"};
  if (thread_.joinable()) return {};
  const SignalsBlocked blocked;
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    return {StatusCode::kIo, std::string("thread that replaces extents: ") + error.what()};
  }
  return {};
}

void ExtentThread::Start(std::uint32_t extent) {
  TERRACE_CHECK(Idle());
  working_ = true;
  {
    const std::lock_guard lock(mutex_);
    started_ = extent;
  }
  wake_.notify_all();
}

std::optional<ExtentThread::Done> ExtentThread::Take() {
  if (!done_.load(std::memory_order_acquire)) return std::nullopt;
  const Done done = last_;
  done_.store(false, std::memory_order_release);
  return done;
}

void ExtentThread::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
}

void ExtentThread::Join() {
  if (thread_.joinable()) thread_.join();
}

void ExtentThread::Run() {
  for (;;) {
    std::uint32_t extent = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || started_.has_value(); });
      if (stop_) return;
      extent = *started_;
      started_.reset();
    }
    const std::optional<bool> fresh = work_(extent);
    if (!fresh) return;  // stopped
    last_ = {.extent = extent, .fresh = *fresh};
    done_ = true;
    working_ = false;  // after done_: never idle in between
  }
}

bool ExtentThread::AwaitLetGo(const std::function<bool()>& let_go) {
  Nanos waited = 0;
  for (Nanos pause = kLookFirst; !let_go(); pause = std::min(kLookLast, 2 * pause)) {
    if (waited >= patience_ || !Wait(pause)) return false;
    waited += pause;
  }
  return true;
}

Nanos ExtentThread::RetryPause() const noexcept {
  return std::max<Nanos>(kMillisecond, patience_ / kTriesPerPatience);
}

bool ExtentThread::Wait(Nanos time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, std::chrono::nanoseconds(time), [this] { return stop_; });
}

}  // namespace terrace
