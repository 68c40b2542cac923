// The generator must give the same trace for the same seed everywhere, and a trace worth caching.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/checksum.h"
#include "tools/replay/simulate/request_hits.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/generator.h"
#include "tools/replay/trace/live_context.h"
#include "tools/replay/trace/live_target.h"
#include "tools/replay/trace/trace_statistics.h"
#include "tools/replay/trace/workload_source.h"

namespace terrace::replay {
namespace {

using ::testing::HasSubstr;

std::string TextOf(const Trace& trace) {
  std::ostringstream out;
  for (std::size_t request = 0; request < trace.requests.size(); ++request) {
    WriteTraceLine(out, trace, request, TraceFields::kPublished);
  }
  return out.str();
}

class GeneratorTest : public ::testing::TestWithParam<WorkloadKind> {
 protected:
  static Trace Make(std::uint64_t requests, std::uint64_t seed) {
    Result<Trace> trace = GenerateTrace({.kind = GetParam(), .requests = requests, .seed = seed});
    EXPECT_TRUE(trace.ok()) << trace.status().ToString();
    return std::move(trace).value();
  }
};

TEST_P(GeneratorTest, SameSeedSameBytesAnotherSeedOthers) {
  const std::string text = TextOf(Make(300, 7));
  EXPECT_EQ(text, TextOf(Make(300, 7)));
  EXPECT_NE(text, TextOf(Make(300, 8)));
}

TEST_P(GeneratorTest, TraceReadsBackAndIdsNamePrefixes) {
  const Trace trace = Make(400, 3);
  Trace again;
  std::istringstream lines(TextOf(trace));
  for (std::string line; std::getline(lines, line);) {
    const Status status = ParseTraceLine(line, again);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  EXPECT_EQ(again.hash_ids, trace.hash_ids);
  // Equal ids must mean equal prefixes: as many distinct ids as distinct prefixes.
  std::vector<std::uint64_t> ids = trace.hash_ids;
  std::ranges::sort(ids);
  const auto repeated = std::ranges::unique(ids);
  ids.erase(repeated.begin(), repeated.end());
  EXPECT_EQ(NumberBlocks(trace).distinct, ids.size());
}

TEST_P(GeneratorTest, PrefixesAreSharedAndLengthsVary) {
  const Trace trace = Make(2000, 1);
  const TraceStatistics statistics = CollectStatistics(trace, NumberBlocks(trace));
  EXPECT_EQ(statistics.requests, 2000U);
  EXPECT_GT(statistics.InfiniteBlockHitRatio(), 0.5);
  EXPECT_LT(statistics.InfiniteBlockHitRatio(), 0.97);
  const double mean =
      static_cast<double>(statistics.tokens_input) / static_cast<double>(statistics.requests);
  EXPECT_GT(mean, 2'000);
  EXPECT_LT(mean, 60'000);
  EXPECT_GT(static_cast<double>(statistics.longest_request_blocks) * 512, 1.8 * mean);
  EXPECT_GT(statistics.tokens_output, 2000U * 40);
}

INSTANTIATE_TEST_SUITE_P(Kinds, GeneratorTest,
                         ::testing::Values(WorkloadKind::kMix, WorkloadKind::kConversation,
                                           WorkloadKind::kAgent, WorkloadKind::kDocument),
                         [](const auto& parameter) {
                           return std::string(WorkloadKindName(parameter.param));
                         });

TEST(GeneratorFactsTest, BytesOfASeedNeverChange) {
  // A change of the generator changes what everybody measured before: make it on purpose.
  const Result<Trace> trace = GenerateTrace({.requests = 500, .seed = 42});
  ASSERT_TRUE(trace.ok());
  const std::string text = TextOf(*trace);
  EXPECT_EQ(Checksum64(std::as_bytes(std::span(text))), 12138208027673513821ULL);
}

TEST(GeneratorFactsTest, SessionsTurnsAndKindsAreToldAndEveryTurnIsOfItsSessionsText) {
  const Result<Trace> trace = GenerateTrace({.requests = 3000, .seed = 2});
  ASSERT_TRUE(trace.ok());
  EXPECT_GT(trace->sessions, 94U);
  ASSERT_EQ(trace->categories.size(), 3U);
  std::vector<std::uint32_t> turns(trace->sessions);
  std::vector<std::uint32_t> category(trace->sessions);
  for (const TraceRequest& request : trace->requests) {
    ASSERT_LT(request.session, trace->sessions);
    ASSERT_LT(request.category, 3U);
    EXPECT_EQ(request.turn, turns[request.session]++);
    if (request.turn == 0) category[request.session] = request.category;
    EXPECT_EQ(request.category, category[request.session]);
  }
  Trace numbered = *trace;
  numbered.NumberSessions();  // numbers are given in the order of first requests already
  for (std::size_t i = 0; i < numbered.requests.size(); ++i) {
    ASSERT_EQ(numbered.requests[i].session, trace->requests[i].session);
  }
}

TEST(GeneratorFactsTest, RateStretchesTimeAndChangesNothingElse) {
  const Result<Trace> plain = GenerateTrace({.requests = 2001, .seed = 4});
  const Result<Trace> rated = GenerateTrace({.requests = 2001, .seed = 4, .rate = 20});
  ASSERT_TRUE(plain.ok() && rated.ok());
  EXPECT_EQ(plain->hash_ids, rated->hash_ids);
  EXPECT_EQ(rated->requests.front().timestamp_ms, 0U);
  EXPECT_EQ(rated->requests.back().timestamp_ms, 100'000U);
  const auto time_of = [](const TraceRequest& request) { return request.timestamp_ms; };
  EXPECT_TRUE(std::ranges::is_sorted(rated->requests, {}, time_of));
}

TEST(GeneratorFactsTest, ThinkTimeOfNoneBringsRequestsCloser) {
  const Result<Trace> slow = GenerateTrace({.requests = 1000, .think_time_scale = 4});
  const Result<Trace> fast = GenerateTrace({.requests = 1000, .think_time_scale = 0});
  ASSERT_TRUE(slow.ok() && fast.ok());
  EXPECT_GT(slow->requests.back().timestamp_ms, 2 * fast->requests.back().timestamp_ms);
}

TEST(GeneratorFactsTest, WantedLiveContextIsMetOrRefusedWithTheNearest) {
  for (const LiveTarget target : {LiveTarget{.amount = 1500}, LiveTarget{10, true}}) {
    const Result<LiveWorkload> found = GenerateWithLiveContext({.requests = 4000}, target);
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    const BlockNumbers blocks = NumberBlocks(found->trace);
    const double live = MeasureLiveContext(found->trace, blocks).mean_blocks;
    EXPECT_EQ(live, found->live_blocks);
    EXPECT_NEAR(live, target.percent ? blocks.distinct * 0.1 : 1500, live * 0.05);
    const Result<LiveWorkload> again = GenerateWithLiveContext({.requests = 4000}, target);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(TextOf(again->trace), TextOf(found->trace));
  }
  EXPECT_THAT(GenerateWithLiveContext({.requests = 500}, {.amount = 1e9}).status().message(),
              HasSubstr("live context of 1000000000 blocks is out of reach with 500 requests"));
  for (const char* wrong : {"", "%", "-5", "0", "101%", "5 apples", "nan", "1e300", "inf%"}) {
    EXPECT_THAT(ParseLiveTarget(wrong).status().message(), HasSubstr("is neither a number"));
  }
}

TEST(GeneratorFactsTest, FivePercentOfDramGivesAnInterestingHitRatio) {
  const Result<Trace> trace = GenerateTrace({.requests = 4000, .seed = 1});
  ASSERT_TRUE(trace.ok());
  const BlockNumbers blocks = NumberBlocks(*trace);
  const SimulatedRun run =
      SimulateRequests(*trace, blocks,
                       {.dram_blocks = blocks.distinct / 20, .distinct_blocks = blocks.distinct},
                       {.batch_blocks = 64, .decodes = true})
          .run;
  EXPECT_GT(run.BlockHitRatio(), 0.2);
  EXPECT_LT(run.BlockHitRatio(), 0.6);
}

TEST(GeneratorFactsTest, WrongOptionsAreNamed) {
  EXPECT_THAT(GenerateTrace({.requests = 0}).status().message(), HasSubstr("requests is 0"));
  EXPECT_THAT(GenerateTrace({.requests = 10'000'001}).status().message(), HasSubstr("requests"));
  EXPECT_THAT(GenerateTrace({.sessions = 1'000'001}).status().message(), HasSubstr("sessions"));
  EXPECT_THAT(GenerateTrace({.context_tokens = 10}).status().message(), HasSubstr("context"));
  EXPECT_THAT(GenerateTrace({.think_time_scale = -1}).status().message(), HasSubstr("think-time"));
  EXPECT_THAT(GenerateTrace({.think_time_scale = 0.0004}).status().message(),
              HasSubstr("think-time scale is 0.0004, must be 0 or from 0.001"));
  EXPECT_TRUE(GenerateTrace({.requests = 9, .think_time_scale = 0.001}).ok());
  EXPECT_THAT(GenerateTrace({.rate = 2e6}).status().message(), HasSubstr("rate is"));
  EXPECT_THAT(GenerateTrace({.rate = std::nan("")}).status().message(), HasSubstr("rate is"));
  EXPECT_THAT(ParseWorkloadKind("chat").status().message(), HasSubstr("'chat'; there are mix"));
}

TEST(GeneratorFactsTest, SmallestAndSingleSessionTracesWork) {
  for (const std::uint32_t sessions : {1U, 3U}) {
    const Result<Trace> trace =
        GenerateTrace({.requests = 50, .sessions = sessions, .context_tokens = 1024});
    ASSERT_TRUE(trace.ok()) << trace.status().ToString();
    for (const TraceRequest& request : trace->requests) EXPECT_LE(request.input_tokens, 1024U);
  }
}

TEST(WorkloadSourceTest, LimitCutsAGeneratedTrace) {
  WorkloadSource source;
  source.generator.requests = 100;
  source.read.limit = 10;
  const Result<TraceReadResult> result = LoadWorkload(source);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->trace.requests.size(), 10U);
  const TraceRequest& last = result->trace.requests.back();
  EXPECT_EQ(result->trace.hash_ids.size(), last.first_reference + last.block_count);
}

}  // namespace
}  // namespace terrace::replay
