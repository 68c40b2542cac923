// Any file a benchmarker brings must be read as what it is, or refused with the place of the error;
// no file may crash the program, hang it or fill the memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/tools/replay/trace_files.h"
#include "tools/replay/trace/formats.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<std::uint64_t>;

constexpr const char* kMooncakeLine =
    R"({"timestamp": 5, "input_length": 600, "output_length": 7, "hash_ids": [1, 2]})";

std::string ErrorOf(const std::string& path, const TraceReadOptions& options = {}) {
  const Result<TraceReadResult> result = ReadTrace(path, options);
  return result.ok() ? "no error" : result.status().message();
}

std::string Chat(const std::string& chat, const std::string& parent, const std::string& time,
                 const std::string& input, const std::string& ids,
                 const std::string& type = "\"text\"") {
  return "{\"chat_id\": " + chat + ", \"parent_chat_id\": " + parent + ", \"timestamp\": " + time +
         ", \"input_length\": " + input + ", \"output_length\": 9, \"type\": " + type +
         ", \"turn\": 1, \"hash_ids\": " + ids + "}\n";
}

TEST(DetectFormatTest, FieldsTellAndNotTheNameOfTheFile) {
  const std::string chat = Chat("1", "-1", "0", "16", "[1]");
  EXPECT_EQ(DetectFormat(chat), TraceFormat::kBailian);
  EXPECT_EQ(DetectFormat("broken {\n\n[1]\n" + chat), TraceFormat::kBailian);
  EXPECT_EQ(DetectFormat(kMooncakeLine), TraceFormat::kMooncake);
  EXPECT_EQ(DetectFormat(R"({"id":"a","models":["requests"],"requests":[{"t":0)"),
            TraceFormat::kWeka);
  EXPECT_EQ(DetectFormat("{\n  \"id\": \"a\",\n  \"block_size\": 64,\n  \"requests\": ["),
            TraceFormat::kWeka);
  // A value that looks like a name, a name that is escaped, a nested one: none of them tells.
  EXPECT_EQ(
      DetectFormat(R"({"a": "chat_id", "x": {"chat_id": 1}, "chat_id\"": 1, "hash_ids": []})"),
      TraceFormat::kMooncake);
  // The order of fields says nothing.
  EXPECT_EQ(DetectFormat(R"({"hash_ids": [1], "input_length": 16, "requests": 1, "chat_id": 4})"),
            TraceFormat::kBailian);
  EXPECT_EQ(DetectFormat(R"({"input_length": 16, "hash_ids": [1], "requests": [{"t": 0)"),
            TraceFormat::kWeka);
  EXPECT_EQ(DetectFormat(""), TraceFormat::kMooncake);
  EXPECT_EQ(DetectFormat("{\"a\\"), TraceFormat::kMooncake);
  EXPECT_EQ(DetectFormat(std::string(60'000, '{')), TraceFormat::kMooncake);
}

TEST(BailianTest, ChildContinuesTheSessionOfItsParentWhateverTheOrderOfTheLines) {
  const TemporaryFolder folder;
  const std::string path =
      folder.Write("t.jsonl", Chat("3", "1", "62.5004", "40", "[1, 2, 3]", "\"search\"") +
                                  Chat("1", "-1", "61.114", "33", "[1, 2, 4]") +
                                  Chat("7", "55", "62.5004", "16", "[9]", "\"file\"") +
                                  Chat("4", "3", "100", "64", "[1, 2, 3, 4]"));
  const Result<TraceReadResult> result = ReadTrace(path, {});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const Trace& trace = result->trace;
  EXPECT_EQ(result->format, TraceFormat::kBailian);
  EXPECT_EQ(trace.block_tokens, 16U);
  EXPECT_EQ(trace.sessions, 2U);
  EXPECT_THAT(trace.categories, ElementsAre("search", "text", "file"));
  ASSERT_EQ(trace.requests.size(), 4U);
  std::vector<std::uint64_t> times;
  std::vector<std::uint32_t> sessions;
  std::vector<std::uint32_t> turns;
  for (const TraceRequest& request : trace.requests) {
    times.push_back(request.timestamp_ms);
    sessions.push_back(request.session);
    turns.push_back(request.turn);
  }
  EXPECT_THAT(times, ElementsAre(61'114, 62'500, 62'500, 100'000));
  EXPECT_THAT(sessions, ElementsAre(0, 0, 1, 0));
  EXPECT_THAT(turns, ElementsAre(0, 1, 0, 2));
  EXPECT_THAT(trace.BlocksOf(0), ElementsAre(1, 2, 4));
  EXPECT_THAT(trace.BlocksOf(2), ElementsAre(9));
  ASSERT_EQ(result->notes.size(), 1U);
  EXPECT_THAT(result->notes[0], HasSubstr("1 requests name a parent that is not before them"));
}

TEST(BailianTest, RestWithoutAnIdIsSharedWithNobody) {
  const TemporaryFolder folder;
  const std::string path = folder.Write(
      "t.jsonl", Chat("1", "-1", "0", "40", "[1, 2]") + Chat("2", "-1", "1", "40", "[1, 2]"));
  const Result<TraceReadResult> result = ReadTrace(path, {});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->trace.requests[0].block_count, 3U);
  EXPECT_NE(result->trace.BlocksOf(0)[2], result->trace.BlocksOf(1)[2]);
}

struct BadChat {
  const char* name;
  std::string line;
  const char* reason;
};
class BadChatTest : public ::testing::TestWithParam<BadChat> {};

TEST_P(BadChatTest, IsRefusedWithFileLineAndReasonAndCanBeSkipped) {
  const TemporaryFolder folder;
  const std::string path =
      folder.Write("t.jsonl", Chat("77", "-1", "5.5", "16", "[1]") + GetParam().line + "\n" +
                                  Chat("78", "-1", "5.5", "16", "[1]"));
  EXPECT_THAT(ErrorOf(path), HasSubstr(path + ":2: "));
  EXPECT_THAT(ErrorOf(path), HasSubstr(GetParam().reason));
  const Result<TraceReadResult> skipped = ReadTrace(path, {.skip_bad_lines = true});
  ASSERT_TRUE(skipped.ok());
  EXPECT_EQ(skipped->trace.requests.size(), 2U);
  EXPECT_EQ(skipped->skipped_lines, 1U);
  EXPECT_THAT(skipped->first_skipped, HasSubstr(GetParam().reason));
}

std::string ChatLine(const std::string& chat, const std::string& parent, const std::string& time,
                     const std::string& input, const std::string& ids,
                     const std::string& type = "\"text\"") {
  std::string line = Chat(chat, parent, time, input, ids, type);
  line.pop_back();
  return line;
}

INSTANTIATE_TEST_SUITE_P(
    Bailian, BadChatTest,
    ::testing::Values(
        BadChat{"Blank", "  ", "the line is empty"},
        BadChat{"Garbage", "\x01\xff", "not valid JSON"},
        BadChat{"Deep", std::string(1 << 20, '['), "the JSON is nested deeper than 64"},
        BadChat{"Twice", ChatLine("77", "-1", "9", "16", "[1]"), "chat_id is 77, as in line 1"},
        BadChat{"Overlong", std::string(5 << 20, ' '), "the line is longer than 4 MiB"},
        BadChat{"NoChat", R"({"parent_chat_id": -1})", "field chat_id is missing"},
        BadChat{"NegativeChat", ChatLine("-1", "-1", "0", "16", "[1]"), "chat_id is negative"},
        BadChat{"Parent", ChatLine("1", "-2", "0", "16", "[1]"), "parent_chat_id is negative: -2"},
        BadChat{"TextParent", ChatLine("1", "\"a\"", "0", "16", "[1]"), "parent_chat_id is not a"},
        BadChat{"NegativeTime", ChatLine("1", "-1", "-0.5", "16", "[1]"),
                "timestamp is -0.5, must be from 0 to"},
        BadChat{"HugeTime", ChatLine("1", "-1", "1e300", "16", "[1]"), "timestamp is 1e+300"},
        BadChat{"InfiniteTime", ChatLine("1", "-1", "1e400", "16", "[1]"), "not valid JSON"},
        BadChat{"NotANumber", ChatLine("1", "-1", "NaN", "16", "[1]"), "not valid JSON"},
        BadChat{"TextTime", ChatLine("1", "-1", "\"0\"", "16", "[1]"), "timestamp is not a number"},
        BadChat{"ZeroInput", ChatLine("1", "-1", "0", "0", "[]"), "input_length is 0"},
        BadChat{"LongInput", ChatLine("1", "-1", "0", "1048577", "[]"),
                "input_length is 1048577, must be from 1 to 1048576"},
        BadChat{"NumberForType", ChatLine("1", "-1", "0", "16", "[1]", "4"), "type is not a text"},
        BadChat{"EmptyType", ChatLine("1", "-1", "0", "16", "[1]", "\"\""), "type has 0 bytes"},
        BadChat{"NegativeId", ChatLine("1", "-1", "0", "16", "[-3]"), "hash_ids[0] is negative"},
        BadChat{"TooFewIds", ChatLine("1", "-1", "0", "48", "[1, 2]"),
                "hash_ids has 2 ids, but input_length 48 makes 3 blocks of 16 tokens"},
        BadChat{"TooManyIds", ChatLine("1", "-1", "0", "17", "[1, 2, 3]"), "makes 2 blocks"}),
    [](const auto& parameter) { return parameter.param.name; });

TEST(BailianTest, LimitTakesTheFirstRequestsByTimeAndNotTheFirstLines) {
  const TemporaryFolder folder;
  // The child and an orphan come first in the file, the parent in time.
  const std::string path = folder.Write("t.jsonl", Chat("9", "55", "90", "16", "[9]") +
                                                       Chat("3", "1", "60", "32", "[1, 3]") +
                                                       Chat("1", "-1", "20", "16", "[1]"));
  const Result<TraceReadResult> result = ReadTrace(path, {.limit = 2});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const Trace& trace = result->trace;
  ASSERT_EQ(trace.requests.size(), 2U);
  EXPECT_EQ(trace.requests[0].timestamp_ms, 20'000U);
  EXPECT_EQ(trace.requests[1].timestamp_ms, 60'000U);
  EXPECT_EQ(trace.sessions, 1U);
  EXPECT_THAT(trace.hash_ids, ElementsAre(1, 1, 3));
  EXPECT_THAT(result->notes, ::testing::IsEmpty());  // the orphan is none of them
}

TEST(BadFileTest, NestingIsCountedOutsideTextsAndSixtyFourLevelsAreRead) {
  const auto line = [](const std::string& extra) {
    return R"({"timestamp": 5, "input_length": 6, "output_length": 7, "hash_ids": [1], "x": )" +
           extra + "}";
  };
  const std::string brackets(70, '[');
  Trace trace;
  EXPECT_TRUE(ParseTraceLine(line("\"\\\"" + brackets + "\\\\\""), trace).ok());
  EXPECT_TRUE(ParseTraceLine(line(std::string(63, '[') + std::string(63, ']')), trace).ok());
  EXPECT_THAT(ParseTraceLine(line(std::string(64, '[') + std::string(64, ']')), trace).message(),
              HasSubstr("the JSON is nested deeper than 64"));
  std::string flat = "[";
  for (int count = 0; count < 100; ++count) flat += "[],";
  EXPECT_TRUE(ParseTraceLine(line(flat + "0]"), trace).ok());
}

TEST(BailianTest, LongPromptsFitWhenBlocksAreMerged) {
  const TemporaryFolder folder;
  std::string ids = "[0";
  for (int id = 1; id < (2 << 20) / 16; ++id) ids += "," + std::to_string(id);
  const std::string path =
      folder.Write("t.jsonl", Chat("1", "-1", "0", std::to_string(2 << 20), ids + "]"));
  EXPECT_THAT(ErrorOf(path), HasSubstr("input_length is 2097152"));
  const Result<TraceReadResult> merged = ReadTrace(path, {.block_tokens = 512});
  ASSERT_TRUE(merged.ok()) << merged.status().ToString();
  EXPECT_EQ(merged->trace.requests[0].block_count, 4096U);
  EXPECT_EQ(merged->trace.block_tokens, 512U);
}

TEST(BadFileTest, MergingToASizeThatDoesNotFitEndsWithTheSizes) {
  const TemporaryFolder folder;
  const std::string path = folder.Write("t.jsonl", kMooncakeLine);
  EXPECT_THAT(ErrorOf(path, {.block_tokens = 768}),
              HasSubstr(":1: --block-tokens is 768, must be a multiple of the trace's 512"));
}

TEST(BadFileTest, DevicesFifosAndFoldersNeitherHangNorPass) {
  const TemporaryFolder folder;
  EXPECT_THAT(ErrorOf("/dev/zero"), HasSubstr("/dev/zero: cannot read: it is a device"));
  const std::string fifo = folder.path() + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(ErrorOf(fifo), HasSubstr(": cannot read: a FIFO that nobody writes to"));
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("no session file (*.json) in this folder"));
  EXPECT_THAT(ErrorOf(folder.path(), {.format = TraceFormat::kBailian}),
              HasSubstr("cannot read: Is a directory"));
  ASSERT_EQ(mkfifo((folder.path() + "/a.json").c_str(), 0600), 0);
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("a.json: cannot read: a FIFO that nobody"));
}

TEST(BadFileTest, WriterOfAFifoThatComesLaterIsWaitedFor) {
  const TemporaryFolder folder;
  const std::string fifo = folder.path() + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  std::thread writer([&fifo] {
    std::ofstream out(fifo);
    for (int line = 0; line < 5000; ++line) out << kMooncakeLine << '\n';
  });
  const Result<TraceReadResult> result = ReadTrace(fifo, {});
  writer.join();
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->trace.requests.size(), 5000U);
}

TEST(BadFileTest, LinesAroundTheLimitAndAcrossChunksAreWhole) {
  const TemporaryFolder folder;
  const std::string fits(100'000, 'a');
  const std::string path = folder.Write("t", fits + "\n" + fits + "b\n\nlast");
  Result<InputFile> file = InputFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->NextLine(fits.size())->text, fits);
  const Result<InputFile::Line> second = file->NextLine(fits.size());
  EXPECT_TRUE(second->too_long);
  EXPECT_EQ(second->number, 2U);
  EXPECT_EQ(file->NextLine(fits.size())->text, "");
  EXPECT_EQ(file->NextLine(fits.size())->text, "last");
  const Result<InputFile::Line> end = file->NextLine(fits.size());
  EXPECT_TRUE(end->end);
  EXPECT_EQ(end->number, 4U);
  Result<InputFile> again = InputFile::Open(path);
  ASSERT_TRUE(again.ok());
  EXPECT_THAT(again->Rest(1 << 10).status().message(), HasSubstr("the file is longer than"));
}

TEST(BadFileTest, UnknownFormatIsNamedWithThoseThatAreKnown) {
  EXPECT_THAT(ParseTraceFormat("csv").status().message(),
              HasSubstr("'csv'; there are mooncake, bailian, weka and auto"));
  for (const char* name : {"auto", "mooncake", "bailian", "weka"}) {
    EXPECT_EQ(TraceFormatName(*ParseTraceFormat(name)), name);
  }
}

}  // namespace
}  // namespace terrace::replay
