// The store of a million blocks that `recovery` starts from: that a daemon can believe it.
#include "tools/bench/load/synthetic_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "cache/locator.h"
#include "tests/tools/bench_test_store.h"
#include "tiers/nvme/index_entry.h"
#include "tiers/nvme/rocksdb_index_store.h"

namespace terrace::bench {
namespace {

constexpr std::uint64_t kEntries = 500;  // not a whole number of chains

std::unique_ptr<RocksDbIndexStore> OpenIndex(const BenchTestStore& store) {
  RocksDbIndexStoreOptions options;
  options.path = store.folder() + "/" + kIndexName;
  auto index = RocksDbIndexStore::Open(options);
  EXPECT_TRUE(index.ok()) << index.status().ToString();
  return std::move(index).value();
}

TEST(SyntheticIndex, EveryBlockHasAPlaceOfItsOwnInASegmentOfItsGeneration) {
  const BenchTestStore store(1, 8, 1 << 20);
  ASSERT_TRUE(WriteSyntheticIndex(store.folder(), kEntries).ok());
  std::set<std::pair<std::uint32_t, std::uint32_t>> places;
  std::set<std::uint64_t> sequences;
  std::uint32_t segment_max = 0;
  const auto visit = [&](std::string_view key, std::string_view value) {
    const auto block = nvme::ReadBlock(key, value);
    EXPECT_TRUE(block.has_value());
    if (!block) return false;
    EXPECT_TRUE(places.emplace(block->place.segment(), block->place.page).second);
    EXPECT_TRUE(sequences.insert(block->sequence).second);
    EXPECT_EQ(block->place.generation, 1U);
    EXPECT_GE(block->place.page, 1U);
    EXPECT_LE(block->place.page + nvme::RecordPages(block->block_bytes),
              store.superblock().segment_bytes / nvme::kPageBytes);
    segment_max = std::max(segment_max, block->place.segment());
    return true;
  };
  ASSERT_TRUE(OpenIndex(store)->Scan(nvme::BlockPrefix(0), visit).ok());
  EXPECT_EQ(places.size(), kEntries);
  EXPECT_LT(segment_max, store.superblock().segments);
}

TEST(SyntheticIndex, TheKeysOfAChainAreFoundByWhoAsksForThem) {
  const BenchTestStore store(1, 8, 1 << 20);
  ASSERT_TRUE(WriteSyntheticIndex(store.folder(), kEntries).ok());
  const Chain chain = SyntheticChain(2);
  const std::uint32_t first = 2 * kSyntheticChainBlocks;
  const std::string wanted = nvme::BlockKey(0, 1, HashLocator(HashBytes128, 0, 0, chain.key(5)));
  int found = 0;
  const auto visit = [&](std::string_view key, std::string_view value) {
    const auto block = nvme::ReadBlock(key, value);
    if (block) EXPECT_EQ(block->position, 5U);
    if (block) EXPECT_EQ(block->sequence, first + 5U + 1);
    if (block) EXPECT_EQ(block->parent, HashLocator(HashBytes128, 0, 0, chain.key(4)));
    ++found;
    return true;
  };
  const auto index = OpenIndex(store);
  ASSERT_TRUE(index->Scan(wanted, visit).ok());
  EXPECT_EQ(found, 1);
  found = 0;
  ASSERT_TRUE(index
                  ->Scan(nvme::kNamespacePrefix,
                         [&](std::string_view key, std::string_view value) {
                           const auto space = nvme::ReadNamespace(key, value);
                           EXPECT_TRUE(space && space->tenant == "default" &&
                                       space->name == SyntheticNamespace().name);
                           ++found;
                           return true;
                         })
                  .ok());
  EXPECT_EQ(found, 1);
}

TEST(SyntheticIndex, StoreThatIsTooSmallIsRefusedByItsNumbers) {
  const BenchTestStore store(1, 8, 1 << 20);
  const Status status = WriteSyntheticIndex(store.folder(), 8 * 127 + 1);
  EXPECT_EQ(status.code(), StatusCode::kInvalid);
  EXPECT_NE(status.message().find("8 segments"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace terrace::bench
