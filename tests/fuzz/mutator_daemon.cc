#include "tests/fuzz/mutator_daemon.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

namespace terrace::fuzz {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 60s;
constexpr auto kPoll = 20ms;

}  // namespace

MutatorDaemon::MutatorDaemon(std::string program, std::string folder)
    : program_(std::move(program)), folder_(std::move(folder)) {}

MutatorDaemon::~MutatorDaemon() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

Status MutatorDaemon::WriteConfig() const {
  std::ofstream file(folder_ + "/terraced.toml", std::ios::trunc);
  file << "[server]\nlisten = \"127.0.0.1:0\"\nport_file = \"" << folder_
       << "/ports\"\n[dram]\ncapacity = \"64MiB\"\nextent = \"16MiB\"\nhuge_pages = "
          "false\n[nvme]\nfolder = \""
       << folder_ << "/store\"\ncapacity = \"256MiB\"\nblock_max = \"64KiB\"\n[log]\nfile = \""
       << folder_ << "/daemon.log\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n";
  file.flush();
  return file ? Status() : Status(StatusCode::kIo, "cannot write " + folder_ + "/terraced.toml");
}

Status MutatorDaemon::Start() {
  if (Status status = WriteConfig(); !status.ok()) return status;
  const int output = ::open(ErrorFile().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const std::string config = folder_ + "/terraced.toml";
  const std::array<const char*, 4> arguments = {program_.c_str(), "--config", config.c_str(),
                                                nullptr};
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::execv(arguments[0], const_cast<char* const*>(arguments.data()));
    ::_exit(127);
  }
  if (output >= 0) ::close(output);
  if (pid_ < 0) return {StatusCode::kIo, std::string("fork: ") + std::strerror(errno)};
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline && Ended().empty()) {
    std::ifstream ports(folder_ + "/ports");
    std::string word;
    while (ports >> word) {
      if (word == "metrics") ports >> http_port_;
      if (port_ == 0 && std::isdigit(static_cast<unsigned char>(word[0])) != 0) {
        port_ = static_cast<std::uint16_t>(std::stoul(word));
      }
    }
    if (port_ != 0 && http_port_ != 0) return {};
    port_ = 0;
    std::this_thread::sleep_for(kPoll);
  }
  return {StatusCode::kTimeout, program_ + " takes no clients: " + Ended()};
}

std::string MutatorDaemon::Ended() {
  int status = 0;
  if (pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    pid_ = -1;
    ended_ = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                 : "exit status " + std::to_string(WEXITSTATUS(status));
  }
  return ended_;
}

Status MutatorDaemon::Stop() {
  if (pid_ > 0) ::kill(pid_, SIGTERM);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (Ended().empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kPoll);
  }
  if (Ended() == "exit status 0") return {};
  return Status::Internal("the daemon ended with: " + (Ended().empty() ? "nothing" : Ended()));
}

std::size_t MutatorDaemon::OpenDescriptors() const {
  std::error_code gone;
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid_) + "/fd", gone);
  return gone ? 0 : static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

std::size_t MutatorDaemon::MemoryMib() const {
  std::ifstream pages("/proc/" + std::to_string(pid_) + "/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  pages >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) >> 20;
}

}  // namespace terrace::fuzz
