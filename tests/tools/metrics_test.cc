#include "tools/terraced/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "base/device_sim.h"
#include "base/index_store_sim.h"
#include "base/scheduler.h"
#include "tiers/nvme/nvme_tier.h"
#include "tools/terraced/config/config_keys.h"

namespace terrace {
namespace {

using testing::HasSubstr;

// The NVMe tier of one reactor, on a device that nobody uses.
struct IdleNvme final : nvme::SegmentLog::Owner, nvme::IndexJournal {
  explicit IdleNvme(Clock& clock) : scheduler(clock) {
    nvme::NvmeTierOptions options;
    options.log.segments = 8;
    options.log.segment_bytes = 1 << 20;
    options.block_bytes_max = 64 << 10;
    options.write_bytes_per_day = 24 << 20;
    std::vector<nvme::LaneStart> lanes;
    lanes.push_back({.device = &device, .headers = std::vector<nvme::SegmentHeader>(8)});
    tier = std::make_unique<nvme::NvmeTier>(options, std::move(lanes), *this, *this, scheduler);
  }
  Task<void> Reclaim(std::uint32_t /*segment*/) override { co_return; }
  void OnLane(std::uint32_t /*lane*/, bool /*online*/, const std::string& /*why*/) override {}
  Task<Status> Write(Changes /*changes*/, bool /*durable*/) override { co_return Status(); }
  bool Enqueue(Changes /*changes*/) override { return true; }
  [[nodiscard]] bool Healthy() const noexcept override { return true; }

  SeededRandom random{1};
  SimulatedDevice device{{.size_bytes = 8 << 20}, random};
  Scheduler scheduler;
  std::unique_ptr<nvme::NvmeTier> tier;
};

// Two reactors with different numbers, and the process: every kind of sample there is.
class Metrics : public testing::Test {
 protected:
  Metrics() {
    cache_[0].load_corrupt = 3;
    cache_[1].blocks_nvme = 7;
    for (std::uint32_t index = 0; index < 2; ++index) {
      cache_[index].get_hits_dram = 10 + index;
      cache_[index].hbm_gpus = 2;
      server_[index].peers_shm = 3;
      server_[index].bytes_straight = 4;
      hints_[index].Taken(HintKind::kDone) = 2;
      hints_[index].Ignored(HintFault::kTurn) = 4;
      reactor_[index].stall_max_ns = 1'000'000'000 * (index + 1);
      sources_.push_back(std::make_unique<ReactorMetricSource>(
          ReactorMetricParts{.reactor = index,
                             .reactor_counters = &reactor_[index],
                             .sleeps_in = "io_uring",
                             .cache = &cache_[index],
                             .policy = "leaf-lru",
                             .events = &events_[index],
                             .curve = &curve_[index],
                             .nvme = nvme_[index].tier.get(),
                             .arena_stats = [] { return ArenaStats{.capacity_bytes = 1 << 20}; },
                             .index_bytes = 96,
                             .index_capacity = 1,
                             .server = &server_[index],
                             .hints = &hints_[index],
                             .gpu_wire = &wire_}));
      registry_.Add(*sources_.back());
    }
    registry_.Add(process_);
    registry_.Add(nvme_source_);
  }
  static double ValueOf(const std::vector<MetricSample>& samples, const MetricInfo& info,
                        const std::string& labels) {
    for (const MetricSample& sample : samples) {
      if (sample.info == &info && LabelText(sample.labels) == labels) return sample.value;
    }
    ADD_FAILURE() << "no sample " << info.name << "{" << labels << "}";
    return -1;
  }

  static MissRatioCurve::Options CurveOptions() {
    return {.dram_bytes = 1 << 20, .policy = Policies().data(), .memory_bytes = 1};
  }

  ManualClock clock_;
  MissRatioCurve curve_[2] = {{CurveOptions(), clock_}, {CurveOptions(), clock_}};
  EventLog events_[2];
  IdleNvme nvme_[2] = {IdleNvme(clock_), IdleNvme(clock_)};
  SimulatedIndexStore index_store_;
  nvme::IndexThread index_{index_store_, {}};
  NvmeMetricSource nvme_source_{"on", &index_};
  GpuWire wire_{.straight = true, .reason = GpuWire::Reason::kRegistered, .detail = {}};
  CacheCounters cache_[2];
  ServerCounters server_[2];
  HintCounters hints_[2];
  ReactorCounters reactor_[2];
  std::vector<std::unique_ptr<ReactorMetricSource>> sources_;
  ProcessMetricSource process_{"0.1.0", clock_};
  MetricsRegistry registry_;
};

TEST_F(Metrics, ReactorsAreToldApartAndSummed) {
  const std::vector<MetricSample> apart = registry_.Collect();
  EXPECT_EQ(ValueOf(apart, kGetBlocksHit, "reactor=\"0\",tier=\"dram\""), 10);
  EXPECT_EQ(ValueOf(apart, kGetBlocksHit, "reactor=\"1\",tier=\"dram\""), 11);
  const std::vector<MetricSample> summed = registry_.Summed();
  EXPECT_EQ(ValueOf(summed, kGetBlocksHit, "tier=\"dram\""), 21);
  EXPECT_EQ(ValueOf(summed, kClientsByLink, "link=\"shm\""), 6);
  EXPECT_EQ(ValueOf(summed, kReactors, "sleeps_in=\"io_uring\""), 2);
  EXPECT_EQ(ValueOf(summed, kHints, "kind=\"done\""), 4);
  EXPECT_EQ(ValueOf(summed, kHintsIgnored, "reason=\"turn_too_high\""), 8);
  EXPECT_EQ(ValueOf(summed, kTierCapacity, "tier=\"dram\""), 2 << 20);
  EXPECT_EQ(ValueOf(summed, kReactorStallMax, ""), 2);  // the worst, not the sum
  EXPECT_EQ(ValueOf(summed, kPolicyInfo, "policy=\"leaf-lru\""), 1);
  EXPECT_EQ(ValueOf(summed, kBuildInfo, "version=\"0.1.0\""), 1);
}

TEST_F(Metrics, TheNvmeTierShowsItsSizeStateAndReasons) {
  const std::vector<MetricSample> summed = registry_.Summed();
  EXPECT_EQ(ValueOf(summed, kTierCapacity, "tier=\"nvme\""), 16 << 20);
  EXPECT_EQ(ValueOf(summed, kTierBlocks, "tier=\"nvme\""), 7);
  EXPECT_EQ(ValueOf(summed, kNvmeState, "state=\"on\""), 1);
  EXPECT_EQ(ValueOf(summed, kNvmeIndexHealthy, ""), 1);
  EXPECT_EQ(ValueOf(summed, kNvmeDevices, ""), 2);  // one for each reactor
  EXPECT_EQ(ValueOf(summed, kNvmeDevicesOnline, ""), 2);
  EXPECT_EQ(ValueOf(summed, kNvmeLoadsFailed, "reason=\"corrupt\""), 3);
  EXPECT_EQ(ValueOf(summed, kNvmeErrors, "kind=\"bad_payload\""), 0);
  // An hour's share of the day, though nothing was written yet.
  EXPECT_EQ(ValueOf(summed, kNvmeBudgetLeft, ""), 2 << 20);
  EXPECT_EQ(nvme_[0].tier->Admit(1 << 20), NotDurable::kTooLarge);
  nvme_[0].tier->CountDeclined(NotDurable::kTooLarge);
  EXPECT_EQ(ValueOf(registry_.Collect(), kNvmeDeclined, "reactor=\"0\",reason=\"too_large\""), 1);
}

TEST(NvmeMetricSource, WithoutTheTierOnlyItsStateIsTold) {
  std::vector<MetricSample> samples;
  NvmeMetricSource("disabled", nullptr).Collect(samples);
  ASSERT_EQ(samples.size(), 1U);
  EXPECT_EQ(LabelText(samples[0].labels), "state=\"disabled\"");
}

TEST_F(Metrics, NothingOfTheProcessIsZeroThatCannotBe) {
  clock_.Advance(3 * kSecond);
  const std::vector<MetricSample> samples = registry_.Collect();
  EXPECT_EQ(ValueOf(samples, kUptime, ""), 3);
  EXPECT_GT(ValueOf(samples, kResidentMemory, ""), 1 << 20);
  EXPECT_GT(ValueOf(samples, kCpuSeconds, ""), 0);
  EXPECT_GE(ValueOf(samples, kOpenFiles, ""), 3);
}

TEST_F(Metrics, ARemovedSourceIsNotAskedAgain) {
  registry_.Remove(*sources_[1]);
  EXPECT_EQ(ValueOf(registry_.Summed(), kGetBlocksHit, "tier=\"dram\""), 10);
}

TEST_F(Metrics, EveryMetricOfTheCatalogueIsProduced) {
  std::set<const MetricInfo*> produced;
  for (const MetricSample& sample : registry_.Collect()) produced.insert(sample.info);
  for (const MetricInfo* info : AllMetrics()) EXPECT_TRUE(produced.contains(info)) << info->name;
  EXPECT_EQ(produced.size(), AllMetrics().size());
}

TEST_F(Metrics, NamesFollowTheRules) {
  std::set<std::string_view> names;
  for (const MetricInfo* info : AllMetrics()) {
    EXPECT_TRUE(names.insert(info->name).second) << info->name;
    EXPECT_TRUE(info->name.starts_with("terrace_")) << info->name;
    const bool counts =
        info->name.ends_with("_total") || info->name.starts_with("terrace_miss_age_seconds_");
    EXPECT_EQ(info->type == MetricType::kCounter, counts) << info->name;
    EXPECT_TRUE(info->help.ends_with('.')) << info->name;
  }
}

TEST_F(Metrics, NoSampleComesTwice) {
  std::set<std::string> seen;
  for (const MetricSample& sample : registry_.Summed()) {
    const std::string id = std::string(sample.info->name) + "{" + LabelText(sample.labels) + "}";
    EXPECT_TRUE(seen.insert(id).second) << id;
  }
}

TEST_F(Metrics, PrometheusTextHasHelpTypeAndOneLineASample) {
  const std::string text = registry_.Prometheus();
  EXPECT_THAT(text, HasSubstr("# TYPE terrace_get_blocks_hit_total counter\n"
                              "terrace_get_blocks_hit_total{reactor=\"0\",tier=\"dram\"} 10\n"
                              "terrace_get_blocks_hit_total{reactor=\"0\",tier=\"nvme\"} 0\n"
                              "terrace_get_blocks_hit_total{reactor=\"0\",tier=\"hbm\"} 0\n"
                              "terrace_get_blocks_hit_total{reactor=\"1\",tier=\"dram\"} 11\n"));
  EXPECT_THAT(text, HasSubstr("# HELP terrace_tier_capacity_bytes "));
  EXPECT_THAT(text, HasSubstr("terrace_build_info{version=\"0.1.0\"} 1\n"));
}

TEST(LabelText, ValuesThatWouldBreakTheFormatAreEscaped) {
  EXPECT_EQ(LabelText({}), "");
  EXPECT_EQ(LabelText({{"a", "x"}, {"b", "q\"\\\n"}}), "a=\"x\",b=\"q\\\"\\\\\\n\"");
}

// docs/operations.md: every metric and every key stands there, as `name` at the start of a row.
std::set<std::string> DocumentedNames(const std::string& prefix_pattern) {
  std::ifstream file(TERRACE_SOURCE_DIR "/docs/operations.md");
  EXPECT_TRUE(file.good());
  std::set<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `" + prefix_pattern)) continue;
    names.insert(line.substr(3, line.find('`', 3) - 3));
  }
  return names;
}

TEST(OperationsDocument, MetricsAreThoseOfTheCode) {
  std::set<std::string> names;
  for (const MetricInfo* info : AllMetrics()) names.emplace(info->name);
  EXPECT_THAT(DocumentedNames("terrace_"), testing::ContainerEq(names));
}

TEST(OperationsDocument, KeysUnitsAndDefaultsAreThoseOfTheCode) {
  std::ifstream file(TERRACE_SOURCE_DIR "/docs/operations.md");
  std::stringstream text;
  text << file.rdbuf();
  std::set<std::string> names;
  for (const ConfigKey& key : ConfigKeys()) {
    names.insert(key.Path());
    EXPECT_THAT(text.str(),
                HasSubstr("\n| `" + key.Path() + "` | `" + std::string(key.default_value) + "` | " +
                          std::string(key.unit) + " | " + ConfigRange(key) + " |"));
  }
  std::set<std::string> documented;
  for (const ConfigSection& section : ConfigSections()) {
    documented.merge(DocumentedNames(std::string(section.name) + "."));
  }
  EXPECT_THAT(documented, testing::ContainerEq(names));
}

}  // namespace
}  // namespace terrace
