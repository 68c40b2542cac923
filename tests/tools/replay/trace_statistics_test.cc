// What stats tells must be what a slow and obvious count tells.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/generator.h"
#include "tools/replay/trace/live_context.h"
#include "tools/replay/trace/reuse_statistics.h"
#include "tools/replay/trace/trace_profile.h"
#include "tools/replay/trace/trace_statistics.h"

namespace terrace::replay {
namespace {

using Ids = std::vector<std::uint64_t>;

TEST(TraceStatisticsTest, StatisticsCountOnlyContiguousPrefixHits) {
  Trace trace;
  ASSERT_TRUE(trace.Append(0, 1400, 1, Ids{1, 2, 3}).ok());
  ASSERT_TRUE(trace.Append(1, 1100, 1, Ids{1, 4, 5}).ok());  // hits block 1
  ASSERT_TRUE(trace.Append(2, 1400, 1, Ids{1, 2, 3}).ok());  // hits all
  // The same id behind another prefix is another block.
  ASSERT_TRUE(trace.Append(3, 1024, 1, Ids{9, 2}).ok());
  const BlockNumbers blocks = NumberBlocks(trace);
  const TraceStatistics statistics = CollectStatistics(trace, blocks);
  EXPECT_EQ(statistics.distinct_blocks, 7U);
  EXPECT_EQ(statistics.infinite_block_hits, 4U);
  EXPECT_EQ(statistics.infinite_token_hits, 512U + 1400U);
  EXPECT_EQ(statistics.longest_request_blocks, 3U);
  EXPECT_EQ(statistics.duration_ms, 3U);
}

/// A few requests at few moments, of few sessions, that share prefixes.
Trace RandomTrace(std::uint64_t seed, bool with_sessions) {
  SeededRandom random(seed);
  Trace trace;
  std::uint64_t now_ms = 0;
  for (int request = 0; request < 60; ++request) {
    now_ms += random.Below(3) * 10;
    Ids ids;
    for (std::uint64_t length = random.Between(1, 5); length > 0; --length) {
      ids.push_back(ids.size() * 10 + random.Below(2));
    }
    EXPECT_TRUE(trace.Append(now_ms, ids.size() * 512, 1, ids).ok());
    if (with_sessions && random.Below(8) != 0) {
      trace.requests.back().session = static_cast<std::uint32_t>(random.Below(20));
    }
  }
  trace.NumberSessions();
  return trace;
}

TEST(ReuseStatisticsTest, StackDistanceIsThePlaceInAnLruListAlsoAfterRenumbering) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const auto distinct = static_cast<std::uint32_t>(random.Between(1, 40));
    StackDistances distances(distinct);
    std::list<std::uint32_t> recent;
    for (int use = 0; use < 2000; ++use) {  // many times the places that there are
      const auto block = static_cast<std::uint32_t>(random.Below(random.Between(1, distinct)));
      const auto found = std::ranges::find(recent, block);
      const std::optional<std::uint32_t> distance = distances.Use(block);
      ASSERT_EQ(distance.has_value(), found != recent.end());
      if (found != recent.end()) {
        ASSERT_EQ(*distance, std::distance(recent.begin(), found));
        recent.erase(found);
      }
      recent.push_front(block);
    }
  }
}

TEST(ReuseStatisticsTest, PercentilesAreTheSmallestThatSoManyDoNotExceed) {
  std::vector<std::uint64_t> values;
  for (std::uint64_t value = 100; value > 0; --value) values.push_back(value);
  const Distribution hundred = Summarize(values);
  EXPECT_EQ(hundred.p10, 10U);
  EXPECT_EQ(hundred.p50, 50U);
  EXPECT_EQ(hundred.p99, 99U);
  EXPECT_EQ(hundred.max, 100U);
  EXPECT_DOUBLE_EQ(hundred.mean, 50.5);
  const Distribution one = Summarize({7});
  EXPECT_EQ(one.p10, 7U);
  EXPECT_EQ(one.p99, 7U);
  EXPECT_EQ(Summarize({}).count, 0U);
}

/// Blocks that are live after all that happened at `now_ms`, counted anew from the definition.
std::set<std::uint32_t> LiveAt(const Trace& trace, const BlockNumbers& blocks,
                               std::uint64_t now_ms) {
  std::set<std::uint32_t> live;
  for (std::size_t first = 0; first < trace.requests.size(); ++first) {
    const TraceRequest& user = trace.requests[first];
    if (user.timestamp_ms > now_ms) break;
    for (const std::uint32_t block : blocks.Of(user)) {
      for (const TraceRequest& later : trace.requests) {
        if (later.timestamp_ms <= now_ms) continue;
        const auto its = blocks.Of(later);
        const bool again = trace.sessions == 0
                               ? std::ranges::find(its, block) != its.end()
                               : user.session != kNoSession && user.session == later.session;
        if (again) live.insert(block);
      }
    }
  }
  return live;
}

TEST(LiveContextTest, IsWhatTheDefinitionSaysAtEveryMoment) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    const Trace trace = RandomTrace(seed, seed % 2 == 0);
    ASSERT_EQ(trace.sessions > 0, seed % 2 == 0);
    const BlockNumbers blocks = NumberBlocks(trace);
    std::vector<std::uint64_t> per_ms;  // one entry per millisecond
    for (std::uint64_t now = trace.requests.front().timestamp_ms;
         now < trace.requests.back().timestamp_ms; ++now) {
      const bool event = now % 10 == 0 || per_ms.empty();
      per_ms.push_back(event ? LiveAt(trace, blocks, now).size() : per_ms.back());
    }
    const Distribution expected = Summarize(per_ms);
    const LiveContext live = MeasureLiveContext(trace, blocks);
    EXPECT_DOUBLE_EQ(live.mean_blocks, expected.mean);
    EXPECT_EQ(live.p50_blocks, expected.p50);
    EXPECT_EQ(live.p90_blocks, expected.p90);
    EXPECT_GE(live.max_blocks, expected.max);  // also what is live for a moment only
  }
}

TEST(LiveContextTest, TraceOfOneMomentIsNoDivisionByZero) {
  Trace trace;
  ASSERT_TRUE(trace.Append(5, 1024, 1, Ids{1, 2}).ok());
  ASSERT_TRUE(trace.Append(5, 1024, 1, Ids{1, 3}).ok());
  const LiveContext live = MeasureLiveContext(trace, NumberBlocks(trace));
  EXPECT_EQ(live.max_blocks, 3U);
  EXPECT_EQ(live.p90_blocks, 3U);
  EXPECT_EQ(live.mean_blocks, 3.0);
}

TEST(TraceProfileTest, CategoriesAndTurnsSumUpToTheTrace) {
  const Result<Trace> trace = GenerateTrace({.requests = 1500, .seed = 9});
  ASSERT_TRUE(trace.ok());
  const TraceProfile profile = ProfileTrace(*trace);
  std::uint64_t requests = 0;
  std::uint64_t tokens = 0;
  std::uint64_t hits = 0;
  for (const CategoryProfile& category : profile.categories) {
    requests += category.requests;
    tokens += category.tokens_input;
    hits += category.infinite_block_hits;
  }
  EXPECT_EQ(requests, 1500U);
  EXPECT_EQ(tokens, profile.totals.tokens_input);
  EXPECT_EQ(hits, profile.totals.infinite_block_hits);
  EXPECT_EQ(profile.reuse.blocks.count, hits);  // what comes back came in a known prefix
  EXPECT_EQ(profile.turns.count, trace->sessions);
  EXPECT_NEAR(profile.turns.mean * trace->sessions, 1500, 1e-6);
  const auto json = nlohmann::json::parse(ProfileJson(profile, *trace, "mooncake", 0));
  EXPECT_EQ(json["sessions"], trace->sessions);
  EXPECT_EQ(json["reuse_gap_blocks"]["count"], hits);
  EXPECT_EQ(json["live_context"]["of_sessions"], true);
  EXPECT_EQ(json["categories"].size(), 3U);
  EXPECT_NE(ProfileTable(profile).find("turns of a session"), std::string::npos);
}

}  // namespace
}  // namespace terrace::replay
