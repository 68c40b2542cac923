// The benchmarks by name. Each starts what it needs and returns its figures; a benchmark that
// cannot run exits with a message.
#pragma once

#include <vector>

#include "tools/bench/measurement.h"

namespace terrace::bench {

struct BenchOptions {
  int rounds = 12;
};

/// DRAM hits and puts of 1 and 4 MiB to another process of this host, by copy.
std::vector<Figure> BenchDram(const BenchOptions& options);
/// The same over UCX held to TCP.
std::vector<Figure> BenchTcp(const BenchOptions& options);
/// Match of 256 and 2,000 keys, above an empty request.
std::vector<Figure> BenchMatch(const BenchOptions& options);
/// Memory of the index at 1 M blocks.
std::vector<Figure> BenchIndex(const BenchOptions& options);
/// CPU of a daemon that nobody asks anything, with 0 and with 64 clients.
std::vector<Figure> BenchIdle(const BenchOptions& options);

}  // namespace terrace::bench
