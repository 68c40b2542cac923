// Clock: the only source of time on a flow, so that a simulation can own it.
#pragma once

#include <cstdint>
#include <limits>

namespace terrace {

/// Nanoseconds since an arbitrary start, never going back. Also used for durations.
using Nanos = std::int64_t;

inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;
/// A deadline that never comes. Only for background work; requests always have a real one.
inline constexpr Nanos kForever = std::numeric_limits<Nanos>::max();

class Clock {
 public:
  virtual ~Clock() = default;
  /// Monotonic time, ns. Callable from any thread.
  [[nodiscard]] virtual Nanos Now() const = 0;
};

/// CLOCK_MONOTONIC, the clock of std::chrono::steady_clock.
class SteadyClock final : public Clock {
 public:
  [[nodiscard]] Nanos Now() const override;
};

/// A clock that moves only when told. Not thread-safe: it belongs to a simulation.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] Nanos Now() const override { return now_; }
  /// REQUIRES: time >= Now().
  void AdvanceTo(Nanos time) {
    if (time > now_) now_ = time;
  }
  void Advance(Nanos duration) { AdvanceTo(now_ + duration); }

 private:
  Nanos now_ = kSecond;  // not 0, so that "never" and "at the start" differ
};

}  // namespace terrace
