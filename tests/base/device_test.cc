// What every Device promises, run over all of them.
#include "base/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>

#include "base/device_buffers.h"
#include "base/device_faulty.h"
#include "base/device_file.h"
#include "base/device_sim.h"
#include "base/device_threads.h"
#include "base/device_uring.h"
#include "base/random.h"
#include "base/reactor.h"
#include "base/wait.h"
#include "tests/base/device_files.h"

namespace terrace {
namespace {

constexpr std::uint64_t kDeviceBytes = 32 * kMiB;

enum class Way { kUring, kThreads, kThreadsOnEpoll, kSimulated, kFaultyWithoutFaults };

class DeviceTest : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    auto reactor = Reactor::Create({.use_io_uring = GetParam() != Way::kThreadsOnEpoll}, clock_);
    ASSERT_TRUE(reactor.ok());
    reactor_ = std::move(reactor).value();
    if (GetParam() == Way::kUring && reactor_->ring() == nullptr) {
      GTEST_SKIP() << "the kernel refuses io_uring";
    }
    switch (GetParam()) {
      case Way::kUring: Keep(UringDevice::Open(*reactor_, options_)); break;
      case Way::kThreads:
      case Way::kThreadsOnEpoll: Keep(ThreadDevice::Open(*reactor_, options_)); break;
      case Way::kSimulated: device_ = MakeSimulated(); break;
      case Way::kFaultyWithoutFaults:
        wrapped_ = MakeSimulated();
        device_ = std::make_unique<FaultyDevice>(*wrapped_, random_, FaultyDeviceOptions{});
        break;
    }
  }

  template <typename Opened>
  void Keep(Result<std::unique_ptr<Opened>> opened) {
    if (opened.code() == StatusCode::kUnsupported) GTEST_SKIP() << opened.status().ToString();
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    device_ = std::move(opened).value();
  }
  std::unique_ptr<Device> MakeSimulated() {
    return std::make_unique<SimulatedDevice>(
        SimulatedDeviceOptions{.size_bytes = kDeviceBytes, .latency_min = 0, .latency_max = 1000},
        random_);
  }

  static Task<void> ThenStop(Task<void> task, Reactor* reactor) {
    co_await std::move(task);
    reactor->Stop();
  }
  /// Runs the task to its end on the reactor.
  void Run(Task<void> task) {
    TaskScope scope;
    {
      const Scheduler::CurrentScope current(reactor_->scheduler());
      scope.Spawn(ThenStop(std::move(task), reactor_.get()));
    }
    reactor_->Run();
  }

  [[nodiscard]] static bool HasFile() {
    return GetParam() != Way::kSimulated && GetParam() != Way::kFaultyWithoutFaults;
  }

  SteadyClock clock_;
  SeededRandom random_{1};
  TemporaryPath path_;
  DeviceOptions options_{.path = path_.str(), .size_bytes = kDeviceBytes};
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Device> wrapped_;
  std::unique_ptr<Device> device_;
};

std::string WayName(const testing::TestParamInfo<Way>& info) {
  switch (info.param) {
    case Way::kUring: return "io_uring";
    case Way::kThreads: return "threads";
    case Way::kThreadsOnEpoll: return "threads_on_epoll";
    case Way::kSimulated: return "simulated";
    case Way::kFaultyWithoutFaults: return "faulty_without_faults";
  }
  return "unknown";
}
INSTANTIATE_TEST_SUITE_P(Ways, DeviceTest,
                         testing::Values(Way::kUring, Way::kThreads, Way::kThreadsOnEpoll,
                                         Way::kSimulated, Way::kFaultyWithoutFaults),
                         WayName);

Task<void> WriteAndRead(Device* device, std::uint64_t offset, std::size_t length,
                        std::uint64_t seed) {
  const Buffer written(length);
  written.Fill(seed);
  const Status write = co_await device->Write(offset, written.span());
  EXPECT_TRUE(write.ok()) << write.ToString();
  const Buffer read(length);
  const Status status = co_await device->Read(offset, read.span());
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(read == written) << length << " bytes at " << offset;
}

Task<void> WriteAndReadLengths(Device* device) {
  // Shorter and longer than a chunk (1 MiB) and than all chunks in flight (4 MiB).
  for (const std::size_t length :
       {4096UL, 65536UL, kMiB, kMiB + 4096, 5 * kMiB + 8192, 16 * kMiB}) {
    co_await WriteAndRead(device, device->size() - length, length, length);
    co_await WriteAndRead(device, 0, length, length + 1);
  }
}

TEST_P(DeviceTest, ReadsWhatWasWrittenAtAnyLength) { Run(WriteAndReadLengths(device_.get())); }

Task<void> ManyAtOnce(Device* device) {
  // More calls than the ring and the threads' queue have places.
  constexpr std::uint64_t kCalls = 400;
  TaskScope scope;
  for (std::uint64_t i = 0; i < kCalls; ++i) {
    scope.Spawn(WriteAndRead(device, i * 65536, 65536, i));
  }
  co_await scope.Join();
  for (std::uint64_t i = 0; i < kCalls; ++i) {
    const Buffer expected(65536);
    expected.Fill(i);
    const Buffer read(65536);
    EXPECT_TRUE((co_await device->Read(i * 65536, read.span())).ok());
    EXPECT_TRUE(read == expected) << "block " << i;
  }
}

TEST_P(DeviceTest, ManyCallsAtOnceAllEndAndNeverMix) { Run(ManyAtOnce(device_.get())); }

Task<void> SyncAfterWrite(Device* device) {
  co_await WriteAndRead(device, 8192, 4096, 3);
  const Status synced = co_await device->Sync();
  EXPECT_TRUE(synced.ok()) << synced.ToString();
  // A fresh device is readable everywhere: zeros.
  const Buffer read(4096);
  EXPECT_TRUE((co_await device->Read(0, read.span())).ok());
  EXPECT_EQ(read.span()[0], std::byte{0});
  EXPECT_TRUE((co_await device->Read(0, {})).ok());
}

TEST_P(DeviceTest, SyncsAndReadsZerosWhereNothingWasWritten) {
  Run(SyncAfterWrite(device_.get()));
  EXPECT_EQ(device_->size(), kDeviceBytes);
  EXPECT_GE(device_->alignment(), 512U);
}

Task<void> ReadPastCut(Device* device, const char* path) {
  co_await WriteAndRead(device, 0, 2 * kMiB, 9);
  EXPECT_EQ(truncate(path, kMiB), 0);
  const Buffer read(2 * kMiB);
  const Status status = co_await device->Read(0, read.span());
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find(path), std::string::npos) << status.ToString();
}

TEST_P(DeviceTest, FileCutBehindItsBackIsAnErrorNotAHang) {
  if (!HasFile()) GTEST_SKIP() << "no file";
  Run(ReadPastCut(device_.get(), path_.str().c_str()));
}

/// Two buffers in different places, and what they hold as one.
struct Split {
  Split(std::size_t first_bytes, std::size_t second_bytes, std::uint64_t seed)
      : first(first_bytes), second(second_bytes), whole(first_bytes + second_bytes) {
    whole.Fill(seed);
    std::ranges::copy(whole.span().first(first_bytes), first.span().begin());
    std::ranges::copy(whole.span().subspan(first_bytes), second.span().begin());
  }
  /// Whether the first `bytes` of both buffers are those of `expected`.
  [[nodiscard]] bool BeginsAs(const Buffer& expected, std::size_t bytes) const {
    const std::size_t of_first = std::min(bytes, first.size());
    return std::ranges::equal(first.span().first(of_first), expected.span().first(of_first)) &&
           std::ranges::equal(second.span().first(bytes - of_first),
                              expected.span().subspan(of_first, bytes - of_first));
  }
  Buffer first;
  Buffer second;
  Buffer whole;
};

Task<void> WriteAndReadTwo(Device* device, std::size_t first, std::size_t second) {
  const std::string what = std::to_string(first) + " + " + std::to_string(second) + " bytes";
  const std::size_t length = first + second;
  // A sector before and one behind, which nobody may touch.
  const Buffer around(length + 8192);
  around.Fill(first + 1);
  Status status = co_await device->Write(65536, around.span());
  EXPECT_TRUE(status.ok()) << what << ": " << status.ToString();
  const Split written(first, second, second + 2);
  status = co_await device->Write(65536 + 4096, written.first.span(), written.second.span());
  EXPECT_TRUE(status.ok()) << what << ": " << status.ToString();
  std::ranges::copy(written.whole.span(), around.span().subspan(4096).begin());
  const Buffer found(length + 8192);
  status = co_await device->Read(65536, found.span());
  EXPECT_TRUE(status.ok()) << what << ": " << status.ToString();
  EXPECT_TRUE(found == around) << what;
  const Split read(first, second, 3);
  status = co_await device->Read(65536 + 4096, read.first.span(), read.second.span());
  EXPECT_TRUE(status.ok()) << what << ": " << status.ToString();
  EXPECT_TRUE(read.BeginsAs(written.whole, length)) << what;
}

Task<void> WriteAndReadTwoOfAllLengths(Device* device) {
  // A header before a block of 64 KiB, and of 1 and 4 MiB: one operation at its greatest, one byte
  // range more than that, many. Then boundaries in the middle, at the end and at both ends of a
  // chunk, and parts that are not there.
  constexpr std::pair<std::size_t, std::size_t> kSplits[] = {
      {4096, 65536},       {4096, kMiB},
      {4096, kMiB + 4096}, {4096, 4 * kMiB},
      {4096, 16 * kMiB},   {kMiB - 4096, 8192},
      {kMiB, 4096},        {3 * kMiB + 4096, 2 * kMiB + 8192},
      {0, 65536},          {0, 3 * kMiB},
      {65536, 0},          {0, 0},
  };
  for (const auto& [first, second] : kSplits) co_await WriteAndReadTwo(device, first, second);
}

TEST_P(DeviceTest, HeaderAndPayloadLieOneBehindTheOtherAtAnyLength) {
  Run(WriteAndReadTwoOfAllLengths(device_.get()));
}

constexpr std::uint64_t kPlace = 16 * kMiB;
constexpr std::size_t kPlaceFirst = 8192;
constexpr std::size_t kPlaceSecond = 65536;
// Ends in the first buffer, between the two, and in the second.
constexpr std::size_t kShortLengths[] = {4096, kPlaceFirst, kPlaceFirst + 12288};

Task<void> ReadTwoPastCuts(Device* device, const char* path) {
  for (const std::size_t cut : kShortLengths) {
    const Split written(kPlaceFirst, kPlaceSecond, cut);
    EXPECT_TRUE((co_await device->Write(kPlace, written.whole.span())).ok());
    EXPECT_EQ(truncate(path, static_cast<off_t>(kPlace + cut)), 0);
    const Split read(kPlaceFirst, kPlaceSecond, 1);
    const Status status = co_await device->Read(kPlace, read.first.span(), read.second.span());
    EXPECT_EQ(status.code(), StatusCode::kIo);
    EXPECT_THAT(status.message(), testing::HasSubstr("read at " + std::to_string(kPlace + cut)));
    EXPECT_TRUE(read.BeginsAs(written.whole, cut));
  }
}

TEST_P(DeviceTest, ShortReadGoesOnWhereItStoppedAcrossBothBuffers) {
  if (!HasFile()) GTEST_SKIP() << "no file";
  Run(ReadTwoPastCuts(device_.get(), path_.str().c_str()));
}

Task<void> WriteTwoPastLimits(Device* device) {
  for (const std::size_t fits : kShortLengths) {
    const Split written(kPlaceFirst, kPlaceSecond, fits);
    {
      // The kernel cuts a write at the limit, and refuses one that begins there.
      const FileSizeLimit limit(kPlace + fits);
      const Status status =
          co_await device->Write(kPlace, written.first.span(), written.second.span());
      EXPECT_EQ(status.code(), StatusCode::kIo);
      EXPECT_THAT(status.message(),
                  testing::HasSubstr("write at " + std::to_string(kPlace + fits)));
    }
    const Split read(kPlaceFirst, kPlaceSecond, 1);
    EXPECT_TRUE((co_await device->Read(kPlace, read.first.span(), read.second.span())).ok());
    EXPECT_TRUE(read.BeginsAs(written.whole, fits));
    EXPECT_FALSE(read.BeginsAs(written.whole, fits + 4096));
  }
}

TEST_P(DeviceTest, ShortWriteGoesOnWhereItStoppedAcrossBothBuffers) {
  if (!HasFile()) GTEST_SKIP() << "no file";
  Run(WriteTwoPastLimits(device_.get()));
}

TEST_P(DeviceTest, DeviceOnASliceStaysInItsBounds) {
  if (!HasFile()) GTEST_SKIP() << "no file";
  device_.reset();
  Result<DeviceFile> file = DeviceFile::Open(options_);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  const Result<DeviceFile> outer = file->Slice(4 * kMiB, 8 * kMiB);
  ASSERT_TRUE(outer.ok()) << outer.status().ToString();
  Result<DeviceFile> inner = outer->Slice(kMiB, 3 * kMiB);
  ASSERT_TRUE(inner.ok()) << inner.status().ToString();
  if (GetParam() == Way::kUring) {
    Keep(UringDevice::Open(*reactor_, std::move(inner).value()));
  } else {
    Keep(ThreadDevice::Open(*reactor_, std::move(inner).value()));
  }
  EXPECT_EQ(device_->size(), 3 * kMiB);
  Run(WriteAndRead(device_.get(), 0, 3 * kMiB, 5));
  const Buffer expected(3 * kMiB);
  expected.Fill(5);
  const Buffer found(3 * kMiB);
  ASSERT_TRUE(file->ReadNow(5 * kMiB, found.span()).ok());
  EXPECT_TRUE(found == expected);
  for (const std::uint64_t outside : {5 * kMiB - 4096, 8 * kMiB}) {
    ASSERT_TRUE(file->ReadNow(outside, found.span().first(4096)).ok());
    EXPECT_EQ(std::ranges::count(found.span().first(4096), std::byte{0}), 4096);
  }
}

TEST(DeviceBuffersTest, BlockOf1MiBAndItsHeaderAreOneOperation) {
  EXPECT_EQ(DeviceOperationBytes(kMiB + 4096), kMiB + 4096);
  EXPECT_EQ(DeviceOperationBytes(kMiB + 8192), kMiB);
  EXPECT_EQ(DeviceOperationBytes(4 * kMiB), kMiB);
}

TEST(DeviceBuffersTest, WhatIsLeftAfterAShortResultBeginsInTheRightBuffer) {
  std::byte header[4];
  std::byte payload[8];
  std::array<iovec, 2> vectors{};
  DeviceBuffers left{.first = header, .second = payload};
  EXPECT_EQ(left.ToVectors(vectors), 2U);
  (void)left.Take(3);
  ASSERT_EQ(left.ToVectors(vectors), 2U);
  EXPECT_EQ(vectors[0].iov_base, header + 3);
  EXPECT_EQ(vectors[1].iov_len, 8U);
  (void)left.Take(3);
  ASSERT_EQ(left.ToVectors(vectors), 1U);
  EXPECT_EQ(vectors[0].iov_base, payload + 2);
  EXPECT_EQ(vectors[0].iov_len, 6U);
  (void)left.Take(6);
  EXPECT_EQ(left.ToVectors(vectors), 0U);
}

TEST(UringDeviceTest, ReactorWithoutRingIsUnsupported) {
  SteadyClock clock;
  auto reactor = Reactor::Create({.use_io_uring = false}, clock);
  ASSERT_TRUE(reactor.ok());
  const auto device = UringDevice::Open(**reactor, {.path = "unused", .size_bytes = kMiB});
  EXPECT_EQ(device.code(), StatusCode::kUnsupported);
}

}  // namespace
}  // namespace terrace
