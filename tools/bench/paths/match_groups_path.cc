#include "tools/bench/paths/match_groups_path.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "tools/bench/load/block_workload.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint32_t kKeysMax = 2000;
constexpr std::uint32_t kGroups = 4;
constexpr std::uint32_t kShards = 2;
constexpr int kCallsPerRound = 200;
constexpr auto kCallMax = std::chrono::seconds(10);

double MedianMicroseconds(const std::function<void()>& call) {
  std::vector<double> times;
  for (int index = 0; index < kCallsPerRound; ++index) {
    const auto started = std::chrono::steady_clock::now();
    call();
    times.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - started)
            .count());
  }
  return Median(std::move(times));
}

NamespaceId Fill(Client& client) {
  NamespaceDescriptor descriptor = BenchNamespace(kBlockBytes);
  descriptor.name = "bench-groups";
  descriptor.shard_count = kShards;
  for (std::uint32_t group = 1; group < kGroups; ++group) {
    descriptor.groups.push_back({.id = group, .attention = "full", .block_bytes = kBlockBytes});
  }
  const Result<NamespaceId> space = client.OpenNamespace(descriptor, In(kCallMax));
  Require(space.status(), "open namespace");
  const Result<RegionId> region = client.AllocateRegion(kBlockBytes);
  Require(region.status(), "allocate region");
  const Chain chain = BenchChain(kKeysMax);
  std::vector<BlockBuffer> blocks(kKeysMax);
  for (std::uint32_t i = 0; i < kKeysMax; ++i) blocks[i] = {.position = i, .region = *region};
  for (std::uint32_t group = 0; group < kGroups; ++group) {
    for (std::uint32_t shard = 0; shard < kShards; ++shard) {
      const auto results =
          client.Put(*space, chain, blocks, {.group = group, .shard = shard}, In(kCallMax));
      Require(results.status(), "put");
      for (const BlockResult& result : *results) Require(Status(result.status), "put");
    }
  }
  Require(client.DeregisterMemory(*region), "deregister memory");
  return *space;
}

}  // namespace

double MedianAbovePing(Client& client, const std::function<void()>& call) {
  const double ping = MedianMicroseconds([&] { Require(client.Ping(In(kCallMax)), "ping"); });
  return std::max(0.1, MedianMicroseconds(call) - ping);
}

void BenchMatchGroups(const BenchOptions& options, Client& client, std::vector<Figure>& figures) {
  struct Case {
    std::uint32_t keys, groups, shards;
    MatchMode mode;
    double limit_us;
  };
  // The design has limits for one group and shard: 50 us up to 256 blocks, 400 us up to 2000. With
  // a lease the call and its release are timed.
  constexpr Case kCases[] = {{256, 1, 1, MatchMode::kProbe, 50},
                             {2000, 1, 1, MatchMode::kProbe, 400},
                             {256, 4, 2, MatchMode::kProbe, 400},
                             {256, 1, 1, MatchMode::kLease, 50},
                             {2000, 1, 1, MatchMode::kLease, 400}};
  const NamespaceId space = Fill(client);
  for (const Case& one : kCases) {
    const Chain chain = BenchChain(one.keys);
    MatchQuery query{.groups = {}, .shards = {}, .mode = one.mode};
    for (std::uint32_t group = 0; group < one.groups; ++group) {
      query.groups.push_back({.group = group});
    }
    for (std::uint32_t shard = 0; shard < one.shards; ++shard) query.shards.push_back(shard);
    const std::string size = std::to_string(one.keys) + "_keys_" + std::to_string(one.groups) +
                             "x" + std::to_string(one.shards);
    figures.push_back(ComparePairs(
        "match_groups_" + size + (one.mode == MatchMode::kLease ? "_lease" : "") + "_above_ping",
        "us", "design: above an empty request", [&] { return one.limit_us; },
        [&] {
          return MedianAbovePing(client, [&] {
            const auto match = client.MatchGroups(space, chain, query, In(kCallMax));
            Require(match.status(), "match groups");
            Require(Status(match->longest == one.keys ? match->lease_status : StatusCode::kMiss),
                    "match groups");
            if (one.mode == MatchMode::kLease)
              Require(client.ReleaseLease(match->lease), "release");
          });
        },
        {.rounds = options.rounds, .higher_is_better = false}));
  }
  Require(client.ClearNamespace("bench-groups", In(kCallMax)).status(), "clear namespace");
}

}  // namespace terrace::bench
