// Generator: a workload of long prompts that share prefixes, in the trace's format.
//
// Model. A number of sessions is alive at any time; when one ends, another starts. Sessions are
//   - conversations: a system prompt shared by many, then turns of a person's message and the
//     model's answer; each turn's input holds everything before it, the answers too;
//   - agents: long instructions and tool descriptions shared by all agents of a kind, a task, then
//     many quick steps whose generated call and tool result are appended;
//   - documents: a long document and several questions about it, some of them following up on the
//     last answer, others starting from the document again.
// Lengths are heavy-tailed (log-uniform), the popularity of shared prompts falls like 1/rank.
//
// The trace tells its sessions, their turns and kinds. How many sessions are alive decides how much
// context is live (live_target.h searches the number for a wanted live context).
//
// Only integer arithmetic and exactly rounded operations are used: the same options give the same
// trace, byte for byte, on every machine. Thread: none in particular; no state is kept.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

enum class WorkloadKind : std::uint8_t { kMix, kConversation, kAgent, kDocument };

/// "mix", "conversation", "agent", "document"; kInvalid lists them.
Result<WorkloadKind> ParseWorkloadKind(std::string_view name);
[[nodiscard]] std::string_view WorkloadKindName(WorkloadKind kind) noexcept;

inline constexpr std::uint32_t kGeneratorSessionsMax = 1'000'000;

struct GeneratorOptions {
  WorkloadKind kind = WorkloadKind::kMix;
  std::uint64_t requests = 24'000;  ///< 1 to 10,000,000
  std::uint64_t seed = 1;
  std::uint32_t sessions = 0;  ///< alive at a time, at most 1,000,000; 0: requests / 32,
                               ///< at least 4
  std::uint32_t context_tokens = 131'072;  ///< longest input, 1,024 to kTokensMax; a session whose
                                           ///< next input would be longer ends
  double think_time_scale = 1;  ///< pauses between an answer and the next input, times this: 0, or
                                ///< 0.001 to 1000, rounded to thousandths
  double rate = 0;  ///< requests per second on average, by stretching time; 0: as it comes out
};

/// @return kInvalid names the option.
Result<Trace> GenerateTrace(const GeneratorOptions& options);

}  // namespace terrace::replay
