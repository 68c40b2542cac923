#include "tools/common/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace terrace {

namespace {

constexpr Nanos kTerminalInterval = 200 * kMillisecond;
constexpr Nanos kPlainInterval = 5 * kSecond;
constexpr std::size_t kBarCells = 28;

}  // namespace

ProgressBar::ProgressBar(std::uint64_t total, bool quiet, const Clock& clock)
    : total_(std::max<std::uint64_t>(total, 1)),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      clock_(clock),
      begin_(clock.Now()),
      last_(begin_) {}

bool ProgressBar::Due() const {
  return !quiet_ && clock_.Now() - last_ >= (terminal_ ? kTerminalInterval : kPlainInterval);
}

double ProgressBar::seconds() const {
  return std::max(static_cast<double>(clock_.Now() - begin_) / 1e9, 1e-9);
}

void ProgressBar::Draw(std::uint64_t done, const std::string& text) {
  if (quiet_) return;
  last_ = clock_.Now();
  const double share = static_cast<double>(done) / static_cast<double>(total_);
  const auto cells = static_cast<std::size_t>(share * kBarCells);
  const std::string bar =
      std::string(cells, '#') + std::string(kBarCells - std::min(cells, kBarCells), '.');
  const double left = done == 0 ? 0 : std::max(seconds() * (1 / share - 1), 0.0);
  std::fprintf(stderr, "%s[%s] %5.1f %%  %s  %.0f s left%s", terminal_ ? "\r" : "", bar.c_str(),
               share * 100, text.c_str(), left, terminal_ ? "  " : "\n");
  std::fflush(stderr);
}

void ProgressBar::Finish(std::uint64_t done, const std::string& text) {
  Draw(done, text);
  if (!quiet_ && terminal_) std::fputc('\n', stderr);
}

}  // namespace terrace
