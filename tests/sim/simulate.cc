// simulate: runs the simulation of the cache over many seeds, and says what happened in them.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/canary.h"
#include "tests/sim/campaign.h"

namespace terrace::testing {
namespace {

constexpr std::string_view kUsage =
    R"(usage: simulate [--seeds A..B] [--profile P] [--jobs N] [--time-limit S] [--stop-at-first]
       simulate --seed N [--profile P] [--verbose]

Runs the whole cache, its NVMe tier, devices, index, links and clients in simulated time, one run
per seed, with faults of every kind, and checks every answer. The last line sums it all up; exit
status 1 when a seed found a violation, 2 when the arguments are wrong.

  --seeds A..B     from seed A to seed B (1..1000)
  --profile P      swarm    everything, in every mixture (the default)
                   reclaim  many operations on tiny segments that are used again all the time
                   power    power is lost, or the process killed, again and again
                   hints    prefetches, labels, removals of prefixes among all the rest
                   hbm      GPUs that fail, rot, hang and are lost, with and without NVMe
  --jobs N         processes at once (as many as there are cores)
  --time-limit S   begins no seed after S seconds
  --stop-at-first  ends at the first violation
  --seed N         this one alone, in this process
  --verbose        with --seed: also what it drew, and each counter
  --canaries       names the bugs that this build has in it (tools/canaries)
)";

volatile int interrupted = 0;

struct Arguments {
  CampaignOptions campaign{.last_seed = 1000};
  std::optional<std::uint64_t> seed;
  bool verbose = false;
  bool canaries = false;
  bool help = false;
};

template <typename Number>
bool Read(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

bool ReadRange(std::string_view text, CampaignOptions& campaign) {
  const std::size_t dots = text.find("..");
  return dots != std::string_view::npos && Read(text.substr(0, dots), campaign.first_seed) &&
         Read(text.substr(dots + 2), campaign.last_seed) &&
         campaign.first_seed <= campaign.last_seed;
}

/// False: this argument is none, or its value is wrong.
bool ReadValue(std::string_view name, std::string_view value, Arguments& arguments) {
  CampaignOptions& campaign = arguments.campaign;
  if (name == "--seeds") return ReadRange(value, campaign);
  if (name == "--jobs") {
    return Read(value, campaign.jobs) && campaign.jobs >= 1 &&
           campaign.jobs <= CampaignOptions::kJobsMax;
  }
  if (name == "--time-limit") return Read(value, campaign.time_limit_s);
  if (name == "--seed") return Read(value, arguments.seed.emplace());
  if (name == "--profile") {
    const std::optional<SimulationProfile> profile = FindProfile(value);
    if (profile) campaign.profile = *profile;
    return profile.has_value();
  }
  return false;
}

bool ReadArguments(const std::vector<std::string_view>& words, Arguments& arguments) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    bool* const flag = word == "--verbose"         ? &arguments.verbose
                       : word == "--canaries"      ? &arguments.canaries
                       : word == "--stop-at-first" ? &arguments.campaign.stop_at_first
                       : word == "--help"          ? &arguments.help
                                                   : nullptr;
    if (flag != nullptr) {
      *flag = true;
      continue;
    }
    if (i + 1 == words.size() || !ReadValue(word, words[i + 1], arguments)) {
      std::fprintf(stderr, "simulate: what is '%s'? (--help)\n", std::string(word).c_str());
      return false;
    }
    ++i;
  }
  return true;
}

struct Line {
  const char* name;
  std::uint64_t SimulationCounts::* count;
};

constexpr Line kSum[] = {
    {"operations", &SimulationCounts::operations},
    {"calls", &SimulationCounts::calls},
    {"power_losses", &SimulationCounts::power_losses},
    {"kills", &SimulationCounts::kills},
    {"bit_flips", &SimulationCounts::bit_flips},
    {"torn", &SimulationCounts::torn},
    {"lost", &SimulationCounts::lost},
    {"misdirected", &SimulationCounts::misdirected},
    {"stale", &SimulationCounts::stale},
    {"delayed", &SimulationCounts::delayed},
    {"io_errors", &SimulationCounts::io_errors},
    {"messages_dropped", &SimulationCounts::messages_dropped},
    {"messages_reordered", &SimulationCounts::messages_reordered},
    {"clients_died", &SimulationCounts::clients_died},
    {"clients_stalled", &SimulationCounts::clients_stalled},
    {"leases", &SimulationCounts::leases},
    {"leases_judged", &SimulationCounts::leases_judged},
    {"generations", &SimulationCounts::generations},
};

constexpr Line kMore[] = {
    {"stored", &SimulationCounts::stored},
    {"got", &SimulationCounts::got},
    {"got_nvme", &SimulationCounts::got_nvme},
    {"missed", &SimulationCounts::missed},
    {"evictions", &SimulationCounts::evictions},
    {"nvme_evictions", &SimulationCounts::nvme_evictions},
    {"reinserted", &SimulationCounts::reinserted},
    {"expired_reads", &SimulationCounts::expired_reads},
    {"corrupt_records", &SimulationCounts::corrupt_records},
    {"timeouts", &SimulationCounts::timeouts},
    {"peer_deaths", &SimulationCounts::peer_deaths},
    {"transfers_stalled", &SimulationCounts::transfers_stalled},
    {"removed", &SimulationCounts::removed},
    {"cleared", &SimulationCounts::cleared},
    {"recovered", &SimulationCounts::recovered},
    {"durable", &SimulationCounts::durable},
    {"durable_judged", &SimulationCounts::durable_judged},
    {"lanes_failed", &SimulationCounts::lanes_failed},
    {"lanes_returned", &SimulationCounts::lanes_returned},
    {"got_hbm", &SimulationCounts::got_hbm},
    {"copied_to_hbm", &SimulationCounts::copied_to_hbm},
    {"gpu_faults", &SimulationCounts::gpu_faults},
    {"gpus_lost", &SimulationCounts::gpus_lost},
};

void PrintCounts(std::span<const Line> lines, const SimulationCounts& counts) {
  for (const Line& line : lines) {
    std::printf(" %s=%llu", line.name, static_cast<unsigned long long>(counts.*line.count));
  }
}

void PrintViolation(const Violation& violation, SimulationProfile profile) {
  const std::string name(ProfileName(profile));
  const auto seed = static_cast<unsigned long long>(violation.seed);
  std::printf("VIOLATION seed %llu after %.1f s: %s\n  plan: %s\n", seed, violation.after_s,
              violation.what.c_str(), DescribePlan(violation.seed, profile).c_str());
  std::printf("  again: simulate --profile %s --seed %llu --verbose\n", name.c_str(), seed);
  std::printf("  once it is mended, keep it in tests/sim/seeds.txt: %llu %s  # what it found\n",
              seed, name.c_str());
  std::fflush(stdout);
}

int RunOne(const Arguments& arguments) {
  const SimulationProfile profile = arguments.campaign.profile;
  if (arguments.verbose) std::printf("plan: %s\n", DescribePlan(*arguments.seed, profile).c_str());
  std::fflush(stdout);  // it may abort
  const SimulationReport report = SimulateCache(*arguments.seed, profile);
  if (arguments.verbose) {
    std::printf("digest: %016llx\n", static_cast<unsigned long long>(report.digest));
    std::printf("more:");
    PrintCounts(kMore, report);
    std::printf("\n");
  }
  if (!report.failure.empty()) {
    PrintViolation({.seed = *arguments.seed, .what = report.failure, .after_s = 0}, profile);
  }
  std::printf("simulate: profile=%s seeds=1", std::string(ProfileName(profile)).c_str());
  PrintCounts(kSum, report);
  std::printf(" violations=%d\n", report.failure.empty() ? 0 : 1);
  return report.failure.empty() ? 0 : 1;
}

/// The bar, on a terminal; a line a minute elsewhere.
class Progress {
 public:
  explicit Progress(const CampaignOptions& options)
      : options_(options), terminal_(::isatty(STDERR_FILENO) == 1) {}

  void Show(const CampaignResult& result) {
    for (; shown_violations_ < result.violations.size(); ++shown_violations_) {
      PrintViolation(result.violations[shown_violations_], options_.profile);
    }
    constexpr double kLineEvery_s = 60;
    if (!terminal_ && result.seconds < next_line_s_) return;
    next_line_s_ = result.seconds + kLineEvery_s;
    const double all = static_cast<double>(options_.last_seed - options_.first_seed + 1);
    double done = static_cast<double>(result.seeds) / all;
    if (options_.time_limit_s > 0) done = std::max(done, result.seconds / options_.time_limit_s);
    constexpr std::size_t kWidth = 30;
    const auto full = static_cast<std::size_t>(std::min(done, 1.0) * kWidth);
    const std::string bar = std::string(full, '#') + std::string(kWidth - full, '.');
    std::fprintf(stderr, "%s[%s] %.0f s, %llu seeds, %llu operations, %zu violations%s",
                 terminal_ ? "\r" : "", bar.c_str(), result.seconds,
                 static_cast<unsigned long long>(result.seeds),
                 static_cast<unsigned long long>(result.counts.operations),
                 result.violations.size(), terminal_ ? "  " : "\n");
  }
  void End() const {
    if (terminal_) std::fprintf(stderr, "\r\033[K");
  }

 private:
  const CampaignOptions& options_;
  const bool terminal_;
  double next_line_s_ = 0;
  std::size_t shown_violations_ = 0;
};

int RunMany(const CampaignOptions& options) {
  ::signal(SIGINT, [](int) { interrupted = 1; });
  Progress progress(options);
  const CampaignResult result = RunCampaign(
      options, &interrupted, [&progress](const CampaignResult& now) { progress.Show(now); });
  progress.End();
  std::printf("more:");
  PrintCounts(kMore, result.counts);
  std::printf("\nsimulate: profile=%s seeds=%llu",
              std::string(ProfileName(options.profile)).c_str(),
              static_cast<unsigned long long>(result.seeds));
  PrintCounts(kSum, result.counts);
  std::printf(" seconds=%.0f violations=%zu\n", result.seconds, result.violations.size());
  return result.violations.empty() ? 0 : 1;
}

int Main(const std::vector<std::string_view>& words) {
  Arguments arguments;
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  arguments.campaign.jobs =
      static_cast<std::uint32_t>(std::clamp<long>(cores, 1, CampaignOptions::kJobsMax));
  if (!ReadArguments(words, arguments)) return 2;
  if (arguments.help) {
    std::fputs(std::string(kUsage).c_str(), stdout);
    return 0;
  }
  if (arguments.canaries) {
    for (const std::string_view name : CanaryNames())
      std::printf("%s\n", std::string(name).c_str());
    return CanaryNames().empty() ? 1 : 0;
  }
  return arguments.seed ? RunOne(arguments) : RunMany(arguments.campaign);
}

}  // namespace
}  // namespace terrace::testing

int main(int argc, char** argv) {
  return terrace::testing::Main(std::vector<std::string_view>(argv + 1, argv + argc));
}
