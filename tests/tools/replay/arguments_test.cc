// Every wrong option must end with status 2 and a message that names it; no daemon is needed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

namespace {

using ::testing::HasSubstr;

struct Outcome {
  int status = -1;
  std::string output;  // standard output and error together
};

Outcome Replay(const std::string& arguments) {
  const std::string command = std::string(TERRACE_REPLAY) + " " + arguments + " 2>&1";
  Outcome outcome;
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> buffer{};
  while (const std::size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) {
    outcome.output.append(buffer.data(), got);
  }
  const int status = pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

struct Wrong {
  const char* name;
  const char* arguments;
  const char* message;
};

class WrongArgumentTest : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongArgumentTest, IsRefusedWithItsName) {
  const Outcome outcome = Replay(GetParam().arguments);
  EXPECT_EQ(outcome.status, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Replay, WrongArgumentTest,
    ::testing::Values(
        Wrong{"NoCommand", "", "subcommand is required"},
        Wrong{"UnknownCommand", "dance", "subcommand is required"},
        Wrong{"UnknownOption", "generate --colour red", "--colour"},
        Wrong{"NegativeRequests", "generate --requests -5", "--requests"},
        Wrong{"NoRequests", "generate --requests 0", "requests is 0"},
        Wrong{"TextForNumber", "generate --seed abc", "--seed"},
        Wrong{"UnknownKind", "generate --kind chat", "unknown kind of workload 'chat'"},
        Wrong{"UnwritableOutput", "generate --requests 1 --out /nonexistent/x",
              "cannot write /nonexistent/x"},
        Wrong{"ReportOfNothing", "report --html /tmp/x.html", "--json is required"},
        Wrong{"ReportOfNoFile", "report --json /nonexistent/r --html /tmp/x.html",
              "cannot read /nonexistent/r: No such file"},
        Wrong{"ReportOfADirectory", "report --json /tmp --html /tmp/x.html", "cannot read /tmp"},
        Wrong{"ReportOfNoJson", "report --json /proc/self/cmdline --html /tmp/x.html",
              "/proc/self/cmdline is no report of terrace-replay: it is not JSON"},
        Wrong{"ReportAtAFreePrice", "report --json a --html b --gpu-hour-price -1",
              "--gpu-hour-price"},
        Wrong{"CompareOfOne", "compare a.json", "b is required"},
        Wrong{"CompareOfNoReport", "compare /proc/sys/kernel/ostype /proc/sys/kernel/ostype",
              "/proc/sys/kernel/ostype is no report"},
        Wrong{"CompareOfANumber", "compare /proc/sys/kernel/pid_max /dev/null",
              "it is no JSON object"},
        Wrong{"NegativeDram", "plan --requests 10 --dram -5%", "--dram"},
        Wrong{"UnitlessNonsense", "plan --requests 10 --dram 5apples", "--dram"},
        Wrong{"TooManyBytesPerToken", "plan --requests 10 --bytes-per-token 200000",
              "bytes per token is 200000, must be from 8 to 131072"},
        Wrong{"TooFewBytesPerToken", "run --requests 10 --bytes-per-token 7",
              "bytes per token is 7"},
        Wrong{"UnknownFormat", "plan --trace x --format csv",
              "--format: unknown format 'csv'; there are mooncake, bailian, weka and auto"},
        Wrong{"MergingNothing", "plan --requests 10 --block-tokens 1024", "--block-tokens merges"},
        Wrong{"NegativeBlocks", "plan --trace x --block-tokens -4", "--block-tokens"},
        Wrong{"ConvertNothing", "convert --out x", "--trace is required"},
        Wrong{"ConvertToOther", "convert --trace x --to csv", "--to: cannot write 'csv'"},
        Wrong{"StatsOfADevice", "stats --trace /dev/zero",
              "/dev/zero: cannot read: it is a device"},
        Wrong{"LiveBlocksAndSessions", "generate --live-blocks 5% --sessions 4", "--live-blocks"},
        Wrong{"NonsenseLiveBlocks", "stats --requests 9 --live-blocks many",
              "--live-blocks: 'many' is neither a number"},
        Wrong{"RateTooHigh", "generate --requests 9 --rate 1e9", "rate is 1000000000"},
        Wrong{"NoSessionsPerHour", "stats --trace / --sessions-per-hour 0", "--sessions-per-hour"},
        Wrong{"MissingTrace", "run --trace /nonexistent/t", "/nonexistent/t: cannot open"},
        Wrong{"TraceAndGenerator", "plan --trace /dev/null --requests 4",
              "--trace excludes --requests"},
        Wrong{"TraceAndKind", "plan --trace x --kind agent", "--trace excludes --kind"},
        Wrong{"TraceAndSessions", "run --trace x --sessions 4", "--trace excludes --sessions"},
        Wrong{"TraceAndLiveBlocks", "simulate --trace x --live-blocks 5%",
              "--trace excludes --live-blocks"},
        Wrong{"TraceAndRate", "stats --trace x --rate 4", "--trace excludes --rate"},
        Wrong{"TraceAndThinkTime", "stats --trace x --think-time-scale 2",
              "--trace excludes --think-time-scale"},
        Wrong{"TraceAndContext", "stats --trace x --context 4096", "--trace excludes --context"},
        Wrong{"FormatOfNothing", "stats --requests 9 --format weka", "--format requires --trace"},
        Wrong{"SkippingOfNothing", "run --requests 9 --skip-bad-lines",
              "--skip-bad-lines requires --trace"},
        Wrong{"RateOfNoSessions", "plan --requests 9 --sessions-per-hour 4",
              "--sessions-per-hour requires --trace"},
        Wrong{"ThinkTimeBelowItsUnit", "generate --requests 9 --think-time-scale 0.0004",
              "think-time scale is 0.0004, must be 0 or from 0.001"},
        Wrong{"UnknownModel", "run --requests 10 --model gpt-9", "no figures for model 'gpt-9'"},
        Wrong{"UnknownGpu", "run --requests 10 --gpu abacus", "'abacus'"},
        Wrong{"UnknownHints", "run --requests 10 --hints honest",
              "--hints 'honest' is none of none, truthful"},
        Wrong{"UnknownHintsSimulated", "simulate --requests 10 --hints ,",
              "--hints ',' is none of"},
        Wrong{"NoDaemon", "run --requests 10 --connect 127.0.0.1:1", "no daemon at 127.0.0.1:1"},
        Wrong{"BadAddress", "run --requests 10 --connect nonsense", "nonsense"},
        Wrong{"ZeroBatch", "run --requests 10 --batch 0", "--batch"},
        Wrong{"NoWorkers", "run --requests 10 --prefill 0", "--prefill"},
        Wrong{"TooManyWorkers", "run --requests 10 --decode 65", "--decode"},
        Wrong{"NoSpeed", "run --requests 10 --speed 0", "--speed is 0, must be from 0.001"},
        Wrong{"NegativeSpeed", "run --requests 10 --speed -2", "--speed is -2"},
        Wrong{"SpeedThatIsNoNumber", "run --requests 10 --speed nan", "--speed is nan"},
        Wrong{"EndlessSpeed", "run --requests 10 --speed 1e300", "--speed is 1e+300"},
        Wrong{"TextForSpeed", "run --requests 10 --speed fast", "--speed"},
        Wrong{"TwoPaces", "run --requests 10 --speed 2 --as-fast-as-possible", "excludes"},
        Wrong{"LockstepInTime", "run --requests 10 --speed 2 --lockstep", "--lockstep"},
        Wrong{"LockstepInALoop", "run --requests 10 --closed-loop --concurrency 2 --lockstep",
              "--lockstep"},
        Wrong{"NoConcurrency", "run --requests 10 --closed-loop --concurrency 0",
              "needs --concurrency N"},
        Wrong{"ConcurrencyMissing", "run --requests 10 --closed-loop", "needs --concurrency N"},
        Wrong{"TooMuchConcurrency", "run --requests 10 --closed-loop --concurrency 99999999999",
              "--concurrency is 99999999999, must be from 1 to 1000000"},
        Wrong{"ConcurrencyOfNoLoop", "run --requests 10 --speed 2 --concurrency 2",
              "--concurrency is of a --closed-loop"},
        Wrong{"ThinkTimeOfNoLoop", "run --requests 10 --think-time none",
              "--think-time is of a --closed-loop"},
        Wrong{"NegativeThinkTime",
              "run --requests 10 --closed-loop --concurrency 2 --think-time -1",
              "--think-time is '-1'"},
        Wrong{"ThinkTimeThatIsNoNumber",
              "run --requests 10 --closed-loop --concurrency 2 --think-time nan",
              "--think-time is 'nan'"},
        Wrong{"ThinkTimeWithMore",
              "run --requests 10 --closed-loop --concurrency 2 --think-time 5s",
              "--think-time is '5s'"},
        Wrong{"SpeedOfAGivenThinkTime",
              "run --requests 10 --closed-loop --concurrency 2 --think-time 1 --speed 2",
              "--speed is of recorded think times"},
        Wrong{"NoReactors", "plan --requests 10 --reactors 0", "--reactors must be from 1 to 64"},
        Wrong{"UnwritableProgress", "run --requests 10 --progress-file /nonexistent/x",
              "--progress-file: cannot write /nonexistent/x"},
        Wrong{"UnknownPolicy", "simulate --requests 10 --policy belady", "no policy 'belady'"},
        Wrong{"EmptyPolicy", "simulate --requests 10 --policy lru,", "no policy ''"},
        Wrong{"ZeroCapacity", "simulate --requests 10 --capacity 0", "--capacity is 0 blocks"},
        Wrong{"ZeroShare", "simulate --requests 10 --capacity 0%", "--capacity"},
        Wrong{"CapacityAboveTheTrace", "simulate --requests 10 --capacity 99999999",
              "--capacity 99999999 is more than the"},
        Wrong{"CapacityOfNonsense", "simulate --requests 10 --capacity 5x", "'5x' is neither"},
        Wrong{"NegativeCapacity", "simulate --requests 10 --capacity -5", "--capacity"},
        Wrong{"HugeCapacity", "simulate --requests 10 --capacity 99999999999999999999",
              "neither a whole number"},
        Wrong{"SimulatedUnknownModel", "simulate --requests 10 --model gpt-9", "'gpt-9'"},
        Wrong{"NvmeWithoutDram", "simulate --requests 10 --nvme 20%", "--nvme needs --dram"},
        Wrong{"OptimumHasNoTiers", "simulate --requests 10 --policy optimal --dram 5%", "optimal"},
        Wrong{"NoPath", "simulate --requests 10 --load-gb-per-s 0", "--load-gb-per-s"},
        Wrong{"PathNotANumber", "simulate --requests 10 --load-gb-per-s nan", "--load-gb-per-s"},
        Wrong{"PriceBelowZero", "simulate --requests 10 --gpu-hour-price -1", "--gpu-hour-price"},
        Wrong{"UnwritableHtml", "simulate --requests 10 --html /nonexistent/x",
              "--html: cannot write /nonexistent/x"},
        Wrong{"UnwritableJson", "simulate --requests 10 --json /nonexistent/x",
              "--json: cannot write /nonexistent/x"},
        Wrong{"UnwritableReport", "run --requests 10 --out /proc/nonexistent", "--out"}),
    [](const auto& parameter) { return parameter.param.name; });

TEST(ReplayProgramTest, HelpAndGenerateAndPlanWorkWithoutADaemon) {
  EXPECT_EQ(Replay("--help").status, 0);
  EXPECT_EQ(Replay("run --help").status, 0);
  const Outcome generated = Replay("generate --requests 3 --seed 5");
  EXPECT_EQ(generated.status, 0);
  EXPECT_THAT(generated.output, HasSubstr("\"hash_ids\": ["));
  EXPECT_THAT(generated.output, HasSubstr("requests              3"));
  const Outcome stats = Replay("stats --requests 50 --json");
  EXPECT_EQ(stats.status, 0);
  EXPECT_THAT(stats.output, HasSubstr("\"live_context\": {"));
  const Outcome plan = Replay("plan --requests 100 --dram 5% --nvme 1GiB");
  EXPECT_EQ(plan.status, 0);
  EXPECT_THAT(plan.output, HasSubstr("\"dram_bytes\": "));
  EXPECT_THAT(plan.output, HasSubstr("\"nvme_bytes\": 1073741824"));
}

TEST(ReplayProgramTest, OptionsOfWekaSessionsAreRefusedForOtherTracesAndTheSeedIsNot) {
  const std::string file = ::testing::TempDir() + "/arguments_test.s." + std::to_string(getpid());
  ASSERT_EQ(Replay("generate --requests 20 --out " + file).status, 0);
  const Outcome refused = Replay("stats --trace " + file + " --sessions-per-hour 4");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.output, HasSubstr("--sessions-per-hour is of WEKA sessions, but " + file +
                                        " was read as mooncake"));
  EXPECT_EQ(Replay("stats --trace " + file + " --seed 4").status, 0);
  std::ofstream(file) << R"({"requests": [{"t": 0, "in": 64, "out": 1, "hash_ids": [1]}]})";
  EXPECT_EQ(Replay("stats --trace " + file + " --sessions-per-hour 4 --seed 4").status, 0);
  std::remove(file.c_str());
}

TEST(ReplayProgramTest, ConvertedTraceIsTheSameWorkload) {
  // What generate tells of sessions and what convert makes of it must be the same bytes.
  const std::string file = ::testing::TempDir() + "/arguments_test." + std::to_string(getpid());
  ASSERT_EQ(Replay("generate --requests 200 --seed 6 --out " + file).status, 0);
  const std::string same = " 2>/dev/null | cmp -s - " + file;
  EXPECT_EQ(Replay("convert --trace " + file + same).status, 0);
  EXPECT_EQ(Replay("convert --trace " + file + " --block-tokens 512" + same).status, 0);
  const Outcome merged =
      Replay("convert --trace " + file + " --block-tokens 2048 --out " + file + ".merged && " +
             TERRACE_REPLAY + " plan --trace " + file + ".merged");
  EXPECT_EQ(merged.status, 0);
  EXPECT_THAT(merged.output, HasSubstr("\"block_tokens\": 2048"));
  std::remove(file.c_str());
  std::remove((file + ".merged").c_str());
}

TEST(ReplayProgramTest, NoOutputOverwritesWhatIsReadOrAnotherOutput) {
  const std::string folder = ::testing::TempDir() + "/overwrite_test." + std::to_string(getpid());
  std::filesystem::create_directory(folder);
  const std::string trace = folder + "/trace";
  const std::string report = folder + "/report";
  ASSERT_EQ(Replay("generate --requests 50 --out " + trace).status, 0);
  ASSERT_EQ(Replay("simulate --quiet --trace " + trace + " --json " + report).status, 0);
  const auto text = [](const std::string& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string trace_before = text(trace);
  const std::string report_before = text(report);
  // Another name of the same file.
  const std::string also = folder + "/../" + std::filesystem::path(folder).filename().string();
  const std::string link = folder + "/link";
  std::filesystem::create_hard_link(report, link);
  const std::pair<const char*, std::string> names[] = {
      {"TRACE", trace}, {"REPORT", report}, {"LINK", link}, {"ALSO", also}, {"FOLDER", folder}};
  const auto filled = [&names](std::string pattern) {
    for (const auto& [name, path] : names) {
      const std::string_view word(name);
      for (std::size_t at = 0; (at = pattern.find(word, at)) != std::string::npos;) {
        pattern.replace(at, word.size(), path);
        at += path.size();
      }
    }
    return pattern;
  };
  const std::pair<const char*, const char*> cases[] = {
      {"report --json REPORT --html LINK", "--html: LINK is the file of --json"},
      {"compare REPORT /dev/null --html REPORT", "is the file of A"},
      {"compare /dev/null REPORT --html LINK", "is the file of B"},
      {"convert --trace TRACE --out ALSO/trace", "is the file of --trace"},
      {"simulate --trace TRACE --json TRACE", "is the file of --trace"},
      {"simulate --trace TRACE --html TRACE", "--html: TRACE"},
      {"simulate --trace TRACE --json FOLDER/new --html ALSO/new", "is the file of --json"},
      {"run --trace TRACE --progress-file TRACE", "--progress-file: TRACE"}};
  for (const auto& [pattern, expected] : cases) {
    const std::string arguments = filled(pattern);
    const std::string message = filled(expected);
    const Outcome outcome = Replay(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments << "\n" << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(message)) << arguments;
    EXPECT_EQ(text(trace), trace_before) << arguments;
    EXPECT_EQ(text(report), report_before) << arguments;
  }
  EXPECT_EQ(
      Replay("simulate --quiet --trace " + trace + " --json /dev/null --html /dev/null").status, 0)
      << "a device holds nothing that could be lost";
  std::filesystem::remove_all(folder);
}

}  // namespace
