// What a Server says to clients that do not keep the protocol.

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <utility>

#include "tests/transport/harness.h"
#include "tests/transport/raw_client.h"
#include "transport/tcp/data_message.h"

namespace terrace::test {
namespace {

using testing::Test;

/// A server with one well-behaved client, which must not notice anything.
class HandshakeTest : public Test {
 protected:
  void SetUp() override { ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString(); }
  void TearDown() override {
    pair.RoundTrip();  // everyone else goes on
    EXPECT_TRUE(pair.channel_handler.log.Get().closed.empty());
  }
  [[nodiscard]] std::uint16_t port() const { return pair.server->port(); }
  /// A raw client that has said Hello as a same-host client.
  RawClient Greeted() {
    RawClient client(port(), true);
    client.SendFrame(BuildHello(GoodHello()));
    EXPECT_EQ(client.ReadError(), "HelloReply");
    return client;
  }
  HelloText GoodHello() {
    HelloText text;
    text.probe = probe;
    text.probe_value = probe[0];
    return text;
  }
  alignas(16) std::uint64_t probe[2] = {0x1234567890abcdef, 0};
  Pair pair{LinkKind::kShm};
};

TEST_F(HandshakeTest, AnUnknownVersionIsToldBothRanges) {
  RawClient client(port());
  HelloText text;
  text.version_min = 7;
  text.version_max = 9;
  client.SendFrame(BuildHello(text));
  const std::string error = client.ReadError();
  EXPECT_NE(error.find("incompatible"), std::string::npos) << error;
  EXPECT_NE(error.find("7 to 9"), std::string::npos) << error;
  EXPECT_NE(error.find("1 to 1"), std::string::npos) << error;
  EXPECT_TRUE(client.WaitForClose());
}

TEST_F(HandshakeTest, ANewerClientThatStillSpeaksOursIsWelcome) {
  RawClient client(port(), true);
  HelloText text = GoodHello();
  text.version_max = 900;
  client.SendFrame(BuildHello(text));
  const auto frame = client.ReadFrame();
  ASSERT_TRUE(frame);
  const auto message = VerifyMessage(*frame);
  ASSERT_TRUE(message.ok());
  const auto* reply = (*message)->body_as_HelloReply();
  ASSERT_NE(reply, nullptr);
  EXPECT_EQ(reply->version(), 1);
  EXPECT_EQ(reply->shards()->size(), 1u);
  EXPECT_EQ(reply->daemon_incarnation(), 77u);
  EXPECT_EQ(reply->probe_written(), probe[1]);
}

TEST_F(HandshakeTest, AMessageBeforeHelloIsRefused) {
  RawClient client(port());
  client.SendFrame(BuildMessage<wire::Ping>({1, 5, 0}));
  EXPECT_EQ(client.ReadError(), "invalid: Ping before Hello");
  EXPECT_TRUE(client.WaitForClose());
}

TEST_F(HandshakeTest, ASecondHelloEndsTheConnection) {
  RawClient client = Greeted();
  client.SendFrame(BuildHello(GoodHello()));
  EXPECT_NE(client.ReadError().find("second Hello"), std::string::npos);
  EXPECT_TRUE(client.WaitForClose());
}

TEST_F(HandshakeTest, AnotherIncarnationIsRefusedAndTheConnectionGoesOn) {
  RawClient client = Greeted();
  client.SendFrame(BuildMessage<wire::Ping>({3, 6, 0}));
  EXPECT_NE(client.ReadError().find("expired"), std::string::npos);
  client.SendFrame(BuildMessage<wire::Ping>({4, 5, 0}));
  EXPECT_EQ(client.ReadError(), "Empty");
}

TEST_F(HandshakeTest, ABadHelloIsToldWhy) {
  const auto answer = [&](auto change) {
    RawClient client(port(), true);
    HelloText text = GoodHello();
    change(text);
    client.SendFrame(BuildHello(text));
    std::string error = client.ReadError();
    EXPECT_TRUE(client.WaitForClose());
    return error;
  };
  EXPECT_EQ(answer([](HelloText& text) { text.incarnation = 0; }),
            "invalid: Hello.incarnation is 0");
  EXPECT_NE(answer([](HelloText& text) { text.tenant = ""; }).find("Hello.tenant has 0 bytes"),
            std::string::npos);
  EXPECT_NE(answer([](HelloText& text) { text.tenant = std::string(129, 't'); }).find("129"),
            std::string::npos);
  EXPECT_NE(answer([](HelloText& text) { text.links = {}; }).find("unsupported"),
            std::string::npos);
  EXPECT_NE(answer([](HelloText& text) { text.links = {200}; }).find("unsupported"),
            std::string::npos);
  EXPECT_NE(answer([](HelloText& text) { text.shared_version = 0; }).find("shared page"),
            std::string::npos);
  EXPECT_NE(answer([](HelloText& text) { text.probe_value ^= 1; }).find("probe word"),
            std::string::npos);
  EXPECT_NE(answer([](HelloText& text) { text.probe = nullptr; }).find("process_vm_readv"),
            std::string::npos);
}

TEST_F(HandshakeTest, WhatIsNoMessageIsToldSoAndCounted) {
  RawClient client = Greeted();
  const std::vector<std::byte> noise(100, std::byte{0x5a});
  client.SendFrame(noise);
  EXPECT_NE(client.ReadError().find("does not verify"), std::string::npos);
  EXPECT_TRUE(client.WaitForClose());
  EXPECT_EQ(pair.counters().malformed.load(), 1u);
}

TEST_F(HandshakeTest, AReplyFromAClientEndsTheConnection) {
  RawClient client = Greeted();
  client.SendFrame(BuildMessage<wire::MatchReply>({3, 5, 0}));
  EXPECT_NE(client.ReadError().find("MatchReply is not for a client to send"), std::string::npos);
  EXPECT_TRUE(client.WaitForClose());
}

TEST_F(HandshakeTest, ARequestIdThatIsInUseEndsTheConnection) {
  RawClient client = Greeted();
  client.SendFrame(BuildMessage<wire::Match>({3, 5, 0}));
  client.SendFrame(BuildMessage<wire::Match>({3, 5, 0}));
  EXPECT_NE(client.ReadError().find("in use already"), std::string::npos);
  EXPECT_TRUE(client.WaitForClose());
}

/// What a client over TCP knows after its Hello.
struct Introduced {
  RawClient control;
  std::uint64_t token = 0;
};
Introduced Introduce(std::uint16_t port) {
  Introduced client{RawClient(port)};
  HelloText hello;
  hello.links = {static_cast<std::uint8_t>(LinkKind::kTcp)};
  client.control.SendFrame(BuildHello(hello));
  const auto frame = client.control.ReadFrame();
  const auto reply = frame ? VerifyMessage(*frame) : Status::Internal("closed");
  if (reply.ok() && (*reply)->body_as_HelloReply() != nullptr) {
    client.token = (*reply)->body_as_HelloReply()->data_token();
  }
  EXPECT_NE(client.token, 0u);
  return client;
}
std::vector<std::byte> BuildOpenData(std::uint64_t token, std::uint64_t incarnation) {
  return BuildMessage<wire::OpenData>({0, incarnation, 0},
                                      [token](flatbuffers::FlatBufferBuilder& builder) {
                                        return wire::CreateOpenData(builder, token);
                                      });
}
/// Reads a header off a data connection.
DataHeader ReadHeader(RawClient& data) {
  DataHeader header;
  std::array<std::byte, sizeof(DataHeader)> bytes{};
  EXPECT_TRUE(data.ReadExactly(bytes.data(), bytes.size()));
  EXPECT_TRUE(ReadDataHeader(bytes, header));
  return header;
}

TEST_F(HandshakeTest, ADataConnectionIsOfWhoKnowsItsTokenAndNobodyElse) {
  const std::uint64_t incarnation = HelloText{}.incarnation;
  Introduced client = Introduce(port());
  const std::pair<std::uint64_t, std::uint64_t> wrong[] = {
      {client.token ^ 1, incarnation}, {0, incarnation}, {client.token, incarnation + 1}};
  for (const auto& [token, of] : wrong) {
    RawClient stranger(port());
    stranger.SendFrame(BuildOpenData(token, of));
    const std::string error = stranger.ReadError();
    EXPECT_NE(error.find("OpenData.token"), std::string::npos) << error;
    EXPECT_TRUE(stranger.WaitForClose());
  }
  RawClient local(port(), true);
  local.SendFrame(BuildOpenData(client.token, incarnation));
  EXPECT_NE(local.ReadError().find("OpenData.token"), std::string::npos);

  RawClient data(port());
  data.SendFrame(BuildOpenData(client.token, incarnation));
  const DataHeader opened = ReadHeader(data);
  EXPECT_EQ(opened.kind, DataKind::kOpened);
  EXPECT_EQ(opened.token, client.token);
  EXPECT_EQ(opened.incarnation, incarnation);
  // Once.
  RawClient second(port());
  second.SendFrame(BuildOpenData(client.token, incarnation));
  EXPECT_NE(second.ReadError().find("OpenData.token"), std::string::npos);
}

TEST_F(HandshakeTest, TheConnectionsOfATcpClientEndTogether) {
  for (const bool data_first : {true, false}) {
    Introduced client = Introduce(port());
    RawClient data(port());
    data.SendFrame(BuildOpenData(client.token, HelloText{}.incarnation));
    EXPECT_EQ(ReadHeader(data).kind, DataKind::kOpened);
    (data_first ? data : client.control).Close();
    EXPECT_TRUE((data_first ? client.control : data).WaitForClose()) << data_first;
  }
  EXPECT_TRUE(
      pair.handler.log.WaitFor([](const auto& log) { return log.disconnected.size() == 2; }));
}

TEST_F(HandshakeTest, WhatIsNoDataMessageEndsItsClientAndIsCounted) {
  Introduced client = Introduce(port());
  RawClient data(port());
  data.SendFrame(BuildOpenData(client.token, HelloText{}.incarnation));
  EXPECT_EQ(ReadHeader(data).kind, DataKind::kOpened);
  const std::uint64_t before = pair.counters().malformed.load();
  data.SendFrame(BuildOpenData(client.token, HelloText{}.incarnation));  // a frame is none
  EXPECT_TRUE(client.control.WaitForClose());
  EXPECT_TRUE(data.WaitForClose());
  EXPECT_EQ(pair.counters().malformed.load(), before + 1);
}

TEST_F(HandshakeTest, RegionsThatCannotBeAreRefused) {
  RawClient client = Greeted();
  const auto answer = [&](std::uint32_t region, std::uint64_t base, std::uint64_t length) {
    client.SendFrame(
        BuildMessage<wire::RegisterRegion>({1, 5, 0}, [&](flatbuffers::FlatBufferBuilder& builder) {
          return wire::CreateRegisterRegion(builder, region, base, length);
        }));
    return client.ReadError();
  };
  EXPECT_EQ(answer(0, 4096, 4096), "invalid: region 0 is no region");
  EXPECT_EQ(answer(1, 4096, 0), "invalid: region 1 has no bytes");
  EXPECT_EQ(answer(1, ~std::uint64_t{0}, 4096), "invalid: region 1 ends beyond the address space");
}

TEST_F(HandshakeTest, ACancelOfAnUnknownRequestIsConfirmed) {
  RawClient client = Greeted();
  client.SendFrame(BuildMessage<wire::Cancel>(
      {0, 5, 0},
      [](flatbuffers::FlatBufferBuilder& builder) { return wire::CreateCancel(builder, 4711); }));
  EXPECT_EQ(client.ReadError(), "CancelReply");
}

TEST(ServerTest, TheMostClientsAreServedAndTheNextIsToldToRetry) {
  ServerOptions options = Patient();
  options.peers_max = 1;
  Pair pair(LinkKind::kShm, options, {});
  ASSERT_TRUE(pair.connect_status.ok());
  RawClient client(pair.server->port());
  client.SendFrame(BuildHello({}));
  EXPECT_NE(client.ReadError().find("retry"), std::string::npos);
  pair.RoundTrip();
}

TEST(ServerTest, ASilentClientIsClosed) {
  ServerOptions options;
  options.peer_timeout = kSecond;
  Pair pair(LinkKind::kShm, options, {});
  ASSERT_TRUE(pair.connect_status.ok());
  EXPECT_TRUE(pair.handler.log.WaitFor([](const auto& log) { return !log.disconnected.empty(); }));
  EXPECT_TRUE(
      pair.channel_handler.log.WaitFor([](const auto& log) { return !log.closed.empty(); }));
  EXPECT_EQ(pair.counters().peers_timed_out.load(), 1u);
  EXPECT_EQ(pair.counters().peers.load(), 0u);
  EXPECT_FALSE(pair.peer->link().Alive());
}

// All clients of a daemon that was stopped, or whose machine was paused, would be closed at once
// when it goes on, before what they sent meanwhile is read.
TEST(ServerTest, ADaemonThatDidNotRunBlamesNoClient) {
  ServerOptions options;
  options.peer_timeout = 4 * kSecond;
  Pair pair(LinkKind::kShm, options, {});
  ASSERT_TRUE(pair.connect_status.ok());
  pair.RoundTrip();
  pair.server_runner.Call([] { std::this_thread::sleep_for(std::chrono::milliseconds(4500)); });
  // The reactor runs again, and its timers come before any message.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  pair.RoundTrip();
  EXPECT_EQ(pair.counters().peers_timed_out.load(), 0u);
  EXPECT_TRUE(pair.handler.log.Get().disconnected.empty());
}

TEST(ServerTest, AConnectionThatNeverSpeaksIsClosed) {
  ServerOptions options;
  options.peer_timeout = 300 * kMillisecond;
  Pair pair(LinkKind::kShm, options, {});
  RawClient client(pair.server->port());
  EXPECT_TRUE(client.WaitForClose());
}

TEST(ServerTest, ATakenPortIsAnErrorThatNamesIt) {
  Pair pair(LinkKind::kShm);
  ServerOptions options;
  options.port = pair.server->port();
  LoggingHandler handler(pair.server_runner.reactor().scheduler());
  Runner runner("second");
  const auto second = Server::Create(runner.reactor(), options, handler, pair.random);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), StatusCode::kIo);
  EXPECT_NE(second.status().message().find(std::to_string(options.port)), std::string::npos);
  options.host = "localhost";
  EXPECT_EQ(Server::Create(runner.reactor(), options, handler, pair.random).code(),
            StatusCode::kInvalid);
}

TEST(ServerTest, WithoutSameHostCopiesAClientOfThisHostUsesTcp) {
  ServerOptions server_options = Patient();
  server_options.same_host = false;
  LoggingChannelHandler channel_handler;
  Pair pair(LinkKind::kTcp, server_options, {});
  ASSERT_TRUE(pair.connect_status.ok());
  std::unique_ptr<Channel> channel;
  ChannelOptions options;
  options.port = pair.server->port();
  options.incarnation = 99;
  const Status status = pair.client_runner.Await<Status>(
      [&]() -> Task<Status> {
        auto result = co_await pair.factory->Connect(
            options, channel_handler,
            pair.client_runner.reactor().scheduler().Now() + 10 * kSecond);
        if (result.ok()) channel = std::move(result.value());
        co_return result.status();
      },
      Status::Internal("hang"));
  EXPECT_EQ(status.ToString(), "ok");
  if (channel != nullptr) {
    EXPECT_EQ(channel->hello().link, LinkKind::kTcp);
  }
  pair.client_runner.Call([&] { channel.reset(); });
}

Status ConnectTo(Pair& pair, const std::string& host, std::uint16_t port, Nanos patience) {
  static LoggingChannelHandler nobody;
  return pair.client_runner.Await<Status>(
      [&]() -> Task<Status> {
        ChannelOptions options;
        options.host = host;
        options.port = port;
        options.incarnation = 99;
        auto result = co_await pair.factory->Connect(
            options, nobody, pair.client_runner.reactor().scheduler().Now() + patience);
        co_return result.status();
      },
      Status::Internal("hang"));
}

TEST(ConnectTest, NobodyThereIsPeerDeadAtOnce) {
  Pair pair(LinkKind::kShm);
  EXPECT_EQ(ConnectTo(pair, "127.0.0.1", 1, 20 * kSecond).code(), StatusCode::kPeerDead);
}

TEST(ConnectTest, ANameIsLookedUp) {
  Pair pair(LinkKind::kShm);
  EXPECT_EQ(ConnectTo(pair, "localhost", pair.server->port(), 20 * kSecond).ToString(), "ok");
}

TEST(ConnectTest, ADaemonThatDoesNotAnswerHelloIsPeerDeadAtTheDeadline) {
  Pair pair(LinkKind::kShm);
  const auto listener = ListenTcp(*NumericAddress("127.0.0.1", 0));
  ASSERT_TRUE(listener.ok());
  const Status status =
      ConnectTo(pair, "127.0.0.1", LocalAddress(listener->get()).port(), 200 * kMillisecond);
  EXPECT_EQ(status.code(), StatusCode::kPeerDead) << status.ToString();
}

}  // namespace
}  // namespace terrace::test
