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

Task<void> GpuRegions::Settle() {
  Event done;
  const bool taken = Do([this, &done] { reactor_.Post([&done] { done.Set(); }); });
  if (taken) (void)co_await done.Wait();
}

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
  std::optional<Result<std::span<std::byte>>> mapped;
  Event done;
  // The task waits for it, so that what it writes to is there.
  const bool taken = Do([this, tier, &exported, &mapped, &done] {
    mapped = tier->device().OpenExport(exported);
    reactor_.Post([&done] { done.Set(); });
  });
  if (!taken) co_return Status(StatusCode::kRetry, "no thread to map memory of a GPU on");
  (void)co_await done.Wait();
  if (!mapped->ok()) co_return mapped->status();
  co_return std::shared_ptr<DeviceRegion>(std::make_shared<Region>(*this, *tier, **mapped));
}

}  // namespace terrace
