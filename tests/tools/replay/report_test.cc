// The report must be flat, complete and documented: programs read it by its keys.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
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
  const auto json = nlohmann::json::parse(ReportJson(Input()), nullptr, false);
  ASSERT_TRUE(json.is_object());
  std::set<std::string> keys;
  for (const auto& [key, value] : json.items()) {
    EXPECT_TRUE(value.is_primitive()) << key;
    EXPECT_FALSE(value.is_null()) << key << ": not a number, infinite or absent";
    keys.insert(key);
  }
  EXPECT_EQ(keys, DocumentedKeys());
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
