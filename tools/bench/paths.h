// The benchmarks by name. Each starts what it needs and returns its figures; a benchmark that
// cannot run exits with a message.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/bench/measurement.h"

namespace terrace::bench {

struct BenchOptions {
  int rounds = 12;
  /// The NVMe paths make a folder of their own in it, on the file system that is to be measured.
  std::string folder = ".";
  std::uint64_t log_bytes = 8ULL << 30;  ///< log of `nvme` and `nvme-mixed`
};

/// DRAM hits and puts of 1 and 4 MiB to another process of this host, by copy.
std::vector<Figure> BenchDram(const BenchOptions& options);
/// The same over UCX held to TCP.
std::vector<Figure> BenchTcp(const BenchOptions& options);
/// The time until a block of 64 KiB and of 16 MiB is lent.
std::vector<Figure> BenchLend(const BenchOptions& options);
/// 64 clients at once: their rate together, the slowest one's, and what an idle one costs.
std::vector<Figure> BenchFanout(const BenchOptions& options);
/// A block of 4 MiB in 64 and in 512 pieces, against one in one piece, on this host and over TCP.
std::vector<Figure> BenchScatter(const BenchOptions& options);
/// Pages of an engine's cache to dense frames and back on one core, as they are and quantised,
/// against memcpy.
std::vector<Figure> BenchGather(const BenchOptions& options);
/// The same on a GPU: to frames on the device and in pinned host memory, quantised, and beside a
/// kernel; none where there is no GPU. Only in builds with CUDA.
std::vector<Figure> BenchGatherGpu(const BenchOptions& options);
/// Layers from a producer to a consumer: how soon they are there, what a killed producer costs, and
/// what 1,000 hand-offs at once hold.
std::vector<Figure> BenchHandoff(const BenchOptions& options);
/// Match of 256 and 2,000 keys, above an empty request.
std::vector<Figure> BenchMatch(const BenchOptions& options);
/// Memory of the index at 1 M blocks.
std::vector<Figure> BenchIndex(const BenchOptions& options);
/// Puts of 4 KiB to a daemon that keeps events, against one that keeps none.
std::vector<Figure> BenchEvents(const BenchOptions& options);
/// CPU of a daemon that nobody asks anything, with 0 and with 64 clients.
std::vector<Figure> BenchIdle(const BenchOptions& options);
/// Cold gets and puts to durable of 256 KiB to 4 MiB at depth 8, device bytes a byte put, CPU.
std::vector<Figure> BenchNvme(const BenchOptions& options);
/// Cold gets of 1 MiB beside a client that puts to durable as fast as it can.
std::vector<Figure> BenchNvmeMixed(const BenchOptions& options);
/// Prompts made ready by a plan, by loading all and by computing all, over bandwidths and rates.
std::vector<Figure> BenchPlan(const BenchOptions& options);
/// Time from the start of a daemon to its being ready with 1 M blocks on NVMe.
std::vector<Figure> BenchRecovery(const BenchOptions& options);
/// Blocks to, from and within GPU 0 with their checksums, against the GPU's own rates.
std::vector<Figure> BenchHbm(const BenchOptions& options);

}  // namespace terrace::bench
