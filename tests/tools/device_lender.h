// A client that is lent blocks in memory of GPUs (doubles), for tests of that: see device_engine.h
// for its daemon.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "client/regions/device_memory.h"
#include "client/terrace.hpp"
#include "tests/tools/device_engine.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace::testing {

/// Maps what daemons lend, for all clients of this process, as the driver would.
class LentMapper {
 public:
  LentMapper() {
    SetDeviceMapperForTest(
        {.map = [this](const DeviceExport& exported) { return Map(exported); },
         .unmap = [this](std::span<std::byte> memory) { gpu_.CloseExport(memory); }});
  }
  ~LentMapper() { SetDeviceMapperForTest({}); }
  LentMapper(const LentMapper&) = delete;
  LentMapper& operator=(const LentMapper&) = delete;

  /// Extents that are mapped now.
  [[nodiscard]] std::size_t mapped() const { return gpu_.mapped(); }
  /// What was mapped since this was asked last; of what is unmapped the addresses mean nothing.
  [[nodiscard]] std::vector<std::span<std::byte>> TakeMapped() {
    const std::lock_guard lock(mutex_);
    return std::exchange(taken_, {});
  }
  /// From now on nothing can be mapped.
  void Fail(StatusCode why = StatusCode::kUnsupported) {
    const std::lock_guard lock(mutex_);
    fails_ = why;
  }

 private:
  Result<std::span<std::byte>> Map(const DeviceExport& exported) {
    const std::lock_guard lock(mutex_);
    if (fails_ != StatusCode::kOk) return Status(fails_, "as a test wants it");
    auto memory = gpu_.OpenExport(exported);
    if (memory.ok()) taken_.push_back(*memory);
    return memory;
  }

  HostDeviceMemory gpu_{{.name = "client", .uuid = "DOUBLE-0"}};
  std::mutex mutex_;
  std::vector<std::span<std::byte>> taken_;  ///< guarded by mutex_, as the next
  StatusCode fails_ = StatusCode::kOk;
};

/// A client of a tenant, with blocks of kDeviceBlockBytes and memory of the host for so many.
class Lender {
 public:
  explicit Lender(std::uint16_t port, const std::string& tenant = "lender",
                  std::uint32_t blocks = 16) {
    ClientOptions options;
    options.tenant = tenant;
    client_ = ConnectTo(port, std::move(options));
    space_ = OpenDeviceSpace(*client_);
    const auto region = client_->AllocateRegion(blocks * kDeviceBlockBytes);
    EXPECT_TRUE(region.ok()) << region.status().ToString();
    region_ = *region;
  }

  Client* operator->() { return client_.get(); }
  [[nodiscard]] NamespaceId space() const { return space_; }
  void Close() { client_->Close(); }

  /// Puts a chain of so many blocks; how many were stored.
  std::uint32_t Put(const std::string& name, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::vector<std::byte> bytes = GpuEngine::Bytes(name, i);
      std::memcpy(client_->RegionMemory(region_).data() + i * kDeviceBlockBytes, bytes.data(),
                  bytes.size());
    }
    return GpuEngine::Oks(client_->Put(space_, GpuEngine::ChainOf(name, count), Blocks(count), {},
                                       GpuEngine::Soon()));
  }
  /// Gets it; how many blocks came, with the right bytes.
  std::uint32_t GetRight(const std::string& name, std::uint32_t count) {
    const auto results =
        client_->Get(space_, GpuEngine::ChainOf(name, count), Blocks(count), {}, GpuEngine::Soon());
    std::uint32_t right = 0;
    for (std::uint32_t i = 0; results.ok() && i < count; ++i) {
      if ((*results)[i].status != StatusCode::kOk) continue;
      const std::vector<std::byte> bytes = GpuEngine::Bytes(name, i);
      const std::byte* const at = client_->RegionMemory(region_).data() + i * kDeviceBlockBytes;
      const bool same = std::memcmp(at, bytes.data(), bytes.size()) == 0;
      EXPECT_TRUE(same) << "block " << i << " of " << name;
      if (same) ++right;
    }
    return right;
  }
  /// Asks to be lent the first blocks of a chain where they lie.
  std::vector<LentBlock> Lend(const std::string& name, std::uint32_t count,
                              LendOptions options = {.gpu = "DOUBLE-0"}) {
    std::vector<std::uint32_t> positions(count);
    for (std::uint32_t i = 0; i < count; ++i) positions[i] = i;
    auto lent = client_->LendWith(space_, GpuEngine::ChainOf(name, count), positions, {},
                                  GpuEngine::Soon(), options);
    EXPECT_TRUE(lent.ok()) << lent.status().ToString();
    if (!lent.ok()) return {};
    return std::move(*lent);
  }
  /// Puts a chain and uses it until all of it has copies on the GPU.
  void PutOnGpu(const GpuHost& host, const std::string& name, std::uint32_t count) {
    ASSERT_EQ(Put(name, count), count);
    ASSERT_TRUE(host.Await([&] {
      EXPECT_EQ(GetRight(name, count), count);
      return OnGpu(name, count) == count;
    })) << "no copies";
  }
  /// How many blocks of the chain are lent in memory of the GPU now, with the right bytes.
  std::uint32_t OnGpu(const std::string& name, std::uint32_t count) {
    std::uint32_t on_gpu = 0;
    std::vector<LentBlock> lent = Lend(name, count);
    for (std::uint32_t i = 0; i < lent.size(); ++i) {
      if (Holds(lent[i], name, i) && !lent[i].gpu().empty()) ++on_gpu;
    }
    return on_gpu;
  }
  /// The lent block, wherever it lies, is that block; its bytes are looked at.
  static bool Holds(const LentBlock& lent, const std::string& name, std::uint32_t position) {
    if (lent.status != StatusCode::kOk) return false;
    const std::span<const std::byte> bytes =
        lent.gpu().empty() ? lent.bytes() : lent.device_bytes();
    return std::ranges::equal(bytes, GpuEngine::Bytes(name, position)) && lent.Intact();
  }

 private:
  [[nodiscard]] std::vector<BlockBuffer> Blocks(std::uint32_t count) const {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < count; ++i) {
      blocks.push_back({.position = i, .region = region_, .offset = i * kDeviceBlockBytes});
    }
    return blocks;
  }

  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
};

}  // namespace terrace::testing
