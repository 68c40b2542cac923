// ShardPlan: which keys of a chain go to which reactor of the daemon.
//
// A chain is cut into runs of run_blocks keys; the first key of a run places all of it (ShardOf in
// transport/server.h). A stretch is a piece of one run whose positions follow each other: it
// becomes one wire::Run. Within a plan stretches stand in chain order. Any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "client/terrace.hpp"

namespace terrace {

/// Consecutive positions within one run.
struct Stretch {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

/// What one reactor is asked for.
struct ShardPlan {
  std::uint32_t shard = 0;
  std::vector<Stretch> stretches;
  /// Per key, in the order of the stretches: its entry in the caller's list.
  std::vector<std::uint32_t> blocks;
};

/// Where a match's stretches went, in chain order.
struct MatchStep {
  std::uint32_t plan = 0;  ///< index of the ShardPlan
  std::uint32_t count = 0;
};

/// How a namespace's chains are placed.
struct Placement {
  std::uint32_t daemon_namespace = 0;
  std::uint32_t run_blocks = 1;  ///< at least 1
  std::uint32_t shards = 1;      ///< at least 1
};

/// The key that places `position`: the first of its run. REQUIRES: position < chain.size().
[[nodiscard]] std::span<const std::byte> PlacementKey(const Chain& chain,
                                                      const Placement& placement,
                                                      std::uint32_t position) noexcept;

/// Positions [first, first + count), which lie in the chain. blocks[i] counts from `first`. `steps`
/// may be null.
[[nodiscard]] std::vector<ShardPlan> PlanRange(const Chain& chain, const Placement& placement,
                                               std::uint32_t first, std::uint32_t count,
                                               std::vector<MatchStep>* steps);

/// The positions of `blocks`, in any order, each once and in the chain. ShardPlan::blocks are
/// indices into `blocks`.
[[nodiscard]] std::vector<ShardPlan> PlanBlocks(const Chain& chain, const Placement& placement,
                                                std::span<const BlockBuffer> blocks);

/// What is said of the leading blocks over all plans: `tiers[i]` is what plan i's reactor said, one
/// entry per leading key of that plan. A run counts only when all runs before it are complete.
template <typename T>
[[nodiscard]] std::vector<T> CombineMatch(std::span<const MatchStep> steps,
                                          std::span<const std::span<const T>> tiers) {
  std::vector<T> matched;
  std::vector<std::size_t> taken(tiers.size(), 0);
  for (const MatchStep& step : steps) {
    const std::span<const T> rest = tiers[step.plan].subspan(taken[step.plan]);
    const std::size_t found = std::min<std::size_t>(step.count, rest.size());
    matched.insert(matched.end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(found));
    taken[step.plan] += found;
    if (found < step.count) break;
  }
  return matched;
}

}  // namespace terrace
