// Daemon: the shards of one terraced process, their metrics and their end.
//
// Thread: the main thread's.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/result.h"
#include "cache/namespace_registry.h"
#include "tools/terraced/config/config.h"
#include "tools/terraced/gpus.h"
#include "tools/terraced/metrics/metrics.h"
#include "tools/terraced/metrics/status_endpoint.h"
#include "tools/terraced/nvme_store.h"
#include "tools/terraced/nvme_watch.h"
#include "tools/terraced/shard.h"
#include "tools/terraced/start_guard.h"

namespace terrace {

class Daemon {
 public:
  /// Takes memory and ports, makes everything, starts nothing. The error names what was refused.
  static Result<std::unique_ptr<Daemon>> Create(const DaemonConfig& config);
  ~Daemon();

  /// Starts the reactors and the metrics endpoint and writes the port file.
  Status Start();
  /// Housekeeping: logs what the counters show (stalls), measures huge pages. Every few seconds.
  void Tick();
  /// Ends everything; false when a reactor did not end within `limit`, or a GPU does not answer
  /// (then only _exit helps).
  bool Stop(Nanos limit);

 private:
  explicit Daemon(const DaemonConfig& config);
  Status HoldGpus();
  Status OpenNvme();
  Status MakeShards();
  Status WritePortFile() const;
  Status StartEndpoint();
  std::vector<StatEntry> Stat() const;
  std::string AdviceText() const;
  /// Ok while every reactor takes turns.
  Status Health() const;

  const DaemonConfig config_;
  SteadyClock clock_;
  SystemRandom random_;
  NamespaceRegistry registry_;
  Nanos started_ = 0;
  GpuHolds gpu_holds_;
  // In this order: the sources read the shards, the endpoint's threads read the sources.
  std::unique_ptr<StartGuard> guard_;  // null without an NVMe tier
  bool start_noted_ = false;
  std::unique_ptr<NvmeStore> nvme_;  // null without one, or after crashes
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::unique_ptr<MetricSource>> sources_;
  MetricsRegistry metrics_;
  NvmeWatch nvme_watch_;
  std::vector<std::uint64_t> stalls_logged_;  // per shard
  std::atomic<bool> stopping_{false};
  std::unique_ptr<StatusEndpoint> endpoint_;
};

}  // namespace terrace
