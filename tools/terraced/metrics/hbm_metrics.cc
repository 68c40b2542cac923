// AppendHbmMetrics and AppendHbmWireMetrics of metrics.h.
#include "base/tier_kind.h"
#include "tools/terraced/metrics/metric_appender.h"
#include "tools/terraced/metrics/metrics.h"

namespace terrace {

void AppendHbmMetrics(const CacheCounters& cache, const MetricLabels& labels,
                      std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  Appender hbm = all.With(kTierLabel, TierName(TierKind::kHbm));
  hbm.Add(kTierBlocks, cache.blocks_hbm);
  hbm.Add(kTierCapacity, cache.hbm_capacity_bytes);
  hbm.Add(kTierUsed, cache.hbm_used_bytes);
  hbm.Add(kTierExtentsShared, cache.hbm_extents_shared);
  hbm.Add(kTierExtentsReplaced, cache.hbm_extents_replaced);
  hbm.Add(kTierExtentsKept, cache.hbm_extents_not_let_go);
  all.Add(kHbmAwayBytes, cache.hbm_away_bytes);
  all.Add(kHbmRenewalsFailed, cache.hbm_renewal_failures);
  hbm.Add(kGetBlocksHit, cache.get_hits_hbm);
  all.Add(kHbmGpus, cache.hbm_gpus);
  all.Add(kHbmGpusOffline, cache.hbm_gpus_offline);
  all.Add(kHbmCopiedIn, cache.hbm_promotions);
  all.Add(kHbmLoads, cache.hbm_loads);
  all.Add(kHbmDropped, cache.hbm_evictions);
  all.Add(kHbmFailed, cache.hbm_failures);
  all.Add(kHbmPinsFailed, cache.hbm_pin_failures);
}

void AppendHbmWireMetrics(const GpuWire& wire, const ServerCounters& server,
                          const MetricLabels& labels, std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  all.With("path", GpuWirePath(wire))
      .With("reason", GpuWireReasonName(wire.reason))
      .Add(kHbmWire, std::uint64_t{1});
  all.Add(kHbmWireBytes, server.bytes_straight);
}

}  // namespace terrace
