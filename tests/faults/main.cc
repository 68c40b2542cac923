// device_faults: devices that fail for real, and a daemon that must answer, count and log exactly
// that (docs/fault-model.md).
//
// Two processes: one runs the rounds; the other waits for it and undoes what it may have left. Both
// live in a mount namespace of their own, with which every mount in it ends.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/faults/loop_device.h"
#include "tests/faults/rounds.h"

namespace terrace::faults {
namespace {

namespace fs = std::filesystem;

constexpr int kSkipped = 77;  // as CMakeLists.txt says to ctest
constexpr Kind kKinds[] = {
    {.name = "eio", .run = RunEio, .variants = 4},
    {.name = "stuck", .run = RunStuck, .variants = 5},
    {.name = "throttled", .run = RunThrottled, .variants = 1},
    {.name = "raw", .run = RunRaw, .variants = 4},
    {.name = "start", .run = RunStart, .variants = 5},
    {.name = "enospc", .run = RunEnospc, .variants = 3},
    {.name = "flip", .run = RunFlip, .variants = kFlipVariants},
};

struct Options {
  std::uint32_t rounds = 0;
  std::uint64_t seed = 0;
  std::uint32_t first = 0;
  std::string data;
  std::string programs;
  std::vector<std::string> kinds;
};

volatile sig_atomic_t stop_asked = 0;
void AskToStop(int /*signal*/) { stop_asked = 1; }

volatile sig_atomic_t guarded = 0;
void PassOn(int signal) { ::kill(guarded, signal); }

/// One kind's rounds; false when something was found.
bool RunKind(const Options& options, const Kind& kind) {
  Judge judge;
  const auto began = std::chrono::steady_clock::now();
  const std::uint32_t rounds = options.rounds != 0 ? options.rounds : kind.variants;
  std::uint32_t run = 0;
  for (; run < rounds && stop_asked == 0; ++run) {
    const std::uint32_t number = options.first + run;
    SeededRandom random(options.seed * 1'000'003 + number);
    const std::string name = std::string(kind.name) + "-" + std::to_string(number);
    judge.SetContext(name + " (--kind " + kind.name + " --seed " + std::to_string(options.seed) +
                     " --first " + std::to_string(number) + " --rounds 1)");
    const std::string folder = options.data + "/" + name;
    std::error_code error;
    fs::remove_all(folder, error);
    fs::create_directories(folder, error);
    const std::uint64_t before = judge.All();
    kind.run({.programs = options.programs,
              .folder = folder,
              .number = number,
              .random = random,
              .judge = judge});
    if (judge.All() == before) fs::remove_all(folder, error);
    if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r\033[K%s", name.c_str());
  }
  if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r\033[K");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::printf("kind=%s rounds=%u seconds=%.0f faults=%llu counters=%llu put=%llu right=%llu %s\n",
              kind.name, run, took.count(), static_cast<unsigned long long>(judge.faults),
              static_cast<unsigned long long>(judge.compared),
              static_cast<unsigned long long>(judge.blocks_put),
              static_cast<unsigned long long>(judge.blocks_right), judge.Summary().c_str());
  if (!judge.Outcomes().empty()) std::printf("  outcomes:%s\n", judge.Outcomes().c_str());
  std::fflush(stdout);
  if (run < rounds || judge.faults == 0 || judge.blocks_right == 0) {
    std::printf("%u of %u rounds were run: this proves nothing\n", run, rounds);
    return false;
  }
  return judge.All() == 0;
}

int RunAll(const Options& options) {
  struct sigaction action{};
  action.sa_handler = AskToStop;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
  std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
  bool good = true;
  for (const Kind& kind : kKinds) {
    const auto wanted = [&kind](const std::string& name) { return name == kind.name; };
    if (!options.kinds.empty() && std::ranges::none_of(options.kinds, wanted)) continue;
    good = RunKind(options, kind) && good;
  }
  return good ? 0 : 1;
}

/// What a child that was killed may have left: frozen file systems, and its control group.
void CleanUp(const Options& options, pid_t child) {
  std::error_code error;
  for (const fs::directory_entry& round : fs::directory_iterator(options.data, error)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(round.path(), error)) {
      if (!entry.is_directory(error)) continue;
      const std::string path = entry.path();
      if (entry.path().filename() == "frozen") ThawFolder(path);
      ::umount2(path.c_str(), MNT_DETACH);
    }
  }
  fs::remove("/sys/fs/cgroup/blkio/terrace-faults-" + std::to_string(child), error);
}

int Guard(const Options& options, bool own_folder) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    std::fprintf(stderr, "device_faults: no mount namespace: %s\n", std::strerror(errno));
    return 1;
  }
  const pid_t child = ::fork();
  if (child < 0) return 1;
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    std::exit(RunAll(options));
  }
  // Whoever ends this process ends the child well, between two rounds.
  guarded = child;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, PassOn);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  CleanUp(options, child);
  const int result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  std::error_code error;
  if (own_folder && result == 0) fs::remove_all(options.data, error);
  return result;
}

int Main(int argc, char** argv) {
  CLI::App app("device_faults: devices that fail for real under a real terraced; needs root");
  Options options;
  std::string data;
  app.add_option("--rounds", options.rounds, "of each kind; else each variant once");
  CLI::Option* const seed = app.add_option("--seed", options.seed, "what is drawn; else the time");
  app.add_option("--first", options.first, "round to begin with, as a finding names it");
  app.add_option("--kind", options.kinds,
                 "eio, stuck, throttled, enospc, raw, flip, start; else all");
  app.add_option("--data", data,
                 "folder on a file system with O_DIRECT; else one beside this "
                 "program, removed when nothing was found");
  CLI11_PARSE(app, argc, argv);
  if (::geteuid() != 0) {
    std::printf("skipped: real devices, mounts and control groups take root\n");
    return kSkipped;
  }
  if (seed->count() == 0) options.seed = SystemRandom().Below(1'000'000);
  std::error_code error;
  options.programs = fs::read_symlink("/proc/self/exe", error).parent_path();
  std::string made = options.programs + "/../device-faults-XXXXXX";
  if (data.empty() && mkdtemp(made.data()) == nullptr) {
    std::fprintf(stderr, "device_faults: cannot make %s\n", made.c_str());
    return 1;
  }
  options.data = fs::absolute(data.empty() ? made : data, error).lexically_normal();
  return Guard(options, data.empty());
}

}  // namespace
}  // namespace terrace::faults

int main(int argc, char** argv) { return terrace::faults::Main(argc, argv); }
