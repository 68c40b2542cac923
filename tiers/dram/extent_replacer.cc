#include "tiers/dram/extent_replacer.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "base/check.h"

namespace terrace {

namespace {
/// Time between two looks at who has the memory: longer each time, so that who lets go at once is
/// seen at once, and who does not costs nothing.
constexpr Nanos kLookFirst = kMillisecond;
constexpr Nanos kLookLast = 50 * kMillisecond;
/// Of `patience`, between two tries to get memory.
constexpr Nanos kTriesPerPatience = 10;
}  // namespace

Result<std::unique_ptr<ExtentReplacer>> ExtentReplacer::Create(ArenaMemory& memory, Nanos patience,
                                                               ExtentMemoryUser* user) {
  std::unique_ptr<ExtentReplacer> replacer(new ExtentReplacer(memory, patience, user));
  try {
    replacer->thread_ = std::thread([raw = replacer.get()] { raw->Work(); });
  } catch (const std::system_error& error) {
    return Status(StatusCode::kIo, std::string("thread that replaces extents: ") + error.what());
  }
  return replacer;
}

ExtentReplacer::~ExtentReplacer() { Stop(); }

void ExtentReplacer::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ExtentReplacer::Start(std::uint32_t extent) {
  TERRACE_CHECK(Idle());
  working_ = true;
  {
    const std::lock_guard lock(mutex_);
    started_ = extent;
  }
  wake_.notify_all();
}

std::optional<ExtentReplacer::Done> ExtentReplacer::Take() {
  if (!done_.load(std::memory_order_acquire)) return std::nullopt;
  const Done done = last_;
  done_.store(false, std::memory_order_release);
  return done;
}

void ExtentReplacer::Work() {
  for (;;) {
    std::uint32_t extent = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || started_.has_value(); });
      if (stop_) return;
      extent = *started_;
      started_.reset();
    }
    Replace(extent);
  }
}

void ExtentReplacer::Replace(std::uint32_t extent) {
  if (!AwaitLetGo(extent)) {
    Finish(extent, Outcome::kKept);
    return;
  }
  const Nanos pause = std::max<Nanos>(kMillisecond, patience_ / kTriesPerPatience);
  const std::span<std::byte> memory(memory_.PartBase(extent), memory_.PartBytes(extent));
  if (user_ != nullptr) user_->BeforeReplaced(memory);
  while (!memory_.SwapPart(extent).ok()) {
    ++failures_;
    if (!Wait(pause)) return;
  }
  while (!memory_.TouchPart(extent).ok()) {
    ++failures_;
    if (!Wait(pause)) return;
  }
  if (user_ != nullptr) user_->AfterReplaced(memory);
  Finish(extent, Outcome::kFresh);
}

bool ExtentReplacer::AwaitLetGo(std::uint32_t extent) {
  Nanos waited = 0;
  for (Nanos pause = kLookFirst; memory_.LentOut(extent); pause = std::min(kLookLast, 2 * pause)) {
    if (waited >= patience_ || !Wait(pause)) return false;
    waited += pause;
  }
  return true;
}

void ExtentReplacer::Finish(std::uint32_t extent, Outcome outcome) {
  last_ = {.extent = extent, .outcome = outcome};
  done_ = true;
  working_ = false;  // after done_: never idle in between
}

bool ExtentReplacer::Wait(Nanos time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, std::chrono::nanoseconds(time), [this] { return stop_; });
}

}  // namespace terrace
