// Messages of one socket must reach their owner whole and in order, whatever it does meanwhile.
#include "transport/control_stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <utility>
#include <vector>

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

/// A stream over one end of a socket pair, with a loop that the test drives.
class ControlStreamTest : public testing::Test {
 protected:
  ControlStreamTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
    end_ = UniqueFd(ends[0]);
    peer_ = UniqueFd(ends[1]);
  }
  ~ControlStreamTest() override {
    OnLoop([this] { stream_.reset(); });
  }
  void Open(ControlStreamOwner& owner) {
    stream_ = std::make_unique<ControlStream>(*poll_, std::move(end_), 1 << 20, owner);
  }
  /// A turn of the loop, after `function`.
  void OnLoop(std::function<void()> function) {
    Signal next;
    loop_->Enqueue(std::move(function));
    loop_->Enqueue([&] { next.Set(); });
    ASSERT_TRUE(loop_->DriveUntil(next, clock_.Now() + 60 * kSecond));
  }
  /// False: the socket takes no more.
  [[nodiscard]] bool Say(std::span<const std::byte> body) const {
    const auto header = FrameHeaderFor(body.size());
    return ::send(peer_.get(), header.data(), header.size(), MSG_NOSIGNAL) == std::ssize(header) &&
           ::send(peer_.get(), body.data(), body.size(), MSG_NOSIGNAL) == std::ssize(body);
  }

  SteadyClock clock_;
  std::unique_ptr<Reactor> reactor_ =
      std::move(Reactor::Create({.name = "test", .shared = true}, clock_)).value();
  std::unique_ptr<SharedLoop> loop_ = std::move(SharedLoop::Create(*reactor_)).value();
  std::unique_ptr<SocketPoll> poll_ = std::move(SocketPoll::Create(*reactor_)).value();
  UniqueFd end_;
  UniqueFd peer_;
  std::unique_ptr<ControlStream> stream_;
};

TEST_F(ControlStreamTest, ReadingOnInsideAMessageNeitherNestsNorMixesMessages) {
  Impatient owner;
  Open(owner);
  owner.stream = stream_.get();
  stream_->AcceptDescriptors(1);
  // More than one read takes, so that the second message lies in two reads.
  constexpr std::size_t kMessageBytes = 40 << 10;
  for (unsigned char message = 1; message <= 3; ++message) {
    ASSERT_TRUE(Say(std::vector<std::byte>(kMessageBytes, std::byte{message})));
  }
  OnLoop([&] { ASSERT_TRUE(stream_->Start().ok()); });
  for (int turn = 0; turn < 20 && owner.heard.size() < 3; ++turn) OnLoop([] {});
  EXPECT_TRUE(owner.end.ok()) << owner.end.ToString();
  EXPECT_EQ(owner.heard, (std::vector<std::byte>{std::byte{1}, std::byte{2}, std::byte{3}}));
  EXPECT_EQ(owner.deepest, 1);
}

/// Sends on for each message that it hears, so that there is always another one.
class Flooded final : public ControlStreamOwner {
 public:
  void OnFrame(std::vector<std::byte> message) override {
    ++heard;
    more(std::move(message));
  }
  void OnStreamEnd(const Status& /*reason*/) override {}
  std::function<void(std::vector<std::byte>)> more;
  int heard = 0;
};

TEST_F(ControlStreamTest, APeerThatNeverStopsSendingDoesNotHoldTheReaderForGood) {
  Flooded owner;
  owner.more = [&](const std::vector<std::byte>& message) { ASSERT_TRUE(Say(message)); };
  Open(owner);
  stream_->AcceptDescriptors(1);
  for (int message = 0; message < 3; ++message) ASSERT_TRUE(Say(std::array<std::byte, 8>{}));
  OnLoop([&] {
    ASSERT_TRUE(stream_->Start().ok());
    stream_->ReadNow();
    EXPECT_EQ(owner.heard, 3) << "what had come by then";
  });
}

std::ptrdiff_t OpenDescriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

TEST_F(ControlStreamTest, APeerThatTakesNoDescriptorsDoesNotUseThemUp) {
  Flooded owner;
  Open(owner);
  OnLoop([&] {
    ASSERT_TRUE(stream_->Start().ok());
    const std::ptrdiff_t before = OpenDescriptors();
    Status status;
    int taken = 0;
    for (int message = 0; message < 10'000; ++message) {
      status = stream_->SendCopyOf(peer_.get(), std::vector<std::byte>(100));
      taken += status.ok() ? 1 : 0;
    }
    EXPECT_GT(taken, 10);
    EXPECT_EQ(status.code(), StatusCode::kRetry) << status.ToString();
    EXPECT_LE(OpenDescriptors(), before + 2);
  });
}

}  // namespace
}  // namespace terrace
