// IndexThread: the one thread that calls the index store, because RocksDB can stall for long.
//
// Model. Callers of any thread append to one queue; the thread takes all of it at once and writes
// it as one batch, durable when one of its parts is to be (group commit: 64 keys a batch are 30
// times faster than one, synced). Each `sync_period` it syncs what was written without durability,
// which bounds what power loss takes. While the store fails it tries to resume it once a second,
// and answers kIo to everything at once. Changes that nobody waits for are kept then, and written
// ahead of the next batch: a block that was written without durability counts on its entry later.
//
// Lifetime: outlives the journals made from it, and is stopped before the reactors go.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/reactor.h"
#include "tiers/nvme/index_journal.h"

namespace terrace::nvme {

/// Readable from any thread.
struct IndexThreadCounters {
  std::atomic<std::uint64_t> changes{0}, batches{0}, durable_batches{0}, syncs{0};
  std::atomic<std::uint64_t> failures{0};  ///< batches and syncs that failed
  std::atomic<std::uint64_t> refused{0};   ///< changes that found the queue full
};

class IndexThread {
 public:
  struct Options {
    Nanos sync_period = kSecond;
    std::size_t queued_max = 65'536;  ///< changes waiting
    /// Brings a failed store back; kRetry or an error while it cannot. May be empty.
    std::function<Status()> resume;
  };

  /// `store` outlives the thread; nobody else calls it from now on.
  IndexThread(IndexStore& store, Options options);
  /// Writes what is queued, syncs, ends.
  ~IndexThread();
  IndexThread(const IndexThread&) = delete;
  IndexThread& operator=(const IndexThread&) = delete;

  /// `done` (may be empty) is called on the index thread. False, and `done` is never called, when
  /// the queue is full. Any thread.
  bool Submit(IndexJournal::Changes changes, bool durable, std::function<void(Status)> done);
  /// For changes whose number the caller bounds, and that must not be refused: they find room in a
  /// full queue too. Dropped only when the thread ends. Any thread.
  void SubmitAlways(IndexJournal::Changes changes);
  /// A reactor's journal; `reactor` outlives it and runs until its calls have ended.
  std::unique_ptr<IndexJournal> JournalFor(Reactor& reactor);

  [[nodiscard]] bool Healthy() const noexcept { return healthy_.load(std::memory_order_relaxed); }
  [[nodiscard]] const IndexThreadCounters& Counters() const noexcept { return counters_; }
  /// The store's words about the last failure; empty when there was none. Any thread.
  [[nodiscard]] std::string LastError() const;

 private:
  struct Job {
    IndexJournal::Changes changes;
    bool durable = false;
    std::function<void(Status)> done;
  };

  bool Add(Job job, std::size_t queued_max);
  void Work();
  void WriteBatch(std::vector<Job> jobs);
  /// Of a batch that failed, what nobody waits for.
  void Keep(IndexJournal::Changes changes, const std::vector<Job>& jobs);
  void SyncIfDue();
  void Note(const Status& status);
  void TryToResume();

  IndexStore& store_;
  const Options options_;
  SteadyClock clock_;
  IndexThreadCounters counters_;
  std::atomic<bool> healthy_{true};
  // The thread's own:
  IndexJournal::Changes kept_;  // of batches that failed; nobody waits for them
  bool dirty_ = false;
  Nanos synced_at_ = 0;
  Nanos resumed_at_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Job> jobs_;   // guarded by mutex_
  std::size_t queued_ = 0;  // changes in jobs_ and kept_; guarded by mutex_
  bool stop_ = false;       // guarded by mutex_
  std::string last_error_;  // guarded by mutex_
  std::thread thread_;      // last: it uses the others
};

}  // namespace terrace::nvme
