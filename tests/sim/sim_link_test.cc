// The simulated link keeps the promises of base/link.h, or the simulation would prove nothing.
#include "base/sim_link.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/checksum.h"
#include "tests/cache/cache_harness.h"

namespace terrace {
namespace {

using testing::SimulatedTime;

class SimLinkTest : public ::testing::Test, protected Hold::Owner {
 protected:
  static constexpr std::size_t kBytes = 300'000;  // two checksum pieces

  SimLinkTest() : frame_(kBytes), client_(2 * kBytes), checksums_(ChecksumPieceCount(kBytes)) {
    region_ = memory_.Register(client_);
    for (std::byte& byte : frame_) byte = static_cast<std::byte>(random_.Next());
    ChecksumBlock(frame_, checksums_);
    pieces_ = {{.region = region_, .offset = 1000, .length = 100'001},
               {.region = region_, .offset = kBytes, .length = kBytes - 100'001}};
  }
  void Release(std::uint64_t) noexcept override { ++released_; }
  Hold Frame() { return {frame_, this, 0}; }
  BlockTransfer Transfer(Nanos timeout = kSecond) {
    return {.pieces = pieces_, .deadline = time_.Now() + timeout};
  }
  std::vector<std::byte> Received() {
    std::vector<std::byte> bytes;
    for (const Piece& piece : pieces_) {
      const std::span<std::byte> part = memory_.Find(piece);
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
  }

  SimulatedTime time_;
  SeededRandom random_{7};
  std::vector<std::byte> frame_, client_;
  std::vector<std::uint64_t> checksums_;
  std::vector<Piece> pieces_;
  SimMemory memory_;
  std::uint32_t region_ = 0;
  int released_ = 0;
};

TEST_F(SimLinkTest, MessagesAreDroppedDelayedAndOvertaken) {
  SimLinkFaults faults;
  faults.message_drop = 0.2;
  faults.message_delay_max = kMillisecond;
  SimLink link(time_.scheduler(), random_, memory_, faults);
  constexpr int kMessages = 200;
  std::vector<std::optional<Status>> outcomes(kMessages);
  TaskScope scope;
  const Nanos deadline = time_.Now() + kSecond;
  for (auto& outcome : outcomes) scope.Spawn(SimulatedTime::Store(link.Carry(deadline), &outcome));
  time_.RunUntil(deadline - 1);
  const auto arrived =
      std::ranges::count_if(outcomes, [](const auto& it) { return it && it->ok(); });
  EXPECT_EQ(static_cast<std::uint64_t>(arrived) + link.messages_dropped(), kMessages);
  EXPECT_GT(link.messages_dropped(), 10U);
  EXPECT_GT(link.messages_reordered(), 50U);
  time_.RunUntil(deadline);
  for (const auto& outcome : outcomes) {
    ASSERT_TRUE(outcome.has_value());
    EXPECT_TRUE(outcome->ok() || outcome->code() == StatusCode::kTimeout);
  }
  link.Close();
  EXPECT_EQ(time_.Run(link.Carry(time_.Now() + kSecond)).code(), StatusCode::kPeerDead);
}

TEST_F(SimLinkTest, NothingArrivesAtAStoppedClientBeforeItGoesOn) {
  SimLink link(time_.scheduler(), random_, memory_, {});
  const Nanos until = time_.Now() + 50 * kMillisecond;
  link.FreezeUntil(until);
  EXPECT_TRUE(time_.Run(link.Push(Frame(), Transfer(), checksums_)).ok());
  EXPECT_GE(time_.Now(), until);
  link.FreezeUntil(time_.Now() + kSecond);
  EXPECT_EQ(time_.Run(link.Push(Frame(), Transfer(kMillisecond), checksums_)).code(),
            StatusCode::kTimeout);
}

TEST_F(SimLinkTest, BytesTravelBothWays) {
  SimLink link(time_.scheduler(), random_, memory_, {});
  EXPECT_TRUE(time_.Run(link.Push(Frame(), Transfer(), checksums_)).ok());
  EXPECT_EQ(Received(), frame_);
  const std::vector<std::byte> sent = frame_;
  std::ranges::fill(frame_, std::byte{0});
  std::vector<std::uint64_t> pulled(checksums_.size());
  EXPECT_TRUE(time_.Run(link.Pull(Frame(), Transfer(), pulled)).ok());
  EXPECT_EQ(frame_, sent);
  EXPECT_EQ(pulled, checksums_);
  EXPECT_EQ(released_, 2);
}

TEST_F(SimLinkTest, PiecesOutsideTheirRegionAreRefusedAndNothingIsWritten) {
  SimLink link(time_.scheduler(), random_, memory_, {});
  const std::vector<std::vector<Piece>> bad = {
      {{.region = 2, .offset = 0, .length = kBytes}},
      {{.region = 0, .offset = 0, .length = kBytes}},
      {{.region = 1, .offset = kBytes + 1, .length = kBytes}},
      {{.region = 1, .offset = ~0ULL - 5, .length = kBytes}},
      {{.region = 1, .offset = 0, .length = kBytes - 1}},
      {},
  };
  for (const std::vector<Piece>& pieces : bad) {
    pieces_ = pieces;
    EXPECT_EQ(time_.Run(link.Push(Frame(), Transfer(), checksums_)).code(), StatusCode::kInvalid);
  }
  EXPECT_TRUE(std::ranges::all_of(client_, [](std::byte byte) { return byte == std::byte{0}; }));
  EXPECT_EQ(released_, 6);
}

TEST_F(SimLinkTest, AStallEndsAtTheDeadlineAndTheHoldLater) {
  SimLink link(time_.scheduler(), random_, memory_,
               {.stall = 1, .quarantine_max = 100 * kMillisecond});
  const Nanos deadline = time_.Now() + kSecond;
  std::vector<std::uint64_t> pulled(checksums_.size());
  EXPECT_EQ(time_.Run(link.Pull(Frame(), Transfer(), pulled)).code(), StatusCode::kTimeout);
  EXPECT_EQ(time_.Now(), deadline);
  EXPECT_EQ(link.quarantined(), 1u);
  EXPECT_EQ(released_, 0);
  time_.RunUntil(time_.Now() + kSecond);
  EXPECT_EQ(released_, 1);
}

TEST_F(SimLinkTest, CloseEndsWhatIsInFlightAndRefusesTheRest) {
  SimLink link(time_.scheduler(), random_, memory_, {});
  std::optional<Status> pushed;
  TaskScope scope;
  scope.Spawn(SimulatedTime::Store(link.Push(Frame(), Transfer(), checksums_), &pushed));
  time_.RunReady();
  EXPECT_EQ(link.in_flight(), 1u);
  const Nanos closed = time_.Now();
  link.Close();
  time_.RunReady();
  EXPECT_EQ(time_.Now(), closed);
  ASSERT_TRUE(pushed.has_value());
  EXPECT_EQ(pushed->code(), StatusCode::kPeerDead);
  EXPECT_FALSE(link.Alive());
  EXPECT_EQ(time_.Run(link.Push(Frame(), Transfer(), checksums_)).code(), StatusCode::kPeerDead);
  link.Send({std::byte{1}});
  EXPECT_TRUE(link.TakeMessages().empty());
}

TEST_F(SimLinkTest, ADeathTakesEveryTransferOfThePeerAlong) {
  SimLink link(time_.scheduler(), random_, memory_, {.death = 1});
  std::vector<std::optional<Status>> ends(3);
  TaskScope scope;
  for (std::optional<Status>& end : ends) {
    scope.Spawn(SimulatedTime::Store(link.Push(Frame(), Transfer(), checksums_), &end));
  }
  while (scope.live() > 0) ASSERT_TRUE(time_.Step());
  for (const std::optional<Status>& end : ends) EXPECT_EQ(end->code(), StatusCode::kPeerDead);
}

TEST_F(SimLinkTest, AFlippedBitIsFoundByTheChecksums) {
  SimLink link(time_.scheduler(), random_, memory_, {.corruption = 1});
  EXPECT_EQ(time_.Run(link.Push(Frame(), Transfer(), checksums_)).code(), StatusCode::kCorrupt);
  std::vector<std::uint64_t> pulled(checksums_.size());
  EXPECT_EQ(time_.Run(link.Pull(Frame(), Transfer(), pulled)).code(), StatusCode::kCorrupt);
}

TEST_F(SimLinkTest, AFrameReusedUnderALatePushIsNoticed) {
  SimLink link(time_.scheduler(), random_, memory_,
               {.stall = 1, .quarantine_max = 100 * kMillisecond});
  EXPECT_EQ(time_.Run(link.Push(Frame(), Transfer(), checksums_)).code(), StatusCode::kTimeout);
  frame_[5] ^= std::byte{1};
  time_.RunUntil(time_.Now() + kSecond);
  EXPECT_EQ(link.late_changes(), 1u);
}

TEST_F(SimLinkTest, MessagesComeInOrder) {
  SimLink link(time_.scheduler(), random_, memory_, {});
  link.Send({std::byte{1}});
  link.Send({std::byte{2}});
  const auto messages = link.TakeMessages();
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[1][0], std::byte{2});
  EXPECT_TRUE(link.TakeMessages().empty());
}

}  // namespace
}  // namespace terrace
