#include "tiers/nvme/rocksdb_index_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <exception>
#include <filesystem>
#include <mutex>
#include <new>
#include <utility>

namespace terrace {

namespace {

constexpr std::size_t kScanReadaheadBytes = 4 << 20;
constexpr std::uint64_t kBytesPerSync = 1 << 20;  // no storms of dirty pages at a flush
constexpr std::size_t kProtectionBytesPerKey = 8;
constexpr std::uint64_t kRoomToOpenMin = 1 << 20;

Status ToStatus(const rocksdb::Status& status, const std::string& path, std::string_view what) {
  if (status.ok()) return Status::Ok();
  StatusCode code = StatusCode::kIo;
  // A file of it that is named and not there: a flipped bit in a name leaves that.
  if (status.IsCorruption() || status.IsPathNotFound()) code = StatusCode::kCorrupt;
  if (status.IsInvalidArgument()) code = StatusCode::kInvalid;
  if (status.IsNotSupported()) code = StatusCode::kUnsupported;
  if (status.IsBusy() || status.IsTryAgain() || status.IsTimedOut()) code = StatusCode::kRetry;
  return {code, "index " + path + ": " + std::string(what) + ": " + status.ToString()};
}

/// RocksDB reports by status, but the standard library below it can throw (threads). It is not made
/// for memory that is refused: a write that was left half way keeps the next one waiting for ever.
/// So the process ends then, as it does anywhere else, and the next start finds what was written.
template <typename Function>
Status Guarded(const std::string& path, std::string_view what, Function function) {
  try {
    return ToStatus(function(), path, what);
  } catch (const std::bad_alloc&) {
    std::terminate();
  } catch (const std::exception& failure) {
    return {StatusCode::kIo, "index " + path + ": " + std::string(what) + ": " + failure.what()};
  }
}

/// Notes what RocksDB's own threads met. Called by them.
class BackgroundListener final : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* error) override {
    const std::lock_guard lock(mutex_);
    ++state_.errors;
    state_.healthy = false;
    if (error != nullptr) state_.last_error = error->ToString();
  }
  void OnErrorRecoveryEnd(const rocksdb::BackgroundErrorRecoveryInfo& info) override {
    const std::lock_guard lock(mutex_);
    if (!info.new_bg_error.ok()) return;
    ++state_.recoveries;
    state_.healthy = true;
  }
  void Resumed() {
    const std::lock_guard lock(mutex_);
    state_.healthy = true;
  }
  [[nodiscard]] RocksDbIndexStore::Background state() const {
    const std::lock_guard lock(mutex_);
    return state_;
  }

 private:
  mutable std::mutex mutex_;
  RocksDbIndexStore::Background state_;  // guarded by mutex_
};

/// Drops entries that nobody needs any more when they would be copied.
class DeadEntryFilter final : public rocksdb::CompactionFilter {
 public:
  explicit DeadEntryFilter(std::function<bool(std::string_view, std::string_view)> dead)
      : dead_(std::move(dead)) {}
  bool Filter(int /*level*/, const rocksdb::Slice& key, const rocksdb::Slice& value,
              std::string* /*new_value*/, bool* /*value_changed*/) const override {
    return dead_(key.ToStringView(), value.ToStringView());
  }
  [[nodiscard]] const char* Name() const override { return "terrace-dead-entries"; }

 private:
  const std::function<bool(std::string_view, std::string_view)> dead_;
};

rocksdb::Options MakeOptions(const RocksDbIndexStoreOptions& wanted) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  // With manual flush the log would wait in our memory, and kill -9 would lose it.
  options.manual_wal_flush = false;
  // A torn end is what power loss leaves; everything before it is a true prefix.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_total_wal_size = wanted.wal_bytes_max;
  options.write_buffer_size = wanted.write_buffer_bytes;
  options.compression = rocksdb::kNoCompression;  // keys are hashes: nothing to gain
  options.bottommost_compression = rocksdb::kNoCompression;
  options.max_open_files = wanted.open_files_max;
  options.max_background_jobs = 2;
  // Else it takes tens of MiB in advance for each file, on a small disk all that is left, and then
  // has no room for the next one.
  options.allow_fallocate = false;
  options.bytes_per_sync = kBytesPerSync;
  options.wal_bytes_per_sync = kBytesPerSync;
  options.keep_log_file_num = 4;
  options.max_log_file_size = 4 << 20;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(wanted.cache_bytes);
  options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(wanted.cache_bytes, cache);
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.checksum = rocksdb::ChecksumType::kxxHash64;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

struct RocksDbIndexStore::Impl {
  RocksDbIndexStoreOptions options;
  std::shared_ptr<BackgroundListener> listener = std::make_shared<BackgroundListener>();
  std::unique_ptr<DeadEntryFilter> filter;  ///< null when nothing is asked
  std::unique_ptr<rocksdb::DB> database;    ///< null after Resume failed

  /// Calls `function` with the database.
  template <typename Function>
  Status Call(std::string_view what, Function function) {
    return Guarded(options.path, what, [&] {
      return database != nullptr ? function(*database)
                                 : rocksdb::Status::IOError("closed after an error");
    });
  }
};

/// RocksDB writes while it opens: a table of all that its write-ahead logs hold, and small files.
/// With assertions, as Debian builds it, it aborts when there is no room for them.
Status RocksDbIndexStore::CheckRoom(const std::string& path) {
  std::error_code error;
  std::uint64_t needed = kRoomToOpenMin;
  for (const auto& file : std::filesystem::directory_iterator(path, error)) {
    if (file.path().extension() == ".log") needed += file.file_size(error);
  }
  std::filesystem::path place(path);
  if (!std::filesystem::exists(place, error)) place = place.parent_path();
  const std::filesystem::space_info room = std::filesystem::space(place, error);
  if (error || room.available >= needed) return {};  // opening it tells what is wrong
  return {StatusCode::kIo, "index " + path + ": " + std::to_string(room.available) +
                               " bytes left on its file system, it takes " +
                               std::to_string(needed) + " to open it"};
}

RocksDbIndexStore::RocksDbIndexStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Status RocksDbIndexStore::OpenDatabase(Impl& impl) {
  return Guarded(impl.options.path, "open", [&impl] {
    rocksdb::Options settings = MakeOptions(impl.options);
    settings.listeners.push_back(impl.listener);
    settings.compaction_filter = impl.filter.get();
    rocksdb::DB* database = nullptr;
    const rocksdb::Status status =
        impl.options.read_only
            ? rocksdb::DB::OpenForReadOnly(settings, impl.options.path, &database)
            : rocksdb::DB::Open(settings, impl.options.path, &database);
    impl.database.reset(database);
    return status;
  });
}

Result<std::unique_ptr<RocksDbIndexStore>> RocksDbIndexStore::Open(
    const RocksDbIndexStoreOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  if (options.dead) impl->filter = std::make_unique<DeadEntryFilter>(options.dead);
  Status opened = options.read_only ? Status() : CheckRoom(options.path);
  if (opened.ok()) opened = OpenDatabase(*impl);
  if (!opened.ok()) return opened;
  return std::unique_ptr<RocksDbIndexStore>(new RocksDbIndexStore(std::move(impl)));
}

RocksDbIndexStore::~RocksDbIndexStore() {
  // What fails here is lost as by power loss, which the tier expects at every start.
  if (!impl_->options.read_only) (void)Sync();
  (void)impl_->Call("close", [](rocksdb::DB& database) { return database.Close(); });
}

Status RocksDbIndexStore::Write(std::span<const Change> changes, bool durable) {
  return impl_->Call("write", [&](rocksdb::DB& database) {
    std::size_t bytes = 0;
    for (const Change& change : changes) bytes += change.key.size() + change.value.size() + 16;
    rocksdb::WriteBatch batch(bytes, 0, kProtectionBytesPerKey, 0);
    for (const Change& change : changes) {
      const rocksdb::Status added = change.kind == Change::Kind::kPut
                                        ? batch.Put(change.key, change.value)
                                        : batch.Delete(change.key);
      if (!added.ok()) return added;
    }
    rocksdb::WriteOptions options;
    options.sync = durable;
    return database.Write(options, &batch);
  });
}

Status RocksDbIndexStore::Sync() {
  // Not FlushWAL: after a failed write of the log, Debian's build (assertions are on) aborts in it.
  // Without manual flush nothing waits in memory, so there is nothing else to flush. It aborts in
  // SyncWAL as well, when that log was never synced before its write failed.
  if (!impl_->listener->state().healthy) {
    return {StatusCode::kIo, "index " + impl_->options.path + ": sync: not before it has resumed"};
  }
  return impl_->Call("sync", [](rocksdb::DB& database) { return database.SyncWAL(); });
}

Status RocksDbIndexStore::Scan(
    std::string_view prefix,
    const std::function<bool(std::string_view key, std::string_view value)>& visit) {
  return impl_->Call("scan", [&](rocksdb::DB& database) {
    rocksdb::ReadOptions options;
    options.readahead_size = kScanReadaheadBytes;
    options.fill_cache = false;  // read once, at start
    options.verify_checksums = true;
    const std::unique_ptr<rocksdb::Iterator> at(database.NewIterator(options));
    for (at->Seek(rocksdb::Slice(prefix.data(), prefix.size())); at->Valid(); at->Next()) {
      const std::string_view key = at->key().ToStringView();
      if (!key.starts_with(prefix) || !visit(key, at->value().ToStringView())) break;
    }
    return at->status();
  });
}

Status RocksDbIndexStore::Resume() {
  if (Status room = CheckRoom(impl_->options.path); !room.ok()) return room;
  Status resumed = impl_->Call("resume", [](rocksdb::DB& database) { return database.Resume(); });
  if (resumed.code() == StatusCode::kRetry) return resumed;
  if (!resumed.ok()) {
    (void)impl_->Call("close", [](rocksdb::DB& database) { return database.Close(); });
    impl_->database.reset();
    resumed = OpenDatabase(*impl_);
  }
  if (resumed.ok()) impl_->listener->Resumed();
  return resumed;
}

RocksDbIndexStore::Background RocksDbIndexStore::background() const {
  return impl_->listener->state();
}

}  // namespace terrace
