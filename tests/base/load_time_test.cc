#include "base/load_time.h"

#include <gtest/gtest.h>

#include <vector>

namespace terrace {
namespace {

constexpr std::uint64_t kMB = 1'000'000;

const LoadSource kConnection = {
    .tier = TierKind::kDram, .bytes_per_s = 1000 * kMB, .queue_us = 0, .latency_us = 100};
const LoadSource kDevice = {
    .tier = TierKind::kNvme, .bytes_per_s = 100 * kMB, .queue_us = 0, .latency_us = 500};

TEST(LoadTime, NothingTakesNoTime) {
  const std::vector<LoadSource> sources = {kConnection, kDevice};
  EXPECT_EQ(LoadSeconds(sources, std::vector<std::uint64_t>{0, 0}, kMB), 0);
  EXPECT_EQ(LoadSeconds({}, {}, 0), 0);
}

TEST(LoadTime, BlocksInDramCrossTheConnection) {
  const std::vector<LoadSource> sources = {kConnection, kDevice};
  EXPECT_DOUBLE_EQ(LoadSeconds(sources, std::vector<std::uint64_t>{10 * kMB, 0}, kMB), 0.0101);
  EXPECT_DOUBLE_EQ(BlockLoadSeconds(sources, 0, kMB), 0.0011);
}

TEST(LoadTime, ADeviceIsWaitedForAndItsLastBlockCrossesAsWell) {
  const std::vector<LoadSource> sources = {kConnection, kDevice};
  EXPECT_DOUBLE_EQ(LoadSeconds(sources, std::vector<std::uint64_t>{0, 10 * kMB}, kMB),
                   0.0001 + 0.0005 + 0.1 + 0.001);
  EXPECT_DOUBLE_EQ(BlockLoadSeconds(sources, 1, kMB), 0.0001 + 0.0005 + 0.01 + 0.001);
}

TEST(LoadTime, SourcesWorkAtTheSameTime) {
  const std::vector<LoadSource> sources = {kConnection, kDevice, kDevice, kConnection};
  const double one = LoadSeconds(sources, std::vector<std::uint64_t>{0, 10 * kMB, 0, 0}, kMB);
  EXPECT_DOUBLE_EQ(
      LoadSeconds(sources, std::vector<std::uint64_t>{0, 10 * kMB, 10 * kMB, 50 * kMB}, kMB), one);
}

TEST(LoadTime, AConnectionThatIsSlowerThanItsDevicesDecides) {
  const std::vector<LoadSource> sources = {kConnection, kDevice, kDevice};
  const std::vector<std::uint64_t> bytes = {500 * kMB, 10 * kMB, 10 * kMB};
  EXPECT_DOUBLE_EQ(LoadSeconds(sources, bytes, kMB), 0.0001 + 0.52);
}

TEST(LoadTime, QueuesComeFirst) {
  LoadSource busy = kDevice;
  busy.queue_us = 300'000;
  const std::vector<LoadSource> sources = {kConnection, busy};
  EXPECT_DOUBLE_EQ(BlockLoadSeconds(sources, 1, kMB), 0.0001 + 0.3 + 0.0005 + 0.01 + 0.001);
  EXPECT_DOUBLE_EQ(BlockLoadSeconds(sources, 0, kMB), 0.0011) << "the other source's queue";
}

}  // namespace
}  // namespace terrace
