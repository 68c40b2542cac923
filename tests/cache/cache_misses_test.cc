// Every block that is not answered has one reason, and people can ask for it.
#include <map>
#include <numeric>

#include "tests/cache/cache_nvme_fixture.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

using Reasons = std::map<std::string, std::uint64_t>;

Reasons ReasonsOf(const std::array<std::atomic<std::uint64_t>, kMissReasonCount>& counters) {
  Reasons reasons;
  for (std::size_t i = 0; i < kMissReasonCount; ++i) {
    if (counters[i] > 0)
      reasons[std::string(MissReasonName(static_cast<MissReason>(i)))] = counters[i];
  }
  return reasons;
}

class CacheMissesTest : public CacheTest {
 protected:
  BlockStory Story(const Namespace* space, const std::string& key) {
    return cache_->Explain(space->id, 0, 0, testing::AsKey(key));
  }
};

TEST_F(CacheMissesTest, EachWayToBeMissedIsToldApart) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 6);
  Put(space, chain, 0, 4);
  time_.Run(cache_->Remove(SliceOf(*space, chain, 1, 1)));
  EXPECT_EQ(StatusText(Get(space, chain, 0, 6)), "ok miss ok ok miss miss");
  EXPECT_EQ(ReasonsOf(cache_->Counters().get_missed), (Reasons{{"removed", 1}, {"never_seen", 2}}));
  time_.Run(cache_->Clear(space->id));
  EXPECT_EQ(StatusText(Get(space, chain, 0, 2)), "miss miss");
  // What was removed before the namespace was cleared was not cleared with it.
  EXPECT_EQ(ReasonsOf(cache_->Counters().get_missed),
            (Reasons{{"removed", 2}, {"never_seen", 2}, {"cleared", 1}}));
  ExpectValid();
}

TEST_F(CacheMissesTest, AMatchSaysWhyItEndsAndWhatLiesBehind) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 6);
  Put(space, chain, 0, 4);
  time_.Run(cache_->Remove(SliceOf(*space, chain, 1, 1)));
  EXPECT_EQ(cache_->Match(SliceOf(*space, chain, 0, 6)).tiers.size(), 1u);
  EXPECT_EQ(ReasonsOf(cache_->Counters().match_missed), (Reasons{{"removed", 1}, {"behind", 4}}));
  EXPECT_EQ(ReasonsOf(cache_->Counters().get_missed), Reasons());
  ExpectValid();
}

TEST_F(CacheMissesTest, HowLongAgoABlockWasEvictedIsKnown) {
  MakeCache(2 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  for (int other = 0; other < 8; ++other) {
    Put(space, MakeChain("other" + std::to_string(other), 8), 0, 8);
  }
  time_.RunUntil(time_.Now() + 100 * kSecond);
  EXPECT_EQ(StatusText(Get(space, chain, 0, 4)), "miss miss miss miss");
  EXPECT_EQ(ReasonsOf(cache_->Counters().get_missed), (Reasons{{"evicted", 4}}));
  const auto& ages = cache_->Counters().miss_ages;
  EXPECT_EQ(ages[4], 4u) << "longer ago than 64 s, less than 256 s";
  EXPECT_EQ(std::accumulate(ages.begin(), ages.end(), std::uint64_t{0}), 4u);
  const BlockStory story = Story(space, chain[0]);
  EXPECT_EQ(story.reason, MissReason::kEvicted);
  EXPECT_NEAR(static_cast<double>(story.age), 100.0 * kSecond, 2.0 * kSecond);
  ExpectValid();
}

TEST_F(CacheMissesTest, AStoredBlockTellsItsStory) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 3);
  Put(space, chain, 0, 3);
  Get(space, chain, 0, 3);
  time_.RunUntil(time_.Now() + 5 * 60 * kSecond);
  const BlockStory story = Story(space, chain[2]);
  EXPECT_EQ(story.reason, MissReason::kNone);
  EXPECT_TRUE(story.published);
  EXPECT_EQ(story.tiers, kTierSetDram);
  EXPECT_EQ(story.position, 2u);
  EXPECT_EQ(story.block_bytes, kBlockBytes);
  EXPECT_EQ(story.gets, 1u);
  EXPECT_EQ(story.age, 5 * 60 * kSecond);
  EXPECT_EQ(cache_->Explain(space->id, 0, 0, testing::AsKey("nobody")).reason,
            MissReason::kNeverSeen);
}

class CacheMissesNvmeTest : public CacheNvmeTest {};

TEST_F(CacheMissesNvmeTest, AnOfflineDeviceAndAReusedSegmentAreNotTheSame) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  PutDurable(space, chain, 0, 4);
  PushOut(space, chain);
  EXPECT_EQ(cache_->Explain(space->id, 0, 0, testing::AsKey(chain[0])).tiers, kTierSetNvme);
  // The ring comes round: nobody got the chain, so that it is not written again.
  for (int other = 0; other < 200 && cache_->Match(SliceOf(*space, chain, 0, 1)).tiers.size() == 1;
       ++other) {
    Put(space, MakeChain("more" + std::to_string(other), 8), 0, 8);
    Settle();
  }
  const Reasons before = ReasonsOf(cache_->Counters().get_missed);
  EXPECT_EQ(before, Reasons());
  EXPECT_EQ(StatusText(Get(space, chain, 0, 1)), "miss");
  EXPECT_EQ(ReasonsOf(cache_->Counters().get_missed), (Reasons{{"nvme_reused", 1}}));
}

}  // namespace
}  // namespace terrace
