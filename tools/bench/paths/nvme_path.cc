// The path `nvme`: cold gets, and puts to durable, against a bare io_uring loop on the same file.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tools/bench/cpu_times.h"
#include "tools/bench/limits/bare_uring_loop.h"
#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/cold_memory.h"
#include "tools/bench/load/log_records.h"
#include "tools/bench/load/nvme_store.h"
#include "tools/bench/load/nvme_workload.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kColdBytesMost = 2048 * kMiB;
constexpr std::uint64_t kCpuBytes = 1024 * kMiB;  // the kernel counts a daemon's CPU in 10 ms
constexpr double kWriteAmplificationMax = 1.1;
constexpr const char* kReadLimit = "bare io_uring random reads of the same records, depth 8";
constexpr const char* kWriteLimit =
    "bare io_uring sequential overwrites, as many at once, and fdatasync";

struct Size {
  std::uint64_t bytes;
  const char* label;
};
constexpr Size kSizes[] = {{256 << 10, "256KiB"}, {1 * kMiB, "1MiB"}, {4 * kMiB, "4MiB"}};

/// The bare loops over the log and over a second file of its size.
class NvmeLimits {
 public:
  explicit NvmeLimits(const NvmeStore& store)
      : store_(store), memory_(ColdBytes(store.put_bytes(), kColdBytesMost)) {
    UseBlocksOf(kSizes[0].bytes);
    writer_->WriteOnce(store.log_bytes());
  }

  /// Writes are as many at once, from now on, as puts of such blocks.
  void UseBlocksOf(std::uint64_t block_bytes) {
    writer_.emplace(store_.limit_path(), BareUringLoop::Access::kWrite,
                    static_cast<unsigned>(PutDepth(block_bytes)), memory_);
  }

  /// Writes as much as one round of puts, and goes on where the last one ended; GB/s.
  double Write(std::uint64_t block_bytes) {
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t done = 0; done < store_.put_bytes(); done += block_bytes) {
      if (write_cursor_ + block_bytes > store_.log_bytes()) write_cursor_ = 0;
      offsets.push_back(write_cursor_);
      write_cursor_ += block_bytes;
    }
    return Rate(offsets.size() * block_bytes, writer_->Run(offsets, block_bytes));
  }

  /// Looks up where the log has the blocks of a namespace; Read reads them from then on.
  void Find(const NvmeWorkloadOptions& blocks) {
    reader_.emplace(store_.log_path(), BareUringLoop::Access::kRead, kDepth, memory_);
    const std::size_t wanted = blocks.set_bytes / blocks.block_bytes;
    auto found = FindPayloads(store_.log_path(), blocks.name, blocks.block_bytes, wanted);
    Require(found.status(), "look through " + store_.log_path());
    payloads_ = std::move(found).value();
    if (payloads_.size() < wanted / 2) {
      Require(Status(StatusCode::kMiss, std::to_string(payloads_.size()) + " of " +
                                            std::to_string(wanted) + " records are in the log"),
              "look through " + store_.log_path());
    }
    for (std::size_t left = payloads_.size(); left > 1; --left) {
      std::swap(payloads_[left - 1], payloads_[random_.Below(left)]);
    }
  }

  /// Reads `bytes` of the found blocks, in a random order.
  BareUringLoop::Times Read(std::uint64_t block_bytes, std::uint64_t bytes) {
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t done = 0; done < bytes; done += block_bytes) {
      read_cursor_ = (read_cursor_ + 1) % payloads_.size();
      offsets.push_back(payloads_[read_cursor_]);
    }
    return reader_->Run(offsets, block_bytes);
  }

  static double Rate(std::uint64_t bytes, const BareUringLoop::Times& times) {
    return times.seconds < 0 ? -1 : static_cast<double>(bytes) / times.seconds / 1e9;
  }

 private:
  const NvmeStore& store_;
  ColdMemory memory_;
  std::optional<BareUringLoop> writer_;
  std::optional<BareUringLoop> reader_;
  std::vector<std::uint64_t> payloads_;
  std::uint64_t write_cursor_ = 0;
  std::size_t read_cursor_ = 0;
  SeededRandom random_{11};
};

/// Device bytes a byte put, since it was made.
class WriteAmplification {
 public:
  explicit WriteAmplification(NvmeStore& store) : store_(store) { Restart(); }

  /// Notes one round of puts of `workload`.
  NvmeBurst Round(NvmeWorkload& workload) {
    const std::uint64_t written = store_.daemon().StorageBytesWritten();
    const std::uint64_t put = workload.tally().durable_bytes;
    const NvmeBurst burst = workload.Put();
    const std::uint64_t bytes = workload.tally().durable_bytes - put;
    if (bytes > 0) {
      rounds_.push_back(static_cast<double>(store_.daemon().StorageBytesWritten() - written) /
                        static_cast<double>(bytes));
    }
    return burst;
  }
  /// Adds what a workload has put in all, once it is done.
  void Add(const NvmeWorkload& workload) { put_ += workload.tally().durable_bytes; }

  [[nodiscard]] Figure Total() const {
    const std::uint64_t put = put_ + store_.filler_tally().durable_bytes - filler_before_;
    const std::uint64_t written = store_.daemon().StorageBytesWritten() - written_before_;
    Figure figure = CompareTotal(
        "write_amplification", "", "design: 1.1 bytes written a byte put", kWriteAmplificationMax,
        put == 0 ? 0 : static_cast<double>(written) / static_cast<double>(put), rounds_, false);
    figure.note = fmt::format("{:.2f} GB written for {:.2f} GB put to durable, the log full",
                              static_cast<double>(written) / 1e9, static_cast<double>(put) / 1e9);
    return figure;
  }

 private:
  void Restart() {
    written_before_ = store_.daemon().StorageBytesWritten();
    filler_before_ = store_.filler_tally().durable_bytes;
  }

  NvmeStore& store_;
  std::uint64_t written_before_ = 0;
  std::uint64_t filler_before_ = 0;
  std::uint64_t put_ = 0;
  std::vector<double> rounds_;
};

std::string PerGigabyte(const CpuTimes& cpu, double gigabytes) {
  return fmt::format("{:.3f} system and {:.3f} user", cpu.system / gigabytes, cpu.user / gigabytes);
}

/// CPU seconds of daemon and client for a GB got lent, against the bare loop's.
Figure MeasureCpu(NvmeStore& store, NvmeLimits& limits, NvmeWorkload& workload,
                  const BenchOptions& options) {
  const std::uint64_t block_bytes = workload.options().block_bytes;
  const std::uint64_t bursts = std::max<std::uint64_t>(1, kCpuBytes / store.burst_bytes());
  const double gigabytes = static_cast<double>(bursts * store.burst_bytes()) / 1e9;
  CpuTimes bare_sum;
  CpuTimes ours_sum;
  double rounds = 0;
  const auto bare = [&] {
    const auto times = limits.Read(block_bytes, bursts * store.burst_bytes());
    bare_sum = bare_sum + times.cpu;
    ++rounds;
    return times.cpu.total() / gigabytes;
  };
  const auto ours = [&] {
    const CpuTimes before = store.daemon().Cpu();
    CpuTimes used;
    for (std::uint64_t burst = 0; burst < bursts; ++burst) {
      const NvmeBurst got = workload.Lend();
      if (got.rate < 0) return -1.0;
      used = used + got.cpu;
    }
    used = used + store.daemon().Cpu() - before;
    ours_sum = ours_sum + used;
    return used.total() / gigabytes;
  };
  Figure figure =
      ComparePairs("cpu_per_GB_get_1MiB", "s/GB", "CPU of the bare io_uring loop", bare, ours,
                   {.rounds = std::max(1, options.rounds / 3), .higher_is_better = false});
  figure.note = "s/GB, daemon and client: " + PerGigabyte(ours_sum, rounds * gigabytes) +
                "; bare loop: " + PerGigabyte(bare_sum, rounds * gigabytes);
  return figure;
}

}  // namespace

std::vector<Figure> BenchNvme(const BenchOptions& options) {
  NvmeStore store(options);
  NvmeLimits limits(store);
  store.Start();
  WriteAmplification amplification(store);
  std::vector<Figure> figures;
  for (const Size& size : kSizes) {
    NvmeWorkload workload(store.client(), store.WorkloadOf(size.bytes));
    limits.UseBlocksOf(size.bytes);
    figures.push_back(ComparePairs(
        fmt::format("put_{}_qd{}", size.label, PutDepth(size.bytes)), "GB/s", kWriteLimit,
        [&] { return limits.Write(size.bytes); },
        [&] { return amplification.Round(workload).rate; }, {.rounds = options.rounds}));
    workload.FillSet();
    figures.back().note = workload.tally().Text();
    store.FlushDram();
    limits.Find(workload.options());
    const auto bare_read = [&] {
      return NvmeLimits::Rate(store.burst_bytes(), limits.Read(size.bytes, store.burst_bytes()));
    };
    figures.push_back(ComparePairs(std::string("get_") + size.label + "_qd8", "GB/s", kReadLimit,
                                   bare_read, [&] { return workload.Lend().rate; },
                                   {.rounds = options.rounds}));
    figures.push_back(ComparePairs(std::string("get_") + size.label + "_qd8_copied", "GB/s",
                                   kReadLimit, bare_read, [&] { return workload.Get().rate; },
                                   {.rounds = options.rounds}));
    figures.back().note = workload.tally().Text();
    if (size.bytes == kMiB) figures.push_back(MeasureCpu(store, limits, workload, options));
    amplification.Add(workload);
  }
  figures.push_back(amplification.Total());
  return figures;
}

}  // namespace terrace::bench
