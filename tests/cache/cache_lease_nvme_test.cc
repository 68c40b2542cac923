// Leases on blocks that are on NVMe only: kept when their segment is reused, or lost and said so.
#include <string>

#include "tests/cache/cache_lease_fixture.h"
#include "tests/cache/cache_nvme_fixture.h"

namespace terrace {
namespace {

using testing::ChainKeys;
using testing::MakeChain;
using testing::Op;
using testing::PresenceText;
using testing::QueryOf;
using testing::StatusText;

class CacheLeaseNvmeTest : public testing::CacheNvmeTest {
 protected:
  GroupsAnswer Lease(const Namespace* space, const ChainKeys& chain) {
    const GroupsQuery query = QueryOf(*space, chain, {0}, {0}, 60 * kSecond);
    return time_.Run(cache_->MatchGroups(query));
  }
  /// Keeps a lease for as long as the log takes to come round once, and half a time more.
  /// `between`: what is done after each few puts.
  template <typename Between>
  StatusCode GoRound(const Namespace* space, LeaseNumber lease, Between between) {
    const std::uint64_t log = tier_.log.segments * tier_.log.segment_bytes;
    StatusCode code = StatusCode::kOk;
    for (std::uint64_t written = 0; written < log + log / 2; written += 8 * kBlockBytes) {
      Put(space, MakeChain("round" + std::to_string(others_++), 8), 0, 8);
      Settle();
      between();
      const Status valid = cache_->leases().Validate();
      EXPECT_TRUE(valid.ok()) << valid.ToString();
      if (lease == 0) continue;
      const StatusCode now = cache_->leases().Renew(1, lease, 60 * kSecond).code();
      if (now != StatusCode::kOk) return now;
    }
    return code;
  }
};

TEST_F(CacheLeaseNvmeTest, ALeasedBlockIsWrittenAgainWhenItsSegmentIsReused) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys leased = MakeChain("leased", 2);
  const ChainKeys other = MakeChain("other", 2);
  Put(space, leased, 0, 2);
  Put(space, other, 0, 2);
  PushOut(space, leased);
  PushOut(space, other);
  const GroupsAnswer answer = Lease(space, leased);
  EXPECT_EQ(answer.lease_status, StatusCode::kOk);
  EXPECT_EQ(answer.tiers[1], TierKind::kNvme);
  EXPECT_EQ(cache_->leases().Pins(), 0u);
  EXPECT_EQ(GoRound(space, answer.lease, [] {}), StatusCode::kOk);
  EXPECT_EQ(Matched(space, other), 0u) << "the log has come round";
  EXPECT_EQ(Matched(space, leased), 2u);
  EXPECT_EQ(Got(space, leased), "ok ok");
  // Without the lease it goes like all the others.
  EXPECT_TRUE(cache_->leases().Release(1, answer.lease).ok());
  GoRound(space, 0, [] {});
  GoRound(space, 0, [] {});
  EXPECT_EQ(Matched(space, leased), 0u);
}

TEST_F(CacheLeaseNvmeTest, WhatTheLogHasNoRoomToKeepIsAMissAndTheRenewalSaysSo) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  // Half a segment: more than is written again.
  const ChainKeys chain = MakeChain("c", 8);
  Put(space, chain, 0, 8);
  PushOut(space, chain);
  const GroupsAnswer answer = Lease(space, chain);
  ASSERT_EQ(answer.lease_status, StatusCode::kOk);
  EXPECT_EQ(GoRound(space, answer.lease, [] {}), StatusCode::kExpired);
  EXPECT_EQ(cache_->Counters().leases.broken, 1u);
  EXPECT_EQ(cache_->Counters().leases.bytes_now, 0u);
  // Get fails the test when a byte is wrong.
  const std::string got = Got(space, chain);
  EXPECT_NE(got.find("miss"), std::string::npos) << got;
}

TEST_F(CacheLeaseNvmeTest, ABlockThatCameToDramWhileItsRecordWentIsPinnedInstead) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 8);
  Put(space, chain, 0, 8);
  PushOut(space, chain);
  const GroupsAnswer answer = Lease(space, chain);
  ASSERT_EQ(answer.lease_status, StatusCode::kOk);
  const auto get = [&] { EXPECT_EQ(Got(space, chain), "ok ok ok ok ok ok ok ok"); };
  EXPECT_EQ(GoRound(space, answer.lease, get), StatusCode::kOk);
  EXPECT_GT(cache_->leases().Pins(), 0u) << "some lost their records";
  EXPECT_EQ(GoRound(space, answer.lease, [] {}), StatusCode::kOk);
  get();
  EXPECT_TRUE(cache_->leases().Release(1, answer.lease).ok());
  EXPECT_EQ(cache_->leases().Pins(), 0u);
  ExpectValid();
}

TEST_F(CacheLeaseNvmeTest, ARemovedAndARewrittenBlockDoNotConfuseALease) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  Put(space, chain, 0, 2);
  PushOut(space, chain);
  const GroupsAnswer first = Lease(space, chain);
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(testing::SliceOf(*space, chain, 0, 2)))), "ok ok");
  Put(space, chain, 0, 2);
  PushOut(space, chain);
  // The numbers of the blocks may be the same ones again; the marks are not.
  const GroupsAnswer second = Lease(space, chain);
  EXPECT_EQ(second.lease_status, StatusCode::kOk);
  EXPECT_EQ(cache_->leases().Renew(1, first.lease, kSecond).code(), StatusCode::kExpired);
  EXPECT_TRUE(cache_->leases().Validate().ok());
  EXPECT_EQ(GoRound(space, second.lease, [] {}), StatusCode::kOk);
  EXPECT_EQ(Matched(space, chain), 2u);
  cache_->leases().EndAll();
}

TEST_F(CacheLeaseNvmeTest, ABlockWhoseDeviceIsOfflineIsToBeAskedForAgainAndNotLeased) {
  tier_.log.errors_max = 2;
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  Put(space, chain, 0, 2);
  PushOut(space, chain);
  Script().FailNext(Op::kRead, 1000);
  EXPECT_EQ(StatusText(Get(space, chain, 0, 1)), "miss");
  EXPECT_EQ(StatusText(Get(space, chain, 0, 1)), "miss");
  ASSERT_THAT(changes_, ::testing::ElementsAre("sim:0 offline"));
  const GroupsAnswer answer = Lease(space, chain);
  EXPECT_EQ(PresenceText(answer), "??");
  EXPECT_EQ(answer.lease_status, StatusCode::kMiss);
  Script().FailNext(Op::kRead, 0);
}

}  // namespace
}  // namespace terrace
