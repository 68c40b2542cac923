// LogSite: limits how many lines one place in the code logs in a second.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace terrace {

/// Thread-safe. Counts lines in windows of one second that begin with the first line after the
/// last window; so at most 2 * limit lines in any second, limit in the long run.
class LogSite {
 public:
  /// `event`: the first word of this place's lines, shown when suppressed lines are reported.
  explicit LogSite(std::string_view event);
  ~LogSite();
  LogSite(const LogSite&) = delete;
  LogSite& operator=(const LogSite&) = delete;

  struct Verdict {
    bool admitted = false;
    std::uint64_t suppressed = 0;  ///< when admitted: lines held back since the last admitted one
  };
  /// May a line be logged at `now`? limit: lines a second, at least 1.
  Verdict Admit(Nanos now, std::uint32_t limit);

  /// Lines held back in windows that have ended, for a report; they are told once only.
  std::uint64_t TakeSuppressed(Nanos now);

  [[nodiscard]] const std::string& event() const noexcept { return event_; }

 private:
  const std::string event_;
  std::mutex mutex_;
  Nanos window_start_ = 0;  // guarded by mutex_, as are the next ones
  bool window_open_ = false;
  std::uint32_t in_window_ = 0;
  std::uint64_t suppressed_ = 0;
};

}  // namespace terrace
