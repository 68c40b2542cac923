// PolicyStudy: many policies at many capacities over one trace, on all cores, and what each saves.
//
// Every case is a simulation of its own (request_hits.h, optimum.h): the cases share only the
// trace. Thread: the caller's; the cases run on threads of their own, which end before it returns.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/replay/simulate/request_hits.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"
#include "tools/replay/worth/economics.h"
#include "tools/replay/worth/saved_compute.h"

namespace terrace::replay {

/// Belady's MIN: it knows the future, so the daemon does not have it.
inline constexpr std::string_view kOptimalPolicy = "optimal";

/// kOptimalPolicy, or a policy of the daemon. kInvalid lists all names.
Status CheckStudyPolicy(std::string_view name);
/// All names: the daemon's policies, then kOptimalPolicy.
[[nodiscard]] std::vector<std::string> StudyPolicies();

struct StudyCase {
  std::string policy;
  RequestShape shape;
  /// Of the tiers; `policy` and `distinct_blocks` are filled in. kOptimalPolicy has DRAM only.
  SimulatedTiersOptions tiers;
};

struct StudyResult {
  std::string policy;
  SimulatedTiersOptions tiers;
  SimulatedRun run;
  std::uint64_t tokens_hit = 0;
  SavedCompute savings;
  double seconds = 0;            ///< of one core, for the simulation alone
  std::size_t policy_bytes = 0;  ///< per block of capacity; 0 for kOptimalPolicy
};

struct StudyOptions {
  std::uint32_t threads = 1;    ///< at least 1
  double load_bytes_per_s = 0;  ///< of the path that hits are loaded over; 0: in no time
  /// Called on the caller's thread a few times a second with the block references looked at so far,
  /// over all cases. @return false to stop.
  std::function<bool(std::uint64_t)> progress;
};

/// One result for each case, in their order. kCancelled when `progress` said stop; kInvalid for a
/// policy that there is not.
Result<std::vector<StudyResult>> RunPolicyStudy(const Trace& trace, const BlockNumbers& blocks,
                                                std::span<const StudyCase> cases,
                                                const Economics& economics,
                                                const StudyOptions& options);

}  // namespace terrace::replay
