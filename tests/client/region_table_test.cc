#include "client/regions/region_table.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

namespace terrace {
namespace {

constexpr std::uint64_t kBlock = 4096;

class RegionTableTest : public ::testing::Test {
 protected:
  RegionTableTest() : memory_(10 * kBlock) {
    region_ = table_.Add(memory_.data(), memory_.size()).value().id;
  }
  Result<RegionUse> Use(std::vector<BlockBuffer> blocks) {
    spans_.clear();
    return table_.Use(blocks, kBlock, spans_);
  }
  BlockBuffer At(std::uint64_t offset) const {
    return {.position = 0, .region = {region_}, .offset = offset, .valid_tokens = 0};
  }

  RegionTable table_;
  std::vector<std::byte> memory_;
  std::uint32_t region_ = 0;
  std::vector<std::span<std::byte>> spans_;
  const SteadyClock clock_;
};

TEST_F(RegionTableTest, BlocksMustLieWithinTheirRegion) {
  ASSERT_TRUE(Use({At(0), At(9 * kBlock)}).ok());
  EXPECT_EQ(spans_[1].data(), memory_.data() + 9 * kBlock);
  EXPECT_EQ(spans_[1].size(), kBlock);
  for (const std::uint64_t offset :
       {9 * kBlock + 1, 10 * kBlock, 11 * kBlock, std::numeric_limits<std::uint64_t>::max(),
        std::numeric_limits<std::uint64_t>::max() - kBlock + 1}) {
    const auto use = Use({At(0), At(offset)});
    ASSERT_EQ(use.code(), StatusCode::kInvalid) << offset;
    EXPECT_NE(use.status().message().find("blocks[1]: offset"), std::string::npos)
        << use.status().message();
  }
  const auto unknown = Use({{.position = 0, .region = {99}, .offset = 0, .valid_tokens = 0}});
  EXPECT_EQ(unknown.code(), StatusCode::kInvalid);
  EXPECT_NE(unknown.status().message().find("blocks[0].region"), std::string::npos);
  EXPECT_TRUE(table_.Remove(region_).ok()) << "a refused call must leave no use behind";
}

TEST_F(RegionTableTest, UsedRegionIsNotRemoved) {
  {
    const auto use = Use({At(0), At(kBlock)});
    ASSERT_TRUE(use.ok());
    EXPECT_EQ(table_.Remove(region_).code(), StatusCode::kRetry);
    EXPECT_EQ(table_.Quiesce(region_, clock_.Now()).code(), StatusCode::kTimeout);
  }
  EXPECT_TRUE(table_.Quiesce(region_, clock_.Now()).ok());
  EXPECT_TRUE(table_.Remove(region_).ok());
  EXPECT_EQ(table_.Remove(region_).code(), StatusCode::kInvalid);
  EXPECT_TRUE(table_.Memory(region_).empty());
}

TEST_F(RegionTableTest, RegionInDoubtTakesNoCallUntilItIsQuiet) {
  auto first = Use({At(0)});
  auto second = Use({At(kBlock)});
  first.value().TurnToDoubt();
  first.value().TurnToDoubt();  // twice is once
  EXPECT_EQ(Use({At(0)}).code(), StatusCode::kRetry);
  EXPECT_EQ(table_.Remove(region_).code(), StatusCode::kRetry);
  second.value().Release();
  EXPECT_EQ(table_.Quiesce(region_, clock_.Now() + kMillisecond).code(), StatusCode::kTimeout);
  std::thread quiet([&first] { first.value().Release(); });
  EXPECT_TRUE(table_.Quiesce(region_, clock_.Now() + 30 * kSecond).ok());
  quiet.join();
  EXPECT_TRUE(Use({At(0)}).ok());
}

TEST_F(RegionTableTest, RefusesMemoryThatIsNone) {
  EXPECT_EQ(table_.Add(nullptr, 10).code(), StatusCode::kInvalid);
  EXPECT_EQ(table_.Add(memory_.data(), 0).code(), StatusCode::kInvalid);
  EXPECT_EQ(table_.Add(memory_.data(), std::numeric_limits<std::uint64_t>::max()).code(),
            StatusCode::kInvalid);
}

TEST_F(RegionTableTest, IsFullAtItsLimitAndNeverUsesAnIdTwice) {
  std::uint32_t last = region_;
  for (std::size_t i = 1; i < kRegionsMax; ++i) {
    const std::uint32_t id = table_.Add(memory_.data(), kBlock).value().id;
    EXPECT_GT(id, last);
    last = id;
  }
  EXPECT_EQ(table_.Add(memory_.data(), kBlock).code(), StatusCode::kRetry);
  ASSERT_TRUE(table_.Remove(last).ok());
  EXPECT_GT(table_.Add(memory_.data(), kBlock).value().id, last);
}

TEST(RegionMemory, IsAlignedZeroAndAsLongAsAskedFor) {
  const auto memory = RegionMemory::Allocate((3 << 20) + 5);
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->bytes().size(), (3U << 20) + 5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory->bytes().data()) % (2 << 20), 0U);
  for (const std::byte byte : memory->bytes()) ASSERT_EQ(byte, std::byte{0});
  EXPECT_EQ(RegionMemory::Allocate(0).code(), StatusCode::kInvalid);
  EXPECT_EQ(RegionMemory::Allocate(std::numeric_limits<std::uint64_t>::max()).code(),
            StatusCode::kInvalid);
}

}  // namespace
}  // namespace terrace
