// Broken traces must be refused with file, line and reason, and good ones read completely.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"
#include "tools/replay/trace/trace_statistics.h"

namespace terrace::replay {
namespace {

using ::testing::HasSubstr;

constexpr const char* kGood =
    R"({"timestamp": 5, "input_length": 600, "output_length": 7, "hash_ids": [1, 2]})";

/// A file that is removed at the end of the test.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    path_ = std::filesystem::temp_directory_path() /
            ("replay_trace_test." + std::to_string(getpid()) + "." + std::to_string(next_++));
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] std::string path() const { return path_; }

 private:
  static inline int next_ = 0;
  std::filesystem::path path_;
};

struct BadLine {
  const char* name;
  std::string line;
  const char* reason;
};

class BadLineTest : public ::testing::TestWithParam<BadLine> {};

TEST_P(BadLineTest, IsRefusedWithFileLineAndReason) {
  const TemporaryFile file(std::string(kGood) + "\n" + GetParam().line + "\n" + kGood + "\n");
  const Result<TraceReadResult> result = ReadTrace(file.path(), {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.code(), StatusCode::kInvalid);
  EXPECT_THAT(result.status().message(), HasSubstr(file.path() + ":2: "));
  EXPECT_THAT(result.status().message(), HasSubstr(GetParam().reason));
}

TEST_P(BadLineTest, IsCountedWhenBadLinesAreSkipped) {
  const TemporaryFile file(std::string(kGood) + "\n" + GetParam().line + "\n" + kGood + "\n");
  const Result<TraceReadResult> result = ReadTrace(file.path(), {.skip_bad_lines = true});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->skipped_lines, 1U);
  EXPECT_EQ(result->trace.requests.size(), 2U);
  EXPECT_THAT(result->first_skipped, HasSubstr(GetParam().reason));
}

std::string Line(const std::string& time, const std::string& input, const std::string& output,
                 const std::string& ids) {
  return "{\"timestamp\": " + time + ", \"input_length\": " + input +
         ", \"output_length\": " + output + ", \"hash_ids\": " + ids + "}";
}

/// The good line with one field more.
std::string GoodBut(const std::string& field, const std::string& value) {
  return std::string(kGood, std::string(kGood).size() - 1) + ", \"" + field + "\": " + value + "}";
}

INSTANTIATE_TEST_SUITE_P(
    Trace, BadLineTest,
    ::testing::Values(
        BadLine{"Empty", "", "the line is empty"}, BadLine{"Blank", " \t ", "the line is empty"},
        BadLine{"Truncated", R"({"timestamp": 5, "input_le)", "not valid JSON"},
        BadLine{"Garbage", "\x01\xff\xfe garbage", "not valid JSON"},
        BadLine{"NotAnObject", "[1, 2]", "not a JSON object"},
        BadLine{"DeepNesting", std::string(100'000, '['), "the JSON is nested deeper than 64"},
        BadLine{"NoTimestamp", R"({"input_length": 1, "output_length": 1, "hash_ids": [1]})",
                "field timestamp is missing"},
        BadLine{"NoInput", R"({"timestamp": 5, "output_length": 1, "hash_ids": [1]})",
                "field input_length is missing"},
        BadLine{"NoOutput", R"({"timestamp": 5, "input_length": 1, "hash_ids": [1]})",
                "field output_length is missing"},
        BadLine{"NoIds", R"({"timestamp": 5, "input_length": 1, "output_length": 1})",
                "field hash_ids is missing"},
        BadLine{"NegativeTime", Line("-1", "1", "1", "[1]"), "timestamp is negative: -1"},
        BadLine{"NegativeInput", Line("5", "-600", "1", "[1]"), "input_length is negative: -600"},
        BadLine{"ZeroInput", Line("5", "0", "1", "[]"), "input_length is 0, must be from 1 to"},
        BadLine{"HugeInput", Line("5", "99999999999", "1", "[1]"),
                "input_length is 99999999999, must be from 1 to 33554432"},
        BadLine{"HugerInput", Line("5", "1e400", "1", "[1]"), "not valid JSON"},
        BadLine{"BeyondInteger", Line("5", "99999999999999999999999", "1", "[1]"),
                "not a whole number"},
        BadLine{"FractionalInput", Line("5", "1.5", "1", "[1]"), "not a whole number"},
        BadLine{"TextInput", Line("5", "\"600\"", "1", "[1, 2]"), "input_length is not a number"},
        BadLine{"HugeOutput", Line("5", "1", "99999999999", "[1]"), "output_length is"},
        BadLine{"HugeTime", Line("9999999999999999", "1", "1", "[1]"), "timestamp is"},
        BadLine{"NegativeId", Line("5", "600", "1", "[1, -2]"), "hash_ids[1] is negative: -2"},
        BadLine{"TextId", Line("5", "600", "1", "[1, \"x\"]"), "hash_ids[1] is not a number"},
        BadLine{"IdsNoArray", Line("5", "600", "1", "17"), "hash_ids is not an array"},
        BadLine{"TooFewIds", Line("5", "1025", "1", "[1, 2]"),
                "hash_ids has 2 ids, but input_length 1025 makes 3 blocks"},
        BadLine{"TooManyIds", Line("5", "512", "1", "[1, 2]"), "makes 1 blocks"},
        BadLine{"HugeSession", GoodBut("session", "4294967295"), "session is 4294967295"},
        BadLine{"TextSession", GoodBut("session", "\"a\""), "session is not a number"},
        BadLine{"HugeTurn", GoodBut("turn", "50000001"), "turn is 50000001"},
        BadLine{"NumberForCategory", GoodBut("category", "7"), "category is not a text: 7"},
        BadLine{"LongCategory", GoodBut("category", "\"" + std::string(65, 'x') + "\""),
                "category has 65 bytes, must have 1 to 64"},
        BadLine{"OtherBlocks", GoodBut("block_tokens", "64"),
                "block_tokens is 64, but the lines before have 512"},
        BadLine{"NoBlocks", GoodBut("block_tokens", "0"), "block_tokens is 0, must be from 1"},
        BadLine{"TimeGoesBack", Line("4", "1", "1", "[1]"),
                "timestamp 4 is before the previous request's 5"}),
    [](const auto& parameter) { return parameter.param.name; });

TEST(TraceTest, OverlongLineIsRefusedBeforeItIsParsed) {
  const TemporaryFile file("{\"x\": \"" + std::string(5 << 20, 'a') + "\"}\n");
  const Result<TraceReadResult> result = ReadTrace(file.path(), {});
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.status().message(), HasSubstr(":1: the line is longer than 4 MiB"));
}

TEST(TraceTest, DeepNestingIsRefusedAndDoesNotOverflowTheStack) {
  constexpr std::size_t kLevels = 1 << 20;
  Trace trace;
  const Status status = ParseTraceLine(
      "{\"timestamp\": " + std::string(kLevels, '[') + std::string(kLevels, ']') + "}", trace);
  EXPECT_THAT(status.message(), HasSubstr("the JSON is nested deeper than 64"));
}

TEST(TraceTest, MissingFileAndEmptyFileAndDirectoryAreClearErrors) {
  EXPECT_THAT(ReadTrace("/nonexistent/trace", {}).status().message(),
              HasSubstr("/nonexistent/trace: cannot open: No such file"));
  EXPECT_THAT(ReadTrace("/", {.format = TraceFormat::kMooncake}).status().message(),
              HasSubstr("/: cannot read: Is a directory"));
  const TemporaryFile empty("");
  EXPECT_THAT(ReadTrace(empty.path(), {}).status().message(), HasSubstr("no request in 0 lines"));
  const TemporaryFile bad("x\n");
  EXPECT_THAT(ReadTrace(bad.path(), {.skip_bad_lines = true}).status().message(),
              HasSubstr("no request in 1 lines; first: "));
}

TEST(TraceTest, LineEndsAndUnknownFieldsAndMissingLastNewlineAreFine) {
  const TemporaryFile file(
      std::string(kGood) + "\r\n" +
      R"({"extra": null, "timestamp": 5, "input_length": 512, "output_length": 0, )" +
      R"("hash_ids": [9]})");
  const Result<TraceReadResult> result = ReadTrace(file.path(), {});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  ASSERT_EQ(result->trace.requests.size(), 2U);
  EXPECT_EQ(result->trace.requests[1].input_tokens, 512U);
  EXPECT_EQ(result->trace.BlocksOf(1)[0], 9U);
}

TEST(TraceTest, LimitStopsBeforeLaterLinesAreLookedAt) {
  const TemporaryFile file(std::string(kGood) + "\nbroken\n");
  const Result<TraceReadResult> result = ReadTrace(file.path(), {.limit = 1});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->trace.requests.size(), 1U);
}

TEST(TraceTest, WrittenLinesReadBackTheSame) {
  Trace trace;
  ASSERT_TRUE(trace.Append(3, 1025, 17, std::vector<std::uint64_t>{7, 8, ~0ULL}).ok());
  std::ostringstream out;
  WriteTraceLine(out, trace, 0);
  EXPECT_EQ(out.str(),
            "{\"timestamp\": 3, \"input_length\": 1025, \"output_length\": 17, "
            "\"hash_ids\": [7, 8, 18446744073709551615]}\n");
  Trace again;
  ASSERT_TRUE(ParseTraceLine(out.str(), again).ok());
  EXPECT_EQ(again.hash_ids, trace.hash_ids);
}

TEST(TraceTest, BlockSizeSessionsAndCategoriesSurviveBeingWritten) {
  const TemporaryFile file(
      R"({"timestamp":1,"input_length":65,"output_length":1,"hash_ids":[5,6],"block_tokens":64,)"
      R"("session":900,"turn":7,"category":"a \"b\""})"
      "\n"
      R"({"timestamp":2,"input_length":64,"output_length":1,"hash_ids":[5],"block_tokens":64})"
      "\n"
      R"({"timestamp":2,"input_length":1,"output_length":1,"hash_ids":[8],"block_tokens":64,)"
      R"("session":900,"category":"c"})"
      "\n");
  const Result<TraceReadResult> first = ReadTrace(file.path(), {});
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  const Trace& trace = first->trace;
  EXPECT_EQ(trace.block_tokens, 64U);
  EXPECT_EQ(trace.sessions, 1U);  // 900 is a name; numbers are dense, whatever a file says
  EXPECT_EQ(trace.requests[1].session, kNoSession);
  EXPECT_EQ(trace.requests[2].turn, 1U);
  EXPECT_EQ(trace.categories[trace.requests[1].category], kUnnamedCategory);
  EXPECT_EQ(trace.categories[trace.requests[2].category], "c");
  std::ostringstream out;
  for (std::size_t request = 0; request < 3; ++request) WriteTraceLine(out, trace, request);
  const TemporaryFile written(out.str());
  const Result<TraceReadResult> second = ReadTrace(written.path(), {});
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  std::ostringstream again;
  for (std::size_t request = 0; request < 3; ++request) {
    WriteTraceLine(again, second->trace, request);
  }
  EXPECT_EQ(again.str(), out.str());
  EXPECT_EQ(second->trace.categories[0], "a \"b\"");
}

TEST(TraceTest, FirstRequestsWithoutACategoryDoNotGetThatOfLaterOnes) {
  Trace trace;
  const std::string good = kGood;
  ASSERT_TRUE(ParseTraceLine(good, trace).ok());
  ASSERT_TRUE(ParseTraceLine(GoodBut("category", "\"late\""), trace).ok());
  EXPECT_EQ(trace.categories[trace.requests[0].category], kUnnamedCategory);
  EXPECT_EQ(trace.categories[trace.requests[1].category], "late");
}

TEST(TraceTest, KeysDependOnTheWholePrefix) {
  const BlockKey root = RootKey(1);
  EXPECT_NE(root, RootKey(2));
  EXPECT_NE(NextKey(NextKey(root, 1), 3), NextKey(NextKey(root, 2), 3));
  EXPECT_EQ(NextKey(NextKey(root, 1), 3), NextKey(NextKey(RootKey(1), 1), 3));
  EXPECT_EQ(ToHex(root).size(), 64U);
}

/// The development traces lie beside the project, not in it.
std::string ConversationTrace() {
  const char* folder = std::getenv("TERRACE_TRACES");
  const std::string base = folder != nullptr ? folder : TERRACE_SOURCE_DIR "/../shared/traces";
  const std::string path = base + "/mooncake_conversation.jsonl";
  return std::filesystem::exists(path) ? path : "";
}

TEST(TraceTest, ConversationTraceHasThePublishedFigures) {
  const std::string path = ConversationTrace();
  if (path.empty()) {
    GTEST_SKIP() << "no mooncake_conversation.jsonl in $TERRACE_TRACES or ../shared/traces";
  }
  const Result<TraceReadResult> result = ReadTrace(path, {});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const TraceStatistics statistics = CollectStatistics(result->trace, NumberBlocks(result->trace));
  EXPECT_EQ(statistics.requests, 12'031U);
  EXPECT_EQ(statistics.tokens_input, 144'793'823U);
  EXPECT_EQ(statistics.tokens_output, 4'122'048U);
  EXPECT_EQ(statistics.block_references, 288'500U);
  EXPECT_EQ(statistics.distinct_blocks, 182'790U);
  EXPECT_NEAR(statistics.InfiniteBlockHitRatio(), 0.3664, 0.00005);
  EXPECT_NEAR(statistics.InfiniteTokenHitRatio(), 0.3736, 0.00005);
  EXPECT_EQ(result->format, TraceFormat::kMooncake);
}

}  // namespace
}  // namespace terrace::replay
