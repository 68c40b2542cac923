// WriteBudget: how many bytes a day may be written to the devices, so that they live as long as
// they were bought for.
//
// Model. A bucket that fills at the day's rate and holds an hour's worth: what is not written in an
// hour is not saved up for a storm. It counts what the devices really write, headers and moved
// records too; whoever asks is allowed until the bucket is empty, and then waits for it to fill.
//
// Thread: one; in tests and simulation driven by their clock.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace terrace::nvme {

class WriteBudget {
 public:
  static constexpr Nanos kDay = 24 * 3600 * kSecond;
  static constexpr Nanos kHour = 3600 * kSecond;

  /// 0 bytes a day: no limit.
  WriteBudget(std::uint64_t bytes_per_day, const Clock& clock)
      : bytes_per_day_(static_cast<double>(bytes_per_day)),
        clock_(clock),
        filled_at_(clock.Now()),
        left_(Most()) {}

  [[nodiscard]] bool limited() const noexcept { return bytes_per_day_ > 0; }
  /// True while there is something left; what was allowed may overdraw it by one block.
  [[nodiscard]] bool Allows() {
    Fill();
    return !limited() || left_ > 0;
  }
  /// The devices wrote so many bytes.
  void Spend(std::uint64_t bytes) {
    Fill();
    left_ -= static_cast<double>(bytes);
  }
  /// Bytes that may be written now; negative after an overdraft, 0 without a limit.
  [[nodiscard]] double Left() {
    Fill();
    return limited() ? left_ : 0;
  }

 private:
  [[nodiscard]] double Most() const noexcept {
    return bytes_per_day_ * static_cast<double>(kHour) / static_cast<double>(kDay);
  }
  void Fill() {
    const Nanos now = clock_.Now();
    const double rate = bytes_per_day_ / static_cast<double>(kDay);
    left_ = std::min(Most(), left_ + rate * static_cast<double>(now - filled_at_));
    filled_at_ = now;
  }

  const double bytes_per_day_;
  const Clock& clock_;
  Nanos filled_at_;
  double left_;
};

}  // namespace terrace::nvme
