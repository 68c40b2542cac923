// RingStream: messages of any size between two reactors, and a peer that breaks the rules.
#include "transport/shm/ring_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/transport/harness.h"

namespace terrace::test {
namespace {

struct Heard {
  std::vector<std::vector<std::byte>> frames;
  std::vector<std::string> ends;
};

class Listener final : public ControlStreamOwner {
 public:
  void OnFrame(std::vector<std::byte> message) override {
    heard.Update([&](Heard& all) { all.frames.push_back(std::move(message)); });
  }
  void OnStreamEnd(const Status& reason) override {
    heard.Update([&](Heard& all) { all.ends.push_back(reason.ToString()); });
  }
  Watched<Heard> heard;
};

/// The daemon's and the client's end, each on a reactor of its own.
class RingStreamTest : public testing::TestWithParam<bool> {
 protected:
  RingStreamTest() : daemon_("daemon", GetParam()), client_("client", GetParam()) {
    UniqueFd fd;
    page_ = std::move(SharedPage::Create(&fd)).value();
    const auto client_page = std::move(SharedPage::Open(fd.get())).value();
    auto bells = std::move(Bell::MakePair()).value();
    auto client_ends = std::move(bells[1]).Take();
    client_rings_ = client_ends[0].get();
    client_hears_at_ = client_ends[1].get();
    daemon_.Start();
    client_.Start();
    daemon_.Call([&] {
      daemon_hub_ = std::move(RingHub::Create(daemon_.reactor())).value();
      daemon_end_ = std::make_unique<RingStream>(*daemon_hub_, page_, RingStream::Side::kDaemon,
                                                 std::move(bells[0]), kFrameMax, daemon_hears_);
    });
    client_.Call([&] {
      client_hub_ = std::move(RingHub::Create(client_.reactor())).value();
      client_end_ = std::make_unique<RingStream>(
          *client_hub_, client_page, RingStream::Side::kClient,
          Bell(std::move(client_ends[0]), std::move(client_ends[1])), kFrameMax, client_hears_);
    });
  }
  ~RingStreamTest() override {
    daemon_.Call([&] {
      daemon_end_.reset();
      daemon_hub_.reset();
    });
    client_.Call([&] {
      client_end_.reset();
      client_hub_.reset();
    });
    daemon_.Stop();
    client_.Stop();
  }

  static constexpr std::size_t kFrameMax = 1 << 20;
  Runner daemon_;
  Runner client_;
  Listener daemon_hears_;
  Listener client_hears_;
  std::shared_ptr<SharedPage> page_;
  int client_rings_ = -1;
  int client_hears_at_ = -1;
  std::unique_ptr<RingHub> daemon_hub_, client_hub_;
  std::unique_ptr<RingStream> daemon_end_, client_end_;
};

std::vector<std::byte> Message(std::size_t bytes, std::uint64_t seed) {
  std::vector<std::byte> message(bytes);
  FillPattern(message, seed);
  return message;
}

TEST_P(RingStreamTest, MessagesOfAnySizeComeWholeAndInOrderBothWays) {
  SeededRandom random(3);
  std::vector<std::vector<std::byte>> sent;
  for (std::uint64_t i = 0; i < 300; ++i) {
    // Most are small, some are longer than the ring.
    const std::size_t bytes = 1 + random.Below(i % 10 == 0 ? 300'000 : 2'000);
    sent.push_back(Message(bytes, i));
  }
  client_.reactor().Post([&] {
    for (const auto& message : sent) client_end_->Send(message);
  });
  daemon_.reactor().Post([&] {
    for (const auto& message : sent) daemon_end_->Send(message);
  });
  for (Listener* listener : {&daemon_hears_, &client_hears_}) {
    ASSERT_TRUE(listener->heard.WaitFor(
        [&](const Heard& all) { return all.frames.size() == sent.size(); }));
    EXPECT_EQ(listener->heard.Get().frames, sent);
  }
}

TEST_P(RingStreamTest, ASleeperIsWokenForEveryMessage) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    client_.reactor().Post([&, i] { client_end_->Send(Message(64, i)); });
    ASSERT_TRUE(
        daemon_hears_.heard.WaitFor([&](const Heard& all) { return all.frames.size() == i + 1; }));
    daemon_.reactor().Post([&, i] { daemon_end_->Send(Message(64, i)); });
    ASSERT_TRUE(
        client_hears_.heard.WaitFor([&](const Heard& all) { return all.frames.size() == i + 1; }));
    if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST_P(RingStreamTest, AFrameThatIsNoneEndsTheStreamWithAReason) {
  // As a client would that writes to the ring itself.
  RingWriter writer(page_->layout().to_daemon, page_->layout().to_daemon_bytes);
  const std::vector<std::byte> rubbish(100, std::byte{0x5a});
  writer.Write(rubbish);
  (void)writer.Publish();
  daemon_.Call([&] { daemon_hub_->Warm(*daemon_end_); });
  ASSERT_TRUE(daemon_hears_.heard.WaitFor([](const Heard& all) { return !all.ends.empty(); }));
  EXPECT_NE(daemon_hears_.heard.Get().ends[0].find("no magic"), std::string::npos);
}

TEST_P(RingStreamTest, AnImpossibleEndEndsTheStreamAndReadsNothing) {
  page_->layout().to_daemon.head = 1ULL << 40;
  daemon_.Call([&] { daemon_hub_->Warm(*daemon_end_); });
  ASSERT_TRUE(daemon_hears_.heard.WaitFor([](const Heard& all) { return !all.ends.empty(); }));
  EXPECT_NE(daemon_hears_.heard.Get().ends[0].find("impossible"), std::string::npos);
  EXPECT_TRUE(daemon_hears_.heard.Get().frames.empty());
  daemon_.Call([&] { daemon_end_->Send(Message(10, 1)); });  // dropped, and no crash
}

TEST_P(RingStreamTest, APeerThatTakesNothingIsEndedBeforeMemoryIs) {
  client_.Call([&] { client_end_->Close(); });  // it never reads again
  daemon_.Call([&] {
    for (std::size_t sent = 0; sent <= ControlStream::kQueuedBytesMax + (2 << 20);
         sent += kFrameMax) {
      daemon_end_->Send(Message(kFrameMax, 0));
    }
  });
  ASSERT_TRUE(daemon_hears_.heard.WaitFor([](const Heard& all) { return !all.ends.empty(); }));
  EXPECT_NE(daemon_hears_.heard.Get().ends[0].find("does not take"), std::string::npos);
}

TEST_P(RingStreamTest, AClientThatRingsWithoutNeedStopsNobody) {
  for (int ring = 0; ring < 1000; ++ring) {
    const std::uint64_t one = 1;
    (void)!::write(client_rings_, &one, sizeof one);
    if (ring % 100 == 0) daemon_.Call([] {});
  }
  client_.Call([&] { client_end_->Send(Message(64, 1)); });
  EXPECT_TRUE(daemon_hears_.heard.WaitFor([](const Heard& all) { return all.frames.size() == 1; }));
}

TEST_P(RingStreamTest, AClientThatChangesItsDescriptorsStopsNobody) {
  for (const int fd : {client_rings_, client_hears_at_}) {
    ASSERT_EQ(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
  }
  const std::uint64_t most = ~0ULL - 1;  // the next ring of anybody who waits would wait
  ASSERT_EQ(::write(client_rings_, &most, sizeof most), static_cast<ssize_t>(sizeof most));
  daemon_.Call([&] {
    for (std::uint64_t i = 0; i < 100; ++i) daemon_end_->Send(Message(64, i));
  });
  EXPECT_TRUE(
      client_hears_.heard.WaitFor([](const Heard& all) { return all.frames.size() == 100; }));
}

INSTANTIATE_TEST_SUITE_P(Loops, RingStreamTest, testing::Bool(), [](const auto& about) {
  return std::string(about.param ? "IoUring" : "Epoll");
});

}  // namespace
}  // namespace terrace::test
