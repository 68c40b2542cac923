// terraced: the daemon.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <string_view>

#include "base/crash_point.h"
#include "tools/terraced/config/config.h"
#include "tools/terraced/daemon.h"
#include "tools/terraced/daemon_options.h"
#include "tools/terraced/logs/logging.h"

namespace terrace {
namespace {

/// Makes the daemon die where tests want it to (base/crash_point.h).
constexpr const char* kCrashPointVariable = "TERRACE_CRASH_POINT";
constexpr Nanos kStopLimit = 10 * kSecond;
constexpr time_t kTickSeconds = 10;

/// The signals that end the daemon, blocked in every thread and taken by the main one.
sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

int Fail(const Status& status) {
  Log(LogLevel::kError, "start_failed", "{}", status.message());
  StopLogging();
  return 1;
}

/// Where memory is refused for what is small and cannot be done without, the process ends: half a
/// request would be worse (docs/fault-model.md). Nothing here allocates.
[[noreturn]] void EndSayingWhy() {
  std::string_view words = "terraced: ends by std::terminate\n";
  if (const std::exception_ptr exception = std::current_exception(); exception != nullptr) {
    try {
      std::rethrow_exception(exception);
    } catch (const std::bad_alloc&) {
      words = "terraced: ends because it is out of memory: an allocation was refused\n";
    } catch (...) {
      words = "terraced: ends because of an exception that nobody caught\n";
    }
  }
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, words.data(), words.size());
  std::abort();
}

int RunDaemon(const DaemonConfig& config) {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  if (Status status = StartLogging(LogOptionsOf(config)); !status.ok()) {
    return Fail(status);
  }
  if (const char* const point = std::getenv(kCrashPointVariable); point != nullptr) {
    Log(LogLevel::kWarning, "crash_point_armed", "point={}", point);
  }
  Result<std::unique_ptr<Daemon>> daemon = Daemon::Create(config);
  if (!daemon.ok()) return Fail(daemon.status());
  if (Status status = (*daemon)->Start(); !status.ok()) {
    (*daemon)->Stop(kStopLimit);
    return Fail(status);
  }
  Log(LogLevel::kInfo, "started", "version={} pid={} reactors={}", TERRACE_VERSION, getpid(),
      config.server.reactors);

  const timespec tick{.tv_sec = kTickSeconds, .tv_nsec = 0};
  int received = -1;
  while (received < 0) {
    received = sigtimedwait(&signals, nullptr, &tick);
    if (received < 0) (*daemon)->Tick();
  }
  Log(LogLevel::kInfo, "stopping", "signal={}", received);
  // A second signal ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  if (!(*daemon)->Stop(kStopLimit)) {
    StopLogging();
    _exit(1);
  }
  Log(LogLevel::kInfo, "stopped", "clean=true");
  daemon->reset();
  StopLogging();
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app("terraced: keeps the KV cache of long-context inference");
  std::string config_path;
  bool check_config = false;
  bool print_default_config = false;
  bool print_crash_points = false;
  app.add_option("--config", config_path, "TOML file; without it the embedded default is used");
  app.add_flag("--check-config", check_config, "check the file of --config and exit");
  app.add_flag("--print-default-config", print_default_config,
               "print every key with its meaning and default and exit");
  app.add_flag("--crash-points", print_crash_points,
               "print the places of TERRACE_CRASH_POINT=NAME:N, for tests, and exit");
  app.set_version_flag("--version", "terraced " TERRACE_VERSION);
  CLI11_PARSE(app, argc, argv);

  if (print_crash_points) {
    for (const CrashPointInfo& info : CrashPoints()) {
      std::cout << info.name << '\t' << info.meaning << '\n';
    }
    return 0;
  }
  if (print_default_config) {
    std::cout << PrintDefaultConfig();
    return 0;
  }
  if (check_config) {
    if (config_path.empty()) {
      std::cerr << "terraced: --check-config needs --config FILE\n";
      return 2;
    }
    return CheckConfigFile(config_path, std::cout, std::cerr);
  }
  const Result<DaemonConfig> config =
      config_path.empty() ? LoadDefaultConfig() : LoadConfig(config_path);
  if (!config.ok()) {
    std::cerr << config.status().message() << '\n';
    return 1;
  }
  if (const char* const point = std::getenv(kCrashPointVariable); point != nullptr) {
    if (Status armed = ArmCrashPoint(point); !armed.ok()) {
      std::cerr << "terraced: " << kCrashPointVariable << ": " << armed.message() << '\n';
      return 1;
    }
  }
  return RunDaemon(*config);
}

}  // namespace
}  // namespace terrace

int main(int argc, char** argv) {
  std::set_terminate(terrace::EndSayingWhy);
  return terrace::Main(argc, argv);
}
