// SimulatedGpus: the GPUs of a simulated cache: doubles that take simulated time, fail, rot, hang
// and are lost.
//
//   Attach(cache) -> the run, with Trouble from time to time -> Close of the cache -> Detach
//
// Thread: the scheduler's. Lifetime: outlives the caches; Detach before a run's cache goes.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "base/random.h"
#include "cache/cache.h"
#include "tests/sim/cache_simulation.h"
#include "tests/sim/simulation_plan.h"
#include "tiers/hbm/hbm_tier.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace::testing {

class SimulatedGpus {
 public:
  SimulatedGpus(const HbmPlan& plan, Random& random) : plan_(plan), random_(random) {}

  /// Healthy GPUs, as a new process finds them.
  Status Attach(Cache& cache);
  void Detach();
  /// Something happens to one of them, or ends. `now`: what hangs does so for a while from then on.
  void Trouble(Nanos now);
  /// Nothing hangs any more, and no fault is left to come.
  void EndFaults();

  /// Frames that are not free; 0 once the cache is closed.
  [[nodiscard]] std::uint64_t Frames() const;
  void AddFaults(SimulationCounts& counts) const;

 private:
  struct Gpu {
    explicit Gpu(HostDeviceOptions options) : device(std::move(options)) {}
    HostDeviceMemory device;
    std::unique_ptr<HbmTier> tier;
    Nanos hangs_until = 0;
  };

  const HbmPlan& plan_;
  Random& random_;
  std::list<Gpu> gpus_;
  std::uint64_t faults_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace terrace::testing
