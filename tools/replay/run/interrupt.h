// InterruptNote: turns SIGINT and SIGTERM into a question that a loop can ask, while it lives.
//
// Thread: main. At most one at a time (the handlers belong to the process).
#pragma once

#include <signal.h>

namespace terrace::replay {

class InterruptNote {
 public:
  /// Takes over both signals, also where the parent process had them ignored. A poll that waits
  /// when one comes ends early.
  InterruptNote();
  /// Puts back what was there before.
  ~InterruptNote();
  InterruptNote(const InterruptNote&) = delete;
  InterruptNote& operator=(const InterruptNote&) = delete;

  /// A signal has come since the construction.
  [[nodiscard]] static bool Asked() noexcept;

 private:
  struct sigaction old_interrupt_{};
  struct sigaction old_terminate_{};
};

}  // namespace terrace::replay
