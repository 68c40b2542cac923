#include "tools/replay/run/progress.h"

#include <array>
#include <cstdio>
#include <fstream>

namespace terrace::replay {

std::string Progress::Text(std::uint64_t finished, const RunTotals& totals) const {
  std::array<char, 160> text{};
  std::snprintf(text.data(), text.size(),
                "%llu/%llu requests  hit %4.1f %%  verified %.2f GB/s  wrong %llu",
                static_cast<unsigned long long>(finished),
                static_cast<unsigned long long>(requests_), totals.BlockHitRatio() * 100,
                static_cast<double>(totals.bytes_verified) / bar_.seconds() / 1e9,
                static_cast<unsigned long long>(totals.wrong_bytes));
  if (expected_s_ <= 0) return text.data();
  std::array<char, 80> time{};
  std::snprintf(time.data(), time.size(), "  %.0f of %.0f s", bar_.seconds(), expected_s_);
  return std::string(text.data()) + time.data();
}

void Progress::WriteFile(std::uint64_t finished) {
  const std::uint64_t percent = requests_ == 0 ? 100 : finished * 100 / requests_;
  if (file_.empty() || percent == percent_) return;
  percent_ = percent;
  // A disk that is full now must not end a run that is going well.
  std::ofstream(file_, std::ios::trunc) << percent << '\n';
}

}  // namespace terrace::replay
