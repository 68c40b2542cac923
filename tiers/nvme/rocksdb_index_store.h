// RocksDbIndexStore: the IndexStore of production, metadata of the NVMe tier in RocksDB.
//
// The database is a cache of the log: it can be thrown away and rebuilt from the log's records. So
// its write-ahead log is synced per batch only on demand, a torn end of it is cut off at start
// (everything before is kept), and memory is bounded rather than large.
//
// Thread: one that may block, never a reactor (Write can stall); background() from any thread.
// Lifetime: Open to destructor holds the database's lock; a second Open of the folder fails.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/index_store.h"
#include "base/result.h"

namespace terrace {

struct RocksDbIndexStoreOptions {
  std::string path;                             ///< folder, made when missing (its parent exists)
  std::uint64_t cache_bytes = 64 << 20;         ///< blocks, filters and memtables together
  std::uint64_t write_buffer_bytes = 16 << 20;  ///< of one memtable
  /// Unflushed log, bytes: bounds what a start replays (64,000 keys: 0.24 s).
  std::uint64_t wal_bytes_max = 64 << 20;
  int open_files_max = 64;
  /// For tools that look: the folder must exist and is not changed, and every Write fails. Nothing
  /// keeps a daemon from opening it meanwhile: hold the lock of the store's devices.
  bool read_only = false;
  /// Asked, by RocksDB's own threads, of entries that it is about to copy: true drops the entry.
  /// May be empty.
  std::function<bool(std::string_view key, std::string_view value)> dead = {};
};

class RocksDbIndexStore final : public IndexStore {
 public:
  /// kCorrupt when the database cannot be read (rebuild it from the log), kIo when the folder
  /// cannot be had: missing parent, permissions, another process.
  static Result<std::unique_ptr<RocksDbIndexStore>> Open(const RocksDbIndexStoreOptions& options);
  /// Syncs, then closes.
  ~RocksDbIndexStore() override;
  RocksDbIndexStore(const RocksDbIndexStore&) = delete;
  RocksDbIndexStore& operator=(const RocksDbIndexStore&) = delete;

  /// kIo when the disk is full or failed: nothing of the batch is visible, and later writes may
  /// fail until RocksDB recovered by itself (space came back) or Resume succeeded.
  Status Write(std::span<const Change> changes, bool durable) override;
  Status Sync() override;
  Status Scan(
      std::string_view prefix,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) override;

  /// Tries to leave the state that an error left the database in: by RocksDB's own means, else
  /// (errors that it calls fatal, e.g. EIO in its log) by closing and opening it again. kRetry
  /// while RocksDB is recovering by itself. After a failure every call answers kIo until one
  /// succeeds.
  Status Resume();

  struct Background {
    std::uint64_t errors = 0;      ///< since Open
    std::uint64_t recoveries = 0;  ///< automatic ones that succeeded
    bool healthy = true;           ///< false after an error, until a recovery or a Resume
    std::string last_error;        ///< the exact cause, for the log
  };
  [[nodiscard]] Background background() const;

 private:
  struct Impl;
  static Status OpenDatabase(Impl& impl);
  static Status CheckRoom(const std::string& path);
  explicit RocksDbIndexStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace terrace
