// ProgressBar: a bar on a terminal, plain lines (one every few seconds) anywhere else.
//
// Thread: one. Writes to standard error, so that standard output holds only the result.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace terrace {

class ProgressBar {
 public:
  /// total: what there is to do, in any unit; 0 counts as 1. quiet: print nothing. clock outlives
  /// this.
  ProgressBar(std::uint64_t total, bool quiet, const Clock& clock);
  /// It is time to draw: 5 times a second on a terminal, else every 5 seconds.
  [[nodiscard]] bool Due() const;
  /// Draws the bar with `text` between the share done and the time left. On a terminal the line is
  /// drawn over the last one, so `text` should keep its length.
  void Draw(std::uint64_t done, const std::string& text);
  /// Draws the last state and ends the line.
  void Finish(std::uint64_t done, const std::string& text);
  /// Since it was made.
  [[nodiscard]] double seconds() const;

 private:
  std::uint64_t total_;
  bool quiet_;
  bool terminal_;
  const Clock& clock_;
  Nanos begin_;
  Nanos last_;
};

}  // namespace terrace
