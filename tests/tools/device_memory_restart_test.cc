// Memory of GPUs that clients registered, when their daemon is started anew.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>

#include "tests/common/wait_until_connected.h"
#include "tests/tools/device_engine.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::GpuEngine;
using testing::GpuHost;
using testing::WaitUntilConnected;

constexpr std::uint32_t kBlocks = 8;

/// So many regions of a page each.
void RegisterMany(GpuEngine& engine, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    ASSERT_TRUE(
        engine->RegisterDeviceMemory(engine.memory().data() + i * 4096, 4096, GpuEngine::Soon())
            .ok());
  }
}

TEST(DeviceMemory, ADaemonThatComesBackMapsManyRegionsAgain) {
  constexpr std::uint64_t kRegions = 150;  // more than a reactor maps at once
  auto host = std::make_unique<GpuHost>(GpuHost::Options{.reactors = 1});
  const std::uint16_t port = host->port();
  GpuEngine engine(port);
  ASSERT_NO_FATAL_FAILURE(RegisterMany(engine, kRegions));
  EXPECT_EQ(host->Served(&ServerCounters::regions_of_devices), kRegions);
  host.reset();
  ASSERT_TRUE(WaitUntilConnected(*engine, false));
  host = std::make_unique<GpuHost>(GpuHost::Options{.reactors = 1, .port = port});
  ASSERT_TRUE(WaitUntilConnected(*engine, true));
  EXPECT_EQ(host->Served(&ServerCounters::regions_of_devices), kRegions);
}

TEST(DeviceMemory, ADriverThatMapsSlowlyKeepsNobodyAway) {
  constexpr std::uint64_t kRegions = 70;
  auto host = std::make_unique<GpuHost>(GpuHost::Options{.reactors = 1});
  const std::uint16_t port = host->port();
  GpuEngine engine(port);
  ASSERT_NO_FATAL_FAILURE(RegisterMany(engine, kRegions));
  ASSERT_TRUE(engine.Register().ok());
  host.reset();
  ASSERT_TRUE(WaitUntilConnected(*engine, false));
  // All of them together take twice as long as an attempt to connect may.
  host = std::make_unique<GpuHost>(
      GpuHost::Options{.reactors = 1, .port = port, .map_time = 25 * kMillisecond});
  ASSERT_TRUE(WaitUntilConnected(*engine, true));
  EXPECT_EQ(host->Served(&ServerCounters::regions_of_devices), kRegions + 1);
  EXPECT_EQ(engine.Put("a", 1), 1U);
}

TEST(DeviceMemory, ADaemonThatComesBackIsToldAgain) {
  auto host = std::make_unique<GpuHost>(GpuHost::Options{});
  const std::uint16_t port = host->port();
  GpuEngine engine(port);
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", kBlocks), kBlocks);
  host.reset();
  ASSERT_TRUE(WaitUntilConnected(*engine, false));
  host = std::make_unique<GpuHost>(GpuHost::Options{.port = port});
  ASSERT_TRUE(WaitUntilConnected(*engine, true));
  EXPECT_EQ(host->Mapped(), 2U);
  EXPECT_EQ(engine.Put("b", kBlocks), kBlocks);
  EXPECT_EQ(engine.GetRight("b", kBlocks), kBlocks);
  // Without GPUs the calls that name the region say so, and nobody else suffers.
  host.reset();
  ASSERT_TRUE(WaitUntilConnected(*engine, false));
  host = std::make_unique<GpuHost>(GpuHost::Options{.port = port, .hbm = false});
  ASSERT_TRUE(WaitUntilConnected(*engine, true));
  EXPECT_EQ(engine.Get("b", 1).code(), StatusCode::kUnsupported);
  EXPECT_TRUE(engine->AllocateRegion(4096).ok());
}

}  // namespace
}  // namespace terrace
