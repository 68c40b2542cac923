// Frames lent by the cache: what is held stays as it is, and what is let go is free again.
#include "tests/cache/cache_nvme_fixture.h"
#include "tests/cache/keeping_link.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::IsBlock;
using testing::KeepingLink;
using testing::MakeChain;
using testing::StatusText;

class CacheLendTest : public CacheNvmeTest {
 protected:
  BatchAnswer Lend(const Namespace* space, const ChainKeys& chain, Nanos timeout = kSecond) {
    ClientCall call = Call(space, chain, 0, chain.size(), timeout);
    call.request.places.clear();
    call.request.lend_for = 5 * kSecond;
    return time_.Run(cache_->Get(keeper_, call.request));
  }
  bool Keeps(std::size_t index, const Namespace* space, const ChainKeys& chain,
             std::size_t position) {
    return IsBlock(keeper_.kept[index].bytes(), *space, 0, 0, testing::AsKey(chain[position]));
  }
  KeepingLink keeper_;
};

TEST_F(CacheLendTest, BlocksOfDramAreLentWithTheirLeaseAndWithoutAPush) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 3);
  Put(space, chain, 0, 3);
  const BatchAnswer answer = Lend(space, chain);
  EXPECT_EQ(StatusText(answer), "ok ok ok");
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(Keeps(i, space, chain, i));
    EXPECT_EQ(answer.blocks[i].loan.bytes, kBlockBytes);
    EXPECT_EQ(answer.blocks[i].tier, TierKind::kDram);
    EXPECT_EQ(answer.blocks[i].valid_tokens, 16u);
    EXPECT_EQ(keeper_.untils[i], time_.Now() + 5 * kSecond);
  }
  EXPECT_EQ(cache_->Counters().blocks_lent, 3u);
  EXPECT_EQ(cache_->Counters().get_hits_dram, 3u);
  keeper_.kept.clear();
}

TEST_F(CacheLendTest, BlocksOfNvmeAreReadVerifiedAndThenLent) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  PushOut(space, chain);
  const BatchAnswer answer = Lend(space, chain);
  EXPECT_EQ(StatusText(answer), "ok ok ok ok");
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer.blocks[i].tier, TierKind::kNvme);
    EXPECT_TRUE(Keeps(answer.blocks[i].loan.slot, space, chain, i)) << "reads end in any order";
  }
  ExpectValid();
  keeper_.kept.clear();
  ExpectValid();
}

TEST_F(CacheLendTest, WhatIsLentOutlivesRemovalAndPressureUnchanged) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  Lend(space, chain);
  time_.Run(cache_->Remove(testing::SliceOf(*space, chain, 0, 2)));
  const std::size_t frames = cache_options_.arena.capacity_bytes / kBlockBytes;
  for (int round = 0; round < 4; ++round) {
    const ChainKeys other = MakeChain("pressure" + std::to_string(round), frames / 2);
    Put(space, other, 0, other.size());
    Settle();
  }
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(Keeps(i, space, chain, i)) << i;
  keeper_.kept.clear();
  ExpectValid();
}

TEST_F(CacheLendTest, ALinkThatLendsNoMoreIsSaidPerBlockAndHoldsNothing) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  keeper_.most = 2;
  EXPECT_EQ(StatusText(Lend(space, chain)), "ok ok retry retry");
  EXPECT_EQ(cache_->Counters().get_failures, 2u);
  keeper_.kept.clear();
  // The frames that were refused are not held: all of the arena can be had.
  const ChainKeys other = MakeChain("o", cache_options_.arena.capacity_bytes / kBlockBytes / 2);
  EXPECT_EQ(Put(space, other, 0, other.size()).blocks.back().status, StatusCode::kOk);
  ExpectValid();
}

TEST_F(CacheLendTest, ACorruptRecordIsNeverLent) {
  FaultyDeviceOptions faults;
  faults[DeviceFault::kFlippedWrite] = {.probability = 1, .times_max = 1};
  MakeMedia(1, faults);
  const Namespace* space = Open("acme", "a");
  Put(space, MakeChain("first", 1), 0, 1);
  Settle();
  const ChainKeys chain = MakeChain("c", 1);
  media_.front().faulty.Enable(true);
  Put(space, chain, 0, 1);
  Settle();
  media_.front().faulty.Enable(false);
  PushOut(space, chain);
  EXPECT_EQ(StatusText(Lend(space, chain)), "miss");
  EXPECT_EQ(cache_->Counters().load_corrupt, 1u);
  EXPECT_TRUE(keeper_.kept.empty());
}

}  // namespace
}  // namespace terrace
