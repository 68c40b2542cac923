// Blocks and messages of one data connection must arrive whole and in order, or not at all, and
// what was abandoned must not be read any more.
#include "transport/tcp/data_stream.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/shared_loop.h"
#include "transport/tcp/block_receiver.h"

namespace terrace {
namespace {

constexpr DataSender::Identity kIdentity{.token = 77, .incarnation = 5};
constexpr std::size_t kKiB = 1024;

std::vector<std::byte> Pattern(std::size_t bytes, unsigned salt) {
  std::vector<std::byte> pattern(bytes);
  std::uint32_t state = salt + 1;
  for (std::byte& byte : pattern) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::byte>(state >> 24);
  }
  return pattern;
}

/// Notes what it hears, in order: a letter and a number each.
class Listener final : public DataStreamOwner {
 public:
  void OnData(const DataHeader& header, std::span<const std::byte> payload) override {
    if (header.kind == DataKind::kBlock) {
      BlockReceiver* const receiver =
          header.block < receivers.size() ? &receivers[header.block] : nullptr;
      if (receiver != nullptr && receiver->Take(header, payload) == BlockReceiver::State::kWhole) {
        Note("block " + std::to_string(header.block));
      }
    } else {
      Note("kind " + std::to_string(static_cast<int>(header.kind)));
    }
  }
  void OnControl(std::vector<std::byte> message) override {
    Note("control " + std::to_string(message.size()));
    controls.push_back(std::move(message));
  }
  void OnBlockSent(const std::shared_ptr<Outgoing>& outgoing) override {
    Note("sent " + std::to_string(outgoing->block));
  }
  void OnDataEnd(const Status& reason) override {
    Note("end");
    end = reason;
  }
  /// A block is to come; `memory` stays.
  void Expect(std::vector<std::byte>& memory) {
    pieces.push_back(std::make_unique<PieceMemory::Piece>(memory));
    receivers.emplace_back(std::span<const PieceMemory::Piece>(pieces.back().get(), 1));
  }

  std::vector<std::string> heard;
  std::vector<std::vector<std::byte>> controls;
  std::vector<std::unique_ptr<PieceMemory::Piece>> pieces;
  std::vector<BlockReceiver> receivers;
  Status end;
  std::function<void()> react;  // inside each call

 private:
  void Note(std::string what) {
    heard.push_back(std::move(what));
    if (react) react();
  }
};

/// The two ends of one data connection, on one loop that the test drives.
class DataStreamTest : public testing::Test {
 protected:
  DataStreamTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
    fds_[0] = UniqueFd(ends[0]);
    fds_[1] = UniqueFd(ends[1]);
  }
  ~DataStreamTest() override {
    OnLoop([this] {
      daemon_.reset();
      client_.reset();
    });
  }
  void Start(bool client = true) {
    OnLoop([&, client] {
      const DataStream::Shared shared{*poll_, reactor_->scheduler(), shelf_};
      daemon_ = std::make_unique<DataStream>(shared, std::move(fds_[0]), DataStream::Side::kDaemon,
                                             kIdentity, at_daemon_);
      ASSERT_TRUE(daemon_->Start().ok());
      if (!client) return;
      client_ = std::make_unique<DataStream>(shared, std::move(fds_[1]), DataStream::Side::kClient,
                                             kIdentity, at_client_);
      ASSERT_TRUE(client_->Start().ok());
    });
  }
  void OnLoop(std::function<void()> function) {
    Signal next;
    loop_->Enqueue(std::move(function));
    loop_->Enqueue([&] { next.Set(); });
    ASSERT_TRUE(loop_->DriveUntil(next, clock_.Now() + 60 * kSecond));
  }
  /// Turns the loop until `true`, at most a minute.
  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    const Nanos end = clock_.Now() + 60 * kSecond;
    while (!done() && clock_.Now() < end) OnLoop([] {});
    return done();
  }
  std::shared_ptr<Outgoing> Block(std::uint32_t number, std::span<const std::byte> bytes) {
    auto block = std::make_shared<Outgoing>();
    block->block = number;
    block->bytes = bytes;
    block->size = bytes.size();
    return block;
  }
  /// Says so many bytes to the daemon, past any stream.
  void SayRaw(std::span<const std::byte> bytes) {
    ASSERT_EQ(::send(fds_[1].get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), std::ssize(bytes));
  }

  SteadyClock clock_;
  std::unique_ptr<Reactor> reactor_ =
      std::move(Reactor::Create({.name = "test", .shared = true}, clock_)).value();
  std::unique_ptr<SharedLoop> loop_ = std::move(SharedLoop::Create(*reactor_)).value();
  std::unique_ptr<SocketPoll> poll_ = std::move(SocketPoll::Create(*reactor_)).value();
  PayloadShelf shelf_;
  std::array<UniqueFd, 2> fds_;
  Listener at_daemon_;
  Listener at_client_;
  std::unique_ptr<DataStream> daemon_;
  std::unique_ptr<DataStream> client_;
};

TEST_F(DataStreamTest, BlocksAndMessagesArriveWholeAndAReplyAfterItsBlocks) {
  Start();
  const auto first = Pattern(600 * kKiB, 1);
  const auto second = Pattern(1, 2);
  const auto third = Pattern(256 * kKiB, 3);
  std::vector<std::byte> a(first.size());
  std::vector<std::byte> b(second.size());
  std::vector<std::byte> c(third.size());
  for (auto* memory : {&a, &b, &c}) at_client_.Expect(*memory);
  const auto reply = Pattern(200 * kKiB, 4);
  at_daemon_.react = [&] {
    if (at_daemon_.heard.size() == 3) ASSERT_TRUE(daemon_->SendControl(reply));
  };
  OnLoop([&] {
    daemon_->Send(Block(0, first));
    daemon_->Send(Block(1, second));
    daemon_->Send(Block(2, third));
  });
  ASSERT_TRUE(Until([&] { return at_client_.heard.size() == 4; }));
  EXPECT_EQ(at_daemon_.heard, (std::vector<std::string>{"sent 0", "sent 1", "sent 2"}));
  EXPECT_EQ(at_client_.heard,
            (std::vector<std::string>{"block 0", "block 1", "block 2", "control 204800"}));
  EXPECT_TRUE(a == first && b == second && c == third && at_client_.controls.at(0) == reply);
}

TEST_F(DataStreamTest, ABlockInPiecesIsGatheredAndBothWaysAreOpenAtOnce) {
  Start();
  auto left = Pattern(300 * kKiB, 1);
  auto right = Pattern(70'001, 2);
  const std::vector<PieceMemory::Piece> pieces{left, right};
  std::vector<std::byte> whole(left.size() + right.size());
  at_daemon_.Expect(whole);
  const auto down = Pattern(2048 * kKiB, 3);
  std::vector<std::byte> arrived(down.size());
  at_client_.Expect(arrived);
  OnLoop([&] {
    auto up = std::make_shared<Outgoing>();
    up->size = whole.size();
    up->scattered = PieceWalk(pieces);
    client_->Send(up);
    daemon_->Send(Block(0, down));
  });
  ASSERT_TRUE(Until([&] { return at_client_.heard.size() == 2 && at_daemon_.heard.size() == 2; }));
  EXPECT_TRUE(arrived == down);
  EXPECT_TRUE(std::equal(left.begin(), left.end(), whole.begin()));
  EXPECT_TRUE(std::equal(right.begin(), right.end(), whole.begin() + std::ssize(left)));
}

TEST_F(DataStreamTest, AnAbandonedBlockIsNotReadAnyMoreAndTheStreamGoesOn) {
  Start(false);  // nobody reads: the socket takes a part of a message
  const std::size_t bytes = 4 << 20;
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const auto block = Block(0, {static_cast<const std::byte*>(memory), bytes});
  OnLoop([&] { daemon_->Send(block); });
  OnLoop([] {});
  EXPECT_GT(block->taken, 0u);
  EXPECT_FALSE(block->ended);
  OnLoop([&] {
    daemon_->Abandon(block);
    // A read of it is a crash from here on.
    ASSERT_EQ(::mprotect(memory, bytes, PROT_NONE), 0);
  });
  EXPECT_TRUE(block->ended);
  const auto next = Pattern(300 * kKiB, 9);
  std::vector<std::byte> arrived(next.size());
  std::vector<std::byte> never(bytes);
  at_client_.Expect(never);
  at_client_.Expect(arrived);
  OnLoop([&] {
    const DataStream::Shared shared{*poll_, reactor_->scheduler(), shelf_};
    client_ = std::make_unique<DataStream>(shared, std::move(fds_[1]), DataStream::Side::kClient,
                                           kIdentity, at_client_);
    ASSERT_TRUE(client_->Start().ok());
    daemon_->Send(Block(1, next));
  });
  ASSERT_TRUE(Until([&] { return at_client_.heard.size() == 1; }));
  EXPECT_EQ(at_client_.heard.front(), "block 1");
  EXPECT_TRUE(arrived == next);
  EXPECT_EQ(at_daemon_.heard, std::vector<std::string>{"sent 1"});
  EXPECT_EQ(at_client_.receivers[0].state(), BlockReceiver::State::kWaiting);
  ::munmap(memory, bytes);
}

TEST_F(DataStreamTest, WhatIsNoDataMessageEndsTheStream) {
  using Change = std::function<void(DataHeader&)>;
  const std::vector<std::pair<const char*, Change>> changes = {
      {"token", [](DataHeader& header) { header.token ^= 1; }},
      {"incarnation", [](DataHeader& header) { header.incarnation ^= 1; }},
      {"reserved", [](DataHeader& header) { header.reserved = 1; }},
      {"a kind that nobody has", [](DataHeader& header) { header.kind = DataKind{9}; }},
      {"a client's kOpened", [](DataHeader& header) { header.kind = DataKind::kOpened; }},
      {"a client's kPull", [](DataHeader& header) { header.kind = DataKind::kPull; }},
      {"a client's kControl",
       [](DataHeader& header) {
         header.kind = DataKind::kControl;
         header.length = 1;
       }},
      {"kRefuse with bytes",
       [](DataHeader& header) {
         header.kind = DataKind::kRefuse;
         header.length = 1;
       }},
      {"too long",
       [](DataHeader& header) {
         header.kind = DataKind::kBlock;
         header.block_bytes = header.length = kDataPayloadMax + 1;
       }},
      {"past the block's end",
       [](DataHeader& header) {
         header.kind = DataKind::kBlock;
         header.block_bytes = 10;
         header.length = 11;
       }},
      {"an offset between two pieces",
       [](DataHeader& header) {
         header.kind = DataKind::kBlock;
         header.block_bytes = 4096;
         header.offset = 5;
         header.length = 4091;
       }},
      {"an offset at the end",
       [](DataHeader& header) {
         header.kind = DataKind::kBlock;
         header.block_bytes = header.offset = kDataPayloadMax;
       }},
  };
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
    OnLoop([this] { daemon_.reset(); });
    fds_[0] = UniqueFd(ends[0]);
    fds_[1] = UniqueFd(ends[1]);
    at_daemon_.heard.clear();
    Start(false);
    DataHeader header;
    header.token = kIdentity.token;
    header.incarnation = kIdentity.incarnation;
    header.kind = DataKind::kRefuse;
    SayRaw(DataHeaderBytes(header));  // a good one before
    change(header);
    SayRaw(DataHeaderBytes(header));
    ASSERT_TRUE(Until([&] { return at_daemon_.heard.size() == 2; }));
    EXPECT_EQ(at_daemon_.heard, (std::vector<std::string>{"kind 3", "end"}));
    EXPECT_EQ(at_daemon_.end.code(), StatusCode::kInvalid) << at_daemon_.end.ToString();
    EXPECT_FALSE(daemon_->open());
  }
}

TEST_F(DataStreamTest, AMessageThatIsNotWhatWasSentIsCorruptAndABlockOfThatKindIsNotWhole) {
  OnLoop([&] {
    const DataStream::Shared shared{*poll_, reactor_->scheduler(), shelf_};
    client_ = std::make_unique<DataStream>(shared, std::move(fds_[0]), DataStream::Side::kClient,
                                           kIdentity, at_client_);
    ASSERT_TRUE(client_->Start().ok());
  });
  std::vector<std::byte> memory(100);
  at_client_.Expect(memory);
  const auto bytes = Pattern(100, 1);
  DataHeader header;
  header.token = kIdentity.token;
  header.incarnation = kIdentity.incarnation;
  header.kind = DataKind::kBlock;
  header.block_bytes = header.length = 100;
  header.checksum = Checksum64(bytes) ^ 1;
  SayRaw(DataHeaderBytes(header));
  SayRaw(bytes);
  ASSERT_TRUE(
      Until([&] { return at_client_.receivers[0].state() != BlockReceiver::State::kWaiting; }));
  EXPECT_EQ(at_client_.receivers[0].state(), BlockReceiver::State::kCorrupt);
  EXPECT_TRUE(at_client_.heard.empty());
  header.kind = DataKind::kControl;
  header.block_bytes = 0;
  SayRaw(DataHeaderBytes(header));
  SayRaw(bytes);
  ASSERT_TRUE(Until([&] { return !at_client_.heard.empty(); }));
  EXPECT_EQ(at_client_.end.code(), StatusCode::kCorrupt) << at_client_.end.ToString();
  EXPECT_TRUE(at_client_.controls.empty());
}

TEST_F(DataStreamTest, TheOwnerMayDestroyTheStreamInsideAnyCall) {
  for (const bool destroys : {true, false}) {
    for (const auto& at : {std::string("block 0"), std::string("control 9"), std::string("sent 0"),
                           std::string("kind 4"), std::string("end")}) {
      SCOPED_TRACE(at + (destroys ? ", destroyed" : ", closed"));
      OnLoop([this] {
        daemon_.reset();
        client_.reset();
      });
      std::array<int, 2> ends{};
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
      fds_[0] = UniqueFd(ends[0]);
      fds_[1] = UniqueFd(ends[1]);
      Listener daemon;
      Listener client;
      std::swap(daemon, at_daemon_);
      std::swap(client, at_client_);
      Start();
      const auto bytes = Pattern(600 * kKiB, 1);
      std::vector<std::byte> memory(bytes.size());
      at_client_.Expect(memory);
      const auto react = [&](Listener& listener, std::unique_ptr<DataStream>& stream) {
        return [&, destroys, at] {
          if (listener.heard.back() != at) return;
          if (destroys) {
            stream.reset();
          } else {
            stream->Close(Status(StatusCode::kPeerDead, "closed in a call"));
          }
        };
      };
      at_client_.react = react(at_client_, client_);
      at_daemon_.react = react(at_daemon_, daemon_);
      OnLoop([&] {
        DataHeader opened;
        opened.kind = DataKind::kOpened;
        daemon_->SendHeader(opened);
        daemon_->Send(Block(0, bytes));
      });
      for (int turn = 0; turn < 20; ++turn) OnLoop([] {});
      OnLoop([&] {
        if (daemon_ != nullptr) ASSERT_TRUE(daemon_->SendControl(Pattern(9, 9)));
      });
      for (int turn = 0; turn < 20; ++turn) OnLoop([] {});
      OnLoop([this] { daemon_.reset(); });
      for (int turn = 0; turn < 5; ++turn) OnLoop([] {});
      at_client_.react = nullptr;
      at_daemon_.react = nullptr;
    }
  }
}

TEST_F(DataStreamTest, WhatWaitsFailsWhenTheStreamIsClosedAndMessagesDoNotPileUp) {
  Start(false);
  const auto bytes = Pattern(4 << 20, 1);
  const auto first = Block(0, bytes);
  const auto second = Block(1, bytes);
  OnLoop([&] {
    daemon_->Send(first);
    daemon_->Send(second);
  });
  OnLoop([&] {
    std::size_t queued = 0;
    while (daemon_->SendControl(std::vector<std::byte>(kControlBytesMax))) ++queued;
    EXPECT_EQ(queued, DataSender::kControlQueuedMax / kControlBytesMax);
    daemon_->Close(Status(StatusCode::kPeerDead, "enough"));
  });
  for (const auto& block : {first, second}) {
    EXPECT_TRUE(block->ended);
    EXPECT_EQ(block->status.code(), StatusCode::kPeerDead);
  }
  const auto third = Block(2, bytes);
  OnLoop([&] { daemon_->Send(third); });
  EXPECT_EQ(third->status.message(), "enough");
  EXPECT_TRUE(at_daemon_.heard.empty());
}

}  // namespace
}  // namespace terrace
