#include "tools/terracectl/fsck_command.h"

#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <memory>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "tiers/nvme/index_rebuild.h"
#include "tiers/nvme/rocksdb_index_store.h"
#include "tools/common/byte_size.h"
#include "tools/common/progress_bar.h"
#include "tools/terracectl/fsck_report.h"
#include "tools/terracectl/store_check.h"

namespace terrace {

namespace {

constexpr int kClean = 0;
constexpr int kDamaged = 1;
constexpr int kCouldNotRun = 2;

int Fail(const std::string& message) {
  std::cerr << "terracectl: fsck: " << message << '\n';
  return kCouldNotRun;
}

std::string Advice(const Status& status) {
  if (status.message().find("in use by another process") == std::string::npos) {
    return status.message();
  }
  return status.message() + ". Is terraced running? Stop it first";
}

/// Draws how much of the store was passed, on a terminal only.
class PassedBytes {
 public:
  explicit PassedBytes(const nvme::OpenedStore& store)
      : total_(GeometryOf(store.superblock).slice_bytes() * store.superblock.slices *
               store.files.size()),
        bar_(total_, isatty(STDERR_FILENO) != 1, clock_) {}
  void Add(std::uint64_t bytes) {
    passed_ += bytes;
    if (bar_.Due()) bar_.Draw(passed_, Text());
  }
  void Finish() { bar_.Finish(passed_, Text()); }

 private:
  [[nodiscard]] std::string Text() const {
    return FormatByteSize(passed_) + " of " + FormatByteSize(total_);
  }
  SteadyClock clock_;
  std::uint64_t total_;
  std::uint64_t passed_ = 0;
  ProgressBar bar_;
};

int Check(const FsckOptions& options, const nvme::OpenedStore& store, const std::string& path) {
  std::unique_ptr<RocksDbIndexStore> index;
  std::string index_damage;
  std::error_code failed;
  if (!std::filesystem::exists(path, failed)) {
    index_damage = "index " + path + ": is missing";
  } else {
    auto opened = RocksDbIndexStore::Open({.path = path, .read_only = true});
    if (opened.ok()) {
      index = std::move(opened).value();
    } else {
      index_damage = opened.status().ToString();
    }
  }
  PassedBytes passed(store);
  auto report =
      CheckStore(store, index.get(), [&passed](std::uint64_t bytes) { passed.Add(bytes); });
  if (!report.ok()) return Fail(report.status().ToString());
  passed.Finish();
  if (!index_damage.empty()) {
    report->AddDamage(index_damage + "; --rebuild-index makes it from the log");
  }
  std::cout << (options.json ? FsckJson(*report) : FsckText(*report)) << std::flush;
  if (!std::cout) return kCouldNotRun;
  return report->clean() ? kClean : kDamaged;
}

/// UTC, fit for a file's name: "20261125T190541Z".
std::string Timestamp() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::string text(32, '\0');
  text.resize(std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts));
  return text;
}

/// Makes the index anew at `path`, where nothing is.
Result<RebuildReport> Rebuild(const nvme::OpenedStore& store, const std::string& path) {
  auto index = RocksDbIndexStore::Open({.path = path});
  if (!index.ok()) return index.status();
  RebuildReport report;
  PassedBytes passed(store);
  auto totals = nvme::RebuildIndex(
      store.files, store.superblock, **index,
      {.verify_payloads = true, .passed = [&passed](std::uint64_t bytes) { passed.Add(bytes); }},
      [&](const nvme::ScannedRecord& record) {
        if (report.left_out.size() >= kDamageLinesMax) return;
        report.left_out.push_back(PlaceText(store, record.header.slice, record.place) + ": " +
                                  record.payload.message());
      });
  if (!totals.ok()) return totals.status();
  passed.Finish();
  report.totals = *totals;
  report.warnings = store.warnings;
  return report;
}

int RebuildInPlace(const FsckOptions& options, const nvme::OpenedStore& store,
                   const std::string& path) {
  // Readers share the devices' lock, and two of these would take each other's index away.
  if (::flock(store.files.front().descriptor(), LOCK_EX | LOCK_NB) != 0) {
    return Fail("another fsck looks at " + store.files.front().name() + ": wait for its end");
  }
  const std::string aside = path + ".old-" + Timestamp();
  std::error_code failed;
  const bool had_one = std::filesystem::exists(std::filesystem::symlink_status(path, failed));
  if (had_one) {
    std::filesystem::rename(path, aside, failed);
    if (failed) return Fail("cannot move " + path + " to " + aside + ": " + failed.message());
  }
  const Result<RebuildReport> report = Rebuild(store, path);
  if (!report.ok()) {
    std::filesystem::remove_all(path, failed);
    if (had_one) std::filesystem::rename(aside, path, failed);
    return Fail(report.status().ToString() +
                (failed ? "; the old index is " + aside : "; the index is as it was"));
  }
  if (had_one) {
    std::filesystem::remove_all(aside, failed);
    if (failed) std::cerr << "terracectl: fsck: cannot remove " << aside << '\n';
  }
  std::cout << (options.json ? RebuildJson(*report) : RebuildText(*report)) << std::flush;
  if (!std::cout) return kCouldNotRun;
  return report->warnings.empty() ? kClean : kDamaged;
}

}  // namespace

int RunFsck(const FsckOptions& options) {
  nvme::StoreOptions wanted;
  wanted.folder = options.folder;
  wanted.files = options.files;
  wanted.read_only = true;
  const Result<nvme::OpenedStore> store = nvme::OpenStore(wanted);
  if (!store.ok()) return Fail(Advice(store.status()));
  const std::string index = options.folder + "/index";
  return options.rebuild_index ? RebuildInPlace(options, *store, index)
                               : Check(options, *store, index);
}

}  // namespace terrace
