#include "tests/sim/simulation_plan.h"

#include <algorithm>

#include "base/checksum.h"

namespace terrace::testing {

namespace {

/// 16 different locators: nearly every key collides with some other.
Hash128 NarrowHash(std::span<const std::byte> bytes) noexcept {
  const Hash128 hash = HashBytes128(bytes);
  return {.low = (hash.low & 15U) << 32, .high = 0};
}

/// `most` half of the time off, else uniform up to `most`.
double DrawRate(Random& random, double most) {
  return random.Chance(0.5) ? 0 : random.Unit() * most;
}

std::uint64_t DrawBlockBytes(Random& random) {
  const std::uint64_t bytes = random.Between(kBlockBytesMin, SimulationPlan::kBlockBytesMost);
  return random.Chance(0.3) ? bytes : std::max<std::uint64_t>(bytes / 4096, 1) * 4096;
}

NamespaceSpec DrawSpace(Random& random, std::size_t number, std::size_t tenants) {
  NamespaceSpec spec;
  spec.tenant = "tenant" + std::to_string(random.Below(tenants));
  spec.name = "space" + std::to_string(number);
  spec.block_tokens = static_cast<std::uint32_t>(random.Between(1, 64));
  spec.shard_count = static_cast<std::uint32_t>(random.Between(1, 2));
  spec.run_blocks = static_cast<std::uint32_t>(random.Between(1, 16));
  const std::uint64_t groups = random.Between(1, 2);
  for (std::uint32_t group = 0; group < groups; ++group) {
    spec.groups.push_back(
        {.id = group, .attention = "full", .block_bytes = DrawBlockBytes(random)});
  }
  return spec;
}

std::vector<ChainKeys> DrawChains(Random& random) {
  std::vector<ChainKeys> chains(random.Between(2, 8));
  const std::uint64_t length_most = random.Between(1, 60);
  for (std::size_t i = 0; i < chains.size(); ++i) {
    ChainKeys& chain = chains[i];
    if (i > 0 && random.Chance(0.6)) {
      const ChainKeys& other = chains[random.Below(i)];
      const auto shared = static_cast<std::ptrdiff_t>(random.Below(other.size() + 1));
      chain.assign(other.begin(), other.begin() + shared);
    }
    const std::uint64_t length = random.Between(1, length_most);
    while (chain.size() < length || chain.empty()) {
      std::string key = std::to_string(i) + "/" + std::to_string(chain.size());
      if (random.Chance(0.2)) key.resize(kKeyBytesMax, static_cast<char>(random.Next()));
      chain.push_back(std::move(key));
    }
  }
  return chains;
}

/// Small segments, so that the ring comes round often, and everything races its reuse.
NvmePlan DrawNvme(Random& random) {
  NvmePlan plan;
  if (random.Chance(0.4)) return plan;
  plan.lanes = static_cast<std::uint32_t>(random.Between(1, 3));
  nvme::SegmentLogOptions& log = plan.tier.log;
  log.store_id = {random.Next(), random.Next()};
  log.salt = random.Next();
  log.segments = static_cast<std::uint32_t>(random.Between(8, 24));
  log.segment_bytes = random.Between(16, 48) * nvme::kPageBytes;
  log.write_share = 0.1 + random.Unit() * 0.4;
  log.errors_max = static_cast<std::uint32_t>(random.Between(1, 8));
  log.stuck_after = static_cast<Nanos>(random.Between(20, 2000)) * kMillisecond;
  log.probe_period = static_cast<Nanos>(random.Between(5, 200)) * kMillisecond;
  plan.tier.block_bytes_max = log.segment_bytes - 2 * nvme::kPageBytes;
  if (random.Chance(0.2)) plan.tier.block_bytes_max = random.Between(kBlockBytesMin, 32 << 10);
  if (random.Chance(0.1)) plan.tier.write_bytes_per_day = random.Between(1, 64) << 23;
  for (std::size_t fault = 0; fault < kDeviceFaultCount; ++fault) {
    plan.faults.rates[fault] = {.probability = DrawRate(random, 0.03), .times_max = 1000};
  }
  if (random.Chance(0.6)) {  // a device that fails, but does not lie: DURABLE can be judged
    for (const DeviceFault lie :
         {DeviceFault::kFlippedWrite, DeviceFault::kMisdirectedWrite, DeviceFault::kLostWrite}) {
      plan.faults[lie] = {};
    }
  }
  plan.durable = DrawRate(random, 1);
  plan.index_failure = DrawRate(random, 0.02);
  plan.crashes = random.Below(5);
  plan.power_loss = random.Unit();
  plan.between_crashes = static_cast<Nanos>(random.Between(5, 200)) * kMillisecond;
  return plan;
}

}  // namespace

SimulationPlan DrawPlan(Random& random, Random& nvme_random) {
  SimulationPlan plan;
  plan.cache.arena.capacity_bytes = random.Between(1, 4) << 21;
  plan.cache.arena.huge_pages = false;
  if (random.Chance(0.2)) {
    plan.cache.blocks_max = static_cast<std::uint32_t>(random.Between(8, 60));
  }
  plan.cache.transfers_max = static_cast<std::uint32_t>(random.Between(1, 16));
  plan.cache.window_per_request = static_cast<std::uint32_t>(random.Between(1, 6));
  plan.locators_collide = random.Chance(0.1);
  if (plan.locators_collide) plan.cache.locator_hash = NarrowHash;

  const std::size_t spaces = random.Between(1, 4);
  const std::size_t tenants = random.Between(1, 3);
  for (std::size_t i = 0; i < spaces; ++i) {
    plan.spaces.push_back(DrawSpace(random, i, tenants));
    plan.chains.push_back(DrawChains(random));
  }
  plan.clients = random.Between(1, 5);
  plan.lanes = random.Between(1, 2);
  plan.operations = random.Between(60, 240) / (plan.clients * plan.lanes) + 1;

  plan.faults.latency_min = static_cast<Nanos>(random.Between(1, 20)) * kMicrosecond;
  plan.faults.latency_max = static_cast<Nanos>(random.Between(20, 2000)) * kMicrosecond;
  plan.faults.stall = DrawRate(random, 0.05);
  plan.faults.death = DrawRate(random, 0.03);
  plan.faults.corruption = DrawRate(random, 0.05);
  plan.faults.quarantine_max = static_cast<Nanos>(random.Between(1, 200)) * kMillisecond;
  plan.pause_max = static_cast<Nanos>(random.Between(1, 5000)) * kMicrosecond;
  plan.short_deadline = DrawRate(random, 0.2);
  plan.remove = DrawRate(random, 0.1);
  plan.clear = DrawRate(random, 0.03);
  plan.lose_link = DrawRate(random, 0.05);
  plan.nvme = DrawNvme(nvme_random);
  return plan;
}

std::string SimulationPlan::ToString() const {
  std::string text =
      "arena " + std::to_string(cache.arena.capacity_bytes >> 20) + " MiB, index " +
      std::to_string(cache.blocks_max) + ", slots " + std::to_string(cache.transfers_max) +
      ", window " + std::to_string(cache.window_per_request) + ", clients " +
      std::to_string(clients) + " x " + std::to_string(lanes) + " lanes x " +
      std::to_string(operations) + " operations, stall " + std::to_string(faults.stall) +
      ", death " + std::to_string(faults.death) + ", corruption " +
      std::to_string(faults.corruption) + ", short deadlines " + std::to_string(short_deadline) +
      ", remove " + std::to_string(remove) + ", clear " + std::to_string(clear) + ", lose link " +
      std::to_string(lose_link);
  if (locators_collide) text += ", locators collide";
  if (nvme.lanes > 0) {
    const auto& log = nvme.tier.log;
    text += "; NVMe " + std::to_string(nvme.lanes) + " x " + std::to_string(log.segments) +
            " segments x " + std::to_string(log.segment_bytes / kBlockBytesMin) +
            " pages, durable " + std::to_string(nvme.durable) + ", index failures " +
            std::to_string(nvme.index_failure) + ", crashes " + std::to_string(nvme.crashes) +
            ", of them power loss " + std::to_string(nvme.power_loss);
    for (std::size_t fault = 0; fault < kDeviceFaultCount; ++fault) {
      if (nvme.faults.rates[fault].probability == 0) continue;
      text += ", " + std::string(DeviceFaultName(static_cast<DeviceFault>(fault))) + " " +
              std::to_string(nvme.faults.rates[fault].probability);
    }
  }
  for (const NamespaceSpec& space : spaces) {
    text += "; " + space.tenant + "/" + space.name;
    for (const NamespaceGroup& group : space.groups) {
      text += " " + std::to_string(group.block_bytes);
    }
  }
  return text;
}

std::uint32_t ValidTokens(KeyView key, std::uint32_t block_tokens) {
  return static_cast<std::uint32_t>(Checksum64(key) % block_tokens) + 1;
}

}  // namespace terrace::testing
