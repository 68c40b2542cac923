// Plans, against every split there is.
#include "client/plan/load_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/load_time.h"
#include "base/random.h"
#include "client/plan/block_sources.h"
#include "client/plan/compute_time.h"
#include "client/request/prefix_match.h"

namespace terrace {
namespace {

constexpr std::uint64_t kMB = 1'000'000;
constexpr std::uint32_t kTokens = 64;  // of a block

LoadSource Connection(double mb_per_s) {
  return {.tier = TierKind::kDram,
          .bytes_per_s = static_cast<std::uint64_t>(mb_per_s * kMB),
          .queue_us = 0,
          .latency_us = 50};
}
LoadSource Device(double mb_per_s, std::uint32_t queue_us = 0) {
  return {.tier = TierKind::kNvme,
          .bytes_per_s = static_cast<std::uint64_t>(mb_per_s * kMB),
          .queue_us = queue_us,
          .latency_us = 100};
}

/// Of one group, one letter per block: d in DRAM, n and m on two devices, - not there.
PrefixMatch Match(const std::string& blocks, const std::vector<LoadSource>& sources,
                  GroupPolicy policy = {}, std::uint64_t block_bytes = 4 * kMB) {
  PrefixMatch match;
  match.load_from = sources;
  match.block_tokens = kTokens;
  GroupPresence& pair = match.found.emplace_back();
  pair.policy = policy;
  pair.block_bytes = block_bytes;
  for (const char letter : blocks) {
    pair.blocks.push_back(letter == '-' ? Presence::kMiss : Presence::kReady);
    pair.sources.push_back(letter == 'd' ? 0 : letter == 'n' ? 1 : letter == 'm' ? 2 : kNoSource);
  }
  PrefixQuestion question{
      .groups = {policy}, .shards = {0}, .blocks = static_cast<std::uint32_t>(blocks.size())};
  FindStops(question, match);
  return match;
}

PlanRequest Request(std::uint64_t tokens, double rate, bool overlap = true) {
  return {.tokens = tokens, .rate = {{.context = 0, .tokens_per_s = rate}}, .overlap = overlap};
}

/// What a split takes, spelled out block by block.
double TimeOf(const PrefixMatch& match, const PlanRequest& request, std::uint32_t front,
              std::uint32_t back, std::uint32_t stop, double margin = 1) {
  const ComputeTime compute(request.rate);
  const auto tokens = [&](std::uint32_t blocks) {
    return std::min<std::uint64_t>(std::uint64_t{blocks} * match.block_tokens, request.tokens);
  };
  std::vector<std::uint64_t> first(match.load_from.size());
  std::vector<std::uint64_t> all(match.load_from.size());
  std::uint64_t largest = 0;
  for (const GroupPresence& pair : match.found) {
    largest = std::max(largest, pair.block_bytes);
    for (std::uint32_t i = 0; i < pair.sources.size(); ++i) {
      if (pair.sources[i] == kNoSource) continue;
      const bool in_front = NeededAt(pair.policy, front, i);
      const bool in_back = i >= back && NeededAt(pair.policy, stop, i);
      if (in_front) first[pair.sources[i]] += pair.block_bytes;
      if (in_front || in_back) all[pair.sources[i]] += pair.block_bytes;
    }
  }
  const double meanwhile = compute.Between(tokens(front), tokens(back));
  const double before = LoadSeconds(match.load_from, first, largest) * margin;
  const double loads = LoadSeconds(match.load_from, all, largest) * margin;
  return std::max(back > front ? before + meanwhile : 0, loads) +
         compute.Between(tokens(stop), request.tokens);
}

/// The quickest of all splits.
double Best(const PrefixMatch& match, const PlanRequest& request, double margin) {
  double best = TimeOf(match, request, 0, 0, 0, margin);
  std::vector<std::uint32_t> ends = {0};
  ends.insert(ends.end(), match.stops.begin(), match.stops.end());
  for (const std::uint32_t stop : ends) {
    best = std::min(best, TimeOf(match, request, stop, stop, stop, margin));
    if (!request.overlap) continue;
    for (const std::uint32_t front : ends) {
      for (std::uint32_t back = front + 1; front < stop && back < stop; ++back) {
        best = std::min(best, TimeOf(match, request, front, back, stop, margin));
      }
    }
  }
  return best;
}

LoadPlan Planned(const PrefixMatch& match, const PlanRequest& request) {
  const Result<LoadPlan> plan = PlanLoad(match, request);
  EXPECT_TRUE(plan.ok()) << plan.status().ToString();
  return plan.ok() ? *plan : LoadPlan{};
}

/// How much longer the plan takes than the best split does, as a factor; and that it says so.
double Excess(const PrefixMatch& match, const PlanRequest& request) {
  const LoadPlan plan = Planned(match, request);
  const double told = TimeOf(match, request, plan.front, plan.back, plan.stop);
  EXPECT_NEAR(plan.seconds, told, 1e-9 + told * 1e-9);
  EXPECT_NEAR(plan.compute_all_seconds, TimeOf(match, request, 0, 0, 0), 1e-9 + told * 1e-9);
  EXPECT_NEAR(plan.load_all_seconds,
              TimeOf(match, request, match.longest, match.longest, match.longest),
              1e-9 + plan.load_all_seconds * 1e-9);
  EXPECT_LE(plan.front, plan.back);
  EXPECT_LE(plan.back, plan.stop);
  const double weighed = TimeOf(match, request, plan.front, plan.back, plan.stop, 1.05);
  return weighed / Best(match, request, 1.05);
}

TEST(LoadPlanner, LoadsAllFromAFastTierAndNothingFromAHopelessOne) {
  const PrefixMatch fast = Match("dddddddd", {Connection(10'000)});
  EXPECT_EQ(Planned(fast, Request(10 * kTokens, 1000, false)).stop, 8u);
  const PrefixMatch slow = Match("nnnnnnnn", {Connection(10'000), Device(1)});
  const LoadPlan plan = Planned(slow, Request(10 * kTokens, 100'000));
  EXPECT_EQ(plan.stop, 0u);
  EXPECT_EQ(plan.compute[1].first, 0u);
  EXPECT_EQ(plan.compute[1].count, 10u * kTokens);
  EXPECT_EQ(plan.seconds, plan.compute_all_seconds);
}

TEST(LoadPlanner, BothEndsAtOnceWhereLoadingAndComputingAreAsFast) {
  // 64 tokens take 40 ms to compute, 4 MB 40 ms to load.
  const PrefixMatch match = Match(std::string(100, 'n'), {Connection(100'000), Device(100)});
  const PlanRequest request = Request(100 * kTokens, 1600);
  const LoadPlan plan = Planned(match, request);
  EXPECT_EQ(plan.front, 0u);
  EXPECT_NEAR(plan.back, 51, 1);
  EXPECT_EQ(plan.stop, 100u);
  EXPECT_EQ(plan.compute[0].count, plan.back * kTokens);
  EXPECT_EQ(plan.compute[1].count, 0u);
  EXPECT_LT(plan.seconds, 0.55 * std::min(plan.load_all_seconds, plan.compute_all_seconds));
  const LoadPlan prefix =
      Planned(match, {.tokens = request.tokens, .rate = request.rate, .overlap = false});
  EXPECT_TRUE(prefix.front == prefix.stop && prefix.back == prefix.stop);
}

TEST(LoadPlanner, APromptInDramInFrontOfOneOnNvmeIsLoadedFirst) {
  const PrefixMatch match =
      Match(std::string(20, 'd') + std::string(40, 'n'), {Connection(10'000), Device(100)});
  const LoadPlan plan = Planned(match, Request(60 * kTokens, 1600));
  EXPECT_EQ(plan.front, 20u);
  EXPECT_NEAR(plan.back, 41, 2);
  EXPECT_EQ(plan.stop, 60u);
}

TEST(LoadPlanner, AQueueMakesADeviceWorthLess) {
  const std::string blocks(20, 'n');
  const LoadPlan idle = Planned(Match(blocks, {Connection(10'000), Device(1000)}),
                                Request(20 * kTokens, 10'000, false));
  const LoadPlan busy = Planned(Match(blocks, {Connection(10'000), Device(1000, 900'000)}),
                                Request(20 * kTokens, 10'000, false));
  EXPECT_EQ(idle.stop, 20u);
  EXPECT_EQ(busy.stop, 0u);
}

TEST(LoadPlanner, AFixedLatencySetsTheSmallestHitWorthLoading) {
  const auto stop = [](std::size_t blocks) {
    LoadSource connection = Connection(50'000);
    connection.latency_us = 10'000;
    const PrefixMatch match = Match(std::string(blocks, 'd'), {connection}, {}, 21 * kMB);
    return Planned(match, Request(blocks * kTokens, 29'000, false)).stop;
  };
  EXPECT_EQ(stop(4), 0u);  // 256 tokens
  EXPECT_EQ(stop(8), 8u);  // 512
}

TEST(LoadPlanner, NoBlockOfAWindowThatIsNotNeededIsLoaded) {
  const GroupPolicy window{.group = 0, .policy = StopPolicy::kTrailing, .blocks = 4};
  const PrefixMatch match = Match(std::string(32, 'n'), {Connection(10'000), Device(500)}, window);
  const LoadPlan plan = Planned(match, Request(32 * kTokens, 2000));
  EXPECT_EQ(plan.stop, 32u);
  const auto blocks = Client::BlocksToLoad(plan, window);
  EXPECT_LE(blocks[0].count + blocks[1].count, 4u);
  EXPECT_EQ(Excess(match, Request(32 * kTokens, 2000)), 1);
}

TEST(LoadPlanner, NothingStoredIsComputed) {
  const PrefixMatch match = Match("----", {Connection(1000)});
  const LoadPlan plan = Planned(match, Request(4 * kTokens, 1000));
  EXPECT_EQ(plan.stop, 0u);
  EXPECT_DOUBLE_EQ(plan.seconds, 4 * kTokens / 1000.0);
}

TEST(LoadPlanner, ATailBlockCountsTheTokensThatItHas) {
  const PrefixMatch match = Match("dd", {Connection(1000)});
  const LoadPlan plan = Planned(match, Request(kTokens + 3, 100, false));
  EXPECT_EQ(plan.stop, 2u);
  EXPECT_EQ(plan.compute[1].count, 0u);
}

/// Blocks of one or two tiers in stretches, as engines leave them.
std::string Stretches(Random& random, std::size_t length) {
  std::string blocks;
  const char letters[] = {'d', 'n'};
  while (blocks.size() < length) {
    blocks += std::string(1 + random.Below(length), letters[random.Below(2)]);
  }
  blocks.resize(length);
  return blocks;
}

TEST(LoadPlanner, IsAsGoodAsTheBestOfAllSplitsWithOneOrTwoTiers) {
  SeededRandom random(11);
  for (int round = 0; round < 400; ++round) {
    const std::size_t length = 1 + random.Below(24);
    const std::string blocks = Stretches(random, length);
    const double device = std::pow(10.0, 0.5 + 3 * random.Unit());
    const PrefixMatch match =
        Match(blocks, {Connection(500 + 9000 * random.Unit()), Device(device)});
    PlanRequest request = Request(length * kTokens + random.Below(200),
                                  std::pow(10.0, 2.5 + 2.5 * random.Unit()), random.Below(4) != 0);
    if (random.Below(2) == 0) {
      request.rate.push_back({.context = 4096, .tokens_per_s = request.rate[0].tokens_per_s / 2});
    }
    const double excess = Excess(match, request);
    EXPECT_LE(excess, 1.03) << round << " " << blocks << " device " << device << " rate "
                            << request.rate[0].tokens_per_s;
    if (!request.overlap) EXPECT_LE(excess, 1 + 1e-9) << round << " " << blocks;
  }
}

TEST(LoadPlanner, IsNearTheBestOfAllSplitsForBlocksScatteredOverTiersAndDevices) {
  SeededRandom random(12);
  double worst = 1;
  for (int round = 0; round < 300; ++round) {
    const std::size_t length = 1 + random.Below(20);
    std::string blocks;
    for (std::size_t i = 0; i < length; ++i) blocks += "ddnnm"[random.Below(5)];
    GroupPolicy policy;
    if (random.Below(3) == 0) {
      policy.policy = StopPolicy::kTrailing;
      policy.blocks = 1 + static_cast<std::uint32_t>(random.Below(6));
    }
    const PrefixMatch match =
        Match(blocks,
              {Connection(3000), Device(std::pow(10.0, 1 + 2 * random.Unit())),
               Device(std::pow(10.0, 1 + 2 * random.Unit()))},
              policy);
    const double rate = std::pow(10.0, 2.5 + 2.5 * random.Unit());
    worst = std::max(worst, Excess(match, Request(length * kTokens, rate)));
  }
  EXPECT_LE(worst, 1.15);
}

TEST(LoadPlanner, SeveralGroupsAndShardsLoadWhatEachNeeds) {
  PrefixMatch match = Match("dddddddd", {Connection(1000), Device(100)});
  match.found.push_back(match.found[0]);  // another shard
  GroupPresence state = match.found[0];
  state.policy = {.group = 1, .policy = StopPolicy::kExact, .blocks = 4};
  match.found.push_back(state);
  match.stops = {4, 8};
  for (const double rate : {100.0, 1000.0, 3000.0, 30'000.0, 100'000.0}) {
    EXPECT_LE(Excess(match, Request(8 * kTokens, rate)), 1 + 1e-9) << rate;
  }
}

TEST(LoadPlanner, SixtyThousandBlocksAreNoMoreWorkThanTheirStretches) {
  std::string blocks(65'536, 'n');
  for (std::size_t i = 0; i < blocks.size(); i += 3) blocks[i] = 'm';
  const PrefixMatch match = Match(blocks, {Connection(3000), Device(100), Device(100)});
  const LoadPlan plan = Planned(match, Request(65'536 * kTokens, 3000));
  EXPECT_EQ(plan.stop, 65'536u);
  EXPECT_LT(plan.seconds, plan.compute_all_seconds);
}

// A table of stretches and sources would take hundreds of megabytes.
TEST(LoadPlanner, AMillionScatteredBlocksOfManySourcesTakeLittleMemoryAndTime) {
  constexpr std::uint32_t kBlocks = 1 << 20;
  constexpr std::size_t kSources = 64;
  SeededRandom random(5);
  std::vector<std::uint16_t> of_block(kBlocks);
  for (std::uint16_t& source : of_block) {
    const auto drawn = random.Below(kSources + 1);
    source = drawn == kSources ? kNoSource : static_cast<std::uint16_t>(drawn);
  }
  const BlockSources sources({}, 3, of_block, kSources);
  EXPECT_LE(sources.Bytes(), 10 * std::size_t{kBlocks});
  for (int round = 0; round < 200; ++round) {
    const auto end = static_cast<std::uint32_t>(random.Below(kBlocks + 1));
    const std::uint64_t span = round % 2 == 0 ? end : std::min<std::uint64_t>(end, 700);
    const std::uint32_t first = end - static_cast<std::uint32_t>(random.Below(span + 1));
    std::vector<std::uint64_t> expected(kSources);
    for (std::uint32_t i = first; i < end; ++i) {
      if (of_block[i] != kNoSource) expected[of_block[i]] += 3;
    }
    std::vector<std::uint64_t> bytes(kSources);
    sources.AddBytes(first, end, bytes);
    ASSERT_EQ(bytes, expected) << first << " to " << end;
  }

  PrefixMatch match;
  match.block_tokens = kTokens;
  match.longest = kBlocks;
  for (std::size_t i = 0; i < kSources; ++i) {
    match.load_from.push_back(i == 0 ? Connection(3000) : Device(100));
  }
  GroupPresence& pair = match.found.emplace_back();
  pair.block_bytes = 4 * kMB;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    match.stops.push_back(i + 1);
    pair.sources.push_back(of_block[i] == kNoSource ? std::uint16_t{0} : of_block[i]);
  }
  const LoadPlan plan = Planned(match, Request(std::uint64_t{kBlocks} * kTokens, 3000));
  EXPECT_GT(plan.stop, 0u);
  EXPECT_LE(plan.seconds, std::min(plan.load_all_seconds, plan.compute_all_seconds) + 1e-9);
}

/// The message of a request that is refused.
std::string Refusal(const PrefixMatch& match, const PlanRequest& request) {
  const Result<LoadPlan> plan = PlanLoad(match, request);
  return plan.ok() ? "accepted" : plan.status().message();
}

TEST(LoadPlanner, AbsurdRatesAreRefusedByName) {
  const PrefixMatch match = Match("dd", {Connection(1000)});
  const double infinite = std::numeric_limits<double>::infinity();
  for (const double rate : {0.0, -5.0, infinite, -infinite, std::nan(""), 1e13, 1e-4, 1e300}) {
    const std::string refusal = Refusal(match, Request(2 * kTokens, rate));
    EXPECT_NE(refusal.find("rate[0].tokens_per_s is"), std::string::npos) << rate << refusal;
    EXPECT_EQ(PlanLoad(match, Request(2 * kTokens, rate)).code(), StatusCode::kInvalid);
  }
  EXPECT_EQ(Refusal(match, Request(2 * kTokens, 1e12)), "accepted");
}

TEST(LoadPlanner, AbsurdCurvesAreRefusedByName) {
  const PrefixMatch match = Match("dd", {Connection(1000)});
  const auto refusal = [&match](std::vector<RatePoint> rate) {
    return Refusal(match, {.tokens = 2 * kTokens, .rate = std::move(rate)});
  };
  EXPECT_NE(refusal({}).find("rate has no point"), std::string::npos);
  EXPECT_EQ(refusal({{10, 5}, {10, 6}}),
            "rate[1].context is 10, the one before is 10: contexts must ascend");
  EXPECT_NE(refusal({{10, 5}, {9, 6}}).find("rate[1].context is 9"), std::string::npos);
  EXPECT_NE(refusal({{0, 5}, {(1ULL << 40) + 1, 6}}).find("rate[1].context"), std::string::npos);
  EXPECT_NE(refusal({{0, 5}, {7, std::nan("")}}).find("rate[1].tokens_per_s is"),
            std::string::npos);
  std::vector<RatePoint> many(4097);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = {.context = i, .tokens_per_s = 1};
  EXPECT_NE(refusal(many).find("rate has 4097 points"), std::string::npos);
}

TEST(LoadPlanner, TokensThatDoNotFitTheMatchAreRefused) {
  const PrefixMatch match = Match("ddd", {Connection(1000)});
  EXPECT_NE(Refusal(match, Request(0, 10)).find("tokens is 0"), std::string::npos);
  EXPECT_NE(Refusal(match, Request((1ULL << 40) + 1, 10)).find("must be 1 to 2^40"),
            std::string::npos);
  EXPECT_EQ(Refusal(match, Request(2 * kTokens, 10)),
            "tokens is 128, the match reaches over 3 blocks of 64");
  EXPECT_EQ(Refusal(match, Request(2 * kTokens + 1, 10)), "accepted");
}

TEST(LoadPlanner, AMatchWithoutTimesIsUnsupportedAndAForgedOneInvalid) {
  PrefixMatch match = Match("ddd", {});
  EXPECT_EQ(PlanLoad(match, Request(3 * kTokens, 10)).code(), StatusCode::kUnsupported);
  match = Match("ddd", {Connection(1000)});
  match.found[0].sources[1] = 7;
  EXPECT_EQ(PlanLoad(match, Request(3 * kTokens, 10)).code(), StatusCode::kInvalid);
  match = Match("ddd", {Connection(0)});
  EXPECT_EQ(PlanLoad(match, Request(3 * kTokens, 10)).code(), StatusCode::kInvalid);
}

TEST(LoadPlanner, SparseGroupsAloneHaveNoPrefixToPlanFor) {
  // A stop behind a hole: who plans with it would compute nothing for the hole.
  PrefixMatch match = Match("ddd", {Connection(1000)});
  match.found[0].policy.policy = StopPolicy::kSparse;
  const auto plan = PlanLoad(match, Request(3 * kTokens, 10));
  EXPECT_EQ(plan.code(), StatusCode::kUnsupported);
  EXPECT_NE(plan.status().message().find("sparse"), std::string::npos);
}

TEST(LoadPlanner, AReadyBlockOfWhichNoTimeIsKnownDoesNotCountAsFree) {
  PrefixMatch match = Match("ddd", {Connection(1000)});
  match.found[0].blocks.assign(3, Presence::kReady);
  match.found[0].sources[1] = kNoSource;
  const auto plan = PlanLoad(match, Request(3 * kTokens, 10));
  EXPECT_EQ(plan.code(), StatusCode::kUnsupported);
  EXPECT_NE(plan.status().message().find("block 1"), std::string::npos);
}

TEST(ComputeTime, OneRateIsTheSameEverywhere) {
  const ComputeTime compute(std::vector<RatePoint>{{.context = 500, .tokens_per_s = 100}});
  EXPECT_DOUBLE_EQ(compute.Between(0, 1000), 10);
  EXPECT_DOUBLE_EQ(compute.Between(900, 1000), 1);
}

TEST(ComputeTime, TwoPointsAreExactForATransformer) {
  // 1 / rate(p) = (a + b p) / R.
  const double a = 14e9, b = 524'288, flops = 500e12;
  const auto rate = [&](double p) { return flops / (a + b * p); };
  const ComputeTime compute(
      std::vector<RatePoint>{{.context = 0, .tokens_per_s = rate(0)},
                             {.context = 131'072, .tokens_per_s = rate(131'072)}});
  for (const double n : {1'000.0, 8'192.0, 32'768.0, 131'072.0}) {
    EXPECT_NEAR(compute.Until(n), n * (a + b * n / 2) / flops, 1e-9);
  }
}

TEST(ComputeTime, IsConstantBeyondTheEndsAndTheSumOfItsParts) {
  const std::vector<RatePoint> curve = {{100, 50}, {200, 25}, {1000, 10}};
  const ComputeTime compute(curve);
  EXPECT_DOUBLE_EQ(compute.Until(100), 2);
  EXPECT_DOUBLE_EQ(compute.Between(1000, 1010), 1);
  double sum = 0;
  for (std::uint64_t token = 0; token < 2000; ++token) {
    const double one = compute.Between(token, token + 1);
    EXPECT_GT(one, 0);
    sum += one;
  }
  EXPECT_NEAR(sum, compute.Until(2000), 1e-6);
}

TEST(PrefillCostTest, IsTheLineThroughTheEndsOfACurve) {
  // A transformer: 1e-4 s for the first token and 1e-8 s more for each before it.
  const auto rate = [](double context) { return 1 / (1e-4 + 1e-8 * context); };
  const RatePoint points[] = {{.context = 1000, .tokens_per_s = rate(1000)},
                              {.context = 5000, .tokens_per_s = 1},
                              {.context = 9000, .tokens_per_s = rate(9000)}};
  const PrefillCost cost = PrefillCostOf(points);
  EXPECT_NEAR(cost.first_token_s, 1e-4, 1e-12);
  EXPECT_NEAR(cost.per_context_s, 1e-8, 1e-15);
  EXPECT_NEAR(cost.MeanUntil(2000), 1e-4 + 1e-8 * 1000, 1e-12);
  EXPECT_TRUE(cost.IsPossible());
}

TEST(PrefillCostTest, IsPossibleWhateverACurveSays) {
  EXPECT_FALSE(PrefillCostOf({}).told());
  const RatePoint one[] = {{.context = 77, .tokens_per_s = 1e4}};
  EXPECT_NEAR(PrefillCostOf(one).first_token_s, 1e-4, 1e-12);
  EXPECT_EQ(PrefillCostOf(one).per_context_s, 0);
  const RatePoint faster[] = {{.context = 0, .tokens_per_s = 1e3},
                              {.context = 99, .tokens_per_s = 1e4}};
  EXPECT_EQ(PrefillCostOf(faster).per_context_s, 0) << "deeper tokens are never cheaper";
  const RatePoint steep[] = {{.context = 1000, .tokens_per_s = 1e12},
                             {.context = 1001, .tokens_per_s = 1e-3}};
  EXPECT_TRUE(PrefillCostOf(steep).IsPossible()) << "it would begin below nothing";
  for (const double rate : {1e-3, 1e12}) {
    const RatePoint edge[] = {{.context = 0, .tokens_per_s = rate}};
    EXPECT_TRUE(PrefillCostOf(edge).IsPossible()) << rate;
  }
}

}  // namespace
}  // namespace terrace
