#include "base/crash_point.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <string>

namespace terrace {

namespace {

constexpr auto kPoints = std::to_array<CrashPointInfo>({
#define TERRACE_CRASH_POINT_INFO(constant, name, meaning) {CrashPoint::constant, name, meaning},
    TERRACE_CRASH_POINT_LIST(TERRACE_CRASH_POINT_INFO)
#undef TERRACE_CRASH_POINT_INFO
});

constexpr auto kClientPoints = std::to_array<CrashPointInfo>({
#define TERRACE_CRASH_POINT_INFO(constant, name, meaning) {CrashPoint::constant, name, meaning},
    TERRACE_CLIENT_POINT_LIST(TERRACE_CRASH_POINT_INFO)
#undef TERRACE_CRASH_POINT_INFO
});

/// Times that the armed point is still passed, and what happens then.
std::atomic<std::uint64_t> times_left{0};
std::atomic<int> last_signal{SIGKILL};

CrashPoint PointOf(std::string_view name) {
  for (const CrashPointInfo& info : kPoints) {
    if (info.name == name) return info.point;
  }
  for (const CrashPointInfo& info : kClientPoints) {
    if (info.name == name) return info.point;
  }
  return CrashPoint::kNone;
}

}  // namespace

std::span<const CrashPointInfo> CrashPoints() noexcept { return kPoints; }
std::span<const CrashPointInfo> ClientCrashPoints() noexcept { return kClientPoints; }

Status ArmCrashPoint(std::string_view text, int signal) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const CrashPoint point = PointOf(name);
  if (point == CrashPoint::kNone) {
    std::string known;
    for (const CrashPointInfo& info : kPoints) known += ' ' + std::string(info.name);
    return Status::Invalid("crash point '" + std::string(name) + "': unknown; known are" + known);
  }
  const std::string_view number =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  std::uint64_t times = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), times);
  if (error != std::errc() || end != number.data() + number.size() || times == 0) {
    return Status::Invalid("crash point '" + std::string(text) +
                           "': must be NAME:N, with a number N from 1 on");
  }
  last_signal.store(signal);
  times_left.store(times - 1);
  crash_point_internal::armed.store(point);
  return {};
}

bool crash_point_internal::Due() noexcept {
  if (times_left.load() > 0 && times_left.fetch_sub(1) > 0) return false;
  // Once: other threads may come here while this one is being stopped.
  return armed.exchange(CrashPoint::kNone) != CrashPoint::kNone;
}

void CrashNow() noexcept {
  ::kill(::getpid(), last_signal.load());
  if (last_signal.load() != SIGKILL) return;
  // Threads run on for a moment; this one does nothing more.
  for (;;) ::pause();
}

}  // namespace terrace
