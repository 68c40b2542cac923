// Tests of a program that run others of it in a process of their own.
#pragma once

#include <gtest/gtest.h>
#include <spawn.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace terrace::testing {

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
  std::vector<char*> environment = {variable.data()};
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

}  // namespace terrace::testing
