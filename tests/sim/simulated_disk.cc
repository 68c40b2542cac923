#include "tests/sim/simulated_disk.h"

#include <string>
#include <utility>
#include <vector>

namespace terrace::testing {

SimulatedDisk::SimulatedDisk(const NvmePlan& plan, Scheduler& scheduler, Random& random)
    : plan_(plan), scheduler_(scheduler), random_(random) {
  for (std::uint32_t lane = 0; lane < plan.lanes; ++lane) {
    media_.emplace_back(
        SimulatedDeviceOptions{.name = "sim:" + std::to_string(lane),
                               .size_bytes = plan.tier.log.segments * plan.tier.log.segment_bytes},
        random_, plan.faults);
  }
}

Status SimulatedDisk::Attach(Cache& cache) {
  journal_ = std::make_unique<SimulatedJournal>(store_, scheduler_, random_);
  std::vector<nvme::LaneStart> lanes;
  for (Medium& medium : media_) {
    medium.process = std::make_unique<ScriptedDevice>(medium.faulty);
    lanes.push_back({.device = medium.process.get(),
                     .headers = HeadersOn(medium.device, plan_.tier.log,
                                          static_cast<std::uint32_t>(lanes.size()))});
  }
  cache.AttachNvme(plan_.tier, std::move(lanes), *journal_, scheduler_);
  return cache.Recover(store_);
}

void SimulatedDisk::Kill() {
  for (Medium& medium : media_) medium.process->Die();
  journal_->Kill();
}

void SimulatedDisk::LosePower() {
  for (Medium& medium : media_) medium.device.Crash();
  store_.Crash(random_);
  Kill();
}

void SimulatedDisk::EndRun() {
  journal_.reset();
  for (Medium& medium : media_) medium.process.reset();
}

void SimulatedDisk::EnableFaults(bool enabled) {
  for (Medium& medium : media_) medium.faulty.Enable(enabled);
}

std::uint64_t SimulatedDisk::Lies() const {
  std::uint64_t lies = 0;
  for (const Medium& medium : media_) {
    for (const DeviceFault fault :
         {DeviceFault::kFlippedWrite, DeviceFault::kMisdirectedWrite, DeviceFault::kLostWrite}) {
      lies += medium.faulty.Count(fault);
    }
  }
  return lies;
}

std::uint64_t SimulatedDisk::Faults() const {
  std::uint64_t faults = 0;
  for (const Medium& medium : media_) {
    for (std::size_t fault = 0; fault < kDeviceFaultCount; ++fault) {
      faults += medium.faulty.Count(static_cast<DeviceFault>(fault));
    }
  }
  return faults;
}

}  // namespace terrace::testing
