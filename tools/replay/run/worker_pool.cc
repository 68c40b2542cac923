#include "tools/replay/run/worker_pool.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

extern char** environ;

namespace terrace::replay {
namespace {

// Where a worker finds its descriptors.
constexpr int kControlFd = 3;
constexpr int kWorkloadFd = 4;
/// How long a worker that was told to stop, or killed, may take to end, ms.
constexpr int kExitTimeoutMs = 5000;

Status SystemError(const std::string& what, int error) {
  return Status(StatusCode::kIo, what + ": " + std::strerror(error));
}

/// Moves a descriptor out of the way of kControlFd and kWorkloadFd, close-on-exec.
int Lift(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 10); }

}  // namespace

WorkerPool::~WorkerPool() {
  for (WorkerProcess& worker : workers_) {
    Forget(worker);
    if (worker.pid > 0) Reap(worker, /*kill_first=*/true);
  }
}

Status WorkerPool::Start(WorkKind role, const std::string& name, int workload_fd) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return SystemError("socketpair", errno);
  }
  const int theirs = Lift(pair[1]);
  const int workload = Lift(workload_fd);
  close(pair[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs, kControlFd);
  posix_spawn_file_actions_adddup2(&actions, workload, kWorkloadFd);
  std::string program = "terrace-replay";
  std::string command = "worker";
  std::string name_argument = name;
  char* arguments[] = {program.data(), command.data(), name_argument.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (theirs >= 0) close(theirs);
  if (workload >= 0) close(workload);
  if (error != 0) {
    close(pair[0]);
    return SystemError("starting worker " + name, error);
  }
  workers_.push_back({.role = role, .name = name, .pid = pid, .socket = pair[0]});
  return Status::Ok();
}

Status WorkerPool::Order(std::size_t worker, WorkKind kind, std::uint64_t request) {
  WorkerProcess& process = workers_[worker];
  process.busy = true;
  process.request = request;
  return Send(process.socket, WorkOrder{.kind = kind, .request = request});
}

std::vector<WorkerEvent> WorkerPool::Wait(Nanos timeout) {
  std::vector<pollfd> polled;
  std::vector<std::size_t> owners;
  for (std::size_t index = 0; index < workers_.size(); ++index) {
    if (workers_[index].socket < 0) continue;
    polled.push_back({.fd = workers_[index].socket, .events = POLLIN, .revents = 0});
    owners.push_back(index);
  }
  std::vector<WorkerEvent> events;
  // Not poll: a request that is due in less than a millisecond would be late, or waited for busily.
  const timespec limit{.tv_sec = static_cast<time_t>(timeout / kSecond),
                       .tv_nsec = static_cast<long>(timeout % kSecond)};
  if (ppoll(polled.data(), polled.size(), &limit, nullptr) <= 0) return events;
  for (std::size_t index = 0; index < polled.size(); ++index) {
    if (polled[index].revents == 0) continue;
    WorkerProcess& worker = workers_[owners[index]];
    WorkerEvent& event = events.emplace_back();
    event.worker = owners[index];
    event.status = ReceiveReport(worker.socket, event.message);
    if (event.status.code() == StatusCode::kRetry) {
      events.pop_back();
    } else if (!event.status.ok()) {
      Forget(worker);
    } else if (event.message.kind == ReportKind::kReady) {
      worker.ready = true;
    } else {
      worker.busy = false;
    }
  }
  return events;
}

std::vector<std::string> WorkerPool::Stop(int timeout_ms, std::vector<WorkerSummary>& summaries) {
  for (WorkerProcess& worker : workers_) {
    if (worker.socket >= 0 && !Send(worker.socket, WorkOrder{}).ok()) Forget(worker);
  }
  const SteadyClock clock;
  const Nanos deadline = clock.Now() + timeout_ms * kMillisecond;
  std::vector<bool> answered(workers_.size());
  std::size_t waiting = workers_.size();
  while (waiting > 0 && clock.Now() < deadline) {
    const Nanos left = deadline - clock.Now();
    waiting = 0;
    for (const WorkerEvent& event : Wait(std::max<Nanos>(left, 0))) {
      if (event.status.ok() && event.message.kind == ReportKind::kSummary) {
        summaries.push_back(event.message.summary);
        answered[event.worker] = true;
      }
    }
    for (std::size_t index = 0; index < workers_.size(); ++index) {
      if (workers_[index].socket >= 0 && !answered[index]) ++waiting;
    }
  }
  std::vector<std::string> bad;
  for (std::size_t index = 0; index < workers_.size(); ++index) {
    WorkerProcess& worker = workers_[index];
    Forget(worker);
    const bool clean = Reap(worker, /*kill_first=*/!answered[index]);
    if (!clean || !answered[index]) bad.push_back(worker.name);
  }
  return bad;
}

void WorkerPool::Forget(WorkerProcess& worker) {
  if (worker.socket >= 0) close(worker.socket);
  worker.socket = -1;
}

bool WorkerPool::Reap(WorkerProcess& worker, bool kill_first) {
  const SteadyClock clock;
  Nanos deadline = clock.Now() + kExitTimeoutMs * kMillisecond;
  int status = 0;
  // A worker whose socket is gone has often just exited with its reason: let it, for a moment.
  if (kill_first) deadline = clock.Now() + 100 * kMillisecond;
  while (waitpid(worker.pid, &status, WNOHANG) == 0) {
    if (clock.Now() >= deadline) {
      kill(worker.pid, SIGKILL);
      waitpid(worker.pid, &status, 0);  // ends: the process was killed
      break;
    }
    usleep(1000);
  }
  worker.pid = -1;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace terrace::replay
