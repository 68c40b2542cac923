#include "tests/sim/simulation_plan.h"

#include <algorithm>
#include <array>

#include "base/checksum.h"
#include "tests/cache/policy/telling_policy.h"

namespace terrace::testing {

namespace {

constexpr std::array<std::string_view, 5> kProfiles = {"swarm", "reclaim", "power", "hints", "hbm"};

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
NvmePlan DrawNvme(Random& random, bool always) {
  NvmePlan plan;
  if (random.Chance(0.4) && !always) return plan;
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
  // From what is drawn already, so that older seeds keep their plans.
  plan.tier.marker_period = static_cast<Nanos>(1 + log.salt % 50) * kMillisecond;
  plan.tier.marker_patience = static_cast<Nanos>(1 + log.salt / 64 % 500) * kMillisecond;
  plan.tier.block_bytes_max = log.segment_bytes - 2 * nvme::kPageBytes;
  if (random.Chance(0.2)) plan.tier.block_bytes_max = random.Between(kBlockBytesMin, 32 << 10);
  if (random.Chance(0.1)) plan.tier.write_bytes_per_day = random.Between(1, 64) << 23;
  for (std::size_t fault = 0; fault < kDeviceFaultCount; ++fault) {
    if (fault == static_cast<std::size_t>(DeviceFault::kStaleRead)) continue;  // DrawClients
    plan.faults.rates[fault] = {.probability = DrawRate(random, 0.03), .times_max = 100'000};
  }
  if (random.Chance(0.6)) {  // a device that fails, but does not lie: DURABLE can be judged
    for (const DeviceFault lie : kWriteLies) plan.faults[lie] = {};
  }
  plan.durable = DrawRate(random, 1);
  plan.index_failure = DrawRate(random, 0.02);
  plan.crashes = random.Below(5);
  plan.power_loss = random.Unit();
  plan.between_crashes = static_cast<Nanos>(random.Between(5, 200)) * kMillisecond;
  return plan;
}

/// What came later than the other streams, so that their seeds stay what they were.
void DrawClients(Random& random, SimulationPlan& plan) {
  plan.faults.message_drop = DrawRate(random, 0.03);
  if (random.Chance(0.5)) {
    plan.faults.message_delay_max = static_cast<Nanos>(random.Between(1, 3000)) * kMicrosecond;
  }
  plan.stop_client = DrawRate(random, 0.02);
  plan.stop_max = static_cast<Nanos>(random.Between(1, 400)) * kMillisecond;
  FaultyDeviceOptions& faults = plan.nvme.faults;
  // Of reads of a place that was overwritten lately, which are few.
  faults[DeviceFault::kStaleRead] = {.probability = DrawRate(random, 0.3), .times_max = 100'000};
  // From a little late to a whole turn of the ring and more.
  faults.delay = static_cast<Nanos>(random.Between(1, 100)) * kMillisecond;
  if (random.Chance(0.4)) faults.delay *= static_cast<Nanos>(random.Between(2, 50));
  if (random.Chance(0.3)) {  // devices that may fail, but do not lie: no record is ever corrupt
    for (const DeviceFault lie : kWriteLies) faults[lie] = {};
    for (const DeviceFault lie : kReadLies) faults[lie] = {};
  }
}

void MakeTinyBlocks(Random& random, SimulationPlan& plan) {
  for (NamespaceSpec& space : plan.spaces) {
    for (NamespaceGroup& group : space.groups) {
      group.block_bytes = kBlockBytesMin * random.Between(1, 3);
      if (random.Chance(0.2)) group.block_bytes -= random.Below(kBlockBytesMin / 2);
      group.block_bytes = std::max<std::uint64_t>(group.block_bytes, kBlockBytesMin);
    }
  }
  plan.cache.arena.capacity_bytes = random.Between(1, 2) << 21;
}

/// Blocks that are got on NVMe, from segments that go while they are.
void MakeReclaim(Random& random, SimulationPlan& plan) {
  MakeTinyBlocks(random, plan);
  nvme::SegmentLogOptions& log = plan.nvme.tier.log;
  log.segments = static_cast<std::uint32_t>(random.Between(8, 20));
  log.segment_bytes = random.Between(12, 32) * nvme::kPageBytes;
  plan.nvme.tier.block_bytes_max = log.segment_bytes - 2 * nvme::kPageBytes;
  plan.nvme.tier.write_bytes_per_day = 0;
  for (DeviceFaultRate& rate : plan.nvme.faults.rates) rate.probability /= 100;
  if (random.Chance(0.5)) {  // then no record may be found to be corrupt (O8)
    for (const DeviceFault lie : kWriteLies) plan.nvme.faults[lie] = {};
    for (const DeviceFault lie : kReadLies) plan.nvme.faults[lie] = {};
  }
  // Reads that take as long as a segment lives, and writes that come after it.
  plan.nvme.faults[DeviceFault::kDelay].probability = DrawRate(random, 0.05);
  plan.nvme.faults.delay = static_cast<Nanos>(random.Between(1, 40)) * kMillisecond;
  plan.nvme.index_failure /= 100;
  plan.nvme.crashes = random.Below(3);
  plan.nvme.between_crashes = 2 * kSecond;
  plan.cache.blocks_max = 0;
  if (random.Chance(0.3)) {
    plan.cache.blocks_max = static_cast<std::uint32_t>(random.Between(60, 400));
  }
  plan.cache.transfers_max = static_cast<std::uint32_t>(random.Between(4, 32));
  plan.cache.window_per_request = static_cast<std::uint32_t>(random.Between(2, 16));
  // More than DRAM and the rings hold together, so that everything moves.
  for (std::size_t space = 0; space < plan.spaces.size(); ++space) {
    for (int more = 0; more < 8; ++more) {
      const std::string name = "long" + std::to_string(more);
      plan.chains[space].push_back(MakeChain(name, random.Between(16, 120)));
    }
  }
  plan.clients = random.Between(2, 6);
  plan.lanes = random.Between(1, 3);
  plan.operations = 3000 / (plan.clients * plan.lanes);
  plan.pause_max = static_cast<Nanos>(random.Between(1, 300)) * kMicrosecond;
  SimLinkFaults& faults = plan.faults;
  faults.latency_max = std::min<Nanos>(faults.latency_max, 200 * kMicrosecond);
  for (double* const rate :
       {&faults.stall, &faults.death, &faults.corruption, &faults.message_drop,
        &plan.short_deadline, &plan.stop_client, &plan.clear, &plan.lose_link}) {
    *rate /= 20;
  }
}

/// Short lives: what is written, promised and half written when the power goes.
void MakePower(Random& random, SimulationPlan& plan) {
  MakeTinyBlocks(random, plan);
  plan.cache.arena.capacity_bytes = 1 << 21;
  plan.cache.blocks_max = 0;  // an index that is full excuses what was promised
  plan.locators_collide = false;
  plan.cache.locator_hash = HashBytes128;
  plan.nvme.crashes = random.Between(20, 60);
  plan.nvme.power_loss = 0.5 + random.Unit() / 2;
  plan.nvme.between_crashes = static_cast<Nanos>(random.Between(1, 12)) * kMillisecond;
  plan.nvme.durable = random.Unit();
  plan.clients = random.Between(1, 4);
  plan.lanes = random.Between(1, 2);
  plan.operations = 60 + 6 * plan.nvme.crashes;
  plan.pause_max = static_cast<Nanos>(random.Between(1, 2000)) * kMicrosecond;
  if (random.Chance(0.6)) {  // devices that are sound until the power goes: every promise counts
    for (DeviceFaultRate& rate : plan.nvme.faults.rates) rate.probability /= 20;
    for (const DeviceFault lie : kWriteLies) plan.nvme.faults[lie] = {};
    for (const DeviceFault lie : kReadLies) plan.nvme.faults[lie] = {};
    plan.nvme.tier.log.errors_max = 8;
    plan.clear /= 10;
  }
  // What hangs holds up the next life.
  plan.stop_max = std::min<Nanos>(plan.stop_max, 20 * kMillisecond);
  plan.faults.quarantine_max = std::min<Nanos>(plan.faults.quarantine_max, 20 * kMillisecond);
}

/// A small DRAM, and everything that goes wrong with the GPUs beside it.
void MakeHbm(Random& random, SimulationPlan& plan) {
  plan.cache.hbm_block_bytes_min = kBlockBytesMin;
  plan.cache.arena.capacity_bytes = random.Between(1, 2) << 21;
  plan.cache.arena.lendable = false;  // what replaces extents is a thread of its own
  plan.clients = random.Between(1, 4);
  plan.lanes = random.Between(1, 3);
  plan.operations = 900 / (plan.clients * plan.lanes);
  plan.pause_max = static_cast<Nanos>(random.Between(1, 2000)) * kMicrosecond;
  plan.clear /= 10;
  plan.remove /= 4;
  plan.hint = random.Chance(0.5) ? 0 : 0.1;
  HbmPlan& hbm = plan.hbm;
  hbm.gpus = static_cast<std::uint32_t>(random.Between(1, 3));
  hbm.pool_bytes = random.Between(1, 3) << 21;
  if (random.Chance(0.3)) hbm.copies.queued = random.Between(1, 6);
  hbm.copies.batches = random.Between(1, 2);
  hbm.copies.demand_batch_bytes = random.Between(1, 64) << 12;
  hbm.copies.background_batch_bytes = random.Between(1, 64) << 12;
  hbm.copies.answer_within = static_cast<Nanos>(random.Between(5, 500)) * kMillisecond;
  hbm.latency = static_cast<Nanos>(random.Between(1, 2000)) * kMicrosecond;
  hbm.bytes_per_microsecond = random.Between(10, 20'000);
  hbm.between_troubles = static_cast<Nanos>(random.Between(1, 50)) * kMillisecond;
  hbm.corrupt = DrawRate(random, 0.2);
  hbm.fail = DrawRate(random, 0.2);
  hbm.rot = DrawRate(random, 0.1);
  hbm.hang = DrawRate(random, 0.1);
  hbm.lose = DrawRate(random, 0.01);
  hbm.hang_max = static_cast<Nanos>(random.Between(1, 1000)) * kMillisecond;
}

}  // namespace

bool NvmePlan::Lies() const {
  const auto lies = [this](DeviceFault fault) {
    return faults.rates[static_cast<std::size_t>(fault)].probability > 0;
  };
  return std::ranges::any_of(kWriteLies, lies) || std::ranges::any_of(kReadLies, lies);
}

std::string_view ProfileName(SimulationProfile profile) noexcept {
  return kProfiles[static_cast<std::size_t>(profile)];
}

std::optional<SimulationProfile> FindProfile(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kProfiles.size(); ++i) {
    if (kProfiles[i] == name) return static_cast<SimulationProfile>(i);
  }
  return std::nullopt;
}

SimulationPlan DrawPlan(SimulationStreams& streams, SimulationProfile profile) {
  Random& random = streams.general;
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
  const bool always = profile != SimulationProfile::kSwarm && profile != SimulationProfile::kHbm;
  plan.nvme = DrawNvme(streams.nvme, always);
  DrawClients(streams.clients, plan);
  plan.leases = streams.leases.Chance(0.5);
  if (streams.policy.Chance(0.5)) {
    const auto others = Policies().subspan(1);  // the default has the other half of the seeds
    plan.cache.policy = others[streams.policy.Below(others.size())].name;
  }
  plan.told = DrawRate(streams.told, 1);
  if (streams.writes.Chance(0.4)) {
    plan.cache.nvme_write_share = 0.05 + streams.writes.Unit() * 0.9;
    if (streams.writes.Chance(0.8)) plan.cache.policy_kind = &kTellingPolicy;
  }
  if (profile == SimulationProfile::kReclaim) MakeReclaim(streams.nvme, plan);
  if (profile == SimulationProfile::kPower) MakePower(streams.nvme, plan);
  if (profile == SimulationProfile::kHints) plan.hint = streams.clients.Chance(0.5) ? 0.2 : 0.6;
  if (profile == SimulationProfile::kHbm) MakeHbm(streams.gpus, plan);
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
      std::to_string(lose_link) + ", hints " + std::to_string(hint) + ", stop " +
      std::to_string(stop_client) + " for " + std::to_string(stop_max / kMillisecond) +
      " ms, messages dropped " + std::to_string(faults.message_drop) + ", delayed " +
      std::to_string(faults.message_delay_max / kMicrosecond) + " us";
  if (locators_collide) text += ", locators collide";
  if (leases) text += ", leases";
  const bool own = cache.policy_kind != nullptr;
  text += ", policy " + (own ? std::string(cache.policy_kind->name) : cache.policy);
  text += ", told " + std::to_string(told);
  if (cache.nvme_write_share > 0) text += ", write share " + std::to_string(cache.nvme_write_share);
  if (nvme.lanes > 0) {
    const auto& log = nvme.tier.log;
    text += "; NVMe " + std::to_string(nvme.lanes) + " x " + std::to_string(log.segments) +
            " segments x " + std::to_string(log.segment_bytes / kBlockBytesMin) +
            " pages, durable " + std::to_string(nvme.durable) + ", index failures " +
            std::to_string(nvme.index_failure) + ", crashes " + std::to_string(nvme.crashes) +
            ", of them power loss " + std::to_string(nvme.power_loss) + ", delay of " +
            std::to_string(nvme.faults.delay / kMillisecond) + " ms";
    for (std::size_t fault = 0; fault < kDeviceFaultCount; ++fault) {
      if (nvme.faults.rates[fault].probability == 0) continue;
      text += ", " + std::string(DeviceFaultName(static_cast<DeviceFault>(fault))) + " " +
              std::to_string(nvme.faults.rates[fault].probability);
    }
  }
  if (hbm.gpus > 0) {
    text += "; HBM " + std::to_string(hbm.gpus) + " x " + std::to_string(hbm.pool_bytes >> 20) +
            " MiB, queue " + std::to_string(hbm.copies.queued) + ", patience " +
            std::to_string(hbm.copies.answer_within / kMillisecond) + " ms, corrupt " +
            std::to_string(hbm.corrupt) + ", fail " + std::to_string(hbm.fail) + ", rot " +
            std::to_string(hbm.rot) + ", hang " + std::to_string(hbm.hang) + " for " +
            std::to_string(hbm.hang_max / kMillisecond) + " ms, lose " + std::to_string(hbm.lose);
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
