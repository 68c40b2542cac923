// Metrics: the daemon's sources of numbers, gathered for Prometheus and for Stat.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/reactor.h"
#include "cache/cache.h"
#include "tiers/dram/frame_arena.h"
#include "tiers/nvme/index_thread.h"
#include "tools/terraced/metrics/metric_sample.h"
#include "tools/terraced/service/hint_counters.h"
#include "transport/server.h"

namespace terrace {

/// Thread-safe. A source added must outlive the registry or be removed.
class MetricsRegistry {
 public:
  void Add(const MetricSource& source);
  /// Waits until no Collect uses the source any more.
  void Remove(const MetricSource& source);
  /// The samples of every source, in the order in which they were added.
  [[nodiscard]] std::vector<MetricSample> Collect() const;
  /// Collect as Prometheus text, reactors told apart.
  [[nodiscard]] std::string Prometheus() const { return PrometheusText(Collect()); }
  /// Collect summed over reactors, for Stat.
  [[nodiscard]] std::vector<MetricSample> Summed() const { return SumOverReactors(Collect()); }

 private:
  mutable std::mutex mutex_;
  std::vector<const MetricSource*> sources_;  // guarded by mutex_
};

// Each appends one object's counters, with `labels` first. Any thread.
void AppendCacheMetrics(const CacheCounters& counters, const MetricLabels& labels,
                        std::vector<MetricSample>& samples);
void AppendLoadMetrics(const LoadCounters& counters, bool with_nvme, const MetricLabels& labels,
                       std::vector<MetricSample>& samples);
void AppendNvmeMetrics(const CacheCounters& cache, const nvme::NvmeTier& tier,
                       const MetricLabels& labels, std::vector<MetricSample>& samples);
/// For a cache with an HBM tier.
void AppendHbmMetrics(const CacheCounters& cache, const MetricLabels& labels,
                      std::vector<MetricSample>& samples);
/// How blocks in GPU memory reach clients.
void AppendHbmWireMetrics(const GpuWire& wire, const ServerCounters& server,
                          const MetricLabels& labels, std::vector<MetricSample>& samples);
void AppendHintMetrics(const HintCounters& counters, const MetricLabels& labels,
                       std::vector<MetricSample>& samples);
void AppendMissMetrics(const CacheCounters& counters, const MetricLabels& labels,
                       std::vector<MetricSample>& samples);
/// `advice_bytes`: Cache::AdviceBytes().
void AppendAdviceMetrics(const MissRatioCurve& curve, std::uint64_t advice_bytes,
                         const MetricLabels& labels, std::vector<MetricSample>& samples);
void AppendEventMetrics(const EventLog& log, const MetricLabels& labels,
                        std::vector<MetricSample>& samples);
void AppendArenaMetrics(const ArenaStats& stats, const MetricLabels& labels,
                        std::vector<MetricSample>& samples);
void AppendServerMetrics(const ServerCounters& counters, const MetricLabels& labels,
                         std::vector<MetricSample>& samples);
void AppendReactorMetrics(const ReactorCounters& counters, std::string_view sleeps_in,
                          const MetricLabels& labels, std::vector<MetricSample>& samples);

/// What one reactor owns. The objects outlive the source; a null one has no samples.
struct ReactorMetricParts {
  std::uint32_t reactor = 0;  ///< the label: reactor="0"
  const ReactorCounters* reactor_counters = nullptr;
  std::string sleeps_in;  ///< Reactor::sleeps_in()
  const CacheCounters* cache = nullptr;
  std::string policy;                       ///< CacheOptions::policy
  const EventLog* events = nullptr;         ///< Cache::events()
  const MissRatioCurve* curve = nullptr;    ///< Cache::curve()
  std::uint64_t advice_bytes = 0;           ///< Cache::AdviceBytes(), fixed once made
  const nvme::NvmeTier* nvme = nullptr;     ///< its counters and sizes; null without the tier
  std::function<ArenaStats()> arena_stats;  ///< callable from any thread, e.g. FrameArena::Stats
  std::uint64_t index_bytes = 0;            ///< Cache::IndexBytes(), fixed once made
  std::uint64_t index_capacity = 0;         ///< Cache::IndexCapacity()
  const ServerCounters* server = nullptr;
  const HintCounters* hints = nullptr;  ///< RequestService::Hints()
  const GpuWire* gpu_wire = nullptr;    ///< of the server's NIC; null without GPUs
};

class ReactorMetricSource final : public MetricSource {
 public:
  explicit ReactorMetricSource(ReactorMetricParts parts) : parts_(std::move(parts)) {}
  void Collect(std::vector<MetricSample>& samples) const override;

 private:
  const ReactorMetricParts parts_;
};

/// State of the NVMe tier, and of the index store that the reactors share.
class NvmeMetricSource final : public MetricSource {
 public:
  /// `state`: on, off or disabled. `index` outlives the source; null without the tier.
  NvmeMetricSource(std::string state, const nvme::IndexThread* index)
      : state_(std::move(state)), index_(index) {}
  void Collect(std::vector<MetricSample>& samples) const override;

 private:
  const std::string state_;
  const nvme::IndexThread* const index_;
};

/// Version, uptime, memory, CPU time, open files and log lines of this process. Reads /proc: about
/// 50 us, more with thousands of open files.
class ProcessMetricSource final : public MetricSource {
 public:
  /// `version`: e.g. "0.1.0". Uptime counts from here; `clock` outlives the source.
  ProcessMetricSource(std::string version, const Clock& clock)
      : version_(std::move(version)), clock_(clock), started_(clock.Now()) {}
  void Collect(std::vector<MetricSample>& samples) const override;

 private:
  const std::string version_;
  const Clock& clock_;
  const Nanos started_;
};

}  // namespace terrace
