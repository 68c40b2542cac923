// Pools of device memory that clients may map: whose memory is whose, when it changes hands, and
// that who had it before has nothing of it then.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "tests/base/simulated_time.h"
#include "tiers/hbm/hbm_tier.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr TenantId kFirst = 1;
constexpr TenantId kSecond = 2;

class HbmLendTest : public ::testing::Test {
 protected:
  void Make(std::uint64_t capacity_bytes, Nanos patience = 50 * kMillisecond) {
    auto made = HbmTier::Create(device_, {.capacity_bytes = capacity_bytes,
                                          .copies = {},
                                          .lendable = true,
                                          .first_extent = kDeviceExtentFirst + 100,
                                          .let_go_patience = patience});
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    tier_ = std::move(*made);
    tier_->OnExtentWanted([this](std::uint32_t extent, std::uint32_t edition) {
      wanted_.emplace_back(extent, edition);
    });
  }
  ~HbmLendTest() override {
    if (tier_ != nullptr) time_.Run(tier_->Close());
  }
  /// A frame for `owner`, once there is one.
  FrameId Await(std::uint64_t bytes, TenantId owner) {
    for (int i = 0; i < 5000; ++i) {
      const Result<FrameId> frame = tier_->Allocate(bytes, owner);
      if (frame.ok()) return *frame;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ADD_FAILURE() << "no frame came";
    return kNoFrame;
  }
  Result<SharedExtent> Share(FrameId frame) {
    const LentPlace place = tier_->PlaceForLending(frame);
    return tier_->ShareExtent(place.extent, place.edition);
  }

  testing::SimulatedTime time_;
  HostDeviceMemory device_;
  HostDeviceMemory client_{{.name = "client"}};
  std::unique_ptr<HbmTier> tier_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> wanted_;
};

/// A client that has an extent mapped, and says so by a descriptor of its own.
class Mapped {
 public:
  Mapped(HostDeviceMemory& gpu, const SharedExtent& extent)
      : gpu_(gpu), held_(::fcntl(extent.descriptor, F_DUPFD_CLOEXEC, 0)) {
    auto memory = gpu.OpenExport(*extent.device);
    EXPECT_TRUE(memory.ok()) << memory.status().ToString();
    if (memory.ok()) memory_ = *memory;
  }
  ~Mapped() {
    gpu_.CloseExport(memory_);
    ::close(held_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  [[nodiscard]] std::span<std::byte> memory() const { return memory_; }

 private:
  HostDeviceMemory& gpu_;
  const int held_;
  std::span<std::byte> memory_;
};

TEST_F(HbmLendTest, OwnersNeverShareAnExtent) {
  Make(64 * kMiB);
  std::vector<std::pair<std::uint32_t, TenantId>> extents;
  for (int i = 0; i < 4; ++i) {
    for (const TenantId owner : {HbmTier::kNobody, kFirst, kSecond}) {
      const LentPlace place = tier_->PlaceForLending(Await(kMiB, owner));
      EXPECT_TRUE(tier_->HasExtent(place.extent));
      EXPECT_FALSE(tier_->HasExtent(place.extent - 100));
      for (const auto& [extent, other] : extents) {
        if (other != owner) EXPECT_NE(extent, place.extent);
      }
      extents.emplace_back(place.extent, owner);
    }
  }
}

TEST_F(HbmLendTest, AnExtentThatChangesHandsIsOtherMemory) {
  Make(2 * kMiB);
  const FrameId frame = Await(kMiB, kFirst);
  const auto shared = Share(frame);
  ASSERT_TRUE(shared.ok()) << shared.status().ToString();
  const DeviceExport exported = *shared->device;
  const LentPlace place = tier_->PlaceForLending(frame);
  {
    const Mapped reader(client_, *shared);
    std::ranges::fill(tier_->Memory(frame, kMiB), std::byte{0x5a});
    EXPECT_EQ(reader.memory()[place.offset + 17], std::byte{0x5a}) << "it is the same memory";
    tier_->Free(frame);
    EXPECT_EQ(tier_->Allocate(kMiB, kSecond).code(), StatusCode::kRetry);
    ASSERT_EQ(wanted_.size(), 1U);
    EXPECT_EQ(wanted_[0], std::pair(place.extent, place.edition));
    EXPECT_EQ(tier_->ShareExtent(place.extent, place.edition).code(), StatusCode::kExpired)
        << "nobody new is shown it";
  }
  const FrameId next = Await(kMiB, kSecond);
  for (const std::byte byte : tier_->Memory(next, kMiB)) ASSERT_EQ(byte, std::byte{0});
  EXPECT_EQ(tier_->Stats().extents_replaced, 1U);
  EXPECT_EQ(tier_->Stats().extents_shared, 0U);
  EXPECT_EQ(client_.OpenExport(exported).code(), StatusCode::kPeerDead)
      << "the handle that the first kept opens nothing";
  EXPECT_EQ(tier_->ShareExtent(place.extent, place.edition).code(), StatusCode::kExpired);
  ASSERT_TRUE(Share(next).ok());
}

TEST_F(HbmLendTest, WhoKeepsAnExtentMappedKeepsItWithHisTenant) {
  Make(2 * kMiB, 20 * kMillisecond);
  const FrameId frame = Await(kMiB, kFirst);
  auto reader = std::make_unique<Mapped>(client_, *Share(frame));
  tier_->Free(frame);
  EXPECT_EQ(tier_->Allocate(kMiB, kSecond).code(), StatusCode::kRetry);
  const FrameId again = Await(kMiB, kFirst);
  EXPECT_EQ(tier_->Stats().extents_not_let_go, 1U);
  EXPECT_EQ(tier_->Stats().extents_replaced, 0U);
  std::ranges::fill(tier_->Memory(again, kMiB), std::byte{0x33});
  EXPECT_EQ(reader->memory()[tier_->PlaceForLending(again).offset], std::byte{0x33});
  // A second reader, by another pipe; both must let go.
  auto second = std::make_unique<Mapped>(client_, *Share(again));
  tier_->Free(again);
  reader.reset();
  for (int i = 0; i < 200 && tier_->Stats().extents_not_let_go < 2; ++i) {
    EXPECT_FALSE(tier_->Allocate(kMiB, kSecond).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(tier_->Stats().extents_replaced, 0U);
  second.reset();
  (void)Await(kMiB, kSecond);
  EXPECT_EQ(tier_->Stats().extents_replaced, 1U);
}

TEST_F(HbmLendTest, MemoryThatCannotBeHadIsTriedAgain) {
  Make(2 * kMiB);
  const FrameId frame = Await(kMiB, kFirst);
  tier_->Free(frame);
  device_.FailRenewals(3);
  (void)Await(kMiB, kSecond);
  EXPECT_EQ(tier_->Stats().extents_replaced, 1U);
  EXPECT_EQ(tier_->Stats().renewal_failures, 3U);
  EXPECT_EQ(tier_->Stats().away_bytes, 0U) << "it came";
}

TEST_F(HbmLendTest, MemoryThatIsAwayIsTold) {
  Make(2 * kMiB);
  tier_->Free(Await(kMiB, kFirst));
  EXPECT_EQ(tier_->Stats().away_bytes, 0U);
  device_.FailRenewals(~std::uint64_t{0});
  EXPECT_FALSE(tier_->Allocate(kMiB, kSecond).ok());
  for (int i = 0; i < 5000 && tier_->Stats().away_bytes == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(tier_->Stats().away_bytes, 2 * kMiB);
  EXPECT_GT(tier_->Stats().renewal_failures, 0U);
  EXPECT_FALSE(tier_->WhyAway().message().empty());
}

TEST_F(HbmLendTest, AnExtentThatClientsKeepOnAndOnIsNotShownToMore) {
  Make(2 * kMiB, kMillisecond);
  std::vector<std::unique_ptr<Mapped>> readers;
  const auto next = [&] {
    const FrameId frame = Await(kMiB, kFirst);
    const auto shared = Share(frame);
    if (shared.ok()) readers.push_back(std::make_unique<Mapped>(client_, *shared));
    tier_->Free(frame);
    return shared.code();
  };
  for (std::size_t i = 0; i < DeviceExtents::kPipesMax; ++i) {
    ASSERT_EQ(next(), StatusCode::kOk) << i;
    // An extent that was kept is held back for as many refusals as there is no time to sleep.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (tier_->Stats().extents_not_let_go <= i && std::chrono::steady_clock::now() < end) {
      EXPECT_FALSE(tier_->Allocate(kMiB, kSecond).ok());
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(next(), StatusCode::kRetry);
  readers.erase(readers.begin());
  EXPECT_EQ(next(), StatusCode::kOk) << "one let go";
}

TEST_F(HbmLendTest, ATierThatGoesWaitsForNobodyWhoHasItMapped) {
  Make(2 * kMiB, 3600 * kSecond);
  const FrameId frame = Await(kMiB, kFirst);
  const auto shared = Share(frame);
  const Mapped reader(client_, *shared);
  tier_->Free(frame);
  EXPECT_FALSE(tier_->Allocate(kMiB, kSecond).ok());
  time_.Run(tier_->Close());
  tier_.reset();
  EXPECT_EQ(reader.memory()[5], std::byte{0}) << "it is freed under no reader";
}

TEST_F(HbmLendTest, AWrongByteIsFoundBeforeABlockIsLent) {
  Make(16 * kMiB);
  const FrameId frame = Await(kMiB, kFirst);
  const std::span<std::byte> memory = tier_->Memory(frame, kMiB);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<std::byte>(i * 7);
  std::vector<std::uint64_t> sums(ChecksumPieceCount(kMiB));
  ChecksumBlock(memory, sums);
  EXPECT_TRUE(time_.Run(tier_->Check(frame, kMiB, sums)).ok());
  memory[kMiB - 1] ^= std::byte{1};
  EXPECT_EQ(time_.Run(tier_->Check(frame, kMiB, sums)).code(), StatusCode::kCorrupt);
  EXPECT_EQ(tier_->Stats().corrupt, 1U);
}

TEST_F(HbmLendTest, APoolThatIsNotLendableIsShownToNobody) {
  auto made = HbmTier::Create(device_, {.capacity_bytes = 2 * kMiB, .copies = {}});
  ASSERT_TRUE(made.ok());
  tier_ = std::move(*made);
  ASSERT_TRUE(tier_->Allocate(kMiB, kFirst).ok());
  EXPECT_TRUE(tier_->Allocate(kMiB, kSecond).ok()) << "all owners share it";
  EXPECT_EQ(tier_->ShareExtent(kDeviceExtentFirst, 1).code(), StatusCode::kUnsupported);
}

}  // namespace
}  // namespace terrace
