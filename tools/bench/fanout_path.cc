// The path `fanout`: 64 clients at once against one alone, and what an idle one costs the daemon.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "tools/bench/block_pipeline.h"
#include "tools/bench/block_workload.h"
#include "tools/bench/daemon_process.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlockBytes = kMiB;
constexpr std::uint32_t kSetBlocks = 512;
constexpr std::uint64_t kDramBytes = 1024 * kMiB;
constexpr std::size_t kClients = 64;
constexpr auto kWindow = std::chrono::milliseconds(500);
constexpr auto kCallMax = std::chrono::seconds(30);

/// One client that gets blocks [first, first + count) of the chain, one a call, round and round.
class Getter {
 public:
  Getter(const std::string& address, const Chain& chain, std::uint32_t first, std::uint32_t count)
      : client_(ConnectOnThisHost(address)), chain_(chain), first_(first), count_(count) {
    const auto space = client_->OpenNamespace(BenchNamespace(kBlockBytes), In(kCallMax));
    Require(space.status(), "open namespace");
    space_ = *space;
    const auto region = client_->AllocateRegion(count * kBlockBytes);
    Require(region.status(), "allocate");
    region_ = *region;
  }

  /// Bytes that came until `stop`.
  double Run(const std::atomic<bool>& stop) {
    double bytes = 0;
    while (!stop) {
      const BlockBuffer block{.position = first_ + next_,
                              .region = region_,
                              .offset = next_ * kBlockBytes,
                              .valid_tokens = 0};
      next_ = (next_ + 1) % count_;
      const auto got = client_->Get(space_, chain_, std::span(&block, 1), {}, In(kCallMax));
      Require(got.status(), "get");
      Require(Status(got->front().status), "get");
      // What came after the end is not of this window.
      if (!stop) bytes += static_cast<double>(kBlockBytes);
    }
    return bytes;
  }

 private:
  const std::unique_ptr<Client> client_;
  const Chain& chain_;
  const std::uint32_t first_;
  const std::uint32_t count_;
  NamespaceId space_;
  RegionId region_;
  std::uint32_t next_ = 0;
};

struct Window {
  std::vector<double> bytes;  ///< of each getter
  [[nodiscard]] double Total() const { return std::accumulate(bytes.begin(), bytes.end(), 0.0); }
  [[nodiscard]] double Slowest() const { return *std::min_element(bytes.begin(), bytes.end()); }
};

/// All of them at once for kWindow.
Window RunAtOnce(const std::vector<std::unique_ptr<Getter>>& getters) {
  Window window{.bytes = std::vector<double>(getters.size())};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.reserve(getters.size());
  for (std::size_t i = 0; i < getters.size(); ++i) {
    threads.emplace_back([&, i] { window.bytes[i] = getters[i]->Run(stop); });
  }
  std::this_thread::sleep_for(kWindow);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  return window;
}

double GigabytesPerSecond(double bytes) {
  return bytes / std::chrono::duration<double>(kWindow).count() / 1e9;
}

/// Resident memory of a process, bytes: pages of its own and those that it shares.
double ResidentBytes(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/statm");
  double size = 0;
  double resident = 0;
  file >> size >> resident;
  return resident * 4096;
}

Figure MemoryOfIdleClients() {
  const DaemonProcess daemon({.dram_bytes = kDramBytes});
  std::vector<std::unique_ptr<Client>> clients;
  // The first brings what all share.
  clients.push_back(ConnectOnThisHost(daemon.address()));
  const double before = ResidentBytes(daemon.pid());
  while (clients.size() <= kClients) clients.push_back(ConnectOnThisHost(daemon.address()));
  std::this_thread::sleep_for(std::chrono::seconds(2));  // heartbeats go by, too
  // Below a page a client: shown as one.
  const double each = std::max(4096.0, (ResidentBytes(daemon.pid()) - before) / kClients);
  return CompareTotal("memory_per_idle_client", "bytes", "1 MiB", static_cast<double>(kMiB), each,
                      {each}, false);
}

}  // namespace

std::vector<Figure> BenchFanout(const BenchOptions& options) {
  std::vector<Figure> figures;
  figures.push_back(MemoryOfIdleClients());

  const DaemonProcess daemon({.dram_bytes = kDramBytes});
  const auto owner = ConnectOnThisHost(daemon.address());
  const BlockWorkload workload(*owner, kBlockBytes, kSetBlocks * kBlockBytes);
  const Chain chain = BenchChain(kSetBlocks);
  std::vector<std::unique_ptr<Getter>> one;
  one.push_back(std::make_unique<Getter>(daemon.address(), chain, 0, kSetBlocks));
  std::vector<std::unique_ptr<Getter>> many;
  constexpr std::uint32_t kShare = kSetBlocks / kClients;
  for (std::uint32_t i = 0; i < kClients; ++i) {
    many.push_back(std::make_unique<Getter>(daemon.address(), chain, i * kShare, kShare));
  }
  figures.push_back(ComparePairs(
      "get_1MiB_64_clients", "GB/s", "one client alone; wanted: 0.9 of it",
      [&] { return GigabytesPerSecond(RunAtOnce(one).Total()); },
      [&] { return GigabytesPerSecond(RunAtOnce(many).Total()); }, {.rounds = options.rounds}));
  // Both of a pair are of one window, which the one that is asked first runs.
  Window window;
  bool used = true;
  const auto of_window = [&]() -> const Window& {
    if (used) window = RunAtOnce(many);
    used = !used;
    return window;
  };
  figures.push_back(ComparePairs(
      "slowest_of_64_clients", "GB/s", "their mean; wanted: 0.5 of it",
      [&] { return GigabytesPerSecond(of_window().Total() / kClients); },
      [&] {
        // One that got nothing is shown as half a block, so that its round counts.
        return GigabytesPerSecond(std::max(of_window().Slowest(), kBlockBytes / 2.0));
      },
      {.rounds = options.rounds, .by_state = false}));
  return figures;
}

}  // namespace terrace::bench
