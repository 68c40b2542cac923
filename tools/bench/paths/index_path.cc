// The path `index`: memory of the block index, policy state included, at 1 M synthetic blocks.
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>

#include "base/random.h"
#include "cache/block_index.h"
#include "cache/policy/policies.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint32_t kBlocks = 1'000'000;
constexpr double kBytesPerBlockMax = 96;

/// Resident memory of this process, bytes.
double ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  double total_pages = 0;
  double resident_pages = 0;
  file >> total_pages >> resident_pages;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

/// What filling an index and its policy adds to the resident memory, bytes a block.
double FillIndex() {
  const double before = ResidentBytes();
  Result<std::unique_ptr<BlockIndex>> index = BlockIndex::Create(kBlocks);
  Require(index.status(), "create index");
  const std::unique_ptr<EvictionPolicy> policy = MakeLeafLruPolicy(kBlocks);
  SeededRandom random(1);
  BlockId parent = kNoBlock;
  for (std::uint32_t block = 0; block < kBlocks; ++block) {
    const Locator locator{.namespace_id = 1, .hash = {.low = random.Next(), .high = random.Next()}};
    const BlockId id = (*index)->Reserve(locator, block, block % 64, 65536);
    (*index)->Publish(id, 16);
    if (block % 64 == 0) parent = kNoBlock;
    policy->Insert({.block = id, .parent = parent, .identity = locator.hash.low});
    parent = id;
  }
  return (ResidentBytes() - before) / kBlocks;
}

}  // namespace

std::vector<Figure> BenchIndex(const BenchOptions& options) {
  std::vector<Figure> figures;
  figures.push_back(
      ComparePairs("index_bytes_per_block_1M", "bytes", "design: 96 bytes a block",
                   [] { return kBytesPerBlockMax; }, FillIndex,
                   {.rounds = options.rounds, .higher_is_better = false, .by_state = false}));
  return figures;
}

}  // namespace terrace::bench
