#include "tools/bench/cpu_times.h"

#include <sys/resource.h>

namespace terrace::bench {

namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

CpuTimes OwnCpu() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return {.user = Seconds(used.ru_utime), .system = Seconds(used.ru_stime)};
}

}  // namespace terrace::bench
