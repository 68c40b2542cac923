#include "cache/chain_check.h"

#include <algorithm>
#include <bit>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/limits.h"

namespace terrace {

namespace {

Status CheckKey(const std::string& place, KeyView key) {
  if (!key.empty() && key.size() <= kKeyBytesMax) return {};
  return Status::Invalid(place + " has " + std::to_string(key.size()) + " bytes, must have 1 to " +
                         std::to_string(kKeyBytesMax));
}

Status CheckRun(const std::string& place, const RunSlice& run, std::uint32_t run_blocks) {
  // The place of a key is made into text only when there is something to say about it.
  if (run.placement.empty() || run.placement.size() > kKeyBytesMax) {
    return CheckKey(place + ".placement", run.placement);
  }
  if (run.parent.size() > kKeyBytesMax) return CheckKey(place + ".parent", run.parent);
  if (run.first_position == 0 && !run.parent.empty()) {
    return Status::Invalid(place + ".parent is set, but the run starts at position 0");
  }
  if (run.keys.empty()) return Status::Invalid(place + ".keys is empty");
  const std::uint64_t end = std::uint64_t{run.first_position} + run.keys.size();
  if (end > kChainBlocksMax) {
    return Status::Invalid(place + " ends at position " + std::to_string(end) +
                           ", a chain has at most " + std::to_string(kChainBlocksMax));
  }
  if (run.first_position % run_blocks + run.keys.size() > run_blocks) {
    return Status::Invalid(place + ": positions " + std::to_string(run.first_position) + " to " +
                           std::to_string(end - 1) + " do not lie in one run of " +
                           std::to_string(run_blocks) + " blocks");
  }
  for (std::size_t key = 0; key < run.keys.size(); ++key) {
    if (run.keys[key].empty() || run.keys[key].size() > kKeyBytesMax) {
      return CheckKey(place + ".keys[" + std::to_string(key) + "]", run.keys[key]);
    }
  }
  return {};
}

Status CheckPlace(const BlockPlace& place, std::size_t index, std::uint64_t block_bytes,
                  std::uint32_t block_tokens) {
  const auto named = [index] { return "places[" + std::to_string(index) + "]"; };
  if (Status status = CheckFrameRange(place.range, block_bytes); !status.ok()) {
    return Status::Invalid(named() + "." + status.message());
  }
  const FrameRange& range = place.range;
  const std::uint64_t bytes =
      range.bytes == 0 ? block_bytes - range.offset : range.bytes * range.count;
  std::uint64_t left = bytes;
  for (std::size_t piece = 0; piece < place.pieces.size(); ++piece) {
    const std::uint64_t length = place.pieces[piece].length;
    if (length == 0 || length > left) {
      return Status::Invalid(named() + ".pieces[" + std::to_string(piece) + "] has " +
                             std::to_string(length) + " bytes, must have 1 to the " +
                             std::to_string(left) + " left of the block's " +
                             std::to_string(bytes));
    }
    left -= length;
  }
  if (left != 0) {
    return Status::Invalid(named() + ".pieces have " + std::to_string(bytes - left) +
                           " bytes together, the block has " + std::to_string(bytes));
  }
  if (place.valid_tokens > block_tokens) {
    return Status::Invalid(named() + ".valid_tokens is " + std::to_string(place.valid_tokens) +
                           ", a block has " + std::to_string(block_tokens));
  }
  return {};
}

Status UnknownNamespace(std::uint32_t id) {
  return Status::Invalid("namespace_id: " + std::to_string(id) + " is unknown");
}

Status UnknownGroup(const std::string& place, const Namespace& space, std::uint32_t group) {
  return Status::Invalid(place + ": namespace '" + space.spec.name + "' has no group " +
                         std::to_string(group));
}

Status UnknownShard(const std::string& place, const Namespace& space, std::uint32_t shard) {
  return Status::Invalid(place + ": " + std::to_string(shard) + ", namespace '" + space.spec.name +
                         "' has " + std::to_string(space.spec.shard_count));
}

std::string PlaceIn(const char* list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

/// 1 to `most` numbers, each once.
Status CheckEach(const char* what, const std::vector<std::uint32_t>& numbers, std::size_t most) {
  if (numbers.empty() || numbers.size() > most) {
    return Status::Invalid("the number of " + std::string(what) + " is " +
                           std::to_string(numbers.size()) + ", not 1 to " + std::to_string(most));
  }
  std::unordered_set<std::uint32_t> seen;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (seen.insert(numbers[i]).second) continue;
    return Status::Invalid(PlaceIn(what, i) + ": " + std::to_string(numbers[i]) +
                           " is named twice");
  }
  return {};
}

/// The keys of all runs together.
Result<std::size_t> CheckRuns(const ChainSlice& chain, std::uint32_t run_blocks, ChainOrder order) {
  std::size_t keys = 0;
  std::uint64_t next_position = 0;
  for (std::size_t i = 0; i < chain.runs.size(); ++i) {
    const RunSlice& run = chain.runs[i];
    const std::string place = PlaceIn("runs", i);
    Status status = CheckRun(place, run, run_blocks);
    if (!status.ok()) return status;
    if (order == ChainOrder::kAscending && run.first_position < next_position) {
      return Status::Invalid(place + ".first_position is " + std::to_string(run.first_position) +
                             ", after position " + std::to_string(next_position - 1));
    }
    next_position = std::uint64_t{run.first_position} + run.keys.size();
    keys += run.keys.size();
    if (keys > kChainBlocksMax) {
      return Status::Invalid("runs: more than " + std::to_string(kChainBlocksMax) +
                             " keys together");
    }
  }
  return keys;
}

}  // namespace

Result<CheckedChain> CheckChain(const NamespaceRegistry& registry, const ChainSlice& chain,
                                ChainOrder order) {
  CheckedChain checked;
  checked.space = registry.Find(chain.namespace_id);
  if (checked.space == nullptr) return UnknownNamespace(chain.namespace_id);
  checked.block_bytes = checked.space->BlockBytes(chain.group);
  if (checked.block_bytes == 0) return UnknownGroup("group", *checked.space, chain.group);
  if (chain.shard >= checked.space->spec.shard_count) {
    return UnknownShard("shard", *checked.space, chain.shard);
  }
  const Result<std::size_t> keys = CheckRuns(chain, checked.space->spec.run_blocks, order);
  if (!keys.ok()) return keys.status();
  checked.keys = *keys;
  return checked;
}

Result<CheckedChain> CheckGroups(const NamespaceRegistry& registry, const GroupsQuery& query) {
  CheckedChain checked;
  checked.space = registry.Find(query.chain.namespace_id);
  if (checked.space == nullptr) return UnknownNamespace(query.chain.namespace_id);
  const Namespace& space = *checked.space;
  if (Status status = CheckEach("groups", query.groups, kGroupsMax); !status.ok()) return status;
  for (std::size_t i = 0; i < query.groups.size(); ++i) {
    if (space.BlockBytes(query.groups[i]) != 0) continue;
    return UnknownGroup(PlaceIn("groups", i), space, query.groups[i]);
  }
  if (Status status = CheckEach("shards", query.shards, kShardsMax); !status.ok()) return status;
  for (std::size_t i = 0; i < query.shards.size(); ++i) {
    if (query.shards[i] < space.spec.shard_count) continue;
    return UnknownShard(PlaceIn("shards", i), space, query.shards[i]);
  }
  const Result<std::size_t> keys =
      CheckRuns(query.chain, space.spec.run_blocks, ChainOrder::kAscending);
  if (!keys.ok()) return keys.status();
  checked.keys = *keys;
  // At most 64 x 4096 x 65,536: no overflow.
  const std::uint64_t blocks = query.groups.size() * query.shards.size() * checked.keys;
  if (blocks > kMatchBlocksMax) {
    return Status::Invalid("groups x shards x keys is " + std::to_string(blocks) + ", at most " +
                           std::to_string(kMatchBlocksMax));
  }
  return checked;
}

Status CheckPlaces(const CheckedChain& checked, const std::vector<BlockPlace>& places) {
  if (places.size() != checked.keys) {
    return Status::Invalid("places: " + std::to_string(places.size()) + " for " +
                           std::to_string(checked.keys) + " keys");
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    Status status = CheckPlace(places[i], i, checked.block_bytes, checked.space->spec.block_tokens);
    if (!status.ok()) return status;
  }
  return {};
}

std::vector<WantedBlock> WantedBlocks(const ChainSlice& chain, std::size_t keys, LocatorHash hash) {
  std::vector<WantedBlock> wanted;
  wanted.reserve(keys);
  bool ascending = true;
  for (std::size_t at = 0; at < chain.runs.size(); ++at) {
    const RunSlice& run = chain.runs[at];
    for (std::size_t i = 0; i < run.keys.size(); ++i) {
      const auto position = static_cast<std::uint32_t>(run.first_position + i);
      ascending = ascending && (wanted.empty() || wanted.back().position <= position);
      wanted.push_back({.key = run.keys[i],
                        .hash = HashLocator(hash, chain.group, chain.shard, run.keys[i]),
                        .position = position,
                        .index = static_cast<std::uint32_t>(wanted.size()),
                        .run = static_cast<std::uint32_t>(at)});
    }
  }
  if (!ascending) {
    std::sort(wanted.begin(), wanted.end(), [](const WantedBlock& left, const WantedBlock& right) {
      return std::pair(left.position, left.index) < std::pair(right.position, right.index);
    });
  }
  return wanted;
}

RequestFacts FactsIn(const Namespace& space, std::uint64_t block_bytes,
                     std::span<const WantedBlock> wanted, RequestFacts told) {
  told.tenant = space.tenant_id;
  told.space = space.id;
  told.block_bytes = static_cast<std::uint32_t>(block_bytes);
  if (!wanted.empty()) told.cost_per_byte = space.CostPerByte(wanted.back().position + 1ULL);
  return told;
}

std::vector<std::uint32_t> FirstOfSameKey(const std::vector<WantedBlock>& wanted) {
  constexpr std::uint32_t kEmpty = 0xffffffff;
  std::vector<std::uint32_t> first(wanted.size());
  std::vector<std::uint32_t> table(std::bit_ceil(2 * wanted.size() + 1), kEmpty);
  const std::size_t mask = table.size() - 1;
  for (std::uint32_t i = 0; i < wanted.size(); ++i) {
    std::size_t place = wanted[i].hash.high & mask;
    while (table[place] != kEmpty && !std::ranges::equal(wanted[table[place]].key, wanted[i].key)) {
      place = (place + 1) & mask;
    }
    if (table[place] == kEmpty) table[place] = i;
    first[i] = table[place];
  }
  return first;
}

}  // namespace terrace
