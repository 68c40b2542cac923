// CrashDaemon: one life of a terraced that is made to die.
//
// Thread: the main thread's, which no other thread outlives when a daemon is started (it forks).
// Failures of the system around it (no such program, no process to be had) are a Status.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "tests/crash/plan.h"

namespace terrace::crash {

/// How a process ended: an exit status, or a signal.
struct ProcessEnd {
  int signal = 0;  ///< 0: it exited
  int status = 0;  ///< of its exit
  [[nodiscard]] bool Killed() const noexcept;
  [[nodiscard]] bool Clean() const noexcept { return signal == 0 && status == 0; }
  [[nodiscard]] std::string ToString() const;
};

class CrashDaemon {
 public:
  /// `folder`: of the store's files, this daemon's configuration and its log, which grows from life
  /// to life. `program`: terraced.
  CrashDaemon(std::string program, std::string folder);
  /// SIGKILL, if it runs.
  ~CrashDaemon();
  CrashDaemon(const CrashDaemon&) = delete;
  CrashDaemon& operator=(const CrashDaemon&) = delete;

  /// Starts it, with `point` armed unless null. REQUIRES: it does not run.
  Status Start(const StorePlan& store, const CyclePlan& cycle, const ArmedPoint* point);
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
  /// FOLDER/store, nvme.folder.
  [[nodiscard]] std::string StoreFolder() const { return folder_ + "/store"; }
  /// nvme.files; empty when the log is FOLDER/store/log-0.
  [[nodiscard]] std::vector<std::string> LogFiles(const StorePlan& store) const;

 private:
  Status WriteConfig(const StorePlan& store, const CyclePlan& cycle) const;

  const std::string program_;
  const std::string folder_;
  std::string address_;
  pid_t pid_ = -1;
  ProcessEnd end_;
};

/// Runs a program and waits for it; its output goes to `output`.
Result<ProcessEnd> RunProgram(const std::vector<std::string>& command, const std::string& output);

}  // namespace terrace::crash
