#include "tools/terraced/gpu_regions.h"

#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/signals_blocked.h"
#include "base/wait.h"

namespace terrace {

class GpuRegions::Region final : public DeviceRegion {
 public:
  Region(GpuRegions& regions, HbmTier& tier, std::span<std::byte> memory)
      : regions_(regions), tier_(tier), memory_(memory) {}
  ~Region() override {
    const auto close = [device = &tier_.device(), memory = memory_] {
      device->CloseExport(memory);
    };
    if (!regions_.Do(close)) close();
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  [[nodiscard]] DeviceCopier& copier() const noexcept override { return tier_; }
  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return memory_; }

 private:
  GpuRegions& regions_;
  HbmTier& tier_;
  const std::span<std::byte> memory_;
};

GpuRegions::~GpuRegions() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool GpuRegions::Do(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) {
    const SignalsBlocked blocked;
    try {
      thread_ = std::thread([this] { Run(); });
    } catch (const std::system_error&) {
      return false;
    }
  }
  waiting_.push_back(std::move(work));
  changed_.notify_all();
  return true;
}

void GpuRegions::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::function<void()> work = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

Status GpuRegions::HasRoom() {
  const std::lock_guard lock(mutex_);
  if (waiting_.size() < kWaitingMax) return {};
  return {StatusCode::kRetry,
          std::to_string(waiting_.size()) + " regions wait for the driver to map or unmap them"};
}

Status GpuRegions::NoAnswer() const {
  return {StatusCode::kIo, "the driver has mapped and unmapped nothing for " +
                               std::to_string(answer_within_ / kMillisecond) + " ms"};
}

Task<Status> GpuRegions::Settle() {
  if (Status full = HasRoom(); !full.ok()) co_return full;
  const auto done = std::make_shared<Event>();
  const bool taken = Do([this, done] { reactor_.Post([done] { done->Set(); }); });
  if (!taken) co_return Status();  // then regions are unmapped where they are let go
  const bool in_time = co_await done->WaitUntil(Scheduler::Current().Now() + answer_within_);
  co_return in_time ? Status() : NoAnswer();
}

/// A mapping under way: of the thread until `done` is set, of the reactor after that.
struct GpuRegions::Opening {
  DeviceExport exported;
  HbmTier* tier = nullptr;
  std::optional<Result<std::span<std::byte>>> mapped;
  Event done;
  bool given_up = false;  ///< the reactor's: nobody waits for it
};

Task<Result<std::shared_ptr<DeviceRegion>>> GpuRegions::Open(DeviceExport exported) {
  HbmTier* tier = nullptr;
  std::string have;
  for (HbmTier* one : tiers_) {
    have += (have.empty() ? "" : ", ") + one->device().uuid();
    if (one->device().uuid() == exported.gpu) tier = one;
  }
  if (tier == nullptr) {
    co_return Status(StatusCode::kUnsupported,
                     "this daemon has no GPU " + exported.gpu + " (config hbm.gpus), but " + have);
  }
  if (!tier->health().ok()) co_return tier->health();
  if (Status full = HasRoom(); !full.ok()) co_return full;
  const auto opening = std::make_shared<Opening>();
  opening->exported = std::move(exported);
  opening->tier = tier;
  const bool taken = Do([this, opening] {
    opening->mapped = opening->tier->device().OpenExport(opening->exported);
    reactor_.Post([this, opening] { Opened(*opening); });
  });
  if (!taken) co_return Status(StatusCode::kRetry, "no thread to map memory of a GPU on");
  if (!co_await opening->done.WaitUntil(Scheduler::Current().Now() + answer_within_)) {
    opening->given_up = true;
    co_return Status(StatusCode::kIo, tier->name() + ": " + NoAnswer().message());
  }
  const Result<std::span<std::byte>>& mapped = *opening->mapped;
  if (!mapped.ok()) co_return mapped.status();
  co_return std::shared_ptr<DeviceRegion>(std::make_shared<Region>(*this, *tier, *mapped));
}

void GpuRegions::Opened(Opening& opening) {
  // Too late for who asked: it goes as a region that is let go.
  if (opening.given_up && opening.mapped->ok()) Region(*this, *opening.tier, **opening.mapped);
  opening.done.Set();
}

}  // namespace terrace
