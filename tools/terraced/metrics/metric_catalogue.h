// Every metric that terraced has. A test compares it with docs/operations.md in both directions.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace terrace {

enum class MetricType : std::uint8_t { kCounter, kGauge };
/// How samples of several reactors become one.
enum class MetricJoin : std::uint8_t { kSum, kMaximum };

struct MetricInfo {
  std::string_view name;
  MetricType type;
  MetricJoin join;
  std::string_view help;
};

// Cache: what requests asked for and got.
extern const MetricInfo kMatchRequests, kMatchBlocks, kMatchBlocksHit;
extern const MetricInfo kGetRequests, kGetBlocks, kGetBlocksHit, kGetBlocksMissed;
extern const MetricInfo kGetBlocksFailed, kGetBytes;
extern const MetricInfo kPutRequests, kPutBlocks, kPutBlocksStored, kPutBlocksExisting;
extern const MetricInfo kPutBlocksPending, kPutBlocksNoSpace, kPutBlocksFailed, kPutBytes;
extern const MetricInfo kEvictedBlocks, kEvictedBytes, kIndexEvictedBlocks, kRemovedBlocks;
extern const MetricInfo kClearedBlocks;
extern const MetricInfo kPrefetchBlocks, kPrefetchLoads, kTouchedBlocks;
extern const MetricInfo kRetainedBlocks, kRetainedBytes, kRetainRefused, kRetainDisplaced;
extern const MetricInfo kRetainedEvicted;
extern const MetricInfo kKeyMismatches;
extern const MetricInfo kMatchLeases, kMatchLeasedBlocks, kMatchLeasedBytes, kMatchLeasesGranted;
extern const MetricInfo kMatchLeasesReleased, kMatchLeasesExpired, kMatchLeasesRefused;
extern const MetricInfo kMatchLeasesBroken;
extern const MetricInfo kReservations, kReservationBytes, kReservationsMade, kReservationsRefused;
extern const MetricInfo kReservationsEnded, kFragments, kFragmentsFailed;
extern const MetricInfo kHints, kHintsIgnored;
extern const MetricInfo kHandoffs, kHandoffBytes, kHandoffsOpened, kHandoffsRefused;
extern const MetricInfo kHandoffsEnded, kFragmentsReceived;
// Why blocks were missed, and what other sizes would bring.
extern const MetricInfo kMisses, kMissAgeBucket, kMissAgeSum, kMissAgeCount;
extern const MetricInfo kAdviceSeconds, kAdviceReferences, kAdviceReferenceBytes, kAdviceHits;
extern const MetricInfo kAdviceSampled, kAdvicePointHits, kAdvicePointDramHits;
extern const MetricInfo kAdvicePointVariance, kAdvicePointUnfilled;
extern const MetricInfo kAdviceSampling, kAdviceMemory, kAdviceCpu;
// Predicted times of gets, and what they took.
extern const MetricInfo kLoadPredictions, kLoadPredictionError, kLoadPredictedSeconds;
extern const MetricInfo kLoadActualSeconds, kLoadConnectionRate, kLoadNvmeRate, kLoadNvmeLatency;
// Tiers and index: what is stored where.
extern const MetricInfo kTierBlocks, kTierCapacity, kTierUsed, kTierPayload, kTierHeaders;
extern const MetricInfo kTierHugePages, kTierFrames, kTierExtents, kTierExtentsFree;
extern const MetricInfo kTierExtentsShared, kTierExtentsReplaced, kTierExtentsKept;
extern const MetricInfo kLeases, kLeaseBytes, kLeasesGranted, kLeasesReleased, kLeasesExpired;
extern const MetricInfo kLeasesRefused;
extern const MetricInfo kIndexBytes, kIndexCapacity;
// Events: what is told, and who reads it.
extern const MetricInfo kEventsPublished, kEventsKept, kEventLogBytes, kEventReaders, kEventReads;
extern const MetricInfo kEventSnapshots, kEventGaps, kEventsLost, kEventRestarts;
// NVMe: what the log and its index do.
extern const MetricInfo kNvmeWrittenBytes, kNvmeReadBytes, kNvmeBlocksWritten, kNvmePutBytes;
extern const MetricInfo kNvmeDeclined, kNvmeLoads, kNvmeLoadsFailed, kNvmeErrors;
extern const MetricInfo kNvmeSegmentsReclaimed, kNvmeDevicesOnline, kNvmeDevices, kNvmeRecovered;
extern const MetricInfo kNvmeQueueBytes, kNvmeBudgetLeft, kNvmeIndexHealthy, kNvmeIndexChanges;
extern const MetricInfo kNvmeIndexFailures, kNvmeState, kRemovalsNotLogged;
extern const MetricInfo kNvmeWrittenBlockBytes, kNvmeRefused, kNvmeRefusedBytes, kNvmeWriteShare;
extern const MetricInfo kNvmeWritePrice, kGetTokens;
// HBM: copies in the memory of GPUs.
extern const MetricInfo kHbmGpus, kHbmGpusOffline, kHbmCopiedIn, kHbmLoads, kHbmDropped, kHbmFailed;
extern const MetricInfo kHbmPinsFailed, kHbmWire, kHbmWireBytes;
extern const MetricInfo kHbmAwayBytes, kHbmRenewalsFailed;
extern const MetricInfo kHbmLeases, kHbmLeaseBytes, kHbmLeasesGranted, kHbmLeasesReleased;
extern const MetricInfo kHbmLeasesExpired, kHbmLeasesRefused;
// Transport: clients and links.
extern const MetricInfo kClients, kClientsByLink, kClientConnects, kClientDisconnects;
extern const MetricInfo kClientsRefused, kClientsTimedOut, kMalformedMessages;
extern const MetricInfo kLinkPushedBytes, kLinkPulledBytes, kRegionsShared, kDeviceRegions,
    kDeviceBytes, kQuarantinedHolds;
// Reactors.
extern const MetricInfo kReactors, kReactorTurns, kReactorSleeps, kReactorPosts;
extern const MetricInfo kReactorStalls, kReactorStallMax;
// Process and log.
extern const MetricInfo kBuildInfo, kPolicyInfo, kUptime, kResidentMemory, kCpuSeconds, kOpenFiles;
extern const MetricInfo kLogLines, kLogLinesSuppressed, kLogLinesDropped;

/// All of the above, in this order.
std::span<const MetricInfo* const> AllMetrics();

}  // namespace terrace
