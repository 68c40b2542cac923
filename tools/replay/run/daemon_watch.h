// DaemonWatch: asks the daemon for its numbers, before, after and, when it was away, during a run.
//
// Thread: the coordinator's. Lifetime: client and clock outlive it.
#pragma once

#include "base/clock.h"
#include "client/terrace.hpp"
#include "tools/replay/run/daemon_view.h"

namespace terrace::replay {

class DaemonWatch {
 public:
  DaemonWatch(Client& client, const Clock& clock) : client_(client), clock_(clock) {}

  /// Waits for the daemon at most 5 s and an answer of at most 10 s. @return a view that is not
  /// known when it did not come back by then.
  DaemonView Look();

  /// A worker found the daemon gone: Poll looks for its return.
  void NoteOutage() noexcept { away_ = true; }
  /// In an outage, every 100 ms: asks once, and waits at most 500 ms. Otherwise nothing.
  void Poll();

  [[nodiscard]] const RestartNotes& notes() const noexcept { return notes_; }

 private:
  /// One question. @return a view that is not known when there was no answer.
  DaemonView Ask(Nanos timeout);

  Client& client_;
  const Clock& clock_;
  RestartNotes notes_;
  bool away_ = false;
  Nanos next_poll_ = 0;
};

}  // namespace terrace::replay
