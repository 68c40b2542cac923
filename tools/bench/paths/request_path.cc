// The paths `match` and `idle`: what asking costs, and what being there costs.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/paths.h"
#include "tools/bench/paths/match_groups_path.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint64_t kDramBytes = 256ULL << 20;
constexpr auto kCallMax = std::chrono::seconds(10);
constexpr auto kIdleWindow = std::chrono::seconds(10);

std::unique_ptr<Client> Connect(const std::string& address) {
  Result<std::unique_ptr<Client>> client =
      Client::Connect({.address = address, .name = "terrace-bench"});
  Require(client.status(), "connect to " + address);
  return std::move(client).value();
}

}  // namespace

std::vector<Figure> BenchMatch(const BenchOptions& options) {
  struct Case {
    std::uint32_t keys;
    double limit_us;
  };
  // The limit is a time that is asked for; what is compared with it is what a match takes above an
  // empty request.
  constexpr Case kCases[] = {{256, 50}, {2000, 400}};
  const DaemonProcess daemon({.dram_bytes = kDramBytes});
  const auto client = Connect(daemon.address());
  std::vector<Figure> figures;
  const std::uint64_t cold = 16384 * kBlockBytes;  // more blocks than one match asks for
  const BlockWorkload workload(*client, kBlockBytes, cold);
  const auto space = client->OpenNamespace(BenchNamespace(kBlockBytes), In(kCallMax));
  Require(space.status(), "open namespace");
  for (const Case& one : kCases) {
    const Chain chain = BenchChain(one.keys);
    figures.push_back(ComparePairs(
        "match_" + std::to_string(one.keys) + "_keys_above_ping", "us",
        "design: above an empty request", [&] { return one.limit_us; },
        [&] {
          return MedianAbovePing(*client, [&] {
            const auto result = client->Match(*space, chain, {}, In(kCallMax));
            Require(result.status(), "match");
            if (result->matched != one.keys) {
              Require(Status(StatusCode::kMiss, std::to_string(result->matched)), "match");
            }
          });
        },
        {.rounds = options.rounds, .higher_is_better = false}));
  }
  BenchMatchGroups(options, *client, figures);
  return figures;
}

std::vector<Figure> BenchIdle(const BenchOptions& options) {
  const DaemonProcess daemon({.dram_bytes = kDramBytes});
  std::vector<Figure> figures;
  std::vector<std::unique_ptr<Client>> clients;
  for (const std::size_t count : {std::size_t{0}, std::size_t{64}}) {
    while (clients.size() < count) clients.push_back(Connect(daemon.address()));
    std::this_thread::sleep_for(std::chrono::seconds(1));
    figures.push_back(ComparePairs(
        "idle_cpu_" + std::to_string(count) + "_clients", "%", "design: 0.5 % of one CPU",
        [] { return 0.5; },
        [&] {
          const CpuTimes before = daemon.Cpu();
          std::this_thread::sleep_for(kIdleWindow);
          const CpuTimes after = daemon.Cpu();
          const double used = (after - before).total();
          // The kernel counts in ticks of 10 ms: less than one is shown as half of one.
          return std::max(0.005, used) / std::chrono::duration<double>(kIdleWindow).count() * 100;
        },
        {.rounds = std::max(1, options.rounds / 4), .higher_is_better = false, .by_state = false}));
  }
  return figures;
}

}  // namespace terrace::bench
