#include "tools/bench/limits/bare_wakeups.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "tools/bench/measurement.h"

namespace terrace::bench {

namespace {

bool Ring(int bell) {
  const std::uint64_t one = 1;
  return ::write(bell, &one, sizeof one) == sizeof one;
}

bool Hear(int bell) {
  std::uint64_t count = 0;
  return ::read(bell, &count, sizeof count) == sizeof count;
}

}  // namespace

BareWakeups::BareWakeups() : there_(::eventfd(0, EFD_CLOEXEC)), back_(::eventfd(0, EFD_CLOEXEC)) {
  child_ = ::fork();
  if (child_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (Hear(there_) && Ring(back_)) {
  }
  ::_exit(1);
}

BareWakeups::~BareWakeups() {
  if (child_ > 0) {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  ::close(there_);
  ::close(back_);
}

double BareWakeups::MedianUs(int calls, std::chrono::microseconds gap) const {
  if (child_ < 0) return -1;
  std::vector<double> times;
  for (int call = 0; call < calls; ++call) {
    if (gap.count() > 0) std::this_thread::sleep_for(gap);
    const auto started = std::chrono::steady_clock::now();
    if (!Ring(there_) || !Hear(back_)) return -1;
    times.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - started)
            .count());
  }
  return Median(std::move(times));
}

}  // namespace terrace::bench
