// Daemons that stop, die, come back, and come back different.
#include <gtest/gtest.h>

#include "tests/client/client_fixture.h"

namespace terrace {
namespace {

/// A call that fails because nobody is there must fail at once; the slack is for busy machines.
constexpr auto kAtOnce = 10s;

TEST(ClientReconnect, HandlesStayTheSameWhenTheDaemonComesBack) {
  auto daemon = std::make_unique<FakeDaemon>();
  const auto ports = daemon->ports();
  const auto client = ConnectTo(daemon->address());
  ASSERT_NE(client, nullptr);
  const auto first = client->OpenNamespace(SpaceNamed("first"), Soon());
  const auto second = client->OpenNamespace(SpaceNamed("second"), Soon());
  ASSERT_TRUE(first.ok() && second.ok());
  BlockMemory memory(*client, 6);
  memory.Fill(5);
  const Chain chain = ChainNamed("back", 6);
  ExpectCodes(client->Put(*second, chain, memory.All(), {}, Soon()), StatusCode::kOk);

  daemon.reset();
  ASSERT_TRUE(WaitUntilConnected(*client, false));
  EXPECT_EQ(client->LinkName(), "none");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(client->Match(*second, chain, {}, In(60s)).code(), StatusCode::kPeerDead);
  EXPECT_EQ(client->Get(*second, chain, memory.All(), {}, In(60s)).code(), StatusCode::kPeerDead);
  EXPECT_EQ(client->SubmitMatch(*second, chain, {}, In(60s)).code(), StatusCode::kPeerDead);
  EXPECT_EQ(client->Ping(In(60s)).code(), StatusCode::kPeerDead);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kAtOnce);
  BlockMemory later(*client, 6);  // registered while nobody is there

  daemon =
      std::make_unique<FakeDaemon>(FakeDaemonOptions{.ports = ports, .first_namespace_id = 50});
  ASSERT_TRUE(WaitUntilConnected(*client, true));
  EXPECT_EQ(client->Reconnects(), 1U);
  EXPECT_EQ(client->Match(*second, chain, {}, Soon())->matched, 0U) << "a new daemon is empty";
  ExpectCodes(client->Put(*second, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  EXPECT_EQ(client->Match(*first, chain, {}, Soon())->matched, 0U) << "namespaces stay apart";
  ExpectCodes(client->Get(*second, chain, later.All(), {}, Soon()), StatusCode::kOk);
  for (std::uint32_t i = 0; i < 6; ++i) EXPECT_TRUE(later.Holds(5, i));
}

TEST(ClientReconnect, NamespaceThatTheNewDaemonRefusesIsIncompatible) {
  auto daemon = std::make_unique<FakeDaemon>();
  const auto ports = daemon->ports();
  const auto client = ConnectTo(daemon->address());
  ASSERT_NE(client, nullptr);
  const auto space = client->OpenNamespace(SpaceNamed("space"), Soon());
  ASSERT_TRUE(space.ok());
  daemon.reset();
  ASSERT_TRUE(WaitUntilConnected(*client, false));
  daemon = std::make_unique<FakeDaemon>(FakeDaemonOptions{.ports = ports, .refuse_names = true});
  ASSERT_TRUE(WaitUntilConnected(*client, true));
  const Chain chain = ChainNamed("x", 1);
  EXPECT_EQ(client->Match(*space, chain, {}, Soon()).code(), StatusCode::kIncompatible);
  EXPECT_TRUE(client->Ping(Soon()).ok()) << "everything else goes on";
  daemon->behaviour().refuse_names = false;
  EXPECT_EQ(client->OpenNamespace(SpaceNamed("space"), Soon())->value, space->value);
  EXPECT_TRUE(client->Match(*space, chain, {}, Soon()).ok());
}

TEST(ClientReconnect, CallsInFlightEndWhenTheDaemonIsKilled) {
  ChildDaemon daemon;
  const auto client = ConnectTo(daemon.address());
  ASSERT_NE(client, nullptr);
  const auto space = client->OpenNamespace(SpaceNamed("space"), Soon());
  ASSERT_TRUE(space.ok());
  BlockMemory memory(*client, 64);
  memory.Fill(6);
  const Chain chain = ChainNamed("killed", 64);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(client->SubmitPut(*space, chain, memory.All(), {}, In(60s)).ok());
    ASSERT_TRUE(client->SubmitGet(*space, chain, memory.All(), {}, In(60s)).ok());
  }
  const auto ports = daemon.ports();
  daemon.Kill();
  const auto begin = std::chrono::steady_clock::now();
  std::size_t taken = 0;
  while (taken < 40 && client->WaitForCompletion(In(60s)).ok()) taken += client->Poll().size();
  EXPECT_EQ(taken, 40U);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s) << "2 s expected at most";
  EXPECT_TRUE(client->Quiesce(memory.region(), Soon()).ok());

  const ChildDaemon again(ports);
  ASSERT_TRUE(WaitUntilConnected(*client, true));
  ExpectCodes(client->Put(*space, chain, memory.All(), {}, Soon()), StatusCode::kOk);
}

TEST(ClientReconnect, StoppedDaemonIsDeadAndWhatItMayStillWriteIsInDoubt) {
  ChildDaemon daemon;
  const auto client = ConnectTo(daemon.address());
  ASSERT_NE(client, nullptr);
  const auto space = client->OpenNamespace(SpaceNamed("space"), Soon());
  ASSERT_TRUE(space.ok());
  BlockMemory memory(*client, 64);
  memory.Fill(7);
  const Chain chain = ChainNamed("stopped", 64);
  ExpectCodes(client->Put(*space, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  daemon.Stop();
  const auto begin = std::chrono::steady_clock::now();
  const auto got = client->Get(*space, chain, memory.All(), {}, In(60s));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s) << "2 s expected at most";
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  for (const BlockResult& block : got.value()) {
    EXPECT_TRUE(block.status == StatusCode::kPeerDead || block.status == StatusCode::kInDoubt)
        << StatusCodeName(block.status);
  }
  daemon.Continue();
  EXPECT_TRUE(client->Quiesce(memory.region(), Soon()).ok());
  ASSERT_TRUE(WaitUntilConnected(*client, true));
  memory.Poison();
  ExpectCodes(client->Get(*space, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  for (std::uint32_t i = 0; i < 64; ++i) EXPECT_TRUE(memory.Holds(7, i)) << i;
}

TEST(ClientReconnect, FrozenReactorsAreNoticedAndAnsweredAgainAfterThaw) {
  FakeDaemon daemon;
  const auto client = ConnectTo(daemon.address());
  ASSERT_NE(client, nullptr);
  const auto space = client->OpenNamespace(SpaceNamed("space"), Soon());
  ASSERT_TRUE(space.ok());
  const Chain chain = ChainNamed("frozen", 8);
  daemon.Freeze();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(client->Match(*space, chain, {}, In(60s)).code(), StatusCode::kPeerDead);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s) << "half a second expected";
  daemon.Thaw();
  ASSERT_TRUE(WaitUntilConnected(*client, true));
  EXPECT_TRUE(client->Match(*space, chain, {}, Soon()).ok());
}

TEST(ClientReconnect, ClientIsDestroyedQuicklyWhileNobodyIsThere) {
  auto daemon = std::make_unique<FakeDaemon>();
  auto client = ConnectTo(daemon->address());
  ASSERT_NE(client, nullptr);
  daemon.reset();
  ASSERT_TRUE(WaitUntilConnected(*client, false));
  const auto begin = std::chrono::steady_clock::now();
  client.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

}  // namespace
}  // namespace terrace
