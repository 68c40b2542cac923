// terracectl fsck must find what is wrong with a store, blame nothing that is well, and change
// nothing but the index it was told to rebuild.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/device_file.h"
#include "tests/tiers/store_on_disk.h"
#include "tiers/nvme/index_entry.h"
#include "tiers/nvme/rocksdb_index_store.h"
#include "tools/terracectl/fsck_command.h"

namespace terrace::nvme {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

struct Outcome {
  int status = 0;
  std::string text;
  std::string errors;
  [[nodiscard]] json Json() const { return json::parse(text); }
};

class FsckTest : public testing::Test {
 protected:
  FsckTest() : disk_(folder_.path(), SmallGeometry(2, 2)) {}

  /// Blocks a, b, c of namespace 1 in slice 0; d of namespace 2 in slice 1, on the other device.
  void Fill() {
    first_ = disk_.Begin(0, 0, 0);
    second_ = disk_.Begin(1, 1, 3);
    for (const char* key : {"a", "b", "c"}) {
      blocks_.push_back(disk_.Put(first_, 1, key, RowsOf(blocks_.size(), 5000)));
    }
    blocks_.push_back(disk_.Put(second_, 2, "d", RowsOf(9, 4096)));
    EXPECT_EQ(Rebuild().status, 0);
  }
  Outcome Run(bool rebuild, bool as_json) {
    FsckOptions options;
    options.folder = folder_.path();
    options.files = {disk_.File(0), disk_.File(1)};
    options.rebuild_index = rebuild;
    options.json = as_json;
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Outcome outcome;
    outcome.status = RunFsck(options);
    outcome.text = testing::internal::GetCapturedStdout();
    outcome.errors = testing::internal::GetCapturedStderr();
    return outcome;
  }
  Outcome Check() { return Run(false, true); }
  Outcome Rebuild() { return Run(true, true); }
  /// Exactly one damage, at this place and in these words.
  void ExpectDamage(const std::string& where, const std::string& words) {
    const Outcome outcome = Check();
    EXPECT_EQ(outcome.status, 1) << outcome.errors;
    const json report = outcome.Json();
    EXPECT_EQ(report["clean"], false);
    ASSERT_THAT(report["damage"], SizeIs(1)) << report.dump(1);
    EXPECT_THAT(report["damage"][0].get<std::string>(), HasSubstr(where));
    EXPECT_THAT(report["damage"][0].get<std::string>(), HasSubstr(words));
  }
  void Change(const std::vector<IndexStore::Change>& changes) {
    auto index = RocksDbIndexStore::Open({.path = folder_.Path("index")});
    ASSERT_TRUE(index.ok()) << index.status().ToString();
    EXPECT_TRUE((*index)->Write(changes, true).ok());
  }
  IndexedBlock Entry(std::size_t block) {
    const RecordHeader& header = blocks_[block];
    return {.namespace_id = header.namespace_id,
            .hash = {header.hash[0], header.hash[1]},
            .place = {.segment_plus_one = header.device * 8 + header.segment + 1,
                      .page = header.page,
                      .generation = header.generation},
            .sequence = header.sequence,
            .block_bytes = static_cast<std::uint32_t>(header.payload_bytes),
            .position = header.position,
            .valid_tokens = header.valid_tokens,
            .parent = {header.parent[0], header.parent[1]}};
  }
  void PutEntry(std::uint32_t slice, const IndexedBlock& block) {
    Change({{IndexStore::Change::Kind::kPut, BlockKey(slice, block.namespace_id, block.hash),
             BlockValue(block)}});
  }

  TestFolder folder_;
  StoreOnDisk disk_;
  StoreOnDisk::Segment first_;
  StoreOnDisk::Segment second_;
  std::vector<RecordHeader> blocks_;
};

TEST_F(FsckTest, AGoodStoreIsCleanAndStaysAsItIs) {
  Fill();
  const std::uintmax_t bytes = std::filesystem::file_size(disk_.File(0));
  const std::string before = ReadBytes(disk_.File(0), 0, bytes);
  const Outcome outcome = Check();
  EXPECT_EQ(outcome.status, 0) << outcome.text << outcome.errors;
  const json report = outcome.Json();
  EXPECT_EQ(report["clean"], true);
  EXPECT_EQ(report["records"], 4);
  EXPECT_EQ(report["live"], 4);
  EXPECT_EQ(report["live_bytes"], 3 * 5000 + 4096);
  EXPECT_EQ(report["index_entries"], 4);
  EXPECT_EQ(report["not_indexed"], 0);
  EXPECT_EQ(report["segments_used"], 2);
  EXPECT_TRUE(ReadBytes(disk_.File(0), 0, bytes) == before);
  const Outcome text = Run(false, false);
  EXPECT_EQ(text.status, 0);
  EXPECT_THAT(text.text, HasSubstr("\nclean\n"));
}

TEST_F(FsckTest, NamesThePlaceOfADamagedPayload) {
  Fill();
  FlipBit(disk_.File(1), disk_.PageOffset(second_, blocks_[3].page + 1) + 100);
  ExpectDamage("device 1 (" + disk_.File(1) + ") slice 1 segment 3 page 1 (byte ",
               "payload from byte 0 does not match its checksum");
  EXPECT_THAT(Run(false, false).text, HasSubstr("DAMAGED: 1\n  device 1"));
}

TEST_F(FsckTest, NamesARecordHeaderThatIsDamagedOrGone) {
  Fill();
  const std::uint64_t offset = disk_.PageOffset(first_, blocks_[1].page);
  FlipBit(disk_.File(0), offset + 90);
  ExpectDamage("slice 0 segment 0 page 4 ", "does not match its checksum");
  WriteBytes(disk_.File(0), offset, std::string(kPageBytes, '\0'));
  ExpectDamage("slice 0 segment 0 page 4 ", "no record header stands there");
}

TEST_F(FsckTest, NamesABlockThatIsFiledUnderAnotherKeysHash) {
  auto segment = disk_.Begin(0, 0, 0);
  const std::string payload = RowsOf(1, 4096);
  RecordHeader header = disk_.HeaderOf(1, "key");
  header.shard = 3;  // the hash is that of shard 0
  header.payload_bytes = payload.size();
  ChecksumBlock(std::as_bytes(std::span(payload)), std::span(header.checksums).first(1));
  disk_.Append(segment, header, payload);
  ASSERT_EQ(Rebuild().status, 0);
  ExpectDamage("segment 0 page 1 ", "its hash is not that of its key");
}

TEST_F(FsckTest, NamesEveryRecordOfASegmentWhoseHeaderIsDamaged) {
  Fill();
  FlipBit(disk_.File(0), disk_.PageOffset(first_, 0) + 17);
  const Outcome outcome = Check();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.Json()["damage"], SizeIs(3));
  EXPECT_THAT(outcome.text, HasSubstr("the header of its segment is damaged"));
}

TEST_F(FsckTest, ListsTwentyDamagesAndCountsTheRest) {
  auto segment = disk_.Begin(0, 0, 0);
  auto next = disk_.Begin(0, 0, 1);
  for (int i = 0; i < 14; ++i) {
    auto& to = i < 7 ? segment : next;
    disk_.Put(to, 1, "key" + std::to_string(i), RowsOf(1, 4096));
  }
  auto more = disk_.Begin(0, 0, 2);
  for (int i = 0; i < 7; ++i) disk_.Put(more, 1, "more" + std::to_string(i), RowsOf(1, 4096));
  ASSERT_EQ(Rebuild().status, 0);
  for (std::uint32_t at = 0; at < 3; ++at) {
    FlipBit(disk_.File(0), disk_.geometry().SegmentOffset(0, at));
  }
  const json report = Check().Json();
  EXPECT_EQ(report["damaged"], 21);
  EXPECT_THAT(report["damage"], SizeIs(20));
  EXPECT_THAT(Run(false, false).text, HasSubstr("... and 1 more"));
}

TEST_F(FsckTest, NamesIndexEntriesThatSayOtherThanTheRecord) {
  Fill();
  IndexedBlock entry = Entry(0);
  entry.sequence = 77;
  PutEntry(0, entry);
  ExpectDamage("segment 0 page 1 ", "a record of another sequence, where the index names block");
  entry = Entry(0);
  entry.block_bytes = 1;
  PutEntry(0, entry);
  ExpectDamage("segment 0 page 1 ", "a record of other length");
  entry = Entry(0);
  entry.place.generation = 2;
  PutEntry(0, entry);
  ExpectDamage("segment 0 page 1 ", "its segment is of an earlier generation");
  entry.place.page = 16;
  PutEntry(0, entry);
  ExpectDamage("index: block", "outside of the devices");
}

TEST_F(FsckTest, NamesWhatOfTheIndexItselfIsWrong) {
  Fill();
  Change({{IndexStore::Change::Kind::kPut, BlockPrefix(0) + "short", "x"}});
  ExpectDamage("index", "not of this format");
  Change({{IndexStore::Change::Kind::kDelete, BlockPrefix(0) + "short", ""}});
  Change({{IndexStore::Change::Kind::kDelete, NamespaceKey(2), ""}});
  ExpectDamage("slice 1", "namespace 2 is missing in the index");
  ASSERT_EQ(Rebuild().status, 0);
  Change({{IndexStore::Change::Kind::kDelete, std::string(kStoreKey), ""}});
  ExpectDamage("index", "empty or half made");
  Change({{IndexStore::Change::Kind::kPut, std::string(kStoreKey),
           StoreValue({.store_id = {1, 1}, .version = 1, .slices = 2})}});
  ExpectDamage("index", "belongs to another store");
}

TEST_F(FsckTest, WhatACrashOrEvictionLeavesIsNoDamage) {
  Fill();
  // Evicted: in the log only. Removed, and the index does not know yet. Torn: never indexed.
  Change({{IndexStore::Change::Kind::kDelete, BlockKey(0, 1, Entry(0).hash), ""}});
  disk_.Remove(first_, 1, "b");
  const auto torn = disk_.Put(first_, 1, "torn", RowsOf(5, 4096));
  FlipBit(disk_.File(0), disk_.PageOffset(first_, torn.page + 1));
  // Its segment was reused, and the index names what stands in its place now as well.
  auto reused = disk_.Begin(1, 1, 3, 2);
  blocks_.push_back(disk_.Put(reused, 2, "e", RowsOf(6, 4096)));
  PutEntry(1, Entry(blocks_.size() - 1));
  const Outcome outcome = Check();
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  const json report = outcome.Json();
  EXPECT_EQ(report["records"], 6);
  EXPECT_EQ(report["blocks"], 4);
  EXPECT_EQ(report["live"], 3);
  EXPECT_EQ(report["stale"], 1);
  EXPECT_EQ(report["unfinished"], 1);
  EXPECT_EQ(report["index_entries"], 4);
  EXPECT_EQ(report["index_reused"], 1);
  EXPECT_EQ(report["index_outdated"], 1);
  EXPECT_EQ(report["not_indexed"], 1);
}

TEST_F(FsckTest, RebuildsAnIndexThatIsMissingOrBroken) {
  Fill();
  std::filesystem::remove_all(folder_.Path("index"));
  ExpectDamage("index " + folder_.Path("index"), "is missing; --rebuild-index makes it");
  EXPECT_FALSE(std::filesystem::exists(folder_.Path("index")));
  const Outcome rebuilt = Rebuild();
  EXPECT_EQ(rebuilt.status, 0);
  EXPECT_EQ(rebuilt.errors, "");
  EXPECT_EQ(rebuilt.Json()["blocks"], 4);
  EXPECT_EQ(Check().status, 0);
  for (const auto& file : std::filesystem::directory_iterator(folder_.Path("index"))) {
    const std::string name = file.path().filename();
    if (name.starts_with("MANIFEST") || name == "CURRENT") {
      WriteBytes(file.path(), 0, "garbage garbage");
    }
  }
  EXPECT_EQ(Check().status, 1);
  EXPECT_EQ(Rebuild().status, 0);
  const Outcome outcome = Check();
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_EQ(outcome.Json()["index_entries"], 4);
  std::vector<std::string> left;
  for (const auto& file : std::filesystem::directory_iterator(folder_.path())) {
    left.push_back(file.path().filename());
  }
  EXPECT_THAT(left, testing::UnorderedElementsAre("index", "log-0", "log-1"));
}

TEST_F(FsckTest, RebuildsWithoutWhatIsDamagedAndSaysWhat) {
  Fill();
  FlipBit(disk_.File(0), disk_.PageOffset(first_, blocks_[2].page + 2));
  const json report = Rebuild().Json();
  EXPECT_EQ(report["blocks"], 3);
  EXPECT_EQ(report["damaged"], 1);
  ASSERT_THAT(report["left_out"], SizeIs(1));
  EXPECT_THAT(report["left_out"][0].get<std::string>(), HasSubstr("segment 0 page 7 "));
  EXPECT_EQ(Check().status, 0);
}

TEST_F(FsckTest, NamesADamagedSuperblockAndLeavesItToTheDaemon) {
  Fill();
  FlipBit(disk_.File(1), 60);
  ExpectDamage(disk_.File(1), "the superblock (page 0) is damaged, its copy is whole");
  ExpectDamage(disk_.File(1), "the superblock (page 0) is damaged, its copy is whole");
}

TEST_F(FsckTest, RefusesAStoreThatADaemonHolds) {
  Fill();
  const auto held = DeviceFile::Open({.path = disk_.File(1)});
  ASSERT_TRUE(held.ok());
  for (const bool rebuild : {false, true}) {
    const Outcome outcome = Run(rebuild, false);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.text, IsEmpty());
    EXPECT_THAT(outcome.errors, HasSubstr("in use by another process"));
    EXPECT_THAT(outcome.errors, HasSubstr("Is terraced running? Stop it first"));
  }
}

TEST_F(FsckTest, SaysWhyItCouldNotRun) {
  FsckOptions options;
  options.folder = folder_.Path("nothing");
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunFsck(options), 2);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("nothing/log-0: there is no store"));
  EXPECT_FALSE(std::filesystem::exists(options.folder));
  options.folder = folder_.path();  // log-0 alone
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunFsck(options), 2);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("a store of 2 devices"));
}

}  // namespace
}  // namespace terrace::nvme
