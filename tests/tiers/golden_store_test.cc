// A store that an earlier version wrote must stay readable, byte for byte: the images in golden/
// are of format version 1 and are never made anew. A new version gets images of its own, beside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/index_store_sim.h"
#include "tests/tiers/sparse_image.h"
#include "tests/tiers/store_on_disk.h"
#include "tiers/nvme/index_rebuild.h"
#include "tiers/nvme/log_scan.h"
#include "tiers/nvme/store.h"

namespace terrace::nvme {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

std::string ImagePath(std::uint32_t device) {
  return std::string(TERRACE_SOURCE_DIR) + "/tests/tiers/golden/store-v1-device-" +
         std::to_string(device) + ".txt";
}

/// How the images were made, once: two devices, one slice, segments of 512 KiB.
void WriteGoldenStore(const std::string& folder) {
  StoreOnDisk disk(folder, SmallGeometry(2, 1, 512 << 10), 0x0123456789abcdef);
  auto old = disk.Begin(0, 0, 2, 3);
  disk.Put(old, 1, "overwritten", RowsOf(1, 8192));
  disk.Put(old, 1, "left behind", RowsOf(2, 8192));
  auto first = disk.Begin(0, 0, 2, 4);
  auto second = disk.Begin(1, 0, 0, 1);
  disk.Put(first, 1, "alpha", RowsOf(3, 4096));
  disk.Put(second, 1, "pieces", RowsOf(4, (256 << 10) + 4097));
  disk.Put(second, 2, "beta", RowsOf(5, 5000));
  disk.Put(second, 2, "cleared", RowsOf(6, 4096));
  disk.Clear(first, 2);
  disk.Put(first, 2, "beta", RowsOf(5, 5000));
  disk.Put(first, 1, "removed", RowsOf(7, 4096));
  disk.Remove(first, 1, "removed");
  disk.Remove(second, 1, "removed");
  first.page += 2;  // a hole
  const std::string key(kKeyBytesMax, 'k');
  RecordHeader longest = disk.HeaderOf(3, key);
  const std::string payload = RowsOf(8, 4096);
  longest.payload_bytes = payload.size();
  longest.group = 5;
  longest.shard = 6;
  const std::string located = std::string("\5\0\0\0\6\0\0\0", 8) + key;
  const Hash128 hash = HashBytes128(std::as_bytes(std::span(located)));
  longest.hash = {hash.low, hash.high};
  longest.tenant.fill('t');
  longest.name.fill('n');
  longest.tenant_bytes = longest.name_bytes = kNameBytesMax;
  ChecksumBlock(std::as_bytes(std::span(payload)), std::span(longest.checksums).first(1));
  disk.Append(first, longest, payload);
}

class GoldenStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const std::uint32_t device : {0U, 1U}) {
      std::ifstream file(ImagePath(device));
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      ASSERT_TRUE(WriteSparse(text, folder_.Path("log-" + std::to_string(device))))
          << ImagePath(device);
    }
    StoreOptions options;
    options.folder = folder_.path();
    options.files = {folder_.Path("log-0"), folder_.Path("log-1")};
    options.slices = 1;
    auto store = OpenStore(options);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(store).value();
  }
  TestFolder folder_;
  OpenedStore store_;
};

TEST_F(GoldenStoreTest, ItsSuperblockIsReadAsItWasWritten) {
  EXPECT_FALSE(store_.made_new);
  EXPECT_THAT(store_.warnings, testing::IsEmpty());
  const Superblock& superblock = store_.superblock;
  EXPECT_THAT(superblock.store_id, ElementsAre(0x1111, 0x2222));
  EXPECT_EQ(superblock.salt, 0x0123456789abcdefU);
  EXPECT_EQ(superblock.segments, 8U);
  EXPECT_EQ(superblock.segment_bytes, 512U << 10);
  EXPECT_EQ(superblock.created_unix_s, 1'700'000'000U);
  std::vector<SegmentHeader> headers;
  ASSERT_TRUE(ReadSegmentHeaders(store_.files[0], superblock, 0, 0, headers).ok());
  EXPECT_EQ(headers[2].generation, 4U);
  EXPECT_EQ(headers[2].sequence, 2U);
  EXPECT_EQ(headers[1].generation, 0U);
}

struct Expected {
  std::string key;
  RecordKind kind;
  std::uint64_t sequence;
  std::uint32_t device;
  std::uint32_t page;
  std::uint32_t namespace_id;
  std::uint64_t payload_bytes;
  std::uint64_t last_checksum;  ///< of its pieces; 0: no payload
  friend bool operator==(const Expected&, const Expected&) = default;
  friend std::ostream& operator<<(std::ostream& stream, const Expected& expected) {
    return stream << expected.key << ' ' << static_cast<std::uint32_t>(expected.kind) << ' '
                  << expected.sequence << ' ' << expected.device << ' ' << expected.page << ' '
                  << expected.namespace_id << ' ' << expected.payload_bytes << " 0x" << std::hex
                  << expected.last_checksum << std::dec;
  }
};

TEST_F(GoldenStoreTest, ItsRecordsAreReadAsTheyWereWritten) {
  std::vector<Expected> records;
  const auto totals =
      ScanSlice(store_.files, store_.superblock, 0, {}, [&](const ScannedRecord& record) {
        const RecordHeader& header = record.header;
        EXPECT_TRUE(record.payload.ok()) << record.payload.ToString();
        const bool named = header.kind == RecordKind::kBlock;
        EXPECT_EQ(header.fingerprint[0], named ? header.namespace_id * 3 : 0);
        const auto key = header.Key();
        const auto sums = header.Checksums();
        records.push_back({.key = {reinterpret_cast<const char*>(key.data()), key.size()},
                           .kind = header.kind,
                           .sequence = header.sequence,
                           .device = header.device,
                           .page = header.page,
                           .namespace_id = header.namespace_id,
                           .payload_bytes = header.payload_bytes,
                           .last_checksum = sums.empty() ? 0 : sums.back()});
      });
  ASSERT_TRUE(totals.ok()) << totals.status().ToString();
  const auto block = RecordKind::kBlock;
  const auto removal = RecordKind::kRemoval;
  const std::string longest(kKeyBytesMax, 'k');
  EXPECT_THAT(records, ElementsAreArray(std::vector<Expected>{
                           {"alpha", block, 3, 0, 1, 1, 4096, 0xf8402e276f8007b8},
                           {"", RecordKind::kClear, 7, 0, 3, 2, 0, 0},
                           {"beta", block, 8, 0, 4, 2, 5000, 0xfd2b013e6715b511},
                           {"removed", block, 9, 0, 7, 1, 4096, 0xd03b43dca82d1c7e},
                           {"removed", removal, 10, 0, 9, 1, 0, 0},
                           {longest, block, 12, 0, 12, 3, 4096, 0x149669f273d021d4},
                           {"pieces", block, 4, 1, 1, 1, (256 << 10) + 4097, 0x9b25c11b22b4c9d7},
                           {"beta", block, 5, 1, 68, 2, 5000, 0xfd2b013e6715b511},
                           {"cleared", block, 6, 1, 71, 2, 4096, 0x2b260675526e58cf},
                           {"removed", removal, 11, 1, 73, 1, 0, 0}}));
}

TEST_F(GoldenStoreTest, ItsIndexIsRebuiltAsItWas) {
  SimulatedIndexStore index;
  const auto totals = RebuildIndex(store_.files, store_.superblock, index, {}, {});
  ASSERT_TRUE(totals.ok()) << totals.status().ToString();
  EXPECT_EQ(totals->blocks, 4U);
  std::vector<std::uint64_t> sequences;
  ASSERT_TRUE(index
                  .Scan("b",
                        [&](std::string_view key, std::string_view value) {
                          sequences.push_back(ReadBlock(key, value)->sequence);
                          return true;
                        })
                  .ok());
  EXPECT_THAT(sequences, testing::UnorderedElementsAre(3, 4, 8, 12));
}

TEST(GoldenStoreImageTest, TheFormatIsWrittenAsItWasThen) {
  // Set for a new format version only, to make its images.
  const bool make = std::getenv("TERRACE_MAKE_GOLDEN") != nullptr;
  const TestFolder folder;
  WriteGoldenStore(folder.path());
  for (const std::uint32_t device : {0U, 1U}) {
    const std::string text = SparseText(folder.Path("log-" + std::to_string(device)));
    if (make) std::ofstream(ImagePath(device)) << text;
    std::ifstream file(ImagePath(device));
    EXPECT_TRUE(text == std::string(std::istreambuf_iterator<char>(file), {})) << device;
  }
}

}  // namespace
}  // namespace terrace::nvme
