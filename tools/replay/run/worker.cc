#include "tools/replay/run/worker.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "base/clock.h"
#include "tools/replay/run/block_exchange.h"
#include "tools/replay/run/shared_workload.h"
#include "tools/replay/run/worker_protocol.h"

namespace terrace::replay {
namespace {

class Worker {
 public:
  Worker(int socket, const SharedWorkload& workload, std::unique_ptr<BlockExchange> exchange)
      : socket_(socket), workload_(workload), exchange_(std::move(exchange)) {}

  /// Serves orders until the last. @return the exit status.
  int Run() {
    WorkReport ready;
    ready.header.kind = ReportKind::kReady;
    SetText(ready, exchange_->client().LinkName());
    if (!Send(socket_, ready).ok()) return 0;
    while (true) {
      const Result<WorkOrder> order = ReceiveOrder(socket_);
      if (!order.ok()) return order.code() == StatusCode::kPeerDead ? 0 : 1;
      if (order->kind == WorkKind::kStop) {
        WorkerSummary summary = exchange_->latencies();
        summary.header.kind = ReportKind::kSummary;
        return Send(socket_, summary).ok() ? 0 : 1;
      }
      if (order->request >= workload_.requests().size()) return 1;
      const WorkReport report = Serve(*order);
      if (!Send(socket_, report).ok()) return 0;
      if (report.header.kind == ReportKind::kFailed) return 1;
    }
  }

 private:
  WorkReport Serve(const WorkOrder& order) {
    WorkReport report;
    report.header.kind = ReportKind::kDone;
    report.work = order.kind;
    report.request = order.request;
    Status status = LoadKeys(order.request);
    if (status.ok()) {
      status = order.kind == WorkKind::kPrefill ? Prefill(report) : Decode(report);
    }
    report.ended_at = clock_.Now();
    if (!status.ok()) {
      report.header.kind = ReportKind::kFailed;
      SetText(report, status.ToString());
    }
    const std::uint32_t pause = workload_.parameters().outage_pause_ms;
    if (report.calls_peer_dead > 0 && pause > 0) {
      // A real engine would compute now. Without a pause a short outage would race through the
      // whole trace.
      std::this_thread::sleep_for(std::chrono::milliseconds(pause));
    }
    report.reconnects = exchange_->client().Reconnects();
    return report;
  }

  Status LoadKeys(std::uint64_t request) {
    request_.keys.clear();
    request_.chain.clear();
    request_.input_tokens = workload_.requests()[request].input_tokens;
    BlockKey key = RootKey(workload_.parameters().key_seed);
    for (const std::uint64_t id : workload_.BlocksOf(request)) {
      key = NextKey(key, id);
      request_.keys.push_back(key);
      Status status = request_.chain.Append(key);
      if (!status.ok()) return status;
    }
    return request_.chain.SetHints(ToRequestHints(workload_.HintOf(request)));
  }

  [[nodiscard]] std::uint32_t BlockCount() const {
    return static_cast<std::uint32_t>(request_.keys.size());
  }

  /// Gets blocks [0, end) batch by batch. @return how many leading ones arrived and are right.
  std::uint32_t GetPrefix(std::uint32_t end, bool stop_at_miss, WorkReport& report,
                          Status& status) {
    std::uint32_t leading = 0;
    for (std::uint32_t first = 0; first < end && status.ok();) {
      const std::uint32_t count = std::min(workload_.parameters().batch_blocks, end - first);
      const std::uint32_t good = exchange_->Get(request_, first, count, report);
      if (leading == first) leading += good;
      first += count;
      status = exchange_->Settle(report);
      if (stop_at_miss && leading < first) break;
    }
    return leading;
  }

  Status Prefill(WorkReport& report) {
    const std::uint32_t blocks = BlockCount();
    report.looked_up = blocks;
    report.matched = std::min(exchange_->Match(request_, report), blocks);
    report.looked_up_at = clock_.Now();
    Status status = exchange_->Settle(report);
    if (!status.ok()) return status;
    report.hit = GetPrefix(report.matched, /*stop_at_miss=*/true, report, status);
    report.hit_tokens =
        std::min(report.hit * workload_.parameters().block_tokens, request_.input_tokens);
    for (std::uint32_t first = report.hit; first < blocks && status.ok();) {
      const std::uint32_t count = std::min(workload_.parameters().batch_blocks, blocks - first);
      const std::uint32_t stored = exchange_->Put(request_, first, count, report);
      first += count;
      status = exchange_->Settle(report);
      // Blocks behind one that was not stored could never be matched.
      if (stored < count) break;
    }
    return status;
  }

  Status Decode(WorkReport& report) {
    report.looked_up = BlockCount();
    Status status;
    report.hit = GetPrefix(report.looked_up, /*stop_at_miss=*/false, report, status);
    report.hit_tokens =
        std::min(report.hit * workload_.parameters().block_tokens, request_.input_tokens);
    return status;
  }

  int socket_;
  const SteadyClock clock_;
  const SharedWorkload& workload_;
  std::unique_ptr<BlockExchange> exchange_;
  RequestKeys request_;
};

int Fail(int socket, const Status& status) {
  WorkReport report;
  report.header.kind = ReportKind::kFailed;
  SetText(report, status.ToString());
  (void)Send(socket, report);  // nobody else to tell
  return 1;
}

}  // namespace

int RunWorker(int control_fd, int workload_fd, const std::string& name) {
  // Ctrl-C reaches the whole process group; the coordinator decides when a worker stops. If the
  // coordinator dies without a word, so does the worker.
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const Result<SharedWorkload> workload = SharedWorkload::Attach(workload_fd);
  if (!workload.ok()) return Fail(control_fd, workload.status());
  Result<std::unique_ptr<BlockExchange>> exchange =
      BlockExchange::Open(workload->parameters(), name);
  if (!exchange.ok()) return Fail(control_fd, exchange.status());
  return Worker(control_fd, *workload, std::move(exchange).value()).Run();
}

}  // namespace terrace::replay
