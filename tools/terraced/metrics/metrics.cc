#include "tools/terraced/metrics/metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "base/tier_kind.h"
#include "tools/terraced/logs/logging.h"
#include "tools/terraced/metrics/metric_appender.h"

namespace terrace {

namespace {

constexpr const char* kLinkLabel = "link";
constexpr const char* kEndLabel = "end";

double ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  file >> total_pages >> resident_pages;
  return static_cast<double>(resident_pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::uint64_t OpenFiles() {
  std::error_code error;
  std::uint64_t count = 0;
  auto entry = std::filesystem::directory_iterator("/proc/self/fd", error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    ++count;
    entry.increment(error);
  }
  return count > 0 ? count - 1 : 0;  // the folder itself was open
}

}  // namespace

void MetricsRegistry::Add(const MetricSource& source) {
  const std::lock_guard lock(mutex_);
  sources_.push_back(&source);
}

void MetricsRegistry::Remove(const MetricSource& source) {
  const std::lock_guard lock(mutex_);
  std::erase(sources_, &source);
}

std::vector<MetricSample> MetricsRegistry::Collect() const {
  std::vector<MetricSample> samples;
  const std::lock_guard lock(mutex_);
  for (const MetricSource* source : sources_) source->Collect(samples);
  return samples;
}

void AppendCacheMetrics(const CacheCounters& counters, const MetricLabels& labels,
                        std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  Appender dram = all.With(kTierLabel, TierName(TierKind::kDram));
  Appender nvme = all.With(kTierLabel, TierName(TierKind::kNvme));
  all.Add(kMatchRequests, counters.match_requests);
  all.Add(kMatchBlocks, counters.match_blocks);
  all.Add(kMatchBlocksHit, counters.match_hits);
  all.Add(kGetRequests, counters.get_requests);
  all.Add(kGetBlocks, counters.get_blocks);
  dram.Add(kGetBlocksHit, counters.get_hits_dram);
  nvme.Add(kGetBlocksHit, counters.get_hits_nvme);
  all.Add(kGetBlocksMissed, counters.get_misses);
  all.Add(kGetBlocksFailed, counters.get_failures);
  all.Add(kGetBytes, counters.bytes_got);
  all.Add(kGetTokens, counters.tokens_got);
  all.Add(kPutRequests, counters.put_requests);
  all.Add(kPutBlocks, counters.put_blocks);
  all.Add(kPutBlocksStored, counters.put_stored);
  all.Add(kPutBlocksExisting, counters.put_exists);
  all.Add(kPutBlocksPending, counters.put_pending);
  all.Add(kPutBlocksNoSpace, counters.put_no_space);
  all.Add(kPutBlocksFailed, counters.put_failures);
  all.Add(kPutBytes, counters.bytes_put);
  dram.Add(kEvictedBlocks, counters.evictions);
  nvme.Add(kEvictedBlocks, counters.nvme_evictions);
  all.Add(kIndexEvictedBlocks, counters.index_evictions);
  dram.Add(kEvictedBytes, counters.evicted_bytes);
  all.Add(kRemovedBlocks, counters.removed);
  all.Add(kClearedBlocks, counters.cleared);
  all.Add(kPrefetchBlocks, counters.prefetch_blocks);
  all.Add(kPrefetchLoads, counters.prefetch_loads);
  all.Add(kTouchedBlocks, counters.touched);
  all.Add(kRetainedBlocks, counters.retained_blocks);
  all.Add(kRetainedBytes, counters.retained_bytes);
  all.Add(kRetainRefused, counters.retain_refused);
  all.Add(kRetainDisplaced, counters.retain_displaced);
  all.Add(kRetainedEvicted, counters.retained_evictions);
  all.Add(kKeyMismatches, counters.key_mismatches);
  all.Add(kReservations, counters.reservations);
  all.Add(kReservationBytes, counters.reservation_bytes);
  all.Add(kReservationsMade, counters.reservations_made);
  all.Add(kReservationsRefused, counters.reservations_refused);
  all.With(kEndLabel, "committed").Add(kReservationsEnded, counters.reservations_committed);
  all.With(kEndLabel, "aborted").Add(kReservationsEnded, counters.reservations_aborted);
  all.With(kEndLabel, "expired").Add(kReservationsEnded, counters.reservations_expired);
  all.With(kEndLabel, "abandoned").Add(kReservationsEnded, counters.reservations_abandoned);
  all.Add(kHandoffs, counters.handoffs);
  all.Add(kHandoffBytes, counters.handoff_bytes);
  all.Add(kHandoffsOpened, counters.handoffs_opened);
  all.Add(kHandoffsRefused, counters.handoffs_refused);
  all.With(kEndLabel, "completed").Add(kHandoffsEnded, counters.handoffs_completed);
  all.With(kEndLabel, "aborted").Add(kHandoffsEnded, counters.handoffs_aborted);
  all.With(kEndLabel, "expired").Add(kHandoffsEnded, counters.handoffs_expired);
  all.With(kEndLabel, "abandoned").Add(kHandoffsEnded, counters.handoffs_abandoned);
  all.Add(kFragmentsReceived, counters.fragments_received);
  all.Add(kFragments, counters.fragments_written);
  all.Add(kFragmentsFailed, counters.fragments_failed);
  dram.Add(kTierBlocks, counters.blocks_dram);
  nvme.Add(kTierBlocks, counters.blocks_nvme);
  all.Add(kMatchLeases, counters.leases.now);
  all.Add(kMatchLeasedBlocks, counters.leases.blocks_now);
  all.Add(kMatchLeasedBytes, counters.leases.bytes_now);
  all.Add(kMatchLeasesGranted, counters.leases.granted);
  all.Add(kMatchLeasesReleased, counters.leases.released);
  all.Add(kMatchLeasesExpired, counters.leases.expired);
  all.Add(kMatchLeasesRefused, counters.leases.refused);
  all.Add(kMatchLeasesBroken, counters.leases.broken);
}

void AppendHintMetrics(const HintCounters& counters, const MetricLabels& labels,
                       std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  for (std::size_t kind = 0; kind < kHintKindNames.size(); ++kind) {
    all.With("kind", kHintKindNames[kind]).Add(kHints, counters.taken[kind]);
  }
  for (std::size_t fault = 0; fault < kHintFaultNames.size(); ++fault) {
    all.With("reason", kHintFaultNames[fault]).Add(kHintsIgnored, counters.ignored[fault]);
  }
}

void AppendEventMetrics(const EventLog& log, const MetricLabels& labels,
                        std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  const EventCounters& told = log.Counters();
  all.With("kind", EventKindName(EventKind::kCommitted)).Add(kEventsPublished, told.committed);
  all.With("kind", EventKindName(EventKind::kMoved)).Add(kEventsPublished, told.moved);
  all.With("kind", EventKindName(EventKind::kRemoved)).Add(kEventsPublished, told.removed);
  all.With("kind", EventKindName(EventKind::kCleared)).Add(kEventsPublished, told.cleared);
  all.Add(kEventsKept, told.kept);
  all.Add(kEventLogBytes, log.Bytes());
  const EventReaders& readers = log.readers();
  all.Add(kEventReaders, readers.now);
  all.Add(kEventReads, readers.reads);
  all.Add(kEventSnapshots, readers.snapshots);
  all.Add(kEventGaps, readers.gaps);
  all.Add(kEventsLost, readers.lost);
  all.Add(kEventRestarts, readers.restarts);
}

void AppendArenaMetrics(const ArenaStats& stats, const MetricLabels& labels,
                        std::vector<MetricSample>& samples) {
  Appender dram = Appender(labels, samples).With(kTierLabel, TierName(TierKind::kDram));
  dram.Add(kTierCapacity, stats.capacity_bytes);
  dram.Add(kTierUsed, stats.used_bytes);
  dram.Add(kTierPayload, stats.payload_bytes);
  dram.Add(kTierHeaders, stats.header_bytes);
  dram.Add(kTierHugePages, stats.huge_bytes);
  dram.Add(kTierFrames, stats.frames);
  dram.Add(kTierExtents, stats.extents);
  dram.Add(kTierExtentsFree, stats.extents_free);
  dram.Add(kTierExtentsShared, stats.extents_shared);
  dram.Add(kTierExtentsReplaced, stats.extents_replaced);
  dram.Add(kTierExtentsKept, stats.extents_not_let_go);
}

void AppendServerMetrics(const ServerCounters& counters, const MetricLabels& labels,
                         std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  all.Add(kClients, counters.peers);
  const auto by_link = [&all](LinkKind kind, const Counter& counter) {
    all.With(kLinkLabel, LinkKindName(kind)).Add(kClientsByLink, counter);
  };
  by_link(LinkKind::kTcp, counters.peers_tcp);
  by_link(LinkKind::kShm, counters.peers_shm);
  by_link(LinkKind::kRdma, counters.peers_rdma);
  all.Add(kLeases, counters.leases.now);
  all.Add(kLeaseBytes, counters.leases.bytes_now);
  all.Add(kLeasesGranted, counters.leases.granted);
  all.Add(kLeasesReleased, counters.leases.released);
  all.Add(kLeasesExpired, counters.leases.expired);
  all.Add(kLeasesRefused, counters.leases.refused);
  all.Add(kHbmLeases, counters.device_leases.now);
  all.Add(kHbmLeaseBytes, counters.device_leases.bytes_now);
  all.Add(kHbmLeasesGranted, counters.device_leases.granted);
  all.Add(kHbmLeasesReleased, counters.device_leases.released);
  all.Add(kHbmLeasesExpired, counters.device_leases.expired);
  all.Add(kHbmLeasesRefused, counters.device_leases.refused);
  all.Add(kClientConnects, counters.connects);
  all.Add(kClientDisconnects, counters.disconnects);
  all.Add(kClientsRefused, counters.refused);
  all.Add(kClientsTimedOut, counters.peers_timed_out);
  all.Add(kMalformedMessages, counters.malformed);
  all.Add(kLinkPushedBytes, counters.bytes_pushed);
  all.Add(kLinkPulledBytes, counters.bytes_pulled);
  all.Add(kRegionsShared, counters.regions_shared);
  all.Add(kDeviceRegions, counters.regions_of_devices);
  all.Add(kDeviceBytes, counters.bytes_of_devices);
  all.Add(kQuarantinedHolds, counters.quarantined);
}

void AppendReactorMetrics(const ReactorCounters& counters, std::string_view sleeps_in,
                          const MetricLabels& labels, std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  all.With("sleeps_in", sleeps_in).Add(kReactors, std::uint64_t{1});
  all.Add(kReactorTurns, counters.turns);
  all.Add(kReactorSleeps, counters.sleeps);
  all.Add(kReactorPosts, counters.posts);
  all.Add(kReactorStalls, counters.stalls);
  all.Add(kReactorStallMax,
          static_cast<double>(counters.stall_max_ns.load(std::memory_order_relaxed)) * 1e-9);
}

void ReactorMetricSource::Collect(std::vector<MetricSample>& samples) const {
  const MetricLabels labels = {{kReactorLabel, std::to_string(parts_.reactor)}};
  if (parts_.cache != nullptr) {
    AppendCacheMetrics(*parts_.cache, labels, samples);
    AppendMissMetrics(*parts_.cache, labels, samples);
    if (parts_.curve != nullptr) {
      AppendAdviceMetrics(*parts_.curve, parts_.advice_bytes, labels, samples);
    }
    Appender all(labels, samples);
    all.With("policy", parts_.policy).Add(kPolicyInfo, std::uint64_t{1});
    all.Add(kIndexBytes, parts_.index_bytes);
    all.Add(kIndexCapacity, parts_.index_capacity);
    AppendLoadMetrics(parts_.cache->predicted, parts_.nvme != nullptr, labels, samples);
    if (parts_.events != nullptr) AppendEventMetrics(*parts_.events, labels, samples);
    if (parts_.nvme != nullptr) AppendNvmeMetrics(*parts_.cache, *parts_.nvme, labels, samples);
    if (parts_.cache->hbm_gpus.load() > 0) AppendHbmMetrics(*parts_.cache, labels, samples);
  }
  if (parts_.hints != nullptr) AppendHintMetrics(*parts_.hints, labels, samples);
  if (parts_.cache != nullptr) {
    Appender all(labels, samples);
    all.With("reason", "too_many_kinds").Add(kHintsIgnored, parts_.cache->hints_ignored);
  }
  if (parts_.arena_stats) AppendArenaMetrics(parts_.arena_stats(), labels, samples);
  if (parts_.server != nullptr) AppendServerMetrics(*parts_.server, labels, samples);
  if (parts_.server != nullptr && parts_.gpu_wire != nullptr) {
    AppendHbmWireMetrics(*parts_.gpu_wire, *parts_.server, labels, samples);
  }
  if (parts_.reactor_counters != nullptr) {
    AppendReactorMetrics(*parts_.reactor_counters, parts_.sleeps_in, labels, samples);
  }
}

void ProcessMetricSource::Collect(std::vector<MetricSample>& samples) const {
  Appender all({}, samples);
  all.With("version", version_).Add(kBuildInfo, std::uint64_t{1});
  all.Add(kUptime, static_cast<double>(clock_.Now() - started_) * 1e-9);
  all.Add(kResidentMemory, ResidentBytes());
  all.Add(kCpuSeconds, CpuSeconds());
  all.Add(kOpenFiles, OpenFiles());
  const LogCounters log = CountLogLines();
  for (std::size_t index = 0; index < log.lines.size(); ++index) {
    all.With("level", LogLevelName(static_cast<LogLevel>(index))).Add(kLogLines, log.lines[index]);
  }
  all.Add(kLogLinesSuppressed, log.suppressed);
  all.Add(kLogLinesDropped, log.dropped);
}

}  // namespace terrace
