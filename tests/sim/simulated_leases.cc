// A client that leases what matches find, beside the lanes, and a judge of those leases.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/cache/cache_lease_fixture.h"
#include "tests/sim/simulation.h"

namespace terrace::testing {

namespace {

constexpr std::uint64_t kHolders = 3;
constexpr int kLooks = 3;  // at one lease

/// At least one of 0 to count - 1, in some order.
std::vector<std::uint32_t> Some(Random& random, std::uint32_t count) {
  std::vector<std::uint32_t> some;
  const auto first = static_cast<std::uint32_t>(random.Below(count));
  for (std::uint32_t i = 0; i < count; ++i) {
    if (i == 0 || random.Chance(0.5)) some.push_back((first + i) % count);
  }
  return some;
}

}  // namespace

Task<void> Simulation::Leaser() {
  SeededRandom& random = streams_.leases;
  while (lanes_left_ > 0 && oracle_->failure().empty()) {
    const auto pause = static_cast<std::uint64_t>(plan_.pause_max);
    co_await SleepUntil{time_.Now() + static_cast<Nanos>(random.Below(2 * pause + 1))};
    if (!down_ && lanes_left_ > 0) co_await LeaseOnce(1 + random.Below(kHolders));
  }
}

Task<void> Simulation::LeaseOnce(LeaseHolder holder) {
  SeededRandom& random = streams_.leases;
  const std::size_t number = random.Below(spaces_.size());
  const Namespace* const space = spaces_[number];
  const ChainKeys& chain = plan_.chains[number][random.Below(plan_.chains[number].size())];
  const std::size_t first = random.Below(chain.size());
  const std::size_t count = random.Between(1, chain.size() - first);
  std::vector<std::uint32_t> groups;
  for (const std::uint32_t index :
       Some(random, static_cast<std::uint32_t>(space->spec.groups.size()))) {
    groups.push_back(space->spec.groups[index].id);
  }
  const Nanos time = static_cast<Nanos>(random.Between(1, 50)) * kMillisecond;
  const GroupsQuery query{.chain = SliceOf(*space, chain, first, count),
                          .groups = std::move(groups),
                          .shards = Some(random, space->spec.shard_count),
                          .holder = holder,
                          .lease_for = time};
  const std::uint64_t crashes = oracle_->crashes();
  const std::uint64_t forgets = forgets_[space];
  // Of another time and run everything may have changed; by now it has not ended.
  const Nanos surely_until = time_.Now() + time;
  const GroupsAnswer leased = co_await cache_->MatchGroups(query);
  if (!leased.status.ok()) oracle_->Fail("match refused: " + leased.status.ToString());
  Note(leased.lease);
  if (leased.lease == 0) co_return;
  ++report_.leases;
  for (int look = 0; look < kLooks; ++look) {
    co_await SleepUntil{time_.Now() +
                        static_cast<Nanos>(random.Below(static_cast<std::uint64_t>(time)))};
    if (time_.Now() >= surely_until || down_ || crashes != oracle_->crashes()) co_return;
    if (forgets != forgets_[space]) break;
    JudgeLease(query, leased);
  }
  if (random.Chance(0.3)) co_return;  // it ends by its time
  if (random.Chance(0.3)) {
    cache_->leases().EndHolder(holder);
  } else if (random.Chance(0.3)) {
    const StatusCode code = cache_->leases().Renew(holder, leased.lease, time).code();
    // A GPU that is lost takes what was in its memory alone.
    const bool gpu_lost = cache_->Counters().hbm_gpus_offline.load() > 0 &&
                          std::ranges::count(leased.tiers, TierKind::kHbm) > 0;
    const bool may_break = forgets != forgets_[space] || gpu_lost ||
                           std::ranges::count(leased.tiers, TierKind::kNvme) > 0;
    if (code != StatusCode::kOk && !(code == StatusCode::kExpired && may_break)) {
      oracle_->Fail("O10: a lease that nothing ended is not renewed");
    }
  } else {
    (void)cache_->leases().Release(holder, leased.lease);
  }
}

void Simulation::JudgeLease(const GroupsQuery& query, const GroupsAnswer& leased) {
  std::size_t cell = 0;
  for (const std::uint32_t group : query.groups) {
    for (const std::uint32_t shard : query.shards) {
      ChainSlice pair = query.chain;
      pair.group = group;
      pair.shard = shard;
      for (const RunSlice& run : query.chain.runs) {
        for (std::size_t i = 0; i < run.keys.size(); ++i, ++cell) {
          if (leased.tiers[cell] != TierKind::kDram) continue;
          ++report_.leases_judged;
          const auto position = static_cast<std::uint32_t>(run.first_position + i);
          pair.runs = {{.placement = run.placement,
                        .first_position = position,
                        .parent = i == 0 ? run.parent : run.keys[i - 1],
                        .keys = {run.keys[i]}}};
          const MatchAnswer now = cache_->Match(pair);
          if (now.tiers == std::vector<TierKind>{TierKind::kDram}) continue;
          return oracle_->Fail("O10: a block that was leased in DRAM has gone from there");
        }
      }
    }
  }
}

}  // namespace terrace::testing
