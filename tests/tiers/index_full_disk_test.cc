// RocksDbIndexStore on a file system that is really full: Debian's RocksDB is built with assertions
// and aborts where it is called at the wrong time then.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tiers/nvme/rocksdb_index_store.h"

namespace terrace {
namespace {

namespace fs = std::filesystem;
using Change = IndexStore::Change;
using Kind = IndexStore::Change::Kind;

constexpr int kGood = 0;
constexpr int kBad = 1;
constexpr int kNoMount = 2;

/// What went wrong so far, of a process of its own.
int bad = 0;
void Expect(bool truth, const std::string& what) {
  if (truth) return;
  std::fprintf(stderr, "full disk: %s\n", what.c_str());
  ++bad;
}

/// A small file system that this process alone sees. False: it may not have one.
bool MountSmall(const fs::path& folder) {
  const int apart = ::geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER;
  return ::unshare(apart) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("small", folder.c_str(), "tmpfs", 0, "size=4m") == 0;
}

/// Takes every byte that is left.
void Fill(const fs::path& file) {
  std::ofstream stream(file, std::ios::binary);
  const std::string page(4096, 'f');
  while (stream.write(page.data(), static_cast<std::streamsize>(page.size())).flush()) {
  }
}

std::map<std::string, std::string> All(IndexStore& store) {
  std::map<std::string, std::string> entries;
  const Status scanned = store.Scan("", [&](std::string_view key, std::string_view value) {
    entries.emplace(key, value);
    return true;
  });
  Expect(scanned.ok(), scanned.ToString());
  return entries;
}

bool Says(const Status& status, std::string_view words) {
  return status.code() == StatusCode::kIo && status.message().find(words) != std::string::npos;
}

/// Fills the disk under an index whose log was never synced, asks of it all that a daemon asks
/// then, gives it room again, and goes on: with the same store, or by a start.
void FillAndGoOn(const fs::path& folder, bool start_again) {
  // Small memtables: until there is room for some, RocksDB does not go on.
  const RocksDbIndexStoreOptions options{.path = folder / "index", .write_buffer_bytes = 64 << 10};
  auto opened = RocksDbIndexStore::Open(options);
  if (!opened.ok()) return Expect(false, opened.status().ToString());
  auto store = std::move(opened).value();
  const std::vector<Change> before = {{Kind::kPut, "before", "1"}};
  Expect(store->Write(before, false).ok(), "the first write");
  Fill(folder / "filler");
  const std::vector<Change> large = {{Kind::kPut, "large", std::string(200'000, 'x')}};
  const Status refused = store->Write(large, true);
  Expect(refused.code() == StatusCode::kIo, "a write: " + refused.ToString());
  Expect(!store->background().healthy && !store->background().last_error.empty(), "it is not said");
  const Status synced = store->Sync();
  Expect(Says(synced, "not before it has resumed"), "a sync: " + synced.ToString());
  const Status resumed = store->Resume();
  Expect(Says(resumed, "bytes left on its file system"), "a resume: " + resumed.ToString());
  Expect(All(*store).size() == 1, "reads do not go on");
  if (start_again) {
    store.reset();
    const auto full = RocksDbIndexStore::Open(options);
    Expect(Says(full.status(), "to open it"), "a start: " + full.status().ToString());
    fs::remove(folder / "filler");
    auto again = RocksDbIndexStore::Open(options);
    if (!again.ok()) return Expect(false, "a start with room: " + again.status().ToString());
    store = std::move(again).value();
  } else {
    fs::remove(folder / "filler");
    Status status;
    for (int attempt = 0; attempt < 300; ++attempt) {
      status = store->Resume();
      if (status.ok()) break;
      ::usleep(100'000);
    }
    Expect(status.ok(), "a resume with room: " + status.ToString());
  }
  Expect(store->Write(large, true).ok() && store->Sync().ok(), "writes do not go on");
  Expect(All(*store).size() == 2, "entries are missing");
}

/// The whole test, in a process of its own: its status is the outcome.
[[noreturn]] void RunApart(bool start_again) {
  std::string name = (fs::temp_directory_path() / "terrace-full-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) ::_exit(kBad);
  const bool mounted = MountSmall(name);
  if (mounted) FillAndGoOn(name, start_again);
  if (mounted) ::umount2(name.c_str(), MNT_DETACH);
  std::error_code error;
  fs::remove_all(name, error);
  ::_exit(mounted ? (bad == 0 ? kGood : kBad) : kNoMount);
}

class FullIndexDiskDeathTest : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Ways, FullIndexDiskDeathTest, testing::Bool(), [](const auto& way) {
  return way.param ? "ByAStart" : "InTheSameProcess";
});

TEST_P(FullIndexDiskDeathTest, ItEndsNoDaemonIsSaidAndPasses) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  bool mounted = true;
  EXPECT_EXIT(
      RunApart(GetParam()),
      [&mounted](int status) {
        mounted = !WIFEXITED(status) || WEXITSTATUS(status) != kNoMount;
        return !mounted || (WIFEXITED(status) && WEXITSTATUS(status) == kGood);
      },
      "");
  if (!mounted) GTEST_SKIP() << "this process may not mount a file system of its own";
}

}  // namespace
}  // namespace terrace
