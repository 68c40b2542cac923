// Progress: how far a run is, as a bar (tools/common/progress_bar.h); and, for scripts, the
// percentage done in a file: a whole number, rounded down, and a newline.
//
// Thread: one. Writes to standard error, so that standard output holds only the result.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/clock.h"
#include "tools/common/progress_bar.h"
#include "tools/replay/run/run_totals.h"

namespace terrace::replay {

class Progress {
 public:
  /// requests: of the whole run. expected_s: how long the trace takes at the speed asked for; 0:
  /// not known. quiet: print nothing. file: empty for none; a reader may find it empty for a
  /// moment. clock outlives this.
  Progress(std::uint64_t requests, double expected_s, bool quiet, std::string file,
           const Clock& clock)
      : requests_(requests),
        expected_s_(expected_s),
        file_(std::move(file)),
        bar_(requests, quiet, clock) {
    WriteFile(0);
  }
  /// Draws when it is time to.
  void Update(std::uint64_t finished, const RunTotals& totals) {
    WriteFile(finished);
    if (bar_.Due()) bar_.Draw(finished, Text(finished, totals));
  }
  /// Draws the last state and ends the line.
  void Finish(std::uint64_t finished, const RunTotals& totals) {
    WriteFile(finished);
    bar_.Finish(finished, Text(finished, totals));
  }

 private:
  [[nodiscard]] std::string Text(std::uint64_t finished, const RunTotals& totals) const;

  void WriteFile(std::uint64_t finished);

  std::uint64_t requests_;
  double expected_s_;
  std::string file_;
  std::uint64_t percent_ = UINT64_MAX;  // in the file
  ProgressBar bar_;
};

}  // namespace terrace::replay
