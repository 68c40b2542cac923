// Only what is worth it goes to NVMe: when it is its turn to leave DRAM, with its ancestors, and
// within the budget.
#include "tests/cache/cache_nvme_fixture.h"
#include "tests/cache/policy/telling_policy.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using testing::kTellingPolicy;
using testing::MakeChain;
using testing::Op;
using testing::SliceOf;
using testing::StatusText;

class CacheDemoteTest : public CacheNvmeTest {
 protected:
  static constexpr std::size_t kFrames = 256;

  CacheDemoteTest() {
    cache_options_.arena.capacity_bytes = kFrames * kBlockBytes;
    cache_options_.policy_kind = &kTellingPolicy;
    cache_options_.nvme_write_share = 0.4;
  }
  BatchAnswer PutWorth(const Namespace* space, const ChainKeys& chain, std::size_t first,
                       std::size_t count, std::uint32_t thousandths, Ack ack = Ack::kCommitted) {
    ClientCall call = Call(space, chain, first, count, kSecond);
    call.request.ack = ack;
    call.request.facts.category = thousandths;
    FillSources(call, memory_);
    return time_.Run(cache_->Put(link_, call.request));
  }
  /// Puts chains of 8 blocks that are worth nothing, `blocks` blocks together.
  void Fill(const Namespace* space, std::size_t blocks, std::uint32_t thousandths = 1) {
    for (std::size_t put = 0; put < blocks; put += 8) {
      const ChainKeys chain = MakeChain("fill" + std::to_string(others_++), 8);
      PutWorth(space, chain, 0, 8, thousandths);
      Settle();
    }
  }
  std::uint64_t Written(WriteReason reason) {
    return cache_->Counters().nvme_written_bytes[static_cast<std::size_t>(reason)];
  }
  std::uint64_t Records() { return cache_->nvme()->Counters().blocks_put; }
};

TEST_F(CacheDemoteTest, WhatIsWorthAWriteIsWrittenWhenItIsItsTurnToLeaveAndNotBefore) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 8);
  PutWorth(space, chain, 0, 8, 900);
  Fill(space, kFrames / 2);
  EXPECT_EQ(Records(), 0U);
  Fill(space, kFrames);
  EXPECT_TRUE(AllOn(TierKind::kNvme, space, chain));
  EXPECT_GE(Written(WriteReason::kDemoted), 8 * kBlockBytes);
  EXPECT_EQ(Written(WriteReason::kPut), 0U);
  EXPECT_EQ(Got(space, chain), "ok ok ok ok ok ok ok ok");
}

TEST_F(CacheDemoteTest, TheBudgetGoesToTheHighestSavings) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  std::vector<ChainKeys> good;
  for (int i = 0; i < 60; ++i) {
    good.push_back(MakeChain("good" + std::to_string(i), 8));
    PutWorth(space, good.back(), 0, 8, 600);
    Settle();
    Fill(space, 16);
  }
  Fill(space, kFrames);
  // The last ones that DRAM and the log have room for.
  std::size_t found = 0;
  for (std::size_t i = good.size() - 8; i < good.size(); ++i) {
    found += Matched(space, good[i]) == 8 ? 1U : 0U;
  }
  EXPECT_GE(found, 6U);
  const auto put = static_cast<double>(cache_->Counters().bytes_put);
  EXPECT_LE(static_cast<double>(Written(WriteReason::kDemoted)), 0.45 * put);
  EXPECT_GT(cache_->Counters().nvme_refused_blocks, 0U);
}

TEST_F(CacheDemoteTest, NoBlockIsWrittenWithoutItsAncestors) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 12);
  PutWorth(space, chain, 0, 8, 1);
  PutWorth(space, chain, 8, 4, 900);
  Fill(space, kFrames + 64);
  EXPECT_TRUE(AllOn(TierKind::kNvme, space, chain)) << "its end was worth it";
}

TEST_F(CacheDemoteTest, ABlockWhosePrefixIsOnNoTierIsNotWritten) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 6);
  PutWorth(space, chain, 0, 6, 900);
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space, chain, 2, 1)))), "ok");
  Settle();
  Fill(space, kFrames + 64);
  EXPECT_EQ(Matched(space, chain), 2U);
  EXPECT_TRUE(cache_->Match(SliceOf(*space, chain, 3, 3)).tiers.empty());
}

TEST_F(CacheDemoteTest, ADurablePutIsWrittenAtOnceWhateverItIsWorth) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  const BatchAnswer put = PutWorth(space, chain, 0, 2, 1, Ack::kDurable);
  EXPECT_EQ(Acks(put), (std::vector<std::string>{"durable", "durable"}));
  const ChainKeys later = MakeChain("d", 2);
  PutWorth(space, later, 0, 2, 1);
  EXPECT_EQ(Records(), 2U);
  EXPECT_EQ(Acks(PutDurable(space, later, 0, 2)), (std::vector<std::string>{"durable", "durable"}));
  EXPECT_EQ(Written(WriteReason::kDurable), 4 * kBlockBytes);
  LosePower();
  EXPECT_EQ(Got(space, chain), "ok ok");
  EXPECT_EQ(Got(space, later), "ok ok");
}

TEST_F(CacheDemoteTest, APolicyThatKnowsNothingHasEverythingWrittenAtOnce) {
  cache_options_.policy_kind = nullptr;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 8);
  Put(space, chain, 0, 8);
  Settle();
  EXPECT_EQ(Written(WriteReason::kPut), 8 * kBlockBytes);
}

TEST_F(CacheDemoteTest, DramGivesWayWhileTheDeviceWritesNothing) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  Script().Hold(Op::kWrite);
  for (int i = 0; i < 150; ++i) {
    const ChainKeys chain = MakeChain("c" + std::to_string(i), 8);
    EXPECT_EQ(StatusText(PutWorth(space, chain, 0, 8, 900)), "ok ok ok ok ok ok ok ok") << i;
    EXPECT_LE(cache_->Counters().write_queue_bytes, kFrames * kBlockBytes / 2);
  }
  ExpectValid();
  Script().LetGo(Op::kWrite);
  time_.RunUntil(time_.Now() + 20 * kSecond);
  Settle();
}

// A device that is slow for a moment had blocks marked as worth nothing.
TEST_F(CacheDemoteTest, WhatADeviceCannotTakeNowIsDeclinedAndNotRefused) {
  cache_options_.nvme_write_share = 1;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  Script().Hold(Op::kWrite);
  for (std::size_t put = 0; put < 4 * kFrames / 8; ++put) {
    PutWorth(space, MakeChain("held" + std::to_string(put), 8), 0, 8, 900);
  }
  EXPECT_EQ(cache_->Counters().nvme_refused_blocks, 0U);
  Script().LetGo(Op::kWrite);
  time_.RunUntil(time_.Now() + 20 * kSecond);
  Settle();
  EXPECT_GT(Records(), 0U);
  Fill(space, 2 * kFrames, 900);
  EXPECT_EQ(cache_->Counters().nvme_refused_blocks, 0U) << "the credit was given back";
}

TEST_F(CacheDemoteTest, ACleanStopWritesWhatIsWorthIt) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 8);
  PutWorth(space, chain, 0, 8, 900);
  Settle();
  EXPECT_EQ(Records(), 0U);
  Restart();
  EXPECT_TRUE(AllOn(TierKind::kNvme, space, chain));
  EXPECT_EQ(Got(space, chain), "ok ok ok ok ok ok ok ok");
}

TEST_F(CacheDemoteTest, WhatWasInDramAloneIsAMissAfterKill) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 8);
  PutWorth(space, chain, 0, 8, 900);
  Settle();
  Kill();
  EXPECT_EQ(Matched(space, chain), 0U);
}

TEST_F(CacheDemoteTest, ABlockInDramWhoseSegmentIsReusedIsWrittenAgainBeforeItLeaves) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  PutWorth(space, chain, 0, 4, 900, Ack::kDurable);
  // More than the log holds, while the chain is used again and again.
  for (int i = 0; i < 120; ++i) {
    const ChainKeys other = MakeChain("o" + std::to_string(i), 4);
    PutWorth(space, other, 0, 4, 1, Ack::kDurable);
    EXPECT_EQ(Got(space, chain), "ok ok ok ok");
    Settle();
  }
  Fill(space, kFrames + 64);
  EXPECT_EQ(Matched(space, chain), 4U);
}

}  // namespace
}  // namespace terrace
