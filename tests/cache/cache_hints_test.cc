// What clients wish to keep, and what they want gone: labels, recency, prefixes.
#include "cache/retention.h"
#include "tests/cache/cache_fixture.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::FillSources;
using testing::MakeCall;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

/// An arena of 2 MiB: some 30 blocks of 64 KiB, of which labels may keep 8.
class CacheHintsTest : public CacheTest {
 protected:
  static constexpr std::size_t kKept = 8;

  void SetUp() override {
    CacheOptions options;
    options.policy = "leaf-lru";  // whose newest blocks do not give way to each other
    MakeCache(2 << 20, options);
    space_ = Open("acme", "a");
  }
  BatchAnswer Retain(const Namespace* space, const ChainKeys& chain, std::size_t count,
                     const std::string& label, Nanos time = 3600 * kSecond) {
    const RetainRequest request{
        .chain = SliceOf(*space, chain, 0, count), .label = label, .time = time};
    const BatchAnswer answer = time_.Run(cache_->Retain(request));
    ExpectValid();
    return answer;
  }
  std::uint64_t Release(const std::string& tenant, const std::string& label) {
    const std::uint64_t released = time_.Run(cache_->ReleaseRetained(tenant, label));
    ExpectValid();
    return released;
  }
  /// Puts more than the cache holds.
  void Flood(const std::string& name) {
    const ChainKeys chain = MakeChain(name, 20);
    Put(space_, chain, 0, 20);
    Put(space_, MakeChain(name + "'", 20), 0, 20);
    ExpectValid();
  }
  Result<std::uint64_t> RemovePrefix(const Namespace* space, const ChainKeys& chain,
                                     std::size_t first, std::size_t count,
                                     Nanos timeout = kSecond) {
    const PrefixRequest request{.chain = SliceOf(*space, chain, first, count),
                                .deadline = time_.Now() + timeout};
    Result<std::uint64_t> removed = time_.Run(cache_->RemovePrefix(request));
    ExpectValid();
    return removed;
  }
  BatchAnswer PutOf(const ChainKeys& chain, std::size_t first, std::size_t count,
                    std::uint32_t group, std::uint32_t shard) {
    const auto call =
        MakeCall(*space_, memory_, SliceOf(*space_, chain, first, count, group, shard),
                 time_.Now() + kSecond);
    FillSources(call, memory_);
    return time_.Run(cache_->Put(link_, call.request));
  }

  const Namespace* space_ = nullptr;
};

TEST_F(CacheHintsTest, RetainedBlocksGoAfterAllOthers) {
  const ChainKeys chain = MakeChain("kept", 4);
  Put(space_, chain, 0, 4);
  EXPECT_EQ(StatusText(Retain(space_, chain, 4, "session")), "ok ok ok ok");
  EXPECT_EQ(cache_->Counters().retained_blocks, 4u);
  EXPECT_EQ(cache_->Counters().retained_bytes, 4 * kBlockBytes);
  for (int i = 0; i < 5; ++i) Flood("flood" + std::to_string(i));
  EXPECT_EQ(Matched(space_, chain), 4u);
  EXPECT_EQ(cache_->Counters().retained_evictions, 0u);
  EXPECT_EQ(Release("acme", "session"), 4u);
  EXPECT_EQ(Release("acme", "session"), 0u);
  EXPECT_EQ(cache_->Counters().retained_blocks, 0u);
  Flood("after");
  EXPECT_EQ(Matched(space_, chain), 0u);
}

TEST_F(CacheHintsTest, WhenNothingElseIsLeftRetainedBlocksMakeRoomToo) {
  const ChainKeys chain = MakeChain("kept", kKept);
  Put(space_, chain, 0, kKept);
  Retain(space_, chain, kKept, "session");
  // All the rest is of a chain that is being put: its blocks do not go for each other.
  const ChainKeys chain_of_all = MakeChain("all", 40);
  const BatchAnswer answer = Put(space_, chain_of_all, 0, 40);
  EXPECT_GT(cache_->Counters().retained_evictions, 0u);
  EXPECT_LT(Matched(space_, chain), kKept);
  EXPECT_GT(Matched(space_, chain_of_all), 20u) << StatusText(answer);
  ExpectValid();
}

TEST_F(CacheHintsTest, TheOldestLabelGivesWayAndNoLabelTakesMoreThanTheShare) {
  const ChainKeys first = MakeChain("first", 5);
  const ChainKeys second = MakeChain("second", 5);
  const ChainKeys third = MakeChain("third", 10);
  Put(space_, first, 0, 5);
  Put(space_, second, 0, 5);
  Put(space_, third, 0, 10);
  Retain(space_, first, 5, "first");
  EXPECT_EQ(StatusText(Retain(space_, second, 5, "second")), "ok ok ok ok ok");
  EXPECT_EQ(cache_->Counters().retain_displaced, 2u) << "8 blocks fit, the last of the oldest went";
  // Retained again it is the newest.
  EXPECT_EQ(StatusText(Retain(space_, first, 3, "first")), "ok ok ok");
  EXPECT_EQ(StatusText(Retain(space_, third, 10, "third")), "ok ok ok ok ok ok ok ok retry retry");
  EXPECT_EQ(cache_->Counters().retain_refused, 2u);
  EXPECT_EQ(cache_->Counters().retained_bytes, kKept * kBlockBytes);
  EXPECT_EQ(Release("acme", "first"), 0u);
  EXPECT_EQ(Release("acme", "second"), 0u);
  EXPECT_EQ(Release("acme", "third"), 8u);
}

TEST_F(CacheHintsTest, ABlockOfTwoLabelsStaysUntilBothLetGo) {
  const ChainKeys chain = MakeChain("shared", 3);
  Put(space_, chain, 0, 3);
  Retain(space_, chain, 3, "one");
  Retain(space_, chain, 2, "two");
  EXPECT_EQ(cache_->Counters().retained_bytes, 3 * kBlockBytes) << "each block counts once";
  EXPECT_EQ(Release("acme", "one"), 3u);
  EXPECT_EQ(cache_->Counters().retained_blocks, 2u);
  Flood("flood");
  Flood("flood more");
  EXPECT_EQ(Matched(space_, chain), 2u);
  EXPECT_EQ(Release("acme", "two"), 2u);
}

TEST_F(CacheHintsTest, LabelsWithoutEndForOneBlockTakeNoMemoryWithoutEnd) {
  const ChainKeys chain = MakeChain("one", 1);
  Put(space_, chain, 0, 1);
  // The index has room for 2 MiB / 4 KiB blocks, a quarter of which may be kept.
  constexpr std::uint64_t kHoldsMax = Retention::kHoldsPerBlock * (2 << 20) / 4096 / 4;
  for (std::uint64_t i = 0; i < kHoldsMax + 10; ++i) {
    EXPECT_EQ(StatusText(Retain(space_, chain, 1, "label" + std::to_string(i))), "ok");
  }
  EXPECT_EQ(cache_->Counters().retain_displaced, 10u);
  EXPECT_EQ(cache_->Counters().retained_blocks, 1u);
  EXPECT_EQ(Release("acme", "label9"), 0u) << "the oldest gave way";
  EXPECT_EQ(Release("acme", "label10"), 1u);
  Flood("flood");
  EXPECT_EQ(Matched(space_, chain), 1u) << "the others keep it";
}

TEST_F(CacheHintsTest, ALabelEndsWithItsTimeAndIsExtendedByTheNextRetain) {
  const ChainKeys chain = MakeChain("timed", 2);
  Put(space_, chain, 0, 2);
  Retain(space_, chain, 2, "timed", 10 * kSecond);
  time_.RunUntil(time_.Now() + 8 * kSecond);
  Retain(space_, chain, 1, "timed", 10 * kSecond);
  time_.RunUntil(time_.Now() + 8 * kSecond);
  Flood("flood");
  Flood("flood more");
  EXPECT_EQ(Matched(space_, chain), 2u) << "all of the label was extended";
  time_.RunUntil(time_.Now() + 3 * kSecond);
  Flood("flood again");
  Flood("and again");
  EXPECT_EQ(Matched(space_, chain), 0u);
  EXPECT_EQ(cache_->Counters().retained_blocks, 0u);
}

TEST_F(CacheHintsTest, LabelsOfTenantsAreApart) {
  MakeCache(8 << 20);  // an extent for each of them
  const Namespace* rival = Open("rival", "a");
  const ChainKeys chain = MakeChain("c", 2);
  Put(space_, chain, 0, 2);
  Put(rival, chain, 0, 2);
  Retain(space_, chain, 2, "label");
  Retain(rival, chain, 2, "label");
  EXPECT_EQ(Release("rival", "label"), 2u);
  EXPECT_EQ(cache_->Counters().retained_blocks, 2u);
  EXPECT_EQ(Release("nobody", "label"), 0u);
  EXPECT_EQ(Release("acme", "label"), 2u);
}

TEST_F(CacheHintsTest, WhatIsForgottenLeavesItsLabels) {
  const ChainKeys chain = MakeChain("gone", 4);
  Put(space_, chain, 0, 4);
  Retain(space_, chain, 4, "label");
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space_, chain, 2, 2)))), "ok ok");
  ExpectValid();
  EXPECT_EQ(cache_->Counters().retained_blocks, 2u);
  EXPECT_EQ(time_.Run(cache_->Clear(space_->id)), 2u);
  ExpectValid();
  EXPECT_EQ(cache_->Counters().retained_bytes, 0u);
  EXPECT_EQ(Release("acme", "label"), 0u);
  EXPECT_EQ(StatusText(Retain(space_, chain, 4, "label")), "miss miss miss miss");
}

TEST_F(CacheHintsTest, TouchedBlocksStayAsIfTheyHadBeenRead) {
  const ChainKeys old_chain = MakeChain("old", 6);
  Put(space_, old_chain, 0, 6);
  const ChainKeys none = MakeChain("none", 2);
  Put(space_, MakeChain("filler", 14), 0, 14);
  EXPECT_EQ(StatusText(cache_->Touch(SliceOf(*space_, old_chain, 0, 6))), "ok ok ok ok ok ok");
  EXPECT_EQ(StatusText(cache_->Touch(SliceOf(*space_, none, 0, 2))), "miss miss");
  EXPECT_EQ(cache_->Counters().touched, 6u);
  Put(space_, MakeChain("new", 16), 0, 16);
  EXPECT_EQ(Matched(space_, old_chain), 6u);
  EXPECT_EQ(cache_->Counters().get_requests, 0u);
}

TEST_F(CacheHintsTest, PrefixIsRemovedInEveryGroupAndShardWithWhatContinuesIt) {
  const ChainKeys chain = MakeChain("c", 8);
  EXPECT_EQ(StatusText(Put(space_, chain, 0, 8)), "ok ok ok ok ok ok ok ok");
  PutOf(chain, 0, 8, 1, 3);  // 8 KiB blocks of another group and shard
  const ChainKeys other = MakeChain("other", 5);
  Put(space_, other, 0, 5);
  // Two continuations of block 3 that the caller does not name.
  ChainKeys branch = chain;
  for (std::size_t i = 4; i < 8; ++i) branch[i] = "branch/" + std::to_string(i);
  Put(space_, branch, 4, 4);

  ChainKeys named(chain.begin(), chain.begin() + 4);
  const Result<std::uint64_t> removed = RemovePrefix(space_, named, 2, 2);
  ASSERT_TRUE(removed.ok()) << removed.status().ToString();
  EXPECT_EQ(*removed, 6u + 6u + 4u);
  EXPECT_EQ(Matched(space_, chain), 2u);
  EXPECT_EQ(StatusText(Get(space_, chain, 4, 4)), "miss miss miss miss");
  EXPECT_EQ(StatusText(Get(space_, branch, 4, 4)), "miss miss miss miss");
  EXPECT_EQ(cache_->Match(SliceOf(*space_, chain, 0, 8, 1, 3)).tiers.size(), 2u);
  EXPECT_EQ(Matched(space_, other), 5u) << "nothing else went";
  EXPECT_EQ(*RemovePrefix(space_, named, 2, 2), 0u);
}

TEST_F(CacheHintsTest, PrefixThatIsNotDoneByItsDeadlineSaysSo) {
  const ChainKeys chain = MakeChain("c", 4);
  Put(space_, chain, 0, 4);
  const Result<std::uint64_t> removed = RemovePrefix(space_, chain, 0, 4, 0);
  EXPECT_EQ(removed.code(), StatusCode::kTimeout);
  EXPECT_EQ(Matched(space_, chain), 4u);
}

TEST_F(CacheHintsTest, HintsForNobodysNamespaceAreRefused) {
  const ChainKeys chain = MakeChain("c", 1);
  ChainSlice nowhere = SliceOf(*space_, chain, 0, 1);
  nowhere.namespace_id = 77;
  EXPECT_EQ(cache_->Touch(nowhere).status.code(), StatusCode::kInvalid);
  const RetainRequest retain{.chain = nowhere, .label = "x", .time = kSecond};
  EXPECT_EQ(time_.Run(cache_->Retain(retain)).status.code(), StatusCode::kInvalid);
  const PrefixRequest prefix{.chain = nowhere, .deadline = time_.Now() + kSecond};
  EXPECT_EQ(time_.Run(cache_->RemovePrefix(prefix)).code(), StatusCode::kInvalid);
  const PrefetchRequest prefetch{.chain = nowhere, .deadline = time_.Now() + kSecond};
  EXPECT_EQ(time_.Run(cache_->Prefetch(prefetch)).status.code(), StatusCode::kInvalid);
}

}  // namespace
}  // namespace terrace
