// The report must be complete and documented, and flat but for its two series: programs read it by
// its keys.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tools/replay/report/report.h"

namespace terrace::replay {
namespace {

using ::testing::HasSubstr;

/// A report of a run of nothing, and what it consists of.
class ReportTest : public ::testing::Test {
 protected:
  ReportTest() { parameters_.bytes_per_token = 128; }

  [[nodiscard]] ReportInput Input() const {
    return {.outcome = outcome_,
            .parameters = parameters_,
            .workers = workers_,
            .statistics = statistics_,
            .economics = economics_.value(),
            .savings = savings_,
            .simulated = simulated_,
            .before = before_,
            .after = after_,
            .restarts = restarts_,
            .simulated_policy = "leaf-lru",
            .hints = hints_,
            .trace = "a \xff trace",
            .skipped_lines = 3};
  }

  RunOutcome outcome_;
  RunParameters parameters_;
  CoordinatorOptions workers_;
  TraceStatistics statistics_;
  Result<Economics> economics_ = Economics::Find("llama-3-8b", "h100");
  SavedCompute savings_;
  SimulatedRun simulated_;
  DaemonView before_;
  DaemonView after_;
  RestartNotes restarts_;
  HintSetting hints_ = HintSetting::kNone;
};

/// `get_blocks_STATUS` stands for one key per status.
void AddDocumented(const std::string& key, std::set<std::string>& keys) {
  const std::size_t status = key.find("STATUS");
  if (status == std::string::npos) {
    keys.insert(key);
    return;
  }
  for (int code = 0; code < kStatusCodeCount; ++code) {
    keys.insert(key.substr(0, status) + std::string(StatusCodeName(static_cast<StatusCode>(code))));
  }
}

/// What stands between backquotes in the first column of the table of keys.
std::set<std::string> DocumentedKeys() {
  std::ifstream file(TERRACE_SOURCE_DIR "/docs/replay.md");
  std::set<std::string> keys;
  bool in_report = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) in_report = line == "## The report";
    if (!in_report || !line.starts_with("| `")) continue;
    std::istringstream cell(line.substr(0, line.find('|', 1)));
    bool quoted = false;
    for (std::string part; std::getline(cell, part, '`'); quoted = !quoted) {
      if (quoted) AddDocumented(part, keys);
    }
  }
  return keys;
}

TEST_F(ReportTest, EveryKeyIsFlatAndDocumentedAndNothingElseIsDocumented) {
  const auto json = nlohmann::ordered_json::parse(ReportJson(Input()), nullptr, false);
  ASSERT_TRUE(json.is_object());
  std::set<std::string> keys;
  EXPECT_EQ(json.items().begin().key(), "kind");
  for (const auto& [key, value] : json.items()) {
    EXPECT_TRUE(value.is_primitive() || key == "timeline" || key == "latency_us") << key;
    EXPECT_FALSE(value.is_null()) << key << ": not a number, infinite or absent";
    keys.insert(key);
  }
  EXPECT_EQ(keys, DocumentedKeys());
}

TEST_F(ReportTest, SeriesAreAtTheEndAndHoldWhatTheFlatKeysSum) {
  const auto empty = nlohmann::ordered_json::parse(ReportJson(Input()), nullptr, false);
  EXPECT_EQ(empty["timeline"], nlohmann::json::array());
  EXPECT_EQ(empty["latency_us"]["get"], nlohmann::json::array());
  WorkReport prefill;
  prefill.looked_up = 5;
  prefill.hits_dram = 2;
  prefill.hits_nvme = 1;
  prefill.bytes_put = 8192;
  outcome_.timeline.Add(25 * kMillisecond, prefill);
  outcome_.totals.get.Add(1'000'000);
  outcome_.totals.get.Add(1'000'000);
  outcome_.timing = RunTiming(Pace::kOpen);
  outcome_.timing.PrefillStarted({.request = 0, .due = 0}, kSecond);
  const auto json = nlohmann::ordered_json::parse(ReportJson(Input()), nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(std::prev(json.end(), 2).key(), "timeline");
  EXPECT_EQ(std::prev(json.end(), 1).key(), "latency_us");
  ASSERT_EQ(json["timeline"].size(), 3U);
  EXPECT_EQ(json["timeline"][1]["t_s"], json["timeline_interval_s"]);
  EXPECT_EQ(json["timeline"][2]["blocks_looked_up"], 5);
  EXPECT_EQ(json["timeline"][2]["hits_dram"], 2);
  EXPECT_EQ(json["timeline"][2]["hits_nvme"], 1);
  EXPECT_EQ(json["timeline"][2]["blocks_missed"], 2);
  EXPECT_EQ(json["timeline"][2]["bytes_put"], 8192);
  ASSERT_EQ(json["latency_us"]["get"].size(), 1U);
  EXPECT_EQ(json["latency_us"]["get"][0][1], 2);
  EXPECT_GE(json["latency_us"]["get"][0][0], 1000);
  EXPECT_LE(json["latency_us"]["get"][0][0], 1125);
  EXPECT_EQ(json["latency_us"]["queue"][0][1], 1);
}

TEST_F(ReportTest, PaceIsToldAsItWasAskedFor) {
  const auto json = [this] {
    return nlohmann::ordered_json::parse(ReportJson(Input()), nullptr, false);
  };
  EXPECT_EQ(json()["mode"], "as_fast_as_possible");
  EXPECT_EQ(json()["speed"], 0);
  EXPECT_THAT(ReportTable(Input()), ::testing::Not(HasSubstr("waited for a worker")));
  workers_.pace = {.pace = Pace::kOpen, .speed = 2.5};
  EXPECT_EQ(json()["mode"], "open");
  EXPECT_EQ(json()["speed"], 2.5);
  EXPECT_EQ(json()["think_time"], "");
  EXPECT_THAT(ReportTable(Input()), HasSubstr("open loop at 2.5 times the recorded speed"));
  workers_.pace = {.pace = Pace::kClosed, .speed = 1, .concurrency = 7};
  EXPECT_EQ(json()["mode"], "closed");
  EXPECT_EQ(json()["concurrency"], 7);
  EXPECT_EQ(json()["think_time"], "recorded");
  EXPECT_THAT(ReportTable(Input()), HasSubstr("closed loop, 7 sessions, recorded think time"));
  workers_.pace.think = 1500 * kMillisecond;
  EXPECT_EQ(json()["think_time"], "1.5");
  EXPECT_EQ(json()["speed"], 0);
  EXPECT_THAT(ReportTable(Input()), HasSubstr("1.5 s think time"));
}

TEST_F(ReportTest, ASimulationOfAnotherPolicyThanTheDaemonsIsNotSilent) {
  const auto json = [this] {
    return nlohmann::ordered_json::parse(ReportJson(Input()), nullptr, false);
  };
  EXPECT_EQ(json()["policy"], "");
  EXPECT_THAT(ReportTable(Input()), HasSubstr("eviction not told (unknown here, simulated as "));
  before_.policy = "leaf-lru";
  EXPECT_EQ(json()["policy"], "leaf-lru");
  EXPECT_THAT(ReportTable(Input()), HasSubstr("eviction leaf-lru; link"));
  before_.policy = "of-next-year";
  EXPECT_EQ(json()["policy"], "of-next-year");
  EXPECT_EQ(json()["simulated_policy"], "leaf-lru");
  EXPECT_THAT(ReportTable(Input()),
              HasSubstr("eviction of-next-year (unknown here, simulated as leaf-lru)"));
}

TEST_F(ReportTest, ARunWhoseRequestsToldLiesCannotPassForAnother) {
  const auto json = [this] {
    return nlohmann::ordered_json::parse(ReportJson(Input()), nullptr, false);
  };
  EXPECT_EQ(json()["hints"], "none");
  EXPECT_THAT(ReportTable(Input()), testing::Not(HasSubstr("hints")));
  hints_ = HintSetting::kInverted;
  EXPECT_EQ(json()["hints"], "inverted");
  EXPECT_THAT(ReportTable(Input()), HasSubstr("hints                    inverted\n"));
}

TEST_F(ReportTest, TableTellsTroubleOnlyWhenThereIsSome) {
  EXPECT_THAT(ReportTable(Input()), ::testing::Not(HasSubstr("FAILED")));
  outcome_.failure = "wrong bytes: key 00";
  outcome_.totals.calls_failed = 5;
  outcome_.totals.first_call_error = "peer_dead: gone";
  const std::string table = ReportTable(Input());
  EXPECT_THAT(table, HasSubstr("FAILED: wrong bytes: key 00"));
  EXPECT_THAT(table, HasSubstr("peer_dead: gone"));
}

TEST_F(ReportTest, CountersOfARestartedDaemonAreNotNegative) {
  EXPECT_EQ(CountedBetween(100, 130, restarts_), 30U);
  EXPECT_EQ(CountedBetween(100, 20, restarts_), 20U);
  restarts_.Add({.known = true, .uptime_s = 50, .policy = {}}, 60 * kSecond, 60 * kSecond);
  restarts_.Add({.known = true, .uptime_s = 60, .policy = {}}, 130 * kSecond, 130 * kSecond);
  EXPECT_EQ(CountedBetween(100, 200, restarts_), 200U);
}

TEST_F(ReportTest, TableShowsBothTiersAndWhatTheDeviceHadToWrite) {
  parameters_.block_bytes = 1 << 20;
  outcome_.totals.hits_dram = 12;
  outcome_.totals.hits_nvme = 34;
  simulated_.hits_nvme = 35;
  EXPECT_THAT(ReportTable(Input()), HasSubstr("NVMe none"));
  EXPECT_THAT(ReportTable(Input()), ::testing::Not(HasSubstr("written to the device")));
  before_.nvme_bytes = 1 << 30;
  before_.device_bytes_written = 5 << 20;
  after_ = before_;
  after_.device_bytes_written = 13 << 20;
  after_.nvme_blocks_put = 4;
  after_.nvme_blocks_reinserted = 2;
  const std::string table = ReportTable(Input());
  EXPECT_THAT(table, HasSubstr("NVMe 1 GiB"));
  EXPECT_THAT(table, HasSubstr("DRAM 12, NVMe 34 (simulated: 0, 35)"));
  EXPECT_THAT(table, HasSubstr("8 MiB for 4 MiB of blocks; 2 blocks written again"));
}

}  // namespace
}  // namespace terrace::replay
