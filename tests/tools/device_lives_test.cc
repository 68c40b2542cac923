// Memory of GPUs (doubles) that a client registers, when one of the two processes dies, or cannot
// see the other.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "tests/common/wait_until_connected.h"
#include "tests/tools/device_engine.h"
#include "tests/tools/half_dead_daemon.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::AwaitPort;
using testing::DieSlowly;
using testing::GpuEngine;
using testing::GpuHost;
using testing::HasExited;
using testing::kDeviceBlockBytes;
using testing::StartSelf;
using testing::TellPort;

constexpr std::uint32_t kBlocks = 8;

// The client of the test below, run by it alone: gets and puts until it is killed.
TEST(DeviceMemoryVictim, DISABLED_Runs) {
  const char* port = std::getenv("TERRACE_DEVICE_TEST_PORT");
  ASSERT_NE(port, nullptr) << "run by DeviceMemory.WhoIsKilledInMidCopyLeavesNothing";
  GpuEngine engine(static_cast<std::uint16_t>(std::stoi(port)), 16, {.tenant = "victim"});
  ASSERT_TRUE(engine.Register().ok());
  const std::string own = std::to_string(::getpid()) + "/";
  ASSERT_EQ(engine.Put(own, kBlocks), kBlocks);
  for (int i = 0;; ++i) {
    (void)engine->SubmitGet(engine.space(), GpuEngine::ChainOf(own, kBlocks),
                            engine.Blocks(kBlocks), {}, GpuEngine::Soon());
    (void)engine->SubmitPut(engine.space(), GpuEngine::ChainOf(own + std::to_string(i), kBlocks),
                            engine.Blocks(kBlocks, 8), {}, GpuEngine::Soon());
    if (i > 3) (void)engine->WaitForCompletion(GpuEngine::Soon());
    (void)engine->Poll();
  }
}

// The daemon of a test below: its GPU takes a minute for a copy. Says where it listens.
TEST(DeviceMemoryDaemon, DISABLED_Runs) {
  const char* file = std::getenv("TERRACE_DEVICE_TEST_FILE");
  ASSERT_NE(file, nullptr) << "run by DeviceMemory.ADaemonThatIsKilledInMidCopyIsGoneFirst";
  // Rare heartbeats: a process with shadow memory takes seconds to die, and then closes its
  // sockets.
  const GpuHost host({.reactors = 1, .latency = 60 * kSecond, .heartbeat_ms = 5000});
  TellPort(file, host.port());
  std::this_thread::sleep_for(10min);
}

TEST(DeviceMemory, WhoIsKilledInMidCopyLeavesNothing) {
  const GpuHost host({.latency = 200 * kMicrosecond, .bytes_per_microsecond = 5'000});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", kBlocks), kBlocks);
  SeededRandom random(23);
  for (int round = 0; round < 15; ++round) {
    const pid_t victim = StartSelf("DeviceMemoryVictim.DISABLED_Runs",
                                   "TERRACE_DEVICE_TEST_PORT=" + std::to_string(host.port()));
    ASSERT_TRUE(host.Await([&] { return host.Mapped() == 4; })) << "the victim did not come";
    std::this_thread::sleep_for(std::chrono::microseconds(random.Below(60'000)));
    ::kill(victim, SIGKILL);
    ASSERT_EQ(::waitpid(victim, nullptr, 0), victim);
    ASSERT_TRUE(host.Await([&] { return host.Mapped() == 2; })) << "its memory stays mapped";
    ASSERT_TRUE(host.Await([&] { return host.Served(&ServerCounters::quarantined) == 0; }));
    ASSERT_EQ(engine.GetRight("a", kBlocks), kBlocks) << "and the others go on";
  }
}

TEST(DeviceMemory, ADaemonThatIsKilledInMidCopyIsGoneFirst) {
  const std::string file = ::testing::TempDir() + "/device_daemon_" + std::to_string(::getpid());
  const pid_t daemon =
      StartSelf("DeviceMemoryDaemon.DISABLED_Runs", "TERRACE_DEVICE_TEST_FILE=" + file);
  const std::uint16_t port = AwaitPort(file);
  ASSERT_GT(port, 0) << "the daemon did not start";
  {
    GpuEngine engine(port);
    ASSERT_TRUE(engine.Register().ok());
    const auto ticket = engine->SubmitPut(engine.space(), GpuEngine::ChainOf("a", kBlocks),
                                          engine.Blocks(kBlocks), {}, GpuEngine::Soon());
    ASSERT_TRUE(ticket.ok());
    std::this_thread::sleep_for(100ms);
    ::kill(daemon, SIGKILL);
    // Not reaped before: it has exited, and is still there as a zombie.
    ASSERT_TRUE(engine->WaitForCompletion(GpuEngine::Soon()).ok())
        << "the call waits for who is dead";
    const auto ended = engine->Poll();
    ASSERT_EQ(ended.size(), 1U);
    for (const BlockResult& block : ended[0].blocks) {
      EXPECT_EQ(block.status, StatusCode::kPeerDead);
    }
    const MemoryPiece all{.region = engine.region(), .offset = 0, .length = kDeviceBlockBytes};
    EXPECT_TRUE(engine->Fence({&all, 1}, GpuEngine::Soon()).ok());
  }
  ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
}

/// A daemon whose GPU hangs, in a process of its own; it dies slowly after SIGUSR1.
[[noreturn]] void BeADaemonThatDies(std::chrono::milliseconds after) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // of all threads that are begun
  auto* const host = new GpuHost({.reactors = 1, .latency = 60 * kSecond});  // NOLINT: never ends
  TellPort(std::getenv("TERRACE_DEVICE_TEST_FILE"), host->port());
  DieSlowly(after);
}

TEST(DeviceMemoryDaemon, DISABLED_DiesSoon) { BeADaemonThatDies(450ms); }
TEST(DeviceMemoryDaemon, DISABLED_DiesLate) { BeADaemonThatDies(3s); }

/// Starts one of the two; its port.
std::uint16_t StartDying(const std::string& test, pid_t* daemon) {
  const std::string file = ::testing::TempDir() + "/device_daemon_" + std::to_string(::getpid());
  *daemon = StartSelf("DeviceMemoryDaemon.DISABLED_" + test, "TERRACE_DEVICE_TEST_FILE=" + file);
  return AwaitPort(file);
}

TEST(DeviceMemory, ACloseWaitsForADaemonThatIsDying) {
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "a process with shadow memory takes seconds to exit, and Close waits for 0.2 s";
#endif
  pid_t daemon = 0;
  const std::uint16_t port = StartDying("DiesSoon", &daemon);
  ASSERT_GT(port, 0) << "the daemon did not start";
  GpuEngine engine(port);
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_TRUE(engine
                  ->SubmitPut(engine.space(), GpuEngine::ChainOf("a", kBlocks),
                              engine.Blocks(kBlocks), {}, GpuEngine::Soon())
                  .ok());
  std::this_thread::sleep_for(100ms);
  ::kill(daemon, SIGUSR1);
  std::this_thread::sleep_for(100ms);  // the client has seen the end of its connection
  const auto begin = std::chrono::steady_clock::now();
  engine->Close();
  // One that does not wait for the process ends after the 300 ms that what is under way has.
  const bool out_of_patience = std::chrono::steady_clock::now() - begin >= 480ms;
  EXPECT_TRUE(HasExited(daemon) || out_of_patience) << "its GPU may still be at work";
  ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
}

TEST(DeviceMemory, ARegionIsGoneWhenItsDaemonSaysSoOrHasExitedAndNotBefore) {
  pid_t daemon = 0;
  const std::uint16_t port = StartDying("DiesLate", &daemon);
  ASSERT_GT(port, 0) << "the daemon did not start";
  GpuEngine engine(port);
  ASSERT_TRUE(engine.Register().ok());
  ::kill(daemon, SIGUSR1);
  ASSERT_TRUE(testing::WaitUntilConnected(*engine, false));
  Status gone = engine->DeregisterMemory(engine.region());
  EXPECT_EQ(gone.code(), StatusCode::kInDoubt) << gone.ToString();
  for (int i = 0; i < 30 && gone.code() == StatusCode::kInDoubt; ++i) {
    gone = engine->DeregisterMemory(engine.region());
  }
  EXPECT_TRUE(gone.ok()) << gone.ToString();
  EXPECT_TRUE(HasExited(daemon));
  ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
}

// The client of the test below, in a PID namespace of its own.
TEST(DeviceMemoryElsewhere, DISABLED_IsRefused) {
  GpuEngine engine(static_cast<std::uint16_t>(std::stoi(std::getenv("TERRACE_DEVICE_TEST_PORT"))));
  EXPECT_EQ(engine->LinkName(), "shm");
  const Status refused = engine.Register().status();
  EXPECT_EQ(refused.code(), StatusCode::kUnsupported);
  EXPECT_NE(refused.message().find("PID namespace"), std::string::npos) << refused.ToString();
  EXPECT_TRUE(engine->AllocateRegion(4096).ok()) << "all else goes on";
}

TEST(DeviceMemory, ADaemonThatCannotBeWatchedIsGivenNoMemory) {
  const std::vector<std::string> elsewhere = {"/usr/bin/unshare", "--pid", "--fork"};
  // NOLINTNEXTLINE(concurrency-mt-unsafe,cert-env33-c): whether this test can be run here
  if (std::system("/usr/bin/unshare --pid --fork true 2>/dev/null") != 0) {
    GTEST_SKIP() << "no PID namespace can be made";
  }
  const GpuHost host({});
  const pid_t client =
      StartSelf("DeviceMemoryElsewhere.DISABLED_IsRefused",
                "TERRACE_DEVICE_TEST_PORT=" + std::to_string(host.port()), elsewhere);
  int ended = 0;
  ASSERT_EQ(::waitpid(client, &ended, 0), client);
  EXPECT_EQ(ended, 0) << "see above";
  EXPECT_EQ(host.Mapped(), 0U);
}

}  // namespace
}  // namespace terrace
