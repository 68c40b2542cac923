// PrefixMatch: from what each reactor found to where an engine can continue. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "client/plan/load_part.h"
#include "client/terrace.hpp"

namespace terrace {

/// What a match over groups asks: a validated query, its shards spelled out.
struct PrefixQuestion {
  std::vector<GroupPolicy> groups;
  std::vector<std::uint32_t> shards;
  std::uint32_t blocks = 0;    ///< of the chain
  std::uint32_t lease_ms = 0;  ///< 0: a probe
  std::uint32_t block_tokens = 0;
  std::vector<std::uint64_t> block_bytes{};  ///< per group

  [[nodiscard]] std::size_t pairs() const noexcept { return groups.size() * shards.size(); }
};

/// What one reactor said of its keys; its cells are ordered as in MatchGroupsReply.
struct PrefixPart {
  bool answered = false;
  std::vector<Presence> presence;
  std::vector<Tier> tiers;
  LoadPart loads;  ///< likewise
  std::uint64_t lease = 0;
  StatusCode lease_status = StatusCode::kOk;
};

/// An entry per group and shard, everything kRetry: what no reactor has said anything of.
[[nodiscard]] std::vector<GroupPresence> UnknownPresence(const PrefixQuestion& question);
/// Enters what one reactor said; positions[i]: of its key i in the chain. `first_source`: of its
/// own among all, kNoSource when it says nothing of times.
void EnterPart(std::span<const std::uint32_t> positions, const PrefixPart& part,
               std::uint16_t first_source, std::vector<GroupPresence>& found);

/// Computes `consecutive` of each entry of found, `stops` and `longest`, as types.hpp says.
void FindStops(const PrefixQuestion& question, PrefixMatch& match);

/// True when stopping after `longest` blocks needs the block at `position` of a group of that
/// policy; of a sparse group, when it is of use there.
[[nodiscard]] bool NeededAt(const GroupPolicy& policy, std::uint32_t longest,
                            std::uint32_t position) noexcept;

/// A bit per cell of a part, as TrimLease has them: what is ready, and needed for `longest`.
struct NeededCells {
  std::vector<std::byte> bits;
  std::size_t needed = 0;
  std::size_t ready = 0;
};
[[nodiscard]] NeededCells CellsNeeded(const PrefixQuestion& question,
                                      std::span<const std::uint32_t> positions,
                                      const PrefixPart& part, std::uint32_t longest);

}  // namespace terrace
