// SimulatedDisk: what a simulated cache has below it, and what is left of that when its process is
// killed or its host loses power: devices that make faults, an index store, and a journal.
//
//   Attach(cache) -> the run -> Kill or LosePower, or neither -> EndRun -> Attach(next cache)
//
// Thread: the scheduler's. Lifetime: outlives the caches; EndRun after a run's cache is gone.
#pragma once

#include <cstdint>
#include <list>
#include <memory>

#include "base/device_faulty.h"
#include "base/device_sim.h"
#include "base/index_store_sim.h"
#include "base/random.h"
#include "cache/cache.h"
#include "tests/sim/cache_simulation.h"
#include "tests/sim/simulation_plan.h"
#include "tests/tiers/scripted_device.h"
#include "tests/tiers/simulated_store.h"

namespace terrace::testing {

class SimulatedDisk {
 public:
  SimulatedDisk(const NvmePlan& plan, Scheduler& scheduler, Random& random);

  /// Starts a run of `cache` over what is there: AttachNvme and Recover.
  Status Attach(Cache& cache);
  /// kill -9: what has not reached devices and store by now never does.
  void Kill();
  /// What was not synced is lost, or not; then as Kill.
  void LosePower();
  void EndRun();

  void EnableFaults(bool enabled);
  /// The next calls of the index store fail.
  void FailIndex(std::uint32_t calls) { store_.FailNext(calls); }
  /// Times that a device said ok and had not done what it was asked to.
  [[nodiscard]] std::uint64_t Lies() const;
  /// Adds the faults that were made, by kind.
  void AddFaults(SimulationCounts& counts) const;

 private:
  struct Medium {
    Medium(SimulatedDeviceOptions options, Random& random, const FaultyDeviceOptions& faults)
        : device(std::move(options), random), faulty(device, random, faults) {}
    SimulatedDevice device;
    FaultyDevice faulty;
    std::unique_ptr<ScriptedDevice> process;  // of one run
  };

  const NvmePlan& plan_;
  Scheduler& scheduler_;
  Random& random_;
  std::list<Medium> media_;
  SimulatedIndexStore store_;
  std::unique_ptr<SimulatedJournal> journal_;
};

}  // namespace terrace::testing
