// The path `fanout`: 64 clients at once, of one daemon with one reactor.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlockBytes = kMiB;
constexpr std::uint64_t kSetBytes = 512 * kMiB;  // cold: more than 4 times the last-level cache
constexpr std::uint64_t kDramBytes = 1024 * kMiB;
constexpr std::uint32_t kBlocksPerCall = 4;
// Of each client, so that one alone writes into cold memory as 64 do.
constexpr std::uint32_t kMemoryBlocks = 64;
constexpr std::size_t kClients = 64;
constexpr auto kWindow = std::chrono::milliseconds(400);
constexpr auto kCallMax = std::chrono::seconds(10);
constexpr double kIdleClientBytes = 1 << 20;  // design
constexpr std::uint32_t kPrime = 257;         // clients walk the set from different places

/// One engine: a client of its own, and memory that its calls fill one after the other.
class Engine {
 public:
  Engine(const std::string& address, std::size_t number)
      : client_(ConnectOnThisHost(address)),
        chain_(BenchChain(static_cast<std::uint32_t>(kSetBytes / kBlockBytes))),
        next_(static_cast<std::uint32_t>(number) * kPrime) {
    const auto space = client_->OpenNamespace(BenchNamespace(kBlockBytes), In(kCallMax));
    Require(space.status(), "open namespace");
    space_ = *space;
    const auto region = client_->AllocateRegion(kMemoryBlocks * kBlockBytes);
    Require(region.status(), "allocate");
    region_ = *region;
  }

  /// Gets blocks until `stop`, and returns how many bytes came.
  std::uint64_t GetUntil(const std::atomic<bool>& stop) {
    std::uint64_t bytes = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      std::vector<BlockBuffer> blocks(kBlocksPerCall);
      for (std::uint32_t i = 0; i < kBlocksPerCall; ++i) {
        blocks[i] = {.position = (next_ + i) % chain_.size(),
                     .region = region_,
                     .offset = (place_ + i) * kBlockBytes};
      }
      place_ = (place_ + kBlocksPerCall) % kMemoryBlocks;
      next_ = (next_ + kBlocksPerCall) % chain_.size();
      const auto results = client_->Get(space_, chain_, blocks, {}, In(kCallMax));
      Require(results.status(), "get");
      for (const BlockResult& result : *results) Require(Status(result.status), "get");
      bytes += kBlocksPerCall * kBlockBytes;
    }
    return bytes;
  }

 private:
  std::unique_ptr<Client> client_;
  const Chain chain_;
  std::uint32_t next_;
  std::uint32_t place_ = 0;  // in its memory, blocks
  NamespaceId space_;
  RegionId region_;
};

/// Bytes that each of the first `count` engines got within a window, all at once.
std::vector<double> GetAtOnce(std::vector<std::unique_ptr<Engine>>& engines, std::size_t count,
                              double& seconds) {
  std::vector<double> bytes(count);
  std::vector<std::thread> threads;
  std::atomic<bool> stop{false};
  const auto started = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] { bytes[i] = static_cast<double>(engines[i]->GetUntil(stop)); });
  }
  std::this_thread::sleep_until(started + kWindow);
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return bytes;
}

double Rate(const std::vector<double>& bytes, double seconds) {
  return std::accumulate(bytes.begin(), bytes.end(), 0.0) / seconds / 1e9;
}

/// Memory that a process has touched and that is there, bytes; also what it shares with a client.
double ResidentBytes(pid_t pid) {
  std::ifstream rollup("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::string word;
  double kib = 0;
  while (rollup >> word) {
    if (word != "Rss:") continue;
    rollup >> kib;
    break;
  }
  if (kib == 0) Require(Status(StatusCode::kIo, "smaps_rollup has no Rss"), "memory");
  return kib * 1024;
}

Figure IdleClientMemory(const DaemonProcess& daemon, const BenchOptions& options) {
  std::vector<std::unique_ptr<Client>> kept;  // so that the daemon's pools have grown once
  for (std::size_t i = 0; i < kClients; ++i) kept.push_back(ConnectOnThisHost(daemon.address()));
  return ComparePairs(
      "idle_client_memory", "bytes", "design: 1 MiB of the daemon's memory",
      [] { return kIdleClientBytes; },
      [&] {
        const double before = ResidentBytes(daemon.pid());
        std::vector<std::unique_ptr<Client>> clients;
        for (std::size_t i = 0; i < kClients; ++i) {
          clients.push_back(ConnectOnThisHost(daemon.address()));
        }
        const double after = ResidentBytes(daemon.pid());
        return std::max(1.0, (after - before) / static_cast<double>(kClients));
      },
      {.rounds = std::max(1, options.rounds / 4), .higher_is_better = false, .by_state = false});
}

}  // namespace

std::vector<Figure> BenchFanout(const BenchOptions& options) {
  const DaemonProcess daemon({.dram_bytes = kDramBytes});
  std::vector<Figure> figures;
  figures.push_back(IdleClientMemory(daemon, options));

  const auto filler = ConnectOnThisHost(daemon.address());
  const BlockWorkload workload(*filler, kBlockBytes, kSetBytes);
  std::vector<std::unique_ptr<Engine>> engines;
  for (std::size_t i = 0; i < kClients; ++i) {
    engines.push_back(std::make_unique<Engine>(daemon.address(), i));
  }
  double seconds = 0;
  figures.push_back(ComparePairs(
      "fanout_64_total", "GB/s", "one of these clients alone",
      [&] {
        const std::vector<double> one = GetAtOnce(engines, 1, seconds);
        return Rate(one, seconds);
      },
      [&] {
        const std::vector<double> all = GetAtOnce(engines, kClients, seconds);
        return Rate(all, seconds);
      },
      {.rounds = options.rounds}));
  std::vector<double> all;
  figures.push_back(ComparePairs(
      "fanout_64_slowest", "GB/s", "mean of the 64 clients in the same window",
      [&] {
        all = GetAtOnce(engines, kClients, seconds);
        return Rate(all, seconds) / static_cast<double>(kClients);
      },
      [&] { return *std::min_element(all.begin(), all.end()) / seconds / 1e9; },
      {.rounds = options.rounds}));
  return figures;
}

}  // namespace terrace::bench
