// The eviction policies that there are, by name.
//
// Each looks at single blocks as the literature does, but for leaf-lru and terrace, the default,
// which know that a block is useless without its ancestors. Sources: lfu with counts up to 255 and
// the least recently used first among equals; s3fifo: Yang et al., "FIFO queues are all you need
// for cache eviction", SOSP 2023 (small queue 10 %, ghosts for as many blocks as the main queue
// holds, counts up to 3); sieve: Zhang et al., "SIEVE is simpler than LRU", NSDI 2024.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "cache/policy/eviction_policy.h"

namespace terrace {

struct PolicyKind {
  std::string_view name;
  std::string_view what;  ///< one line for a person
  std::unique_ptr<EvictionPolicy> (*make)(std::size_t capacity_blocks);
};

/// All of them, the default first.
[[nodiscard]] std::span<const PolicyKind> Policies() noexcept;
inline constexpr std::string_view kDefaultPolicy = "terrace";

/// kInvalid lists the names there are.
Result<const PolicyKind*> FindPolicy(std::string_view name);

/// Least recently used, suffix first: within a chain the deeper block always goes before its
/// ancestor, because Touch makes the head the most recent, and Insert puts a block just behind
/// its parent.
std::unique_ptr<EvictionPolicy> MakeLeafLruPolicy(std::size_t capacity_blocks);
/// Least recently used: the blocks of a chain were used in prefix order, so its head goes first.
std::unique_ptr<EvictionPolicy> MakeLruPolicy(std::size_t capacity_blocks);
std::unique_ptr<EvictionPolicy> MakeFifoPolicy(std::size_t capacity_blocks);
std::unique_ptr<EvictionPolicy> MakeLfuPolicy(std::size_t capacity_blocks);
std::unique_ptr<EvictionPolicy> MakeS3FifoPolicy(std::size_t capacity_blocks);
/// Keeps what is expected back soonest, as it has learned (docs/policy.md).
std::unique_ptr<EvictionPolicy> MakeTerracePolicy(std::size_t capacity_blocks);
std::unique_ptr<EvictionPolicy> MakeSievePolicy(std::size_t capacity_blocks);

}  // namespace terrace
