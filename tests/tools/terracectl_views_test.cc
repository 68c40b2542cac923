#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "tools/terracectl/stat_summary.h"
#include "tools/terracectl/text_table.h"

namespace terrace {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<Sample> Samples() {
  return {{"terrace_build_info", "version=\"0.1.0\"", 1},
          {"terrace_policy_info", "policy=\"leaf-lru\"", 1},
          {"terrace_process_uptime_seconds", "", 3725},
          {"terrace_tier_capacity_bytes", "tier=\"nvme\"", 2.0 * (1ULL << 40)},
          {"terrace_tier_capacity_bytes", "tier=\"dram\"", 1 << 30},
          {"terrace_tier_used_bytes", "tier=\"dram\"", 1 << 29},
          {"terrace_tier_huge_page_bytes", "tier=\"dram\"", 1 << 30},
          {"terrace_tier_blocks", "tier=\"dram\"", 1234},
          {"terrace_match_blocks_total", "", 1000},
          {"terrace_match_blocks_hit_total", "", 250},
          {"terrace_get_blocks_total", "", 300},
          {"terrace_get_blocks_hit_total", "tier=\"dram\"", 100},
          {"terrace_get_blocks_hit_total", "tier=\"nvme\"", 50},
          {"terrace_get_bytes_total", "", 3 << 20},
          {"terrace_put_blocks_stored_total", "", 77},
          {"terrace_client_connections", "", 3},
          {"terrace_client_connections_by_link", "link=\"shm\"", 2},
          {"terrace_client_connections_by_link", "link=\"tcp\"", 1},
          {"terrace_client_connections_by_link", "link=\"rdma\"", 0},
          {"terrace_client_connections_by_name", "client=\"engine \\\"a\\\"\",link=\"shm\"", 2},
          {"terrace_client_connections_by_name", "client=\"router\",link=\"tcp\"", 1},
          {"terrace_reactors", "sleeps_in=\"io_uring\"", 2},
          {"terrace_tier_used_bytes", "tier=\"nvme\"", 1.0 * (1ULL << 40)},
          {"terrace_nvme_state", "state=\"on\"", 1},
          {"terrace_nvme_devices", "", 4},
          {"terrace_nvme_devices_online", "", 3},
          {"terrace_nvme_index_healthy", "", 1},
          {"terrace_nvme_device_written_bytes_total", "", 3 << 20},
          {"terrace_nvme_device_read_bytes_total", "", 7 << 20},
          {"terrace_nvme_put_bytes_total", "", 2 << 20},
          {"terrace_nvme_blocks_written_total", "reason=\"put\"", 20},
          {"terrace_nvme_blocks_recovered", "", 12},
          {"terrace_nvme_write_queue_bytes", "", 4096},
          {"terrace_nvme_write_budget_left_bytes", "", -8192},
          {"terrace_nvme_blocks_declined_total", "reason=\"write_budget\"", 5},
          {"terrace_nvme_blocks_declined_total", "reason=\"too_large\"", 0},
          {"terrace_nvme_loads_failed_total", "reason=\"corrupt\"", 1},
          {"terrace_nvme_errors_total", "kind=\"read\"", 2},
          {"terrace_nvme_errors_total", "kind=\"sync\"", 0},
          {"terrace_some_future_metric_total", "a=\"b\"", 5}};
}

TEST(StatSummary, SamplesLandWhereTheyBelong) {
  const StatSummary summary = Summarize(Samples());
  EXPECT_EQ(summary.version, "0.1.0");
  ASSERT_EQ(summary.tiers.size(), 2U);
  EXPECT_EQ(summary.tiers[0].tier, "dram");  // fastest first, whatever the order of the samples
  EXPECT_EQ(summary.tiers[0].blocks, 1234);
  EXPECT_EQ(summary.tiers[1].hits, 50);
  EXPECT_EQ(summary.nvme.state, "on");
  EXPECT_EQ(summary.nvme.devices_online, 3);
  EXPECT_EQ(summary.nvme.declined, (std::map<std::string, double>{{"write_budget", 5}}));
  EXPECT_EQ(summary.get_hits, 150);  // over the tiers
  EXPECT_EQ(summary.connections_by_link.at("shm"), 2);
  EXPECT_EQ(summary.reactors.at("io_uring"), 2);
}

TEST(StatSummary, ATierThatTheDaemonDoesNotHaveIsNotShown) {
  const StatSummary summary = Summarize(std::vector<Sample>{
      {"terrace_tier_capacity_bytes", "tier=\"dram\"", 1 << 30},
      {"terrace_tier_blocks", "tier=\"nvme\"", 0},
      {"terrace_get_blocks_hit_total", "tier=\"nvme\"", 0},
      {"terrace_nvme_state", "state=\"off\"", 1},
  });
  ASSERT_EQ(summary.tiers.size(), 1U);
  EXPECT_EQ(summary.tiers[0].tier, "dram");
  EXPECT_THAT(StatText("x:1", summary, nullptr), HasSubstr("\nnvme     off\n"));
}

TEST(StatSummary, LabelsAreReadWhateverTheyHold) {
  EXPECT_EQ(LabelValue("a=\"1\",tier=\"dram\"", "tier"), "dram");
  EXPECT_EQ(LabelValue("a=\"x\\\",tier=\\\"no\",tier=\"q\\\\\\n\"", "tier"), "q\\\n");
  for (const char* broken : {"", "tier", "tier=", "tier=\"", "tier=\"x", "=\"\"", "\\"}) {
    EXPECT_EQ(LabelValue(broken, "tier"), "") << broken;
  }
}

TEST(StatRates, RatesAreDifferencesPerSecond) {
  StatSummary before = Summarize(Samples());
  StatSummary now = before;
  now.uptime_seconds += 2;
  now.get_blocks += 40;
  now.get_hits += 30;
  now.get_bytes += 1000;
  now.tiers[0].evicted_blocks += 6;
  now.nvme.written_bytes += 4000;
  const StatRates rates = RatesBetween(before, now, 2);
  EXPECT_FALSE(rates.restarted);
  EXPECT_EQ(rates.get_blocks, 20);
  EXPECT_EQ(rates.get_hits, 15);
  EXPECT_EQ(rates.get_bytes, 500);
  EXPECT_EQ(rates.evicted_blocks, 3);
  EXPECT_EQ(rates.nvme_written_bytes, 2000);
  EXPECT_EQ(rates.nvme_read_bytes, 0);
  EXPECT_EQ(rates.put_blocks, 0);
}

TEST(StatRates, ARestartedDaemonGivesNoNegativeRates) {
  const StatSummary before = Summarize(Samples());
  StatSummary now;
  now.uptime_seconds = 4;
  now.get_blocks = 8;
  const StatRates rates = RatesBetween(before, now, 100);
  EXPECT_TRUE(rates.restarted);
  EXPECT_EQ(rates.get_blocks, 2);  // over the 4 s that it lives
  EXPECT_THAT(StatText("x:1", now, &rates), HasSubstr("restarted"));
}

TEST(StatText, ShowsWhatAnOperatorAsksFor) {
  const StatSummary summary = Summarize(Samples());
  const std::string text = StatText("127.0.0.1:7420", summary, nullptr);
  EXPECT_THAT(text, HasSubstr("terraced 0.1.0 at 127.0.0.1:7420, up 1 h 2 min\n"));
  EXPECT_THAT(text, HasSubstr("\ntier  capacity     used          blocks  hits  hit ratio  huge "
                              "pages  evicted\n"
                              "dram     1 GiB  512 MiB  50.0 %   1,234   100     33.3 %     "
                              "100.0 %        0\n"
                              "nvme     2 TiB    1 TiB  50.0 %       0    50     16.7 %          "
                              " -        0\n"));
  EXPECT_THAT(text, HasSubstr("25.0 %"));  // match
  EXPECT_THAT(text, HasSubstr("50.0 %"));  // get
  EXPECT_THAT(text, HasSubstr("77 stored"));
  EXPECT_THAT(text, HasSubstr("3 connections: 2 shm, 1 tcp; 0 refused"));
  EXPECT_THAT(text, HasSubstr("2 asleep in io_uring"));
  EXPECT_THAT(text, Not(HasSubstr("/s")));  // rates need two samples
  const StatRates rates = RatesBetween(summary, summary, 1);
  EXPECT_THAT(StatText("x:1", summary, &rates), HasSubstr("blocks/s"));
}

TEST(StatText, SaysWhatRequestsToldOfThemselvesWhereTheyDid) {
  std::vector<Sample> samples = Samples();
  EXPECT_THAT(StatText("x:1", Summarize(samples), nullptr), Not(HasSubstr("hints")));
  samples.push_back({"terrace_hints_total", "kind=\"session\"", 1200});
  samples.push_back({"terrace_hints_total", "kind=\"done\"", 7});
  samples.push_back({"terrace_hints_total", "kind=\"turn\"", 0});
  samples.push_back({"terrace_hints_ignored_total", "reason=\"turn_too_high\"", 3});
  const StatSummary summary = Summarize(samples);
  EXPECT_THAT(StatText("x:1", summary, nullptr),
              HasSubstr("\nhints    7 done, 1,200 session\n"
                        "         hints ignored: 3 turn_too_high\n"));
  EXPECT_THAT(
      StatJson("x:1", summary, nullptr, samples),
      HasSubstr(R"("hints":{"taken":{"done":7,"session":1200},"ignored":{"turn_too_high":3}})"));
}

TEST(StatText, SaysHowTheNvmeTierIs) {
  StatSummary summary = Summarize(Samples());
  EXPECT_THAT(StatText("x:1", summary, nullptr),
              HasSubstr("\nnvme     on, 3 of 4 devices online, index healthy, 12 blocks found at "
                        "start\n"
                        "         3 MiB written (1.50 times what was put), 7 MiB read, 4 KiB "
                        "queued, write budget overdrawn by 8 KiB\n"
                        "         declined: 5 write_budget\n"
                        "         loads failed: 1 corrupt\n"
                        "         errors: 2 read\n"));
  const StatRates rates = RatesBetween(summary, summary, 1);
  EXPECT_THAT(StatText("x:1", summary, &rates), HasSubstr("0 B/s written, 0 B/s read"));
  summary.nvme.index_healthy = 0;
  summary.nvme.removals_not_logged = 2;
  summary.nvme.budget_left_bytes = 0;
  summary.nvme.put_bytes = 0;
  const std::string failing = StatText("x:1", summary, nullptr);
  EXPECT_THAT(failing, HasSubstr("index FAILING"));
  EXPECT_THAT(failing, HasSubstr("2 removals may come back after a restart"));
  EXPECT_THAT(failing, HasSubstr("no write budget"));
  EXPECT_THAT(failing, Not(HasSubstr("times what was put")));
  summary.nvme.state = "disabled";
  EXPECT_THAT(StatText("x:1", summary, nullptr), HasSubstr("nvme     DISABLED after crashes"));
}

TEST(StatText, TellsOfGpusAndHowTheirBytesReachClients) {
  std::vector<Sample> samples = {
      {"terrace_hbm_gpus", "", 2},
      {"terrace_hbm_gpus_offline", "", 1},
      {"terrace_hbm_loads_total", "", 7},
      {"terrace_hbm_pin_failures_total", "", 3},
      {"terrace_hbm_wire", "path=\"staged\",reason=\"ucx_without_cuda\"", 1},
      {"terrace_hbm_lent_blocks", "", 5},
      {"terrace_hbm_leases_expired_total", "", 2}};
  const StatSummary summary = Summarize(samples);
  const std::string text = StatText("x:1", summary, nullptr);
  EXPECT_THAT(text, HasSubstr("1 of 2 GPUs online (the others are LOST until a restart)"));
  EXPECT_THAT(text, HasSubstr("gpu memory on the wire: staged through DRAM (UCX without CUDA)"));
  EXPECT_THAT(text, HasSubstr("3 extents of DRAM could not be pinned"));
  EXPECT_THAT(text, HasSubstr("5 blocks (0 B) lent where they lie, 0 refused, 2 expired"));
  const auto json = nlohmann::json::parse(StatJson("h:1", summary, nullptr, samples));
  EXPECT_EQ(json["hbm"]["gpus"], 2);
  EXPECT_EQ(json["hbm"]["loads"], 7);
  EXPECT_EQ(json["hbm"]["wires"][0]["path"], "staged");
  EXPECT_EQ(json["hbm"]["wires"][0]["reason"], "ucx_without_cuda");
  EXPECT_EQ(json["hbm"]["straight_bytes"], 0);
  EXPECT_EQ(json["hbm"]["lent_blocks"], 5);
  EXPECT_TRUE(nlohmann::json::parse(StatJson("h:1", Summarize({}), nullptr, {}))["hbm"].is_null());
  samples.push_back({"terrace_hbm_wire", "path=\"straight\",reason=\"registered\"", 3});
  samples.push_back({"terrace_hbm_wire_bytes_total", "", 1 << 20});
  EXPECT_THAT(StatText("x:1", Summarize(samples), nullptr),
              HasSubstr("gpu memory on the wire: on 1 reactors staged through DRAM (UCX without "
                        "CUDA); on 3 reactors straight by the NIC (GPUDirect RDMA), 1 MiB sent "
                        "straight\n"));
}

TEST(StatText, AnEmptyOrHostileDaemonDoesNotBreakTheTerminal) {
  EXPECT_THAT(StatText("x:1", Summarize({}), nullptr), HasSubstr("up 0 s"));
  const std::vector<Sample> hostile = {{"terrace_build_info", "version=\"\x1b[2J\"", 1},
                                       {"terrace_tier_blocks", "tier=\"\n\x07\"", -5},
                                       {"terrace_process_uptime_seconds", "", NAN},
                                       {"terrace_nvme_state", "state=\"on\"", 1},
                                       {"terrace_nvme_errors_total", "kind=\"\x1b\"", 1},
                                       {"terrace_nvme_put_bytes_total", "", 1e-300},
                                       {"terrace_nvme_device_written_bytes_total", "", 1e300},
                                       {"terrace_get_bytes_total", "", NAN},
                                       {"terrace_get_blocks_total", "", INFINITY},
                                       {"terrace_tier_used_bytes", "tier=\"\n\x07\"", 1e300}};
  const std::string text = StatText("x:1", Summarize(hostile), nullptr);
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("\\x0a\\x07"));
}

TEST(StatJson, HasTheNumbersAndEverySample) {
  const std::vector<Sample> samples = Samples();
  const StatSummary summary = Summarize(samples);
  const std::string text = StatJson("h:1", summary, nullptr, samples);
  EXPECT_EQ(text.find('\n'), text.size() - 1);  // one object a line
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["tiers"][0]["tier"], "dram");
  EXPECT_EQ(json["tiers"][0]["capacity_bytes"], 1 << 30);
  EXPECT_EQ(json["tiers"][0]["huge_page_ratio"], 1.0);
  EXPECT_EQ(json["match"]["hit_ratio"], 0.25);
  EXPECT_EQ(json["get"]["hit_ratio"], 0.5);
  EXPECT_TRUE(json["rates"].is_null());
  EXPECT_EQ(json["tiers"][1]["get_hit_ratio"], 50.0 / 300);
  EXPECT_EQ(json["nvme"]["state"], "on");
  EXPECT_EQ(json["nvme"]["write_amplification"], 1.5);
  EXPECT_EQ(json["nvme"]["errors"], nlohmann::json({{"read", 2}}));  // no kind that never was
  EXPECT_EQ(json["nvme"]["write_budget_left_bytes"], -8192);
  EXPECT_EQ(json["clients"]["by_link"]["shm"], 2);
  EXPECT_EQ(json["clients"]["named"][0]["name"], "engine \"a\"");
  EXPECT_EQ(json["clients"]["named"][0]["link"], "shm");
  EXPECT_EQ(json["clients"]["named"][1]["connections"], 1);
  const std::string shown = StatText("h:1", summary, nullptr);
  EXPECT_NE(shown.find("         engine \"a\": 2 shm\n         router: 1 tcp\n"), std::string::npos)
      << shown;
  EXPECT_EQ(json["samples"]["terrace_some_future_metric_total{a=\"b\"}"], 5);
  EXPECT_EQ(json["samples"].size(), samples.size());
  const StatRates rates = RatesBetween(summary, summary, 1);
  const auto second = nlohmann::json::parse(StatJson("h:1", summary, &rates, samples));
  EXPECT_EQ(second["rates"]["seconds"], 1.0);
  EXPECT_TRUE(second["rates"]["get_hit_ratio"].is_null());  // nothing asked: not "all missed"
}

TEST(StatJson, NamesThatAreNotTextStillGiveJson) {
  const std::vector<NamespaceInfo> spaces = {{"t\xff", "n\n", "00", 3, 12288}};
  const auto json = nlohmann::json::parse(NamespacesJson(spaces));
  EXPECT_EQ(json[0]["blocks"], 3);
  EXPECT_EQ(json[0]["name"], "n\n");
  EXPECT_EQ(NamespacesJson({}), "[]\n");
}

TEST(NamespacesText, ListsAndSaysWhenThereAreNone) {
  EXPECT_EQ(NamespacesText({}), "no namespaces\n");
  const std::vector<NamespaceInfo> spaces = {{"default", "llama", "ab12", 3, 12288},
                                             {"evil\x1b", "x", "cd", 0, 0}};
  EXPECT_EQ(NamespacesText(spaces),
            "tenant    namespace  blocks   bytes  fingerprint\n"
            "default   llama           3  12 KiB  ab12\n"
            "evil\\x1b  x               0     0 B  cd\n");
}

TEST(TextTable, NumbersReadEasily) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatShare(1, 0), "-");
  EXPECT_EQ(FormatDuration(59.9), "59 s");
  EXPECT_EQ(FormatDuration(90061), "1 d 1 h");
}

}  // namespace
}  // namespace terrace
