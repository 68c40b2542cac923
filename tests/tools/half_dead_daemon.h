// A daemon whose process is about to exit and does not get there: its first thread has ended, its
// connections are closed, and another thread goes on. So looks one that is killed while its GPU is
// still at work.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/tools/device_engine.h"

namespace terrace::testing {

/// For files of processes that StartSelf starts, which are killed: removed when this process ends.
inline const std::string& FolderOfChildren() {
  struct Folder {
    std::string path = ::testing::TempDir() + "/children_XXXXXX";
    Folder() { EXPECT_NE(::mkdtemp(path.data()), nullptr); }
    ~Folder() { std::filesystem::remove_all(path); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
  };
  static const Folder folder;
  return folder.path;
}

/// Runs one test of this program, also a disabled one, in a process of its own; `before` it in the
/// command line. 0: it did not start.
inline pid_t StartSelf(const std::string& test, std::string variable,
                       std::vector<std::string> before = {}) {
  before.push_back(std::filesystem::read_symlink("/proc/self/exe"));
  before.push_back("--gtest_filter=" + test);
  before.push_back("--gtest_also_run_disabled_tests");
  std::vector<char*> arguments;
  for (std::string& argument : before) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  std::string folder = "TEST_TMPDIR=" + FolderOfChildren();  // of what TempDir says there
  std::vector<char*> environment = {variable.data(), folder.data()};
  for (char** one = environ; *one != nullptr; ++one) environment.push_back(*one);
  environment.push_back(nullptr);
  pid_t process = 0;
  EXPECT_EQ(::posix_spawn(&process, arguments.front(), nullptr, nullptr, arguments.data(),
                          environment.data()),
            0);
  return process;
}

/// The port that a daemon writes to a file once it listens; 0: it did not come.
inline std::uint16_t AwaitPort(const std::string& file) {
  for (int i = 0; i < 4000 && !std::filesystem::exists(file); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  int port = 0;
  std::ifstream(file) >> port;
  std::filesystem::remove(file);
  return static_cast<std::uint16_t>(port);
}
inline void TellPort(const std::string& file, std::uint16_t port) {
  std::ofstream(file + ".tmp") << port << '\n';
  std::filesystem::rename(file + ".tmp", file);
}

/// In the daemon's process: waits for SIGUSR1, ends the calling thread, which must be the first,
/// closes all connections, and exits so long after that. A minute without the signal ends it, too.
[[noreturn]] inline void DieSlowly(std::chrono::milliseconds after) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  const timespec minute{.tv_sec = 60, .tv_nsec = 0};
  if (::sigtimedwait(&signals, nullptr, &minute) < 0) ::_exit(1);
  std::thread([after] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the first thread has ended
    for (int descriptor = 3; descriptor < 1024; ++descriptor) ::shutdown(descriptor, SHUT_RDWR);
    std::this_thread::sleep_for(after);
    ::_exit(0);
  }).detach();
  ::syscall(SYS_exit, 0);
  std::abort();
}

/// A child of this process has exited; it is not reaped.
inline bool HasExited(pid_t process) {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(process), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == process;
}

}  // namespace terrace::testing
