#include "tools/replay/run/coordinator.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "tools/replay/run/interrupt.h"
#include "tools/replay/run/progress.h"
#include "tools/replay/run/schedule.h"
#include "tools/replay/run/worker_pool.h"
#include "tools/replay/worth/saved_compute.h"

namespace terrace::replay {
namespace {

/// Longest that a poll sleeps, so that progress moves and a signal is seen.
constexpr Nanos kPollMax = 200 * kMillisecond;
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
        schedule_(workload.requests(), {.prefill_workers = options.prefill_workers,
                                        .lockstep = options.lockstep,
                                        .pace = options.pace}) {
    outcome_.timing = RunTiming(options.pace.pace);
    outcome_.totals.hit_tokens.assign(workload.requests().size(), kNotPrefilled);
  }

  Result<RunOutcome> Run() {
    Status status = StartWorkers();
    if (!status.ok()) return status;
    Progress progress(workload_.requests().size(), ExpectedSeconds(), options_.quiet,
                      options_.progress_file, clock_);
    begin_ = clock_.Now();
    while (!schedule_.Done() && outcome_.failure.empty() && !InterruptNote::Asked()) {
      Dispatch();
      for (const WorkerEvent& event : pool_.Wait(TimeToWait())) Handle(event);
      watch_.Poll();
      progress.Update(schedule_.finished(), outcome_.totals);
      if (AnyBusy() && Now() - last_news_ > kSilenceMax) Fail("no worker reported for 3 minutes");
    }
    outcome_.duration_s = static_cast<double>(Now()) / 1e9;
    outcome_.interrupted = InterruptNote::Asked();
    progress.Finish(schedule_.finished(), outcome_.totals);
    StopWorkers();
    outcome_.requests_finished = schedule_.finished();
    outcome_.turns_held = schedule_.turns_held();
    return std::move(outcome_);
  }

 private:
  /// Time of the run, ns.
  [[nodiscard]] Nanos Now() const { return clock_.Now() - begin_; }

  [[nodiscard]] double ExpectedSeconds() const {
    if (options_.pace.pace != Pace::kOpen) return 0;
    return RecordedSeconds(workload_.requests()) / options_.pace.speed;
  }

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
      for (const WorkerEvent& event : pool_.Wait(kPollMax)) {
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

  [[nodiscard]] bool Idle(const WorkerProcess& worker, WorkKind role) const {
    return worker.role == role && !worker.busy && worker.socket >= 0;
  }

  [[nodiscard]] bool AnyBusy() const {
    return std::ranges::any_of(pool_.workers(), &WorkerProcess::busy);
  }

  /// Decodes first: each of them makes room for a prefill.
  void Dispatch() {
    for (std::size_t index = 0; index < pool_.workers().size(); ++index) {
      if (!Idle(pool_.workers()[index], WorkKind::kDecode)) continue;
      const std::optional<std::uint64_t> request = schedule_.TakeDecode();
      if (!request.has_value()) break;
      Order(index, *request);
    }
    for (std::size_t index = 0; index < pool_.workers().size(); ++index) {
      if (!Idle(pool_.workers()[index], WorkKind::kPrefill)) continue;
      const Nanos now = Now();
      const std::optional<Arrival> arrival = schedule_.TakePrefill(now);
      if (!arrival.has_value()) break;
      outcome_.timing.PrefillStarted(*arrival, now);
      Order(index, arrival->request);
    }
  }

  void Order(std::size_t index, std::uint64_t request) {
    const WorkerProcess& worker = pool_.workers()[index];
    last_news_ = Now();
    const Status sent = pool_.Order(index, worker.role, request);
    if (!sent.ok()) Fail("worker " + worker.name + ": " + sent.ToString());
  }

  /// Until a worker that is idle may have something to do.
  [[nodiscard]] Nanos TimeToWait() const {
    const bool idle = std::ranges::any_of(pool_.workers(), [this](const WorkerProcess& worker) {
      return Idle(worker, WorkKind::kPrefill);
    });
    const std::optional<Nanos> due = idle ? schedule_.NextDue() : std::nullopt;
    return due.has_value() ? std::clamp<Nanos>(*due - Now(), 0, kPollMax) : kPollMax;
  }

  void Handle(const WorkerEvent& event) {
    const WorkerProcess& worker = pool_.workers()[event.worker];
    last_news_ = Now();
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
      outcome_.timing.PrefillEnded(report.request, last_news_);
    } else {
      schedule_.DecodeEnded(report.request, last_news_);
      outcome_.timing.DecodeEnded(report.request, last_news_);
    }
    if (report.wrong_blocks > 0) Fail("wrong bytes: " + DescribeWrongBlock(report));
  }

  void Count(std::size_t worker, const WorkReport& report) {
    if (report.request >= workload_.requests().size()) return;
    outcome_.totals.Add(worker, report, workload_.requests()[report.request]);
    outcome_.timeline.Add(last_news_, report);
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
  Nanos begin_ = 0;
  Nanos last_news_ = 0;  // an order, or a report: time of the run
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
  Status status = CheckPace(options.pace, workload.requests());
  if (!status.ok()) return status;
  return Coordinator(workload, options, watch, clock).Run();
}

}  // namespace terrace::replay
