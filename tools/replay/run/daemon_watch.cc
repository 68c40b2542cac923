#include "tools/replay/run/daemon_watch.h"

#include <chrono>

namespace terrace::replay {
namespace {

constexpr Nanos kCallTimeout = 10 * kSecond;
/// How long a daemon that was killed during the run may stay away before its numbers are given up.
constexpr Nanos kReconnectTimeout = 5 * kSecond;
/// The coordinator has workers to serve: a daemon that is back but busy is asked again.
constexpr Nanos kPollTimeout = 500 * kMillisecond;
constexpr Nanos kPollInterval = 100 * kMillisecond;

}  // namespace

DaemonView DaemonWatch::Ask(Nanos timeout) {
  const Nanos asked = clock_.Now();
  const Result<std::vector<Sample>> samples = client_.Stat(In(std::chrono::nanoseconds(timeout)));
  if (!samples.ok()) return {};
  const DaemonView view = ViewOf(*samples);
  notes_.Add(view, asked, clock_.Now());
  away_ = false;
  return view;
}

DaemonView DaemonWatch::Look() {
  // After an outage the library may be about to reconnect.
  const Nanos deadline = clock_.Now() + kReconnectTimeout;
  while (true) {
    const DaemonView view = Ask(kCallTimeout);
    if (view.known || clock_.Now() >= deadline) return view;
    (void)client_.WaitForCompletion(In(std::chrono::milliseconds(100)));  // only to wait
  }
}

void DaemonWatch::Poll() {
  if (!away_ || clock_.Now() < next_poll_) return;
  (void)Ask(kPollTimeout);  // without an answer: the next time
  next_poll_ = clock_.Now() + kPollInterval;
}

}  // namespace terrace::replay
