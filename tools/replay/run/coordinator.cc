#include "tools/replay/run/coordinator.h"

#include <cstdio>
#include <vector>

#include "tools/replay/run/interrupt.h"
#include "tools/replay/run/progress.h"
#include "tools/replay/run/schedule.h"
#include "tools/replay/run/worker_pool.h"
#include "tools/replay/worth/saved_compute.h"

namespace terrace::replay {
namespace {

/// Longest that a poll sleeps, so that progress moves and a signal is seen, ms.
constexpr int kPollMs = 200;
/// Connecting and opening, with a daemon that is slow to start.
constexpr Nanos kReadyTimeout = 60 * kSecond;
/// A request of 65,536 blocks at the deadline of each call would take longer, but no worker is
/// silent so long while anything moves.
constexpr Nanos kSilenceMax = 180 * kSecond;
/// For the order in progress and the summary, ms.
constexpr int kStopTimeoutMs = 30'000;

class Coordinator {
 public:
  Coordinator(const SharedWorkload& workload, const CoordinatorOptions& options, DaemonWatch& watch,
              const Clock& clock)
      : workload_(workload),
        options_(options),
        watch_(watch),
        clock_(clock),
        schedule_({.requests = workload.requests().size(),
                   .prefill_workers = options.prefill_workers,
                   .lockstep = options.lockstep}) {
    outcome_.totals.hit_tokens.assign(workload.requests().size(), kNotPrefilled);
  }

  Result<RunOutcome> Run() {
    Status status = StartWorkers();
    if (!status.ok()) return status;
    Progress progress(workload_.requests().size(), options_.quiet, options_.progress_file, clock_);
    const Nanos begin = clock_.Now();
    last_report_ = begin;
    while (!schedule_.Done() && outcome_.failure.empty() && !InterruptNote::Asked()) {
      Dispatch();
      for (const WorkerEvent& event : pool_.Wait(kPollMs)) Handle(event);
      watch_.Poll();
      progress.Update(schedule_.finished(), outcome_.totals);
      if (clock_.Now() - last_report_ > kSilenceMax) Fail("no worker reported for 3 minutes");
    }
    outcome_.duration_s = static_cast<double>(clock_.Now() - begin) / 1e9;
    outcome_.interrupted = InterruptNote::Asked();
    progress.Finish(schedule_.finished(), outcome_.totals);
    StopWorkers();
    outcome_.requests_finished = schedule_.finished();
    return std::move(outcome_);
  }

 private:
  void Fail(const std::string& cause) {
    if (outcome_.failure.empty()) outcome_.failure = cause;
  }

  Status StartWorkers() {
    const auto start = [this](WorkKind role, const char* name, std::uint32_t count) {
      Status status;
      for (std::uint32_t index = 0; index < count && status.ok(); ++index) {
        status = pool_.Start(role, name + std::to_string(index), workload_.fd());
      }
      return status;
    };
    Status status = start(WorkKind::kPrefill, "prefill-", options_.prefill_workers);
    if (status.ok()) status = start(WorkKind::kDecode, "decode-", options_.decode_workers);
    const Nanos deadline = clock_.Now() + kReadyTimeout;
    std::size_t ready = 0;
    while (status.ok() && ready < pool_.workers().size()) {
      for (const WorkerEvent& event : pool_.Wait(kPollMs)) {
        const std::string& name = pool_.workers()[event.worker].name;
        if (!event.status.ok()) return Status::Internal("worker " + name + " died at its start");
        if (event.message.kind != ReportKind::kReady) {
          return Status(StatusCode::kInternal, "worker " + name + ": " + event.message.report.text);
        }
        if (ready++ == 0) outcome_.link = event.message.report.text;
      }
      if (InterruptNote::Asked()) return Status(StatusCode::kCancelled, "interrupted");
      if (clock_.Now() > deadline) {
        return Status(StatusCode::kTimeout, "the workers were not ready within a minute");
      }
    }
    return status;
  }

  void Dispatch() {
    for (std::size_t index = 0; index < pool_.workers().size(); ++index) {
      const WorkerProcess& worker = pool_.workers()[index];
      if (worker.busy || worker.socket < 0) continue;
      const std::optional<std::uint64_t> request =
          worker.role == WorkKind::kPrefill ? schedule_.TakePrefill() : schedule_.TakeDecode();
      if (!request.has_value()) continue;
      const Status sent = pool_.Order(index, worker.role, *request);
      if (!sent.ok()) return Fail("worker " + worker.name + ": " + sent.ToString());
    }
  }

  void Handle(const WorkerEvent& event) {
    const WorkerProcess& worker = pool_.workers()[event.worker];
    last_report_ = clock_.Now();
    if (!event.status.ok()) {
      return Fail("worker " + worker.name + " (process " + std::to_string(worker.pid) +
                  ") died at request " + std::to_string(worker.request) + ": " +
                  event.status.ToString());
    }
    const WorkReport& report = event.message.report;
    if (event.message.kind == ReportKind::kSummary || event.message.kind == ReportKind::kReady) {
      return Fail("worker " + worker.name + " sent a message out of turn");
    }
    Count(event.worker, report);
    if (event.message.kind == ReportKind::kFailed) {
      return Fail("worker " + worker.name + ": " + report.text);
    }
    if (report.work == WorkKind::kPrefill) {
      schedule_.PrefillEnded(report.request);
    } else {
      schedule_.DecodeEnded();
    }
    if (report.wrong_blocks > 0) Fail("wrong bytes: " + DescribeWrongBlock(report));
  }

  void Count(std::size_t worker, const WorkReport& report) {
    if (report.request >= workload_.requests().size()) return;
    outcome_.totals.Add(worker, report, workload_.requests()[report.request]);
    if (report.calls_peer_dead > 0) watch_.NoteOutage();
  }

  void StopWorkers() {
    std::vector<WorkerSummary> summaries;
    const std::vector<std::string> bad = pool_.Stop(kStopTimeoutMs, summaries);
    for (const WorkerSummary& summary : summaries) outcome_.totals.Add(summary);
    outcome_.worker_errors = static_cast<std::uint32_t>(bad.size());
    if (!bad.empty()) Fail("worker " + bad.front() + " did not stop cleanly");
  }

  const SharedWorkload& workload_;
  CoordinatorOptions options_;
  DaemonWatch& watch_;
  const Clock& clock_;
  Schedule schedule_;
  WorkerPool pool_;
  RunOutcome outcome_;
  Nanos last_report_ = 0;
};

}  // namespace

std::string DescribeWrongBlock(const WorkReport& report) {
  const WrongBlock& wrong = report.wrong;
  std::string text = "key " + ToHex(wrong.key) + ", block " + std::to_string(wrong.position) +
                     " of request " + std::to_string(report.request) + ", tier " +
                     std::string(TierName(wrong.tier)) + ", ";
  char detail[160];
  if (wrong.count > 0) {
    std::snprintf(detail, sizeof detail,
                  "offset %llu: byte is 0x%02x, must be 0x%02x (%llu bytes of the block are wrong)",
                  static_cast<unsigned long long>(wrong.offset),
                  std::to_integer<unsigned>(wrong.found), std::to_integer<unsigned>(wrong.expected),
                  static_cast<unsigned long long>(wrong.count));
  } else {
    std::snprintf(detail, sizeof detail, "valid_tokens is %u, must be %u", wrong.valid_tokens_found,
                  wrong.valid_tokens_expected);
  }
  return text + detail;
}

Result<RunOutcome> RunWorkload(const SharedWorkload& workload, const CoordinatorOptions& options,
                               DaemonWatch& watch, const Clock& clock) {
  if (options.prefill_workers == 0 || options.prefill_workers > kWorkersMax ||
      options.decode_workers == 0 || options.decode_workers > kWorkersMax) {
    return Status::Invalid("--prefill and --decode must be from 1 to 64");
  }
  return Coordinator(workload, options, watch, clock).Run();
}

}  // namespace terrace::replay
