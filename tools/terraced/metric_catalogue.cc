#include "tools/terraced/metric_catalogue.h"

namespace terrace {

namespace {
constexpr auto kCounter = MetricType::kCounter;
constexpr auto kGauge = MetricType::kGauge;
constexpr auto kSum = MetricJoin::kSum;
constexpr auto kMaximum = MetricJoin::kMaximum;
}  // namespace

const MetricInfo kMatchRequests = {"terrace_match_requests_total", kCounter, kSum,
                                   "Match requests."};
const MetricInfo kMatchBlocks = {"terrace_match_blocks_total", kCounter, kSum,
                                 "Blocks that match requests looked up."};
const MetricInfo kMatchBlocksHit = {"terrace_match_blocks_hit_total", kCounter, kSum,
                                    "Blocks of match requests that were stored, from the first of "
                                    "each request up to the first that was not."};
const MetricInfo kGetRequests = {"terrace_get_requests_total", kCounter, kSum, "Get requests."};
const MetricInfo kGetBlocks = {"terrace_get_blocks_total", kCounter, kSum,
                               "Blocks that get requests asked for."};
const MetricInfo kGetBlocksHit = {"terrace_get_blocks_hit_total", kCounter, kSum,
                                  "Blocks of get requests that were found, by tier."};
const MetricInfo kGetBlocksMissed = {"terrace_get_blocks_missed_total", kCounter, kSum,
                                     "Blocks of get requests that were not stored."};
const MetricInfo kGetBlocksFailed = {"terrace_get_blocks_failed_total", kCounter, kSum,
                                     "Blocks of get requests that were found but not delivered."};
const MetricInfo kGetBytes = {"terrace_get_bytes_total", kCounter, kSum,
                              "Bytes of blocks delivered to clients."};
const MetricInfo kPutRequests = {"terrace_put_requests_total", kCounter, kSum, "Put requests."};
const MetricInfo kPutBlocks = {"terrace_put_blocks_total", kCounter, kSum,
                               "Blocks that put requests offered."};
const MetricInfo kPutBlocksStored = {"terrace_put_blocks_stored_total", kCounter, kSum,
                                     "Blocks of put requests that were stored."};
const MetricInfo kPutBlocksExisting = {"terrace_put_blocks_existing_total", kCounter, kSum,
                                       "Blocks of put requests that were stored already."};
const MetricInfo kPutBlocksPending = {"terrace_put_blocks_pending_total", kCounter, kSum,
                                      "Blocks of put requests that another put was writing."};
const MetricInfo kPutBlocksNoSpace = {"terrace_put_blocks_no_space_total", kCounter, kSum,
                                      "Blocks of put requests that found no room."};
const MetricInfo kPutBlocksFailed = {"terrace_put_blocks_failed_total", kCounter, kSum,
                                     "Blocks of put requests whose bytes did not arrive."};
const MetricInfo kPutBytes = {"terrace_put_bytes_total", kCounter, kSum,
                              "Bytes of blocks taken from clients."};
const MetricInfo kEvictedBlocks = {"terrace_evicted_blocks_total", kCounter, kSum,
                                   "Blocks that made room for others, by tier."};
const MetricInfo kEvictedBytes = {"terrace_evicted_bytes_total", kCounter, kSum,
                                  "Bytes of blocks that made room for others, by tier."};
const MetricInfo kRemovedBlocks = {"terrace_removed_blocks_total", kCounter, kSum,
                                   "Blocks that clients removed by key."};
const MetricInfo kClearedBlocks = {"terrace_cleared_blocks_total", kCounter, kSum,
                                   "Blocks forgotten because their namespace was cleared."};
const MetricInfo kKeyMismatches = {"terrace_key_mismatches_total", kCounter, kSum,
                                   "Lookups whose locator was stored with another key: misses."};

const MetricInfo kTierBlocks = {"terrace_tier_blocks", kGauge, kSum, "Blocks stored, by tier."};
const MetricInfo kTierCapacity = {"terrace_tier_capacity_bytes", kGauge, kSum,
                                  "Bytes that a tier can hold."};
const MetricInfo kTierUsed = {"terrace_tier_used_bytes", kGauge, kSum,
                              "Bytes of allocated frames, with what rounding costs."};
const MetricInfo kTierPayload = {"terrace_tier_payload_bytes", kGauge, kSum,
                                 "Bytes of the blocks in allocated frames."};
const MetricInfo kTierHeaders = {"terrace_tier_header_bytes", kGauge, kSum,
                                 "Memory of frame headers, beside the capacity."};
const MetricInfo kTierHugePages = {"terrace_tier_huge_page_bytes", kGauge, kSum,
                                   "Bytes of a tier on huge pages, as last measured."};
const MetricInfo kTierFrames = {"terrace_tier_frames", kGauge, kSum, "Frames allocated."};
const MetricInfo kTierExtents = {"terrace_tier_extents", kGauge, kSum, "Extents of a tier."};
const MetricInfo kTierExtentsFree = {"terrace_tier_extents_free", kGauge, kSum,
                                     "Extents that belong to no tenant."};
const MetricInfo kIndexBytes = {"terrace_index_bytes", kGauge, kSum,
                                "Memory of the index and of the eviction policy."};
const MetricInfo kIndexCapacity = {"terrace_index_capacity_blocks", kGauge, kSum,
                                   "Blocks that the index has room for."};

const MetricInfo kClients = {"terrace_client_connections", kGauge, kSum,
                             "Connections of clients; a client has one to each reactor it uses."};
const MetricInfo kClientsByLink = {"terrace_client_connections_by_link", kGauge, kSum,
                                   "Connections of clients, by the link that moves their bytes."};
const MetricInfo kClientConnects = {"terrace_client_connects_total", kCounter, kSum,
                                    "Connections that clients made."};
const MetricInfo kClientDisconnects = {"terrace_client_disconnects_total", kCounter, kSum,
                                       "Connections that ended."};
const MetricInfo kClientsRefused = {"terrace_clients_refused_total", kCounter, kSum,
                                    "Connections refused, e.g. above clients_max."};
const MetricInfo kClientsTimedOut = {"terrace_clients_timed_out_total", kCounter, kSum,
                                     "Connections closed because the client was silent."};
const MetricInfo kMalformedMessages = {"terrace_malformed_messages_total", kCounter, kSum,
                                       "Messages that did not verify; their sender is dropped."};
const MetricInfo kLinkPushedBytes = {"terrace_link_pushed_bytes_total", kCounter, kSum,
                                     "Bytes that links moved to clients."};
const MetricInfo kLinkPulledBytes = {"terrace_link_pulled_bytes_total", kCounter, kSum,
                                     "Bytes that links moved from clients."};
const MetricInfo kQuarantinedHolds = {"terrace_quarantined_frames", kGauge, kSum,
                                      "Frames that wait until a transport has let go of them."};

const MetricInfo kReactors = {"terrace_reactors", kGauge, kSum, "Reactors, by what they sleep in."};
const MetricInfo kReactorTurns = {"terrace_reactor_turns_total", kCounter, kSum,
                                  "Turns of the reactors' loops."};
const MetricInfo kReactorSleeps = {"terrace_reactor_sleeps_total", kCounter, kSum,
                                   "Times that reactors slept."};
const MetricInfo kReactorPosts = {"terrace_reactor_posts_total", kCounter, kSum,
                                  "Functions posted to reactors by other threads."};
const MetricInfo kReactorStalls = {"terrace_reactor_stalls_total", kCounter, kSum,
                                   "Turns that took longer than 50 ms."};
const MetricInfo kReactorStallMax = {"terrace_reactor_stall_max_seconds", kGauge, kMaximum,
                                     "The longest stalled turn so far."};

const MetricInfo kBuildInfo = {"terrace_build_info", kGauge, kMaximum,
                               "Always 1; the label tells the version."};
const MetricInfo kUptime = {"terrace_process_uptime_seconds", kGauge, kMaximum,
                            "Time since the daemon began."};
const MetricInfo kResidentMemory = {"terrace_process_resident_memory_bytes", kGauge, kMaximum,
                                    "Resident memory of the process, the tiers' among it."};
const MetricInfo kCpuSeconds = {"terrace_process_cpu_seconds_total", kCounter, kMaximum,
                                "CPU time of the process, user and system."};
const MetricInfo kOpenFiles = {"terrace_process_open_files", kGauge, kMaximum,
                               "Open file descriptors."};
const MetricInfo kLogLines = {"terrace_log_lines_total", kCounter, kSum, "Lines logged, by level."};
const MetricInfo kLogLinesSuppressed = {"terrace_log_lines_suppressed_total", kCounter, kSum,
                                        "Lines held back by the rate limit."};
const MetricInfo kLogLinesDropped = {"terrace_log_lines_dropped_total", kCounter, kSum,
                                     "Lines lost because the log's queue was full."};

std::span<const MetricInfo* const> AllMetrics() {
  static constexpr const MetricInfo* kAll[] = {
      &kMatchRequests,     &kMatchBlocks,      &kMatchBlocksHit,   &kGetRequests,
      &kGetBlocks,         &kGetBlocksHit,     &kGetBlocksMissed,  &kGetBlocksFailed,
      &kGetBytes,          &kPutRequests,      &kPutBlocks,        &kPutBlocksStored,
      &kPutBlocksExisting, &kPutBlocksPending, &kPutBlocksNoSpace, &kPutBlocksFailed,
      &kPutBytes,          &kEvictedBlocks,    &kEvictedBytes,     &kRemovedBlocks,
      &kClearedBlocks,     &kKeyMismatches,    &kTierBlocks,       &kTierCapacity,
      &kTierUsed,          &kTierPayload,      &kTierHeaders,      &kTierHugePages,
      &kTierFrames,        &kTierExtents,      &kTierExtentsFree,  &kIndexBytes,
      &kIndexCapacity,     &kClients,          &kClientsByLink,    &kClientConnects,
      &kClientDisconnects, &kClientsRefused,   &kClientsTimedOut,  &kMalformedMessages,
      &kLinkPushedBytes,   &kLinkPulledBytes,  &kQuarantinedHolds, &kReactors,
      &kReactorTurns,      &kReactorSleeps,    &kReactorPosts,     &kReactorStalls,
      &kReactorStallMax,   &kBuildInfo,        &kUptime,           &kResidentMemory,
      &kCpuSeconds,        &kOpenFiles,        &kLogLines,         &kLogLinesSuppressed,
      &kLogLinesDropped};
  return kAll;
}

}  // namespace terrace
