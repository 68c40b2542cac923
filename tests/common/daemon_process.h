// DaemonProcess: a terraced as a process of its own, with a folder for its files.
//
// Thread: one. The daemon dies with the thread that started it.
// Failures of the system around it (no such program, no process to be had) are a Status.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace terrace::crash {

/// How a process ended: an exit status, or a signal.
struct ProcessEnd {
  int signal = 0;  ///< 0: it exited
  int status = 0;  ///< of its exit
  [[nodiscard]] bool Killed() const noexcept;
  [[nodiscard]] bool Clean() const noexcept { return signal == 0 && status == 0; }
  [[nodiscard]] std::string ToString() const;
};

class DaemonProcess {
 public:
  /// `folder`: of its configuration and its log, which grow from life to life. `program`: terraced.
  DaemonProcess(std::string program, std::string folder);
  /// SIGKILL, if it runs.
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  /// Starts it with that configuration, which must name port_file = PortFile(). `variable`: a
  /// "NAME=VALUE" of its environment, or empty. `launcher`: what runs it, e.g. ip netns exec NAME.
  /// REQUIRES: it does not run.
  Status Start(const std::string& config, const std::string& variable = "",
               const std::vector<std::string>& launcher = {});
  enum class Ready : std::uint8_t { kReady, kEnded, kNot };
  /// Waits until clients can connect, or it ended, or the time has passed.
  Ready WaitUntilReady(std::chrono::milliseconds limit);
  /// Waits for its end; false when it has not ended in time. True when it does not run.
  bool WaitForEnd(std::chrono::milliseconds limit);
  void Signal(int number);
  /// SIGKILL, and waits.
  void Kill();

  /// REQUIRES: it has ended.
  [[nodiscard]] const ProcessEnd& end() const noexcept { return end_; }
  [[nodiscard]] bool running() const noexcept { return pid_ > 0; }
  /// "127.0.0.1:PORT". REQUIRES: it was ready.
  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  [[nodiscard]] std::string PortFile() const { return folder_ + "/ports"; }

 private:
  const std::string program_;
  const std::string folder_;
  std::string address_;
  pid_t pid_ = -1;
  ProcessEnd end_;
};

/// Forks and executes a program by its path; the child dies with the calling thread. Its output
/// goes to `output`, its standard input is `input` unless that is -1. -1: errno says why.
pid_t Spawn(const std::vector<std::string>& command, const std::string& output,
            const std::string& extra_variable = "", int input = -1);
/// How a process that waitpid reaped ended.
ProcessEnd EndOf(int wait_status);

/// Runs a program and waits for it; its output goes to `output`.
Result<ProcessEnd> RunProgram(const std::vector<std::string>& command, const std::string& output);

}  // namespace terrace::crash
