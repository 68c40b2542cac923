// WorkerPool: the worker processes of a run, each at the other end of a local socket pair.
//
// Thread: one. Lifetime: the destructor kills what still runs and reaps it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tools/replay/run/worker_protocol.h"

namespace terrace::replay {

struct WorkerProcess {
  WorkKind role = WorkKind::kPrefill;
  std::string name;  ///< "prefill-0"
  pid_t pid = -1;
  int socket = -1;            ///< -1 once it is gone
  bool ready = false;         ///< connected to the daemon
  bool busy = false;          ///< has an order
  std::uint64_t request = 0;  ///< of the order
};

/// Something that a worker said, or that it is gone (kPeerDead and the like in `status`).
struct WorkerEvent {
  std::size_t worker = 0;
  Status status;
  WorkerMessage message;
};

class WorkerPool {
 public:
  WorkerPool() = default;
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Starts one process of this program (`worker` subcommand) that inherits `workload_fd`.
  Status Start(WorkKind role, const std::string& name, int workload_fd);
  /// Gives an idle worker an order.
  Status Order(std::size_t worker, WorkKind kind, std::uint64_t request);
  /// Waits up to `timeout` ns for messages; returns early, perhaps with none, on a signal.
  std::vector<WorkerEvent> Wait(Nanos timeout);
  /// Tells every worker to stop, collects the summaries of those that answer within timeout_ms,
  /// kills the others. @return the names of the workers that had to be killed or had failed.
  std::vector<std::string> Stop(int timeout_ms, std::vector<WorkerSummary>& summaries);

  [[nodiscard]] const std::vector<WorkerProcess>& workers() const noexcept { return workers_; }

 private:
  void Forget(WorkerProcess& worker);
  /// Waits for the process to end. @return true when it exited with 0.
  bool Reap(WorkerProcess& worker, bool kill_first);

  std::vector<WorkerProcess> workers_;
};

}  // namespace terrace::replay
