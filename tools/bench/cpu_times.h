// CPU time as the kernel counts it, seconds.
#pragma once

namespace terrace::bench {

struct CpuTimes {
  double user = 0;
  double system = 0;

  [[nodiscard]] double total() const noexcept { return user + system; }
  friend CpuTimes operator+(const CpuTimes& left, const CpuTimes& right) noexcept {
    return {.user = left.user + right.user, .system = left.system + right.system};
  }
  friend CpuTimes operator-(const CpuTimes& left, const CpuTimes& right) noexcept {
    return {.user = left.user - right.user, .system = left.system - right.system};
  }
};

/// Of this process, so far.
CpuTimes OwnCpu();

}  // namespace terrace::bench
