// Sessions of agents must start at random but reproducible times, share nothing by chance, and be
// refused whole, with the place, when one of their requests is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "tests/tools/replay/trace_files.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/formats.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Two requests of the agent, and one of a sub-agent between them that begins with the same block.
constexpr const char* kSession = R"({"id": "a", "models": ["m"], "block_size": 64, "requests": [
  {"t": 0.0, "type": "s", "in": 130, "out": 3, "hash_ids": [1, 2], "stop": ""},
  {"t": 4.25, "type": "subagent", "agent_id": "x", "requests": [
    {"t": 4.5, "in": 64, "out": 5, "hash_ids": [1]},
    {"t": 70, "in": 200, "out": 5, "hash_ids": [1, 7, 8]}]},
  {"t": 60, "in": 192, "out": 4, "hash_ids": [1, 2, 3]}]})";

TEST(WekaTest, SubAgentsAreSessionsOfTheirOwnWithTheIdsOfTheirParent) {
  const TemporaryFolder folder;
  const std::string path = folder.Write("a.json", kSession);
  const Result<TraceReadResult> result = ReadTrace(path, {});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->format, TraceFormat::kWeka);
  const Trace& trace = result->trace;
  EXPECT_EQ(trace.block_tokens, 64U);
  EXPECT_EQ(trace.sessions, 2U);
  ASSERT_EQ(trace.requests.size(), 4U);
  std::vector<std::uint64_t> times;
  std::vector<std::uint32_t> sessions;
  std::vector<std::string> kinds;
  for (const TraceRequest& request : trace.requests) {
    times.push_back(request.timestamp_ms);
    sessions.push_back(request.session);
    kinds.push_back(trace.categories[request.category]);
  }
  EXPECT_THAT(times, ElementsAre(0, 4500, 60'000, 70'000));
  EXPECT_THAT(sessions, ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(kinds, ElementsAre("agent", "sub-agent", "agent", "sub-agent"));
  EXPECT_EQ(trace.requests[3].turn, 1U);
  EXPECT_EQ(trace.BlocksOf(1)[0], trace.BlocksOf(0)[0]);
  EXPECT_EQ(trace.requests[0].block_count, 3U);  // the rest of 2 tokens has a block of its own
  EXPECT_EQ(trace.requests[2].block_count, 3U);
  EXPECT_NE(trace.BlocksOf(0)[2], trace.BlocksOf(2)[2]);
}

TEST(WekaTest, SessionsShareNothingUnlessTheirIdsAreGlobal) {
  for (const bool global : {false, true}) {
    const TemporaryFolder folder;
    const std::string text =
        std::string(R"({"hash_id_scope": ")") + (global ? "global" : "local") +
        R"(", "requests": [{"t": 0, "in": 129, "out": 1, "hash_ids": [1, 2]}]})";
    (void)folder.Write("a.json", text);
    (void)folder.Write("b.json", text);
    (void)folder.Write("notes.txt", "not a session");
    const Result<TraceReadResult> result = ReadTrace(folder.path(), {});
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    ASSERT_EQ(result->trace.requests.size(), 2U);
    EXPECT_EQ(NumberBlocks(result->trace).distinct, global ? 4U : 6U);
    EXPECT_EQ(result->trace.sessions, 2U);
  }
}

TEST(WekaTest, MergedBlocksOfOneSessionShareWhatItsIdsShare) {
  const TemporaryFolder folder;
  const std::string path = folder.Write("a.json", kSession);
  const Result<TraceReadResult> result = ReadTrace(path, {.block_tokens = 128});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const Trace& trace = result->trace;
  EXPECT_EQ(trace.block_tokens, 128U);
  EXPECT_EQ(trace.BlocksOf(0)[0], trace.BlocksOf(2)[0]);  // ids 1 and 2
  EXPECT_NE(trace.BlocksOf(1)[0], trace.BlocksOf(0)[0]);  // id 1 alone
  EXPECT_EQ(NumberBlocks(trace).distinct, 6U);
}

TEST(WekaTest, StartsOfASeedNeverChangeAndFollowTheRate) {
  const std::string text = R"({"requests": [{"t": 0, "in": 64, "out": 1, "hash_ids": [1]}]})";
  const auto starts = [&text](std::uint64_t seed, double per_hour) {
    WekaSessions sessions({.sessions_per_hour = per_hour, .seed = seed});
    for (int count = 0; count < 4001; ++count) EXPECT_TRUE(sessions.Add(text).ok());
    std::vector<std::uint64_t> times;
    for (const TraceRequest& request : sessions.Finish().requests) {
      times.push_back(request.timestamp_ms);
    }
    return times;
  };
  const std::vector<std::uint64_t> times = starts(1, 3600);
  EXPECT_EQ(times.front(), 0U);
  EXPECT_NEAR(static_cast<double>(times.back()) / 4000, 1000, 60);
  // Of an exponential distribution: 1/e of the gaps are longer than the mean, exp(-3) than 3.
  int above_one = 0;
  int above_three = 0;
  for (std::size_t index = 1; index < times.size(); ++index) {
    above_one += times[index] - times[index - 1] > 1000 ? 1 : 0;
    above_three += times[index] - times[index - 1] > 3000 ? 1 : 0;
  }
  EXPECT_NEAR(above_one / 4000.0, std::exp(-1), 0.03);
  EXPECT_NEAR(above_three / 4000.0, std::exp(-3), 0.015);
  EXPECT_EQ(times, starts(1, 3600));
  EXPECT_NE(times, starts(2, 3600));
  EXPECT_EQ(Checksum64(std::as_bytes(std::span(times))), 7344946615066304885ULL);
}

TEST(WekaTest, LimitTakesTheFirstRequestsByTime) {
  const TemporaryFolder folder;
  const Result<TraceReadResult> result = ReadTrace(folder.Write("a.json", kSession), {.limit = 2});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->trace.requests.size(), 2U);
  EXPECT_EQ(result->trace.hash_ids.size(), 4U);
  EXPECT_EQ(result->trace.sessions, 2U);
}

struct BadSession {
  const char* name;
  std::string text;
  const char* reason;
};
class BadSessionTest : public ::testing::TestWithParam<BadSession> {};

TEST_P(BadSessionTest, IsRefusedWithFileAndPlaceAndSkippedWhole) {
  const TemporaryFolder folder;
  (void)folder.Write("a.json", kSession);
  const std::string bad = folder.Write("b.json", GetParam().text);
  (void)folder.Write("c.json", kSession);
  const Result<TraceReadResult> refused = ReadTrace(folder.path(), {});
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), HasSubstr(bad + ": "));
  EXPECT_THAT(refused.status().message(), HasSubstr(GetParam().reason));
  const Result<TraceReadResult> skipped = ReadTrace(folder.path(), {.skip_bad_lines = true});
  ASSERT_TRUE(skipped.ok()) << skipped.status().ToString();
  EXPECT_EQ(skipped->trace.requests.size(), 8U);
  EXPECT_EQ(skipped->skipped_lines, 1U);
}

std::string Nested(int levels) {
  std::string text = R"({"requests": [)";
  for (int level = 0; level < levels; ++level) text += R"({"requests": [)";
  for (int level = 0; level < levels; ++level) text += "]}";
  return text + "]}";
}

std::string With(const std::string& request) {
  return R"({"requests": [{"t": 0, "in": 64, "out": 1, "hash_ids": [1]}, {"t": 1, "requests": [)" +
         request + "]}]}";
}

INSTANTIATE_TEST_SUITE_P(
    Weka, BadSessionTest,
    ::testing::Values(
        BadSession{"Empty", "", "not valid JSON"},
        BadSession{"Cut", "{\"requests\": [", "not valid"},
        BadSession{"NoRequests", "{}", "field requests is missing"},
        BadSession{"NoRequest", R"({"requests": []})", "requests has no request"},
        BadSession{"TextRequests", R"({"requests": "x"})", "requests is not an array"},
        BadSession{"Bracket", R"({"requests": [[]]})", "requests[0] is not an object: an array"},
        BadSession{"Deep", Nested(17), "sub-agents are nested deeper than 16"},
        BadSession{"VeryDeep", Nested(200'000), "the JSON is nested deeper than 64"},
        BadSession{"Brackets", std::string(8 << 20, '['), "the JSON is nested deeper than 64"},
        BadSession{"OtherSize", R"({"block_size": 32, "requests": []})",
                   "block_size is 32, but the sessions before have 64"},
        BadSession{"HugeSize", R"({"block_size": 99999999999, "requests": []})", "block_size is"},
        BadSession{"Scope", R"({"hash_id_scope": "galaxy", "requests": []})",
                   "hash_id_scope is 'galaxy', must be local or global"},
        BadSession{"NoTime", With(R"({"in": 64, "out": 1, "hash_ids": [1]})"),
                   "requests[1].requests[0].field t is missing"},
        BadSession{"NegativeTime", With(R"({"t": -1, "in": 64, "out": 1, "hash_ids": [1]})"),
                   "requests[1].requests[0].t is -1"},
        BadSession{"NoInput", With(R"({"t": 1, "in": 0, "out": 1, "hash_ids": []})"),
                   "requests[1].requests[0].in is 0, must be from 1 to 4194304"},
        BadSession{"FractionalOutput", With(R"({"t": 1, "in": 1, "out": 1.5, "hash_ids": []})"),
                   "requests[1].requests[0].out is not a whole number"},
        BadSession{"TooManyIds", With(R"({"t": 1, "in": 127, "out": 1, "hash_ids": [1, 2]})"),
                   "hash_ids has 2 ids, but in 127 makes 1 full blocks of 64 tokens"},
        BadSession{"WideId", With(R"({"t": 1, "in": 64, "out": 1, "hash_ids": [1e30]})"),
                   "requests[1].requests[0].hash_ids[0] is not a whole number"}),
    [](const auto& parameter) { return parameter.param.name; });

TEST(WekaTest, UnreadableEntriesOfAFolderAreSkippedAsBadSessionsAre) {
  const auto make_loop = [](const std::string& path) {
    return symlink(path.c_str(), path.c_str());
  };
  const auto make_folder = [](const std::string& path) { return mkdir(path.c_str(), 0700); };
  const auto make_fifo = [](const std::string& path) { return mkfifo(path.c_str(), 0600); };
  const std::vector<std::function<int(const std::string&)>> makers = {make_loop, make_folder,
                                                                      make_fifo};
  for (const auto& make : makers) {
    const TemporaryFolder folder;
    (void)folder.Write("a.json", kSession);
    (void)folder.Write("c.json", kSession);
    const std::string bad = folder.path() + "/b.json";
    ASSERT_EQ(make(bad), 0);
    const Result<TraceReadResult> refused = ReadTrace(folder.path(), {});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().code(), StatusCode::kIo);
    EXPECT_THAT(refused.status().message(), HasSubstr(bad + ": cannot "));
    const Result<TraceReadResult> skipped = ReadTrace(folder.path(), {.skip_bad_lines = true});
    ASSERT_TRUE(skipped.ok()) << skipped.status().ToString();
    EXPECT_EQ(skipped->trace.requests.size(), 8U);
    EXPECT_EQ(skipped->skipped_lines, 1U);
    EXPECT_THAT(skipped->first_skipped, HasSubstr(bad + ": cannot "));
    // Alone it is not one of many: there is nothing else to read.
    EXPECT_EQ(ReadTrace(bad, {.format = TraceFormat::kWeka, .skip_bad_lines = true}).ok(), false);
  }
}

TEST(WekaTest, RatesOutOfBoundsAreNamed) {
  for (const double rate : {0.0, -1.0, 1e12, std::nan("")}) {
    EXPECT_THAT(ReadTrace("/nonexistent", {.sessions_per_hour = rate}).status().message(),
                HasSubstr("--sessions-per-hour is"));
  }
}

}  // namespace
}  // namespace terrace::replay
