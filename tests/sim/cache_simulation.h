// A deterministic simulation of the whole cache: the real flows, index, policy and arena over a
// ManualClock, a SeededRandom and SimLinks. One seed replays one run, event for event.
//
// Two phases. Faults on: several clients put, match, get, remove, clear and lose their links, while
// an oracle outside the cache checks every answer (safety). Faults off: everything drains, nothing
// is pinned, and what is stored anew can be read (liveness). Many seeds put an NVMe tier below the
// cache, whose devices fail and lie, whose index fails, and which is killed or loses power.
#pragma once

#include <cstdint>
#include <string>

namespace terrace::testing {

struct SimulationReport {
  std::string failure;       ///< empty: nothing was wrong
  std::string plan;          ///< what the seed drew
  std::uint64_t digest = 0;  ///< of every answer in order: equal for equal runs

  // What happened, so that a test can tell that the seeds together reached everything.
  std::uint64_t stored = 0, got = 0, missed = 0, pending = 0, no_space = 0, evictions = 0;
  std::uint64_t timeouts = 0, peer_deaths = 0, corruptions = 0, links_lost = 0;
  std::uint64_t removed = 0, cleared = 0, key_mismatches = 0, quarantined = 0;
  std::uint64_t got_nvme = 0, nvme_evictions = 0, reinserted = 0, corrupt_records = 0;
  std::uint64_t kills = 0, power_losses = 0, recovered = 0, durable = 0, durable_judged = 0;
  std::uint64_t device_faults = 0, lanes_failed = 0, lanes_returned = 0;

  void Add(const SimulationReport& other);
};

SimulationReport SimulateCache(std::uint64_t seed);

}  // namespace terrace::testing
