// A campaign must not lose a violation, however its seed ends, nor count what did not happen.
#include "tests/sim/campaign.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace terrace::testing {
namespace {

constexpr std::uint64_t kAborts = 5, kFails = 7, kHangs = 9;

SimulationReport Pretend(std::uint64_t seed) {
  SimulationReport report;
  report.operations = seed;
  report.power_losses = 1;
  if (seed == kAborts) {
    std::fprintf(stderr, "what it said at the end\n");
    std::abort();
  }
  if (seed == kFails) report.failure = "O1: wrong bytes";
  if (seed == kHangs) ::pause();
  return report;
}

CampaignOptions Pretended(std::uint64_t last_seed, std::uint32_t jobs) {
  CampaignOptions options;
  options.last_seed = last_seed;
  options.jobs = jobs;
  options.seed_limit_s = 5;
  options.simulate = [](std::uint64_t seed, SimulationProfile) { return Pretend(seed); };
  return options;
}

CampaignResult Campaign(const CampaignOptions& options) {
  static const volatile int never = 0;
  return RunCampaign(options, &never, [](const CampaignResult&) {});
}

TEST(CampaignTest, EverySeedIsRunOnceAndItsCountsAreSummed) {
  const CampaignResult result = Campaign(Pretended(4, 3));
  EXPECT_EQ(result.seeds, 4U);
  EXPECT_EQ(result.counts.operations, 1U + 2 + 3 + 4);
  EXPECT_EQ(result.counts.power_losses, 4U);
  EXPECT_TRUE(result.violations.empty());
}

TEST(CampaignTest, ASeedThatAbortsFailsOrHangsIsAViolationAndTheOthersRun) {
  CampaignResult result = Campaign(Pretended(20, 2));
  EXPECT_EQ(result.seeds, 20U);
  EXPECT_EQ(result.counts.operations, 210U - kAborts - kHangs);
  ASSERT_EQ(result.violations.size(), 3U);
  std::ranges::sort(result.violations, {}, &Violation::seed);
  EXPECT_EQ(result.violations[0].seed, kAborts);
  EXPECT_NE(result.violations[0].what.find("signal 6: what it said at the end"), std::string::npos)
      << result.violations[0].what;
  EXPECT_EQ(result.violations[1].seed, kFails);
  EXPECT_EQ(result.violations[1].what, "O1: wrong bytes");
  EXPECT_EQ(result.violations[2].seed, kHangs);
  EXPECT_NE(result.violations[2].what.find("did not end"), std::string::npos);
}

TEST(CampaignTest, TheFirstViolationEndsItWhenThatIsAskedFor) {
  CampaignOptions options = Pretended(1'000'000'000, 2);
  options.stop_at_first = true;
  const CampaignResult result = Campaign(options);
  EXPECT_GE(result.violations.size(), 1U);
  EXPECT_LT(result.seeds, 1'000'000U);
}

}  // namespace
}  // namespace terrace::testing
