// The path `scatter`: what it costs that a block's memory lies in pieces. A block of 4 MiB to and
// from 64 pieces of 64 KiB and 512 of 8 KiB, shuffled, so that no two neighbours can be joined,
// against the same block in one piece, on this host and over TCP.
#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/random.h"
#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/cold_memory.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlockBytes = 4 * kMiB;
constexpr std::uint64_t kBurstBytes = 128 * kMiB;
constexpr std::uint32_t kPerCall = 8;  // 4,096 pieces of 8 KiB in a call
constexpr std::uint64_t kColdBytesMost = 1024 * kMiB;
constexpr auto kCallMax = std::chrono::seconds(10);

struct Shape {
  std::uint32_t pieces;
  const char* label;
};
constexpr Shape kShapes[] = {{64, "64x64KiB"}, {512, "512x8KiB"}};

/// Blocks of 4 MiB and memory for all of them, both walked in turn, so that no burst finds its
/// bytes in a cache of the processor.
class ScatterWorkload {
 public:
  ScatterWorkload(Client& client, std::uint64_t cold_bytes)
      : store_(client, kBlockBytes, cold_bytes) {
    for (std::uint32_t first = 0; first < store_.blocks; first += kPerCall) Move(first, 1, true);
  }

  /// The next burst of the walk, every block in so many pieces; GB/s (1e9).
  double Get(std::uint32_t pieces) { return Burst(pieces, false); }
  /// Forgets, untimed, and puts the next burst.
  double Put(std::uint32_t pieces) { return Burst(pieces, true); }

 private:
  double Burst(std::uint32_t pieces, bool put) {
    constexpr std::uint32_t kBlocks = kBurstBytes / kBlockBytes;
    const std::uint32_t first = store_.Next(kBlocks);
    if (put) store_.Forget(first, kBlocks);
    double seconds = 0;
    for (std::uint32_t done = 0; done < kBlocks; done += kPerCall) {
      seconds += Move(first + done, pieces, put);
    }
    return static_cast<double>(kBurstBytes) / seconds / 1e9;
  }

  /// kPerCall blocks from `first` on, each in `count` pieces of its own memory; seconds.
  double Move(std::uint32_t first, std::uint32_t count, bool put) {
    const std::uint64_t length = kBlockBytes / count;
    std::vector<std::vector<MemoryPiece>> lists(kPerCall);
    std::vector<BlockPieces> blocks;
    for (std::uint32_t i = 0; i < kPerCall; ++i) {
      for (std::uint32_t piece = 0; piece < count; ++piece) {
        lists[i].push_back({store_.region, (first + i) * kBlockBytes + piece * length, length});
      }
      Shuffle(lists[i]);
      blocks.push_back({.position = first + i, .pieces = lists[i], .range = {}, .valid_tokens = 0});
    }
    const auto started = std::chrono::steady_clock::now();
    const auto results =
        put ? store_.client.PutPieces(store_.space, store_.chain, blocks, {}, In(kCallMax))
            : store_.client.GetPieces(store_.space, store_.chain, blocks, {}, In(kCallMax));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    RequireAll(results, put ? "put" : "get");
    return took.count();
  }

  /// In an order in which no piece follows its neighbour.
  void Shuffle(std::vector<MemoryPiece>& pieces) {
    for (std::size_t i = pieces.size(); i > 1; --i) {
      std::swap(pieces[i - 1], pieces[random_.Below(i)]);
    }
    for (std::size_t i = 1; i < pieces.size(); ++i) {
      if (pieces[i - 1].offset + pieces[i - 1].length != pieces[i].offset) continue;
      std::swap(pieces[i], pieces[i + 1 < pieces.size() ? i + 1 : 0]);
    }
  }

  BenchStore store_;
  SeededRandom random_{1};
};

void Measure(Client& client, const std::string& link, std::uint64_t cold_bytes,
             const BenchOptions& options, std::vector<Figure>& figures) {
  ScatterWorkload workload(client, cold_bytes);
  for (const Shape& shape : kShapes) {
    const std::string name = std::string("scatter_") + shape.label + "_" + link;
    figures.push_back(ComparePairs(
        name + "_get", "GB/s", "the same get into one piece", [&] { return workload.Get(1); },
        [&] { return workload.Get(shape.pieces); }, {.rounds = options.rounds}));
    figures.push_back(ComparePairs(
        name + "_put", "GB/s", "the same put from one piece", [&] { return workload.Put(1); },
        [&] { return workload.Put(shape.pieces); }, {.rounds = options.rounds}));
  }
}

}  // namespace

std::vector<Figure> BenchScatter(const BenchOptions& options) {
  const std::uint64_t cold = ColdBytes(kBurstBytes, kColdBytesMost);
  std::vector<Figure> figures;
  const DaemonProcess daemon({.dram_bytes = cold + cold / 4});
  {
    const auto client = ConnectOnThisHost(daemon.address());
    Measure(*client, "shm", cold, options, figures);
  }
  auto client = Client::Connect(
      {.address = daemon.address(), .name = "terrace-bench", .link = LinkChoice::kTcp});
  Require(client.status(), "connect to " + daemon.address());
  Measure(**client, "tcp", cold, options, figures);
  return figures;
}

}  // namespace terrace::bench
