#include "tests/crash/crash_daemon.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

namespace terrace::crash {

namespace {

constexpr std::chrono::milliseconds kPoll{1};

ProcessEnd EndOf(int wait_status) {
  ProcessEnd end;
  if (WIFSIGNALED(wait_status)) end.signal = WTERMSIG(wait_status);
  if (WIFEXITED(wait_status)) end.status = WEXITSTATUS(wait_status);
  return end;
}

/// Forks and executes; the child dies with this program. -1: errno says why.
pid_t Spawn(const std::vector<std::string>& command, const std::string& output,
            const std::string& extra_variable) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
  if (!extra_variable.empty()) variables.push_back(const_cast<char*>(extra_variable.c_str()));
  variables.push_back(nullptr);
  const int file = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return -1;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(file, STDOUT_FILENO);
    ::dup2(file, STDERR_FILENO);
    ::execve(arguments[0], arguments.data(), variables.data());
    ::_exit(127);
  }
  const int error = errno;
  ::close(file);
  errno = error;
  return pid;
}

Status SpawnFailed(const std::string& program) {
  return {StatusCode::kIo, "cannot run " + program + ": " + std::strerror(errno)};
}

}  // namespace

bool ProcessEnd::Killed() const noexcept { return signal == SIGKILL; }

std::string ProcessEnd::ToString() const {
  return signal != 0 ? "signal " + std::to_string(signal) : "exit status " + std::to_string(status);
}

CrashDaemon::CrashDaemon(std::string program, std::string folder)
    : program_(std::move(program)), folder_(std::move(folder)) {}

CrashDaemon::~CrashDaemon() { Kill(); }

std::vector<std::string> CrashDaemon::LogFiles(const StorePlan& store) const {
  std::vector<std::string> files;
  for (std::uint32_t device = 0; store.devices > 1 && device < store.devices; ++device) {
    files.push_back(folder_ + "/device-" + std::to_string(device));
  }
  return files;
}

Status CrashDaemon::WriteConfig(const StorePlan& store, const CyclePlan& cycle) const {
  std::ofstream file(folder_ + "/terraced.toml", std::ios::trunc);
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  file << "[server]\nlisten = \"127.0.0.1:0\"\nreactors = " << store.reactors << "\nport_file = \""
       << folder_ << "/ports\"\nio_uring = " << flag(cycle.io_uring)
       << "\nsame_host = " << flag(cycle.same_host) << "\n[dram]\ncapacity = " << cycle.dram_bytes
       << "\n[nvme]\nfolder = \"" << StoreFolder() << "\"\ncapacity = " << store.capacity_bytes
       << "\nblock_max = \"64KiB\"\nsync_ms = " << cycle.sync_ms
       << "\nwrite_share_percent = " << cycle.write_share_percent
       << "\nwrite_bytes_per_day = " << cycle.write_bytes_per_day << "\nfiles = [";
  for (const std::string& device : LogFiles(store)) file << '"' << device << "\", ";
  file << "]\n[cache]\nblocks_max = " << store.blocks_max << "\n[log]\nfile = \"" << folder_
       << "/daemon.log\"\n[metrics]\nenabled = false\n";
  file.flush();
  if (!file) return {StatusCode::kIo, "cannot write " + folder_ + "/terraced.toml"};
  return {};
}

Status CrashDaemon::Start(const StorePlan& store, const CyclePlan& cycle, const ArmedPoint* point) {
  Status written = WriteConfig(store, cycle);
  if (!written.ok()) return written;
  ::unlink((folder_ + "/ports").c_str());
  // Crashes in a row are what this is about: the operator's remedy of docs/operations.md.
  ::unlink((StoreFolder() + "/starts").c_str());
  std::string variable;
  if (point != nullptr) {
    variable =
        "TERRACE_CRASH_POINT=" + std::string(point->name) + ":" + std::to_string(point->times);
  }
  end_ = {};
  pid_ =
      Spawn({program_, "--config", folder_ + "/terraced.toml"}, folder_ + "/daemon.err", variable);
  return pid_ > 0 ? Status::Ok() : SpawnFailed(program_);
}

CrashDaemon::Ready CrashDaemon::WaitUntilReady(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    std::ifstream ports(folder_ + "/ports");
    std::uint32_t port = 0;
    if (ports >> port) {
      address_ = "127.0.0.1:" + std::to_string(port);
      return Ready::kReady;
    }
    if (WaitForEnd(kPoll)) return Ready::kEnded;
    if (std::chrono::steady_clock::now() > deadline) return Ready::kNot;
  }
}

bool CrashDaemon::WaitForEnd(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (pid_ > 0) {
    int wait_status = 0;
    if (::waitpid(pid_, &wait_status, WNOHANG) == pid_) {
      end_ = EndOf(wait_status);
      pid_ = -1;
      break;
    }
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

void CrashDaemon::Signal(int number) {
  if (pid_ > 0) ::kill(pid_, number);
}

void CrashDaemon::Kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  int wait_status = 0;
  if (::waitpid(pid_, &wait_status, 0) == pid_) end_ = EndOf(wait_status);
  pid_ = -1;
}

Result<ProcessEnd> RunProgram(const std::vector<std::string>& command, const std::string& output) {
  const pid_t pid = Spawn(command, output, "");
  if (pid < 0) return SpawnFailed(command.front());
  int wait_status = 0;
  if (::waitpid(pid, &wait_status, 0) != pid) return SpawnFailed(command.front());
  return EndOf(wait_status);
}

}  // namespace terrace::crash
