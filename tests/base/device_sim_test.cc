// Power loss and made faults: that the doubles do what they say, exactly and repeatably.
#include "base/device_sim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "base/device_faulty.h"
#include "base/random.h"
#include "tests/base/scheduler_loop.h"

namespace terrace {
namespace {

constexpr std::uint64_t kDeviceBytes = 1 << 20;
constexpr std::size_t kSector = SimulatedDevice::kSectorBytes;

std::vector<std::byte> Filled(std::size_t bytes, int value) {
  return std::vector<std::byte>(bytes, static_cast<std::byte>(value));
}

/// How many bits differ.
int WrongBits(std::span<const std::byte> left, std::span<const std::byte> right) {
  int bits = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    bits += std::popcount(static_cast<unsigned>(left[i] ^ right[i]));
  }
  return bits;
}

class SimulatedDeviceTest : public testing::Test {
 protected:
  /// Starts a call; its outcome is looked up by number when it has ended.
  void Write(int number, std::uint64_t offset, std::span<const std::byte> source) {
    scope_.Spawn(Note(device_->Write(offset, source), number, &ended_));
  }
  void Sync(int number) { scope_.Spawn(Note(device_->Sync(), number, &ended_)); }
  [[nodiscard]] int ByteAt(std::uint64_t offset) const {
    std::array<std::byte, kSector> sector{};
    device_->Peek(offset, sector);
    for (const std::byte byte : sector) EXPECT_EQ(byte, sector[0]) << "a sector is whole";
    return static_cast<int>(sector[0]);
  }
  void MakeDevice(std::uint64_t seed) {
    random_ = std::make_unique<SeededRandom>(seed);
    device_ = std::make_unique<SimulatedDevice>(SimulatedDeviceOptions{.size_bytes = kDeviceBytes},
                                                *random_);
    ended_.clear();
  }
  static Task<void> Note(Task<Status> call, int number, std::map<int, StatusCode>* ended) {
    const Status status = co_await std::move(call);
    (*ended)[number] = status.code();
  }

  SchedulerLoop loop_;
  TaskScope scope_;
  std::unique_ptr<SeededRandom> random_;
  std::unique_ptr<SimulatedDevice> device_;
  std::map<int, StatusCode> ended_;
};

TEST_F(SimulatedDeviceTest, SyncedBytesSurviveEveryCrash) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    MakeDevice(seed);
    const auto first = Filled(8 * kSector, 1);
    Write(1, 0, first);
    loop_.RunAll();
    Sync(2);
    loop_.RunAll();
    EXPECT_EQ(device_->UnsyncedSectors(), 0U);
    device_->Crash();
    for (std::uint64_t sector = 0; sector < 8; ++sector) EXPECT_EQ(ByteAt(sector * kSector), 1);
    EXPECT_EQ(ended_[2], StatusCode::kOk);
  }
}

TEST_F(SimulatedDeviceTest, UnsyncedSectorsAreAnyOfTheirVersions) {
  std::set<int> seen;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    MakeDevice(seed);
    std::vector<std::vector<std::byte>> versions;
    for (int version = 1; version <= 3; ++version) {
      versions.push_back(Filled(4 * kSector, version));
      Write(version, 0, versions.back());
      loop_.RunAll();
    }
    EXPECT_EQ(ByteAt(0), 3);
    device_->Crash();
    for (std::uint64_t sector = 0; sector < 4; ++sector) seen.insert(ByteAt(sector * kSector));
    loop_.RunAll();
  }
  EXPECT_EQ(seen, (std::set<int>{0, 1, 2, 3}));
}

TEST_F(SimulatedDeviceTest, EverySubsetOfARecordsSectorsMaySurviveACrash) {
  // A header and its payload, written in one call, ended and not synced, or still in flight.
  for (const bool in_flight : {false, true}) {
    std::set<unsigned> subsets;
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
      MakeDevice(seed);
      const auto header = Filled(kSector, 1);
      const auto payload = Filled(3 * kSector, 1);
      scope_.Spawn(Note(device_->Write(kSector, header, payload), 1, &ended_));
      loop_.RunReady();
      if (!in_flight) loop_.RunAll();
      device_->Crash();
      unsigned subset = 0;
      for (unsigned sector = 0; sector < 4; ++sector) {
        if (ByteAt((sector + 1) * kSector) == 1) subset |= 1U << sector;
      }
      subsets.insert(subset);
      loop_.RunAll();
    }
    EXPECT_EQ(subsets.size(), 16U) << (in_flight ? "in flight" : "ended");
  }
}

TEST_F(SimulatedDeviceTest, WritesInFlightAreTornByACrashAndEndInAnError) {
  int partial = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    MakeDevice(seed);
    auto source = Filled(16 * kSector, 7);
    Write(1, 0, source);
    loop_.RunReady();
    device_->Crash();
    std::ranges::fill(source, std::byte{9});  // the device must not look at it any more
    int arrived = 0;
    for (std::uint64_t sector = 0; sector < 16; ++sector) {
      const int byte = ByteAt(sector * kSector);
      ASSERT_TRUE(byte == 0 || byte == 7) << byte;
      arrived += byte == 7 ? 1 : 0;
    }
    partial += arrived > 0 && arrived < 16 ? 1 : 0;
    loop_.RunAll();
    EXPECT_EQ(ended_[1], StatusCode::kIo);
    EXPECT_EQ(device_->UnsyncedSectors(), 0U) << "a lost write arrived after the crash";
  }
  EXPECT_GT(partial, 10);
}

TEST_F(SimulatedDeviceTest, SyncPromisesNothingForWritesThatEndAfterItBegan) {
  int lost = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    MakeDevice(seed);
    const auto before = Filled(kSector, 1);
    const auto meanwhile = Filled(kSector, 2);
    Write(1, 0, before);
    loop_.RunAll();
    Write(2, 0, meanwhile);
    Sync(3);
    loop_.RunAll();
    device_->Crash();
    ASSERT_NE(ByteAt(0), 0) << "what was written before the sync is safe";
    lost += ByteAt(0) == 1 ? 1 : 0;
  }
  EXPECT_GT(lost, 0);
}

TEST_F(SimulatedDeviceTest, SameSeedGivesTheSameCrash) {
  std::vector<int> outcomes[2];
  for (std::vector<int>& outcome : outcomes) {
    MakeDevice(99);
    const auto one = Filled(64 * kSector, 1);
    const auto two = Filled(64 * kSector, 2);
    Write(1, 0, one);
    Write(2, 32 * kSector, two);
    loop_.RunAll();
    Write(3, 0, two);
    loop_.RunReady();
    device_->Crash();
    for (std::uint64_t sector = 0; sector < 100; ++sector) {
      outcome.push_back(ByteAt(sector * kSector));
    }
    loop_.RunAll();
  }
  EXPECT_EQ(outcomes[0], outcomes[1]);
}

TEST_F(SimulatedDeviceTest, CrashTearsAWriteOfTwoBuffersAtAnySectorOfBoth) {
  int torn_first = 0;
  int torn_second = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    MakeDevice(seed);
    const auto header = Filled(4 * kSector, 1);
    const auto payload = Filled(4 * kSector, 2);
    scope_.Spawn(Note(device_->Write(kSector, header, payload), 1, &ended_));
    loop_.RunReady();
    device_->Crash();
    int arrived[2] = {0, 0};
    for (std::uint64_t sector = 0; sector < 10; ++sector) {
      const bool in_first = sector >= 1 && sector < 5;
      const bool in_second = sector >= 5 && sector < 9;
      const int byte = ByteAt(sector * kSector);
      ASSERT_TRUE(byte == 0 || (in_first && byte == 1) || (in_second && byte == 2)) << byte;
      if (byte != 0) ++arrived[in_first ? 0 : 1];
    }
    torn_first += arrived[0] > 0 && arrived[0] < 4 ? 1 : 0;
    torn_second += arrived[1] > 0 && arrived[1] < 4 ? 1 : 0;
    loop_.RunAll();
    EXPECT_EQ(ended_[1], StatusCode::kIo);
  }
  EXPECT_GT(torn_first, 5);
  EXPECT_GT(torn_second, 5);
}

class FaultyDeviceTest : public SimulatedDeviceTest {
 protected:
  void Make(DeviceFault fault, std::uint64_t times_max) {
    MakeDevice(5);
    FaultyDeviceOptions options;
    options[fault] = {.probability = 1, .times_max = times_max};
    faulty_ = std::make_unique<FaultyDevice>(*device_, *random_, options);
  }
  Status Do(Task<Status> call) {
    Status result;
    scope_.Spawn(Keep(std::move(call), &result));
    loop_.RunAll();
    return result;
  }
  static Task<void> Keep(Task<Status> call, Status* result) { *result = co_await std::move(call); }
  std::unique_ptr<FaultyDevice> faulty_;
};

TEST_F(FaultyDeviceTest, EveryFaultHappensAsOftenAsAllowedAndIsCounted) {
  auto buffer = Filled(8 * kSector, 1);
  for (std::size_t index = 0; index < kDeviceFaultCount; ++index) {
    const auto fault = static_cast<DeviceFault>(index);
    SCOPED_TRACE(DeviceFaultName(fault));
    Make(fault, 3);
    for (int i = 0; i < 10; ++i) {
      (void)Do(faulty_->Write(0, buffer));
      (void)Do(faulty_->Read(0, buffer));
      (void)Do(faulty_->Sync());
    }
    EXPECT_EQ(faulty_->Count(fault), 3U);
    EXPECT_EQ(faulty_->notes().size(), 3U);
    EXPECT_TRUE(Do(faulty_->Write(0, buffer)).ok());
    EXPECT_TRUE(Do(faulty_->Read(0, buffer)).ok());
    EXPECT_TRUE(Do(faulty_->Sync()).ok());
  }
}

TEST_F(FaultyDeviceTest, DisabledMakesNoFault) {
  Make(DeviceFault::kWriteError, 10);
  faulty_->Enable(false);
  const auto buffer = Filled(kSector, 1);
  EXPECT_TRUE(Do(faulty_->Write(0, buffer)).ok());
  faulty_->Enable(true);
  EXPECT_EQ(Do(faulty_->Write(0, buffer)).code(), StatusCode::kIo);
}

TEST_F(FaultyDeviceTest, LostWriteAnswersOkAndReadsStale) {
  Make(DeviceFault::kLostWrite, 1);
  const auto buffer = Filled(kSector, 1);
  EXPECT_TRUE(Do(faulty_->Write(0, buffer)).ok());
  EXPECT_EQ(ByteAt(0), 0);
  EXPECT_TRUE(Do(faulty_->Write(0, buffer)).ok());
  EXPECT_EQ(ByteAt(0), 1);
}

TEST_F(FaultyDeviceTest, StaleReadGivesWhatWasOverwrittenAndLeavesTheMediumRight) {
  Make(DeviceFault::kStaleRead, 1);
  EXPECT_TRUE(Do(faulty_->Write(0, Filled(4 * kSector, 1))).ok());
  EXPECT_TRUE(Do(faulty_->Write(kSector, Filled(2 * kSector, 2))).ok());
  auto read = Filled(4 * kSector, 0);
  EXPECT_TRUE(Do(faulty_->Read(0, read)).ok());
  EXPECT_EQ(read, Filled(4 * kSector, 1)) << "the second write, of two sectors, is not seen";
  EXPECT_TRUE(Do(faulty_->Read(0, read)).ok());
  EXPECT_EQ(static_cast<int>(read[kSector]), 2);
  EXPECT_EQ(ByteAt(kSector), 2);
}

TEST_F(FaultyDeviceTest, FlippedWriteChangesTheMediumNotTheSource) {
  Make(DeviceFault::kFlippedWrite, 1);
  const auto buffer = Filled(4 * kSector, 1);
  EXPECT_TRUE(Do(faulty_->Write(0, buffer)).ok());
  EXPECT_EQ(buffer, Filled(4 * kSector, 1));
  auto read = Filled(4 * kSector, 0);
  EXPECT_TRUE(Do(faulty_->Read(0, read)).ok());
  EXPECT_EQ(WrongBits(read, buffer), 1);
}

TEST_F(FaultyDeviceTest, FlippedReadLeavesTheMediumRight) {
  Make(DeviceFault::kFlippedRead, 1);
  const auto buffer = Filled(kSector, 1);
  EXPECT_TRUE(Do(faulty_->Write(0, buffer)).ok());
  auto read = Filled(kSector, 0);
  EXPECT_TRUE(Do(faulty_->Read(0, read)).ok());
  EXPECT_NE(read, buffer);
  EXPECT_TRUE(Do(faulty_->Read(0, read)).ok());
  EXPECT_EQ(read, buffer);
}

TEST_F(FaultyDeviceTest, MisdirectedWriteNotesWhereItWent) {
  Make(DeviceFault::kMisdirectedWrite, 1);
  const auto buffer = Filled(kSector, 4);
  EXPECT_TRUE(Do(faulty_->Write(0, buffer)).ok());
  ASSERT_EQ(faulty_->notes().size(), 1U);
  EXPECT_EQ(ByteAt(faulty_->notes()[0].other_offset), 4);
}

TEST_F(FaultyDeviceTest, ShortWriteIsATornWriteWithAnError) {
  Make(DeviceFault::kShortWrite, 100);
  const auto buffer = Filled(64 * kSector, 3);
  EXPECT_EQ(Do(faulty_->Write(0, buffer)).code(), StatusCode::kIo);
  bool torn = false;
  for (std::uint64_t sector = 1; sector < 64; ++sector) {
    const bool now = ByteAt(sector * kSector) == 3;
    EXPECT_FALSE(now && torn) << "the part that was written is the beginning";
    torn |= !now;
  }
}

TEST_F(FaultyDeviceTest, FlippedBitsHitEitherOfTwoBuffers) {
  for (const DeviceFault fault : {DeviceFault::kFlippedWrite, DeviceFault::kFlippedRead}) {
    SCOPED_TRACE(DeviceFaultName(fault));
    Make(fault, 40);
    const auto header = Filled(kSector, 1);
    const auto payload = Filled(2 * kSector, 2);
    int hits[2] = {0, 0};
    for (int i = 0; i < 40; ++i) {
      EXPECT_TRUE(Do(faulty_->Write(0, header, payload)).ok());
      auto first = Filled(kSector, 0);
      auto second = Filled(2 * kSector, 0);
      EXPECT_TRUE(Do(faulty_->Read(0, first, second)).ok());
      EXPECT_EQ(WrongBits(first, header) + WrongBits(second, payload), 1);
      ++hits[first == header ? 1 : 0];
    }
    EXPECT_GT(hits[0], 5);
    EXPECT_GT(hits[1], 5);
  }
}

TEST_F(FaultyDeviceTest, ShortCallsEndInEitherOfTwoBuffers) {
  const auto header = Filled(2 * kSector, 1);
  const auto payload = Filled(2 * kSector, 2);
  std::set<std::size_t> written;
  std::set<int> read;
  for (int i = 0; i < 40; ++i) {
    Make(DeviceFault::kShortWrite, 1);
    for (int skip = 0; skip < i; ++skip) random_->Next();
    EXPECT_EQ(Do(faulty_->Write(0, header, payload)).code(), StatusCode::kIo);
    std::size_t sectors = 0;
    while (sectors < 4 && ByteAt(sectors * kSector) == (sectors < 2 ? 1 : 2)) ++sectors;
    written.insert(sectors);
    for (std::size_t behind = sectors; behind < 4; ++behind) EXPECT_EQ(ByteAt(behind * kSector), 0);
  }
  Make(DeviceFault::kShortRead, 40);
  EXPECT_TRUE(Do(faulty_->Write(0, header, payload)).ok());
  for (int i = 0; i < 40; ++i) {
    auto first = Filled(2 * kSector, 0);
    auto second = Filled(2 * kSector, 0);
    EXPECT_EQ(Do(faulty_->Read(0, first, second)).code(), StatusCode::kIo);
    const auto got =
        std::ranges::count(first, std::byte{1}) + std::ranges::count(second, std::byte{2});
    read.insert(static_cast<int>(got / static_cast<std::ptrdiff_t>(kSector)));
  }
  EXPECT_EQ(written, (std::set<std::size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(read, (std::set<int>{0, 1, 2, 3, 4}));
}

TEST_F(FaultyDeviceTest, MisdirectedWriteMovesBothBuffers) {
  Make(DeviceFault::kMisdirectedWrite, 1);
  const auto header = Filled(kSector, 4);
  const auto payload = Filled(kSector, 5);
  EXPECT_TRUE(Do(faulty_->Write(0, header, payload)).ok());
  ASSERT_EQ(faulty_->notes().size(), 1U);
  EXPECT_EQ(faulty_->notes()[0].length, 2 * kSector);
  EXPECT_EQ(ByteAt(faulty_->notes()[0].other_offset), 4);
  EXPECT_EQ(ByteAt(faulty_->notes()[0].other_offset + kSector), 5);
}

TEST_F(FaultyDeviceTest, DelayTakesItsTime) {
  Make(DeviceFault::kDelay, 1);
  const Nanos start = loop_.clock().Now();
  EXPECT_TRUE(Do(faulty_->Sync()).ok());
  EXPECT_GE(loop_.clock().Now() - start, 50 * kMillisecond);
}

}  // namespace
}  // namespace terrace
