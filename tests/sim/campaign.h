// Campaign: many seeds of the simulation on all cores, and their sum.
//
// Model. Each job is a process of its own that takes the next seed until there is none, so that a
// seed that aborts (TERRACE_CHECK, a crash) or never ends is a violation like any other, and the
// campaign goes on. One thread; nothing else of the process may run meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/sim/cache_simulation.h"

namespace terrace::testing {

struct CampaignOptions {
  SimulationProfile profile = SimulationProfile::kSwarm;
  std::uint64_t first_seed = 1;
  std::uint64_t last_seed = 1;  ///< inclusive
  std::uint32_t jobs = 1;       ///< 1 to kJobsMax
  double time_limit_s = 0;      ///< no seed is begun after it; 0: none
  double seed_limit_s = 120;    ///< one that takes longer hangs
  bool stop_at_first = false;   ///< violation
  /// One seed, in a process of its own. Tests put in another.
  std::function<SimulationReport(std::uint64_t seed, SimulationProfile profile)> simulate =
      SimulateCache;
  static constexpr std::uint32_t kJobsMax = 64;
};

struct Violation {
  std::uint64_t seed = 0;
  std::string what;
  double after_s = 0;  ///< since the campaign began
};

struct CampaignResult {
  SimulationCounts counts;
  std::uint64_t seeds = 0;  ///< that ended, well or not
  double seconds = 0;
  std::vector<Violation> violations;
};

/// `on_progress` is called a few times per second, and at each violation. `*interrupted` (may be
/// set by a signal handler) ends the campaign when the seeds that run have ended.
CampaignResult RunCampaign(const CampaignOptions& options, const volatile int* interrupted,
                           const std::function<void(const CampaignResult&)>& on_progress);

}  // namespace terrace::testing
