// The subcommands of terrace-replay: each adds itself, with its options, to the command line.
//
// Exit status: 0 well; 1 the run failed (wrong bytes, a worker that died); 2 a wrong option, file
// or trace, or no daemon; 130 interrupted. Errors go to standard error. Thread: main.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace terrace::replay {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

/// What the command line chose; it returns the exit status. Its options live in it.
using Chosen = std::function<int()>;

/// Add a subcommand to `app`. Once its options were parsed it is in `chosen`, which outlives `app`.
void AddAdviseCommand(CLI::App& app, Chosen& chosen);
void AddCompareCommand(CLI::App& app, Chosen& chosen);
void AddGenerateCommand(CLI::App& app, Chosen& chosen);
void AddConvertCommand(CLI::App& app, Chosen& chosen);
void AddStatsCommand(CLI::App& app, Chosen& chosen);
void AddPlanCommand(CLI::App& app, Chosen& chosen);
void AddReportCommand(CLI::App& app, Chosen& chosen);
void AddRunCommand(CLI::App& app, Chosen& chosen);
void AddSimulateCommand(CLI::App& app, Chosen& chosen);

/// --gpu-hour-price, for commands that draw an HTML report.
void AddPriceOption(CLI::App& command, std::optional<double>& gpu_hour_dollars);

/// The file becomes the text. @return kIo names it.
Status WriteText(const std::string& path, const std::string& text);

/// That `out`, which `out_option` names, is not the file of another option, read or written too:
/// it would be lost. Empty, "-" and devices are no files. @return kInvalid names the options.
Status CheckAnotherFile(const std::string& out_option, const std::string& out,
                        const std::string& other_option, const std::string& other);

/// Prints "terrace-replay: message" and returns kExitUsage.
int UsageError(const std::string& message);

/// Bytes of a block of `block_tokens` tokens. @return kInvalid when they are outside of what
/// Terrace stores.
Result<std::uint64_t> BlockBytes(std::uint64_t bytes_per_token, std::uint32_t block_tokens);

}  // namespace terrace::replay
