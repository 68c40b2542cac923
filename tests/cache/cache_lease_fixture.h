// Matches over groups with leases, as the tests of the cache ask for them.
#pragma once

#include <string>
#include <vector>

#include "tests/cache/cache_harness.h"

namespace terrace::testing {

/// One chain over every pair of `groups` and `shards`. The keys outlive it.
inline GroupsQuery QueryOf(const Namespace& space, const ChainKeys& chain,
                           std::vector<std::uint32_t> groups, std::vector<std::uint32_t> shards,
                           Nanos lease_for = 0, LeaseHolder holder = 1) {
  return {.chain = SliceOf(space, chain, 0, chain.size()),
          .groups = std::move(groups),
          .shards = std::move(shards),
          .holder = holder,
          .lease_for = lease_for};
}

/// "r" ready, "p" pending, "-" miss, "?" retry, a letter a block.
inline std::string PresenceText(const GroupsAnswer& answer) {
  std::string text;
  for (const Presence presence : answer.presence) text += "-rp?"[static_cast<int>(presence)];
  return text;
}

}  // namespace terrace::testing
