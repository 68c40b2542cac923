// What every IndexStore promises, run over the real and the simulated one; then the troubles that
// only the real one has, and the power loss that only the simulated one can play.
#include "base/index_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/index_store_sim.h"
#include "base/random.h"
#include "tiers/nvme/rocksdb_index_store.h"

namespace terrace {
namespace {

using Change = IndexStore::Change;
using Kind = IndexStore::Change::Kind;
using Entries = std::map<std::string, std::string>;

/// A folder removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "terrace-index-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string Index() const { return path_ / "index"; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::unique_ptr<RocksDbIndexStore> OpenRocksDb(const std::string& path) {
  auto opened = RocksDbIndexStore::Open({.path = path});
  EXPECT_TRUE(opened.ok()) << opened.status().ToString();
  return opened.ok() ? std::move(opened).value() : nullptr;
}

Entries All(IndexStore& store, std::string_view prefix = "") {
  Entries entries;
  std::string last;
  const Status scanned = store.Scan(prefix, [&](std::string_view key, std::string_view value) {
    EXPECT_TRUE(entries.empty() || key > last) << "not in key order";
    last = key;
    entries.emplace(key, value);
    return true;
  });
  EXPECT_TRUE(scanned.ok()) << scanned.ToString();
  return entries;
}

class IndexStoreTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      store_ = OpenRocksDb(folder_.Index());
      ASSERT_NE(store_, nullptr);
    } else {
      store_ = std::make_unique<SimulatedIndexStore>();
    }
  }
  /// A clean stop and start.
  void Reopen() {
    if (!GetParam()) return;
    store_.reset();
    store_ = OpenRocksDb(folder_.Index());
    ASSERT_NE(store_, nullptr);
  }

  TemporaryFolder folder_;
  std::unique_ptr<IndexStore> store_;
};

std::string StoreName(const testing::TestParamInfo<bool>& info) {
  return info.param ? "rocksdb" : "simulated";
}
INSTANTIATE_TEST_SUITE_P(Stores, IndexStoreTest, testing::Bool(), StoreName);

TEST_P(IndexStoreTest, LaterChangesOfABatchWin) {
  const std::vector<Change> batch = {{Kind::kPut, "a", "1"},
                                     {Kind::kPut, "b", "2"},
                                     {Kind::kPut, "a", "3"},
                                     {Kind::kDelete, "b", ""},
                                     {Kind::kDelete, "never there", ""}};
  ASSERT_TRUE(store_->Write(batch, false).ok());
  EXPECT_EQ(All(*store_), (Entries{{"a", "3"}}));
  ASSERT_TRUE(store_->Write({}, true).ok());
  EXPECT_EQ(All(*store_).size(), 1U);
}

TEST_P(IndexStoreTest, KeysAndValuesAreAnyBytes) {
  const std::string zeros("\0\0k\0", 4);
  const std::string high("\xff\xff\x00\xff", 4);
  const std::vector<Change> batch = {
      {Kind::kPut, zeros, high}, {Kind::kPut, high, zeros}, {Kind::kPut, "empty value", ""}};
  ASSERT_TRUE(store_->Write(batch, true).ok());
  Reopen();
  EXPECT_EQ(All(*store_), (Entries{{zeros, high}, {high, zeros}, {"empty value", ""}}));
  EXPECT_EQ(All(*store_, "\xff\xff"), (Entries{{high, zeros}}));
}

TEST_P(IndexStoreTest, ScanGivesThePrefixInOrderAndStopsWhenTold) {
  std::vector<Change> batch;
  for (int i = 0; i < 300; ++i) {
    batch.push_back({Kind::kPut, "b" + std::to_string(i), "v"});
    batch.push_back({Kind::kPut, "a" + std::to_string(i), "v"});
    batch.push_back({Kind::kPut, "c" + std::to_string(i), "v"});
  }
  ASSERT_TRUE(store_->Write(batch, false).ok());
  EXPECT_EQ(All(*store_, "b").size(), 300U);
  EXPECT_EQ(All(*store_, "b29").size(), 11U);
  EXPECT_EQ(All(*store_, "d").size(), 0U);
  int seen = 0;
  EXPECT_TRUE(
      store_->Scan("b", [&](std::string_view, std::string_view) { return ++seen < 5; }).ok());
  EXPECT_EQ(seen, 5);
}

TEST_P(IndexStoreTest, RandomBatchesMatchAMapAcrossCleanRestarts) {
  const std::uint64_t seed = 17;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  SeededRandom random(seed);
  Entries model;
  for (int round = 0; round < 60; ++round) {
    std::vector<Change> batch;
    for (std::uint64_t i = random.Below(50); i > 0; --i) {
      const std::string key = "k" + std::to_string(random.Below(400));
      if (random.Chance(0.3)) {
        batch.push_back({Kind::kDelete, key, ""});
        model.erase(key);
      } else {
        const std::string value(random.Below(100), static_cast<char>(random.Next()));
        batch.push_back({Kind::kPut, key, value});
        model[key] = value;
      }
    }
    ASSERT_TRUE(store_->Write(batch, random.Chance(0.1)).ok());
    if (random.Chance(0.1)) ASSERT_TRUE(store_->Sync().ok());
    if (random.Chance(0.05)) Reopen();
    if (random.Chance(0.2)) ASSERT_EQ(All(*store_), model);
  }
  Reopen();
  EXPECT_EQ(All(*store_), model);
}

TEST(SimulatedIndexStoreTest, PowerLossTakesASuffixOfTheUnsyncedBatchesOnly) {
  std::map<std::size_t, int> left;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SeededRandom random(seed);
    SimulatedIndexStore store;
    for (int batch = 0; batch < 6; ++batch) {
      const std::vector<Change> changes = {{Kind::kPut, "a" + std::to_string(batch), "x"},
                                           {Kind::kPut, "b" + std::to_string(batch), "x"}};
      ASSERT_TRUE(store.Write(changes, batch == 2).ok());
    }
    EXPECT_EQ(store.UnsyncedBatches(), 3U);
    store.Crash(random);
    const Entries entries = All(store);
    ASSERT_EQ(entries.size() % 2, 0U) << "half a batch, seed " << seed;
    const std::size_t batches = entries.size() / 2;
    ASSERT_GE(batches, 3U) << "a synced batch went, seed " << seed;
    for (std::size_t batch = 0; batch < batches; ++batch) {
      ASSERT_TRUE(entries.contains("a" + std::to_string(batch)));
      ASSERT_TRUE(entries.contains("b" + std::to_string(batch)));
    }
    ++left[batches];
    const Entries before = entries;
    store.Crash(random);  // what survived a crash is durable
    EXPECT_EQ(All(store), before);
  }
  EXPECT_EQ(left.size(), 4U) << "3, 4, 5 and 6 batches were all seen";
}

TEST(SimulatedIndexStoreTest, MadeFaultsChangeNothing) {
  SimulatedIndexStore store;
  const std::vector<Change> batch = {{Kind::kPut, "a", "1"}};
  store.FailNext(2);
  EXPECT_EQ(store.Write(batch, false).code(), StatusCode::kIo);
  EXPECT_EQ(store.Sync().code(), StatusCode::kIo);
  EXPECT_EQ(store.entries(), 0U);
  EXPECT_TRUE(store.Write(batch, true).ok());
  EXPECT_EQ(store.entries(), 1U);
}

TEST(RocksDbIndexStoreTest, SecondDaemonAndBadFoldersAreRefused) {
  const TemporaryFolder folder;
  const auto first = OpenRocksDb(folder.Index());
  const auto second = RocksDbIndexStore::Open({.path = folder.Index()});
  EXPECT_EQ(second.code(), StatusCode::kIo);
  EXPECT_THAT(second.status().message(), testing::HasSubstr("lock"));
  EXPECT_FALSE(RocksDbIndexStore::Open({.path = "/proc/none/index"}).ok());
  EXPECT_FALSE(RocksDbIndexStore::Open({.path = "/dev/null"}).ok());
}

TEST(RocksDbIndexStoreTest, FullDiskIsAnErrorThatPassesAndTearsNoBatch) {
  const TemporaryFolder folder;
  const auto store = OpenRocksDb(folder.Index());
  const std::vector<Change> before = {{Kind::kPut, "before", "1"}};
  ASSERT_TRUE(store->Write(before, true).ok());
  // A limit on the size of files stands for the full disk: writes fail with EFBIG.
  rlimit usual{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &usual), 0);
  rlimit small = usual;
  small.rlim_cur = 64 << 10;
  ASSERT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::vector<Change> large = {{Kind::kPut, "large 1", std::string(100'000, 'x')},
                                     {Kind::kPut, "large 2", "2"}};
  const Status refused = store->Write(large, true);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &usual), 0);
  EXPECT_EQ(refused.code(), StatusCode::kIo) << refused.ToString();
  EXPECT_EQ(All(*store), (Entries{{"before", "1"}})) << "reads go on";
  const RocksDbIndexStore::Background background = store->background();
  EXPECT_GE(background.errors, 1U);
  EXPECT_FALSE(background.healthy);
  EXPECT_FALSE(background.last_error.empty());
  Status resumed;
  for (int attempt = 0; attempt < 100; ++attempt) {
    resumed = store->Resume();
    if (resumed.ok()) break;
    usleep(100'000);
  }
  EXPECT_TRUE(resumed.ok()) << resumed.ToString();
  EXPECT_TRUE(store->background().healthy);
  EXPECT_TRUE(store->Write(large, true).ok());
  EXPECT_EQ(All(*store).size(), 3U);
}

TEST(RocksDbIndexStoreTest, AFileThatIsNamedAndGoneIsReportedAsCorrupt) {
  const TemporaryFolder folder;
  const std::vector<Change> batch = {{Kind::kPut, "key", "value"}};
  ASSERT_TRUE(OpenRocksDb(folder.Index())->Write(batch, true).ok());
  // What a flipped bit in CURRENT leaves: the name of a file that is not there.
  std::ofstream(folder.Index() + "/CURRENT") << "MANIFEST-000444\n";
  const auto opened = RocksDbIndexStore::Open({.path = folder.Index()});
  EXPECT_EQ(opened.code(), StatusCode::kCorrupt) << opened.status().ToString();
}

TEST(RocksDbIndexStoreTest, DamagedTableIsReportedAsCorrupt) {
  const TemporaryFolder folder;
  {
    // A small memtable, so that there is a table file.
    auto opened = RocksDbIndexStore::Open(
        {.path = folder.Index(), .write_buffer_bytes = 64 << 10, .wal_bytes_max = 64 << 10});
    ASSERT_TRUE(opened.ok());
    for (int i = 0; i < 3000; ++i) {
      const std::vector<Change> batch = {
          {Kind::kPut, "key" + std::to_string(i), std::string(200, 'v')}};
      ASSERT_TRUE((*opened)->Write(batch, false).ok());
    }
  }
  int damaged = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.Index())) {
    if (entry.path().extension() != ".sst") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1000);
    file.write("damage", 6);
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
  auto opened = RocksDbIndexStore::Open({.path = folder.Index()});
  Status status = opened.status();
  if (opened.ok()) {
    status = (*opened)->Scan("", [](std::string_view, std::string_view) { return true; });
  }
  EXPECT_EQ(status.code(), StatusCode::kCorrupt) << status.ToString();
}

TEST(RocksDbIndexStoreTest, TornLogKeepsAPrefix) {
  const TemporaryFolder folder;
  {
    const auto store = OpenRocksDb(folder.Index());
    for (int i = 0; i < 100; ++i) {
      const std::vector<Change> batch = {{Kind::kPut, std::to_string(1000 + i), "value"}};
      ASSERT_TRUE(store->Write(batch, false).ok());
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder.Index())) {
    if (entry.path().extension() != ".log" || entry.file_size() < 1000) continue;
    std::filesystem::resize_file(entry.path(), entry.file_size() / 2);
  }
  const auto store = OpenRocksDb(folder.Index());
  ASSERT_NE(store, nullptr);
  const Entries entries = All(*store);
  EXPECT_GT(entries.size(), 10U);
  EXPECT_LT(entries.size(), 100U);
  int expected = 1000;
  for (const auto& [key, value] : entries) EXPECT_EQ(key, std::to_string(expected++));
}

void WriteAndDie(const std::string& path) {
  const auto store = OpenRocksDb(path);
  for (int i = 0; i < 500; ++i) {
    const std::vector<Change> batch = {{Kind::kPut, "key" + std::to_string(i), "value"}};
    if (!store->Write(batch, false).ok()) _exit(3);
  }
  std::raise(SIGKILL);
}

TEST(RocksDbIndexStoreDeathTest, KilledProcessLosesNothingThatWasWritten) {
  // Another process by its own exec: RocksDB's threads do not survive a fork. It learns the
  // folder from the environment, because it makes a TemporaryFolder of its own.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TemporaryFolder folder;
  setenv("TERRACE_TEST_INDEX", folder.Index().c_str(), 0);
  EXPECT_EXIT(WriteAndDie(getenv("TERRACE_TEST_INDEX")), testing::KilledBySignal(SIGKILL), "");
  unsetenv("TERRACE_TEST_INDEX");
  const auto store = OpenRocksDb(folder.Index());
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(All(*store).size(), 500U);
}

}  // namespace
}  // namespace terrace
