#include "client/session/session.h"

#include <gtest/gtest.h>

#include "tests/client/paper_client.h"

namespace terrace {
namespace {

void AnswerPings(ChannelLog& log) {
  for (const wire::Message* ping : log.OfKind(wire::Body_Ping)) {
    log.Deliver(BuildMessage<wire::Empty>({.request_id = ping->request_id()}));
  }
}

TEST(Session, ConnectsToEveryReactorAndTellsThemOfRegions) {
  PaperClient client(3);
  client.OpenWithNamespace();
  EXPECT_EQ(client.session_->shards(), 3U);
  for (std::size_t shard = 0; shard < 3; ++shard) {
    EXPECT_EQ(client.log(shard).options.port, 7000 + shard);
    EXPECT_EQ(client.log(shard).options.host, "daemon") << "the reply names no host";
    EXPECT_EQ(client.log(shard).regions, std::vector<std::uint32_t>{client.region_});
  }
  client.session_->AddRegion(client.region_, {client.memory_, nullptr});
  EXPECT_EQ(client.log(0).regions.size(), 1U) << "known already";
}

TEST(Session, AddressOfAnyReactorWillDo) {
  PaperClient client(3);
  // The first connection reaches reactor 2; then 0 and 1 are connected to.
  std::rotate(client.factory_.logs.begin(), client.factory_.logs.end() - 1,
              client.factory_.logs.end());
  client.StartOpening();
  client.AnswerOpen(1, 31);
  ASSERT_TRUE(client.opened_ && client.opened_->ok());
  EXPECT_EQ(client.log(1).options.port, 7000);
  EXPECT_EQ(client.log(2).options.port, 7001);
}

TEST(Session, DaemonThatChangedInBetweenIsTriedAgain) {
  PaperClient client(2);
  client.log(1).hello.daemon_incarnation = 100;
  client.StartOpening();
  ASSERT_TRUE(client.opened_);
  EXPECT_EQ(client.opened_->code(), StatusCode::kRetry);
}

TEST(Session, ReactorThatDoesNotAnswerMakesNoSession) {
  PaperClient client(2);
  client.factory_.logs.pop_back();
  client.StartOpening();
  ASSERT_TRUE(client.opened_);
  EXPECT_EQ(client.opened_->code(), StatusCode::kPeerDead);
}

TEST(Session, NamespaceThatTheDaemonRefusesDoesNotStopTheOthers) {
  PaperClient client(1);
  NamespaceDescriptor other = *client.namespaces_.Find(client.space_)->descriptor;
  other.name = "other";
  const NamespaceId second = client.namespaces_.Opened(other, 1, 32).value();
  client.StartOpening();
  const auto asked = client.log(0).OfKind(wire::Body_OpenNamespace);
  ASSERT_EQ(asked.size(), 1U);
  client.log(0).Deliver(BuildError({.request_id = asked[0]->request_id()},
                                   Status(StatusCode::kIncompatible, "another fingerprint")));
  client.Turn();
  client.AnswerOpen(0, 8);
  ASSERT_TRUE(client.opened_ && client.opened_->ok());
  EXPECT_EQ(client.namespaces_.Find(client.space_)->failure.code(), StatusCode::kIncompatible);
  EXPECT_EQ(client.namespaces_.Find(client.space_)->failure.message(), "another fingerprint");
  EXPECT_TRUE(client.namespaces_.Find(second)->failure.ok());
  EXPECT_EQ(client.namespaces_.Find(second)->daemon_id, 8U);
}

TEST(Session, SilentDaemonIsDeadAfterThreeHeartbeats) {
  PaperClient client(2);
  client.OpenWithNamespace();
  client.session_->Start(client.MakeMatch(60 * kSecond));
  client.Pass(500 * kMillisecond);  // the first ping
  AnswerPings(client.log(0));
  client.Pass(1499 * kMillisecond);
  AnswerPings(client.log(0));
  EXPECT_FALSE(client.session_->ended.IsSet());
  client.Pass(kMillisecond);
  EXPECT_TRUE(client.session_->ended.IsSet()) << "reactor 1 answered nothing";
  EXPECT_EQ(client.session_->EndReason().code(), StatusCode::kPeerDead);
  client.session_->End(client.session_->EndReason());
}

TEST(Session, AnyMessageIsASignOfLife) {
  PaperClient client(1);
  client.OpenWithNamespace();
  client.session_->Start(client.MakeMatch(60 * kSecond));
  for (int i = 0; i < 20; ++i) {
    client.Pass(500 * kMillisecond);
    client.log(0).handler->OnQuiet(12345);
  }
  EXPECT_FALSE(client.session_->ended.IsSet());
  client.session_->End(Status(StatusCode::kCancelled));
}

TEST(Session, IdleHeartbeatsAreRareAndABusySessionDoesNotWaitForThem) {
  PaperClient client(1);
  client.OpenWithNamespace();
  for (int i = 0; i < 10; ++i) {
    client.Pass(kSecond);
    AnswerPings(client.log(0));
  }
  const std::size_t idle = client.log(0).OfKind(wire::Body_Ping).size();
  EXPECT_LE(idle, 6U);
  client.session_->Start(client.MakeMatch(60 * kSecond));
  client.Pass(500 * kMillisecond);
  EXPECT_EQ(client.log(0).OfKind(wire::Body_Ping).size(), idle + 1);
  client.session_->End(Status(StatusCode::kCancelled));
}

TEST(Session, AnIdleSessionFindsSilenceAsFastAsABusyOneOnceItsPingIsOut) {
  PaperClient client(1);
  client.OpenWithNamespace();
  client.Pass(500 * kMillisecond);  // the first ping
  AnswerPings(client.log(0));
  // Cut off right after: the next ping comes an idle interval after the first, then three misses.
  client.Pass(2 * kSecond + 1499 * kMillisecond);
  EXPECT_FALSE(client.session_->ended.IsSet());
  client.Pass(kMillisecond);
  EXPECT_TRUE(client.session_->ended.IsSet());
  client.session_->End(client.session_->EndReason());
}

TEST(Session, InterruptEndsAnOpeningThatWaitsForAnAnswer) {
  PaperClient client(1);
  client.StartOpening();
  EXPECT_FALSE(client.opened_);
  client.session_->Interrupt(Status(StatusCode::kCancelled, "stop"));
  client.Turn();
  ASSERT_TRUE(client.opened_);
  EXPECT_FALSE(client.opened_->ok());
}

TEST(Session, RegionRemovedWhileOpeningIsNotLeftWithTheDaemon) {
  PaperClient client(1);
  client.StartOpening();  // connected, waits for its namespace
  ASSERT_EQ(client.log(0).regions.size(), 1U);
  client.session_->RemoveRegion(client.region_);
  EXPECT_TRUE(client.log(0).regions.empty());
  client.AnswerOpen(0, 31);
}

}  // namespace
}  // namespace terrace
