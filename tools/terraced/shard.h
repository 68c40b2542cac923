// Shard: one reactor of the daemon with everything it owns: its slice of the cache, its listener,
// its clients.
//
// Made, started and stopped by the main thread; everything else runs on the reactor's thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "base/random.h"
#include "base/reactor.h"
#include "base/result.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tiers/hbm/device_memory.h"
#include "tiers/hbm/hbm_tier.h"
#include "tools/terraced/config/config.h"
#include "tools/terraced/gpu_regions.h"
#include "tools/terraced/gpus.h"
#include "tools/terraced/nvme_store.h"
#include "tools/terraced/service/request_service.h"
#include "transport/server.h"

namespace terrace {

class Shard {
 public:
  /// What the shards of a daemon share; all of it outlives them.
  struct Shared {
    const DaemonConfig& config;
    NamespaceRegistry& registry;
    Clock& clock;
    Random& random;
    NvmeStore* nvme = nullptr;  ///< null: no NVMe tier
    /// Opens a GPU of hbm.gpus. Tests put doubles in its place.
    std::function<Result<std::unique_ptr<DeviceMemory>>(const std::string&)> open_gpu =
        OpenConfiguredGpu;
  };

  /// Takes the memory and the port, and finds what an earlier run left on NVMe (blocks). The
  /// reactor does not run yet.
  static Result<std::unique_ptr<Shard>> Create(const Shared& shared, ShardPlace place);
  /// REQUIRES: never started, or stopped.
  ~Shard();

  /// Tells clients where all shards are. Before Start.
  void SetShards(const std::vector<Server::Shard>& shards, std::uint64_t daemon_incarnation);
  void Start();
  /// Closes the listener and the clients, waits for the flows, ends the thread. `stopped` is set
  /// when the thread is about to end; then Join returns at once.
  void BeginStop();
  [[nodiscard]] bool Stopped() const noexcept { return stopped_.load(); }
  /// Once it has: not ok when a GPU or a NIC may still touch memory, which only the end of the
  /// process gives back.
  [[nodiscard]] const Status& ShutDown() const noexcept { return shut_down_; }
  void Join();

  /// For metrics; counters of these may be read from any thread.
  [[nodiscard]] Cache& cache() noexcept { return *cache_; }
  [[nodiscard]] Server& server() noexcept { return *server_; }
  [[nodiscard]] RequestService& service() noexcept { return *service_; }
  [[nodiscard]] Reactor& reactor() noexcept { return *reactor_; }
  /// How blocks in its GPUs' memory reach clients; null without GPUs.
  [[nodiscard]] const GpuWire* gpu_wire() const noexcept {
    return hbm_.empty() ? nullptr : &gpu_wire_;
  }
  [[nodiscard]] ShardPlace place() const noexcept { return place_; }
  /// How Stat requests of clients are answered; set before Start.
  void OnStat(std::function<std::vector<StatEntry>()> stat) { stat_ = std::move(stat); }
  /// The same, and whose connections this reactor has.
  [[nodiscard]] std::vector<StatEntry> Stat(const std::vector<ClientsSeen>& clients) const;

 private:
  Shard(ShardPlace place, Random& random) : place_(place), random_(random) {}
  Task<void> Stop();
  /// Opens the GPUs of the configuration and gives the cache its part of their memory.
  Status AttachHbm(const Shared& shared);
  /// Has the server's NIC read there, if it can.
  void AttachGpusToNic(const DaemonConfig& config);
  /// Whoever is lent its memory is told when he must let go of it.
  void LendHbm();

  const ShardPlace place_;
  Random& random_;
  std::function<std::vector<StatEntry>()> stat_;
  std::atomic<bool> stopped_{false};
  Status shut_down_;  ///< the reactor's until stopped_
  // In this order: what is below uses what is above, and goes first.
  std::unique_ptr<Reactor> reactor_;
  NvmeStore::Slice nvme_;
  std::unique_ptr<Cache> cache_;
  std::vector<std::unique_ptr<DeviceMemory>> gpus_;
  std::vector<std::unique_ptr<HbmTier>> hbm_;  ///< have the cache's arena pinned
  std::unique_ptr<GpuRegions> gpu_regions_;    ///< null without GPUs
  GpuWire gpu_wire_;                           ///< const once made
  std::unique_ptr<RequestService> service_;
  std::unique_ptr<Server> server_;
  TaskScope stopping_;
};

}  // namespace terrace
