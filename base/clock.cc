#include "base/clock.h"

#include <ctime>

namespace terrace {

Nanos SteadyClock::Now() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<Nanos>(now.tv_sec) * kSecond + now.tv_nsec;
}

}  // namespace terrace
