// A daemon with doubles of GPUs in this process, and an engine whose memory is such a double's: for
// tests of memory of GPUs that clients register.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"
#include "client/regions/device_memory.h"
#include "client/terrace.hpp"
#include "tests/tools/shards_host.h"
#include "tiers/hbm/host_device_memory.h"
#include "tools/terraced/nvme_store.h"

namespace terrace::testing {

inline constexpr std::uint64_t kDeviceBlockBytes = 1 << 20;

/// Reactors with one double each, of the uuid "DOUBLE-0", which is `hbm.gpus` "0" to them.
class GpuHost {
 public:
  struct Options {
    std::uint32_t reactors = 2;
    std::uint16_t port = 0;
    bool hbm = true;
    Nanos latency = 10 * kMicrosecond;  ///< of the double
    std::uint64_t bytes_per_microsecond = 50'000;
    Nanos map_time = 0;
    std::string direct = "auto";              ///< hbm.direct
    bool nvme = true;                         ///< with hbm
    std::vector<std::string> lend_tenants{};  ///< hbm.lend_tenants
    std::uint32_t lend_percent = 50;          ///< hbm.lend_percent
    std::uint32_t dram_lend_percent = 0;
    std::uint64_t pool_bytes = 32ULL << 20;  ///< of a reactor on the GPU
    std::uint32_t heartbeat_ms = 0;          ///< 0: as a daemon has it
  };
  explicit GpuHost(const Options& options) : reactors_(options.reactors), folder_(MakeFolder()) {
    const std::uint64_t dram_bytes = reactors_ * (64ULL << 20);
    config_.server.reactors = reactors_;
    if (options.heartbeat_ms != 0) {
      config_.server.heartbeat_ms = options.heartbeat_ms;
      config_.server.heartbeat_idle_ms = options.heartbeat_ms;
      config_.server.client_timeout_ms = 4 * options.heartbeat_ms;
    }
    config_.dram.capacity_bytes = dram_bytes;
    config_.dram.lend_percent = options.dram_lend_percent;
    if (options.hbm) {
      config_.hbm.gpus = {"0"};
      config_.hbm.direct = options.direct;
      config_.hbm.gpu_capacity_bytes = reactors_ * options.pool_bytes;
      config_.hbm.lend_tenants = options.lend_tenants;
      config_.hbm.lend_percent = options.lend_percent;
    }
    if (options.hbm && options.nvme) {
      config_.nvme.folder = folder_;
      config_.nvme.capacity = {.is_percent = false, .percent = 0, .bytes = 512ULL << 20};
      auto store = NvmeStore::Open(config_);
      EXPECT_TRUE(store.ok()) << store.status().ToString();
      store_ = std::move(*store);
    }
    const auto open_gpu =
        [this, options](const std::string& /*number*/) -> Result<std::unique_ptr<DeviceMemory>> {
      auto device = std::make_unique<HostDeviceMemory>(
          HostDeviceOptions{.latency = options.latency,
                            .bytes_per_microsecond = options.bytes_per_microsecond,
                            .map_time = options.map_time});
      gpus_.push_back(device.get());
      return std::unique_ptr<DeviceMemory>(std::move(device));
    };
    host_ = std::make_unique<ShardsHost>(
        reactors_, dram_bytes, config_, options.port,
        ShardsHost::Beside{.nvme = store_.get(), .open_gpu = open_gpu});
  }
  ~GpuHost() {
    host_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  GpuHost(const GpuHost&) = delete;
  GpuHost& operator=(const GpuHost&) = delete;

  [[nodiscard]] std::uint16_t port() const { return host_->port(); }
  [[nodiscard]] Shard& shard(std::uint32_t index) const { return host_->shard(index); }
  /// Runs it with each double, on the thread of its reactor, and waits.
  void OnGpus(const std::function<void(HostDeviceMemory&)>& change) const {
    for (std::uint32_t i = 0; i < reactors_; ++i) {
      std::promise<void> done;
      host_->shard(i).reactor().Post([&] {
        change(*gpus_[i]);
        done.set_value();
      });
      done.get_future().wait();
    }
  }
  [[nodiscard]] const std::vector<HostDeviceMemory*>& gpus() const { return gpus_; }
  /// Of what is lent of GPUs, over all reactors.
  [[nodiscard]] std::uint64_t Lent(std::atomic<std::uint64_t> LeaseCounters::* counter) const {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < reactors_; ++i) {
      sum += (host_->shard(i).server().Counters().device_leases.*counter).load();
    }
    return sum;
  }
  /// What the doubles were given to do so far.
  [[nodiscard]] std::uint64_t Submitted() const {
    std::uint64_t submitted = 0;
    for (const HostDeviceMemory* gpu : gpus_) submitted += gpu->submitted();
    return submitted;
  }
  [[nodiscard]] std::size_t Mapped() const {
    std::size_t mapped = 0;
    for (const HostDeviceMemory* gpu : gpus_) mapped += gpu->mapped();
    return mapped;
  }
  [[nodiscard]] std::uint64_t Served(std::atomic<std::uint64_t> ServerCounters::* counter) const {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < reactors_; ++i) {
      sum += (host_->shard(i).server().Counters().*counter).load();
    }
    return sum;
  }
  [[nodiscard]] std::uint64_t Cached(std::atomic<std::uint64_t> CacheCounters::* counter) const {
    return host_->Sum(counter);
  }
  /// False when it did not become true within 20 s.
  template <typename Condition>
  [[nodiscard]] bool Await(Condition condition) const {
    return host_->Await(condition);
  }

 private:
  static std::string MakeFolder() {
    std::string folder = ::testing::TempDir() + "/gpu_host_XXXXXX";
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    return folder;
  }

  const std::uint32_t reactors_;
  const std::string folder_;
  DaemonConfig config_;
  std::vector<HostDeviceMemory*> gpus_;
  std::unique_ptr<NvmeStore> store_;
  std::unique_ptr<ShardsHost> host_;
};

/// A client of the daemon at that port of this host.
inline std::unique_ptr<Client> ConnectTo(std::uint16_t port, ClientOptions options) {
  options.address = "127.0.0.1:" + std::to_string(port);
  options.connect_timeout = std::chrono::seconds(20);
  auto client = Client::Connect(options);
  EXPECT_TRUE(client.ok()) << client.status().ToString();
  return std::move(*client);
}

/// Of blocks of kDeviceBlockBytes.
inline NamespaceId OpenDeviceSpace(Client& client) {
  NamespaceDescriptor descriptor;
  descriptor.name = "space";
  descriptor.model = "test";
  descriptor.block_tokens = 16;
  descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kDeviceBlockBytes}};
  const auto space = client.OpenNamespace(descriptor, In(std::chrono::seconds(30)));
  EXPECT_TRUE(space.ok()) << space.status().ToString();
  return *space;
}

/// A client, and memory of a double for so many blocks.
class GpuEngine {
 public:
  explicit GpuEngine(std::uint16_t port, std::uint32_t blocks = 16, ClientOptions options = {},
                     const std::string& uuid = "DOUBLE-0")
      : gpu_({.name = "engine", .uuid = uuid, .total_bytes = 256ULL << 20}) {
    SetDeviceExporterForTest([this](std::span<std::byte> memory) { return gpu_.Export(memory); });
    const auto memory = gpu_.Allocate(blocks * kDeviceBlockBytes);
    EXPECT_TRUE(memory.ok());
    memory_ = {*memory, blocks * kDeviceBlockBytes};
    client_ = ConnectTo(port, std::move(options));
    space_ = OpenDeviceSpace(*client_);
  }
  ~GpuEngine() {
    client_.reset();
    SetDeviceExporterForTest(nullptr);
    if (!memory_.empty()) EXPECT_TRUE(gpu_.Free(memory_.data()).ok());
  }
  GpuEngine(const GpuEngine&) = delete;
  GpuEngine& operator=(const GpuEngine&) = delete;

  static Deadline Soon() { return In(std::chrono::seconds(30)); }
  static Chain ChainOf(const std::string& name, std::uint32_t keys) {
    Chain chain;
    for (std::uint32_t i = 0; i < keys; ++i) {
      EXPECT_TRUE(chain.Append(name + "/" + std::to_string(i)).ok());
    }
    return chain;
  }
  /// What block `position` of a chain holds.
  static std::vector<std::byte> Bytes(const std::string& name, std::uint32_t position) {
    std::vector<std::byte> bytes(kDeviceBlockBytes);
    SeededRandom random(SeededHash64(std::as_bytes(std::span(name)), position));
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
      const std::uint64_t word = random.Next();
      std::memcpy(&bytes[i], &word, 8);
    }
    return bytes;
  }

  [[nodiscard]] Result<RegionId> Register() {
    const auto region = client_->RegisterDeviceMemory(memory_.data(), memory_.size(), Soon());
    if (region.ok()) region_ = *region;
    return region;
  }
  /// The same memory, as any of the host's.
  [[nodiscard]] Status RegisterAsHosts() {
    const auto region = client_->RegisterMemory(memory_.data(), memory_.size());
    if (region.ok()) region_ = *region;
    return region.status();
  }
  /// Block `slot` of the memory.
  [[nodiscard]] std::span<std::byte> Slot(std::uint32_t slot) const {
    return memory_.subspan(slot * kDeviceBlockBytes, kDeviceBlockBytes);
  }
  void Fill(std::uint32_t slot, const std::vector<std::byte>& bytes) const {
    std::memcpy(Slot(slot).data(), bytes.data(), bytes.size());
  }
  [[nodiscard]] bool Is(std::uint32_t slot, const std::vector<std::byte>& bytes) const {
    return std::memcmp(Slot(slot).data(), bytes.data(), bytes.size()) == 0;
  }
  /// Blocks [0, count) of a chain, from or to slots [first, first + count).
  [[nodiscard]] std::vector<BlockBuffer> Blocks(std::uint32_t count,
                                                std::uint32_t first = 0) const {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < count; ++i) {
      blocks.push_back(
          {.position = i, .region = region_, .offset = (first + i) * kDeviceBlockBytes});
    }
    return blocks;
  }
  /// Puts a chain from the memory; how many blocks were stored.
  std::uint32_t Put(const std::string& name, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) Fill(i, Bytes(name, i));
    return Oks(client_->Put(space_, ChainOf(name, count), Blocks(count), {}, Soon()));
  }
  Result<std::vector<BlockResult>> Get(const std::string& name, std::uint32_t count,
                                       std::uint32_t first = 0) {
    return client_->Get(space_, ChainOf(name, count), Blocks(count, first), {}, Soon());
  }
  /// Gets a chain to cleared memory; how many blocks came, with the right bytes.
  std::uint32_t GetRight(const std::string& name, std::uint32_t count) {
    std::memset(memory_.data(), 0, memory_.size());
    const auto results = Get(name, count);
    std::uint32_t right = 0;
    for (std::uint32_t i = 0; results.ok() && i < count; ++i) {
      if ((*results)[i].status == StatusCode::kOk && Is(i, Bytes(name, i))) ++right;
    }
    EXPECT_EQ(Oks(results), right) << "wrong bytes";
    return right;
  }
  static std::uint32_t Oks(const Result<std::vector<BlockResult>>& results) {
    EXPECT_TRUE(results.ok()) << results.status().ToString();
    std::uint32_t count = 0;
    for (std::size_t i = 0; results.ok() && i < results->size(); ++i) {
      if ((*results)[i].status == StatusCode::kOk) ++count;
    }
    return count;
  }

  /// Ends what was submitted, by a fence of all memory or by a cancel: nothing touches it then.
  void StopBy(bool fence, Ticket ticket) {
    if (fence) {
      const MemoryPiece all{.region = region_, .offset = 0, .length = memory_.size()};
      ASSERT_TRUE(client_->Fence({&all, 1}, Soon()).ok());
    } else {
      ASSERT_TRUE(client_->Cancel(ticket, Soon()).ok());
    }
  }

  Client& operator*() { return *client_; }
  Client* operator->() { return client_.get(); }
  [[nodiscard]] NamespaceId space() const { return space_; }
  [[nodiscard]] RegionId region() const { return region_; }
  [[nodiscard]] std::span<std::byte> memory() const { return memory_; }
  [[nodiscard]] HostDeviceMemory& gpu() { return gpu_; }

 private:
  HostDeviceMemory gpu_;
  std::span<std::byte> memory_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
};

}  // namespace terrace::testing
