// NvmeTier where the cache is not needed to see it.
#include "tiers/nvme/nvme_tier.h"

#include "base/index_store_sim.h"
#include "tests/tiers/segment_log_fixture.h"

namespace terrace::nvme {
namespace {

class NvmeTierTest : public SegmentLogTest {
 protected:
  void SetUp() override {
    MakeMedia(1);
    Stop();
    NvmeTierOptions options;
    options.log = options_;
    tier_ = std::make_unique<NvmeTier>(
        options,
        std::vector<LaneStart>{
            {.device = &Script(), .headers = testing::HeadersOn(MediumOf(0).device, options_, 0)}},
        *this, journal_, time_.scheduler());
  }
  void TearDown() override { time_.Run(tier_->Close()); }

  Task<NvmeTier::Written> Write(std::uint64_t seed, SegmentLog::Room room, bool wanted) {
    Record record(seed, kPageBytes);
    record.Fill();
    NvmeTier::WriteRequest request;
    request.header = record.header;
    request.payload = record.payload;
    request.room = room;
    request.still_wanted = [wanted] { return wanted; };
    co_return co_await tier_->Write(std::move(request));
  }
  /// Moves blocks that are forgotten while they are moved, until there is no room left.
  Task<void> Reclaim(std::uint32_t segment) override {
    reclaimed_.push_back(segment);
    for (std::uint64_t moved = 0; moved < 16; ++moved) {
      (void)co_await Write(1000 + moved, SegmentLog::Room::kWhatIsLeft, false);
    }
  }

  SimulatedIndexStore store_;
  testing::SimulatedJournal journal_{store_, time_.scheduler(), random_};
  std::unique_ptr<NvmeTier> tier_;
};

TEST_F(NvmeTierTest, ABlockForgottenWhileItIsMovedDoesNotWaitForTheRoomThatReclaimMakes) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const NvmeTier::Written written = time_.Run(Write(seed, SegmentLog::Room::kWait, true));
    ASSERT_TRUE(written.place.exists());
  }
  EXPECT_GT(reclaimed_.size(), 4u);
}

}  // namespace
}  // namespace terrace::nvme
