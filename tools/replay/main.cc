// terrace-replay: generates, simulates and replays workloads of long prompts.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "base/limits.h"
#include "tools/replay/commands/commands.h"
#include "tools/replay/run/worker.h"

namespace terrace::replay {

int UsageError(const std::string& message) {
  std::fprintf(stderr, "terrace-replay: %s\n", message.c_str());
  return kExitUsage;
}

Result<std::uint64_t> BlockBytes(std::uint64_t bytes_per_token, std::uint32_t block_tokens) {
  const std::uint64_t least = (kBlockBytesMin + block_tokens - 1) / block_tokens;
  const std::uint64_t most = kBlockBytesMax / block_tokens;
  if (bytes_per_token < least || bytes_per_token > most) {
    return Status::Invalid("bytes per token is " + std::to_string(bytes_per_token) +
                           ", must be from " + std::to_string(least) + " to " +
                           std::to_string(most) + " (blocks of " + std::to_string(block_tokens) +
                           " tokens from 4 KiB to 64 MiB)");
  }
  return bytes_per_token * block_tokens;
}

namespace {

/// Where worker_pool.cc puts a worker's descriptors.
constexpr int kControlFd = 3;
constexpr int kWorkloadFd = 4;

void AddWorkerCommand(CLI::App& app, Chosen& chosen) {
  const auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("worker", "started by run; not for people");
  command->add_option("name", *name)->required();
  command->group("");  // hidden
  command->callback(
      [name, &chosen] { chosen = [name] { return RunWorker(kControlFd, kWorkloadFd, *name); }; });
}

int Main(int argc, char** argv) {
  Chosen chosen;
  CLI::App app("Generates, simulates and replays workloads of long prompts.", "terrace-replay");
  app.require_subcommand(1);
  AddAdviseCommand(app, chosen);
  AddCompareCommand(app, chosen);
  AddGenerateCommand(app, chosen);
  AddConvertCommand(app, chosen);
  AddStatsCommand(app, chosen);
  AddPlanCommand(app, chosen);
  AddReportCommand(app, chosen);
  AddRunCommand(app, chosen);
  AddSimulateCommand(app, chosen);
  AddWorkerCommand(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  return chosen();
}

}  // namespace
}  // namespace terrace::replay

int main(int argc, char** argv) {
  // Libraries (the command line, JSON) throw only for bugs and for lack of memory.
  try {
    return terrace::replay::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "terrace-replay: internal error: %s\n", error.what());
    return terrace::replay::kExitFailed;
  }
}
