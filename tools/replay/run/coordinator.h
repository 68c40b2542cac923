// Coordinator: runs a replay. It starts the worker processes, hands out prefills and decodes,
// adds up what they report and decides when the run has failed.
//
// The run fails, and stops at once, when a block arrives with a wrong byte, when a worker process
// fails or dies, or when no worker reports for three minutes although one has an order. A daemon
// that is gone is no failure: the workers go on with misses, and the library reconnects. Thread:
// one; not reentrant.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "tools/replay/run/arrivals.h"
#include "tools/replay/run/daemon_watch.h"
#include "tools/replay/run/run_timing.h"
#include "tools/replay/run/run_totals.h"
#include "tools/replay/run/shared_workload.h"
#include "tools/replay/run/timeline.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

struct CoordinatorOptions {
  std::uint32_t prefill_workers = 1;  ///< 1 to 64
  std::uint32_t decode_workers = 1;   ///< 1 to 64
  bool lockstep = false;
  PaceOptions pace;
  bool quiet = false;         ///< no progress
  std::string progress_file;  ///< percentage done, for scripts; empty: none
};

struct RunOutcome {
  RunTotals totals;
  std::string failure;              ///< empty: none; otherwise the exact cause
  bool interrupted = false;         ///< by SIGINT or SIGTERM
  std::uint32_t worker_errors = 0;  ///< workers that failed or had to be killed
  std::uint64_t requests_finished = 0;
  RunTiming timing;
  std::uint64_t turns_held = 0;  ///< open loop: due before the turn before them had ended
  Timeline timeline;
  double duration_s = 0;  ///< from the first order to the last report
  std::string link;       ///< how the bytes moved, as the first worker said
};

inline constexpr std::uint32_t kWorkersMax = 64;

/// Runs the whole workload, until an InterruptNote of the caller says stop. `watch` is told of
/// outages. @return the status when the workers could not be started (kCancelled: interrupted);
/// whatever happens after that is in the outcome.
Result<RunOutcome> RunWorkload(const SharedWorkload& workload, const CoordinatorOptions& options,
                               DaemonWatch& watch, const Clock& clock);

/// "key 0123..., block 17 of request 4, tier dram: byte 4096 is 0x12, must be 0x34 (3 bytes
/// wrong)".
std::string DescribeWrongBlock(const WorkReport& report);

}  // namespace terrace::replay
