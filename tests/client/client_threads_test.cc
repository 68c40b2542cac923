// Many threads on one Client at once, and the program's entry: it can be a daemon (ChildDaemon).
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/client/client_fixture.h"

namespace terrace {
namespace {

TEST(ClientThreads, EachThreadGetsItsOwnBytes) {
  FakeDaemon daemon;
  const auto client = ConnectTo(daemon.address());
  ASSERT_NE(client, nullptr);
  constexpr std::uint32_t kThreads = 8;
  constexpr std::uint32_t kRounds = 10;
  std::atomic<std::uint32_t> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&client, &wrong, thread] {
      const auto space = client->OpenNamespace(SpaceNamed("space"), Soon());
      if (!space.ok()) {
        ++wrong;
        return;
      }
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        BlockMemory memory(*client, 6);
        const std::uint32_t salt = thread * 1000 + round;
        memory.Fill(salt);
        const Chain chain = ChainNamed("thread " + std::to_string(salt), 6);
        const auto put = client->Put(*space, chain, memory.All(), {}, Soon());
        memory.Poison();
        const auto got = client->Get(*space, chain, memory.All(), {}, Soon());
        const auto match = client->Match(*space, chain, {}, Soon());
        if (!put.ok() || !got.ok() || !match.ok() || match->matched != 6) ++wrong;
        for (std::uint32_t i = 0; i < 6; ++i) {
          if (!memory.Holds(salt, i)) ++wrong;
        }
        if (!client->DeregisterMemory(memory.region()).ok()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0U);
}

TEST(ClientThreads, DaemonThatComesAndGoesWhileManyCall) {
  auto daemon = std::make_unique<FakeDaemon>();
  const auto ports = daemon->ports();
  const auto client = ConnectTo(daemon->address());
  ASSERT_NE(client, nullptr);
  const auto space = client->OpenNamespace(SpaceNamed("space"), Soon());
  ASSERT_TRUE(space.ok());
  std::atomic<bool> stop{false};
  std::atomic<std::uint32_t> wrong{0};
  std::atomic<std::uint64_t> served{0};
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      BlockMemory memory(*client, 4);
      while (!stop) {
        const std::uint32_t salt = thread;  // the key decides the bytes
        memory.Fill(salt);
        const Chain chain = ChainNamed("comes and goes " + std::to_string(salt), 4);
        const auto put = client->Put(*space, chain, memory.All(), {}, Soon());
        if (!client->Quiesce(memory.region(), Soon()).ok()) ++wrong;
        memory.Poison();
        const auto got = client->Get(*space, chain, memory.All(), {}, Soon());
        if (got.ok()) {
          for (std::uint32_t i = 0; i < 4; ++i) {
            if (got.value()[i].status != StatusCode::kOk) continue;
            if (!memory.Holds(salt, i)) ++wrong;
            ++served;
          }
        } else if (got.code() != StatusCode::kPeerDead && got.code() != StatusCode::kRetry) {
          ++wrong;
        }
        if (!client->Quiesce(memory.region(), Soon()).ok()) ++wrong;
      }
    });
  }
  for (int round = 0; round < 3; ++round) {
    const std::uint64_t before = served;
    ASSERT_TRUE(WaitUntilConnected(*client, true));
    const Deadline end = In(20s);
    while (served < before + 20 && std::chrono::steady_clock::now() < end) {
      [[maybe_unused]] const Status pause = client->WaitForCompletion(In(5ms));
    }
    daemon.reset();
    daemon = std::make_unique<FakeDaemon>(FakeDaemonOptions{.ports = ports});
  }
  ASSERT_TRUE(WaitUntilConnected(*client, true));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GE(served, 60U);
  EXPECT_GE(client->Reconnects(), 1U);
}

}  // namespace
}  // namespace terrace

int main(int argc, char** argv) {
  if (terrace::RunChildDaemon(argc, argv)) return 0;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
