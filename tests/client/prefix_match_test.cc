// Stop points, against an oracle that spells out what each policy says.
#include "client/request/prefix_match.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"
#include "client/session/lease_flow.h"

namespace terrace {
namespace {

/// A match whose found blocks are given as text, one per pair: "r" ready, "p" pending, "-" miss.
PrefixMatch Found(const std::vector<std::string>& pairs) {
  PrefixMatch match;
  for (const std::string& text : pairs) {
    GroupPresence& pair = match.found.emplace_back();
    for (const char letter : text) {
      pair.blocks.push_back(letter == 'r'   ? Presence::kReady
                            : letter == 'p' ? Presence::kPending
                            : letter == '?' ? Presence::kRetry
                                            : Presence::kMiss);
      pair.tiers.push_back(letter == 'r' ? Tier::kDram : Tier::kNone);
    }
  }
  return match;
}

PrefixMatch Match(const std::vector<GroupPolicy>& groups, std::size_t shards,
                  const std::vector<std::string>& pairs) {
  PrefixQuestion question{.groups = groups,
                          .shards = std::vector<std::uint32_t>(shards),
                          .blocks = static_cast<std::uint32_t>(pairs[0].size())};
  PrefixMatch match = Found(pairs);
  FindStops(question, match);
  return match;
}

using Stops = std::vector<std::uint32_t>;

TEST(PrefixMatch, FullAttentionStopsAnywhereBeforeTheFirstGap) {
  const PrefixMatch match = Match({{.group = 0}}, 1, {"rrr-rr"});
  EXPECT_EQ(match.stops, (Stops{1, 2, 3}));
  EXPECT_EQ(match.longest, 3u);
  EXPECT_EQ(match.found[0].consecutive, 3u);
}

TEST(PrefixMatch, APendingBlockIsAGap) {
  EXPECT_EQ(Match({{.group = 0}}, 1, {"rprr"}).longest, 1u);
  EXPECT_EQ(Match({{.group = 0}}, 1, {"r?rr"}).longest, 1u);
}

TEST(PrefixMatch, AWindowNeedsItsLastBlocksOnlyAndAllOfAShorterPrefix) {
  const GroupPolicy window{.group = 0, .policy = StopPolicy::kTrailing, .blocks = 2};
  EXPECT_EQ(Match({window}, 1, {"rr-rrr"}).stops, (Stops{1, 2, 5, 6}));
  EXPECT_EQ(Match({window}, 1, {"-rr"}).stops, (Stops{3}));
}

TEST(PrefixMatch, AStateIsNeededAtItsBoundaryOnly) {
  const GroupPolicy state{.group = 0, .policy = StopPolicy::kExact, .blocks = 3};
  EXPECT_EQ(Match({state}, 1, {"--r--r--"}).stops, (Stops{3, 6}));
  EXPECT_EQ(Match({state}, 1, {"rr-rr-"}).stops, Stops{});
}

TEST(PrefixMatch, ASparseGroupForbidsNothingAndAloneStopsAfterWhatIsThere) {
  const GroupPolicy sparse{.group = 1, .policy = StopPolicy::kSparse};
  EXPECT_EQ(Match({{.group = 0}, sparse}, 1, {"rr-", "---"}).stops, (Stops{1, 2}));
  EXPECT_EQ(Match({sparse}, 1, {"-r-r-"}).stops, (Stops{2, 4}));
  EXPECT_EQ(Match({sparse}, 1, {"---"}).longest, 0u);
}

TEST(PrefixMatch, ABlockCountsOnlyWhenEveryShardHasIt) {
  EXPECT_EQ(Match({{.group = 0}}, 2, {"rrrr", "rr-r"}).longest, 2u);
  const GroupPolicy sparse{.group = 1, .policy = StopPolicy::kSparse};
  EXPECT_EQ(Match({sparse}, 2, {"rr", "r-"}).stops, (Stops{1}));
}

TEST(PrefixMatch, WhatNoReactorAnsweredIsRetry) {
  const PrefixQuestion question{.groups = {{.group = 7}}, .shards = {0, 3}, .blocks = 3};
  std::vector<GroupPresence> found = UnknownPresence(question);
  PrefixPart part;
  part.answered = true;
  part.presence = {Presence::kReady, Presence::kMiss};
  part.tiers = {Tier::kNvme, Tier::kNone};
  const std::vector<std::uint32_t> positions{1};
  EnterPart(positions, part, kNoSource, found);
  EnterPart(std::vector<std::uint32_t>{0}, PrefixPart{}, kNoSource, found);
  EXPECT_EQ(found[0].blocks,
            (std::vector<Presence>{Presence::kRetry, Presence::kReady, Presence::kRetry}));
  EXPECT_EQ(found[0].tiers[1], Tier::kNvme);
  EXPECT_EQ(found[1].shard, 3u);
  EXPECT_EQ(found[1].blocks[1], Presence::kMiss);
}

/// Literally what types.hpp says.
bool MayStop(const std::vector<GroupPolicy>& groups, std::size_t shards, const PrefixMatch& match,
             std::uint32_t n) {
  const auto ready = [&](std::size_t group, std::uint32_t position) {
    for (std::size_t shard = 0; shard < shards; ++shard) {
      if (match.found[group * shards + shard].blocks[position] != Presence::kReady) return false;
    }
    return true;
  };
  bool any_needs = false;
  bool sparse_ends_here = false;
  for (std::size_t group = 0; group < groups.size(); ++group) {
    const GroupPolicy& policy = groups[group];
    if (policy.policy == StopPolicy::kSparse) {
      sparse_ends_here = sparse_ends_here || ready(group, n - 1);
      continue;
    }
    any_needs = true;
    if (policy.policy == StopPolicy::kExact && n % policy.blocks != 0) return false;
    for (std::uint32_t position = 0; position < n; ++position) {
      if (NeededAt(policy, n, position) && !ready(group, position)) return false;
    }
  }
  return any_needs || sparse_ends_here;
}

std::vector<GroupPolicy> SomePolicies(Random& random) {
  std::vector<GroupPolicy> groups(1 + random.Below(4));
  for (std::uint32_t i = 0; i < groups.size(); ++i) {
    groups[i] = {.group = i, .policy = static_cast<StopPolicy>(random.Below(4)), .blocks = 0};
    if (groups[i].policy == StopPolicy::kTrailing || groups[i].policy == StopPolicy::kExact) {
      groups[i].blocks = static_cast<std::uint32_t>(1 + random.Below(5));
    }
  }
  return groups;
}

TEST(PrefixMatch, StopsAreThoseOfTheOracle) {
  SeededRandom random(20261126);
  std::size_t stops_seen = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::vector<GroupPolicy> groups = SomePolicies(random);
    const std::size_t shards = 1 + random.Below(3);
    const std::size_t blocks = 1 + random.Below(20);
    const std::uint64_t gaps = 1 + random.Below(12);
    std::vector<std::string> pairs(groups.size() * shards, std::string(blocks, 'r'));
    for (std::string& pair : pairs) {
      for (char& letter : pair) {
        if (random.Below(4 * gaps) == 0) letter = "-p?"[random.Below(3)];
      }
    }
    const PrefixMatch match = Match(groups, shards, pairs);
    Stops expected;
    for (std::uint32_t n = 1; n <= blocks; ++n) {
      if (MayStop(groups, shards, match, n)) expected.push_back(n);
    }
    ASSERT_EQ(match.stops, expected) << "round " << round;
    ASSERT_EQ(match.longest, expected.empty() ? 0 : expected.back());
    stops_seen += expected.size();
  }
  EXPECT_GT(stops_seen, 3000u) << "the rounds must not all be trivial";
}

TEST(PrefixMatch, NeededIsWhatEachPolicyReads) {
  const auto needed = [](StopPolicy policy, std::uint32_t blocks) {
    std::string text;
    for (std::uint32_t i = 0; i < 8; ++i) {
      text += NeededAt({.group = 0, .policy = policy, .blocks = blocks}, 6, i) ? 'x' : '.';
    }
    return text;
  };
  EXPECT_EQ(needed(StopPolicy::kAll, 0), "xxxxxx..");
  EXPECT_EQ(needed(StopPolicy::kTrailing, 2), "....xx..");
  EXPECT_EQ(needed(StopPolicy::kTrailing, 9), "xxxxxx..");
  EXPECT_EQ(needed(StopPolicy::kExact, 3), ".....x..");
  EXPECT_EQ(needed(StopPolicy::kSparse, 0), "xxxxxx..");
}

/// A lease match over one group and shard whose blocks lie on two reactors, turn by turn.
struct TwoReactors {
  TwoReactors(const std::string& first, const std::string& second, GroupPolicy policy) {
    request.kind = RequestKind::kMatchGroups;
    request.prefix_question = {.groups = {policy},
                               .shards = {0},
                               .blocks = static_cast<std::uint32_t>(first.size() + second.size()),
                               .lease_ms = 1000};
    Add(0, 11, first);
    Add(1, 22, second);
  }
  void Add(std::uint32_t reactor, std::uint64_t lease, const std::string& text) {
    RequestPart& part = request.parts.emplace_back();
    part.shard = reactor;
    const PrefixMatch found = Found({text});
    part.prefix = {.answered = true,
                   .presence = found.found[0].blocks,
                   .tiers = found.found[0].tiers,
                   .loads = {},
                   .lease = text.find('r') == std::string::npos ? 0 : lease};
    for (std::uint32_t i = 0; i < text.size(); ++i) part.blocks.push_back(2 * i + reactor);
  }
  Request request;
  std::vector<LeaseBook::Part> kept;
};

TEST(PrefixLease, WhatTheLongestStopDoesNotNeedIsTrimmedAndTheRestKept) {
  TwoReactors match("rrr", "r-r", {.group = 0});
  const std::vector<LeaseOrder> orders = CombinePrefix(match.request, match.kept);
  EXPECT_EQ(match.request.prefix.longest, 3u);
  EXPECT_EQ(match.request.prefix.lease_status, StatusCode::kOk);
  ASSERT_EQ(match.kept.size(), 2u);
  ASSERT_EQ(orders.size(), 2u);
  EXPECT_FALSE(orders[0].release);
  EXPECT_EQ(orders[0].lease, 11u);
  EXPECT_EQ(orders[0].keep, std::vector<std::byte>{std::byte{0b011}});
  EXPECT_EQ(orders[1].keep, std::vector<std::byte>{std::byte{0b001}});
}

TEST(PrefixLease, AReactorOfWhichNothingIsNeededIsReleased) {
  TwoReactors match("-r", "rr", {.group = 0, .policy = StopPolicy::kExact, .blocks = 4});
  const std::vector<LeaseOrder> orders = CombinePrefix(match.request, match.kept);
  EXPECT_EQ(match.request.prefix.longest, 4u);
  ASSERT_EQ(match.kept.size(), 1u);
  EXPECT_EQ(match.kept[0].lease, 22u);
  ASSERT_EQ(orders.size(), 2u);
  EXPECT_TRUE(orders[0].release);
  EXPECT_FALSE(orders[1].release);
}

TEST(PrefixLease, NothingIsKeptWithoutAStopPoint) {
  TwoReactors match("-r", "rr", {.group = 0});
  const std::vector<LeaseOrder> orders = CombinePrefix(match.request, match.kept);
  EXPECT_EQ(match.request.prefix.lease_status, StatusCode::kMiss);
  EXPECT_TRUE(match.kept.empty());
  ASSERT_EQ(orders.size(), 2u);
  EXPECT_TRUE(orders[0].release && orders[1].release);
}

TEST(PrefixLease, WhenOneReactorRefusesTheOthersAreReleased) {
  TwoReactors match("rr", "rr", {.group = 0});
  match.request.parts[1].prefix.lease = 0;
  match.request.parts[1].prefix.lease_status = StatusCode::kRetry;
  const std::vector<LeaseOrder> orders = CombinePrefix(match.request, match.kept);
  EXPECT_EQ(match.request.prefix.longest, 4u);
  EXPECT_EQ(match.request.prefix.lease_status, StatusCode::kRetry);
  EXPECT_TRUE(match.kept.empty());
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_TRUE(orders[0].release);
  EXPECT_EQ(orders[0].lease, 11u);
}

TEST(PrefixLease, AMatchThatFailedGivesBackWhatWasGranted) {
  TwoReactors match("rr", "rr", {.group = 0});
  match.request.status = Status(StatusCode::kCancelled, "cancelled");
  EXPECT_EQ(CombinePrefix(match.request, match.kept).size(), 2u);
  EXPECT_TRUE(match.kept.empty());
}

}  // namespace
}  // namespace terrace
