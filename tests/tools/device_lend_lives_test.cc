// Blocks lent in memory of GPUs (doubles), when one of the two processes ends, however it does, or
// begets another.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/tools/device_lender.h"
#include "tests/tools/half_dead_daemon.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::GpuHost;
using testing::Lender;
using testing::LentMapper;

constexpr std::uint32_t kBlocks = 4;

TEST(DeviceLend, AChildOfTheReaderGivesNothingBack) {
  const LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"lender"}});
  Lender lender(host.port());
  lender.PutOnGpu(host, "a", 1);
  std::vector<LentBlock> lent = lender.Lend("a", 1);
  ASSERT_EQ(lent[0].gpu(), "DOUBLE-0");
  const pid_t child = ::fork();
  if (child == 0) {
    const bool expired = lent[0].Release() == StatusCode::kExpired;
    lent.clear();  // unmaps nothing that is its parent's
    ::_exit(expired ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(Lender::Holds(lent[0], "a", 0));
  EXPECT_EQ(lent[0].Release(), StatusCode::kOk);
}

TEST(DeviceLend, AClosedClientsBlocksAreNobodysWord) {
  const LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"lender"}});
  std::vector<LentBlock> lent;
  {
    Lender lender(host.port());
    lender.PutOnGpu(host, "a", kBlocks);
    lent = lender.Lend("a", kBlocks);
    ASSERT_EQ(lent[0].gpu(), "DOUBLE-0");
    lender.Close();
    EXPECT_FALSE(lent[0].Intact());
    EXPECT_GT(mapper.mapped(), 0U) << "it can be read for as long as it is held";
  }
  for (LentBlock& block : lent) EXPECT_EQ(block.Release(), StatusCode::kExpired);
  lent.clear();
  EXPECT_EQ(mapper.mapped(), 0U);
  EXPECT_TRUE(host.Await([&] { return host.Lent(&LeaseCounters::now) == 0; }));
}

TEST(DeviceLend, ADaemonThatStopsEndsWhatItLent) {
  const LentMapper mapper;
  auto host = std::make_unique<GpuHost>(GpuHost::Options{.lend_tenants = {"lender"}});
  Lender lender(host->port());
  lender.PutOnGpu(*host, "a", kBlocks);
  std::vector<LentBlock> lent = lender.Lend("a", kBlocks);
  ASSERT_EQ(lent[0].gpu(), "DOUBLE-0");
  host.reset();
  for (LentBlock& block : lent) {
    EXPECT_FALSE(block.Intact());
    EXPECT_EQ(block.Release(), StatusCode::kExpired);
  }
  lent.clear();
  for (int i = 0; i < 2000 && mapper.mapped() > 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(mapper.mapped(), 0U);
}

TEST(DeviceLendDaemon, DISABLED_Runs) {
  const char* file = std::getenv("TERRACE_DEVICE_TEST_FILE");
  ASSERT_NE(file, nullptr) << "run by DeviceLend.AKilledDaemonsBlocksAreNobodysWord";
  const GpuHost host({.reactors = 1, .lend_tenants = {"lender"}, .dram_lend_percent = 50});
  testing::TellPort(file, host.port());
  std::this_thread::sleep_for(10min);
}

TEST(DeviceLend, AKilledDaemonsBlocksAreNobodysWord) {
  const LentMapper mapper;
  const std::string file = ::testing::TempDir() + "/lend_daemon_" + std::to_string(::getpid());
  const pid_t daemon =
      testing::StartSelf("DeviceLendDaemon.DISABLED_Runs", "TERRACE_DEVICE_TEST_FILE=" + file);
  const std::uint16_t port = testing::AwaitPort(file);
  ASSERT_GT(port, 0) << "the daemon did not start";
  Lender lender(port);
  ASSERT_EQ(lender.Put("a", kBlocks), kBlocks);
  std::vector<LentBlock> lent;
  for (int i = 0; i < 2000 && lender.OnGpu("a", kBlocks) < kBlocks; ++i) {
    ASSERT_EQ(lender.GetRight("a", kBlocks), kBlocks);
  }
  lent = lender.Lend("a", kBlocks);
  ASSERT_EQ(lent[0].gpu(), "DOUBLE-0");
  ASSERT_TRUE(Lender::Holds(lent[0], "a", 0));
  std::vector<LentBlock> of_host = lender.Lend("a", 1, {});
  ::kill(daemon, SIGKILL);
  ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
  // At once: before this process has heard of the end of the connection.
  for (LentBlock& block : lent) EXPECT_EQ(block.Release(), StatusCode::kExpired);
  EXPECT_EQ(of_host[0].Release(), StatusCode::kOk) << "memory of the host is as it was";
}

TEST(DeviceLendVictim, DISABLED_Runs) {
  const char* port = std::getenv("TERRACE_DEVICE_TEST_PORT");
  ASSERT_NE(port, nullptr) << "run by DeviceLend.WhoIsKilledHoldsNothing";
  const LentMapper mapper;
  Lender lender(static_cast<std::uint16_t>(std::stoi(port)));
  std::vector<std::vector<LentBlock>> held;
  for (;;) {
    std::vector<LentBlock> lent = lender.Lend("a", 3);
    if (held.size() < 2) held.push_back(std::move(lent));
  }
}

TEST(DeviceLend, WhoIsKilledHoldsNothing) {
  const LentMapper mapper;
  const GpuHost host({.reactors = 1,
                      .lend_tenants = {"lender", "second"},
                      .lend_percent = 90,
                      .pool_bytes = 8 << 20});
  Lender lender(host.port());
  lender.PutOnGpu(host, "a", 3);
  for (int round = 0; round < 5; ++round) {
    const pid_t victim =
        testing::StartSelf("DeviceLendVictim.DISABLED_Runs",
                           "TERRACE_DEVICE_TEST_PORT=" + std::to_string(host.port()));
    ASSERT_TRUE(host.Await([&] { return host.Lent(&LeaseCounters::now) > 0; }));
    ::kill(victim, SIGKILL);
    ASSERT_EQ(::waitpid(victim, nullptr, 0), victim);
    ASSERT_TRUE(host.Await([&] { return host.Lent(&LeaseCounters::now) == 0; }));
    ASSERT_EQ(lender.OnGpu("a", 3), 3U);
  }
  // And its mappings keep no extent from others.
  lender.Close();
  Lender second(host.port(), "second");
  ASSERT_EQ(second.Put("b", 8), 8U);
  EXPECT_TRUE(host.Await([&] {
    EXPECT_EQ(second.GetRight("b", 8), 8U);
    return host.Cached(&CacheCounters::hbm_extents_replaced) > 0;
  }));
}

}  // namespace
}  // namespace terrace
