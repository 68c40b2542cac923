// NvmeStore: the NVMe tier of the daemon as a whole: its devices, its index, the thread that writes
// it. Each reactor gets a slice of it.
//
//   Open -> AdoptNamespaces -> Attach(cache, reactor, slice) for each reactor -> they run
//
// Thread: the main thread's, before the reactors run; the rest is for them. Lifetime: outlives the
// reactors' caches.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/reactor.h"
#include "base/result.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tiers/nvme/index_thread.h"
#include "tiers/nvme/rocksdb_index_store.h"
#include "tiers/nvme/store.h"
#include "tools/terraced/config/config.h"

namespace terrace {

class NvmeStore {
 public:
  /// Opens or makes the store of config.nvme. An index that is missing, broken or another store's
  /// is rebuilt from the log, which takes as long as reading it. The error names what was refused.
  static Result<std::unique_ptr<NvmeStore>> Open(const DaemonConfig& config);
  /// Ends the index thread; the reactors have ended before.
  ~NvmeStore();
  NvmeStore(const NvmeStore&) = delete;
  NvmeStore& operator=(const NvmeStore&) = delete;

  /// Makes the namespaces of earlier runs known, and notes those that come from now on.
  Status AdoptNamespaces(NamespaceRegistry& registry);

  /// What a reactor's cache needs of the store, to be kept behind the cache.
  struct Slice {
    std::vector<std::unique_ptr<Device>> devices;
    std::unique_ptr<nvme::IndexJournal> journal;
  };
  /// Puts a slice under a cache and finds what is in it. Blocks.
  Result<Slice> Attach(Cache& cache, Reactor& reactor, std::uint32_t slice);

  /// Bytes of a slice, over its devices.
  [[nodiscard]] std::uint64_t SliceBytes() const noexcept;
  /// For its counters, health and last error.
  [[nodiscard]] const nvme::IndexThread& index() const noexcept { return *thread_; }

 private:
  explicit NvmeStore(const DaemonConfig& config) : config_(config) {}
  Status OpenLog();
  Status OpenIndex();
  Status MoveIndexAside(const std::string& why);
  Status RebuildIndex();
  Status NoteStore();
  [[nodiscard]] RocksDbIndexStoreOptions IndexOptions() const;

  const DaemonConfig config_;
  nvme::OpenedStore log_;
  std::unique_ptr<nvme::LiveGenerations> generations_;
  std::unique_ptr<RocksDbIndexStore> index_;
  std::unique_ptr<nvme::IndexThread> thread_;
  bool index_unreadable_ = false;  ///< a slice's entries: the next start shall rebuild them
};

}  // namespace terrace
