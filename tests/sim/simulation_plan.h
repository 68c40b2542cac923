// What one seed draws: sizes, rates, tenants, chains. Swarm testing: each seed leaves some things
// out and overdoes others, so that together they reach what no single setting would.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_faulty.h"
#include "base/random.h"
#include "base/sim_link.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tests/cache/cache_harness.h"
#include "tiers/hbm/copy_engine.h"

namespace terrace::testing {

/// What the seeds of a campaign have in common.
enum class SimulationProfile : std::uint8_t {
  kSwarm,    ///< everything, in every mixture
  kReclaim,  ///< many operations on small blocks and tiny segments, whose ring comes round all the
             ///< time; faults are rare
  kPower,    ///< power is lost, or the process killed, again and again
  kHints,    ///< as swarm, with NVMe, and many calls that say what to keep and where
  kHbm,      ///< as swarm, with GPUs in trouble, and many gets of what has left DRAM
};
/// "swarm", "reclaim", "power", "hints", "hbm".
std::string_view ProfileName(SimulationProfile profile) noexcept;
std::optional<SimulationProfile> FindProfile(std::string_view name) noexcept;

/// Faults whose call says ok.
inline constexpr std::array kWriteLies = {DeviceFault::kFlippedWrite,
                                          DeviceFault::kMisdirectedWrite, DeviceFault::kLostWrite};
inline constexpr std::array kReadLies = {DeviceFault::kFlippedRead, DeviceFault::kMisdirectedRead,
                                         DeviceFault::kStaleRead};

/// The tier below the cache; a seed may leave it out.
struct NvmePlan {
  std::uint32_t lanes = 0;  ///< devices; 0: no tier
  nvme::NvmeTierOptions tier;
  FaultyDeviceOptions faults;
  double durable = 0;         ///< share of puts that ask for it
  double index_failure = 0;   ///< share of operations at which the index store begins to fail
  std::size_t crashes = 0;    ///< at most, while the clients run
  double power_loss = 0;      ///< share of the crashes; the others are kill -9
  Nanos between_crashes = 0;  ///< at most
  /// Whether a device may say ok and have done, or brought, something else.
  [[nodiscard]] bool Lies() const;
};

/// GPUs beside it.
struct HbmPlan {
  std::uint32_t gpus = 0;  ///< 0: no tier
  std::uint64_t pool_bytes = 0;
  CopyLimits copies;
  Nanos latency = 0;  ///< of a batch
  std::uint64_t bytes_per_microsecond = 1;
  Nanos between_troubles = kSecond;  ///< at most
  /// Shares of the troubles; what is left of 1 is none.
  double corrupt = 0, fail = 0, rot = 0, hang = 0, lose = 0;
  Nanos hang_max = kSecond;
};

struct SimulationPlan {
  static constexpr std::uint64_t kBlockBytesMost = 48 << 10;  ///< of any group, bytes
  static constexpr std::size_t kBlocksPerCall = 16;

  CacheOptions cache;
  std::vector<NamespaceSpec> spaces;
  std::vector<std::vector<ChainKeys>> chains;  ///< per namespace; many share prefixes
  std::size_t clients = 1;
  std::size_t lanes = 1;       ///< calls of one client at once
  std::size_t operations = 0;  ///< per lane
  SimLinkFaults faults;
  Nanos pause_max = 0;        ///< between two operations of a lane
  double short_deadline = 0;  ///< share of calls whose deadline is about one transfer away
  double remove = 0;          ///< shares of operations
  double clear = 0;
  double lose_link = 0;
  double hint = 0;         ///< share of operations that are hints, decided before the others
  double told = 0;         ///< share of calls that say something of their request, true or not
  double stop_client = 0;  ///< share of operations before which the client stops for a while
  Nanos stop_max = 0;      ///< for at most so long
  bool locators_collide = false;
  bool leases = false;  ///< somebody leases what matches find, all the time
  NvmePlan nvme;
  HbmPlan hbm;

  /// For the message of a failure.
  [[nodiscard]] std::string ToString() const;
};

/// The streams of one seed. What concerns NVMe has one of its own, messages and stopped clients
/// another, leases, the policy, what is said of requests, what is written, and GPUs: each leaves
/// what the others draw alone.
struct SimulationStreams {
  explicit SimulationStreams(std::uint64_t seed)
      : general(seed),
        nvme(~seed),
        clients(seed ^ 0x5bd1e995'9d1b54a3U),
        leases(seed ^ 0x9e3779b9'7f4a7c15U),
        policy(seed ^ 0xc2b2ae3d'27d4eb4fU),
        told(seed ^ 0x165667b1'9e3779f9U),
        writes(seed ^ 0x27d4eb2f'85ebca77U),
        gpus(seed ^ 0x94d049bb'133111ebU) {}
  SeededRandom general, nvme, clients, leases, policy, told, writes, gpus;
};

SimulationPlan DrawPlan(SimulationStreams& streams, SimulationProfile profile);

/// How many tokens the block of a key holds: a function of the key, 1 to block_tokens.
std::uint32_t ValidTokens(KeyView key, std::uint32_t block_tokens);

}  // namespace terrace::testing
