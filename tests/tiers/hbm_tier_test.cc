// Blocks in a pool of device memory: what was put comes out, wrong bytes are noticed, and a pool
// that cannot be is named; on the double everywhere and on GPU 0 where there is one.
#include "tiers/hbm/hbm_tier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"
#include "tests/base/simulated_time.h"
#include "tiers/hbm/gpu.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace {
namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr std::size_t kHostBytes = 16 * kMiB;

/// A tier over any device, and pinned memory that blocks come from and go to.
class TierRig {
 public:
  TierRig(DeviceMemory& device, std::uint64_t capacity_bytes)
      : host_(static_cast<std::byte*>(std::aligned_alloc(4096, kHostBytes)), &std::free) {
    auto made = HbmTier::Create(device, {.capacity_bytes = capacity_bytes, .copies = {}});
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    tier_ = std::move(*made);
    EXPECT_TRUE(tier_->Pin({host_.get(), kHostBytes}).ok());
  }
  ~TierRig() { time_.Run(tier_->Close()); }
  TierRig(const TierRig&) = delete;
  TierRig& operator=(const TierRig&) = delete;

  struct Block {
    std::uint64_t seed = 0;
    std::size_t bytes = 0;
    std::vector<std::uint64_t> checksums{};
  };

  /// A block of its own bytes in the first half of the host's memory, and in a frame.
  Status Fill(FrameId frame, Block& block) {
    const std::span<std::byte> bytes(host_.get(), block.bytes);
    Write(block.seed, bytes);
    block.checksums.resize(ChecksumPieceCount(block.bytes));
    ChecksumBlock(bytes, block.checksums);
    return time_.Run(tier_->Fill(frame, bytes, block.checksums, CopyUrgency::kBackground));
  }
  Status Read(FrameId frame, const Block& block) {
    const std::span<std::byte> to(&host_.get()[kHostBytes / 2], block.bytes);
    std::ranges::fill(to, std::byte{0xee});
    Status status = time_.Run(tier_->Read(frame, to, block.checksums, CopyUrgency::kDemand));
    if (status.ok() && !VerifyBlock(to, block.checksums)) {
      return Status::Internal("other bytes than were put");
    }
    return status;
  }
  static void Write(std::uint64_t seed, std::span<std::byte> bytes) {
    SeededRandom random(seed);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(i % 64 == 0 ? random.Next() : i * seed);
    }
  }

  testing::SimulatedTime time_;
  std::unique_ptr<std::byte, decltype(&std::free)> host_;
  std::unique_ptr<HbmTier> tier_;
};

/// Fills, reads, frees and evicts at random, with a copy of what should be there.
void Churn(DeviceMemory& device, int steps) {
  TierRig rig(device, 16 * kMiB);
  SeededRandom random(3);
  std::map<FrameId, TierRig::Block> stored;
  const std::size_t sizes[] = {4096, 65536, 100'000, 300'001, kMiB};
  for (int step = 0; step < steps; ++step) {
    if (!stored.empty() && random.Chance(0.4)) {
      const auto at =
          std::next(stored.begin(), static_cast<std::ptrdiff_t>(random.Below(stored.size())));
      const Status read = rig.Read(at->first, at->second);
      ASSERT_TRUE(read.ok()) << read.ToString() << " in step " << step;
      continue;
    }
    TierRig::Block block = {.seed = random.Next(), .bytes = sizes[random.Below(std::size(sizes))]};
    Result<FrameId> frame = rig.tier_->Allocate(block.bytes);
    while (frame.code() == StatusCode::kRetry) {
      ASSERT_FALSE(stored.empty());
      const auto victim =
          std::next(stored.begin(), static_cast<std::ptrdiff_t>(random.Below(stored.size())));
      for (const FrameId gone : rig.tier_->FramesInTheWay(victim->first, block.bytes)) {
        ASSERT_EQ(stored.erase(gone), 1U);
        rig.tier_->Free(gone);
      }
      frame = rig.tier_->Allocate(block.bytes);
    }
    ASSERT_TRUE(frame.ok()) << frame.status().ToString();
    const Status filled = rig.Fill(*frame, block);
    ASSERT_TRUE(filled.ok()) << filled.ToString();
    ASSERT_TRUE(stored.emplace(*frame, std::move(block)).second) << "a frame given out twice";
    ASSERT_EQ(rig.tier_->Stats().frames, stored.size());
  }
  for (const auto& [frame, block] : stored) {
    ASSERT_TRUE(rig.Read(frame, block).ok());
    rig.tier_->Free(frame);
  }
  EXPECT_EQ(rig.tier_->Stats().used_bytes, 0U);
  EXPECT_EQ(rig.tier_->Stats().corrupt, 0U);
}

TEST(HbmTierTest, BlocksOfAllSizesComeOutAsTheyWentInWhileOthersComeAndGo) {
  HostDeviceMemory device;
  Churn(device, 600);
}

TEST(HbmTierGpuTest, BlocksOfAllSizesComeOutAsTheyWentInWhileOthersComeAndGo) {
  auto gpu = OpenGpu(0);
  if (gpu.code() == StatusCode::kUnsupported) GTEST_SKIP() << gpu.status().ToString();
  ASSERT_TRUE(gpu.ok()) << gpu.status().ToString();
  Churn(**gpu, 600);
}

TEST(HbmTierTest, WrongBytesOnTheWayInAreNoticed) {
  HostDeviceMemory device;
  TierRig rig(device, 8 * kMiB);
  TierRig::Block block = {.seed = 5, .bytes = kMiB};
  const FrameId frame = *rig.tier_->Allocate(block.bytes);
  device.CorruptBatches(1);
  const Status filled = rig.Fill(frame, block);
  EXPECT_EQ(filled.code(), StatusCode::kCorrupt);
  EXPECT_NE(filled.message().find("piece 2"), std::string::npos) << filled.message();
  EXPECT_EQ(rig.tier_->Stats().corrupt, 1U);
  EXPECT_TRUE(rig.tier_->health().ok());
  EXPECT_TRUE(rig.Fill(frame, block).ok());
  EXPECT_TRUE(rig.Read(frame, block).ok());
}

TEST(HbmTierTest, BytesThatChangedOnTheDeviceAreNoticedByTheNextRead) {
  HostDeviceMemory device;
  TierRig rig(device, 8 * kMiB);
  TierRig::Block block = {.seed = 5, .bytes = 300'001};
  const FrameId frame = *rig.tier_->Allocate(block.bytes);
  ASSERT_TRUE(rig.Fill(frame, block).ok());
  TierRig::Block other = {.seed = 6, .bytes = 300'001};
  ASSERT_TRUE(rig.Fill(frame, other).ok());
  EXPECT_EQ(rig.Read(frame, block).code(), StatusCode::kCorrupt);
  EXPECT_TRUE(rig.Read(frame, other).ok());
}

TEST(HbmTierTest, ACopyToAClientsMemoryIsCheckedWhereItArrives) {
  HostDeviceMemory device;
  std::byte* const clients = *device.Allocate(2 * kMiB);
  {
    TierRig rig(device, 8 * kMiB);
    TierRig::Block block = {.seed = 5, .bytes = kMiB + 100};
    const FrameId frame = *rig.tier_->Allocate(block.bytes);
    ASSERT_TRUE(rig.Fill(frame, block).ok());
    const auto copy = [&] {
      const std::span<std::byte> place(clients, block.bytes);
      return rig.time_.Run(rig.tier_->CopyTo(frame, {&place, 1}, block.checksums));
    };
    ASSERT_TRUE(copy().ok());
    EXPECT_TRUE(VerifyBlock({clients, block.bytes}, block.checksums));
    device.CorruptBatches(1);
    EXPECT_EQ(copy().code(), StatusCode::kCorrupt);
  }
  EXPECT_TRUE(device.Free(clients).ok());
}

TEST(HbmTierTest, ALostDeviceTakesTheTierOfflineAndFramesCanStillBeFreed) {
  HostDeviceMemory device;
  TierRig rig(device, 8 * kMiB);
  TierRig::Block block = {.seed = 5, .bytes = kMiB};
  const FrameId frame = *rig.tier_->Allocate(block.bytes);
  ASSERT_TRUE(rig.Fill(frame, block).ok());
  device.Lose("fell off the bus");
  EXPECT_EQ(rig.Read(frame, block).code(), StatusCode::kIo);
  EXPECT_NE(rig.tier_->health().message().find("fell off the bus"), std::string::npos);
  EXPECT_EQ(rig.tier_->Allocate(kMiB).code(), StatusCode::kIo);
  rig.tier_->Free(frame);
  EXPECT_EQ(rig.tier_->Stats().frames, 0U);
}

TEST(HbmTierTest, APoolThatCannotBeIsNamedWithWhatIsFree) {
  HostDeviceMemory device({.name = "gpu 3", .total_bytes = 8 * kMiB});
  const auto small = HbmTier::Create(device, {.capacity_bytes = kMiB, .copies = {}});
  EXPECT_EQ(small.code(), StatusCode::kInvalid);
  const auto large = HbmTier::Create(device, {.capacity_bytes = 10 * kMiB, .copies = {}});
  EXPECT_EQ(large.code(), StatusCode::kInvalid);
  EXPECT_NE(large.status().message().find("gpu 3"), std::string::npos);
  EXPECT_NE(large.status().message().find("8388608 of 8388608"), std::string::npos)
      << large.status().message();
  TierRig rig(device, 4 * kMiB);
  EXPECT_EQ(rig.tier_->Allocate(64 * kMiB).code(), StatusCode::kInvalid);
}

TEST(HbmTierTest, ATierThatGoesLeavesNothingAllocatedOrPinned) {
  HostDeviceMemory device;
  {
    TierRig rig(device, 8 * kMiB);
  }
  EXPECT_EQ(device.pinned_ranges(), 0U);
  EXPECT_EQ(device.Space()->free_bytes, device.Space()->total_bytes);
}

}  // namespace
}  // namespace terrace
