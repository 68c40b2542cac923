// SegmentLog: the ring, its generations, and what it finds wrong on the medium.
#include "tiers/nvme/segment_log.h"

#include <functional>
#include <optional>
#include <set>

#include "tests/tiers/segment_log_fixture.h"

namespace terrace::nvme {
namespace {

using ::testing::AnyOf;

std::uint64_t DrawBytes(Random& random) { return random.Between(kPageBytes, 6 * kPageBytes); }

TEST_F(SegmentLogTest, WhatWasAppendedComesBackByteForByteFromEveryLane) {
  for (const std::uint32_t lanes : {1U, 3U}) {
    SCOPED_TRACE(std::to_string(lanes) + " lanes");
    Stop();
    media_.clear();
    MakeMedia(lanes);
    std::vector<Placed> placed;
    TaskScope scope;
    std::list<std::optional<Status>> ends;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      scope.Spawn(
          SimulatedTime::Store(AppendOne(seed, DrawBytes(random_), &placed), &ends.emplace_back()));
    }
    while (scope.live() > 0) time_.Step();
    ASSERT_EQ(placed.size(), 12u);
    std::set<std::uint32_t> used;
    for (const Placed& record : placed) {
      EXPECT_EQ(Read(record), StatusCode::kOk);
      used.insert(log_->LaneOf(record.place));
    }
    EXPECT_EQ(used.size(), lanes);
    EXPECT_EQ(log_->Counters().records_written, 12u);
    EXPECT_EQ(log_->Counters().records_read, 12u);
  }
}

// The removal of a block that waits for its place has been given its sequence already. A record
// with a higher one would bring the block back in an index that is rebuilt from the log.
TEST_F(SegmentLogTest, ARecordThatIsRemovedWhileItWaitsGetsNoSequenceAboveItsRemoval) {
  MakeMedia(1);
  Script().Hold(Op::kSync);  // of the first segment's header: the record waits for its place
  bool is_wanted = true;
  const std::function<bool()> wanted = [&is_wanted] { return is_wanted; };
  Record record(1, 3 * kPageBytes);
  record.Fill();
  std::optional<Result<RecordPlace>> end;
  TaskScope scope;
  scope.Spawn(SimulatedTime::Store(
      log_->Append(record.header, record.payload, SegmentLog::Room::kWait, &wanted), &end));
  time_.RunUntil(time_.Now() + 100 * kMillisecond);
  ASSERT_FALSE(end.has_value());
  is_wanted = false;
  const std::uint64_t removal = log_->TakeSequence();
  Script().LetGo(Op::kSync);
  while (scope.live() > 0) time_.Step();
  EXPECT_EQ(end->code(), StatusCode::kMiss);
  EXPECT_LT(record.header->sequence, removal);
  EXPECT_EQ(log_->Counters().records_written, 0u);
  Append(2);
  EXPECT_EQ(log_->Counters().records_written, 1u) << "its place is another's";
}

TEST_F(SegmentLogTest, APlaceWhoseSegmentWasReusedIsExpiredNeverAnotherRecord) {
  MakeMedia(2);
  std::vector<Placed> placed;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) placed.push_back(Append(seed));
  std::size_t current = 0;
  for (const Placed& record : placed) {
    if (log_->Current(record.place)) ++current;
    EXPECT_EQ(Read(record), log_->Current(record.place) ? StatusCode::kOk : StatusCode::kExpired);
  }
  EXPECT_GT(current, 20u);
  EXPECT_LT(current, 100u);
  EXPECT_FALSE(log_->Current(placed.front().place));
  // Each lane's ring is reused in order, and never before its owner gave the segment up.
  std::uint32_t next[] = {0, 0};
  for (const std::uint32_t segment : reclaimed_) {
    const std::uint32_t lane = segment / options_.segments;
    EXPECT_EQ(segment % options_.segments, next[lane]);
    next[lane] = (next[lane] + 1) % options_.segments;
  }
  EXPECT_GT(reclaimed_.size(), 20u);
}

TEST_F(SegmentLogTest, NoRecordReachesTheMediumBeforeItsSegmentsHeaderIsDurable) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_ = SeededRandom(seed);
    Stop();
    media_.clear();
    MakeMedia(1);
    std::vector<Placed> placed;
    TaskScope scope;
    std::list<std::optional<Status>> ends;
    const std::uint64_t count = random_.Between(1, 80);
    for (std::uint64_t record = 1; record <= count; ++record) {
      scope.Spawn(SimulatedTime::Store(AppendOne(record, DrawBytes(random_), &placed),
                                       &ends.emplace_back()));
    }
    time_.RunUntil(time_.Now() + static_cast<Nanos>(random_.Below(30)) * kMillisecond);
    SimulatedDevice& device = MediumOf(0).device;
    device.Crash();
    const auto headers = testing::HeadersOn(device, options_, 0);
    for (std::uint32_t segment = 0; segment < options_.segments; ++segment) {
      for (std::uint32_t page = 1; page < options_.segment_bytes / kPageBytes; ++page) {
        RecordHeader record;
        device.Peek(segment * options_.segment_bytes + page * kPageBytes,
                    std::as_writable_bytes(std::span(&record, 1)));
        if (!IsSealed(record, options_.salt)) continue;
        EXPECT_GE(headers[segment].generation, record.generation);
        EXPECT_LT(headers[segment].generation == record.generation ? headers[segment].sequence : 0,
                  record.sequence);
      }
    }
    while (scope.live() > 0) time_.Step();
  }
}

TEST_F(SegmentLogTest, AWriteThatIsStuckKeepsItsSegmentFromBeingReused) {
  options_.stuck_after = 24 * 3600 * kSecond;
  MakeMedia(1);
  Append(1);
  std::vector<Placed> late;
  std::optional<Status> end;
  TaskScope scope;
  Script().Hold(Op::kWrite, 1);
  scope.Spawn(SimulatedTime::Store(AppendOne(2, kPageBytes, &late), &end));
  time_.RunReady();
  std::vector<Placed> placed;
  std::list<std::optional<Status>> ends;
  for (std::uint64_t seed = 3; seed <= 60; ++seed) {
    scope.Spawn(
        SimulatedTime::Store(AppendOne(seed, 3 * kPageBytes, &placed), &ends.emplace_back()));
  }
  time_.RunUntil(time_.Now() + 60 * kSecond);
  EXPECT_FALSE(end.has_value());
  EXPECT_LT(placed.size(), 40u) << "the ring went over the segment of a write under way";
  EXPECT_EQ(testing::HeadersOn(MediumOf(0).device, options_, 0)[0].generation, 1u);
  Script().LetGo(Op::kWrite);
  while (scope.live() > 0) time_.Step();
  EXPECT_TRUE(end->ok());
  EXPECT_EQ(placed.size(), 58u);
  EXPECT_EQ(Read(late.at(0)), StatusCode::kExpired);
}

TEST_F(SegmentLogTest, ARestartGoesOnBehindTheNewestSegmentAndReadsWhatWasThere) {
  MakeMedia(2);
  std::vector<Placed> placed;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) placed.push_back(Append(seed));
  std::erase_if(placed, [this](const Placed& record) { return !log_->Current(record.place); });
  const std::uint64_t sequence = log_->TakeSequence();
  Stop();
  Start();
  EXPECT_GT(log_->TakeSequence(), sequence) << "a sequence would be given out twice";
  for (const Placed& record : placed) EXPECT_EQ(Read(record), StatusCode::kOk);
  const Placed next = Append(1000);
  for (const Placed& record : placed) {
    if (!log_->Current(record.place)) continue;
    EXPECT_NE(record.place.segment(), next.place.segment())
        << "what a crash left of the newest segment may be written still";
  }
}

TEST_F(SegmentLogTest, ARecordTooLongForWhatIsLeftWaitsForTheNextSegment) {
  MakeMedia(1);
  Append(1);
  const std::uint64_t longest = options_.segment_bytes - 3 * kPageBytes;
  for (std::uint64_t seed = 2; seed <= 20; ++seed) {
    EXPECT_EQ(Read(Append(seed, longest)), StatusCode::kOk);
    EXPECT_EQ(Read(Append(100 + seed, kPageBytes)), StatusCode::kOk);
  }
}

/// One record is written while the fault is made, among others that are not hit.
class DamagedLogTest : public SegmentLogTest, public ::testing::WithParamInterface<DeviceFault> {};

TEST_P(DamagedLogTest, IsFoundOnReadAndNeverGivesWrongBytes) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_ = SeededRandom(seed);
    Stop();
    media_.clear();
    FaultyDeviceOptions faults;
    faults[GetParam()] = {.probability = 1, .times_max = 1};
    MakeMedia(1, faults);
    std::vector<Placed> placed;
    for (std::uint64_t record = 1; record <= 100; ++record) placed.push_back(Append(record));
    // The header of the next segment is made ready beside a write: not while the fault is due.
    while (log_->OldestSegment(0) == placed.back().place.segment()) placed.push_back(Append(9));
    time_.RunUntil(time_.Now() + kSecond);
    MediumOf(0).faulty.Enable(true);
    std::vector<Placed> hit;
    const Status status = time_.Run(AppendOne(200, 3 * kPageBytes, &hit));
    MediumOf(0).faulty.Enable(false);
    ASSERT_EQ(MediumOf(0).faulty.Count(GetParam()), 1u);
    if (GetParam() == DeviceFault::kShortWrite || GetParam() == DeviceFault::kWriteError) {
      EXPECT_EQ(status.code(), StatusCode::kIo);
    }
    // Misdirected to where it belongs is no fault.
    for (const Placed& record : hit) {
      EXPECT_THAT(Read(record), AnyOf(StatusCode::kCorrupt, StatusCode::kOk));
    }
    std::size_t damaged = 0;
    for (const Placed& record : placed) {
      const StatusCode code = Read(record);
      if (code == StatusCode::kCorrupt) ++damaged;
      if (code != StatusCode::kCorrupt && code != StatusCode::kExpired) {
        EXPECT_EQ(code, StatusCode::kOk);
      }
    }
    EXPECT_LE(damaged, GetParam() == DeviceFault::kMisdirectedWrite ? 2u : 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, DamagedLogTest,
                         ::testing::Values(DeviceFault::kFlippedWrite, DeviceFault::kShortWrite,
                                           DeviceFault::kLostWrite, DeviceFault::kMisdirectedWrite,
                                           DeviceFault::kWriteError),
                         [](const auto& fault) {
                           return std::string(DeviceFaultName(fault.param));
                         });

TEST_F(SegmentLogTest, EveryFlippedBitOfARecordIsFound) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_ = SeededRandom(seed);
    Stop();
    media_.clear();
    FaultyDeviceOptions faults;
    faults[DeviceFault::kFlippedWrite] = {.probability = 1, .times_max = 1};
    MakeMedia(1, faults);
    Append(1);
    MediumOf(0).faulty.Enable(true);
    EXPECT_EQ(Read(Append(2, kPageBytes)), StatusCode::kCorrupt);
    EXPECT_EQ(log_->Counters().bad_headers + log_->Counters().bad_payloads, 2u);
  }
}

TEST_F(SegmentLogTest, ALostWriteDoesNotBringBackTheRecordOfTheRingsLastTurn) {
  FaultyDeviceOptions faults;
  faults[DeviceFault::kLostWrite] = {.probability = 1, .times_max = 1};
  MakeMedia(1, faults);
  for (std::uint64_t seed = 1; seed <= 60; ++seed) Append(seed);  // twice around, equal lengths
  time_.RunUntil(time_.Now() + kSecond);
  MediumOf(0).faulty.Enable(true);
  const Placed lost = Append(100);
  EXPECT_EQ(Read(lost), StatusCode::kCorrupt);
}

TEST_F(SegmentLogTest, AReadThatWentWrongOnTheWayIsReadAgain) {
  for (const DeviceFault fault : {DeviceFault::kFlippedRead, DeviceFault::kMisdirectedRead}) {
    SCOPED_TRACE(DeviceFaultName(fault));
    Stop();
    media_.clear();
    FaultyDeviceOptions faults;
    faults[fault] = {.probability = 1, .times_max = 1};
    MakeMedia(1, faults);
    random_ = SeededRandom(2);  // misdirected to the right place is no fault
    Append(1);
    const Placed record = Append(2);
    MediumOf(0).faulty.Enable(true);
    EXPECT_EQ(Read(record), StatusCode::kOk);
    EXPECT_EQ(log_->Counters().reread, 1u);
    EXPECT_EQ(log_->Counters().records_read, 1u);
  }
}

TEST_F(SegmentLogTest, APlaceThatNoLogGaveOutIsRefused) {
  MakeMedia(1);
  Placed record = Append(1);
  EXPECT_EQ(Read({.place = {}, .seed = 1, .bytes = kPageBytes}), StatusCode::kExpired);
  record.place.generation += 1;
  EXPECT_EQ(Read(record), StatusCode::kExpired);
  record.place.generation -= 1;
  record.place.page += 1;  // inside the record
  EXPECT_EQ(Read(record), StatusCode::kCorrupt);
  record.place.page = 15;  // its payload would lie in the next segment
  EXPECT_EQ(Read(record), StatusCode::kCorrupt);
  record.place.page = 16;
  EXPECT_EQ(Read(record), StatusCode::kExpired);
  record.place = {.segment_plus_one = 1000, .page = 1, .generation = 1};
  EXPECT_EQ(Read(record), StatusCode::kExpired);
}

}  // namespace
}  // namespace terrace::nvme
