// Leases of matches: what is leased stays and can be got, and when the lease is over it goes.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tests/cache/cache_fixture.h"
#include "tests/cache/cache_lease_fixture.h"

namespace terrace {
namespace {

using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using ::testing::HasSubstr;
using testing::MakeChain;
using testing::PresenceText;
using testing::QueryOf;
using testing::StatusText;

class CacheLeaseTest : public testing::CacheTest {
 protected:
  GroupsAnswer Ask(const GroupsQuery& query) {
    GroupsAnswer answer = time_.Run(cache_->MatchGroups(query));
    const Status valid = cache_->leases().Validate();
    EXPECT_TRUE(valid.ok()) << valid.ToString();
    return answer;
  }
  GroupsAnswer Lease(const Namespace* space, const ChainKeys& chain, LeaseHolder holder = 1,
                     Nanos time = 10 * kSecond) {
    return Ask(QueryOf(*space, chain, {0}, {0}, time, holder));
  }
  /// Puts other blocks, three times as many as there are frames.
  void Churn(const Namespace* space) {
    const std::uint64_t frames = cache_->arena().Stats().capacity_bytes / kBlockBytes;
    for (std::uint64_t put = 0; put < 3 * frames; put += 16) {
      Put(space, MakeChain("churn" + std::to_string(churned_++), 16), 0, 16);
    }
  }
  const MatchLeaseCounters& Counts() { return cache_->Counters().leases; }
  void Wait(Nanos time) {
    time_.RunUntil(time_.Now() + time);
    const Status valid = cache_->leases().Validate();
    EXPECT_TRUE(valid.ok()) << valid.ToString();
  }
  static std::string AllOk(std::size_t blocks) {
    std::string text = "ok";
    for (std::size_t i = 1; i < blocks; ++i) text += " ok";
    return text;
  }

  int churned_ = 0;
};

TEST_F(CacheLeaseTest, EveryPairOfGroupAndShardIsAnsweredInOrder) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 3);
  const auto put = [&](std::uint32_t group, std::uint32_t shard, std::size_t count) {
    ClientCall call =
        MakeCall(*space, memory_, testing::SliceOf(*space, chain, 0, count, group, shard),
                 time_.Now() + kSecond);
    FillSources(call, memory_);
    time_.Run(cache_->Put(link_, call.request));
  };
  put(0, 0, 3);
  put(0, 2, 1);
  put(1, 2, 2);
  const GroupsAnswer answer = Ask(QueryOf(*space, chain, {1, 0}, {2, 0}));
  ASSERT_TRUE(answer.status.ok()) << answer.status.ToString();
  EXPECT_EQ(PresenceText(answer),
            "rr-"
            "---"
            "r--"
            "rrr");
  EXPECT_EQ(answer.tiers[0], TierKind::kDram);
  EXPECT_EQ(answer.tiers[2], TierKind::kNone);
  EXPECT_EQ(answer.lease, 0u);
  EXPECT_EQ(Counts().now, 0u);
}

TEST_F(CacheLeaseTest, ABlockThatIsBeingPutIsPendingAndIsNotLeased) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  const ClientCall call = Call(space, chain, 0, 2);
  FillSources(call, memory_);
  std::optional<BatchAnswer> put;
  TaskScope scope;
  scope.Spawn(testing::SimulatedTime::Store(cache_->Put(link_, call.request), &put));
  time_.RunReady();  // its frames are reserved, the bytes are on their way
  ASSERT_FALSE(put.has_value());
  const GroupsQuery query = QueryOf(*space, chain, {0}, {0}, kSecond);
  std::optional<GroupsAnswer> seen;
  scope.Spawn(testing::SimulatedTime::Store(cache_->MatchGroups(query), &seen));
  time_.RunReady();
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(PresenceText(*seen), "pp");
  EXPECT_EQ(seen->lease_status, StatusCode::kMiss);
  EXPECT_EQ(cache_->leases().leases(), 0u);
  while (scope.live() > 0) time_.Step();
  time_.RunReady();
  EXPECT_EQ(PresenceText(Ask(QueryOf(*space, chain, {0}, {0}))), "rr");
}

TEST_F(CacheLeaseTest, BadArgumentsAreNamedAndNothingIsLeased) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  Put(space, chain, 0, 2);
  const auto why = [&](std::vector<std::uint32_t> groups, std::vector<std::uint32_t> shards) {
    return Ask(QueryOf(*space, chain, std::move(groups), std::move(shards), kSecond))
        .status.ToString();
  };
  EXPECT_THAT(why({}, {0}), HasSubstr("groups"));
  EXPECT_THAT(why({0, 7}, {0}), HasSubstr("groups[1]: namespace 'a' has no group 7"));
  EXPECT_THAT(why({0, 1, 0}, {0}), HasSubstr("groups[2]: 0 is named twice"));
  EXPECT_THAT(why({0}, {}), HasSubstr("shards"));
  EXPECT_THAT(why({0}, {1, 4}), HasSubstr("shards[1]: 4"));
  EXPECT_THAT(why({0}, {1, 1}), HasSubstr("shards[1]: 1 is named twice"));
  GroupsQuery nowhere = QueryOf(*space, chain, {0}, {0});
  nowhere.chain.namespace_id = 99;
  EXPECT_THAT(Ask(nowhere).status.ToString(), HasSubstr("namespace_id: 99"));
  EXPECT_EQ(Counts().granted, 0u);
  EXPECT_EQ(cache_->leases().leases(), 0u);
}

TEST_F(CacheLeaseTest, AMatchOverMoreBlocksThanTheLimitIsRefusedWithItsName) {
  MakeCache(16 << 20);
  NamespaceSpec spec;
  spec.tenant = "acme";
  spec.name = "wide";
  spec.block_tokens = 16;
  spec.shard_count = 4096;
  spec.run_blocks = 4096;
  spec.groups = {{.id = 0, .attention = "full", .block_bytes = 4096}};
  const Namespace* space = registry_->Open(spec).value();
  std::vector<std::uint32_t> shards(4096);
  for (std::uint32_t i = 0; i < shards.size(); ++i) shards[i] = i;
  const ChainKeys most = MakeChain("c", kMatchBlocksMax / 4096);
  const ChainKeys over = MakeChain("c", kMatchBlocksMax / 4096 + 1);
  EXPECT_TRUE(Ask(QueryOf(*space, most, {0}, shards)).status.ok());
  EXPECT_THAT(Ask(QueryOf(*space, over, {0}, shards)).status.ToString(),
              HasSubstr("groups x shards x keys"));
}

TEST_F(CacheLeaseTest, WhatIsLeasedOutlivesAFullCacheAndGoesWhenTheLeaseHasEnded) {
  CacheOptions options;
  options.policy = "leaf-lru";
  MakeCache(8 << 20, options);
  const Namespace* space = Open("acme", "a");
  const ChainKeys leased = MakeChain("leased", 16);
  const ChainKeys other = MakeChain("other", 16);
  Put(space, leased, 0, 16);
  Put(space, other, 0, 16);
  const GroupsAnswer answer = Lease(space, leased, 1, 60 * kSecond);
  EXPECT_EQ(answer.lease_status, StatusCode::kOk);
  ASSERT_NE(answer.lease, 0u);
  EXPECT_EQ(Counts().bytes_now, 16 * kBlockBytes);
  Churn(space);
  EXPECT_EQ(Matched(space, other), 0u);
  EXPECT_EQ(Matched(space, leased), 16u);
  EXPECT_EQ(StatusText(Get(space, leased, 0, 16)), AllOk(16));
  EXPECT_TRUE(cache_->leases().Release(1, answer.lease).ok());
  EXPECT_EQ(Counts().bytes_now, 0u);
  Churn(space);
  EXPECT_EQ(Matched(space, leased), 0u);
}

TEST_F(CacheLeaseTest, LeasedBlocksThatAreAllTheColdestDoNotMakeThePutsFail) {
  // 512 frames, of which 128 are leased: more than an allocation looks at before it gives up.
  MakeCache(32 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys first = MakeChain("first", 64);
  const ChainKeys second = MakeChain("second", 64);
  Put(space, first, 0, 64);
  Put(space, second, 0, 64);
  EXPECT_EQ(Lease(space, first, 1).lease_status, StatusCode::kOk);
  EXPECT_EQ(Lease(space, second, 2).lease_status, StatusCode::kOk);
  const std::uint64_t refused = cache_->Counters().put_no_space;
  Churn(space);
  EXPECT_EQ(cache_->Counters().put_no_space, refused);
  EXPECT_EQ(Matched(space, first), 64u);
  EXPECT_EQ(Matched(space, second), 64u);
  cache_->leases().EndAll();
}

// A policy that a touch does not move would name the same leased blocks again and again, and so
// would an index that is full.
TEST_F(CacheLeaseTest, MoreLeasedBlocksThanAreLookedAtStopNoPutUnderAnyPolicy) {
  constexpr std::size_t kSmall = 4096;
  for (const PolicyKind& kind : Policies()) {
    CacheOptions options;
    options.policy = kind.name;
    MakeCache(20 << 20, options);  // 5,120 frames, as many places in the index
    const Namespace* space = Open("acme", std::string(kind.name), kSmall);
    std::vector<ChainKeys> leased;
    for (LeaseHolder holder = 1; holder <= 20; ++holder) {
      leased.push_back(MakeChain("leased" + std::to_string(holder), 60));
      Put(space, leased.back(), 0, 60);
      EXPECT_EQ(Lease(space, leased.back(), holder).lease_status, StatusCode::kOk);
    }
    const std::uint64_t refused = cache_->Counters().put_no_space;
    for (int put = 0; put < 600; ++put) {
      Put(space, MakeChain("other" + std::to_string(put), 16), 0, 16);
    }
    EXPECT_EQ(cache_->Counters().put_no_space, refused) << kind.name;
    for (const ChainKeys& chain : leased) EXPECT_EQ(Matched(space, chain), 60u) << kind.name;
    cache_->leases().EndAll();
  }
}

TEST_F(CacheLeaseTest, AProbeDoesNotMakeABlockYounger) {
  MakeCache(4 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys old = MakeChain("old", 4);
  Put(space, old, 0, 4);
  for (int round = 0; round < 12 && Matched(space, old) > 0; ++round) {
    Put(space, MakeChain("new" + std::to_string(round), 16), 0, 16);
    Ask(QueryOf(*space, old, {0}, {0}));
  }
  EXPECT_EQ(Matched(space, old), 0u);
}

TEST_F(CacheLeaseTest, ALeaseEndsByItsTimeAndARenewalMovesThat) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  const GroupsAnswer answer = Lease(space, chain, 1, 10 * kSecond);
  Wait(9 * kSecond);
  EXPECT_EQ(Counts().now, 1u);
  EXPECT_TRUE(cache_->leases().Renew(1, answer.lease, 5 * kSecond).ok());
  Wait(4 * kSecond);
  EXPECT_EQ(Counts().now, 1u);
  Wait(2 * kSecond);
  EXPECT_EQ(Counts().now, 0u);
  EXPECT_EQ(Counts().expired, 1u);
  EXPECT_EQ(cache_->leases().Pins(), 0u);
  EXPECT_EQ(cache_->leases().Renew(1, answer.lease, kSecond).code(), StatusCode::kExpired);
  EXPECT_EQ(cache_->leases().Release(1, answer.lease).code(), StatusCode::kExpired);
}

TEST_F(CacheLeaseTest, ALeaseOfAnotherClientIsRefusedByName) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  const GroupsAnswer answer = Lease(space, chain, 1);
  LeaseTable& leases = cache_->leases();
  const std::array<std::byte, 1> none{};
  for (const Status& status : {leases.Renew(2, answer.lease, kSecond),
                               leases.Release(2, answer.lease), leases.Trim(2, answer.lease, none),
                               leases.Release(1, answer.lease + 1), leases.Release(1, 0)}) {
    EXPECT_EQ(status.code(), StatusCode::kInvalid);
    EXPECT_THAT(status.message(), HasSubstr("lease: "));
  }
  EXPECT_EQ(Counts().now, 1u);
  leases.EndAll();
}

TEST_F(CacheLeaseTest, LeasesEndWithTheirClientAndOthersStay) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  Lease(space, chain, 1);
  Lease(space, chain, 1);
  const GroupsAnswer other = Lease(space, chain, 2);
  EXPECT_EQ(Counts().blocks_now, 12u);
  cache_->leases().EndHolder(1);
  EXPECT_EQ(Counts().now, 1u);
  EXPECT_EQ(Counts().blocks_now, 4u);
  EXPECT_TRUE(cache_->leases().Renew(2, other.lease, kSecond).ok());
  cache_->leases().EndHolder(2);
  EXPECT_EQ(Counts().bytes_now, 0u);
  EXPECT_EQ(cache_->arena().Pins(), 0u);
}

TEST_F(CacheLeaseTest, NobodyHoldsMoreThanHisShareAndAllTogetherNotMoreThanTheirs) {
  MakeCache(8 << 20);  // all: 32 blocks, one: 16
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 16);
  Put(space, chain, 0, 16);
  const ChainKeys one_more = MakeChain("d", 1);
  Put(space, one_more, 0, 1);
  EXPECT_EQ(Lease(space, chain, 1).lease_status, StatusCode::kOk);
  const GroupsAnswer refused = Lease(space, one_more, 1);
  EXPECT_EQ(refused.lease_status, StatusCode::kRetry);
  EXPECT_EQ(refused.lease, 0u);
  EXPECT_EQ(PresenceText(refused), "r") << "the answer itself is not refused";
  EXPECT_EQ(Lease(space, chain, 2).lease_status, StatusCode::kOk);
  EXPECT_EQ(Lease(space, one_more, 3).lease_status, StatusCode::kRetry);
  EXPECT_EQ(Counts().refused, 2u);
  EXPECT_EQ(Counts().bytes_now, 32 * kBlockBytes);
  cache_->leases().EndHolder(1);
  EXPECT_EQ(Lease(space, one_more, 3).lease_status, StatusCode::kOk);
  // All or nothing: what was leased before the limit came is let go.
  EXPECT_EQ(Lease(space, chain, 3).lease_status, StatusCode::kRetry);
  EXPECT_EQ(Counts().bytes_now, 17 * kBlockBytes);
  cache_->leases().EndAll();
}

TEST_F(CacheLeaseTest, AClientThatReleasesNothingHasABoundedNumberOfLeases) {
  MakeCache(32 << 20);
  const Namespace* space = Open("acme", "a", 4096);
  const ChainKeys chain = MakeChain("c", 1);
  ClientCall call =
      MakeCall(*space, memory_, testing::SliceOf(*space, chain, 0, 1), time_.Now() + kSecond);
  FillSources(call, memory_);
  time_.Run(cache_->Put(link_, call.request));
  for (std::size_t i = 0; i < LeaseTable::kLeasesPerHolderMax; ++i) {
    ASSERT_EQ(
        time_.Run(cache_->MatchGroups(QueryOf(*space, chain, {0}, {0}, kSecond))).lease_status,
        StatusCode::kOk);
  }
  EXPECT_EQ(Lease(space, chain, 1).lease_status, StatusCode::kRetry);
  EXPECT_EQ(Lease(space, chain, 2).lease_status, StatusCode::kOk);
  Wait(11 * kSecond);
  EXPECT_EQ(Counts().now, 0u);
  EXPECT_EQ(cache_->arena().Pins(), 0u);
}

TEST_F(CacheLeaseTest, AClearIsNotKeptFromItsBlocksAndTheRenewalSaysSo) {
  MakeCache(16 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  const GroupsAnswer answer = Lease(space, chain, 1);
  time_.Run(cache_->Clear(space->id));
  EXPECT_EQ(Matched(space, chain), 0u);
  EXPECT_EQ(cache_->arena().Stats().frames, 4u) << "doomed until the lease lets go of them";
  ExpectValid();
  Put(space, chain, 0, 2);
  EXPECT_EQ(cache_->leases().Renew(1, answer.lease, kSecond).code(), StatusCode::kExpired);
  EXPECT_EQ(Counts().broken, 1u);
  EXPECT_EQ(cache_->arena().Stats().frames, 2u);
  EXPECT_EQ(Matched(space, chain), 2u);
}

TEST_F(CacheLeaseTest, ARemovedBlockBreaksItsLeaseAndTheOthersStayUntilThen) {
  MakeCache(4 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  Put(space, chain, 0, 4);
  const GroupsAnswer answer = Lease(space, chain, 1, 60 * kSecond);
  time_.Run(cache_->Remove(testing::SliceOf(*space, chain, 3, 1)));
  Churn(space);
  EXPECT_EQ(Matched(space, chain), 3u);
  EXPECT_EQ(cache_->leases().Renew(1, answer.lease, kSecond).code(), StatusCode::kExpired);
  EXPECT_EQ(cache_->leases().Pins(), 0u);
}

TEST_F(CacheLeaseTest, ATrimKeepsWhatItNamesAndLetsTheRestGo) {
  MakeCache(4 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 8);
  Put(space, chain, 0, 8);
  const GroupsAnswer answer = Lease(space, chain, 1, 60 * kSecond);
  const std::array<std::byte, 1> first_three{std::byte{0b111}};
  EXPECT_TRUE(cache_->leases().Trim(1, answer.lease, first_three).ok());
  EXPECT_EQ(Counts().blocks_now, 3u);
  Churn(space);
  EXPECT_EQ(Matched(space, chain), 3u);
  EXPECT_TRUE(cache_->leases().Trim(1, answer.lease, {}).ok());
  EXPECT_EQ(Counts().now, 0u);
  EXPECT_EQ(Counts().released, 1u);
}

TEST_F(CacheLeaseTest, ALargeLeaseIsLetGoAPartATurnAndCountsUntilItIs) {
  MakeCache(64 << 20);
  const Namespace* space = Open("acme", "a", 4096);
  const std::size_t blocks = LeaseTable::kBlocksPerTurn + 200;
  ChainKeys chain;
  for (std::size_t first = 0; first < blocks; first += 204) {
    chain = MakeChain("c", first + 204);
    ClientCall call = MakeCall(*space, memory_, testing::SliceOf(*space, chain, first, 204),
                               time_.Now() + kSecond);
    FillSources(call, memory_);
    time_.Run(cache_->Put(link_, call.request));
  }
  const GroupsAnswer answer = Lease(space, chain, 1, 60 * kSecond);
  ASSERT_EQ(answer.lease_status, StatusCode::kOk);
  const std::uint64_t leased = Counts().blocks_now;
  EXPECT_TRUE(cache_->leases().Release(1, answer.lease).ok());
  EXPECT_EQ(Counts().now, 0u);
  EXPECT_EQ(Counts().blocks_now, leased - LeaseTable::kBlocksPerTurn);
  Wait(kMillisecond);
  EXPECT_EQ(Counts().blocks_now, 0u);
  EXPECT_EQ(cache_->arena().Pins(), 0u);
}

TEST_F(CacheLeaseTest, AKeyWhoseLocatorIsAnothersIsAMissAndLeasesNothing) {
  CacheOptions options;
  options.locator_hash = [](std::span<const std::byte>) noexcept { return Hash128{1, 2}; };
  MakeCache(4 << 20, options);
  const Namespace* space = Open("acme", "a");
  const ChainKeys stored = MakeChain("stored", 1);
  const ChainKeys other = MakeChain("other", 1);
  Put(space, stored, 0, 1);
  const GroupsAnswer answer = Lease(space, other, 1);
  EXPECT_EQ(PresenceText(answer), "-");
  EXPECT_EQ(answer.lease_status, StatusCode::kMiss);
  EXPECT_EQ(answer.lease, 0u);
  EXPECT_EQ(cache_->leases().leases(), 0u);
}

TEST_F(CacheLeaseTest, AHolderThatGoesInTheMiddleOfItsMatchIsLeftWithoutALease) {
  MakeCache(64 << 20);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 8);
  Put(space, chain, 0, 8);
  // More than one turn of look-ups, so that there is a middle.
  ChainKeys longer = MakeChain("c", 5000);
  const GroupsQuery query = QueryOf(*space, longer, {0}, {0}, kSecond);
  std::optional<GroupsAnswer> answer;
  TaskScope scope;
  scope.Spawn(testing::SimulatedTime::Store(cache_->MatchGroups(query), &answer));
  for (int turn = 0; turn < 20 && cache_->leases().leases() == 0; ++turn) {
    time_.scheduler().RunReady(1);
  }
  ASSERT_EQ(cache_->leases().leases(), 1u);
  cache_->leases().EndHolder(1);
  while (scope.live() > 0) time_.Step();
  time_.RunReady();
  EXPECT_EQ(answer->lease, 0u);
  EXPECT_EQ(cache_->leases().leases(), 0u);
  EXPECT_EQ(cache_->arena().Pins(), 0u);
}

}  // namespace
}  // namespace terrace
