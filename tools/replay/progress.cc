#include "tools/replay/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace terrace::replay {
namespace {

constexpr Nanos kTerminalInterval = 200 * kMillisecond;
constexpr Nanos kPlainInterval = 5 * kSecond;
constexpr std::size_t kBarCells = 28;

}  // namespace

Progress::Progress(std::uint64_t requests, bool quiet, const Clock& clock)
    : requests_(std::max<std::uint64_t>(requests, 1)),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      clock_(clock),
      begin_(clock.Now()),
      last_(begin_) {}

void Progress::Update(std::uint64_t finished, const RunTotals& totals) {
  const Nanos now = clock_.Now();
  if (quiet_ || now - last_ < (terminal_ ? kTerminalInterval : kPlainInterval)) return;
  Draw(finished, totals, now);
}

void Progress::Finish(std::uint64_t finished, const RunTotals& totals) {
  if (quiet_) return;
  Draw(finished, totals, clock_.Now());
  if (terminal_) std::fputc('\n', stderr);
}

void Progress::Draw(std::uint64_t finished, const RunTotals& totals, Nanos now) {
  last_ = now;
  const double share = static_cast<double>(finished) / static_cast<double>(requests_);
  const double seconds = std::max(static_cast<double>(now - begin_) / 1e9, 1e-9);
  const auto cells = static_cast<std::size_t>(share * kBarCells);
  const std::string bar =
      std::string(cells, '#') + std::string(kBarCells - std::min(cells, kBarCells), '.');
  const double left = finished == 0 ? 0 : seconds / share - seconds;
  std::fprintf(stderr,
               "%s[%s] %5.1f %%  %llu/%llu requests  hit %4.1f %%  verified %.2f GB/s  wrong %llu  "
               "%.0f s left%s",
               terminal_ ? "\r" : "", bar.c_str(), share * 100,
               static_cast<unsigned long long>(finished),
               static_cast<unsigned long long>(requests_), totals.BlockHitRatio() * 100,
               static_cast<double>(totals.bytes_verified) / seconds / 1e9,
               static_cast<unsigned long long>(totals.wrong_bytes), left, terminal_ ? "  " : "\n");
  std::fflush(stderr);
}

}  // namespace terrace::replay
