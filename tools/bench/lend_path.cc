// The path `lend`: how long a block of DRAM takes to be lent, whatever its size.
#include <chrono>
#include <memory>
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
constexpr std::uint64_t kDramBytes = 1024 * kMiB;
constexpr std::uint64_t kSetBytes = 256 * kMiB;
constexpr int kCallsPerRound = 200;
constexpr auto kCallMax = std::chrono::seconds(10);
constexpr auto kGap = std::chrono::milliseconds(1);
constexpr double kAsleepUs = 20;  // design.md

struct Size {
  std::uint64_t bytes;
  const char* label;
};
constexpr Size kSizes[] = {{64 << 10, "64KiB"}, {16 * kMiB, "16MiB"}};

/// Median time of a call that lends one block, its first byte read, us. With gaps both sides sleep
/// between calls.
double MedianLend(const BlockSource& source, std::uint32_t& position, bool gaps) {
  std::vector<double> times;
  for (int call = 0; call < kCallsPerRound; ++call) {
    if (gaps) std::this_thread::sleep_for(kGap);
    position = (position + 1) % source.chain.size();
    const auto started = std::chrono::steady_clock::now();
    auto lent =
        source.client.Lend(source.space, source.chain, std::span(&position, 1), {}, In(kCallMax));
    Require(lent.status(), "lend");
    LentBlock& block = lent->front();
    Require(Status(block.status), "lend");
    [[maybe_unused]] const volatile std::byte first = block.bytes().front();
    Require(Status(block.Release()), "release");
    times.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - started)
            .count());
  }
  return Median(std::move(times));
}

}  // namespace

std::vector<Figure> BenchLend(const BenchOptions& options) {
  std::vector<Figure> figures;
  for (const Size& size : kSizes) {
    const DaemonProcess daemon({.dram_bytes = kDramBytes});
    const auto client = ConnectOnThisHost(daemon.address());
    const BlockWorkload workload(*client, size.bytes, kSetBytes);
    const auto space = client->OpenNamespace(BenchNamespace(size.bytes), In(kCallMax));
    Require(space.status(), "open namespace");
    const Chain chain = BenchChain(static_cast<std::uint32_t>(kSetBytes / size.bytes));
    const BlockSource source{*client, *space, chain};
    std::uint32_t position = 0;
    for (const bool gaps : {true, false}) {
      figures.push_back(ComparePairs(
          std::string("lend_") + size.label + (gaps ? "_1ms_gaps" : "_back_to_back"), "us",
          "design: 20 us, both sides asleep, 1 ms gaps", [] { return kAsleepUs; },
          [&] { return MedianLend(source, position, gaps); },
          {.rounds = options.rounds, .higher_is_better = false}));
    }
  }
  return figures;
}

}  // namespace terrace::bench
