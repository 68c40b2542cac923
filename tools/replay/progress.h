// Progress: a bar on a terminal, plain lines (one every few seconds) anywhere else.
//
// Thread: one. Writes to standard error, so that standard output holds only the result.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "tools/replay/run_totals.h"

namespace terrace::replay {

class Progress {
 public:
  /// requests: of the whole run. quiet: print nothing. clock outlives this.
  Progress(std::uint64_t requests, bool quiet, const Clock& clock);
  /// Draws when it is time to: 5 times a second on a terminal, else every 5 seconds.
  void Update(std::uint64_t finished, const RunTotals& totals);
  /// Draws the last state and ends the line.
  void Finish(std::uint64_t finished, const RunTotals& totals);

 private:
  void Draw(std::uint64_t finished, const RunTotals& totals, Nanos now);

  std::uint64_t requests_;
  bool quiet_;
  bool terminal_;
  const Clock& clock_;
  Nanos begin_;
  Nanos last_;
};

}  // namespace terrace::replay
