// The path `nvme-mixed`: what gets lose while somebody else writes as fast as the daemon takes it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tools/bench/load/nvme_store.h"
#include "tools/bench/load/nvme_workload.h"
#include "tools/bench/load/put_load.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kBlockBytes = 1 << 20;
constexpr int kBurstsPerRound = 2;  // 512 gets, of which the 99th percentile is the sixth worst

struct MixedRound {
  double rate = -1;    // GB/s (1e9); negative: it failed
  double p99_us = -1;  // likewise
};

/// Rounds of gets, alone and beside the writer.
class MixedRounds {
 public:
  explicit MixedRounds(NvmeStore& store)
      : store_(store),
        workload_(store.client(), store.WorkloadOf(kBlockBytes)),
        load_(store.daemon().address(), kBlockBytes) {
    workload_.FillSet();
    store_.FlushDram();
  }

  MixedRound Alone() {
    BeginPairOnce();
    return Gets();
  }
  MixedRound Mixed() {
    BeginPairOnce();
    load_.Start();
    const MixedRound round = Gets();
    load_.Stop();
    return round;
  }

  [[nodiscard]] std::string Note() const {
    std::string note = fmt::format(
        "puts to durable beside it: {:.2f} GB/s",
        static_cast<double>(load_.durable_bytes()) / 1e9 / std::max(load_.seconds(), 1e-9));
    if (load_.declined() > 0) note += fmt::format(", {} not durable", load_.declined());
    const std::string tally = workload_.tally().Text();
    return tally.empty() ? note : note + "; " + tally;
  }

 private:
  /// Before each pair, not within it: puts the set anew when the writer may soon reach it in the
  /// ring of the log.
  void BeginPairOnce() {
    if (calls_++ % 2 != 0) return;
    if (load_.durable_bytes() - written_at_fill_ < store_.log_bytes() / 4) return;
    workload_.RefillSet();
    store_.FlushDram();
    written_at_fill_ = load_.durable_bytes();
  }
  MixedRound Gets() {
    std::vector<double> rates;
    std::vector<double> latencies;
    for (int burst = 0; burst < kBurstsPerRound; ++burst) {
      const NvmeBurst one = workload_.Get();
      if (one.rate < 0) return {};
      rates.push_back(one.rate);
      latencies.insert(latencies.end(), one.latencies_s.begin(), one.latencies_s.end());
    }
    return {.rate = Median(rates), .p99_us = Quantile(std::move(latencies), 0.99) * 1e6};
  }

  NvmeStore& store_;
  NvmeWorkload workload_;
  PutLoad load_;
  std::uint64_t calls_ = 0;
  std::uint64_t written_at_fill_ = 0;
};

}  // namespace

std::vector<Figure> BenchNvmeMixed(const BenchOptions& options) {
  NvmeStore store(options);
  store.Start();
  MixedRounds rounds(store);
  std::vector<Figure> figures;
  figures.push_back(ComparePairs(
      "get_1MiB_qd8_mixed", "GB/s", "the same gets alone", [&] { return rounds.Alone().rate; },
      [&] { return rounds.Mixed().rate; }, {.rounds = options.rounds}));
  figures.back().note = rounds.Note();
  figures.push_back(ComparePairs(
      "get_1MiB_p99_mixed", "us", "p99 of the same gets alone",
      [&] { return rounds.Alone().p99_us; }, [&] { return rounds.Mixed().p99_us; },
      {.rounds = options.rounds, .higher_is_better = false}));
  figures.back().note = rounds.Note();
  return figures;
}

}  // namespace terrace::bench
