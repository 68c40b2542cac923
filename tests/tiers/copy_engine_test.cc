// The order, the bounds and the failures of copies, on the double.
#include "tiers/hbm/copy_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "tests/base/simulated_time.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace {
namespace {

constexpr std::size_t kMiB = 1 << 20;

/// One request that was begun, and how it ended.
struct Begun {
  DeviceCopy copy;
  DevicePiece piece;
  std::uint64_t checksum = 0;
  std::optional<Status> status;
  Nanos ended = 0;
};

Task<void> RunOne(CopyEngine* engine, CopyDirection direction, CopyUrgency urgency, Begun* begun) {
  const bool sums = begun->piece.at != nullptr;
  begun->status = co_await engine->Run(
      {.direction = direction,
       .urgency = urgency,
       .copies = {&begun->copy, 1},
       .pieces = {&begun->piece, sums ? std::size_t{1} : std::size_t{0}},
       .checksums = {&begun->checksum, sums ? std::size_t{1} : std::size_t{0}}});
  begun->ended = Scheduler::Current().Now();
}

class CopyEngineTest : public ::testing::Test {
 protected:
  CopyEngineTest() : host_(16 * kMiB, std::byte{5}) {
    EXPECT_TRUE(device_.PinHost(host_).ok());
    pool_ = *device_.Allocate(16 * kMiB);
  }
  ~CopyEngineTest() override {
    device_.Hang(false);
    time_.Run(engine_->Drain());
  }

  void Limit(const CopyLimits& limits) { engine_ = std::make_unique<CopyEngine>(device_, limits); }
  Begun& Begin(CopyDirection direction, CopyUrgency urgency, std::size_t bytes,
               bool checked = false) {
    Begun& begun = begun_.emplace_back();
    const bool in = direction == CopyDirection::kIn;
    begun.copy = {
        .to = in ? pool_ : host_.data(), .from = in ? host_.data() : pool_, .bytes = bytes};
    if (direction == CopyDirection::kWithin) begun.copy.to = pool_ + 8 * kMiB;
    if (checked) begun.piece = {.at = pool_, .bytes = static_cast<std::uint32_t>(bytes)};
    scope_.Spawn(RunOne(engine_.get(), direction, urgency, &begun));
    return begun;
  }
  void RunAll() {
    time_.Run([](TaskScope* all) -> Task<void> { co_await all->Join(); }(&scope_));
  }

  testing::SimulatedTime time_;
  HostDeviceMemory device_;
  std::vector<std::byte> host_;
  std::byte* pool_ = nullptr;
  std::unique_ptr<CopyEngine> engine_ = std::make_unique<CopyEngine>(device_);
  std::list<Begun> begun_;
  TaskScope scope_;
};

TEST_F(CopyEngineTest, ADemandReadDoesNotWaitForAllBackgroundMovesBeforeIt) {
  std::vector<Begun*> moves;
  for (int i = 0; i < 100; ++i) {
    moves.push_back(&Begin(CopyDirection::kOut, CopyUrgency::kBackground, kMiB));
  }
  time_.RunUntil(100 * kMicrosecond);
  Begun& demand = Begin(CopyDirection::kOut, CopyUrgency::kDemand, kMiB);
  RunAll();
  const auto before =
      std::ranges::count_if(moves, [&](const Begun* move) { return move->ended <= demand.ended; });
  EXPECT_LE(before, 3 * 8);  // what was in flight, and one batch that ended meanwhile
}

TEST_F(CopyEngineTest, NoMoreIsInFlightThanTheLimitAllows) {
  Limit({.batches = 2, .background_batch_bytes = 2 * kMiB});
  for (int i = 0; i < 40; ++i) {
    Begin(CopyDirection::kIn, CopyUrgency::kBackground, kMiB);
    Begin(CopyDirection::kOut, CopyUrgency::kBackground, kMiB);
  }
  while (scope_.live() > 0) {
    ASSERT_TRUE(time_.Step());
    ASSERT_LE(device_.in_flight(), 4U);
  }
  EXPECT_EQ(engine_->counters().batches, 40U) << "2 MiB a batch";
  EXPECT_EQ(engine_->counters().bytes[0], 40 * kMiB);
  EXPECT_EQ(engine_->counters().bytes[1], 40 * kMiB);
}

TEST_F(CopyEngineTest, AnIdleEngineLeavesNothingToRun) {
  Begin(CopyDirection::kIn, CopyUrgency::kDemand, kMiB);
  RunAll();
  time_.RunReady();
  EXPECT_FALSE(time_.scheduler().HasReady());
  EXPECT_EQ(time_.scheduler().NextTimer(), kForever);
}

TEST_F(CopyEngineTest, WrongBytesOnTheDeviceShowInTheChecksum) {
  device_.CorruptBatches(1);
  Begun& wrong = Begin(CopyDirection::kIn, CopyUrgency::kBackground, 4096, true);
  RunAll();
  Begun& right = Begin(CopyDirection::kIn, CopyUrgency::kBackground, 4096, true);
  RunAll();
  const std::uint64_t expected = Checksum64({host_.data(), 4096});
  ASSERT_TRUE(wrong.status->ok());
  EXPECT_NE(wrong.checksum, expected);
  EXPECT_EQ(right.checksum, expected);
}

TEST_F(CopyEngineTest, ABatchThatFailsIsAnAnswerToItsRequestsAlone) {
  device_.FailBatches(1);
  Begun& failed = Begin(CopyDirection::kIn, CopyUrgency::kDemand, 4096);
  RunAll();
  Begun& later = Begin(CopyDirection::kIn, CopyUrgency::kDemand, 4096);
  RunAll();
  EXPECT_EQ(failed.status->code(), StatusCode::kIo);
  EXPECT_TRUE(later.status->ok());
  EXPECT_TRUE(engine_->health().ok());
  EXPECT_EQ(engine_->counters().failures, 1U);
}

TEST_F(CopyEngineTest, OneWrongRequestDoesNotFailThoseOfItsBatch) {
  std::vector<std::byte> elsewhere(4096);
  std::vector<Begun*> right;
  for (int i = 0; i < 3; ++i) {
    right.push_back(&Begin(CopyDirection::kIn, CopyUrgency::kDemand, 4096, true));
  }
  Begun& wrong = Begin(CopyDirection::kIn, CopyUrgency::kDemand, 4096);
  wrong.copy.from = elsewhere.data();
  for (int i = 0; i < 3; ++i) {
    right.push_back(&Begin(CopyDirection::kIn, CopyUrgency::kDemand, 4096, true));
  }
  RunAll();
  EXPECT_EQ(wrong.status->code(), StatusCode::kInvalid);
  for (const Begun* begun : right) {
    EXPECT_TRUE(begun->status->ok()) << begun->status->ToString();
    EXPECT_EQ(begun->checksum, Checksum64({host_.data(), 4096}));
  }
  EXPECT_EQ(engine_->counters().failures, 1U);
}

TEST_F(CopyEngineTest, ABatchOfManyThatFailsOnceCostsNoneOfThem) {
  device_.FailBatches(1);
  std::vector<Begun*> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(&Begin(CopyDirection::kOut, CopyUrgency::kBackground, 4096));
  }
  RunAll();
  for (const Begun* begun : all) EXPECT_TRUE(begun->status->ok());
  EXPECT_EQ(engine_->counters().failures, 0U);
  EXPECT_EQ(engine_->counters().batches, 6U) << "one of five, then five of one";
}

TEST_F(CopyEngineTest, ALostDeviceEndsWhatIsInFlightAndWhatWaits) {
  for (int i = 0; i < 100; ++i) Begin(CopyDirection::kOut, CopyUrgency::kBackground, kMiB);
  time_.RunUntil(50 * kMicrosecond);
  device_.Lose("the context is gone");
  RunAll();
  for (const Begun& begun : begun_) {
    ASSERT_TRUE(begun.status.has_value());
    if (!begun.status->ok()) EXPECT_EQ(begun.status->code(), StatusCode::kIo);
  }
  EXPECT_FALSE(begun_.back().status->ok());
  EXPECT_NE(engine_->health().message().find("the context is gone"), std::string::npos);
  Begun& later = Begin(CopyDirection::kIn, CopyUrgency::kDemand, 4096);
  RunAll();
  EXPECT_EQ(later.status->code(), StatusCode::kIo);
}

TEST_F(CopyEngineTest, ADeviceThatIsLostAndStillRunsKeepsWhatItMayWrite) {
  device_.Hang(true);
  const Begun& begun = Begin(CopyDirection::kOut, CopyUrgency::kDemand, kMiB);
  time_.RunUntil(time_.Now() + 20 * kMillisecond);
  device_.Lose("an error in another call");
  time_.RunUntil(time_.Now() + kSecond);
  EXPECT_FALSE(begun.status.has_value()) << "its memory may still be written";
  device_.Hang(false);
  RunAll();
  EXPECT_EQ(begun.status->code(), StatusCode::kIo);
}

TEST_F(CopyEngineTest, ADeviceThatHangsKeepsNobodyWaitingButThoseWhoseMemoryItHas) {
  Limit({.answer_within = kSecond});
  device_.Hang(true);
  for (int i = 0; i < 100; ++i) Begin(CopyDirection::kOut, CopyUrgency::kBackground, kMiB);
  time_.RunUntil(3 * kSecond);
  EXPECT_NE(engine_->health().message().find("has not answered for 1 s"), std::string::npos);
  const auto waiting =
      std::ranges::count_if(begun_, [](const Begun& begun) { return !begun.status.has_value(); });
  EXPECT_EQ(waiting, 16) << "two batches of 8 MiB";
  device_.Hang(false);
  RunAll();
  EXPECT_TRUE(begun_.front().status->ok());
}

TEST_F(CopyEngineTest, CopiesWithinTheDeviceShareLargeBatches) {
  device_.Hang(true);
  // The first goes alone; what comes while it is under way is gathered.
  for (int i = 0; i < 100; ++i) Begin(CopyDirection::kWithin, CopyUrgency::kBackground, kMiB);
  device_.Hang(false);
  RunAll();
  EXPECT_LE(engine_->counters().batches, 3U) << "64 copies a batch, and not 8 MiB";
  for (const Begun& begun : begun_) EXPECT_TRUE(begun.status->ok());
}

TEST_F(CopyEngineTest, RequestsBeyondTheLimitsAreNamed) {
  Limit({.queued = 4});
  std::vector<DeviceCopy> copies(CopyBatch::kCopiesMax + 1, {pool_, host_.data(), 16});
  CopyRequest request;
  request.copies = copies;
  EXPECT_NE(time_.Run(engine_->Run(request)).message().find("65 copies, at most 64"),
            std::string::npos);
  request.copies = {};
  EXPECT_EQ(time_.Run(engine_->Run(request)).code(), StatusCode::kInvalid);
  const DevicePiece crooked = {.at = pool_ + 8, .bytes = 256};
  std::uint64_t checksum = 0;
  request.pieces = {&crooked, 1};
  EXPECT_EQ(time_.Run(engine_->Run(request)).code(), StatusCode::kInvalid) << "no checksum";
  request.checksums = {&checksum, 1};
  EXPECT_NE(time_.Run(engine_->Run(request)).message().find("aligned"), std::string::npos);
  for (int i = 0; i < 40; ++i) Begin(CopyDirection::kIn, CopyUrgency::kBackground, 8 * kMiB);
  RunAll();
  const auto refused = std::ranges::count_if(
      begun_, [](const Begun& begun) { return begun.status->code() == StatusCode::kRetry; });
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, 40);
}

TEST_F(CopyEngineTest, ACopyToMemoryThatIsNotPinnedIsNamed) {
  std::vector<std::byte> elsewhere(4096);
  const DeviceCopy copy = {.to = elsewhere.data(), .from = pool_, .bytes = 4096};
  CopyRequest request;
  request.direction = CopyDirection::kOut;
  request.copies = {&copy, 1};
  const Status status = time_.Run(engine_->Run(request));
  EXPECT_EQ(status.code(), StatusCode::kInvalid);
  EXPECT_NE(status.message().find("copies[0]"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace terrace
