// Memory of clients' GPUs, mapped by a driver that does not answer.
#include "tools/terraced/gpu_regions.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>

#include "tests/transport/harness.h"
#include "tiers/hbm/hbm_tier.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;

TEST(GpuRegions, NobodyWaitsForADriverThatDoesNotAnswer) {
  HostDeviceMemory client({.name = "client"});
  const auto memory = client.Allocate(1 << 20);
  ASSERT_TRUE(memory.ok());
  const auto exported = client.Export({*memory, 1 << 20});
  ASSERT_TRUE(exported.ok());
  HostDeviceMemory device({.map_time = 500 * kMillisecond});
  auto tier = HbmTier::Create(device, {.capacity_bytes = 2 << 20, .copies = {}});
  ASSERT_TRUE(tier.ok());
  test::Runner runner("regions");
  runner.Start();
  {
    GpuRegions regions(runner.reactor(), {tier->get()}, 50 * kMillisecond);
    const auto settle = [&regions]() -> Task<Status> { co_return co_await regions.Settle(); };
    const Status opened = runner.Await<Status>(
        [&regions, &exported]() -> Task<Status> {
          const auto region = co_await regions.Open(*exported);
          co_return region.status();
        },
        Status());
    EXPECT_EQ(opened.code(), StatusCode::kIo) << opened.ToString();
    EXPECT_EQ(runner.Await<Status>(settle, Status()).code(), StatusCode::kIo);
    // What was mapped too late is not kept.
    Status settled;
    for (int i = 0; i < 600 && (device.mapped() > 0 || i == 0 || !settled.ok()); ++i) {
      std::this_thread::sleep_for(20ms);
      settled = runner.Await<Status>(settle, Status::Internal("hang"));
    }
    EXPECT_TRUE(settled.ok()) << settled.ToString();
    EXPECT_EQ(device.mapped(), 0U);
    runner.Stop();
  }
}

}  // namespace
}  // namespace terrace
