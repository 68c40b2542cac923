// One suite over every Link that moves bytes between a Server and a Channel.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/transport/harness.h"

namespace terrace::test {
namespace {

constexpr std::size_t kMiB = 1 << 20;

class LinkTest : public testing::TestWithParam<LinkKind> {};

TEST_P(LinkTest, PushedBlocksArriveWholeAtEverySize) {
  Pair pair(GetParam());
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::uint64_t request = 1;
  for (const std::size_t bytes :
       {std::size_t{4096}, std::size_t{256 << 10}, std::size_t{300'000}, kMiB, 3 * kMiB + 4096}) {
    std::vector<std::byte> frame(bytes);
    std::vector<std::byte> memory(bytes + 8192);
    FillPattern(frame, bytes);
    pair.Register(1, memory);
    pair.Expect(request, {std::span(memory).subspan(4096, bytes)});
    EXPECT_EQ(Runner::Take(pair.Push(frame, request, 4096), Status::Internal("hang")).ToString(),
              "ok");
    pair.Reply(request, 1);
    EXPECT_EQ(pair.Arrived(request, 0), StatusCode::kOk) << bytes;
    EXPECT_TRUE(std::equal(frame.begin(), frame.end(), memory.begin() + 4096)) << bytes;
    EXPECT_EQ(memory[4095], std::byte{0});
    EXPECT_EQ(memory[4096 + bytes], std::byte{0});
    EXPECT_EQ(pair.Withdraw(request), StatusCode::kOk);
    ++request;
  }
  EXPECT_TRUE(pair.holds.released.WaitFor([](const auto& tokens) { return tokens.size() == 5; }));
}

TEST_P(LinkTest, PulledBlocksArriveWithTheirChecksums) {
  Pair pair(GetParam());
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::uint64_t request = 1;
  for (const std::size_t bytes :
       {std::size_t{4096}, std::size_t{256 << 10}, std::size_t{300'000}, kMiB, 3 * kMiB + 4096}) {
    std::vector<std::byte> frame(bytes);
    std::vector<std::byte> memory(bytes);
    FillPattern(memory, bytes);
    pair.Register(1, memory);
    pair.Offer(request, {memory});
    std::vector<std::uint64_t> checksums;
    EXPECT_EQ(Runner::Take(pair.Pull(frame, request, 0, {{1, 0, bytes}}, &checksums),
                           Status::Internal("hang"))
                  .ToString(),
              "ok");
    EXPECT_EQ(frame, memory) << bytes;
    EXPECT_EQ(checksums, ChecksumsOf(memory)) << bytes;
    pair.Reply(request, 1);
    EXPECT_EQ(pair.Withdraw(request), StatusCode::kOk);
    ++request;
  }
  EXPECT_TRUE(pair.holds.released.WaitFor([](const auto& tokens) { return tokens.size() == 5; }));
}

TEST_P(LinkTest, ManyBlocksAtOnceKeepApart) {
  Pair pair(GetParam());
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  constexpr std::size_t kBlocks = 40;
  constexpr std::size_t kBytes = 600'000;
  std::vector<std::byte> frames(kBlocks * kBytes);
  std::vector<std::byte> memory(kBlocks * kBytes);
  FillPattern(frames, 5);
  pair.Register(1, memory);
  std::vector<std::span<std::byte>> destinations;
  for (std::size_t i = 0; i < kBlocks; ++i) {
    destinations.push_back(std::span(memory).subspan(i * kBytes, kBytes));
  }
  pair.Expect(9, destinations);
  std::vector<std::future<Status>> pushes;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    const auto frame = std::span(frames).subspan(i * kBytes, kBytes);
    pushes.push_back(
        pair.Push(frame, 9, i, {{1, i * kBytes, kBytes}}, 20 * kSecond, ChecksumsOf(frame)));
  }
  for (auto& push : pushes) {
    EXPECT_TRUE(Runner::Take(std::move(push), Status::Internal("hang")).ok());
  }
  pair.Reply(9, kBlocks);
  for (std::uint32_t i = 0; i < kBlocks; ++i) EXPECT_EQ(pair.Arrived(9, i), StatusCode::kOk);
  EXPECT_EQ(memory, frames);
}

TEST_P(LinkTest, APieceOutsideItsRegionIsInvalidAndWritesNothing) {
  Pair pair(GetParam());
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::vector<std::byte> frame(8192, std::byte{7});
  std::vector<std::byte> memory(8192);
  pair.Register(1, memory);
  const std::vector<std::vector<Piece>> bad = {
      {{1, 1, 8192}},                                       // one byte too far
      {{2, 0, 8192}},                                       // no such region
      {{1, ~std::uint64_t{0}, 8192}},                       // offset overflows
      {{1, 0, ~std::uint64_t{0}}},                          // length overflows
      {{1, 0, 4096}},                                       // too short for the block
      {{1, 0, 8192}, {1, 0, 8192}},                         // too long for the block
      {{1, 0, 4096}, {1, 4096, ~std::uint64_t{0} - 4095}},  // the sum overflows
      {},
  };
  std::uint64_t request = 1;
  for (const auto& pieces : bad) {
    const Status pushed =
        Runner::Take(pair.Push(frame, request++, 0, pieces, kSecond, ChecksumsOf(frame)), Status());
    EXPECT_EQ(pushed.code(), StatusCode::kInvalid) << pushed.ToString();
    std::vector<std::uint64_t> checksums;
    const Status pulled =
        Runner::Take(pair.Pull(frame, request++, 0, pieces, &checksums, kSecond), Status());
    EXPECT_EQ(pulled.code(), StatusCode::kInvalid) << pulled.ToString();
  }
  EXPECT_TRUE(std::all_of(memory.begin(), memory.end(),
                          [](std::byte byte) { return byte == std::byte{0}; }));
  EXPECT_TRUE(pair.holds.released.WaitFor(
      [&](const auto& tokens) { return tokens.size() == request - 1; }));
}

TEST_P(LinkTest, AWrongChecksumIsFoundByTheReceiver) {
  ChannelOptions options;
  options.verify_same_host = true;
  Pair pair(GetParam(), options);
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::vector<std::byte> frame(kMiB);
  std::vector<std::byte> memory(2 * kMiB);
  FillPattern(frame, 3);
  pair.Register(1, memory);
  pair.Expect(1, {std::span(memory).first(kMiB), std::span(memory).last(kMiB)});
  auto wrong = ChecksumsOf(frame);
  wrong[2] ^= 1;
  EXPECT_TRUE(
      Runner::Take(pair.Push(frame, 1, 0, {{1, 0, kMiB}}, 20 * kSecond, wrong), Status()).ok());
  EXPECT_TRUE(
      Runner::Take(pair.Push(frame, 1, 1, {{1, kMiB, kMiB}}, 20 * kSecond, ChecksumsOf(frame)),
                   Status())
          .ok());
  pair.Reply(1, 2);
  EXPECT_EQ(pair.Arrived(1, 0), StatusCode::kCorrupt);
  EXPECT_EQ(pair.Arrived(1, 1), StatusCode::kOk);
}

TEST_P(LinkTest, ADeadlineThatHasPassedMovesNothing) {
  Pair pair(GetParam());
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::vector<std::byte> frame(kMiB, std::byte{1});
  std::vector<std::byte> memory(kMiB);
  pair.Register(1, memory);
  EXPECT_EQ(Runner::Take(pair.Push(frame, 1, 0, -kMillisecond), Status()).code(),
            StatusCode::kTimeout);
  EXPECT_EQ(memory[0], std::byte{0});
  EXPECT_TRUE(pair.holds.released.WaitFor([](const auto& tokens) { return tokens.size() == 1; }));
}

TEST_P(LinkTest, AnEndedLinkAnswersPeerDeadAtOnce) {
  Pair pair(GetParam());
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::vector<std::byte> frame(kMiB);
  std::vector<std::byte> memory(kMiB);
  pair.Register(1, memory);
  pair.server_runner.Call([&] { pair.peer->link().Close(); });
  EXPECT_EQ(Runner::Take(pair.Push(frame, 1, 0), Status()).code(), StatusCode::kPeerDead);
  std::vector<std::uint64_t> checksums;
  EXPECT_EQ(Runner::Take(pair.Pull(frame, 2, 0, {{1, 0, kMiB}}, &checksums), Status()).code(),
            StatusCode::kPeerDead);
  EXPECT_TRUE(pair.handler.log.WaitFor([](const auto& log) { return !log.disconnected.empty(); }));
  EXPECT_TRUE(
      pair.channel_handler.log.WaitFor([](const auto& log) { return !log.closed.empty(); }));
  EXPECT_EQ(pair.handler.log.Get().disconnected.size(), 1u);
  EXPECT_EQ(pair.holds.released.Get().size(), 2u);
}

TEST_P(LinkTest, AWithdrawnRequestIsQuietWhenTheDaemonSaysSo) {
  Pair pair(GetParam());
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::vector<std::byte> memory(kMiB);
  pair.Register(1, memory);
  pair.Expect(4, {memory});
  pair.Send(BuildMessage<wire::Get>(pair.head(4)));
  ASSERT_TRUE(pair.handler.log.WaitFor([](const auto& log) { return log.requests.size() == 1; }));
  EXPECT_GT(pair.handler.log.Get().requests[0].second, 5 * kSecond);
  const StatusCode code = pair.Withdraw(4);
  pair.Send(BuildMessage<wire::Cancel>(pair.head(), [](flatbuffers::FlatBufferBuilder& builder) {
    return wire::CreateCancel(builder, 4);
  }));
  if (GetParam() == LinkKind::kTcp) {
    EXPECT_EQ(code, StatusCode::kOk);  // the library copies: nobody else writes the memory
  } else {
    EXPECT_EQ(code, StatusCode::kPending);
    EXPECT_TRUE(pair.channel_handler.log.WaitFor(
        [](const auto& log) { return log.quiet == std::vector<std::uint64_t>{4}; }));
  }
  EXPECT_TRUE(pair.handler.log.WaitFor(
      [](const auto& log) { return log.cancelled == std::vector<std::uint64_t>{4}; }));
  // The handler has not noticed yet and goes on: nothing may move any more.
  std::vector<std::byte> frame(kMiB, std::byte{9});
  EXPECT_EQ(Runner::Take(pair.Push(frame, 4, 0), Status()).code(), StatusCode::kCancelled);
  EXPECT_EQ(memory[0], std::byte{0});
}

TEST(RdmaLinkTest, ATransferThatCameTooLateIsAnsweredWhenTheNicWritesNoMore) {
  constexpr std::size_t kBytes = 64 * kMiB;
  Pair pair(LinkKind::kRdma);
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::vector<std::byte> frame(kBytes, std::byte{9});
  std::vector<std::byte> memory(kBytes);
  pair.Register(1, memory);
  pair.Expect(4, {memory});
  auto thaw = pair.FreezeClient();  // emulated puts need the client's thread
  EXPECT_EQ(Runner::Take(pair.Push(frame, 4, 0, 100 * kMillisecond), Status()).code(),
            StatusCode::kTimeout);
  EXPECT_EQ(pair.counters().quarantined.load(), 1u);
  pair.server_runner.Call([&] {
    pair.peer->link().Send(
        BuildMessage<wire::BlocksReply>(pair.head(4), [](flatbuffers::FlatBufferBuilder& builder) {
          const std::vector<std::uint8_t> timeout{static_cast<std::uint8_t>(StatusCode::kTimeout)};
          return wire::CreateBlocksReply(builder, builder.CreateVector(timeout));
        }));
  });
  thaw->set_value();
  ASSERT_TRUE(pair.channel_handler.log.WaitFor([](const ClientLog& log) {
    return std::ranges::any_of(
        log.messages, [](const auto& message) { return message.first == wire::Body_BlocksReply; });
  }));
  // The answer is there: the memory is the caller's again.
  pair.client_runner.Call([&] { std::ranges::fill(memory, std::byte{0xA5}); });
  while (pair.counters().quarantined.load() > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  pair.RoundTrip();
  pair.client_runner.Call(
      [&] { EXPECT_EQ(std::ranges::count(memory, std::byte{0xA5}), static_cast<long>(kBytes)); });
}

TEST(RdmaLinkTest, AClientThatGivesManyMessagesTheNumberOfALateRequestIsLeft) {
  Pair pair(LinkKind::kRdma);
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::vector<std::byte> frame(64 * kMiB);
  std::vector<std::byte> memory(64 * kMiB);
  pair.Register(1, memory);
  pair.Expect(4, {memory});
  auto thaw = pair.FreezeClient();
  EXPECT_EQ(Runner::Take(pair.Push(frame, 4, 0, 100 * kMillisecond), Status()).code(),
            StatusCode::kTimeout);
  pair.server_runner.Call([&] {  // as answers to pings are
    for (int i = 0; i < 100; ++i) pair.peer->link().Send(BuildMessage<wire::Empty>(pair.head(4)));
  });
  EXPECT_TRUE(pair.handler.log.WaitFor([](const auto& log) { return !log.disconnected.empty(); }));
  EXPECT_NE(pair.handler.log.Get().disconnected.front().find("number of request 4"),
            std::string::npos);
  thaw->set_value();
  EXPECT_TRUE(
      pair.channel_handler.log.WaitFor([](const auto& log) { return !log.closed.empty(); }));
}

TEST_P(LinkTest, TheClientLeavingInMidTransferEndsItAndReleasesTheHold) {
  if (GetParam() == LinkKind::kRdma) {
    GTEST_SKIP() << "puts emulated over TCP write into memory that is not registered any more";
  }
  Pair pair(GetParam());
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::vector<std::byte> frame(64 * kMiB);
  std::vector<std::byte> memory(64 * kMiB);
  pair.Register(1, memory);
  pair.Expect(1, {memory});
  auto thaw = pair.FreezeClient();
  pair.client_runner.reactor().Post([&] { pair.channel->Close(); });
  auto push = pair.Push(frame, 1, 0);
  thaw->set_value();
  const Status status = Runner::Take(std::move(push), Status());
  // It may have been whole already: copies need no client.
  EXPECT_TRUE(status.ok() || status.code() == StatusCode::kPeerDead) << status.ToString();
  EXPECT_TRUE(pair.holds.released.WaitFor([](const auto& tokens) { return tokens.size() == 1; }));
  EXPECT_TRUE(pair.handler.log.WaitFor([](const auto& log) { return !log.disconnected.empty(); }));
  pair.client_runner.Call([&] { EXPECT_FALSE(pair.channel->Alive()); });  // `memory` may go
}

INSTANTIATE_TEST_SUITE_P(All, LinkTest,
                         testing::Values(LinkKind::kTcp, LinkKind::kShm, LinkKind::kRdma),
                         [](const auto& info) { return std::string(LinkKindName(info.param)); });

}  // namespace
}  // namespace terrace::test
