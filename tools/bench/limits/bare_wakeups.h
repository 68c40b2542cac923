// The limit of a call between two processes that both sleep: a bare pair of wake-ups.
#pragma once

#include <sys/types.h>

#include <chrono>

namespace terrace::bench {

/// Another process that sleeps in an eventfd and answers each ring with one. It is forked when it
/// is made, so make it before the first thread of the program.
class BareWakeups {
 public:
  BareWakeups();
  ~BareWakeups();
  BareWakeups(const BareWakeups&) = delete;
  BareWakeups& operator=(const BareWakeups&) = delete;

  /// Median of `calls` rings and answers, each after a sleep of `gap` (0: none), us; negative when
  /// the system refused one.
  [[nodiscard]] double MedianUs(int calls, std::chrono::microseconds gap) const;

 private:
  int there_ = -1;
  int back_ = -1;
  pid_t child_ = -1;
};

}  // namespace terrace::bench
