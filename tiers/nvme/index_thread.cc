#include "tiers/nvme/index_thread.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

#include "base/crash_point.h"
#include "base/wait.h"

namespace terrace::nvme {

namespace {

constexpr Nanos kResumePeriod = kSecond;

class ReactorJournal final : public IndexJournal {
 public:
  ReactorJournal(IndexThread& thread, Reactor& reactor) : thread_(thread), reactor_(reactor) {}

  Task<Status> Write(Changes changes, bool durable) override {
    Event done;
    Status outcome;
    // Event and outcome live in this frame, which waits for them without a deadline: the thread
    // answers every job that it accepted.
    const bool accepted = thread_.Submit(
        std::move(changes), durable, [&reactor = reactor_, &done, &outcome](Status status) {
          reactor.Post([&done, &outcome, status = std::move(status)]() mutable {
            outcome = std::move(status);
            done.Set();
          });
        });
    if (!accepted) co_return Status(StatusCode::kRetry, "too many index changes are waiting");
    (void)co_await done.Wait();
    co_return outcome;
  }

  bool Enqueue(Changes changes) override { return thread_.Submit(std::move(changes), false, {}); }
  [[nodiscard]] bool Healthy() const noexcept override { return thread_.Healthy(); }

 private:
  IndexThread& thread_;
  Reactor& reactor_;
};

}  // namespace

IndexThread::IndexThread(IndexStore& store, Options options)
    : store_(store), options_(std::move(options)), thread_([this] { Work(); }) {}

IndexThread::~IndexThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

std::unique_ptr<IndexJournal> IndexThread::JournalFor(Reactor& reactor) {
  return std::make_unique<ReactorJournal>(*this, reactor);
}

std::string IndexThread::LastError() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

bool IndexThread::Submit(IndexJournal::Changes changes, bool durable,
                         std::function<void(Status)> done) {
  return Add({std::move(changes), durable, std::move(done)}, options_.queued_max);
}

void IndexThread::SubmitAlways(IndexJournal::Changes changes) {
  (void)Add({std::move(changes), false, {}}, SIZE_MAX);
}

bool IndexThread::Add(Job job, std::size_t queued_max) {
  {
    const std::lock_guard lock(mutex_);
    if (stop_ || queued_ + job.changes.size() > queued_max) {
      counters_.refused.fetch_add(job.changes.size(), std::memory_order_relaxed);
      return false;
    }
    queued_ += job.changes.size();
    jobs_.push_back(std::move(job));
    CrashHere(CrashPoint::kEntryQueued);
  }
  wake_.notify_one();
  return true;
}

void IndexThread::Work() {
  synced_at_ = clock_.Now();
  for (;;) {
    std::vector<Job> jobs;
    bool stopping = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, std::chrono::nanoseconds(options_.sync_period),
                     [this] { return stop_ || !jobs_.empty(); });
      jobs.swap(jobs_);
      queued_ = 0;
      stopping = stop_;
    }
    if (!Healthy()) TryToResume();
    if (!jobs.empty() || !kept_.empty()) WriteBatch(std::move(jobs));
    if (stopping) synced_at_ = clock_.Now() - options_.sync_period;
    SyncIfDue();
    if (stopping) return;
  }
}

void IndexThread::WriteBatch(std::vector<Job> jobs) {
  IndexJournal::Changes changes = std::exchange(kept_, {});
  bool durable = false;
  for (const Job& job : jobs) {
    changes.insert(changes.end(), job.changes.begin(), job.changes.end());
    durable = durable || job.durable;
  }
  // Without changes it is a call for durability, or for word that what came before is written.
  const bool nothing = changes.empty() && !durable;
  Status status;
  if (!nothing) {
    status = changes.empty() ? store_.Sync() : store_.Write(changes, durable);
    Note(status);
  }
  if (status.ok() && !nothing) {
    CrashHere(durable ? CrashPoint::kIndexDurable : CrashPoint::kIndexWritten);
    counters_.changes.fetch_add(changes.size(), std::memory_order_relaxed);
    counters_.batches.fetch_add(1, std::memory_order_relaxed);
    if (durable) counters_.durable_batches.fetch_add(1, std::memory_order_relaxed);
    // A durable batch makes everything before it durable too: one log.
    dirty_ = !durable;
    if (durable) synced_at_ = clock_.Now();
  } else if (!status.ok()) {
    Keep(std::move(changes), jobs);
  }
  for (const Job& job : jobs) {
    if (job.done) job.done(status);
  }
}

void IndexThread::Keep(IndexJournal::Changes changes, const std::vector<Job>& jobs) {
  // What was kept before comes first in `changes`; of the jobs', only what nobody waits for.
  std::size_t of_jobs = 0;
  for (const Job& job : jobs) of_jobs += job.changes.size();
  changes.resize(changes.size() - of_jobs);
  for (const Job& job : jobs) {
    if (!job.done) changes.insert(changes.end(), job.changes.begin(), job.changes.end());
  }
  kept_ = std::move(changes);
  const std::lock_guard lock(mutex_);
  queued_ += kept_.size();
}

void IndexThread::SyncIfDue() {
  if (!dirty_ || clock_.Now() - synced_at_ < options_.sync_period) return;
  const Status status = store_.Sync();
  Note(status);
  synced_at_ = clock_.Now();
  if (!status.ok()) return;
  CrashHere(CrashPoint::kIndexSynced);
  counters_.syncs.fetch_add(1, std::memory_order_relaxed);
  dirty_ = false;
}

void IndexThread::Note(const Status& status) {
  if (status.ok()) {
    healthy_.store(true, std::memory_order_relaxed);
    return;
  }
  counters_.failures.fetch_add(1, std::memory_order_relaxed);
  healthy_.store(false, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  last_error_ = status.message();
}

void IndexThread::TryToResume() {
  if (!options_.resume || clock_.Now() - resumed_at_ < kResumePeriod) return;
  resumed_at_ = clock_.Now();
  if (options_.resume().ok()) healthy_.store(true, std::memory_order_relaxed);
}

}  // namespace terrace::nvme
