#include "client/request/prefix_match.h"

#include <algorithm>

namespace terrace {
namespace {

/// Per block of the chain: it is ready on every shard of a group.
std::vector<char> ReadyOnAllShards(const PrefixQuestion& question, const PrefixMatch& match,
                                   std::size_t group) {
  std::vector<char> ready(question.blocks, 1);
  const std::size_t shards = question.shards.size();
  for (std::size_t shard = 0; shard < shards; ++shard) {
    const std::vector<Presence>& blocks = match.found[group * shards + shard].blocks;
    for (std::size_t i = 0; i < ready.size(); ++i) ready[i] &= blocks[i] == Presence::kReady;
  }
  return ready;
}

/// stops[n - 1]: the group allows the engine to continue after n blocks.
void Restrict(const GroupPolicy& policy, const std::vector<char>& ready, std::vector<char>& stops) {
  std::uint32_t row = 0;  // ready blocks up to here, without a gap
  for (std::uint32_t i = 0; i < ready.size(); ++i) {
    row = ready[i] != 0 ? row + 1 : 0;
    const std::uint32_t stop = i + 1;
    switch (policy.policy) {
      case StopPolicy::kAll: stops[i] &= row == stop; break;
      case StopPolicy::kTrailing: stops[i] &= row >= std::min(policy.blocks, stop); break;
      case StopPolicy::kExact: stops[i] &= ready[i] != 0 && stop % policy.blocks == 0; break;
      case StopPolicy::kSparse: break;
    }
  }
}

}  // namespace

std::vector<GroupPresence> UnknownPresence(const PrefixQuestion& question) {
  std::vector<GroupPresence> found;
  found.reserve(question.pairs());
  for (const GroupPolicy& policy : question.groups) {
    for (const std::uint32_t shard : question.shards) {
      GroupPresence& pair = found.emplace_back();
      pair.group = policy.group;
      pair.shard = shard;
      pair.blocks.assign(question.blocks, Presence::kRetry);
      pair.tiers.assign(question.blocks, Tier::kNone);
      pair.sources.assign(question.blocks, kNoSource);
      pair.policy = policy;
      const auto number = static_cast<std::size_t>(&policy - question.groups.data());
      if (number < question.block_bytes.size()) pair.block_bytes = question.block_bytes[number];
    }
  }
  return found;
}

void EnterPart(std::span<const std::uint32_t> positions, const PrefixPart& part,
               std::uint16_t first_source, std::vector<GroupPresence>& found) {
  if (!part.answered) return;
  std::size_t cell = 0;
  for (GroupPresence& pair : found) {
    for (const std::uint32_t position : positions) {
      pair.blocks[position] = part.presence[cell];
      pair.tiers[position] = part.tiers[cell];
      if (part.presence[cell] == Presence::kReady) {
        pair.sources[position] = part.loads.SourceOf(cell, first_source);
      }
      ++cell;
    }
  }
}

void FindStops(const PrefixQuestion& question, PrefixMatch& match) {
  for (GroupPresence& pair : match.found) {
    const auto gap =
        std::ranges::find_if(pair.blocks, [](Presence block) { return block != Presence::kReady; });
    pair.consecutive = static_cast<std::uint32_t>(gap - pair.blocks.begin());
  }
  const bool only_sparse = std::ranges::all_of(question.groups, [](const GroupPolicy& policy) {
    return policy.policy == StopPolicy::kSparse;
  });
  std::vector<char> stops(question.blocks, only_sparse ? 0 : 1);
  for (std::size_t group = 0; group < question.groups.size(); ++group) {
    const std::vector<char> ready = ReadyOnAllShards(question, match, group);
    if (only_sparse) {
      for (std::size_t i = 0; i < stops.size(); ++i) stops[i] |= ready[i];
    } else {
      Restrict(question.groups[group], ready, stops);
    }
  }
  for (std::uint32_t i = 0; i < stops.size(); ++i) {
    if (stops[i] != 0) match.stops.push_back(i + 1);
  }
  match.longest = match.stops.empty() ? 0 : match.stops.back();
}

bool NeededAt(const GroupPolicy& policy, std::uint32_t longest, std::uint32_t position) noexcept {
  if (position >= longest) return false;
  switch (policy.policy) {
    case StopPolicy::kTrailing: return longest - position <= policy.blocks;
    case StopPolicy::kExact: return position + 1 == longest;
    default: return true;
  }
}

NeededCells CellsNeeded(const PrefixQuestion& question, std::span<const std::uint32_t> positions,
                        const PrefixPart& part, std::uint32_t longest) {
  NeededCells cells;
  cells.bits.resize((part.presence.size() + 7) / 8);
  std::size_t cell = 0;
  for (const GroupPolicy& policy : question.groups) {
    for (std::size_t shard = 0; shard < question.shards.size(); ++shard) {
      for (const std::uint32_t position : positions) {
        const std::size_t here = cell++;
        if (!part.answered || part.presence[here] != Presence::kReady) continue;
        ++cells.ready;
        if (!NeededAt(policy, longest, position)) continue;
        ++cells.needed;
        cells.bits[here / 8] |= std::byte{1} << (here % 8);
      }
    }
  }
  return cells;
}

}  // namespace terrace
