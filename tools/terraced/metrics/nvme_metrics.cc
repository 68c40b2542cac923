// AppendNvmeMetrics and NvmeMetricSource of metrics.h.
#include "base/tier_kind.h"
#include "tools/terraced/metrics/metric_appender.h"
#include "tools/terraced/metrics/metrics.h"

namespace terrace {

void AppendNvmeMetrics(const CacheCounters& cache, const nvme::NvmeTier& tier,
                       const MetricLabels& labels, std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  const nvme::SegmentLogCounters& log = tier.log().Counters();
  const nvme::NvmeTierCounters& counters = tier.Counters();
  Appender on_nvme = all.With(kTierLabel, TierName(TierKind::kNvme));
  on_nvme.Add(kTierCapacity, tier.CapacityBytes());
  on_nvme.Add(kTierUsed, cache.bytes_nvme);
  all.Add(kNvmeWrittenBytes, log.bytes_written);
  all.Add(kNvmeReadBytes, log.bytes_read);
  all.With("reason", "put").Add(kNvmeBlocksWritten, counters.blocks_put);
  all.With("reason", "reinsert").Add(kNvmeBlocksWritten, counters.blocks_reinserted);
  all.Add(kNvmePutBytes, counters.bytes_put);
  for (std::size_t reason = 0; reason < kWriteReasons; ++reason) {
    all.With("reason", WriteReasonName(static_cast<WriteReason>(reason)))
        .Add(kNvmeWrittenBlockBytes, cache.nvme_written_bytes[reason]);
  }
  all.Add(kNvmeRefused, cache.nvme_refused_blocks);
  all.Add(kNvmeRefusedBytes, cache.nvme_refused_bytes);
  const auto parts = [](const std::atomic<std::uint64_t>& millionths) {
    return static_cast<double>(millionths.load(std::memory_order_relaxed)) * 1e-6;
  };
  all.Add(kNvmeWriteShare, parts(cache.nvme_share_ppm));
  all.Add(kNvmeWritePrice, parts(cache.nvme_price_ppm));
  for (int reason = 1; reason < kNotDurableCount; ++reason) {
    all.With("reason", NotDurableName(static_cast<NotDurable>(reason)))
        .Add(kNvmeDeclined, counters.declined[static_cast<std::size_t>(reason)]);
  }
  all.Add(kNvmeLoads, cache.loads);
  all.With("reason", "reused").Add(kNvmeLoadsFailed, cache.load_expired);
  all.With("reason", "corrupt").Add(kNvmeLoadsFailed, cache.load_corrupt);
  all.With("reason", "mismatched").Add(kNvmeLoadsFailed, cache.load_mismatched);
  all.With("reason", "device").Add(kNvmeLoadsFailed, cache.load_io_errors);
  all.With("reason", "no_frame").Add(kNvmeLoadsFailed, cache.load_no_frame);
  all.With("kind", "read").Add(kNvmeErrors, log.read_errors);
  all.With("kind", "write").Add(kNvmeErrors, log.write_errors);
  all.With("kind", "sync").Add(kNvmeErrors, log.sync_errors);
  all.With("kind", "stuck").Add(kNvmeErrors, log.stuck);
  all.With("kind", "bad_header").Add(kNvmeErrors, log.bad_headers);
  all.With("kind", "bad_payload").Add(kNvmeErrors, log.bad_payloads);
  all.Add(kNvmeSegmentsReclaimed, log.segments_reclaimed);
  all.Add(kNvmeDevicesOnline, log.lanes_online);
  all.Add(kNvmeDevices, static_cast<std::uint64_t>(tier.log().lanes()));
  all.Add(kNvmeRecovered, counters.recovered);
  all.Add(kNvmeQueueBytes, cache.write_queue_bytes);
  all.Add(kNvmeBudgetLeft,
          static_cast<double>(counters.budget_left.load(std::memory_order_relaxed)));
  all.Add(kRemovalsNotLogged, cache.removals_not_logged);
}

void NvmeMetricSource::Collect(std::vector<MetricSample>& samples) const {
  Appender all({}, samples);
  all.With("state", state_).Add(kNvmeState, std::uint64_t{1});
  if (index_ == nullptr) return;
  all.Add(kNvmeIndexHealthy, static_cast<std::uint64_t>(index_->Healthy() ? 1 : 0));
  all.Add(kNvmeIndexChanges, index_->Counters().changes);
  all.Add(kNvmeIndexFailures, index_->Counters().failures);
}

}  // namespace terrace
