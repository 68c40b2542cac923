// compare must warn before anybody compares apples with pears, must not call noise a change, and
// must not mix up better and worse.
#include "tools/replay/page/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "tests/tools/replay/markup_checker.h"
#include "tools/replay/page/compare_views.h"

namespace terrace::replay {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Document ARun() {
  return {{"kind", "run"},
          {"requests", 100},
          {"blocks_looked_up", 1000},
          {"trace", "t.jsonl"},
          {"requests_in_trace", 100},
          {"model", "llama-3-8b"},
          {"dram_bytes", 1 << 20},
          {"nvme_bytes", 0},
          {"block_bytes", 65'536},
          {"lockstep", false},
          {"block_hit_ratio", 0.40},
          {"token_hit_ratio", 0.40},
          {"gpu_seconds_saved", 100.0},
          {"wrong_bytes", 0},
          {"device_bytes_written", 1'000'000},
          {"get_us_p50", 500.0},
          {"get_us_p99", 900.0},
          {"duration_s", 10.0},
          {"bytes_got", 5'000'000}};
}

Document ASimulation() {
  const auto point = [](const char* policy, int blocks, double hits) {
    return Document{{"policy", policy},
                    {"capacity_blocks", blocks},
                    {"capacity_share", blocks / 1000.0},
                    {"block_hit_ratio", hits},
                    {"gb_written", 3.0}};
  };
  return {{"kind", "simulate"},
          {"trace", "t.jsonl"},
          {"results", {point("lru", 10, 0.2), point("sieve", 10, 0.3), point("lru", 100, 0.4)}}};
}

const ComparedFigure* Find(const Comparison& comparison, const std::string& name) {
  for (const ComparedGroup& group : comparison.groups) {
    for (const ComparedFigure& figure : group.figures) {
      if (figure.name == name) return &figure;
    }
  }
  return nullptr;
}

const ComparedFigure* Find(Comparison&& gone_before_its_figures, const std::string& name) = delete;

Verdict VerdictAfter(const char* key, const Document& value, const char* name) {
  Document changed = ARun();
  changed[key] = value;
  const Comparison comparison = Compare(ARun(), changed);
  const ComparedFigure* figure = Find(comparison, name);
  return figure == nullptr ? Verdict::kOnlyOne : figure->verdict;
}

TEST(CompareTest, TwoEqualReportsAreTheSame) {
  for (const Document& document : {ARun(), ASimulation()}) {
    const Comparison comparison = Compare(document, document);
    EXPECT_THAT(comparison.warnings, IsEmpty());
    EXPECT_THAT(comparison.settings, IsEmpty());
    EXPECT_GT(comparison.Count(Verdict::kSame), 0U);
    for (const Verdict verdict : {Verdict::kBetter, Verdict::kWorse, Verdict::kDiffers}) {
      EXPECT_EQ(comparison.Count(verdict), 0U) << VerdictName(verdict);
    }
  }
}

TEST(CompareTest, NoiseIsNoChangeAndMoreThanNoiseIs) {
  EXPECT_EQ(VerdictAfter("block_hit_ratio", 0.4049, "blocks hit"), Verdict::kSame);
  EXPECT_EQ(VerdictAfter("block_hit_ratio", 0.4051, "blocks hit"), Verdict::kBetter);
  EXPECT_EQ(VerdictAfter("block_hit_ratio", 0.39, "blocks hit"), Verdict::kWorse);
  EXPECT_EQ(VerdictAfter("get_us_p50", 540.0, "get, median"), Verdict::kSame);
  EXPECT_EQ(VerdictAfter("get_us_p50", 600.0, "get, median"), Verdict::kWorse);
  EXPECT_EQ(VerdictAfter("get_us_p99", 1100.0, "get, 99 %"), Verdict::kSame);
  EXPECT_EQ(VerdictAfter("get_us_p99", 450.0, "get, 99 %"), Verdict::kBetter);
  EXPECT_EQ(VerdictAfter("device_bytes_written", 900'000, "written to devices"), Verdict::kBetter);
  EXPECT_EQ(VerdictAfter("gpu_seconds_saved", 90.0, "GPU-seconds saved"), Verdict::kWorse);
  EXPECT_EQ(VerdictAfter("bytes_got", 9'000'000, "got"), Verdict::kDiffers);
}

TEST(CompareTest, OneWrongByteIsNeverNoise) {
  EXPECT_EQ(VerdictAfter("wrong_bytes", 1, "wrong bytes"), Verdict::kWorse);
  Document wrong = ARun();
  wrong["wrong_bytes"] = 1;
  EXPECT_THAT(Compare(ARun(), wrong).warnings,
              Contains(HasSubstr("B has wrong bytes: its figures mean nothing")));
  EXPECT_THAT(Compare(wrong, ARun()).warnings, Contains(HasSubstr("A has wrong bytes")));
}

TEST(CompareTest, ApplesAndPearsAreWarnedOf) {
  for (const auto& [key, other] : {std::pair<const char*, Document>{"trace", "u.jsonl"},
                                   {"requests_in_trace", 7},
                                   {"model", "llama-3-70b"},
                                   {"dram_bytes", 2 << 20},
                                   {"nvme_bytes", 1 << 30},
                                   {"block_bytes", 4096},
                                   {"lockstep", true}}) {
    Document changed = ARun();
    changed[key] = other;
    const Comparison comparison = Compare(ARun(), changed);
    EXPECT_THAT(comparison.warnings, Contains(HasSubstr(std::string(key) + " differs"))) << key;
    ASSERT_EQ(comparison.settings.size(), 1U) << key;
    EXPECT_EQ(comparison.settings[0].key, key);
  }
  Document stopped = ARun();
  stopped["interrupted"] = true;
  EXPECT_THAT(Compare(ARun(), stopped).warnings, Contains(HasSubstr("B was interrupted")));
}

TEST(CompareTest, ASettingOfThirteenDigitsIsNotRoundedAway) {
  Document changed = ARun();
  changed["nvme_bytes"] = 1'000'000'000'001;
  Document other = ARun();
  other["nvme_bytes"] = 1'000'000'000'002;
  EXPECT_EQ(Compare(changed, other).settings.size(), 1U);
}

TEST(CompareTest, AFigureThatOnlyOneHasIsNoVerdict) {
  Document older = ARun();
  older.erase("get_us_p50");
  const ComparedFigure* figure = nullptr;
  const Comparison comparison = Compare(older, ARun());
  figure = Find(comparison, "get, median");
  ASSERT_NE(figure, nullptr);
  EXPECT_EQ(figure->verdict, Verdict::kOnlyOne);
}

TEST(CompareTest, SimulationsAreComparedByPolicyAndCapacity) {
  Document changed = ASimulation();
  changed["results"][2]["block_hit_ratio"] = 0.4002;
  changed["results"][1]["policy"] = "fifo";
  const Comparison comparison = Compare(ASimulation(), changed);
  EXPECT_EQ(comparison.Count(Verdict::kBetter), 1U) << "0.02 points: simulations are exact";
  EXPECT_EQ(comparison.Count(Verdict::kWorse), 0U);
  EXPECT_THAT(comparison.warnings,
              Contains(HasSubstr("1 result only in A and 1 result only in B")));
  EXPECT_EQ(comparison.groups.size(), 2U) << "two capacities";
}

Document Tiers(const char* policy, int dram, int nvme, double hits) {
  return {{"policy", policy},        {"dram_blocks", dram},      {"nvme_blocks", nvme},
          {"reactors", 1},           {"hits_dram", 5},           {"hits_nvme", 7},
          {"block_hit_ratio", hits}, {"gpu_seconds_saved", 9.0}, {"gb_written", 1.0}};
}

/// A simulation of tiers alone.
Document ATierStudy(int dram, int nvme, double hits) {
  return {{"kind", "simulate"},
          {"trace", "t.jsonl"},
          {"results", Document::array()},
          {"tiers", {Tiers("lru", dram, nvme, hits), Tiers("sieve", dram, nvme, hits)}}};
}

TEST(CompareTest, TiersOfOtherSizesAreNotTheSame) {
  const Comparison same = Compare(ATierStudy(50, 240, 0.3), ATierStudy(50, 240, 0.3));
  EXPECT_THAT(same.warnings, IsEmpty());
  EXPECT_EQ(same.Count(Verdict::kSame), 10U);
  const Comparison other = Compare(ATierStudy(50, 240, 0.3), ATierStudy(60, 480, 0.4));
  EXPECT_THAT(other.warnings, Contains(HasSubstr("dram_blocks differs (50 and 60)")));
  EXPECT_THAT(other.warnings, Contains(HasSubstr("nvme_blocks differs (240 and 480)")));
  EXPECT_EQ(other.settings.size(), 2U) << "once, not for each policy";
  const ComparedFigure* figure = Find(other, "sieve: blocks hit");
  ASSERT_NE(figure, nullptr);
  EXPECT_EQ(figure->verdict, Verdict::kBetter);
}

TEST(CompareTest, TiersOfOneVersionBeforeAreAnObjectNotAList) {
  Document old = ATierStudy(50, 240, 0.3);
  old["tiers"] = Document(old["tiers"][0]);
  old["tiers"].erase("policy");
  const Comparison same = Compare(old, old);
  EXPECT_NE(Find(same, "blocks hit"), nullptr);
}

TEST(CompareTest, NothingInCommonIsToldNotCalledTheSame) {
  Document other = ATierStudy(50, 240, 0.3);
  for (Document& tiers : other["tiers"]) tiers["policy"] = "clock";
  EXPECT_THAT(Compare(ATierStudy(50, 240, 0.3), other).warnings,
              Contains(HasSubstr("nothing could be compared")));
  EXPECT_THAT(Compare(ASimulation(), other).warnings,
              Contains(HasSubstr("nothing could be compared")));
}

TEST(CompareTest, SilenceAboutTheWorkloadIsWarnedOf) {
  for (const char* key : {"trace", "requests_in_trace"}) {
    Document silent = ARun();
    silent.erase(key);
    EXPECT_THAT(Compare(ARun(), silent).warnings,
                Contains(HasSubstr(std::string(key) + " is only in A")));
    EXPECT_THAT(Compare(silent, ARun()).warnings,
                Contains(HasSubstr(std::string(key) + " is only in B")));
  }
  Document simulation = ASimulation();
  EXPECT_THAT(Compare(ARun(), simulation).warnings,
              Contains(HasSubstr("requests_in_trace is only in A")));
  simulation["requests"] = 90;
  EXPECT_THAT(Compare(ARun(), simulation).warnings,
              Contains(HasSubstr("requests_in_trace and requests differ (100 and 90)")));
}

TEST(CompareTest, ThePolicyOfTheDaemonAndWhatItWasToldAreSettings) {
  Document a = ARun();
  Document b = ARun();
  a["policy"] = "lru";
  b["policy"] = "sieve";
  a["hints"] = "truthful";
  b["hints"] = "random";
  const Comparison comparison = Compare(a, b);
  ASSERT_EQ(comparison.settings.size(), 2U);
  EXPECT_EQ(comparison.settings[0].key, "policy");
  EXPECT_EQ(comparison.settings[1].key, "hints");
}

TEST(CompareTest, ACapacityFarAwayHasNoVerdict) {
  // 16 blocks, and 10 or 100.
  const Comparison comparison = Compare(ARun(), ASimulation());
  EXPECT_THAT(comparison.warnings, Contains(HasSubstr("no verdicts")));
  const ComparedFigure* figure = Find(comparison, "lru: blocks hit");
  ASSERT_NE(figure, nullptr);
  EXPECT_EQ(figure->verdict, Verdict::kNone);
  EXPECT_EQ(comparison.Count(Verdict::kWorse), 0U);
}

TEST(CompareTest, ARunIsComparedWithTheTiersOfItsOwnPolicy) {
  Document run = ARun();
  run["policy"] = "sieve";
  Document simulation = ASimulation();
  simulation["tiers"] = {Tiers("lru", 16, 0, 0.1), Tiers("sieve", 16, 0, 0.5)};
  const Comparison comparison = Compare(run, simulation);
  EXPECT_THAT(comparison.warnings, Not(Contains(HasSubstr("no verdicts"))));
  EXPECT_EQ(Find(comparison, "lru: blocks hit"), nullptr);
  const ComparedFigure* figure = Find(comparison, "sieve: blocks hit");
  ASSERT_NE(figure, nullptr);
  EXPECT_EQ(figure->b, 0.5);
  EXPECT_EQ(figure->verdict, Verdict::kBetter);
}

TEST(CompareTest, ARunIsComparedWithTheNearestCapacity) {
  Document run = ARun();
  run["dram_bytes"] = 10 * 65'536;
  for (const bool run_first : {true, false}) {
    const Comparison comparison =
        run_first ? Compare(run, ASimulation()) : Compare(ASimulation(), run);
    EXPECT_THAT(comparison.warnings, Contains(HasSubstr("a run and a simulation")));
    ASSERT_EQ(comparison.groups.size(), 1U);
    const ComparedFigure* figure = Find(comparison, "lru: blocks hit");
    ASSERT_NE(figure, nullptr);
    EXPECT_EQ(run_first ? figure->b : figure->a, 0.2) << "of 10 blocks, not of 100";
    EXPECT_EQ(figure->verdict, run_first ? Verdict::kWorse : Verdict::kBetter);
  }
}

TEST(CompareTest, EveryViewHoldsHostileTextAndOddNumbers) {
  Document odd = ARun();
  odd["trace"] = "\x1b[2J<script>\xff";
  odd["block_hit_ratio"] = 1e300;
  odd["get_us_p50"] = std::numeric_limits<double>::quiet_NaN();
  odd["duration_s"] = -1;
  Document odd_simulation = ASimulation();
  odd_simulation["results"][0]["policy"] = "\x1b<b>";
  odd_simulation["results"][0]["block_hit_ratio"] = -1e300;
  for (const Document& a : {ARun(), odd, ASimulation(), odd_simulation}) {
    for (const Document& b : {ARun(), odd, ASimulation(), odd_simulation}) {
      const Comparison comparison = Compare(a, b);
      EXPECT_EQ(MarkupError(ComparePage(comparison, "<a>", "b\"")), "");
      EXPECT_EQ(CompareText(comparison, "a\x1b", "b").find('\x1b'), std::string::npos);
      const std::string json =
          CompareJson(comparison, "a", "b").dump(0, ' ', false, Document::error_handler_t::replace);
      EXPECT_FALSE(Document::parse(json, nullptr, false).is_discarded());
    }
  }
}

TEST(CompareTest, TheRuleOfTheVerdictStandsBesideIt) {
  const std::string text = CompareText(Compare(ARun(), ARun()), "a.json", "b.json");
  EXPECT_THAT(text, HasSubstr("0.5 points"));
  EXPECT_THAT(text, HasSubstr("The settings are the same."));
  const Document json = CompareJson(Compare(ARun(), ARun()), "a.json", "b.json");
  EXPECT_EQ(json["figures"][0]["verdict"], "same");
  EXPECT_EQ(json["better"], 0);
}

}  // namespace
}  // namespace terrace::replay
