// peer_faults: client processes that die, stop or lose the network, beside others that must notice
// nothing (docs/fault-model.md).

#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/clock.h"
#include "base/random.h"
#include "tests/peers/abort.h"
#include "tests/peers/campaign.h"
#include "tests/peers/partition.h"
#include "tests/peers/victim.h"

namespace terrace::peers {
namespace {

int RunFaults(const CampaignOptions& options) {
  std::printf("peer_faults: seed %llu\n", static_cast<unsigned long long>(options.seed));
  Campaign campaign(options);
  const Totals& totals = campaign.Run([&](std::uint32_t done) {
    if (done % 20 == 0) std::printf("%u of %u rounds\n", done, options.rounds);
    std::fflush(stdout);
  });
  for (const std::string& point : totals.points) std::printf("  %s\n", point.c_str());
  std::printf("bystanders: slowest call %.2f s, %llu times no room; %u times the machine paused\n",
              totals.slowest_call_s, static_cast<unsigned long long>(totals.retries),
              totals.paused);
  std::printf(
      "rounds=%u points=%zu wrong=%llu leaked=%llu harmed=%llu expired=%llu slowest_s=%.2f\n",
      totals.rounds, totals.points.size(), static_cast<unsigned long long>(totals.wrong),
      static_cast<unsigned long long>(totals.leaked),
      static_cast<unsigned long long>(totals.harmed),
      static_cast<unsigned long long>(totals.expired), totals.slowest_s);
  return totals.Good() && totals.rounds == options.rounds ? 0 : 1;
}

int RunPartitions(const PartitionOptions& options) {
  std::printf("peer_faults: seed %llu\n", static_cast<unsigned long long>(options.seed));
  const PartitionTotals totals = RunPartitionCampaign(options);
  std::printf(
      "rounds=%u wrong=%llu missed=%llu harmed=%llu client_found_s=%.2f daemon_found_s=%.2f "
      "healed_s=%.2f late_call_s=%.2f\n",
      totals.rounds, static_cast<unsigned long long>(totals.wrong),
      static_cast<unsigned long long>(totals.missed),
      static_cast<unsigned long long>(totals.harmed), totals.client_found_s, totals.daemon_found_s,
      totals.healed_s, totals.slowest_call_s);
  return totals.Good() && totals.rounds == options.rounds ? 0 : 1;
}

int RunAborts(const AbortOptions& options) {
  std::printf("peer_faults: seed %llu\n", static_cast<unsigned long long>(options.seed));
  const AbortTotals totals = RunAbortCampaign(options);
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "rounds=%u of_pieces=%u stray=%llu wrong=%llu lost=%llu stuck=%llu cancelled=%llu whole=%llu "
      "slowest_ms=%.2f\n",
      totals.rounds, totals.of_pieces, number(totals.stray), number(totals.wrong),
      number(totals.lost), number(totals.stuck), number(totals.cancelled), number(totals.whole),
      totals.slowest_ms);
  return totals.Good() && totals.rounds == options.rounds ? 0 : 1;
}

int Main(int argc, char** argv) {
  CLI::App app("peer_faults: clients of a real daemon that die, stop or lose the network");
  CampaignOptions options;
  VictimOptions victim;
  std::string kind = "all";
  CLI::Option* const as_victim =
      app.add_option("--victim", victim.address, "be the client that suffers, of this daemon");
  app.add_option("--store", victim.store, "of a victim: names its blocks");
  app.add_option("--number", victim.number, "of a victim: names its blocks");
  app.add_option("--point", victim.point,
                 "of a victim: where it strikes itself; of a campaign: the only point");
  app.add_option("--signal", victim.signal, "of a victim: with what");
  app.add_flag("--tcp", victim.tcp, "of a victim: its link");
  app.add_flag("--calm", victim.calm, "of a victim: for partitions");
  app.add_flag("--idle", victim.idle, "of a victim: for partitions");
  app.add_option("--rounds", options.rounds, "how many (20)")->check(CLI::Range(1, 1 << 30));
  CLI::Option* const seed = app.add_option("--seed", options.seed, "what is drawn; else the time");
  app.add_option("--kind", kind,
                 "kill, stop, all (both of these), abort, or partition (needs root)")
      ->check(CLI::IsMember({"kill", "stop", "all", "abort", "partition"}));
  app.add_option("--data", options.data,
                 "folder of the daemon's files; else one beside this "
                 "program, removed when nothing was found");
  CLI11_PARSE(app, argc, argv);
  if (as_victim->count() > 0) {
    victim.seed = options.seed;
    return RunVictim(victim);
  }
  if (seed->count() == 0) options.seed = SystemRandom().Below(1'000'000);
  std::error_code error;
  options.programs = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const bool own_folder = options.data.empty();
  if (own_folder) {
    options.data = options.programs + "/../peer-faults-XXXXXX";
    if (mkdtemp(options.data.data()) == nullptr) {
      std::fprintf(stderr, "peer_faults: cannot make %s\n", options.data.c_str());
      return 1;
    }
  }
  std::filesystem::create_directories(options.data, error);
  options.data = std::filesystem::canonical(options.data, error);
  options.only = victim.point;
  options.kill = kind != "stop";
  options.stop = kind != "kill";
  const int status = kind == "abort"       ? RunAborts({.seed = options.seed,
                                                        .rounds = options.rounds,
                                                        .data = options.data,
                                                        .programs = options.programs})
                     : kind == "partition" ? RunPartitions({.seed = options.seed,
                                                            .rounds = options.rounds,
                                                            .data = options.data,
                                                            .programs = options.programs})
                                           : RunFaults(options);
  if (status == 0 && own_folder) {
    std::filesystem::remove_all(options.data, error);
  } else if (status != 0) {
    std::fprintf(stderr, "peer_faults: the daemon's log is in %s\n", options.data.c_str());
  }
  return status;
}

}  // namespace
}  // namespace terrace::peers

int main(int argc, char** argv) { return terrace::peers::Main(argc, argv); }
