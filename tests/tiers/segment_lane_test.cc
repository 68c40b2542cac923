// SegmentLog: devices that fail, hang and come back, syncs that are shared, writes that give way.
#include <algorithm>
#include <array>
#include <set>

#include "tests/tiers/segment_log_fixture.h"

namespace terrace::nvme {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class SegmentLaneTest : public SegmentLogTest {
 protected:
  Task<Status> AppendOn(std::uint32_t lane, std::uint64_t seed, std::vector<Placed>* placed) {
    Record record(seed, kPageBytes);
    record.Fill();
    const Result<RecordPlace> place =
        co_await log_->AppendTo(lane, record.header, record.payload, SegmentLog::Room::kWait);
    if (place.ok()) placed->push_back({.place = *place, .seed = seed, .bytes = kPageBytes});
    co_return place.status();
  }
  Status AppendOn(std::uint32_t lane, std::uint64_t seed) {
    return time_.Run(AppendOn(lane, seed, &placed_));
  }
  std::vector<Placed> placed_;
};

TEST_F(SegmentLaneTest, ADeviceThatKeepsFailingIsLeftAloneUntilItAnswersAgain) {
  options_.errors_max = 3;
  MakeMedia(2);
  ASSERT_TRUE(AppendOn(0, 1).ok());
  ASSERT_TRUE(AppendOn(1, 2).ok());
  Script(0).FailNext(Op::kWrite, ~std::uint64_t{0});
  for (int failure = 0; failure < 3; ++failure) {
    EXPECT_TRUE(log_->Online(0));
    EXPECT_EQ(AppendOn(0, 3).code(), StatusCode::kIo);
  }
  EXPECT_FALSE(log_->Online(0));
  ASSERT_EQ(changes_.size(), 1u);
  EXPECT_THAT(changes_[0], HasSubstr("0 offline: device sim:0: told to fail"));
  EXPECT_EQ(log_->Counters().lanes_failed, 1u);
  EXPECT_EQ(log_->Counters().lanes_online, 1u);

  EXPECT_FALSE(log_->Readable(placed_[0].place));
  EXPECT_TRUE(log_->Current(placed_[0].place)) << "it is there, and will be readable again";
  const std::size_t reads = Script(0).Count(Op::kRead);
  EXPECT_EQ(Read(placed_[0]), StatusCode::kIo);
  EXPECT_EQ(Script(0).Count(Op::kRead), reads) << "an offline device is left alone";
  EXPECT_EQ(time_.Run(log_->Sync(0)).code(), StatusCode::kIo);
  for (std::uint64_t seed = 10; seed < 20; ++seed) {
    EXPECT_EQ(log_->LaneOf(Append(seed).place), 1u);
  }
  EXPECT_EQ(Read(placed_[1]), StatusCode::kOk);

  time_.RunUntil(time_.Now() + 10 * options_.probe_period);
  EXPECT_FALSE(log_->Online(0)) << "a probe writes too";
  Script(0).FailNext(Op::kWrite, 0);
  time_.RunUntil(time_.Now() + 2 * options_.probe_period);
  EXPECT_TRUE(log_->Online(0));
  EXPECT_THAT(changes_.back(), StartsWith("0 online"));
  EXPECT_EQ(Read(placed_[0]), StatusCode::kOk);
  EXPECT_TRUE(AppendOn(0, 30).ok());
}

TEST_F(SegmentLaneTest, WritesThatNeverReachedTheDeviceAreNotItsErrors) {
  options_.errors_max = 1;
  options_.segment_bytes = 64 * kPageBytes;  // one is enough: no header is written meanwhile
  MakeMedia(1);
  ASSERT_TRUE(AppendOn(0, 1).ok());
  Script(0).FailNext(Op::kWrite, 1);
  EXPECT_EQ(AppendOn(0, 2).code(), StatusCode::kIo);
  ASSERT_FALSE(log_->Online(0));
  const std::size_t asked = Script(0).Count(Op::kWrite);
  for (std::uint64_t seed = 3; seed < 10; ++seed) {
    EXPECT_EQ(AppendOn(0, seed).code(), StatusCode::kIo);
  }
  EXPECT_EQ(Script(0).Count(Op::kWrite), asked) << "an offline device is left alone";
  EXPECT_EQ(log_->Counters().write_errors, 1u) << "the one that it failed";
}

TEST_F(SegmentLaneTest, AHeaderWhoseSyncFailsCountsOnceTowardsItsDevicesErrors) {
  options_.errors_max = 2;
  MakeMedia(1);
  Script(0).FailNext(Op::kSync, 1);
  EXPECT_TRUE(AppendOn(0, 1).ok()) << "the header was written again";
  EXPECT_TRUE(log_->Online(0));
  EXPECT_EQ(log_->Counters().lanes_failed, 0u);
}

TEST_F(SegmentLaneTest, ErrorsFarApartDoNotAddUp) {
  options_.errors_max = 2;
  options_.segment_bytes = 64 * kPageBytes;  // one is enough: no header is written meanwhile
  MakeMedia(1);
  ASSERT_TRUE(AppendOn(0, 1).ok());
  for (int failure = 0; failure < 5; ++failure) {
    Script(0).FailNext(Op::kWrite, 1);
    EXPECT_EQ(AppendOn(0, 2).code(), StatusCode::kIo);
    time_.RunUntil(time_.Now() + options_.errors_window + kSecond);
  }
  EXPECT_TRUE(log_->Online(0));
}

TEST_F(SegmentLaneTest, AnOperationThatHangsTakesItsDeviceOfflineAndNoOther) {
  MakeMedia(2);
  ASSERT_TRUE(AppendOn(0, 1).ok());
  ASSERT_TRUE(AppendOn(1, 2).ok());
  Script(0).Hold(Op::kRead, 1);
  std::optional<Status> end;
  TaskScope scope;
  scope.Spawn(SimulatedTime::Store(ReadOne(placed_[0]), &end));
  time_.RunUntil(time_.Now() + options_.stuck_after - 2 * kSecond);
  EXPECT_TRUE(log_->Online(0));
  time_.RunUntil(time_.Now() + 4 * kSecond);
  EXPECT_FALSE(log_->Online(0));
  EXPECT_THAT(changes_, ElementsAre(HasSubstr("0 offline: an operation has been under way for")));
  EXPECT_EQ(log_->Counters().stuck, 1u);
  EXPECT_EQ(Read(placed_[1]), StatusCode::kOk);
  time_.RunUntil(time_.Now() + 60 * kSecond);
  EXPECT_FALSE(log_->Online(0)) << "it answers nothing while something hangs in it";
  EXPECT_FALSE(end.has_value()) << "the buffers are the device's until it lets go";
  Script(0).LetGo(Op::kRead);
  time_.RunUntil(time_.Now() + 2 * options_.probe_period);
  EXPECT_TRUE(end.has_value());
  EXPECT_TRUE(log_->Online(0));
  EXPECT_EQ(Read(placed_[0]), StatusCode::kOk);
}

TEST_F(SegmentLaneTest, AProbeNeverSpoilsTheHeaderOfASegment) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_ = SeededRandom(seed);
    Stop();
    media_.clear();
    changes_.clear();
    placed_.clear();
    options_.errors_max = 1;
    FaultyDeviceOptions faults;
    faults[DeviceFault::kMisdirectedRead] = {.probability = 1, .times_max = 2};
    MakeMedia(1, faults);
    for (std::uint64_t record = 1; record <= 60; ++record) ASSERT_TRUE(AppendOn(0, record).ok());
    time_.RunUntil(time_.Now() + kSecond);
    const auto before = testing::HeadersOn(MediumOf(0).device, options_, 0);
    Script(0).FailNext(Op::kWrite, 1);
    EXPECT_FALSE(AppendOn(0, 100).ok());
    MediumOf(0).faulty.Enable(true);
    time_.RunUntil(time_.Now() + 10 * options_.probe_period);
    EXPECT_TRUE(log_->Online(0));
    const auto after = testing::HeadersOn(MediumOf(0).device, options_, 0);
    for (std::uint32_t segment = 0; segment < options_.segments; ++segment) {
      EXPECT_EQ(after[segment].generation, before[segment].generation) << segment;
    }
  }
}

TEST_F(SegmentLaneTest, ADeviceThatLostAHeaderComesBackAllTheSame) {
  options_.errors_max = 1;
  FaultyDeviceOptions faults;
  faults[DeviceFault::kLostWrite] = {.probability = 1, .times_max = 1};
  MakeMedia(1, faults);
  MediumOf(0).faulty.Enable(true);
  ASSERT_TRUE(AppendOn(0, 1).ok());
  ASSERT_EQ(MediumOf(0).faulty.Count(DeviceFault::kLostWrite), 1u) << "the first header";
  Script(0).FailNext(Op::kWrite, 1);
  EXPECT_FALSE(AppendOn(0, 2).ok());
  time_.RunUntil(time_.Now() + 2 * options_.probe_period);
  EXPECT_TRUE(log_->Online(0));
  EXPECT_EQ(testing::HeadersOn(MediumOf(0).device, options_, 0)[0].generation, 1u);
}

TEST_F(SegmentLaneTest, SyncsAtOneTimeShareOneAndNoneCountsThatBeganBeforeTheWrite) {
  MakeMedia(1);
  ASSERT_TRUE(AppendOn(0, 1).ok());
  time_.RunUntil(time_.Now() + kSecond);
  const std::size_t syncs = Script().Count(Op::kSync);
  Script().Hold(Op::kSync, 1);
  std::list<std::optional<Status>> ends;
  TaskScope scope;
  scope.Spawn(SimulatedTime::Store(log_->Sync(0), &ends.emplace_back()));
  time_.RunReady();
  ASSERT_TRUE(AppendOn(0, 2).ok());
  const Nanos written = time_.Now();
  for (int caller = 0; caller < 10; ++caller) {
    scope.Spawn(SimulatedTime::Store(log_->Sync(0), &ends.emplace_back()));
  }
  time_.RunUntil(time_.Now() + kSecond);
  for (const auto& end : ends) EXPECT_FALSE(end.has_value());
  Script().LetGo(Op::kSync);
  while (scope.live() > 0) time_.Step();
  for (const auto& end : ends) EXPECT_TRUE(end->ok());
  EXPECT_EQ(Script().Count(Op::kSync), syncs + 2);
  EXPECT_GE(Script().notes().back().began, written);
}

TEST_F(SegmentLaneTest, AFailedSyncIsToldToEverybodyWhoWaitedForIt) {
  MakeMedia(1);
  ASSERT_TRUE(AppendOn(0, 1).ok());
  time_.RunUntil(time_.Now() + kSecond);
  Script().Hold(Op::kSync, 1);
  std::list<std::optional<Status>> ends;
  TaskScope scope;
  for (int caller = 0; caller < 4; ++caller) {
    scope.Spawn(SimulatedTime::Store(log_->Sync(0), &ends.emplace_back()));
  }
  time_.RunReady();
  Script().FailNext(Op::kSync, 2);
  Script().LetGo(Op::kSync);
  while (scope.live() > 0) time_.Step();
  for (const auto& end : ends) EXPECT_EQ(end->code(), StatusCode::kIo);
  EXPECT_EQ(log_->Counters().sync_errors, 2u);
}

TEST_F(SegmentLaneTest, CloseEndsWhatWaitsForRoomAndWhatRunsInTheBackground) {
  MakeMedia(2);
  Script(0).Hold(Op::kWrite);
  Script(1).Hold(Op::kWrite);
  std::list<std::optional<Status>> ends;
  TaskScope scope;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    scope.Spawn(SimulatedTime::Store(AppendOne(seed, kPageBytes, &placed_), &ends.emplace_back()));
  }
  time_.RunUntil(time_.Now() + kSecond);
  std::optional<bool> closed;
  scope.Spawn([](SegmentLog* log, std::optional<bool>* done) -> Task<void> {
    co_await log->Close();
    *done = true;
  }(log_.get(), &closed));
  time_.RunReady();
  for (const auto& end : ends) {
    ASSERT_TRUE(end.has_value());
    EXPECT_EQ(end->code(), StatusCode::kIo);
  }
  EXPECT_FALSE(closed.has_value()) << "two headers are the devices' still";
  Script(0).LetGo(Op::kWrite);
  Script(1).LetGo(Op::kWrite);
  while (scope.live() > 0) time_.Step();
  EXPECT_TRUE(closed.has_value());
}

class SegmentPaceTest : public SegmentLaneTest {
 protected:
  static constexpr std::uint64_t kLong = 1 << 20;

  void SetUp() override {
    options_.segment_bytes = 16 << 20;
    MakeMedia(1);
    for (std::uint64_t seed = 1; seed <= 6; ++seed) placed_.push_back(Append(seed, kLong));
    time_.RunUntil(time_.Now() + kSecond);
  }
  Task<void> ReadUntil(Nanos end, std::size_t which) {
    Record found(which, kLong);
    while (time_.Now() < end) {
      const Status status = co_await log_->Read(placed_[which].place, found.header, found.payload);
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
  }
  Task<void> WriteUntil(Nanos end, std::uint64_t seed) {
    Record record(seed, kLong);
    record.Fill();
    while (time_.Now() < end) {
      record.header->sequence = 0;
      const Result<RecordPlace> place =
          co_await log_->Append(record.header, record.payload, SegmentLog::Room::kWait);
      EXPECT_TRUE(place.ok());
    }
  }
  /// Of long writes since `begin`: the share of time that one was under way, and the most at once.
  std::pair<double, std::size_t> WritesSince(Nanos begin, Nanos end) {
    std::vector<std::pair<Nanos, int>> edges;
    for (const ScriptedDevice::Note& note : Script().notes()) {
      if (note.op != Op::kWrite || note.bytes < kLong || note.began < begin) continue;
      edges.emplace_back(note.began, 1);
      edges.emplace_back(note.ended, -1);
    }
    std::ranges::sort(edges);
    Nanos busy = 0;
    int now = 0;
    int most = 0;
    for (std::size_t i = 0; i < edges.size(); ++i) {
      now += edges[i].second;
      most = std::max(most, now);
      if (now > 0 && i + 1 < edges.size()) busy += edges[i + 1].first - edges[i].first;
    }
    return {static_cast<double>(busy) / static_cast<double>(end - begin), most};
  }
};

TEST_F(SegmentPaceTest, WritesTakeNoMoreThanTheirShareOfADeviceThatIsRead) {
  const Nanos begin = time_.Now();
  const Nanos end = begin + 150 * kMillisecond;
  TaskScope scope;
  for (std::size_t reader = 0; reader < 6; ++reader) scope.Spawn(ReadUntil(end, reader));
  time_.RunReady();
  for (std::uint64_t writer = 0; writer < 4; ++writer) scope.Spawn(WriteUntil(end, 50 + writer));
  while (time_.Now() < end) time_.Step();
  const auto [share, most] = WritesSince(begin, end);
  while (scope.live() > 0) time_.Step();
  EXPECT_EQ(most, 1u);
  EXPECT_LT(share, options_.write_share * 1.2);
  EXPECT_GT(share, options_.write_share * 0.5) << "writes must not starve";
}

class SegmentReadLimitTest : public SegmentPaceTest {
 protected:
  static constexpr std::uint64_t kRate = 50'000'000;
  static constexpr Nanos kSlot = (kLong + kPageBytes) * kSecond / kRate;

  void SetUp() override {
    options_.read_bytes_per_s = kRate;
    options_.stuck_after = 2 * kSlot;
    options_.errors_max = 1;
    SegmentPaceTest::SetUp();
  }
  Task<void> ReadOne(std::size_t which, Nanos* ended, Status* status, bool limited = true) {
    Record found(which, kLong);
    *status = co_await log_->Read(placed_[which].place, found.header, found.payload, limited);
    *ended = time_.Now();
  }
  void ReadsComeInSlots();
};

void SegmentReadLimitTest::ReadsComeInSlots() {
  const Nanos begin = time_.Now();
  std::array<Nanos, 6> ended{};
  std::array<Status, 6> status;
  TaskScope scope;
  for (std::size_t i = 0; i < 6; ++i) scope.Spawn(ReadOne(i, &ended[i], &status[i]));
  while (scope.live() > 0) time_.Step();
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_TRUE(status[i].ok()) << status[i].ToString();
    EXPECT_NEAR(static_cast<double>(ended[i] - begin), static_cast<double>((i + 1) * kSlot),
                static_cast<double>(2 * kMillisecond))
        << i;
  }
}

TEST_F(SegmentReadLimitTest, ReadsComeAsFromADeviceOfThatBandwidth) { ReadsComeInSlots(); }

TEST_F(SegmentReadLimitTest, ItSavesUpNothingWhileNobodyReads) {
  time_.RunUntil(time_.Now() + 60 * kSecond);
  ReadsComeInSlots();
}

TEST_F(SegmentReadLimitTest, AReadThatWaitsForItsSlotIsNotStuckAndEndsWithTheLog) {
  std::array<Nanos, 6> ended{};
  std::array<Status, 6> status;
  TaskScope scope;
  for (std::size_t i = 0; i < 6; ++i) scope.Spawn(ReadOne(i, &ended[i], &status[i]));
  time_.RunUntil(time_.Now() + 4 * kSlot);
  EXPECT_TRUE(log_->Online(0)) << "it is not the device that is slow";
  const Nanos closed = time_.Now();
  time_.Run(log_->Close());
  while (scope.live() > 0) time_.Step();
  EXPECT_LT(time_.Now() - closed, kSlot) << "a stop waits for no slot";
  for (const Status& end : status) EXPECT_TRUE(end.ok()) << end.ToString();
}

// Reclaim read behind all that clients had asked for, and writes waited for it.
TEST_F(SegmentReadLimitTest, WhatTheLogItselfReadsStandsBehindNobody) {
  std::array<Nanos, 6> ended{};
  std::array<Status, 6> status;
  const Nanos begin = time_.Now();
  TaskScope scope;
  for (std::size_t i = 0; i < 5; ++i) scope.Spawn(ReadOne(i, &ended[i], &status[i]));
  scope.Spawn(ReadOne(5, &ended[5], &status[5], false));
  time_.RunReady();
  EXPECT_NEAR(static_cast<double>(log_->ReadBegins(placed_[0].place) - begin),
              static_cast<double>(5 * kSlot), static_cast<double>(kMillisecond));
  while (scope.live() > 0) time_.Step();
  EXPECT_TRUE(status[5].ok()) << status[5].ToString();
  EXPECT_LT(ended[5] - begin, kSlot);
}

TEST_F(SegmentReadLimitTest, ADeviceThatGoesOfflineLetsGoOfThoseThatWait) {
  std::array<Nanos, 6> ended{};
  std::array<Status, 6> status;
  TaskScope scope;
  for (std::size_t i = 0; i < 6; ++i) scope.Spawn(ReadOne(i, &ended[i], &status[i]));
  time_.RunUntil(time_.Now() + kSlot / 2);
  Script().FailNext(Op::kRead, 100);
  while (scope.live() > 0) time_.Step();
  EXPECT_EQ(status[5].code(), StatusCode::kIo);
}

TEST_F(SegmentPaceTest, WritesAloneUseTheWholeDevice) {
  const Nanos begin = time_.Now();
  const Nanos end = begin + 50 * kMillisecond;
  TaskScope scope;
  for (std::uint64_t writer = 0; writer < 4; ++writer) scope.Spawn(WriteUntil(end, 50 + writer));
  while (scope.live() > 0) time_.Step();
  const auto [share, most] = WritesSince(begin, time_.Now());
  EXPECT_GE(most, 3u);
  EXPECT_GT(share, 0.8);
}

}  // namespace
}  // namespace terrace::nvme
