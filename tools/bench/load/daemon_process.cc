#include "tools/bench/load/daemon_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

namespace terrace::bench {

namespace {

constexpr std::chrono::seconds kReadyMax{30};

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "terrace-bench: %s\n", message.c_str());
  std::exit(1);
}

void WriteConfig(const std::string& folder, const DaemonSettings& settings) {
  std::ofstream config(folder + "/terraced.toml");
  config << "[server]\nlisten = \"127.0.0.1:0\"\nreactors = " << settings.reactors
         << "\nspin_us = " << settings.spin_us << "\nport_file = \"" << folder
         << "/ports\"\n[dram]\ncapacity = " << settings.dram_bytes
         << "\n[cache]\nblocks_max = " << settings.blocks_max
         << "\nevents = " << settings.event_bytes << "\n[log]\nfile = \"" << folder
         << "/log\"\n[metrics]\nenabled = false\n";
  if (settings.nvme_folder.empty()) return;
  config << "[nvme]\nfolder = \"" << settings.nvme_folder
         << "\"\ncapacity = " << settings.nvme_bytes
         << "\nblock_max = \"4MiB\"\nread_bytes_per_s = " << settings.nvme_read_bytes_per_s << "\n";
}

}  // namespace

DaemonProcess::DaemonProcess(const DaemonSettings& settings) {
  char folder[] = "/tmp/terrace-bench-XXXXXX";
  if (mkdtemp(folder) == nullptr) Die("cannot make a folder in /tmp");
  folder_ = folder;
  WriteConfig(folder_, settings);
  const std::string program =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "terraced";
  const std::string config = folder_ + "/terraced.toml";
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl(program.c_str(), program.c_str(), "--config", config.c_str(), nullptr);
    _exit(127);
  }
  if (pid_ < 0) Die("cannot fork");
  WaitUntilReady(program);
}

void DaemonProcess::WaitUntilReady(const std::string& program) {
  const auto started = std::chrono::steady_clock::now();
  for (std::chrono::duration<double> took{0}; took < kReadyMax;
       took = std::chrono::steady_clock::now() - started) {
    std::ifstream ports(folder_ + "/ports");
    std::uint32_t port = 0;
    if (ports >> port) {
      address_ = "127.0.0.1:" + std::to_string(port);
      seconds_to_ready_ = took.count();
      return;
    }
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      Die(program + " ended at once; its log is " + folder_ + "/log");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Die(program + " did not come up within 30 s; its log is " + folder_ + "/log");
}

DaemonProcess::~DaemonProcess() {
  if (pid_ > 0) kill(pid_, SIGTERM);
  for (int wait = 0; pid_ > 0 && waitpid(pid_, nullptr, WNOHANG) == 0; ++wait) {
    if (wait == 1500) kill(pid_, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void DaemonProcess::Kill() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

CpuTimes DaemonProcess::Cpu() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // Fields 14 and 15, counted after the command in parentheses (which may hold spaces).
  const char* cursor = text.c_str() + text.rfind(')') + 1;
  unsigned long user = 0;
  unsigned long system = 0;
  if (std::sscanf(cursor, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) !=
      2) {
    Die("cannot read the daemon's CPU time");
  }
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  return {.user = static_cast<double>(user) / ticks, .system = static_cast<double>(system) / ticks};
}

std::uint64_t DaemonProcess::StorageBytesWritten() const {
  const std::string path = "/proc/" + std::to_string(pid_) + "/io";
  std::ifstream file(path);
  std::string name;
  for (std::uint64_t bytes = 0; file >> name >> bytes;) {
    if (name == "write_bytes:") return bytes;
  }
  Die("cannot read " + path);
}

}  // namespace terrace::bench
