#include "tests/common/daemon_process.h"

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

Status SpawnFailed(const std::string& program) {
  return {StatusCode::kIo, "cannot run " + program + ": " + std::strerror(errno)};
}

}  // namespace

ProcessEnd EndOf(int wait_status) {
  ProcessEnd end;
  if (WIFSIGNALED(wait_status)) end.signal = WTERMSIG(wait_status);
  if (WIFEXITED(wait_status)) end.status = WEXITSTATUS(wait_status);
  return end;
}

pid_t Spawn(const std::vector<std::string>& command, const std::string& output,
            const std::string& extra_variable, int input) {
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
    if (input >= 0) ::dup2(input, STDIN_FILENO);
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

bool ProcessEnd::Killed() const noexcept { return signal == SIGKILL; }

std::string ProcessEnd::ToString() const {
  return signal != 0 ? "signal " + std::to_string(signal) : "exit status " + std::to_string(status);
}

DaemonProcess::DaemonProcess(std::string program, std::string folder)
    : program_(std::move(program)), folder_(std::move(folder)) {}

DaemonProcess::~DaemonProcess() { Kill(); }

Status DaemonProcess::Start(const std::string& config, const std::string& variable,
                            const std::vector<std::string>& launcher) {
  const std::string config_file = folder_ + "/terraced.toml";
  std::ofstream file(config_file, std::ios::trunc);
  file << config;
  file.flush();
  if (!file) return {StatusCode::kIo, "cannot write " + config_file};
  ::unlink(PortFile().c_str());
  std::vector<std::string> command = launcher;
  command.insert(command.end(), {program_, "--config", config_file});
  end_ = {};
  pid_ = Spawn(command, folder_ + "/daemon.err", variable);
  return pid_ > 0 ? Status::Ok() : SpawnFailed(command.front());
}

DaemonProcess::Ready DaemonProcess::WaitUntilReady(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    std::ifstream ports(PortFile());
    std::uint32_t port = 0;
    if (ports >> port) {
      address_ = "127.0.0.1:" + std::to_string(port);
      return Ready::kReady;
    }
    if (WaitForEnd(kPoll)) return Ready::kEnded;
    if (std::chrono::steady_clock::now() > deadline) return Ready::kNot;
  }
}

bool DaemonProcess::WaitForEnd(std::chrono::milliseconds limit) {
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

void DaemonProcess::Signal(int number) {
  if (pid_ > 0) ::kill(pid_, number);
}

void DaemonProcess::Kill() {
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
