// A deterministic simulation of the whole cache: the real flows, index, policy and arena over a
// ManualClock, a SeededRandom and SimLinks. One seed replays one run, event for event.
//
// Two phases. Faults on: several clients put, match, get, remove, clear, stop, and lose messages
// and links, while an oracle outside the cache checks every answer (safety). Faults off: everything
// drains, nothing is pinned, every device is back, and what is stored anew can be read, at the
// speed that link and device have (liveness). Many seeds put an NVMe tier below the cache, whose
// devices fail and lie, whose index fails, and which is killed or loses power.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/simulation_plan.h"

namespace terrace::testing {

/// What happened, so that a campaign can say it, and a test can tell that the seeds together
/// reached everything. All of them are numbers of one type: Add treats them as a row.
struct SimulationCounts {
  /// An operation is one block that a client asked for: put, got, matched or removed; a clear is
  /// one. A call has 1 to 16 of them.
  std::uint64_t operations = 0, calls = 0;
  std::uint64_t stored = 0, got = 0, missed = 0, pending = 0, no_space = 0, evictions = 0;
  std::uint64_t timeouts = 0, peer_deaths = 0, corruptions = 0;
  std::uint64_t removed = 0, cleared = 0, key_mismatches = 0, quarantined = 0;
  std::uint64_t got_nvme = 0, nvme_evictions = 0, reinserted = 0, corrupt_records = 0;
  std::uint64_t expired_reads = 0;  ///< reads whose segment was used again meanwhile
  std::uint64_t generations = 0;    ///< segments reclaimed and begun anew
  std::uint64_t kills = 0, power_losses = 0, recovered = 0, durable = 0, durable_judged = 0;
  std::uint64_t lanes_failed = 0, lanes_returned = 0;
  // Of devices. bit_flips: those of links too.
  std::uint64_t device_faults = 0, bit_flips = 0, io_errors = 0, torn = 0, lost = 0;
  std::uint64_t misdirected = 0, stale = 0, delayed = 0;
  // Of clients and what lies between.
  std::uint64_t links_lost = 0, clients_died = 0, clients_stalled = 0, transfers_stalled = 0;
  std::uint64_t messages_dropped = 0, messages_reordered = 0;
  std::uint64_t got_hbm = 0, copied_to_hbm = 0, gpu_faults = 0, gpus_lost = 0;
  /// Leases that matches got, and times that a leased block was looked for.
  std::uint64_t leases = 0, leases_judged = 0;

  void Add(const SimulationCounts& other);
};

struct SimulationReport : SimulationCounts {
  std::string failure;       ///< empty: nothing was wrong
  std::string plan;          ///< what the seed drew
  std::uint64_t digest = 0;  ///< of every answer in order: equal for equal runs
};

SimulationReport SimulateCache(std::uint64_t seed,
                               SimulationProfile profile = SimulationProfile::kSwarm);
/// What the seed draws; for a run that did not end.
std::string DescribePlan(std::uint64_t seed, SimulationProfile profile);

}  // namespace terrace::testing
