#include "tests/sim/simulated_gpus.h"

#include <string>

namespace terrace::testing {

Status SimulatedGpus::Attach(Cache& cache) {
  std::vector<HbmTier*> tiers;
  for (std::uint32_t number = 0; number < plan_.gpus; ++number) {
    Gpu& gpu =
        gpus_.emplace_back(HostDeviceOptions{.name = "gpu " + std::to_string(number),
                                             .total_bytes = plan_.pool_bytes,
                                             .latency = plan_.latency,
                                             .bytes_per_microsecond = plan_.bytes_per_microsecond});
    auto tier =
        HbmTier::Create(gpu.device, {.capacity_bytes = plan_.pool_bytes, .copies = plan_.copies});
    if (!tier.ok()) return tier.status();
    gpu.tier = std::move(tier).value();
    tiers.push_back(gpu.tier.get());
  }
  return cache.AttachHbm(std::move(tiers));
}

void SimulatedGpus::Detach() {
  EndFaults();
  gpus_.clear();
}

void SimulatedGpus::Trouble(Nanos now) {
  if (gpus_.empty()) return;
  for (Gpu& gpu : gpus_) {
    if (gpu.hangs_until <= now) gpu.device.Hang(false);
  }
  auto gpu = gpus_.begin();
  std::advance(gpu, random_.Below(gpus_.size()));
  const double drawn = random_.Unit();
  double up_to = plan_.corrupt;
  const auto happens = [&](double rate) {
    up_to += rate;
    return drawn < up_to;
  };
  if (drawn < plan_.corrupt) {
    gpu->device.CorruptBatches(random_.Between(1, 3));
  } else if (happens(plan_.fail)) {
    gpu->device.FailBatches(random_.Between(1, 6));
  } else if (happens(plan_.rot)) {
    gpu->device.Rot();
  } else if (happens(plan_.hang)) {
    gpu->device.Hang(true);
    gpu->hangs_until =
        now + static_cast<Nanos>(random_.Below(static_cast<std::uint64_t>(plan_.hang_max)));
  } else if (happens(plan_.lose)) {
    if (gpu->device.health().ok()) ++lost_;
    gpu->device.Lose("lost in the simulation");
  } else {
    return;
  }
  ++faults_;
}

void SimulatedGpus::EndFaults() {
  for (Gpu& gpu : gpus_) {
    gpu.device.Hang(false);
    gpu.device.CorruptBatches(0);
    gpu.device.FailBatches(0);
  }
}

std::uint64_t SimulatedGpus::Frames() const {
  std::uint64_t frames = 0;
  for (const Gpu& gpu : gpus_) frames += gpu.tier->Stats().frames;
  return frames;
}

void SimulatedGpus::AddFaults(SimulationCounts& counts) const {
  counts.gpu_faults += faults_;
  counts.gpus_lost += lost_;
}

}  // namespace terrace::testing
