// The log must give back what was written and nothing else, when the index is lost.
#include "tiers/nvme/log_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/index_store_sim.h"
#include "tests/tiers/store_on_disk.h"
#include "tiers/nvme/index_rebuild.h"
#include "tiers/nvme/store.h"

namespace terrace::nvme {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr std::size_t kPiece = kChecksumPieceBytes;

std::string KeyOf(const RecordHeader& header) {
  const auto key = header.Key();
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

class LogScanTest : public testing::Test {
 protected:
  OpenedStore Open(const StoreOnDisk& disk) {
    StoreOptions options;
    options.folder = folder_.path();
    for (std::uint32_t device = 0; device < disk.geometry().devices; ++device) {
      options.files.push_back(disk.File(device));
    }
    options.read_only = true;
    auto store = OpenStore(options);
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return std::move(store).value();
  }
  /// Key, "!" behind one whose payload is damaged, of each record in the order of the scan.
  std::vector<std::string> Scan(const StoreOnDisk& disk, std::uint32_t slice = 0,
                                bool verify = true) {
    const OpenedStore store = Open(disk);
    std::vector<std::string> keys;
    std::uint64_t passed = 0;
    const auto totals = ScanSlice(
        store.files, store.superblock, slice,
        {.verify_payloads = verify, .passed = [&](std::uint64_t bytes) { passed += bytes; }},
        [&](const ScannedRecord& record) {
          keys.push_back(KeyOf(record.header) + (record.payload.ok() ? "" : "!"));
          EXPECT_EQ(record.place.page, record.header.page);
          EXPECT_EQ(record.place.generation, record.header.generation);
          EXPECT_EQ(record.place.segment(),
                    record.header.device * disk.geometry().segments + record.header.segment);
        });
    EXPECT_TRUE(totals.ok()) << totals.status().ToString();
    EXPECT_EQ(totals->records, keys.size());
    EXPECT_EQ(passed, disk.geometry().devices * disk.geometry().slice_bytes());
    return keys;
  }
  /// "namespace:key" of the blocks that a rebuilt index names; `keys` are all that were written.
  std::vector<std::string> Rebuilt(const StoreOnDisk& disk, std::uint32_t spaces,
                                   const std::vector<std::string>& keys) {
    const OpenedStore store = Open(disk);
    SimulatedIndexStore index;
    const auto totals = RebuildIndex(store.files, store.superblock, index, {}, {});
    EXPECT_TRUE(totals.ok()) << totals.status().ToString();
    std::vector<std::string> found;
    EXPECT_TRUE(index
                    .Scan("b",
                          [&](std::string_view key, std::string_view value) {
                            const auto block = ReadBlock(key, value);
                            EXPECT_TRUE(block.has_value());
                            if (block.has_value()) found.push_back(NameOf(disk, *block, keys));
                            return true;
                          })
                    .ok());
    EXPECT_EQ(totals->blocks, found.size());
    EXPECT_LE(totals->namespaces, spaces);
    return found;
  }
  static std::string NameOf(const StoreOnDisk& disk, const IndexedBlock& block,
                            const std::vector<std::string>& keys) {
    for (const std::string& key : keys) {
      const auto hash = disk.HeaderOf(block.namespace_id, key).hash;
      if (block.hash == Hash128{.low = hash[0], .high = hash[1]}) {
        return std::to_string(block.namespace_id) + ":" + key;
      }
    }
    return "unknown";
  }

  TestFolder folder_;
};

TEST_F(LogScanTest, FindsEveryRecordOfASliceInItsOrder) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(2, 2));
  auto first = disk.Begin(0, 0, 3);
  auto second = disk.Begin(1, 0, 0);
  auto other = disk.Begin(0, 1, 0);
  disk.Put(first, 1, "a", RowsOf(1, 5000));
  disk.Put(second, 1, "b", RowsOf(2, 4096));
  disk.Put(other, 1, "other", RowsOf(3, 4096));
  disk.Remove(first, 1, "gone");
  disk.Put(first, 2, "c", RowsOf(4, 4097));
  EXPECT_THAT(Scan(disk), ElementsAre("a", "gone", "c", "b"));
  EXPECT_THAT(Scan(disk, 0, false), ElementsAre("a", "gone", "c", "b"));
  EXPECT_THAT(Scan(disk, 1), ElementsAre("other"));
}

TEST_F(LogScanTest, AnEmptyStoreHasNoRecords) {
  const StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  EXPECT_THAT(Scan(disk), IsEmpty());
}

TEST_F(LogScanTest, LooksBehindHolesThatACrashLeft) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto segment = disk.Begin(0, 0, 0);
  disk.Put(segment, 1, "a", RowsOf(1, 4096));
  segment.page += 3;  // never written
  disk.Put(segment, 1, "b", RowsOf(2, 4096));
  const auto torn = segment;
  disk.Put(segment, 1, "c", RowsOf(3, 9000));
  disk.Put(segment, 1, "d", RowsOf(4, 4096));
  // Of "c" the header never came, and the page behind "d" is the last.
  WriteBytes(disk.File(0), disk.PageOffset(torn, torn.page), std::string(kPageBytes, 'x'));
  EXPECT_THAT(Scan(disk), ElementsAre("a", "b", "d"));
}

TEST_F(LogScanTest, WhatEarlierGenerationsLeftIsNotThere) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto old = disk.Begin(0, 0, 0, 1);
  for (const char* key : {"a", "b", "c"}) disk.Put(old, 1, key, RowsOf(1, 4096));
  auto reused = disk.Begin(0, 0, 0, 2);
  disk.Put(reused, 1, "new", RowsOf(2, 4096));
  EXPECT_THAT(Scan(disk), ElementsAre("new"));
}

TEST_F(LogScanTest, AGenerationThatBeganAnewDoesNotReviveOldRecords) {
  // The header of generation 2 was damaged, so the next use began at 1 again.
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto old = disk.Begin(0, 0, 0, 1);
  for (const char* key : {"a", "b", "c"}) disk.Put(old, 1, key, RowsOf(1, 4096));
  auto anew = disk.Begin(0, 0, 0, 1);
  disk.Put(anew, 1, "new", RowsOf(2, 4096));
  EXPECT_THAT(Scan(disk), ElementsAre("new"));
}

TEST_F(LogScanTest, ASegmentWithoutItsHeaderHoldsNothing) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto segment = disk.Begin(0, 0, 0);
  disk.Put(segment, 1, "a", RowsOf(1, 4096));
  auto next = disk.Begin(0, 0, 1);
  disk.Put(next, 1, "b", RowsOf(1, 4096));
  FlipBit(disk.File(0), disk.PageOffset(segment, 0) + 40);
  EXPECT_THAT(Scan(disk), ElementsAre("b"));
}

TEST_F(LogScanTest, ARecordThatWasCopiedElsewhereIsNone) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto segment = disk.Begin(0, 0, 0);
  disk.Put(segment, 1, "a", RowsOf(1, 4096));
  disk.Begin(0, 0, 1);
  const std::string record = ReadBytes(disk.File(0), disk.PageOffset(segment, 1), 2 * kPageBytes);
  WriteBytes(disk.File(0), disk.PageOffset(segment, 5), record);
  WriteBytes(disk.File(0), disk.geometry().SegmentOffset(0, 1) + kPageBytes, record);
  EXPECT_THAT(Scan(disk), ElementsAre("a"));
}

TEST_F(LogScanTest, AHeaderThatAClientForgedInAPayloadIsNotTaken) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto segment = disk.Begin(0, 0, 0);
  // It knows everything but the salt, down to the page where its payload will lie.
  RecordHeader forged = disk.HeaderOf(2, "forged");
  forged.kind = RecordKind::kRemoval;
  forged.sequence = 1000;
  forged.segment = segment.segment;
  forged.page = 2;
  forged.generation = segment.generation;
  Seal(forged, disk.salt() ^ 1);
  const std::string payload(reinterpret_cast<const char*>(&forged), sizeof forged);
  disk.Put(segment, 1, "a", payload);
  disk.Put(segment, 1, "b", payload);
  EXPECT_THAT(Scan(disk), ElementsAre("a", "b"));
  // Not even where the header before it is damaged, so that its page is looked at.
  FlipBit(disk.File(0), disk.PageOffset(segment, 1) + 200);
  EXPECT_THAT(Scan(disk), ElementsAre("b"));
  // With the salt it would be: nothing but the salt keeps it out.
  Seal(forged, disk.salt());
  WriteBytes(disk.File(0), disk.PageOffset(segment, 2),
             {reinterpret_cast<const char*>(&forged), sizeof forged});
  EXPECT_THAT(Scan(disk), ElementsAre("forged", "b"));
}

TEST_F(LogScanTest, DamageInAnyPieceOfAPayloadIsSeen) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1, 4 << 20));
  auto segment = disk.Begin(0, 0, 0);
  const auto large = disk.Put(segment, 1, "large", RowsOf(1, 5 * kPiece + 100));
  disk.Put(segment, 1, "next", RowsOf(2, 4096));
  EXPECT_THAT(Scan(disk), ElementsAre("large", "next"));
  for (const std::uint64_t at : {std::size_t{0}, kPiece - 1, kPiece, 5 * kPiece + 99}) {
    const std::uint64_t offset = disk.PageOffset(segment, large.page + 1) + at;
    FlipBit(disk.File(0), offset, 7);
    EXPECT_THAT(Scan(disk), ElementsAre("large!", "next")) << at;
    EXPECT_THAT(Scan(disk, 0, false), ElementsAre("large", "next"));
    FlipBit(disk.File(0), offset, 7);
  }
  // What pads the last page is nobody's.
  FlipBit(disk.File(0), disk.PageOffset(segment, large.page + 1) + 5 * kPiece + 100);
  EXPECT_THAT(Scan(disk), ElementsAre("large", "next"));
}

TEST_F(LogScanTest, ReadsWhatIsLeftOfADeviceThatWasCutOff) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto first = disk.Begin(0, 0, 0);
  disk.Put(first, 1, "a", RowsOf(1, 4096));
  auto last = disk.Begin(0, 0, 7);
  disk.Put(last, 1, "b", RowsOf(2, 4096));
  disk.Put(last, 1, "c", RowsOf(2, 4096));
  const OpenedStore store = Open(disk);
  std::filesystem::resize_file(disk.File(0), disk.PageOffset(last, last.page - 1));
  std::vector<std::string> keys;
  const auto totals =
      ScanSlice(store.files, store.superblock, 0, {}, [&](const ScannedRecord& record) {
        keys.push_back(KeyOf(record.header) + ":" +
                       std::string(StatusCodeName(record.payload.code())));
      });
  ASSERT_TRUE(totals.ok()) << totals.status().ToString();
  EXPECT_THAT(keys, ElementsAre("a:ok", "b:ok", "c:io"));
  EXPECT_EQ(totals->unreadable_pages, 16U - 4U);
  std::filesystem::resize_file(disk.File(0), kSlicesOffset);
  EXPECT_EQ(ScanSlice(store.files, store.superblock, 0, {}, [](const ScannedRecord&) {}).code(),
            StatusCode::kIo);
}

TEST_F(LogScanTest, TheHighestSequenceCountsWhereverItStands) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(2, 1));
  auto first = disk.Begin(0, 0, 5);
  auto second = disk.Begin(1, 0, 0);
  disk.Put(second, 1, "twice", RowsOf(1, 4096));
  const auto latest = disk.Put(first, 1, "twice", RowsOf(1, 4096));
  disk.Put(first, 1, "removed", RowsOf(2, 4096));
  disk.Put(first, 2, "removed", RowsOf(2, 4096));  // of another namespace
  disk.Remove(second, 1, "removed");
  disk.Remove(second, 1, "returned");
  disk.Put(second, 1, "returned", RowsOf(3, 4096));
  EXPECT_THAT(Rebuilt(disk, 2, {"twice", "removed", "returned"}),
              UnorderedElementsAre("1:twice", "2:removed", "1:returned"));
  const OpenedStore store = Open(disk);
  SimulatedIndexStore index;
  ASSERT_TRUE(RebuildIndex(store.files, store.superblock, index, {}, {}).ok());
  std::uint64_t sequence = 0;
  const std::string key = BlockKey(0, 1, {latest.hash[0], latest.hash[1]});
  ASSERT_TRUE(index
                  .Scan(key,
                        [&](std::string_view found, std::string_view value) {
                          sequence = ReadBlock(found, value)->sequence;
                          return true;
                        })
                  .ok());
  EXPECT_EQ(sequence, latest.sequence);
}

TEST_F(LogScanTest, ARemovalThatWaitedForASegmentThatBeganAfterItCountsAllTheSame) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto first = disk.Begin(0, 0, 0);
  disk.Put(first, 1, "gone", RowsOf(1, 4096));
  RecordHeader removal = disk.HeaderOf(1, "gone");
  removal.kind = RecordKind::kRemoval;
  removal.sequence = disk.sequence++;
  disk.Put(first, 1, "stays", RowsOf(2, 4096));
  auto second = disk.Begin(0, 0, 1);
  disk.Append(second, removal, "");
  EXPECT_THAT(Rebuilt(disk, 1, {"gone", "stays"}), ElementsAre("1:stays"));
}

TEST_F(LogScanTest, AClearEndsWhatWasBeforeItInItsNamespaceAndSlice) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 2));
  auto segment = disk.Begin(0, 0, 0);
  auto other = disk.Begin(0, 1, 0);
  disk.Put(segment, 1, "before", RowsOf(1, 4096));
  disk.Put(segment, 2, "before", RowsOf(1, 4096));
  disk.Put(other, 1, "other slice", RowsOf(1, 4096));
  disk.Clear(segment, 1);
  disk.Put(segment, 1, "after", RowsOf(1, 4096));
  EXPECT_THAT(Rebuilt(disk, 2, {"before", "after", "other slice"}),
              UnorderedElementsAre("2:before", "1:after", "1:other slice"));
}

TEST_F(LogScanTest, ARemovalThatWaitedForItsPlaceCounts) {
  // It took its sequence before the segment's header took one, and was placed behind it.
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto segment = disk.Begin(0, 0, 0);
  disk.Put(segment, 1, "a", RowsOf(1, 4096));
  disk.Put(segment, 2, "b", RowsOf(1, 4096));
  disk.sequence = 20;
  auto next = disk.Begin(0, 0, 1);
  RecordHeader removal = disk.HeaderOf(1, "a");
  removal.kind = RecordKind::kRemoval;
  removal.sequence = 10;
  disk.Append(next, removal, {});
  RecordHeader clear = disk.HeaderOf(2, {});
  clear.kind = RecordKind::kClear;
  clear.sequence = 11;
  disk.Append(next, clear, {});
  EXPECT_THAT(Rebuilt(disk, 2, {"a", "b"}), IsEmpty());
}

TEST_F(LogScanTest, ABlockWhosePayloadIsDamagedIsNotIndexed) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto segment = disk.Begin(0, 0, 0);
  disk.Put(segment, 1, "a", RowsOf(1, 4096));
  disk.Put(segment, 1, "b", RowsOf(2, 4096));
  FlipBit(disk.File(0), disk.PageOffset(segment, 2));
  EXPECT_THAT(Rebuilt(disk, 1, {"a", "b"}), ElementsAre("1:b"));
}

TEST_F(LogScanTest, OneNamespaceIdNeverStandsForTwoNamespaces) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto segment = disk.Begin(0, 0, 0);
  disk.Put(segment, 1, "a", RowsOf(1, 4096));
  RecordHeader other = disk.HeaderOf(2, "b");
  other.namespace_id = 1;
  const std::string payload = RowsOf(1, 4096);
  other.payload_bytes = payload.size();
  ChecksumBlock(std::as_bytes(std::span(payload)), std::span(other.checksums).first(1));
  disk.Append(segment, other, payload);
  const OpenedStore store = Open(disk);
  SimulatedIndexStore index;
  const auto totals = RebuildIndex(store.files, store.superblock, index, {}, {});
  ASSERT_TRUE(totals.ok());
  EXPECT_EQ(totals->blocks, 1U);
  EXPECT_EQ(totals->conflicting, 1U);
}

TEST_F(LogScanTest, TheTailIsEveryRecordFromASequenceOnAndNoOther) {
  // Two rings that come round once and a half. As the log does it, the header of the next segment
  // is written while the one before it is still filled; removals stand later than their sequences
  // say.
  StoreOnDisk disk(folder_.path(), SmallGeometry(2, 1));
  std::array<StoreOnDisk::Segment, 2> current = {disk.Begin(0, 0, 0), disk.Begin(1, 0, 0)};
  std::array<std::optional<StoreOnDisk::Segment>, 2> ready;
  std::uint64_t late = 0;
  for (int i = 0; i < 300; ++i) {
    const std::uint32_t device = i % 3 == 0 ? 1 : 0;
    StoreOnDisk::Segment& segment = current[device];
    if (segment.page > 8 && !ready[device]) {
      const std::uint32_t next = (segment.segment + 1) % kSegmentsPerSliceMin;
      ready[device] = disk.Begin(device, 0, next, segment.generation + (next == 0 ? 1 : 0));
    }
    if (segment.page + 3 > disk.geometry().segment_pages())
      segment = *std::exchange(ready[device], {});
    if (i % 7 == 0) late = disk.sequence++;
    RecordHeader removal = disk.HeaderOf(1, {});
    removal.kind = RecordKind::kRemoval;
    removal.sequence = std::exchange(late, i % 7 == 5 ? 0 : late);
    if (i % 7 == 5) {
      disk.Append(segment, removal, {});
    } else {
      if (i % 11 == 0) ++segment.page;  // a hole, as a write that did not arrive leaves it
      disk.Put(segment, 1, std::to_string(i), RowsOf(static_cast<std::uint64_t>(i), 4096));
    }
  }
  const OpenedStore store = Open(disk);
  std::vector<std::vector<SegmentHeader>> headers(2);
  for (const std::uint32_t device : {0U, 1U}) {
    ASSERT_TRUE(
        ReadSegmentHeaders(store.files[device], store.superblock, device, 0, headers[device]).ok());
  }
  std::vector<std::uint64_t> all;
  ASSERT_TRUE(ScanSlice(store.files, store.superblock, 0, {}, [&](const ScannedRecord& record) {
                all.push_back(record.header.sequence);
              }).ok());
  ASSERT_GT(all.size(), 60U);
  const ReadSlice read = ReadSliceOf(store.files, store.superblock, 0);
  std::uint64_t segments = 0;
  for (std::uint64_t from = 0; from <= disk.sequence; ++from) {
    std::vector<std::uint64_t> tail;
    const ScanTotals totals =
        ScanTail(read, store.superblock, headers, from,
                 [&](const ScannedRecord& record) { tail.push_back(record.header.sequence); });
    std::vector<std::uint64_t> expected;
    std::ranges::copy_if(all, std::back_inserter(expected),
                         [from](std::uint64_t sequence) { return sequence >= from; });
    std::ranges::sort(expected);
    std::ranges::sort(tail);
    EXPECT_EQ(tail, expected) << "from " << from;
    EXPECT_EQ(totals.unreadable_pages, 0U);
    segments = totals.segments;
  }
  EXPECT_LE(segments, 4U) << "near the end only the last segments of each device are read";
}

TEST_F(LogScanTest, ARebuiltIndexSaysWhoseItIs) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(1, 1));
  auto segment = disk.Begin(0, 0, 0);
  disk.Put(segment, 3, "a", RowsOf(1, 4096));
  disk.Clear(segment, 3);
  const OpenedStore store = Open(disk);
  SimulatedIndexStore index;
  ASSERT_TRUE(RebuildIndex(store.files, store.superblock, index, {}, {}).ok());
  std::map<std::string, std::string> entries;
  ASSERT_TRUE(index
                  .Scan("",
                        [&](std::string_view key, std::string_view value) {
                          entries.emplace(key, value);
                          return true;
                        })
                  .ok());
  EXPECT_EQ(entries.size(), 4U);
  const auto marker = ReadMarker(entries.at(MarkerKey(0)));
  ASSERT_TRUE(marker.has_value());
  EXPECT_EQ(marker->sequence, 3U) << "above all of the log";
  EXPECT_TRUE(marker->final);
  const auto whose = ReadStore(entries.at(std::string(kStoreKey)));
  ASSERT_TRUE(whose.has_value());
  EXPECT_EQ(whose->store_id, (Hash128{0x1111, 0x2222}));
  EXPECT_EQ(whose->version, kFormatVersion);
  const auto space = ReadNamespace(NamespaceKey(3), entries.at(NamespaceKey(3)));
  ASSERT_TRUE(space.has_value());
  EXPECT_EQ(space->tenant, "tenant-1");
  EXPECT_EQ(space->name, "space-3");
  EXPECT_EQ(space->fingerprint, (Hash128{9, 15}));
  EXPECT_EQ(ReadCleared(ClearedKey(0, 3), entries.at(ClearedKey(0, 3)))->sequence, 2U);
  EXPECT_EQ(RebuildIndex(store.files, store.superblock, index, {}, {}).code(),
            StatusCode::kInvalid);
}

}  // namespace
}  // namespace terrace::nvme
