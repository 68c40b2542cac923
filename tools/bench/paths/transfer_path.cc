// The paths `dram` and `tcp`: what a hit and a put cost in bytes a second.
#include <chrono>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tools/bench/limits/stream_limit.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/cold_memory.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBurstBytes = 256 * kMiB;  // tens of milliseconds a burst
constexpr std::uint64_t kCallBytes = 32 * kMiB;    // what a request of a long context asks for
constexpr std::uint64_t kColdBytesMost = 2048 * kMiB;
constexpr std::uint64_t kSizes[] = {1 * kMiB, 4 * kMiB};

std::unique_ptr<Client> Connect(const DaemonProcess& daemon, LinkChoice link,
                                const std::string& expected) {
  Result<std::unique_ptr<Client>> client =
      Client::Connect({.address = daemon.address(), .name = "terrace-bench", .link = link});
  Require(client.status(), "connect to " + daemon.address());
  const std::string name = (*client)->LinkName();
  if (name != expected) {
    Require(Status(StatusCode::kUnsupported, "the link is " + name), "wanted link " + expected);
  }
  return std::move(client).value();
}

/// The bare loop, and the way of it, that was fastest for a size in a few bursts of each. Chosen
/// once: the best of several in every round would be a limit made of lucky moments.
struct FastestLoop {
  StreamLimit* loop = nullptr;
  bool second_way = false;
  double rate = 0;
};

FastestLoop FindFastest(std::initializer_list<StreamLimit*> loops, std::uint64_t size) {
  constexpr int kBursts = 5;
  FastestLoop fastest;
  for (StreamLimit* loop : loops) {
    for (const bool second_way : {false, true}) {
      std::vector<double> rates;
      for (int burst = 0; burst < kBursts; ++burst) {
        rates.push_back(loop->Run(size, kBurstBytes / size, second_way));
      }
      const double rate = Median(rates);
      if (rate > fastest.rate) fastest = {loop, second_way, rate};
    }
  }
  return fastest;
}

/// get_SIZE against `limit`, put_SIZE against the gets of the same rounds.
void MeasureSizes(Client& client, std::uint64_t cold_bytes, const std::string& limit_name,
                  const std::function<double(std::uint64_t)>& limit, const PairOptions& pairs,
                  std::vector<Figure>& figures) {
  for (const std::uint64_t size : kSizes) {
    const std::string label = std::to_string(size / kMiB) + "MiB";
    BlockWorkload workload(client, size, cold_bytes);
    figures.push_back(ComparePairs(
        "get_" + label, "GB/s", limit_name, [&] { return limit(size); },
        [&] { return workload.Get(kBurstBytes, kCallBytes); }, pairs));
    figures.push_back(ComparePairs(
        "put_" + label, "GB/s", "get of the same size",
        [&] { return workload.Get(kBurstBytes, kCallBytes); },
        [&] { return workload.Put(kBurstBytes, kCallBytes); }, pairs));
  }
}

/// One glibc memcpy after the other from cold memory to cold memory; GB/s.
double CopyOnce(ColdMemory& source, ColdMemory& destination, std::uint64_t block_bytes) {
  const auto started = std::chrono::steady_clock::now();
  for (std::uint64_t done = 0; done < kBurstBytes; done += block_bytes) {
    const auto from = source.Next(block_bytes);
    std::memcpy(destination.Next(block_bytes).data(), from.data(), from.size());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  return static_cast<double>(kBurstBytes) / took.count() / 1e9;
}

}  // namespace

std::vector<Figure> BenchDram(const BenchOptions& options) {
  const std::uint64_t cold = ColdBytes(kBurstBytes, kColdBytesMost);
  const DaemonProcess daemon({.dram_bytes = cold + cold / 8});
  ColdMemory source(cold);
  ColdMemory destination(cold);
  const auto client = Connect(daemon, LinkChoice::kAuto, "shm");
  std::vector<Figure> figures;
  MeasureSizes(
      *client, cold, "one cold glibc memcpy",
      [&](std::uint64_t size) { return CopyOnce(source, destination, size); },
      {.rounds = options.rounds}, figures);
  return figures;
}

std::vector<Figure> BenchTcp(const BenchOptions& options) {
  const std::uint64_t cold = ColdBytes(kBurstBytes, kColdBytesMost);
  // The limits first: they fork, and must do so before there are threads.
  const auto plain = MakePlainTcpLimit(cold);
  const auto ucx = MakeBareUcxLimit(cold);
  if (plain == nullptr || ucx == nullptr) {
    Require(Status(StatusCode::kIo, "cannot set up the bare loops"), "limits");
  }
  const DaemonProcess daemon({.dram_bytes = cold + cold / 8});
  const auto client = Connect(daemon, LinkChoice::kTcp, "tcp");
  std::map<std::uint64_t, FastestLoop> fastest;
  for (const std::uint64_t size : kSizes) {
    fastest[size] = FindFastest({plain.get(), ucx.get()}, size);
    if (fastest[size].loop == nullptr) Require(Status(StatusCode::kIo, "no bare loop ran"), "tcp");
  }
  std::vector<Figure> figures;
  MeasureSizes(
      *client, cold, "better of bare UCX AM and plain TCP, " + CongestionControl(),
      [&](std::uint64_t size) {
        return fastest[size].loop->Run(size, kBurstBytes / size, fastest[size].second_way);
      },
      {.rounds = options.rounds}, figures);
  return figures;
}

}  // namespace terrace::bench
