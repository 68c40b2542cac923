// The path `events`: what it costs that a daemon notes every event of a block, whether or not
// anybody reads them: puts of small blocks with a log of events against puts without one.
#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/cold_memory.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {
constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlockBytes = 4096;       // the smallest: an event weighs most
constexpr std::uint64_t kColdBytes = 128 * kMiB;  // 32,768 blocks of one chain
constexpr std::uint64_t kBurstBytes = 16 * kMiB;
}  // namespace

std::vector<Figure> BenchEvents(const BenchOptions& options) {
  const DaemonProcess with({.dram_bytes = 2 * kColdBytes});
  const DaemonProcess without({.dram_bytes = 2 * kColdBytes, .event_bytes = 0});
  const auto client = ConnectOnThisHost(with.address());
  const auto other = ConnectOnThisHost(without.address());
  BlockWorkload noted(*client, kBlockBytes, kColdBytes);
  BlockWorkload plain(*other, kBlockBytes, kColdBytes);
  std::vector<Figure> figures;
  figures.push_back(ComparePairs(
      "events_put_4KiB", "GB/s", "the same puts to a daemon with cache.events = 0",
      [&] { return plain.Put(kBurstBytes, kMiB); }, [&] { return noted.Put(kBurstBytes, kMiB); },
      {.rounds = options.rounds}));
  return figures;
}

}  // namespace terrace::bench
