// GpuRegions: memory of GPUs that clients exported, mapped for one reactor.
//
// Model. To map and unmap takes the driver up to milliseconds, so a thread of its own does both, in
// order; it starts with the first region. A region is unmapped when nothing uses it any more. A
// driver that does not answer holds that thread alone: who waits is told after a time.
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
  static constexpr Nanos kAnswerWithin = 10 * kSecond;  ///< as CopyLimits::answer_within

  GpuRegions(Reactor& reactor, std::vector<HbmTier*> tiers, Nanos answer_within = kAnswerWithin)
      : reactor_(reactor), tiers_(std::move(tiers)), answer_within_(answer_within) {}
  /// Waits for what is being unmapped. REQUIRES: no region is left, no Open under way.
  ~GpuRegions();
  GpuRegions(const GpuRegions&) = delete;
  GpuRegions& operator=(const GpuRegions&) = delete;

  Task<Result<std::shared_ptr<DeviceRegion>>> Open(DeviceExport exported) override;
  Task<Status> Settle() override;

 private:
  class Region;
  struct Opening;
  static constexpr std::size_t kWaitingMax = 1024;  ///< pieces of work, when another asks
  /// On the thread. False: none can be had, and the work was not taken.
  [[nodiscard]] bool Do(std::function<void()> work);
  void Run();
  void Opened(Opening& opening);
  [[nodiscard]] Status NoAnswer() const;
  /// Ok: another piece of work may wait for the thread.
  [[nodiscard]] Status HasRoom();

  Reactor& reactor_;
  const std::vector<HbmTier*> tiers_;
  const Nanos answer_within_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;  ///< guarded by mutex_
  bool ending_ = false;                        ///< guarded by mutex_
};

}  // namespace terrace
