#include "tools/replay/trace/trace_hints.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/limits.h"
#include "base/random.h"

namespace terrace::replay {
namespace {

constexpr std::array<std::pair<HintSetting, std::string_view>, 5> kSettings = {{
    {HintSetting::kNone, "none"},
    {HintSetting::kTruthful, "truthful"},
    {HintSetting::kAbsentHalf, "absent-half"},
    {HintSetting::kInverted, "inverted"},
    {HintSetting::kRandom, "random"},
}};

/// Per distinct block: the last request that has it.
std::vector<std::uint32_t> LastUses(const Trace& trace, const BlockNumbers& blocks) {
  std::vector<std::uint32_t> last(blocks.distinct, 0);
  for (std::uint32_t request = 0; request < trace.requests.size(); ++request) {
    for (const std::uint32_t block : blocks.Of(trace.requests[request])) last[block] = request;
  }
  return last;
}

std::vector<TraceHint> Truth(const Trace& trace, const BlockNumbers& blocks) {
  const std::vector<std::uint32_t> last = LastUses(trace, blocks);
  std::vector<TraceHint> hints(trace.requests.size());
  for (std::uint32_t request = 0; request < hints.size(); ++request) {
    const TraceRequest& entry = trace.requests[request];
    TraceHint& hint = hints[request];
    if (entry.session != kNoSession) {
      hint.session = entry.session + 1;
      hint.turn = static_cast<std::uint16_t>(std::min(entry.turn, kHintTurnMax - 1) + 1);
    }
    if (entry.category < trace.categories.size() &&
        trace.categories[entry.category] != kUnnamedCategory) {
      hint.category = entry.category + 1;
    }
    // Whoever has a block has those before it: all that are used again, or none but the head.
    const std::uint32_t full = entry.input_tokens / trace.block_tokens;
    const auto used_again = [&](std::uint32_t position) {
      return position < full && last[blocks.Of(entry)[position]] > request;
    };
    if (full > 0 && used_again(full - 1)) {
      hint.continuation = Continuation::kWillContinue;
    } else if (!used_again(1)) {
      hint.continuation = Continuation::kDone;
    }
  }
  return hints;
}

/// Names that others have too, and names that nobody has.
TraceHint Draw(const Trace& trace, Random& random) {
  const std::uint64_t sessions = std::max<std::uint64_t>(trace.sessions, trace.requests.size());
  return {.session = static_cast<std::uint32_t>(random.Below(sessions + 1)),
          .category = static_cast<std::uint32_t>(random.Below(trace.categories.size() + 3)),
          .turn = static_cast<std::uint16_t>(random.Below(kHintTurnMax + 1)),
          .continuation = static_cast<Continuation>(random.Below(3))};
}

}  // namespace

std::string_view HintSettingName(HintSetting setting) noexcept {
  for (const auto& [known, name] : kSettings) {
    if (known == setting) return name;
  }
  return "unknown";
}

Result<HintSetting> ParseHintSetting(std::string_view name) {
  std::string names;
  for (const auto& [setting, known] : kSettings) {
    if (known == name) return setting;
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  return Status::Invalid("'" + std::string(name) + "' is none of " + names);
}

std::vector<TraceHint> HintsOf(const Trace& trace, const BlockNumbers& blocks, HintSetting setting,
                               std::uint64_t seed) {
  if (setting == HintSetting::kNone) return {};
  SeededRandom random(seed);
  std::vector<TraceHint> hints = Truth(trace, blocks);
  for (TraceHint& hint : hints) {
    if (setting == HintSetting::kRandom) hint = Draw(trace, random);
    if (setting == HintSetting::kAbsentHalf && random.Chance(0.5)) hint = {};
    if (setting == HintSetting::kInverted && hint.continuation != Continuation::kUnknown) {
      hint.continuation = hint.continuation == Continuation::kDone ? Continuation::kWillContinue
                                                                   : Continuation::kDone;
    }
  }
  return hints;
}

RequestHints ToRequestHints(const TraceHint& hint) {
  RequestHints hints{.turn = hint.turn, .continuation = hint.continuation};
  if (hint.session != 0) hints.session = "s" + std::to_string(hint.session);
  if (hint.category != 0) hints.category = "c" + std::to_string(hint.category);
  return hints;
}

}  // namespace terrace::replay
