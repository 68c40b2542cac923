// What one seed draws: sizes, rates, tenants, chains. Swarm testing: each seed leaves some things
// out and overdoes others, so that together they reach what no single setting would.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/device_faulty.h"
#include "base/random.h"
#include "base/sim_link.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tests/cache/cache_harness.h"

namespace terrace::testing {

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
  bool locators_collide = false;
  NvmePlan nvme;

  /// For the message of a failure.
  [[nodiscard]] std::string ToString() const;
};

/// What concerns NVMe is drawn from a stream of its own: it leaves the rest of a seed alone.
SimulationPlan DrawPlan(Random& random, Random& nvme_random);

/// How many tokens the block of a key holds: a function of the key, 1 to block_tokens.
std::uint32_t ValidTokens(KeyView key, std::uint32_t block_tokens);

}  // namespace terrace::testing
