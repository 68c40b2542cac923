// crash_loop: kills the real daemon again and again, and checks what every start finds.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/clock.h"
#include "base/random.h"
#include "tests/crash/campaign.h"

namespace terrace::crash {
namespace {

/// A campaign that is so long must have reached every crash point.
constexpr std::uint32_t kCyclesForAllPoints = 500;

/// Prints what was armed and what fired; the number of points that never fired.
std::uint32_t PrintPoints(const Campaign& campaign) {
  std::uint32_t never = 0;
  std::printf("%-22s %6s %6s\n", "crash point", "armed", "fired");
  for (const CrashPointInfo& info : CrashPoints()) {
    const Campaign::PointCount& count = campaign.points().at(info.point);
    if (count.fired == 0) ++never;
    std::printf("%-22.*s %6u %6u\n", static_cast<int>(info.name.size()), info.name.data(),
                count.armed, count.fired);
  }
  return never;
}

/// Says how far it is: in one line on a terminal, else every 50 cycles.
void ShowProgress(std::uint32_t done, std::uint32_t all, const Findings::Counts& counts,
                  Nanos took) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  if (!terminal && done % 50 != 0 && done != all) return;
  std::fprintf(stderr, "%s%u/%u cycles, %.2f s each, wrong %llu, lost %llu, leaked %llu%s",
               terminal ? "\r\033[K" : "", done, all,
               static_cast<double>(took) / static_cast<double>(kSecond) / done,
               static_cast<unsigned long long>(counts.wrong),
               static_cast<unsigned long long>(counts.lost),
               static_cast<unsigned long long>(counts.leaked), terminal && done != all ? "" : "\n");
}

int RunCampaign(const CampaignOptions& options, bool own_folder) {
  std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
  std::fflush(stdout);
  Findings findings;
  Campaign campaign(options, findings);
  const SteadyClock clock;
  const Nanos began = clock.Now();
  std::uint32_t done = 0;
  const std::uint32_t run = campaign.Run([&](std::uint32_t /*cycle*/) {
    ShowProgress(++done, options.cycles, findings.counts(), clock.Now() - began);
    return true;
  });
  const std::uint32_t never = PrintPoints(campaign);
  const Oracle::Totals& totals = campaign.totals();
  std::printf(
      "blocks: %llu stored, %llu answered DURABLE, %llu removed, %llu read and right; "
      "%llu clears; %.1f s\n",
      static_cast<unsigned long long>(totals.stored),
      static_cast<unsigned long long>(totals.durable),
      static_cast<unsigned long long>(totals.removed),
      static_cast<unsigned long long>(totals.right), static_cast<unsigned long long>(totals.clears),
      static_cast<double>(clock.Now() - began) / static_cast<double>(kSecond));
  bool good = findings.counts().All() == 0 && run == options.cycles;
  if (run != options.cycles) {
    std::printf("%u of %u cycles could not be run\n", options.cycles - run, options.cycles);
  }
  if (totals.durable == 0 || totals.right == 0) {
    std::printf("nothing was stored and found again: this proves nothing\n");
    good = false;
  }
  if (never > 0 && options.cycles >= kCyclesForAllPoints) {
    std::printf("%u crash points were never reached\n", never);
    good = false;
  }
  const Findings::Counts counts = findings.counts();
  if (own_folder && counts.All() == 0) {
    std::error_code error;
    std::filesystem::remove_all(options.data, error);
  }
  std::printf("cycles=%u wrong=%llu lost_durable=%llu leaked_frames=%llu\n", run,
              static_cast<unsigned long long>(counts.wrong),
              static_cast<unsigned long long>(counts.lost),
              static_cast<unsigned long long>(counts.leaked));
  return good ? 0 : 1;
}

int Main(int argc, char** argv) {
  CLI::App app("crash_loop: kills terraced again and again, and checks what every start finds");
  CampaignOptions options;
  std::string data;
  app.add_option("--cycles", options.cycles, "how many deaths (25)")->check(CLI::Range(1, 1 << 30));
  CLI::Option* const seed = app.add_option("--seed", options.seed, "what is drawn; else the time");
  app.add_option("--first", options.first, "cycle to begin with, as a finding names it");
  app.add_option("--reactors", options.reactors, "of every store; else drawn")
      ->check(CLI::Range(1, 2));
  app.add_option("--data", data,
                 "folder for the stores, on a file system with O_DIRECT; else one "
                 "beside this program, removed when nothing was found");
  CLI11_PARSE(app, argc, argv);
  if (seed->count() == 0) options.seed = SystemRandom().Below(1'000'000);
  // What a finding names is the cycle; its store began before it.
  const std::uint32_t before = options.first % kCyclesPerStore;
  options.first -= before;

  std::error_code error;
  options.programs = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::string made = options.programs + "/../crash-loop-XXXXXX";
  if (data.empty() && mkdtemp(made.data()) == nullptr) {
    std::fprintf(stderr, "crash_loop: cannot make %s; name a folder with --data\n", made.c_str());
    return 1;
  }
  options.data = std::filesystem::absolute(data.empty() ? made : data, error).lexically_normal();
  return RunCampaign(options, data.empty());
}

}  // namespace
}  // namespace terrace::crash

int main(int argc, char** argv) { return terrace::crash::Main(argc, argv); }
