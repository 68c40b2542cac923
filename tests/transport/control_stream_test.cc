// Messages of one socket must reach their owner whole and in order, whatever it does meanwhile.
#include "transport/control_stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/shared_loop.h"

namespace terrace {
namespace {

/// Wants to hear at once what came after each message, as a client does that is lent a block of an
/// extent that it has not heard of.
class Impatient final : public ControlStreamOwner {
 public:
  void OnFrame(std::vector<std::byte> message) override {
    deepest = std::max(deepest, ++depth);
    heard.push_back(message.front());
    stream->ReadNow();
    --depth;
  }
  void OnStreamEnd(const Status& reason) override { end = reason; }
  ControlStream* stream = nullptr;
  std::vector<std::byte> heard;
  int depth = 0;
  int deepest = 0;
  Status end;
};

TEST(ControlStreamTest, ReadingOnInsideAMessageNeitherNestsNorMixesMessages) {
  SteadyClock clock;
  auto reactor = std::move(Reactor::Create({.name = "test", .shared = true}, clock)).value();
  auto loop = std::move(SharedLoop::Create(*reactor)).value();
  auto poll = std::move(SocketPoll::Create(*reactor)).value();
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
  const UniqueFd peer(ends[1]);
  Impatient owner;
  auto stream = std::make_unique<ControlStream>(*poll, UniqueFd(ends[0]), 1 << 20, owner);
  owner.stream = stream.get();
  stream->AcceptDescriptors();
  // More than one read takes, so that the second message lies in two reads.
  constexpr std::size_t kMessageBytes = 40 << 10;
  for (unsigned char message = 1; message <= 3; ++message) {
    const auto header = FrameHeaderFor(kMessageBytes);
    const std::vector<std::byte> body(kMessageBytes, std::byte{message});
    ASSERT_EQ(::send(peer.get(), header.data(), header.size(), 0), std::ssize(header));
    ASSERT_EQ(::send(peer.get(), body.data(), body.size(), 0), std::ssize(body));
  }
  loop->Enqueue([&] { ASSERT_TRUE(stream->Start().ok()); });
  for (int turn = 0; turn < 20 && owner.heard.size() < 3; ++turn) {
    Signal next;
    loop->Enqueue([&] { next.Set(); });
    ASSERT_TRUE(loop->DriveUntil(next, clock.Now() + 60 * kSecond));
  }
  EXPECT_TRUE(owner.end.ok()) << owner.end.ToString();
  EXPECT_EQ(owner.heard, (std::vector<std::byte>{std::byte{1}, std::byte{2}, std::byte{3}}));
  EXPECT_EQ(owner.deepest, 1);
  loop->Enqueue([&] { stream.reset(); });
  Signal last;
  loop->Enqueue([&] { last.Set(); });
  ASSERT_TRUE(loop->DriveUntil(last, clock.Now() + 60 * kSecond));
}

}  // namespace
}  // namespace terrace
