// HintCounters: the hints that came with requests, and those that were ignored. Single writer (the
// reactor), readable from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace terrace {

enum class HintKind : std::uint8_t {
  kSession,
  kTurn,
  kCategory,
  kWillContinue,
  kDone,
  kPrefillRate
};
inline constexpr std::array<std::string_view, 6> kHintKindNames = {
    "session", "turn", "category", "will_continue", "done", "prefill_rate"};

/// Why one was ignored: a name that is too long, a turn or a continuation that is none, a cost of
/// computing that cannot be.
enum class HintFault : std::uint8_t { kSession, kTurn, kCategory, kContinuation, kPrefillRate };
inline constexpr std::array<std::string_view, 5> kHintFaultNames = {
    "session_too_long", "turn_too_high", "category_too_long", "continuation_unknown",
    "prefill_rate_impossible"};

struct HintCounters {
  std::array<std::atomic<std::uint64_t>, kHintKindNames.size()> taken{};
  std::array<std::atomic<std::uint64_t>, kHintFaultNames.size()> ignored{};

  [[nodiscard]] std::atomic<std::uint64_t>& Taken(HintKind kind) noexcept {
    return taken[static_cast<std::size_t>(kind)];
  }
  [[nodiscard]] std::atomic<std::uint64_t>& Ignored(HintFault fault) noexcept {
    return ignored[static_cast<std::size_t>(fault)];
  }
};

}  // namespace terrace
