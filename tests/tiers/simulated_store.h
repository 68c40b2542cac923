// What the tests of the log, of the cache over NVMe and the simulation share: the media of a small
// store in memory, and a journal over a SimulatedIndexStore that answers when the clock says so.
//
// Thread: the scheduler's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/device_sim.h"
#include "base/index_store_sim.h"
#include "base/random.h"
#include "base/scheduler.h"
#include "base/wait.h"
#include "tiers/nvme/format.h"
#include "tiers/nvme/index_journal.h"
#include "tiers/nvme/log_scan.h"
#include "tiers/nvme/segment_log.h"

namespace terrace::testing {

/// The header of each segment of a device, as the medium has it now; one that is none comes as
/// generation 0, as from nvme::ReadSegmentHeaders.
inline std::vector<nvme::SegmentHeader> HeadersOn(const SimulatedDevice& device,
                                                  const nvme::SegmentLogOptions& options,
                                                  std::uint32_t number) {
  std::vector<nvme::SegmentHeader> headers(options.segments);
  for (std::uint32_t segment = 0; segment < options.segments; ++segment) {
    nvme::SegmentHeader header;
    device.Peek(segment * options.segment_bytes, std::as_writable_bytes(std::span(&header, 1)));
    const bool good = nvme::IsSealed(header, options.salt) && header.device == number &&
                      header.slice == options.slice && header.segment == segment &&
                      header.store_id == options.store_id;
    if (good) headers[segment] = header;
  }
  return headers;
}

/// Reads of media, as a start does them.
inline nvme::ReadSlice ReadsOf(std::vector<const SimulatedDevice*> media) {
  return [media = std::move(media)](std::uint32_t device, std::uint64_t offset,
                                    std::span<std::byte> bytes) {
    media[device]->Peek(offset, bytes);
    return Status::Ok();
  };
}

/// An IndexJournal as index_thread.h is one: changes are written in batches, in order, a random
/// time after they came; unanswered changes of a batch that failed are kept for the next.
class SimulatedJournal final : public nvme::IndexJournal {
 public:
  SimulatedJournal(SimulatedIndexStore& store, Scheduler& scheduler, Random& random,
                   Nanos delay_max = 2 * kMillisecond)
      : store_(store), scheduler_(scheduler), random_(random), delay_max_(delay_max) {}
  ~SimulatedJournal() override { Kill(); }

  Task<Status> Write(Changes changes, bool durable) override {
    Event done;
    Status outcome;
    if (!Submit({std::move(changes), durable, &done, &outcome})) {
      co_return Status(StatusCode::kRetry, "the simulated journal is full");
    }
    (void)co_await done.Wait();
    co_return outcome;
  }
  bool Enqueue(Changes changes) override {
    return Submit({std::move(changes), false, nullptr, nullptr});
  }
  [[nodiscard]] bool Healthy() const noexcept override { return healthy_; }

  /// Changes that may wait.
  void QueueMost(std::size_t changes) { most_ = changes; }
  /// Nothing is written until it is called with false.
  void Hold(bool held) {
    held_ = held;
    if (!held) Start();
  }
  /// The process is gone: what waits is never written, and everybody hears kIo.
  void Kill() {
    dead_ = true;
    if (timer_set_) scheduler_.CancelTimer(timer_);
    timer_set_ = false;
    for (const Job& job : std::exchange(jobs_, {})) Answer(job, Gone());
  }

 private:
  struct Job {
    Changes changes;
    bool durable = false;
    Event* done = nullptr;
    Status* outcome = nullptr;
  };
  static Status Gone() { return {StatusCode::kIo, "the journal's process is gone"}; }
  static void Answer(const Job& job, const Status& status) {
    if (job.done == nullptr) return;
    *job.outcome = status;
    job.done->Set();
  }

  bool Submit(Job job) {
    if (dead_) {
      Answer(job, Gone());
      return true;
    }
    std::size_t waiting = job.changes.size();
    for (const Job& other : jobs_) waiting += other.changes.size();
    if (waiting > most_) return false;
    jobs_.push_back(std::move(job));
    Start();
    return true;
  }
  void Start() {
    if (timer_set_ || held_ || dead_ || (jobs_.empty() && healthy_)) return;
    // Without a job it is to bring the store back.
    const Nanos most = jobs_.empty() ? kResumePeriod : delay_max_;
    const auto delay = static_cast<Nanos>(random_.Below(static_cast<std::uint64_t>(most)));
    timer_ = scheduler_.AddTimer(scheduler_.Now() + delay, [this] { WriteBatch(); });
    timer_set_ = true;
  }
  void WriteBatch() {
    timer_set_ = false;
    if (held_) return;
    std::vector<IndexStore::Change> changes;
    bool durable = false;
    std::vector<Job> jobs = std::exchange(jobs_, {});
    for (const Job& job : jobs) {
      changes.insert(changes.end(), job.changes.begin(), job.changes.end());
      durable = durable || job.durable;
    }
    // Without either it is a call for word that what came before is written.
    const bool nothing = changes.empty() && !durable && healthy_;
    const Status status = nothing ? Status::Ok() : store_.Write(changes, durable);
    healthy_ = status.ok();
    for (Job& job : jobs) {
      Answer(job, status);
      if (!status.ok() && job.done == nullptr) jobs_.push_back(std::move(job));
    }
    Start();
  }

  static constexpr Nanos kResumePeriod = 50 * kMillisecond;

  SimulatedIndexStore& store_;
  Scheduler& scheduler_;
  Random& random_;
  const Nanos delay_max_;
  std::size_t most_ = 65'536;
  bool held_ = false;
  bool dead_ = false;
  bool healthy_ = true;
  std::vector<Job> jobs_;
  Scheduler::TimerId timer_;
  bool timer_set_ = false;
};

}  // namespace terrace::testing
