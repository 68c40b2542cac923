// report.html must be well-formed and complete in itself whatever the document holds, must not let
// a stranger's text become markup, and must not let a failed run look like a good one.
#include "tools/replay/page/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/tools/replay/markup_checker.h"
#include "tools/replay/page/chart_scale.h"
#include "tools/replay/page/markup.h"

namespace terrace::replay {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr const char* kHostile = "</title><script>alert('x')</script>\"'&\x01\xff\xc3 ]]>";

Document Point(const std::string& policy, double share, double hits) {
  return {{"policy", policy},
          {"capacity_blocks", std::round(share * 10'000)},
          {"capacity_share", share},
          {"capacity_gb", share * 671},
          {"block_hit_ratio", hits},
          {"token_hit_ratio", hits * 0.98},
          {"flop_hit_ratio", hits * 0.9},
          {"blocks_written", 9000},
          {"gb_written", 604.0},
          {"gpu_seconds_saved", hits * 4000},
          {"gb_written_per_gpu_second_saved", 0.5},
          {"ttft_ms_mean_without", 800.0},
          {"ttft_ms_mean_with", 500.0},
          {"ttft_ms_p50_with", 200.0},
          {"ttft_ms_p99_with", 4000.0},
          {"references_per_second", 2e6}};
}

Document ASimulation() {
  Document document = {{"kind", "simulate"},
                       {"trace", "t.jsonl"},
                       {"requests", 500},
                       {"block_references", 20'000},
                       {"distinct_blocks", 10'000},
                       {"infinite_block_hit_ratio", 0.5},
                       {"infinite_token_hit_ratio", 0.49},
                       {"model", "llama-3-8b"},
                       {"gpu", "h100"},
                       {"gpus", 1},
                       {"gpu_seconds_total", 4000.0}};
  document["results"] = Document::array();
  for (const double share : {0.01, 0.1, 0.5}) {
    document["results"].push_back(Point("lru", share, share * 0.8));
    document["results"].push_back(Point("optimal", share, share * 0.9));
  }
  return document;
}

Document ARun() {
  Document document = {{"requests", 100},
                       {"blocks_looked_up", 1000},
                       {"block_hit_ratio", 0.4},
                       {"hits_dram", 300},
                       {"hits_nvme", 100},
                       {"bytes_got", 65'536'000},
                       {"bytes_verified", 65'536'000},
                       {"wrong_bytes", 0},
                       {"wrong_blocks", 0},
                       {"gpu_seconds_total", 7200.0},
                       {"gpu_seconds_saved", 3600.0},
                       {"device_bytes_written", 2e9},
                       {"scale", 1000.0},
                       {"get_us_p50", 500.0},
                       {"get_us_p99", 900.0},
                       {"failure", ""},
                       {"trace", "t.jsonl"}};
  document["timeline"] = Document::array();
  for (int at = 0; at < 50; ++at) {
    document["timeline"].push_back({{"t_s", at * 0.1},
                                    {"hits_dram", 6},
                                    {"hits_nvme", 2},
                                    {"blocks_missed", 12},
                                    {"bytes_got", 1'000'000},
                                    {"bytes_put", 500'000}});
  }
  document["latency_us"] = {{"get", {{400.0, 10}, {500.0, 40}, {900.0, 1}}},
                            {"put", {{300.0, 5}, {310.0, 4}}}};
  return document;
}

std::size_t Occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(MarkupCheckerTest, FindsWhatIsWrong) {
  EXPECT_EQ(MarkupError("<!DOCTYPE html><a><b c=\"1\"/>x &amp; y</a>"), "");
  for (const char* wrong : {"<a>", "</a>", "<a><b></a></b>", "<a>&</a>", "<a>&nbsp;</a>",
                            "<a b=c></a>", "<a b=\"1\" b=\"2\"></a>", "<a b=\"<\"></a>",
                            "<a x=\"nan\"></a>", "<a>\x01</a>", "text", "<a>1 < 2</a>"}) {
    EXPECT_NE(MarkupError(wrong), "") << wrong;
  }
}

TEST(HtmlReportTest, NeedsNothingButItself) {
  for (const Document& document : {ASimulation(), ARun()}) {
    const std::string page = HtmlReport(document);
    EXPECT_EQ(MarkupError(page), "");
    for (const char* loads : {"src=", "href=", "url(", "@import", "https:", "fetch("}) {
      EXPECT_THAT(page, Not(HasSubstr(loads)));
    }
    // The name space of SVG is a name, not an address that is visited.
    EXPECT_EQ(Occurrences(page, "http:"), Occurrences(page, "http://www.w3.org/2000/svg"));
    EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  }
}

TEST(HtmlReportTest, TextOfStrangersNeverBecomesMarkup) {
  Document simulation = ASimulation();
  Document run = ARun();
  for (Document* document : {&simulation, &run}) {
    for (const char* key : {"trace", "model", "gpu", "format", "failure", "first_call_error"}) {
      (*document)[key] = kHostile;
    }
    (*document)[kHostile] = kHostile;
    (*document)["calls_failed"] = 1;
  }
  for (Document& result : simulation["results"]) {
    result["policy"] = kHostile + std::to_string(result["capacity_blocks"].get<double>());
  }
  for (const Document& document : {simulation, run}) {
    const std::string page = HtmlReport(document);
    EXPECT_EQ(MarkupError(page), "");
    EXPECT_EQ(Occurrences(page, "<script>"), 1U) << "the page's own";
    EXPECT_EQ(Occurrences(page, "]]>"), 1U) << "the end of the script";
    EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
  }
}

TEST(HtmlReportTest, ReportsOfOlderVersionsAreDrawnWithWhatTheyHave) {
  const Document run = {{"requests", 1}, {"blocks_looked_up", 2}, {"block_hit_ratio", 0.5}};
  EXPECT_EQ(MarkupError(HtmlReport(run)), "");
  EXPECT_THAT(HtmlReport(run), HasSubstr("50.00"));
  const Document simulation = {
      {"results", {{{"policy", "lru"}, {"capacity_blocks", 10}, {"block_hit_ratio", 0.25}}}}};
  EXPECT_EQ(MarkupError(HtmlReport(simulation)), "");
  EXPECT_THAT(HtmlReport(simulation), HasSubstr("25.00"));
}

TEST(HtmlReportTest, EveryKeyMayBeMissingOrOfAnotherType) {
  for (const Document& whole : {ASimulation(), ARun()}) {
    for (const auto& [key, value] : whole.items()) {
      for (const Document& other :
           {Document(), Document("text"), Document(-5), Document(1e300), Document(true),
            Document::array(), Document::object(), Document({1, "two", Document::array()})}) {
        Document document = whole;
        document[key] = other;
        EXPECT_EQ(MarkupError(HtmlReport(document)), "") << key << ": " << other.dump();
      }
      Document document = whole;
      document.erase(key);
      EXPECT_EQ(MarkupError(HtmlReport(document)), "") << "without " << key;
    }
  }
}

TEST(HtmlReportTest, NumbersThatAreNoneAndNumbersThatAreHugeAreDrawn) {
  for (const double odd : {kNan, kInfinity, -kInfinity, -1.0, 0.0, 1e308, -1e308, 5e-324}) {
    Document simulation = ASimulation();
    const Document point = Point("lru", 0.1, 0.1);
    for (const auto& [key, value] : point.items()) {
      if (!value.is_number()) continue;
      simulation["results"][2][key] = odd;
      EXPECT_EQ(MarkupError(HtmlReport(simulation)), "") << key << " " << odd;
    }
    for (Document& result : simulation["results"]) {
      for (auto& [key, value] : result.items()) {
        if (value.is_number() && key != "capacity_blocks") value = odd;
      }
    }
    EXPECT_EQ(MarkupError(HtmlReport(simulation)), "") << "all " << odd;
    Document run = ARun();
    for (auto& [key, value] : run.items()) {
      if (value.is_number() && key != "blocks_looked_up") value = odd;
    }
    run["requests"] = 1;
    run["block_hit_ratio"] = 0;
    for (Document& interval : run["timeline"]) interval["hits_dram"] = odd;
    run["latency_us"]["get"] = {{odd, 5}, {100.0, odd}, {200.0, 1}};
    EXPECT_EQ(MarkupError(HtmlReport(run)), "") << odd;
  }
}

TEST(HtmlReportTest, OneResultZeroHitsAndThousandsOfResultsAreDrawn) {
  Document simulation = ASimulation();
  simulation["results"] = Document::array({Point("lru", 0.1, 0)});
  std::string page = HtmlReport(simulation);
  EXPECT_EQ(MarkupError(page), "");
  EXPECT_THAT(page, HasSubstr("lru"));

  simulation["results"] = Document::array();
  page = HtmlReport(simulation);
  EXPECT_EQ(MarkupError(page), "");
  EXPECT_THAT(page, HasSubstr("has no results"));

  for (int at = 1; at <= 3000; ++at) {
    simulation["results"].push_back(
        Point("policy" + std::to_string(at % 40), at / 3000.0, at / 6000.0));
  }
  page = HtmlReport(simulation);
  EXPECT_EQ(MarkupError(page), "");
  EXPECT_THAT(page, HasSubstr("policy39"));
}

TEST(HtmlReportTest, NoPriceInWritesIsADashNotTheBestPrice) {
  Document document = ASimulation();
  EXPECT_THAT(HtmlReport(document), Not(HasSubstr("–</td>")));
  for (Document& result : document["results"]) {
    result["gb_written_per_gpu_second_saved"] = nullptr;
    result["gpu_seconds_saved"] = 0;
  }
  const std::string page = HtmlReport(document);
  EXPECT_EQ(MarkupError(page), "");
  EXPECT_THAT(page, HasSubstr("–</td>"));
}

TEST(HtmlReportTest, ASimulationOfAnotherPolicyIsNotBlamedOnTheDaemon) {
  Document run = ARun();
  run["policy"] = "lru";
  run["simulated_policy"] = "lru";
  EXPECT_THAT(HtmlReport(run), HasSubstr("the daemon does not do what it should"));
  run["policy"] = "of-next-year";
  EXPECT_THAT(HtmlReport(run), HasSubstr("did not know the daemon"));
  EXPECT_THAT(HtmlReport(run), Not(HasSubstr("the daemon does not do what it should")));
}

TEST(HtmlReportTest, LongTimelinesAreMergedAndLoseNothing) {
  Document run = ARun();
  run["timeline"] = Document::array();
  for (int at = 0; at < 100'000; ++at) {
    run["timeline"].push_back({{"t_s", at * 1.0}, {"hits_dram", 1}, {"blocks_missed", 1}});
  }
  run["duration_s"] = 100'000;
  const std::string page = HtmlReport(run);
  EXPECT_EQ(MarkupError(page), "");
  EXPECT_LT(page.size(), 600'000U);
  EXPECT_THAT(page, HasSubstr("DRAM 417\n")) << "240 intervals of 417 s";
}

TEST(HtmlReportTest, AFailedRunCannotBeOverlooked) {
  EXPECT_THAT(HtmlReport(ARun()), HasSubstr("Not one was wrong"));
  EXPECT_THAT(HtmlReport(ARun()), Not(HasSubstr("role=\"alert\"")));
  Document wrong = ARun();
  wrong["wrong_bytes"] = 512;
  wrong["wrong_blocks"] = 1;
  Document failed = ARun();
  failed["failure"] = "a worker died";
  Document killed = ARun();
  killed["worker_errors"] = 1;
  for (const Document& document : {wrong, failed, killed}) {
    const std::string page = HtmlReport(document);
    EXPECT_THAT(page, HasSubstr("role=\"alert\""));
    EXPECT_THAT(page, HasSubstr("do not use these figures"));
    EXPECT_THAT(page, Not(HasSubstr("Not one was wrong")));
    EXPECT_LT(page.find("role=\"alert\""), page.find("class=\"headlines\"")) << "at the top";
  }
  EXPECT_THAT(HtmlReport(wrong), HasSubstr("512 wrong bytes in 1 block"));
  EXPECT_THAT(HtmlReport(failed), HasSubstr("a worker died"));
}

TEST(HtmlReportTest, MoneyFollowsThePricesAndTheModelsRealSize) {
  // 3600 GPU-seconds are an hour; 2e9 bytes at a scale of 1000 are 2 TB.
  EXPECT_THAT(HtmlReport(ARun()), HasSubstr("$2.00 of GPUs, less $0.11 of flash"));
  EXPECT_THAT(HtmlReport(ARun(), 10), HasSubstr("$10.00 of GPUs"));
  EXPECT_THAT(HtmlReport(ARun(), 10),
              HasSubstr("$10.00 a GPU-hour and $0.055 a TB written to flash (assumptions)"));
}

TEST(HtmlReportTest, TheBestPolicyIsNotTheOptimum) {
  const std::string page = HtmlReport(ASimulation());
  EXPECT_THAT(page, HasSubstr("lru hits 8.00\xc2\xa0% of the blocks, 1.00 points below"));
}

TEST(HtmlReportTest, AnotherKindOfDocumentBecomesAPageThatSaysSo) {
  for (const Document& document :
       {Document(), Document::array(), Document({{"kind", "simulate"}}),
        Document({{"kind", kHostile}}), Document({{"requests", "many"}})}) {
    const std::string page = HtmlReport(document);
    EXPECT_EQ(MarkupError(page), "");
    EXPECT_THAT(page, HasSubstr("This is no report of terrace-replay"));
  }
}

TEST(MarkupTest, FiguresReadLikeFigures) {
  EXPECT_EQ(CountText(1234567), "1,234,567");
  EXPECT_EQ(CountText(-1000),
            "\xe2\x88\x92"
            "1,000");
  EXPECT_EQ(CountText(-0.2), "0");
  EXPECT_EQ(PercentText(0.38251), "38.25\xc2\xa0%");
  EXPECT_EQ(PointsText(0.001), "0.00");
  EXPECT_EQ(PointsText(1.3), "+1.30");
  EXPECT_EQ(BytesText(999),
            "999\xc2\xa0"
            "B");
  EXPECT_EQ(BytesText(999'600), "1.00\xc2\xa0MB");
  EXPECT_EQ(BytesText(31'400'000'000), "31.4\xc2\xa0GB");
  EXPECT_EQ(SecondsText(0.0005), "500\xc2\xa0µs");
  EXPECT_EQ(SecondsText(0.9999), "1.00\xc2\xa0s");
  EXPECT_EQ(SecondsText(7200), "2.00\xc2\xa0h");
  EXPECT_EQ(DollarsText(1234.4), "$1,234");
  EXPECT_EQ(DollarsText(0.0034), "$0.0034");
  EXPECT_EQ(WithoutZeros("2.50 s"), "2.5 s");
  EXPECT_EQ(WithoutZeros("20.0 TB"), "20 TB");
  EXPECT_EQ(WithoutZeros("100 s"), "100 s");
  for (const auto& text : {CountText(kNan), PercentText(kInfinity), BytesText(kNan),
                           SecondsText(-kInfinity), DollarsText(kNan), FigureText(kNan)}) {
    EXPECT_EQ(text, "\xe2\x80\x93");
  }
}

TEST(MarkupTest, OnlyWholeUtf8PassesTheEscape) {
  EXPECT_EQ(Escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(Escape("µ \xe2\x82\xac \xf0\x9f\x98\x80"), "µ \xe2\x82\xac \xf0\x9f\x98\x80");
  const std::string unknown = "\xef\xbf\xbd";
  EXPECT_EQ(Escape("\xff"), unknown);
  EXPECT_EQ(Escape("\xc3"), unknown) << "cut off";
  EXPECT_EQ(Escape("\xc0\xbc"), unknown + unknown) << "an overlong <";
  EXPECT_EQ(Escape("\xed\xa0\x80"), unknown + unknown + unknown) << "a surrogate";
  EXPECT_EQ(Escape(std::string_view("\0", 1)), unknown);
  EXPECT_EQ(Escape("\xc2\x80"), unknown + unknown) << "a control character of two bytes";
}

TEST(ChartScaleTest, TicksAreRoundOnTheAxisAndFew) {
  EXPECT_THAT(ChartScale(false, 0, 0.4, 0, 100).Ticks(5),
              ::testing::Pointwise(::testing::DoubleNear(1e-12), {0.0, 0.1, 0.2, 0.3, 0.4}));
  for (const bool logarithmic : {false, true}) {
    for (const double most : {1e-30, 1e-9, 0.7, 1.0, 3.0, 12345.0, 1e12, 1e30}) {
      const ChartScale scale(logarithmic, 0, most, 10, 500);
      const std::vector<double> ticks = scale.Ticks(5);
      EXPECT_LE(ticks.size(), 17U) << most;
      for (const double tick : ticks) {
        EXPECT_GE(scale.At(tick), 10 - 1e-6) << most;
        EXPECT_LE(scale.At(tick), 500 + 1e-6) << most;
      }
    }
  }
}

}  // namespace
}  // namespace terrace::replay
