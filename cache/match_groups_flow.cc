// match over groups: find every block of a chain for every pair of a group and a shard, a batch of
// keys at a time, and lease what is ready as it is found.
#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "base/counter.h"
#include "base/wait.h"
#include "cache/cache_impl.h"
#include "cache/nvme_side.h"

namespace terrace {

namespace {
/// Blocks looked up without a wait before others run: about 200 us of them.
constexpr std::size_t kYieldEvery = 4096;
constexpr std::size_t kBatch = 64;
}  // namespace

/// Lives in the frame of MatchGroups.
struct Cache::Impl::GroupsState {
  const GroupsQuery& query;
  GroupsAnswer answer;
  LeaseNumber lease = 0;
  bool too_much = false;  ///< to be leased
  std::array<WantedBlock, kBatch> wanted;
  std::array<BlockId, kBatch> found;
  std::size_t filled = 0;
  std::uint64_t ready = 0;
};

Task<GroupsAnswer> Cache::Impl::MatchGroups(const GroupsQuery& query) {
  const FlowCount counted(*this);
  Count(counters.match_requests);
  GroupsState state{.query = query, .answer = {}, .wanted = {}, .found = {}};
  GroupsAnswer& answer = state.answer;
  const Result<CheckedChain> checked = CheckGroups(registry, query);
  if (!checked.ok()) {
    answer.status = checked.status();
    co_return std::move(answer);
  }
  const std::size_t blocks = query.groups.size() * query.shards.size() * checked->keys;
  Count(counters.match_blocks, blocks);
  answer.presence.reserve(blocks);
  answer.tiers.reserve(blocks);
  answer.sources.reserve(blocks);
  if (query.lease_for > 0) {
    state.lease = leases.Begin(query.holder);
    state.too_much = state.lease == 0;
  }
  std::size_t next_yield = kYieldEvery;
  for (const std::uint32_t group : query.groups) {
    for (const std::uint32_t shard : query.shards) {
      const ChainSlice pair{
          .namespace_id = query.chain.namespace_id, .group = group, .shard = shard, .runs = {}};
      for (const RunSlice& run : query.chain.runs) {
        for (const KeyView key : run.keys) {
          WantedBlock& wanted = state.wanted[state.filled++];
          wanted.key = key;
          wanted.hash = HashLocator(options.locator_hash, group, shard, key);
          if (state.filled == kBatch) LookUpGroup(state, pair);
          if (answer.presence.size() < next_yield) continue;
          next_yield += kYieldEvery;
          co_await Yield{};
        }
      }
      LookUpGroup(state, pair);
    }
  }
  Count(counters.match_hits, state.ready);
  if (query.link != nullptr) answer.load_from = estimate.Sources(*query.link);
  if (query.lease_for == 0) co_return std::move(answer);
  if (state.too_much) {
    leases.Refuse(state.lease);
    answer.lease_status = StatusCode::kRetry;
  } else if (leases.Start(state.lease, clock.Now() + query.lease_for)) {
    answer.lease = state.lease;
  } else {
    answer.lease_status = StatusCode::kMiss;
  }
  co_return std::move(answer);
}

void Cache::Impl::LookUpGroup(GroupsState& state, const ChainSlice& pair) {
  const std::size_t filled = std::exchange(state.filled, 0);
  FindBatch(pair, std::span(state.wanted).first(filled), std::span(state.found).first(filled));
  for (std::size_t i = 0; i < filled; ++i) {
    if (state.found[i] != kNoBlock) continue;
    departed.Prefetch({.namespace_id = pair.namespace_id, .hash = state.wanted[i].hash});
  }
  for (std::size_t i = 0; i < filled; ++i) {
    const BlockId id = state.found[i];
    Presence presence = Presence::kMiss;
    TierKind tier = TierKind::kNone;
    if (id != kNoBlock && (*index)[id].state != BlockState::kPublished) {
      presence = Presence::kPending;
    } else if (id != kNoBlock) {
      tier = TierOf(id);
      presence = tier == TierKind::kNone ? Presence::kRetry : Presence::kReady;
    }
    if (presence != Presence::kReady) {
      CountMatchMiss(
          WhyNotReady(id, {.namespace_id = pair.namespace_id, .hash = state.wanted[i].hash}));
    } else {
      ++state.ready;
      // All that is ready or nothing: what goes beyond the limit makes the rest be let go, too.
      const auto cell = static_cast<std::uint32_t>(state.answer.presence.size());
      if (state.lease != 0 && !state.too_much) state.too_much = !leases.Add(state.lease, id, cell);
    }
    state.answer.presence.push_back(presence);
    state.answer.tiers.push_back(tier);
    state.answer.sources.push_back(presence == Presence::kReady ? SourceOf(id) : 0);
  }
}

}  // namespace terrace
