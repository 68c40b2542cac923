// The subcommands of terrace-replay, after their options were parsed.
//
// Exit status: 0 well; 1 the run failed (wrong bytes, a worker that died); 2 a wrong option, file
// or trace, or no daemon; 130 interrupted. Errors go to standard error. Thread: main.
#pragma once

#include <cstdint>
#include <string>

#include "tools/replay/coordinator.h"
#include "tools/replay/workload_source.h"

namespace terrace::replay {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

struct GenerateOptions {
  WorkloadSource source;
  std::string out;  ///< empty: standard output
};
int Generate(const GenerateOptions& options);

struct PlanOptions {
  WorkloadSource source;
  std::string dram = "5%";
  std::string nvme = "20%";
  std::uint64_t bytes_per_token = 128;
  std::uint64_t reactors = 1;  ///< of the daemon: each needs a least share of the NVMe tier
};
/// Prints, as JSON, the sizes of the tiers and the trace's statistics.
int Plan(const PlanOptions& options);

struct RunOptions {
  WorkloadSource source;
  CoordinatorOptions workers;
  std::string address = "127.0.0.1:7420";
  std::string namespace_name;  ///< empty: made of model and bytes per token
  std::uint64_t bytes_per_token = 128;
  std::uint32_t batch_blocks = 64;
  std::uint32_t deadline_ms = 10'000;
  std::uint64_t key_seed = 1;
  bool tcp_only = false;
  bool keep_blocks = false;  ///< do not clear the namespace first
  std::string model = "llama-3-8b";
  std::string gpu = "h100";
  std::string out;  ///< directory of report.json; empty: no file
};
int Run(const RunOptions& options);

/// Prints "terrace-replay: message" and returns kExitUsage.
int UsageError(const std::string& message);

/// Bytes of a block. @return kInvalid when they are outside of what Terrace stores.
Result<std::uint64_t> BlockBytes(std::uint64_t bytes_per_token);

}  // namespace terrace::replay
