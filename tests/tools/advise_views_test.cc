// Advice and stories as people and programs read them, from figures made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tools/terracectl/advise_command.h"
#include "tools/terracectl/explain_command.h"

namespace terrace {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr double kGib = 1024.0 * 1024 * 1024;

void AddPoint(AdviceSamples& samples, const std::string& window, const std::string& dram,
              const std::string& nvme, double hits, double dram_hits, double variance) {
  const std::string labels =
      "window=\"" + window + "\",dram=\"" + dram + "\",nvme=\"" + nvme + "\"";
  samples.Add("terrace_advice_point_hits", labels, hits);
  samples.Add("terrace_advice_point_dram_hits", labels, dram_hits);
  samples.Add("terrace_advice_point_variance", labels, variance);
}

/// A daemon of 4 GiB and 8 GiB, of whose 100,000 blocks 40,000 hit.
AdviceSamples Samples(double sampled) {
  AdviceSamples samples;
  samples.Add("terrace_process_uptime_seconds", "", 1000);
  samples.Add("terrace_tier_capacity_bytes", "tier=\"dram\"", 4 * kGib);
  samples.Add("terrace_tier_capacity_bytes", "tier=\"nvme\"", 8 * kGib);
  samples.Add("terrace_advice_sampling_ratio", "", 0.25);
  samples.Add("terrace_advice_memory_bytes", "", 2 << 20);
  samples.Add("terrace_advice_cpu_seconds_total", "", 0.5);
  for (const char* window : {"hour", "start"}) {
    const std::string labels = std::string("window=\"") + window + "\"";
    samples.Add("terrace_advice_seconds", labels, 1000);
    samples.Add("terrace_advice_references", labels, 100'000);
    samples.Add("terrace_advice_reference_bytes", labels, 100'000.0 * (1 << 20));
    samples.Add("terrace_advice_hits", labels, 40'000);
    samples.Add("terrace_advice_sampled_references", labels, sampled);
    AddPoint(samples, window, "1", "1", 40'000, 25'000, 0);
    AddPoint(samples, window, "0.5", "1", 39'800, 20'000, 100 * 100);
    AddPoint(samples, window, "2", "1", 47'500, 35'000, 200 * 200);
    AddPoint(samples, window, "1", "0.5", 30'000, 25'000, 0);
    AddPoint(samples, window, "1", "2", 40'000, 25'000, 0);
  }
  samples.Add("terrace_advice_point_unfilled", "dram=\"1\",nvme=\"2\"", 2);
  samples.Add("terrace_advice_point_unfilled", "dram=\"2\",nvme=\"1\"", 0);
  return samples;
}

TEST(Advise, MoreAndLessAreSaidInSentences) {
  const std::string text = AdviceText(Advise(Samples(25'000)));
  EXPECT_THAT(text, HasSubstr("100,000 blocks were needed, 25,000 of these sampled (1 of 4)"));
  EXPECT_THAT(text, HasSubstr("Twice the DRAM (8 GiB): hit ratio 40.0 % -> 47.5 %, +7.5 points "
                              "+- 0.2, 7.50 MiB/s more is read"));
  EXPECT_THAT(text, HasSubstr("Twice the NVMe (16 GiB): no more hits; what was seen since the "
                              "start does not fill it."));
  EXPECT_THAT(text, HasSubstr("50 % of the DRAM (2 GiB) could be given up: -0.2 points"));
  EXPECT_THAT(text, HasSubstr("None of the NVMe can be given up"));
}

TEST(Advise, TooFewSampledBlocksGiveNoAdvice) {
  const Advice advice = Advise(Samples(999));
  EXPECT_THAT(AdviceText(advice), HasSubstr("Not enough yet"));
  EXPECT_THAT(AdviceText(advice), Not(HasSubstr("Twice")));
  const Json json = Json::parse(AdviceJson(advice));
  EXPECT_FALSE(json["enough"].get<bool>());
  EXPECT_TRUE(json["smallest_dram_scale"].is_null());
  EXPECT_TRUE(json["start"]["sizes"].empty());
}

TEST(Advise, ProgramsReadTheSameFigures) {
  const Json json = Json::parse(AdviceJson(Advise(Samples(25'000))));
  EXPECT_EQ(json["window"], "start") << "it has run for less than an hour";
  EXPECT_EQ(json["smallest_dram_scale"], 0.5);
  bool found = false;
  for (const Json& size : json["start"]["sizes"]) {
    if (size["dram_scale"] != 2) continue;
    found = true;
    EXPECT_NEAR(size["hit_ratio"].get<double>(), 0.475, 1e-9);
    EXPECT_NEAR(size["standard_error"].get<double>(), 0.002, 1e-9);
    EXPECT_NEAR(size["gain_per_gib"].get<double>(), 0.075 / 4, 1e-9);
  }
  EXPECT_TRUE(found);
}

TEST(Advise, MemoryOfGpusIsATierAsTheOthers) {
  AdviceSamples samples = Samples(25'000);
  samples.Add("terrace_tier_capacity_bytes", "tier=\"hbm\"", 2 * kGib);
  for (const char* window : {"hour", "start"}) {
    AddPoint(samples, window, "1", "1\",hbm=\"0", 39'700, 20'000, 0);
    AddPoint(samples, window, "1", "1\",hbm=\"2", 45'000, 31'000, 0);
  }
  const Advice advice = Advise(samples);
  const std::string text = AdviceText(advice);
  EXPECT_THAT(text, HasSubstr("Twice the HBM (4 GiB): hit ratio 40.0 % -> 45.0 %, +5.0 points "));
  EXPECT_THAT(text, HasSubstr("; +6.0 points from DRAM and HBM"));
  EXPECT_THAT(text, HasSubstr("100 % of the HBM (2 GiB) could be given up: -0.3 points"));
  EXPECT_THAT(text, HasSubstr("4 GiB x2"));
  const Json json = Json::parse(AdviceJson(advice));
  EXPECT_EQ(json["hbm_bytes"], 2 * kGib);
  EXPECT_EQ(json["smallest_hbm_scale"], 0);
  EXPECT_EQ(json["smallest_dram_scale"], 0.5) << "the others are as they were";
  EXPECT_EQ(json["start"]["sizes"].size(), 7U) << "the present size once";
  EXPECT_EQ(json["start"]["sizes"].back()["hbm_scale"], 2);
  EXPECT_NEAR(json["start"]["sizes"].back()["gain_per_gib"].get<double>(), 0.05 / 2, 1e-9);
  EXPECT_THAT(AdviceText(Advise(Samples(25'000))), Not(HasSubstr("HBM")));
}

TEST(Advise, AnOlderDaemonAndOneWithoutWorkDivideByNothing) {
  EXPECT_THAT(AdviceText(Advise({})), HasSubstr("older version"));
  (void)Json::parse(AdviceJson(Advise({})));
  AdviceSamples idle;
  idle.Add("terrace_advice_references", "window=\"start\"", 0);
  EXPECT_THAT(AdviceText(Advise(idle)), HasSubstr("Not enough yet"));
}

TEST(Explain, ARequestsStoryEndsAtItsFirstMiss) {
  std::vector<BlockStoryInfo> stories(4);
  for (BlockStoryInfo& story : stories) {
    story = {.reason = MissReason::kNone, .published = true, .tiers = kTierSetDram};
  }
  stories[1] = {.reason = MissReason::kEvicted, .age = std::chrono::seconds(90)};
  const std::vector<std::string> keys = {"aa", "bb", "cc", "dd"};
  const std::string text = StoriesText(keys, stories);
  EXPECT_THAT(
      text, HasSubstr("bb  MISS: evicted from DRAM, and NVMe had no record of it, 1 min 30 s ago"));
  EXPECT_THAT(text, HasSubstr("A prefix of 1 of 4 blocks is there. The first that is missing is "
                              "number 2 (evicted). Of those behind it 2 are there"));
  const Json json = Json::parse(StoriesJson(keys, stories));
  EXPECT_EQ(json["prefix"], 1);
  EXPECT_EQ(json["first_missing"], 1);
  EXPECT_EQ(json["blocks"][1]["reason"], "evicted");
  EXPECT_EQ(json["blocks"][1]["age_seconds"], 90);
  EXPECT_TRUE(json["blocks"][0]["reason"].is_null());
}

TEST(Explain, KeysThatAreNoneAreToldWhere) {
  EXPECT_EQ(ParseKey("00fF").value(), (std::vector<std::byte>{std::byte{0}, std::byte{255}}));
  EXPECT_THAT(ParseKey("").status().message(), HasSubstr("0 hexadecimal digits"));
  EXPECT_THAT(ParseKey("abc").status().message(), HasSubstr("3 hexadecimal digits"));
  EXPECT_THAT(ParseKey("ab0x").status().message(), HasSubstr("not hexadecimal at digit 4"));
  EXPECT_FALSE(ParseKey(std::string(130, 'a')).ok());
  EXPECT_THAT(ParseKey("\x1b[2J1").status().message(), Not(HasSubstr("\x1b")));
}

// Beside --tenant a name with a slash could not be said.
TEST(Explain, ANameWithASlashIsWholeBesideATenant) {
  CommandOptions options;
  EXPECT_EQ(SpaceOf(options, "plain").name, "plain");
  EXPECT_EQ(SpaceOf(options, "plain").tenant, "default");
  EXPECT_EQ(SpaceOf(options, "acme/a/b").tenant, "acme");
  EXPECT_EQ(SpaceOf(options, "acme/a/b").name, "a/b");
  options.tenant = "globex";
  options.tenant_given = true;
  EXPECT_EQ(SpaceOf(options, "acme/a").tenant, "globex");
  EXPECT_EQ(SpaceOf(options, "acme/a").name, "acme/a");
}

TEST(Explain, AReasonOfANewerDaemonIsShownByItsNumber) {
  const BlockStoryInfo story{.reason = static_cast<MissReason>(200)};
  EXPECT_THAT(StoryText(story), HasSubstr("unknown (200)"));
}

TEST(Explain, EveryReasonHasASentence) {
  for (std::size_t i = 1; i < kMissReasonCount; ++i) {
    const BlockStoryInfo story{.reason = static_cast<MissReason>(i)};
    EXPECT_THAT(StoryText(story), HasSubstr("MISS: "));
  }
}

}  // namespace
}  // namespace terrace
