// What one seed draws: sizes, rates, tenants, chains. Swarm testing: each seed leaves some things
// out and overdoes others, so that together they reach what no single setting would.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/sim_link.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tests/cache/cache_harness.h"

namespace terrace::testing {

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

  /// For the message of a failure.
  [[nodiscard]] std::string ToString() const;
};

SimulationPlan DrawPlan(Random& random);

/// How many tokens the block of a key holds: a function of the key, 1 to block_tokens.
std::uint32_t ValidTokens(KeyView key, std::uint32_t block_tokens);

}  // namespace terrace::testing
