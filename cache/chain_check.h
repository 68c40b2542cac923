// Checks of what a request asks for, before anything is touched. Each refusal is kInvalid and names
// the argument and its place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "cache/cache.h"
#include "cache/locator.h"

namespace terrace {

/// What a chain slice resolves to.
struct CheckedChain {
  const Namespace* space = nullptr;
  std::uint64_t block_bytes = 0;
  std::size_t keys = 0;  ///< over all runs
};

/// Whether the keys must come in ascending order of positions.
enum class ChainOrder { kAny, kAscending };

/// Namespace, group and shard exist; placements, parents and keys have 1 to 64 bytes (a parent may
/// be absent, and is at position 0); each run lies inside one run of the namespace; at most
/// kChainBlocksMax keys.
Result<CheckedChain> CheckChain(const NamespaceRegistry& registry, const ChainSlice& chain,
                                ChainOrder order);

/// The same of a query over groups and shards, each of which exists and is named once; its runs
/// ascend, and groups x shards x keys are at most kMatchBlocksMax.
Result<CheckedChain> CheckGroups(const NamespaceRegistry& registry, const GroupsQuery& query);

/// One place per key; its range lies in the block, and its pieces are together as long as that;
/// valid_tokens fit the block.
Status CheckPlaces(const CheckedChain& checked, const std::vector<BlockPlace>& places);

/// One block that a request is about. The key lives as long as the request.
struct WantedBlock {
  KeyView key;
  Hash128 hash;
  std::uint32_t position = 0;
  std::uint32_t index = 0;  ///< in the request, and so in its answer
  std::uint32_t run = 0;    ///< of the chain slice; set by WantedBlocks
};

/// The keys of a checked chain, in ascending order of positions.
std::vector<WantedBlock> WantedBlocks(const ChainSlice& chain, std::size_t keys, LocatorHash hash);

/// What a request is, with what is known of its namespace.
RequestFacts FactsIn(const Namespace& space, std::uint64_t block_bytes,
                     std::span<const WantedBlock> wanted, RequestFacts told);

/// same[i] is the lowest j with wanted[j].key == wanted[i].key: i itself unless the key repeats.
std::vector<std::uint32_t> FirstOfSameKey(const std::vector<WantedBlock>& wanted);

}  // namespace terrace
