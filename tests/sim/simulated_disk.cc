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
  std::vector<const SimulatedDevice*> media;
  for (Medium& medium : media_) {
    media.push_back(&medium.device);
    medium.process = std::make_unique<ScriptedDevice>(medium.faulty);
    lanes.push_back({.device = medium.process.get(),
                     .headers = HeadersOn(medium.device, plan_.tier.log,
                                          static_cast<std::uint32_t>(lanes.size()))});
  }
  cache.AttachNvme(plan_.tier, std::move(lanes), *journal_, scheduler_);
  return cache.Recover(store_, ReadsOf(std::move(media)));
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
    for (const DeviceFault fault : kWriteLies) lies += medium.faulty.Count(fault);
  }
  return lies;
}

void SimulatedDisk::AddFaults(SimulationCounts& counts) const {
  for (const Medium& medium : media_) {
    const auto count = [&medium](DeviceFault fault) { return medium.faulty.Count(fault); };
    for (std::size_t fault = 0; fault < kDeviceFaultCount; ++fault) {
      counts.device_faults += count(static_cast<DeviceFault>(fault));
    }
    counts.bit_flips += count(DeviceFault::kFlippedRead) + count(DeviceFault::kFlippedWrite);
    counts.io_errors += count(DeviceFault::kReadError) + count(DeviceFault::kWriteError) +
                        count(DeviceFault::kSyncError);
    counts.torn += count(DeviceFault::kShortRead) + count(DeviceFault::kShortWrite);
    counts.lost += count(DeviceFault::kLostWrite);
    counts.misdirected +=
        count(DeviceFault::kMisdirectedRead) + count(DeviceFault::kMisdirectedWrite);
    counts.stale += count(DeviceFault::kStaleRead);
    counts.delayed += count(DeviceFault::kDelay);
  }
}

}  // namespace terrace::testing
