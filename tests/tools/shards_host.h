// ShardsHost: a daemon of some reactors in this process, for tests of the real client against it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "tools/terraced/shard.h"

namespace terrace::testing {

class ShardsHost {
 public:
  /// What a daemon has beside memory; outlives the host.
  struct Beside {
    NvmeStore* nvme = nullptr;
    std::function<Result<std::unique_ptr<DeviceMemory>>(const std::string&)> open_gpu =
        OpenConfiguredGpu;
  };
  /// `config`: what else is to be as it says; `port`: of the first reactor, 0: the system picks. It
  /// picks the others' always: those behind a port that it gave may be a connection's.
  explicit ShardsHost(std::uint32_t shards, std::uint64_t dram_bytes = 128 << 20,
                      const DaemonConfig& config = {}, std::uint16_t port = 0)
      : ShardsHost(shards, dram_bytes, config, port, Beside()) {}
  ShardsHost(std::uint32_t shards, std::uint64_t dram_bytes, const DaemonConfig& config,
             std::uint16_t port, const Beside& beside)
      : config_(config) {
    config_.server.reactors = shards;
    config_.dram.capacity_bytes = dram_bytes;  // of all of them
    std::vector<Server::Shard> places;
    for (std::uint32_t i = 0; i < shards; ++i) {
      config_.server.listen = {"127.0.0.1", i == 0 ? port : std::uint16_t{0}};
      auto shard = Shard::Create({.config = config_,
                                  .registry = registry_,
                                  .clock = clock_,
                                  .random = random_,
                                  .nvme = beside.nvme,
                                  .open_gpu = beside.open_gpu},
                                 {.index = i, .count = shards});
      EXPECT_TRUE(shard.ok()) << shard.status().ToString();
      places.push_back({.host = "127.0.0.1", .port = shard.value()->server().port()});
      shards_.push_back(std::move(shard.value()));
    }
    const std::uint64_t incarnation = random_.Next();
    for (auto& shard : shards_) shard->SetShards(places, incarnation);
    for (auto& shard : shards_) shard->Start();
  }
  ~ShardsHost() {
    for (auto& shard : shards_) shard->BeginStop();
    for (auto& shard : shards_) {
      while (!shard->Stopped()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      shard->Join();
      EXPECT_TRUE(shard->ShutDown().ok()) << shard->ShutDown().ToString();
    }
  }
  ShardsHost(const ShardsHost&) = delete;
  ShardsHost& operator=(const ShardsHost&) = delete;

  [[nodiscard]] std::uint16_t port() const { return shards_.front()->server().port(); }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port()); }
  [[nodiscard]] Shard& shard(std::size_t index) const { return *shards_[index]; }
  [[nodiscard]] std::uint32_t NamespaceId(const std::string& tenant, const std::string& name) {
    return registry_.FindByName(tenant, name)->id;
  }
  /// A number of each cache's counters.
  template <typename Number>
  [[nodiscard]] std::vector<std::uint64_t> Each(Number number) const {
    std::vector<std::uint64_t> values;
    for (const auto& shard : shards_) values.push_back(number(shard->cache().Counters()));
    return values;
  }
  /// The sum of a counter of the caches.
  [[nodiscard]] std::uint64_t Sum(std::atomic<std::uint64_t> CacheCounters::* counter) const {
    return SumOf([counter](const CacheCounters& counters) { return (counters.*counter).load(); });
  }
  template <typename Number>
  [[nodiscard]] std::uint64_t SumOf(Number number) const {
    const std::vector<std::uint64_t> each = Each(number);
    return std::accumulate(each.begin(), each.end(), std::uint64_t{0});
  }
  /// False when it did not become true within 20 s.
  template <typename Condition>
  [[nodiscard]] bool Await(Condition condition) const {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

 private:
  DaemonConfig config_;
  NamespaceRegistry registry_{1 << 20};
  SteadyClock clock_;
  SystemRandom random_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace terrace::testing
