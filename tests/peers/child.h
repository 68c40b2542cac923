// Child: a victim as the campaign sees it: a process, what it printed, how it ended or stopped.
//
// Thread: one, which no child outlives.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tests/common/daemon_process.h"
#include "tests/peers/victim.h"

namespace terrace::peers {

class Child {
 public:
  Child() = default;
  /// SIGKILL, if it runs.
  ~Child() { End(SIGKILL); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// `program`: peer_faults. `launcher`: what runs it, e.g. ip netns exec NAME; `output`: a file.
  Status Start(const std::string& program, const VictimOptions& options, const std::string& output,
               const std::vector<std::string>& launcher = {});
  enum class State { kRuns, kStopped, kEnded };
  /// Waits until it has ended or stopped, at most so long.
  State Wait(std::chrono::milliseconds limit);
  void Signal(int number);
  /// Its standard input ends: it stops working and exits.
  void TellToEnd();
  /// Kills it, by that signal, and waits.
  void End(int signal);
  /// What it printed so far.
  [[nodiscard]] std::string Output() const;
  /// Waits until it printed a line that begins so; false when it ended or the time passed.
  bool Await(std::string_view line_start, std::chrono::milliseconds limit);
  /// REQUIRES: it has ended.
  [[nodiscard]] const crash::ProcessEnd& end() const noexcept { return end_; }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
  std::string output_;
  crash::ProcessEnd end_;
  State state_ = State::kEnded;
};

}  // namespace terrace::peers
