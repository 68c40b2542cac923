// StatSummary: the daemon's samples as the things an operator asks about. Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/terrace.hpp"
#include "tools/common/sample_labels.h"

namespace terrace {

struct TierSummary {
  std::string tier;
  double capacity_bytes = 0;
  double used_bytes = 0;
  double payload_bytes = 0;
  double header_bytes = 0;
  double huge_page_bytes = 0;
  double blocks = 0;
  double evicted_blocks = 0;
  double evicted_bytes = 0;
  double hits = 0;              ///< of get
  double predictions = 0;       ///< gets whose time was predicted
  double prediction_error = 0;  ///< sum of their relative errors
};

/// The GPUs that keep copies of blocks; none: no HBM tier.
struct HbmSummary {
  double gpus = 0, gpus_offline = 0, copied_in = 0, loads = 0, evicted_copies = 0, failures = 0;
  double pin_failures = 0;
  double straight_bytes = 0;  ///< that a NIC read from the GPUs' memory
  /// How its bytes reach clients over RDMA, and why so, with how many reactors it is so; empty: not
  /// told.
  std::map<std::pair<std::string, std::string>, double> wires;
  double lent_blocks = 0, lent_bytes = 0, leases_refused = 0, leases_expired = 0;
};

/// The NVMe tier's devices, index and writes.
struct NvmeSummary {
  std::string state;  ///< on, off or disabled; empty: a daemon that does not know of the tier
  double devices = 0, devices_online = 0;  ///< each counts once for each reactor
  double index_healthy = 0, index_failures = 0, removals_not_logged = 0;
  double written_bytes = 0, read_bytes = 0;  ///< of the devices
  double put_bytes = 0;                      ///< of blocks, those written again not counted
  double refused_bytes = 0;                  ///< of blocks that were not worth a write
  double write_share = 0, write_price = 0;   ///< 0: everything is written
  double segments_reclaimed = 0, loads = 0, recovered_blocks = 0;
  double queue_bytes = 0;
  double budget_left_bytes = 0;                          ///< 0: no limit; negative: overdrawn
  std::map<std::string, double> blocks_written;          ///< by reason
  std::map<std::string, double> declined, loads_failed;  ///< by reason, above 0 only
  std::map<std::string, double> errors;                  ///< by kind, above 0 only
};

/// Totals since the daemon began; missing samples are 0.
struct StatSummary {
  std::string version;
  std::string policy;  ///< of eviction; empty: not told
  double uptime_seconds = 0;
  std::vector<TierSummary> tiers;  ///< those that the daemon has, fastest first
  NvmeSummary nvme;
  HbmSummary hbm;

  double match_requests = 0, match_blocks = 0, match_hits = 0;
  double get_requests = 0, get_blocks = 0, get_hits = 0, get_misses = 0, get_failures = 0;
  double get_bytes = 0, get_tokens = 0;
  double put_requests = 0, put_blocks = 0, put_stored = 0, put_existing = 0, put_pending = 0;
  double put_no_space = 0, put_failures = 0, put_bytes = 0;
  double removed_blocks = 0, cleared_blocks = 0, key_mismatches = 0;

  double resident_bytes = 0, index_bytes = 0, index_capacity_blocks = 0, cpu_seconds = 0;
  double open_files = 0;

  /// Blocks that were not answered, by reason.
  std::map<std::string, double> get_reasons, match_reasons;

  double connections = 0;
  std::map<std::string, double> connections_by_link;
  /// Of this tenant's clients: by name and link.
  std::map<std::pair<std::string, std::string>, double> connections_by_name;
  double connects = 0, disconnects = 0, refused = 0, timed_out = 0, malformed = 0;
  double quarantined_frames = 0;

  std::map<std::string, double> hints;          ///< that requests brought, by kind, above 0 only
  std::map<std::string, double> hints_ignored;  ///< by reason, above 0 only

  std::map<std::string, double> reactors;  ///< how many sleep in what
  double stalls = 0, stall_max_seconds = 0;
};

StatSummary Summarize(std::span<const Sample> samples);

/// What happened between two summaries of one daemon.
struct StatRates {
  double seconds = 0;  ///< between them
  /// The daemon was started anew between them: the rates count from its start.
  bool restarted = false;
  double match_blocks = 0, match_hits = 0;  ///< per second, as are all below
  double get_blocks = 0, get_hits = 0, get_bytes = 0;
  double put_blocks = 0, put_stored = 0, put_bytes = 0;
  double evicted_blocks = 0;
  double nvme_written_bytes = 0, nvme_read_bytes = 0;
  double cpu = 0;  ///< CPU seconds per second
};

/// REQUIRES: seconds > 0.
StatRates RatesBetween(const StatSummary& before, const StatSummary& now, double seconds);

/// For people. `rates` may be null.
std::string StatText(std::string_view address, const StatSummary& now, const StatRates* rates);

/// For programs: one JSON object in one line, with every sample. `rates` may be null.
std::string StatJson(std::string_view address, const StatSummary& now, const StatRates* rates,
                     std::span<const Sample> samples);

std::string NamespacesText(std::span<const NamespaceInfo> namespaces);
std::string NamespacesJson(std::span<const NamespaceInfo> namespaces);

}  // namespace terrace
