// Matches over groups and shards, beside the path `match`.
#pragma once

#include <functional>
#include <vector>

#include "client/terrace.hpp"
#include "tools/bench/measurement.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

/// The median of 200 calls minus the median of as many empty requests just before, us; at least
/// 0.1.
double MedianAbovePing(Client& client, const std::function<void()>& call);

/// Puts a chain of 2000 blocks in each of 4 groups and 2 shards, and appends a figure for each
/// size. The daemon has 256 MiB of DRAM.
void BenchMatchGroups(const BenchOptions& options, Client& client, std::vector<Figure>& figures);

}  // namespace terrace::bench
