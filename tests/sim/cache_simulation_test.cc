// TERRACE_SIM_SEEDS=n: how many seeds (default 200; under sanitizers a fifth of everything, unless
// TERRACE_WHOLE_SAMPLES is set). TERRACE_SIM_SEED=n: that one alone.
#include "tests/sim/cache_simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/common/samples.h"

namespace terrace::testing {
namespace {

constexpr std::uint64_t kSeedsByDefault = 200;

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

struct KeptSeed {
  std::uint64_t seed = 0;
  SimulationProfile profile = SimulationProfile::kSwarm;
};

/// Seeds that failed once, one a line: a number, the profile unless it is swarm; '#' begins a
/// remark.
std::vector<KeptSeed> KeptSeeds() {
  std::vector<KeptSeed> seeds;
  std::ifstream file(TERRACE_SIM_SEEDS_FILE);
  EXPECT_TRUE(file.is_open()) << TERRACE_SIM_SEEDS_FILE;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line.substr(0, line.find('#')));
    KeptSeed kept;
    if (!(words >> kept.seed)) continue;
    if (std::string name; words >> name) {
      const auto profile = FindProfile(name);
      EXPECT_TRUE(profile.has_value()) << "no profile is called " << name;
      kept.profile = profile.value_or(kept.profile);
    }
    seeds.push_back(kept);
  }
  return seeds;
}

SimulationReport RunSeed(std::uint64_t seed,
                         SimulationProfile profile = SimulationProfile::kSwarm) {
  SimulationReport report = SimulateCache(seed, profile);
  EXPECT_EQ(report.failure, "") << "reproduce with simulate --seed " << seed << " --profile "
                                << ProfileName(profile) << "\n  " << report.plan;
  return report;
}

TEST(CacheSimulationTest, SeedsThatFailedOnceStayGreen) {
  for (const KeptSeed& kept : KeptSeeds()) RunSeed(kept.seed, kept.profile);
}

TEST(CacheSimulationTest, NoSeedOfReclaimReadsABlockOfAnotherGeneration) {
  SimulationReport total;
  for (std::uint64_t seed = 1; seed <= (RunsWhole() ? 6 : 2); ++seed) {
    total.Add(RunSeed(seed, SimulationProfile::kReclaim));
  }
  if (!RunsWhole()) return;
  EXPECT_GT(total.generations, 1000U);
  EXPECT_GT(total.got_nvme, 500U);
  EXPECT_GT(total.reinserted, 500U);
  EXPECT_GT(total.expired_reads, 0U);
}

TEST(CacheSimulationTest, NoSeedOfPowerLossBreaksAPromise) {
  SimulationReport total;
  for (std::uint64_t seed = 1; seed <= (RunsWhole() ? 12 : 3); ++seed) {
    total.Add(RunSeed(seed, SimulationProfile::kPower));
  }
  if (!RunsWhole()) return;
  EXPECT_GT(total.power_losses, 100U);
  EXPECT_GT(total.kills, 30U);
  EXPECT_GT(total.durable_judged, 30U);
  EXPECT_GT(total.recovered, 1000U);
}

TEST(CacheSimulationTest, NoSeedOfHintsKeepsWhatIsGoneOrLosesAPromise) {
  const std::uint64_t seeds = SampleOf(40);
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) RunSeed(seed, SimulationProfile::kHints);
}

TEST(CacheSimulationTest, NoSeedOfGpusInTroubleFindsWrongBytesAHangOrALostBlock) {
  SimulationReport total;
  for (std::uint64_t seed = 1; seed <= SampleOf(40); ++seed) {
    total.Add(RunSeed(seed, SimulationProfile::kHbm));
  }
  if (!RunsWhole()) return;
  EXPECT_GT(total.copied_to_hbm, 1000U);
  EXPECT_GT(total.got_hbm, 500U);
  EXPECT_GT(total.gpu_faults, 500U);
  EXPECT_GT(total.gpus_lost, 5U);
}

TEST(CacheSimulationTest, NoSeedFindsWrongBytesAHangOrALostBlock) {
  const std::uint64_t only = FromEnvironment("TERRACE_SIM_SEED", 0);
  if (only != 0) {
    const SimulationReport report = RunSeed(only);
    std::printf("seed %llu: digest %016llx, %s\n", static_cast<unsigned long long>(only),
                static_cast<unsigned long long>(report.digest), report.plan.c_str());
    return;
  }
  const std::uint64_t seeds = FromEnvironment("TERRACE_SIM_SEEDS", SampleOf(kSeedsByDefault));
  SimulationReport total;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    total.Add(RunSeed(seed));
    if (HasFailure()) break;
  }
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "NVMe: %llu got, %llu evicted, %llu reinserted, %llu corrupt, %llu kills, %llu power losses, "
      "%llu recovered, %llu durable, %llu of them judged, %llu faults, %llu lanes failed, "
      "%llu came back\n",
      number(total.got_nvme), number(total.nvme_evictions), number(total.reinserted),
      number(total.corrupt_records), number(total.kills), number(total.power_losses),
      number(total.recovered), number(total.durable), number(total.durable_judged),
      number(total.device_faults), number(total.lanes_failed), number(total.lanes_returned));
  std::printf("seeds 1 to %llu: %llu stored, %llu got, %llu evicted, %llu timed out\n",
              static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(total.stored),
              static_cast<unsigned long long>(total.got),
              static_cast<unsigned long long>(total.evictions),
              static_cast<unsigned long long>(total.timeouts));
  if (HasFailure() || seeds < kSeedsByDefault) return;
  // The seeds together must reach everything that the oracle judges.
  EXPECT_GT(total.stored, 1000u);
  EXPECT_GT(total.got, 1000u);
  EXPECT_GT(total.missed, 100u);
  EXPECT_GT(total.pending, 10u);
  EXPECT_GT(total.no_space, 10u);
  EXPECT_GT(total.evictions, 1000u);
  EXPECT_GT(total.timeouts, 100u);
  EXPECT_GT(total.peer_deaths, 100u);
  EXPECT_GT(total.corruptions, 50u);
  EXPECT_GT(total.links_lost, 10u);
  EXPECT_GT(total.removed, 50u);
  EXPECT_GT(total.cleared, 50u);
  EXPECT_GT(total.key_mismatches, 50u);
  EXPECT_GT(total.quarantined, 10u);
  EXPECT_GT(total.got_nvme, 500u);
  EXPECT_GT(total.nvme_evictions, 100u);
  EXPECT_GT(total.reinserted, 10u);
  EXPECT_GT(total.corrupt_records, 10u);
  EXPECT_GT(total.kills, 10u);
  EXPECT_GT(total.power_losses, 10u);
  EXPECT_GT(total.recovered, 100u);
  EXPECT_GT(total.durable, 100u);
  EXPECT_GT(total.durable_judged, 50u);
  EXPECT_GT(total.device_faults, 100u);
  EXPECT_GT(total.lanes_failed, 10u);
  EXPECT_GT(total.lanes_returned, 10u);
  EXPECT_GT(total.bit_flips, 200u);
  EXPECT_GT(total.misdirected, 50u);
  EXPECT_GT(total.stale, 2u);
  EXPECT_GT(total.delayed, 50u);
  EXPECT_GT(total.messages_dropped, 200u);
  EXPECT_GT(total.messages_reordered, 200u);
  EXPECT_GT(total.clients_stalled, 50u);
  EXPECT_GT(total.leases, 100u);
  EXPECT_GT(total.leases_judged, 1000u);
}

TEST(CacheSimulationTest, OneSeedReplaysTheSameRun) {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const SimulationReport first = SimulateCache(seed);
    const SimulationReport second = SimulateCache(seed);
    EXPECT_EQ(first.digest, second.digest) << "seed " << seed;
    EXPECT_EQ(first.got, second.got);
  }
  EXPECT_NE(SimulateCache(1).digest, SimulateCache(2).digest);
}

}  // namespace
}  // namespace terrace::testing
