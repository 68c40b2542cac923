// GpuRegions: memory of GPUs that clients exported, mapped for one reactor.
//
// Model. To map and unmap takes the driver up to milliseconds, so a thread of its own does both, in
// order; it starts with the first region. A region is unmapped when nothing uses it any more.
//
// Thread: the reactor's, but for constructor and destructor. The tiers outlive it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/device_region.h"
#include "base/reactor.h"
#include "tiers/hbm/hbm_tier.h"

namespace terrace {

class GpuRegions final : public DeviceRegions {
 public:
  GpuRegions(Reactor& reactor, std::vector<HbmTier*> tiers)
      : reactor_(reactor), tiers_(std::move(tiers)) {}
  /// Waits for what is being unmapped. REQUIRES: no region is left, no Open under way.
  ~GpuRegions();
  GpuRegions(const GpuRegions&) = delete;
  GpuRegions& operator=(const GpuRegions&) = delete;

  Task<Result<std::shared_ptr<DeviceRegion>>> Open(DeviceExport exported) override;
  Task<void> Settle() override;

 private:
  class Region;
  /// On the thread. False: none can be had, and the work was not taken.
  [[nodiscard]] bool Do(std::function<void()> work);
  void Run();

  Reactor& reactor_;
  const std::vector<HbmTier*> tiers_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;  ///< guarded by mutex_
  bool ending_ = false;                        ///< guarded by mutex_
};

}  // namespace terrace
