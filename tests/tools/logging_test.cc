#include "tools/terraced/logs/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

namespace terrace {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

class Logging : public testing::Test {
 protected:
  Logging() : path_("/tmp/terrace-logging-test-" + std::to_string(getpid()) + ".log") {
    std::remove(path_.c_str());
  }
  ~Logging() override {
    StopLogging();
    std::remove(path_.c_str());
  }
  void Start(LogLevel level, std::uint32_t limit = 10) {
    const Status status = StartLogging({.level = level, .file = path_, .rate_limit_per_s = limit});
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  // Everything logged; ends logging.
  std::string Text() {
    StopLogging();
    std::ifstream file(path_);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  const std::string path_;
};

std::ptrdiff_t Lines(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

TEST_F(Logging, ALineHasTimeLevelEventAndText) {
  Start(LogLevel::kInfo);
  Log(LogLevel::kInfo, "client_connected", "peer={} tenant={}", "10.0.0.1:5", "default");
  EXPECT_THAT(Text(), MatchesRegex("[0-9-]+T[0-9:]+\\.[0-9][0-9][0-9]Z info client_connected "
                                   "peer=10.0.0.1:5 tenant=default\n"));
}

TEST_F(Logging, LinesBelowTheLevelAreNotWritten) {
  Start(LogLevel::kWarning);
  Log(LogLevel::kInfo, "quiet", "x");
  Log(LogLevel::kWarning, "loud", "x");
  const std::string text = Text();
  EXPECT_THAT(text, Not(HasSubstr("quiet")));
  EXPECT_THAT(text, HasSubstr("warning loud x"));
}

TEST_F(Logging, AClientsNameCannotForgeALine) {
  Start(LogLevel::kInfo);
  Log(LogLevel::kInfo, "hello", "name={}", "evil\n2026-01-01T00:00:00.000Z error daemon_died\x1b");
  const std::string text = Text();
  EXPECT_EQ(Lines(text), 1) << text;
  EXPECT_THAT(text, HasSubstr("evil\\x0a2026"));
  EXPECT_THAT(text, HasSubstr("\\x1b"));
}

TEST_F(Logging, AHugeLineIsCut) {
  Start(LogLevel::kInfo);
  Log(LogLevel::kInfo, "huge", "{}", std::string(1 << 20, 'x'));
  const std::string text = Text();
  EXPECT_LT(text.size(), 4200U);
  EXPECT_THAT(text, HasSubstr("(cut)"));
}

TEST_F(Logging, AFileThatCannotBeOpenedIsNamed) {
  const Status status = StartLogging({.level = LogLevel::kInfo, .file = "/proc/no/such/log"});
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_THAT(status.message(), HasSubstr("/proc/no/such/log"));
}

TEST_F(Logging, AFloodFromOnePlaceIsLimitedAndCounted) {
  Start(LogLevel::kInfo, 5);
  const LogCounters before = CountLogLines();
  for (int line = 0; line < 1000; ++line) {
    TERRACE_LOG_LIMITED(LogLevel::kWarning, "peer_malformed", "line={}", line);
  }
  Log(LogLevel::kWarning, "elsewhere", "not limited");
  const std::string text = Text();
  // 5 lines, 5 more if the clock passed into the next second meanwhile, and the report.
  EXPECT_LE(Lines(text), 13) << text;
  EXPECT_THAT(text, HasSubstr("lines_suppressed event=peer_malformed lines="));
  EXPECT_THAT(text, HasSubstr("elsewhere"));
  const LogCounters after = CountLogLines();
  EXPECT_GE(after.suppressed - before.suppressed, 985U);
}

TEST_F(Logging, LinesOfManyThreadsAllArriveWhole) {
  Start(LogLevel::kInfo);
  constexpr int kThreads = 4;
  constexpr int kLinesEach = 200;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([thread] {
      for (int line = 0; line < kLinesEach; ++line) {
        Log(LogLevel::kInfo, "many", "thread={} line={} end", thread, line);
        TERRACE_LOG_LIMITED(LogLevel::kDebug, "unseen", "x");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = Text();
  EXPECT_EQ(Lines(text), kThreads * kLinesEach);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_THAT(line, testing::EndsWith(" end"));
}

TEST(LogSite, TheLimitHoldsPerSecondAndTheNextLineTellsWhatWasLost) {
  LogSite site("event");
  Nanos now = 7 * kSecond;
  for (int line = 0; line < 3; ++line) EXPECT_TRUE(site.Admit(now, 3).admitted);
  for (int line = 0; line < 4; ++line) EXPECT_FALSE(site.Admit(now, 3).admitted);
  EXPECT_EQ(site.TakeSuppressed(now), 0U);  // the second is not over
  now += kSecond;
  const LogSite::Verdict verdict = site.Admit(now, 3);
  EXPECT_TRUE(verdict.admitted);
  EXPECT_EQ(verdict.suppressed, 4U);
  EXPECT_EQ(site.Admit(now, 3).suppressed, 0U);
}

TEST(LogSite, WhatNoLaterLineTellsIsReportedOnce) {
  LogSite site("event");
  EXPECT_TRUE(site.Admit(0, 1).admitted);
  EXPECT_FALSE(site.Admit(0, 1).admitted);
  EXPECT_EQ(site.TakeSuppressed(kSecond), 1U);
  EXPECT_EQ(site.TakeSuppressed(2 * kSecond), 0U);
}

}  // namespace
}  // namespace terrace
