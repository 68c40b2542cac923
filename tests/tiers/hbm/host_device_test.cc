// The suite of device memories on the double, and what the double alone can do: fail when told.
#include "tiers/hbm/host_device_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "tests/base/simulated_time.h"
#include "tests/tiers/hbm/device_memory_fixture.h"
#include "tiers/hbm/gpus.h"

namespace terrace {
namespace {

using terrace::testing::SimulatedTime;
using ::testing::HasSubstr;

constexpr CopyUrgency kDemand = CopyUrgency::kDemand;

Result<std::unique_ptr<DeviceMemory>> MakeDouble() {
  return std::unique_ptr<DeviceMemory>(std::make_unique<HostDeviceMemory>(
      HostDeviceOptions{.latency = 0, .per_mebibyte = 0, .copies_in_flight = 8}));
}
INSTANTIATE_TEST_SUITE_P(Double, DeviceMemoryTest,
                         ::testing::Values(DeviceMemoryKind{"double", &MakeDouble}), KindName);

class HostDeviceTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 300000;

  void SetUp() override {
    pool_ = memory_.Allocate(8 << 20).value();
    FillRandom(source_, 1);
  }
  Status In(std::span<std::uint64_t> checksums = {}) {
    return time_.Run(memory_.CopyIn(pool_, source_, checksums, kDemand));
  }
  Status Out(std::span<std::uint64_t> checksums = {}) {
    return time_.Run(memory_.CopyOut(back_, pool_, checksums, kDemand));
  }

  SimulatedTime time_;
  HostDeviceMemory memory_{{.copies_in_flight = 2}};
  DeviceAddress pool_ = 0;
  std::vector<std::byte> source_ = std::vector<std::byte>(kBytes);
  std::vector<std::byte> back_ = std::vector<std::byte>(kBytes);
  std::vector<std::uint64_t> checksums_ = std::vector<std::uint64_t>(2);
};

TEST_F(HostDeviceTest, ACopyThatFailsMovesNothingAndTheNextOneWorks) {
  memory_.FailCopy(1);
  const Status failed = In();
  EXPECT_EQ(failed.code(), StatusCode::kIo);
  EXPECT_THAT(failed.message(), HasSubstr("double:0: CopyIn"));
  EXPECT_TRUE(memory_.State().ok());
  EXPECT_TRUE(std::ranges::all_of(memory_.Bytes(pool_, kBytes),
                                  [](std::byte byte) { return byte == std::byte{}; }));
  EXPECT_TRUE(In().ok());
}

TEST_F(HostDeviceTest, ABrokenDeviceAnswersItsErrorToEveryCall) {
  ASSERT_TRUE(In().ok());
  memory_.BreakAtCopy(2);
  EXPECT_TRUE(Out().ok());
  const Status broken = Out();
  EXPECT_EQ(broken.code(), StatusCode::kIo);
  EXPECT_EQ(memory_.State().message(), broken.message());
  EXPECT_EQ(In().message(), broken.message());
  EXPECT_EQ(memory_.Allocate(4096).status().message(), broken.message());
  EXPECT_EQ(memory_.RegisterHost(back_).message(), broken.message());
  EXPECT_EQ(memory_.Export(pool_).status().message(), broken.message());
  memory_.Free(pool_);
}

TEST_F(HostDeviceTest, CopiesUnderWayEndWhenTheDeviceBreaks) {
  std::optional<Status> first;
  std::optional<Status> queued;
  TaskScope scope;
  scope.Spawn(time_.Store(memory_.CopyIn(pool_, source_, {}, kDemand), &first));
  for (int i = 0; i < 2; ++i) {
    scope.Spawn(time_.Store(memory_.CopyOut(back_, pool_, {}, kDemand), &queued));
  }
  time_.RunReady();
  EXPECT_EQ(memory_.in_flight(), 2U);
  memory_.Break("the bus is gone");
  while (time_.Step()) {
  }
  ASSERT_TRUE(first && queued);
  EXPECT_THAT(first->message(), HasSubstr("the bus is gone"));
  EXPECT_THAT(queued->message(), HasSubstr("the bus is gone"));
}

TEST_F(HostDeviceTest, AFlippedByteOnTheWayInShowsInTheChecksums) {
  memory_.FlipInCopy(1);
  ASSERT_TRUE(In(checksums_).ok());
  EXPECT_NE(checksums_, HostChecksums(source_));
  ASSERT_TRUE(In(checksums_).ok());
  EXPECT_EQ(checksums_, HostChecksums(source_));
}

TEST_F(HostDeviceTest, AFlippedByteOnTheWayOutShowsInTheBytes) {
  ASSERT_TRUE(In().ok());
  memory_.FlipInCopy(1);
  ASSERT_TRUE(Out(checksums_).ok());
  EXPECT_EQ(checksums_, HostChecksums(source_)) << "the device's bytes were right";
  EXPECT_NE(HostChecksums(back_), checksums_);
}

TEST_F(HostDeviceTest, ABufferThatIsUsedTooEarlyIsNotFilledYet) {
  ASSERT_TRUE(In().ok());
  std::optional<Status> ended;
  TaskScope scope;
  scope.Spawn(time_.Store(memory_.CopyOut(back_, pool_, {}, kDemand), &ended));
  time_.RunReady();
  EXPECT_FALSE(ended);
  EXPECT_NE(back_, source_);
  while (time_.Step()) {
  }
  EXPECT_TRUE(ended && ended->ok());
  EXPECT_EQ(back_, source_);
}

Task<void> NoteEnd(HostDeviceMemory* memory, DeviceAddress from, std::span<std::byte> to,
                   CopyUrgency urgency, char mark, std::string* order) {
  EXPECT_TRUE((co_await memory->CopyOut(to, from, {}, urgency)).ok());
  order->push_back(mark);
}

TEST_F(HostDeviceTest, BackgroundCopiesThatQueueDoNotHoldUpDemand) {
  std::string order;
  std::vector<std::byte> backs[6];
  TaskScope scope;
  for (int i = 0; i < 6; ++i) {
    backs[i].resize(4096);
    const CopyUrgency urgency = i < 4 ? CopyUrgency::kBackground : kDemand;
    scope.Spawn(NoteEnd(&memory_, pool_, backs[i], urgency, i < 4 ? 'b' : 'd', &order));
  }
  while (time_.Step()) {
  }
  EXPECT_EQ(order, "bbddbb");
  EXPECT_EQ(memory_.most_in_flight(), 2U);
  EXPECT_EQ(memory_.in_flight(), 0U);
}

TEST_F(HostDeviceTest, MemoryThatOthersTookIsRefusedAndSaidSo) {
  memory_.RefuseAllocations(true);
  const auto refused = memory_.Allocate(4096);
  EXPECT_EQ(refused.code(), StatusCode::kRetry);
  EXPECT_THAT(refused.status().message(), HasSubstr("4096 bytes asked for, 0 of"));
  memory_.RefuseAllocations(false);
  EXPECT_TRUE(memory_.Allocate(4096).ok());
}

TEST_F(HostDeviceTest, MemoryOfThisProcessIsOpenedOnlyByWhoAsksForThat) {
  const ExportedMemory exported = memory_.Export(pool_).value();
  EXPECT_EQ(memory_.OpenExported(exported).code(), StatusCode::kInvalid);
  HostDeviceMemory other({.name = "double:1", .open_own = true});
  const auto opened = other.OpenExported(exported);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  ASSERT_TRUE(In().ok());
  EXPECT_TRUE(std::ranges::equal(other.Bytes(opened.value(), kBytes), source_));
  EXPECT_EQ(other.opened(), 1U);
  other.CloseExported(opened.value());
  EXPECT_EQ(other.opened(), 0U);
}

TEST_F(HostDeviceTest, AMachineWithoutAGpuSaysWhy) {
  const GpusFound found = FindGpus();
  EXPECT_EQ(found.gpus.empty(), !found.why_none.empty());
  if (!found.gpus.empty()) GTEST_SKIP() << "there is one: " << DescribeGpus(found);
  EXPECT_THAT(DescribeGpus(found), HasSubstr("no GPU: "));
  const auto opened = OpenGpu(0);
  EXPECT_EQ(opened.code(), StatusCode::kUnsupported);
  EXPECT_THAT(opened.status().message(), HasSubstr(found.why_none));
}

}  // namespace
}  // namespace terrace
