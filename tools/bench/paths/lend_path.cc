// The path `lend`: how long a block of DRAM takes to be lent, whatever its size.
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tools/bench/limits/bare_wakeups.h"
#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/load/open_loop_lends.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kDramBytes = 1024 * kMiB;
constexpr std::uint64_t kSetBytes = 256 * kMiB;
constexpr int kCallsPerRound = 200;
constexpr auto kCallMax = std::chrono::seconds(10);
constexpr auto kGap = std::chrono::milliseconds(1);
constexpr double kAsleepUs = 20;  // design.md; likewise:
constexpr double kSpinningUs = 5;
constexpr double kOpenLoopP99Us = 300;
constexpr std::uint32_t kSpinUs = 5000;  // longer than the gaps, so that nobody sleeps

struct Size {
  std::uint64_t bytes;
  const char* label;
};
constexpr Size kSizes[] = {{64 << 10, "64KiB"}, {16 * kMiB, "16MiB"}};

enum class Gap : std::uint8_t { kNone, kAsleep, kBusy };

/// What the caller does between two calls.
void PassGap(Gap gap) {
  if (gap == Gap::kAsleep) std::this_thread::sleep_for(kGap);
  const auto end = std::chrono::steady_clock::now() + kGap;
  while (gap == Gap::kBusy && std::chrono::steady_clock::now() < end) {
  }
}

/// Median time of a call that lends one block, its first byte read, us. With gaps the daemon has
/// nothing to do between calls: it sleeps, unless it spins.
double MedianLend(const BlockSource& source, std::uint32_t& position, Gap gap) {
  std::vector<double> times;
  for (int call = 0; call < kCallsPerRound; ++call) {
    PassGap(gap);
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

/// Blocks of one size, asleep between the calls or with both sides spinning for `spin_us`.
void MeasureLends(const BenchOptions& options, const Size& size, std::uint32_t spin_us,
                  const BareWakeups& bare, std::vector<Figure>& figures) {
  const DaemonProcess daemon({.dram_bytes = kDramBytes, .spin_us = spin_us});
  const auto client = ConnectOnThisHost(daemon.address(), std::chrono::microseconds(spin_us));
  const BlockWorkload workload(*client, size.bytes, kSetBytes);
  const auto space = client->OpenNamespace(BenchNamespace(size.bytes), In(kCallMax));
  Require(space.status(), "open namespace");
  const Chain chain = BenchChain(static_cast<std::uint32_t>(kSetBytes / size.bytes));
  const BlockSource source{*client, *space, chain};
  std::uint32_t position = 0;
  const bool spinning = spin_us != 0;
  for (const Gap gap : {spinning ? Gap::kBusy : Gap::kAsleep, Gap::kNone}) {
    const std::string name = std::string("lend_") + size.label +
                             (gap != Gap::kNone ? "_1ms_gaps" : "_back_to_back") +
                             (spinning ? "_spinning" : "");
    figures.push_back(ComparePairs(
        name, "us",
        spinning ? "design: 5 us, both sides spinning"
                 : "design: 20 us, both sides asleep, 1 ms gaps",
        [spinning] { return spinning ? kSpinningUs : kAsleepUs; },
        [&] { return MedianLend(source, position, gap); },
        {.rounds = options.rounds, .higher_is_better = false}));
  }
  if (spinning) return;
  figures.push_back(ComparePairs(
      std::string("lend_") + size.label + "_1ms_gaps_of_bare", "us",
      "two processes that only wake each other, 1 ms gaps",
      [&bare] { return bare.MedianUs(kCallsPerRound, kGap); },
      [&] { return MedianLend(source, position, Gap::kAsleep); },
      {.rounds = options.rounds, .higher_is_better = false}));
}

/// The tail under the calls of many clients.
Figure MeasureOpenLoop(const BenchOptions& options) {
  const DaemonProcess daemon({.dram_bytes = kDramBytes});
  const auto filler = ConnectOnThisHost(daemon.address());
  const OpenLoop load{.set_bytes = kSetBytes};
  const BlockWorkload workload(*filler, load.block_bytes, kSetBytes);
  std::uint64_t seed = 1;
  std::vector<double> medians;
  Figure figure = ComparePairs(
      "lend_8_open_loop_p99", "us", "design: 300 us, 8 clients of 250 calls a second each",
      [] { return kOpenLoopP99Us; },
      [&] {
        std::vector<double> times = LendByTheClock(daemon.address(), load, seed++);
        medians.push_back(Quantile(times, 0.5));
        return Quantile(std::move(times), 0.99);
      },
      {.rounds = options.rounds, .higher_is_better = false, .by_state = false});
  figure.note = "p50 " + std::to_string(static_cast<int>(Median(medians))) + " us";
  return figure;
}

}  // namespace

std::vector<Figure> BenchLend(const BenchOptions& options) {
  const BareWakeups bare;  // forks
  std::vector<Figure> figures;
  for (const Size& size : kSizes) {
    MeasureLends(options, size, 0, bare, figures);
    MeasureLends(options, size, kSpinUs, bare, figures);
  }
  figures.push_back(MeasureOpenLoop(options));
  return figures;
}

}  // namespace terrace::bench
