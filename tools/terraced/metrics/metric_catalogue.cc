#include "tools/terraced/metrics/metric_catalogue.h"

namespace terrace {

namespace {
using enum MetricType;
using enum MetricJoin;
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
const MetricInfo kIndexEvictedBlocks = {
    "terrace_index_evicted_blocks_total", kCounter, kSum,
    "Blocks on NVMe alone that were forgotten because the index was full."};
const MetricInfo kEvictedBytes = {"terrace_evicted_bytes_total", kCounter, kSum,
                                  "Bytes of blocks that made room for others, by tier."};
const MetricInfo kRemovedBlocks = {"terrace_removed_blocks_total", kCounter, kSum,
                                   "Blocks that clients removed by key."};
const MetricInfo kClearedBlocks = {"terrace_cleared_blocks_total", kCounter, kSum,
                                   "Blocks forgotten because their namespace was cleared."};
const MetricInfo kPrefetchBlocks = {"terrace_prefetch_blocks_total", kCounter, kSum,
                                    "Blocks that prefetches asked for."};
const MetricInfo kPrefetchLoads = {"terrace_prefetch_loads_total", kCounter, kSum,
                                   "Blocks that were brought from NVMe to DRAM for prefetches."};
const MetricInfo kTouchedBlocks = {"terrace_touched_blocks_total", kCounter, kSum,
                                   "Blocks that clients made recent without reading them."};
const MetricInfo kRetainedBlocks = {"terrace_retained_blocks", kGauge, kSum,
                                    "Blocks that labels keep now."};
const MetricInfo kRetainedBytes = {
    "terrace_retained_bytes", kGauge, kSum,
    "Bytes of the blocks that labels keep; at most a quarter of the DRAM tier."};
const MetricInfo kRetainRefused = {
    "terrace_retain_refused_blocks_total", kCounter, kSum,
    "Blocks that a label could not keep because it held all the room for such blocks."};
const MetricInfo kRetainDisplaced = {"terrace_retain_displaced_blocks_total", kCounter, kSum,
                                     "Blocks that a label gave up to newer ones."};
const MetricInfo kRetainedEvicted = {
    "terrace_retained_evicted_blocks_total", kCounter, kSum,
    "Blocks that a label kept and that made room all the same: nothing else was left."};
const MetricInfo kKeyMismatches = {"terrace_key_mismatches_total", kCounter, kSum,
                                   "Lookups whose locator was stored with another key: misses."};
const MetricInfo kMatchLeases = {"terrace_match_leases", kGauge, kSum,
                                 "Leases of matches; one for each reactor that a match leased on."};
const MetricInfo kMatchLeasedBlocks = {"terrace_match_leased_blocks", kGauge, kSum,
                                       "Blocks that matches have leased, once for each lease."};
const MetricInfo kMatchLeasedBytes = {"terrace_match_leased_bytes", kGauge, kSum,
                                      "Bytes of the blocks that matches have leased."};
const MetricInfo kMatchLeasesGranted = {"terrace_match_leases_granted_total", kCounter, kSum,
                                        "Leases that matches gave out."};
const MetricInfo kMatchLeasesReleased = {"terrace_match_leases_released_total", kCounter, kSum,
                                         "Leases of matches that the client ended."};
const MetricInfo kMatchLeasesExpired = {
    "terrace_match_leases_expired_total", kCounter, kSum,
    "Leases of matches that ended by their time, or with their client."};
const MetricInfo kMatchLeasesRefused = {
    "terrace_match_leases_refused_total", kCounter, kSum,
    "Leases refused because the client, or all of them, would have held more than they may."};
const MetricInfo kMatchLeasesBroken = {
    "terrace_match_leases_broken_total", kCounter, kSum,
    "Leases of matches whose renewal found that a block had gone."};

const MetricInfo kReservations = {"terrace_reservations", kGauge, kSum,
                                  "Blocks reserved by writers that bring them in parts, now."};
const MetricInfo kReservationBytes = {"terrace_reservation_bytes", kGauge, kSum,
                                      "Bytes of those blocks."};
const MetricInfo kReservationsMade = {"terrace_reservations_made_total", kCounter, kSum,
                                      "Reservations made."};
const MetricInfo kReservationsRefused = {
    "terrace_reservations_refused_total", kCounter, kSum,
    "Reservations refused because the client, or all of them, held as much as they may."};
const MetricInfo kReservationsEnded = {"terrace_reservations_ended_total", kCounter, kSum,
                                       "Reservations that ended, by how."};
const MetricInfo kFragments = {"terrace_fragments_written_total", kCounter, kSum,
                               "Parts of reserved blocks that were written."};
const MetricInfo kFragmentsFailed = {
    "terrace_fragments_failed_total", kCounter, kSum,
    "Parts of reserved blocks that were refused, or whose bytes did not come."};

const MetricInfo kHints = {"terrace_hints_total", kCounter, kSum,
                           "Hints that came with requests, by kind; for each reactor that the "
                           "request reached."};
const MetricInfo kHintsIgnored = {"terrace_hints_ignored_total", kCounter, kSum,
                                  "Hints that were out of bounds, or one kind more than the policy "
                                  "tells apart (requests), and so left out, by reason."};

const MetricInfo kHandoffs = {"terrace_handoffs", kGauge, kSum, "Hand-offs that are open now."};
const MetricInfo kHandoffBytes = {"terrace_handoff_bytes", kGauge, kSum,
                                  "Bytes reserved and pinned for them."};
const MetricInfo kHandoffsOpened = {"terrace_handoffs_opened_total", kCounter, kSum,
                                    "Hand-offs opened."};
const MetricInfo kHandoffsRefused = {
    "terrace_handoffs_refused_total", kCounter, kSum,
    "Hand-offs refused because the client, or all of them, had as many as they may."};
const MetricInfo kHandoffsEnded = {"terrace_handoffs_ended_total", kCounter, kSum,
                                   "Hand-offs that ended, by how."};
const MetricInfo kFragmentsReceived = {
    "terrace_fragments_received_total", kCounter, kSum,
    "Parts of blocks that receivers of hand-offs read before the block was complete."};

const MetricInfo kTierBlocks = {"terrace_tier_blocks", kGauge, kSum, "Blocks stored, by tier."};
const MetricInfo kTierCapacity = {"terrace_tier_capacity_bytes", kGauge, kSum,
                                  "Bytes that a tier can hold."};
const MetricInfo kTierUsed = {"terrace_tier_used_bytes", kGauge, kSum,
                              "DRAM: bytes of allocated frames, with what rounding costs. NVMe: "
                              "bytes of the blocks that have a record there."};
const MetricInfo kTierPayload = {"terrace_tier_payload_bytes", kGauge, kSum,
                                 "Bytes of the blocks in allocated frames."};
const MetricInfo kTierHeaders = {"terrace_tier_header_bytes", kGauge, kSum,
                                 "Memory of frame headers, beside the capacity."};
const MetricInfo kTierHugePages = {"terrace_tier_huge_page_bytes", kGauge, kSum,
                                   "Bytes of a tier on huge pages, as last measured."};
const MetricInfo kTierFrames = {"terrace_tier_frames", kGauge, kSum, "Frames allocated."};
const MetricInfo kTierExtents = {"terrace_tier_extents", kGauge, kSum, "Extents of a tier."};
const MetricInfo kTierExtentsFree = {"terrace_tier_extents_free", kGauge, kSum,
                                     "Extents without frames."};
const MetricInfo kTierExtentsShared = {"terrace_tier_extents_shared", kGauge, kSum,
                                       "Extents that clients of this host may have mapped."};
const MetricInfo kTierExtentsReplaced = {
    "terrace_tier_extents_replaced_total", kCounter, kSum,
    "Extents that got new memory because another tenant needed them."};
const MetricInfo kTierExtentsKept = {
    "terrace_tier_extents_not_let_go_total", kCounter, kSum,
    "Times that an extent stayed with its tenant because a client kept it mapped."};
const MetricInfo kIndexBytes = {
    "terrace_index_bytes", kGauge, kSum,
    "Memory of the index and of the eviction policy, and of placement keys "
    "that wait with their blocks, without the copies of the keys."};
const MetricInfo kIndexCapacity = {"terrace_index_capacity_blocks", kGauge, kSum,
                                   "Blocks that the index has room for."};
const MetricInfo kEventsPublished = {
    "terrace_events_published_total", kCounter, kSum,
    "Events of blocks, read or not, by kind: committed, moved, removed, cleared."};
const MetricInfo kEventsKept = {"terrace_events_kept", kGauge, kSum,
                                "Events that can be read now; older ones were overwritten."};
const MetricInfo kEventLogBytes = {"terrace_event_log_bytes", kGauge, kSum,
                                   "Memory that the logs of events take at most."};
const MetricInfo kEventReaders = {
    "terrace_event_readers", kGauge, kSum,
    "Reads of events or snapshots under way, most of them waiting for an event."};
const MetricInfo kEventReads = {"terrace_event_reads_total", kCounter, kSum, "Reads of events."};
const MetricInfo kEventSnapshots = {"terrace_event_snapshot_reads_total", kCounter, kSum,
                                    "Reads of a part of a snapshot."};
const MetricInfo kEventGaps = {
    "terrace_event_gaps_total", kCounter, kSum,
    "Reads that were told of a gap: the reader was too slow for the log's size."};
const MetricInfo kEventsLost = {"terrace_events_lost_total", kCounter, kSum,
                                "Events in these gaps, those of other tenants too."};
const MetricInfo kEventRestarts = {
    "terrace_event_restarts_total", kCounter, kSum,
    "Reads with the cursor of another run of the daemon, or with none."};

const MetricInfo kNvmeWrittenBytes = {"terrace_nvme_device_written_bytes_total", kCounter, kSum,
                                      "Bytes written to the devices of the NVMe log, headers and "
                                      "moved blocks included."};
const MetricInfo kNvmeReadBytes = {"terrace_nvme_device_read_bytes_total", kCounter, kSum,
                                   "Bytes read from the devices of the NVMe log."};
const MetricInfo kNvmeBlocksWritten = {"terrace_nvme_blocks_written_total", kCounter, kSum,
                                       "Records written to the NVMe log, by reason: put, or "
                                       "reinsert when a segment was reused."};
const MetricInfo kNvmeWrittenBlockBytes = {
    "terrace_nvme_written_block_bytes_total", kCounter, kSum,
    "Bytes of the blocks that were written to NVMe, by reason: put, durable, demoted when it was "
    "their turn to leave DRAM and they were worth it, reinserted when a segment was reused."};
const MetricInfo kNvmeRefused = {
    "terrace_nvme_refused_blocks_total", kCounter, kSum,
    "Blocks that left DRAM without a record, as they were not worth the write."};
const MetricInfo kNvmeRefusedBytes = {"terrace_nvme_refused_bytes_total", kCounter, kSum,
                                      "Bytes of those blocks."};
const MetricInfo kNvmeWriteShare = {
    "terrace_nvme_write_share", kGauge, kMaximum,
    "Of the bytes put, most to be written to NVMe (nvme.write); 0: everything is."};
const MetricInfo kNvmeWritePrice = {
    "terrace_nvme_write_price", kGauge, kMaximum,
    "Least probability of reuse at which a block is written to NVMe now; 0 while everything is."};
const MetricInfo kGetTokens = {
    "terrace_get_tokens_total", kCounter, kSum,
    "Tokens of the blocks that gets found, of one group and shard of their namespace."};
const MetricInfo kNvmePutBytes = {"terrace_nvme_put_bytes_total", kCounter, kSum,
                                  "Bytes of the blocks that were written to NVMe, those that "
                                  "were written again not counted."};
const MetricInfo kNvmeDeclined = {"terrace_nvme_blocks_declined_total", kCounter, kSum,
                                  "Blocks that were not written to NVMe, or not made durable, by "
                                  "reason."};
const MetricInfo kNvmeLoads = {"terrace_nvme_loads_total", kCounter, kSum,
                               "Records read from NVMe for gets."};
const MetricInfo kNvmeLoadsFailed = {"terrace_nvme_loads_failed_total", kCounter, kSum,
                                     "Times that a block on NVMe could not be read for a get, by "
                                     "reason."};
const MetricInfo kNvmeErrors = {"terrace_nvme_errors_total", kCounter, kSum,
                                "Failed operations of devices, and records that did not verify, "
                                "by kind."};
const MetricInfo kNvmeSegmentsReclaimed = {"terrace_nvme_segments_reclaimed_total", kCounter, kSum,
                                           "Segments of the log that were used again."};
const MetricInfo kNvmeDevicesOnline = {"terrace_nvme_devices_online", kGauge, kSum,
                                       "Devices of the log that are read and written; a device "
                                       "counts once for each reactor."};
const MetricInfo kNvmeDevices = {"terrace_nvme_devices", kGauge, kSum,
                                 "Devices of the log; a device counts once for each reactor."};
const MetricInfo kNvmeRecovered = {"terrace_nvme_blocks_recovered", kGauge, kSum,
                                   "Blocks that the last start found on NVMe."};
const MetricInfo kNvmeQueueBytes = {"terrace_nvme_write_queue_bytes", kGauge, kSum,
                                    "Bytes of blocks that wait to be written."};
const MetricInfo kNvmeBudgetLeft = {"terrace_nvme_write_budget_left_bytes", kGauge, kSum,
                                    "Bytes that might be written when a block was last offered; "
                                    "negative when overdrawn, 0 without a limit."};
const MetricInfo kNvmeIndexHealthy = {"terrace_nvme_index_healthy", kGauge, kMaximum,
                                      "1 while the index store takes entries, 0 while it fails."};
const MetricInfo kNvmeIndexChanges = {"terrace_nvme_index_changes_total", kCounter, kSum,
                                      "Changes written to the index store."};
const MetricInfo kNvmeIndexFailures = {"terrace_nvme_index_failures_total", kCounter, kSum,
                                       "Batches and syncs of the index store that failed."};
const MetricInfo kNvmeState = {"terrace_nvme_state", kGauge, kMaximum,
                               "1 for the state of the NVMe tier: on, off, or disabled (after "
                               "crashes)."};
const MetricInfo kRemovalsNotLogged = {"terrace_removals_not_logged_total", kCounter, kSum,
                                       "Removals and clears that NVMe could not be told: those "
                                       "blocks may come back after a restart."};

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
const MetricInfo kRegionsShared = {"terrace_regions_shared_total", kCounter, kSum,
                                   "Regions of clients that the daemon mapped, to copy by itself."};
const MetricInfo kDeviceRegions = {"terrace_device_regions_total", kCounter, kSum,
                                   "Regions in the memory of clients' GPUs that were mapped."};
const MetricInfo kDeviceBytes = {"terrace_device_bytes_total", kCounter, kSum,
                                 "Bytes that GPUs copied from and to such regions."};
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
const MetricInfo kPolicyInfo = {"terrace_policy_info", kGauge, kMaximum,
                                "Always 1; the label tells what leaves DRAM first."};
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

namespace {
constexpr const MetricInfo* kAll[] = {
    &kMatchRequests,
    &kMatchBlocks,
    &kMatchBlocksHit,
    &kGetRequests,
    &kGetBlocks,
    &kGetBlocksHit,
    &kGetBlocksMissed,
    &kGetBlocksFailed,
    &kGetBytes,
    &kPutRequests,
    &kPutBlocks,
    &kPutBlocksStored,
    &kPutBlocksExisting,
    &kPutBlocksPending,
    &kPutBlocksNoSpace,
    &kPutBlocksFailed,
    &kPutBytes,
    &kEvictedBlocks,
    &kIndexEvictedBlocks,
    &kEvictedBytes,
    &kRemovedBlocks,
    &kClearedBlocks,
    &kPrefetchBlocks,
    &kPrefetchLoads,
    &kTouchedBlocks,
    &kRetainedBlocks,
    &kRetainedBytes,
    &kRetainRefused,
    &kRetainDisplaced,
    &kRetainedEvicted,
    &kKeyMismatches,
    &kMatchLeases,
    &kMatchLeasedBlocks,
    &kMatchLeasedBytes,
    &kMatchLeasesGranted,
    &kMatchLeasesReleased,
    &kMatchLeasesExpired,
    &kMatchLeasesRefused,
    &kMatchLeasesBroken,
    &kReservations,
    &kReservationBytes,
    &kReservationsMade,
    &kReservationsRefused,
    &kReservationsEnded,
    &kHints,
    &kHintsIgnored,
    &kHandoffs,
    &kHandoffBytes,
    &kHandoffsOpened,
    &kHandoffsRefused,
    &kHandoffsEnded,
    &kFragmentsReceived,
    &kFragments,
    &kFragmentsFailed,
    &kMisses,
    &kMissAgeBucket,
    &kMissAgeSum,
    &kMissAgeCount,
    &kAdviceSeconds,
    &kAdviceReferences,
    &kAdviceReferenceBytes,
    &kAdviceHits,
    &kAdviceSampled,
    &kAdvicePointHits,
    &kAdvicePointDramHits,
    &kAdvicePointVariance,
    &kAdvicePointUnfilled,
    &kAdviceSampling,
    &kAdviceMemory,
    &kAdviceCpu,
    &kLoadPredictions,
    &kLoadPredictionError,
    &kLoadPredictedSeconds,
    &kLoadActualSeconds,
    &kLoadConnectionRate,
    &kLoadNvmeRate,
    &kLoadNvmeLatency,
    &kTierBlocks,
    &kTierCapacity,
    &kTierUsed,
    &kTierPayload,
    &kTierHeaders,
    &kTierHugePages,
    &kTierFrames,
    &kTierExtents,
    &kTierExtentsFree,
    &kTierExtentsShared,
    &kTierExtentsReplaced,
    &kTierExtentsKept,
    &kIndexBytes,
    &kIndexCapacity,
    &kEventsPublished,
    &kEventsKept,
    &kEventLogBytes,
    &kEventReaders,
    &kEventReads,
    &kEventSnapshots,
    &kEventGaps,
    &kEventsLost,
    &kEventRestarts,
    &kNvmeWrittenBytes,
    &kNvmeReadBytes,
    &kNvmeBlocksWritten,
    &kNvmeWrittenBlockBytes,
    &kNvmeRefused,
    &kNvmeRefusedBytes,
    &kNvmeWriteShare,
    &kNvmeWritePrice,
    &kGetTokens,
    &kNvmePutBytes,
    &kNvmeDeclined,
    &kNvmeLoads,
    &kNvmeLoadsFailed,
    &kNvmeErrors,
    &kNvmeSegmentsReclaimed,
    &kNvmeDevicesOnline,
    &kNvmeDevices,
    &kNvmeRecovered,
    &kNvmeQueueBytes,
    &kNvmeBudgetLeft,
    &kNvmeIndexHealthy,
    &kNvmeIndexChanges,
    &kNvmeIndexFailures,
    &kNvmeState,
    &kRemovalsNotLogged,
    &kHbmGpus,
    &kHbmGpusOffline,
    &kHbmCopiedIn,
    &kHbmLoads,
    &kHbmDropped,
    &kHbmFailed,
    &kHbmPinsFailed,
    &kHbmAwayBytes,
    &kHbmRenewalsFailed,
    &kHbmWire,
    &kHbmWireBytes,
    &kClients,
    &kClientsByLink,
    &kLeases,
    &kLeaseBytes,
    &kLeasesGranted,
    &kLeasesReleased,
    &kLeasesExpired,
    &kLeasesRefused,
    &kHbmLeases,
    &kHbmLeaseBytes,
    &kHbmLeasesGranted,
    &kHbmLeasesReleased,
    &kHbmLeasesExpired,
    &kHbmLeasesRefused,
    &kClientConnects,
    &kClientDisconnects,
    &kClientsRefused,
    &kClientsTimedOut,
    &kMalformedMessages,
    &kLinkPushedBytes,
    &kLinkPulledBytes,
    &kRegionsShared,
    &kDeviceRegions,
    &kDeviceBytes,
    &kQuarantinedHolds,
    &kReactors,
    &kReactorTurns,
    &kReactorSleeps,
    &kReactorPosts,
    &kReactorStalls,
    &kReactorStallMax,
    &kBuildInfo,
    &kPolicyInfo,
    &kUptime,
    &kResidentMemory,
    &kCpuSeconds,
    &kOpenFiles,
    &kLogLines,
    &kLogLinesSuppressed,
    &kLogLinesDropped,
};
}  // namespace

std::span<const MetricInfo* const> AllMetrics() { return kAll; }

}  // namespace terrace
