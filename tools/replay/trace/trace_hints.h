// TraceHints: what an engine could say of each request of a trace, or what one that errs or lies
// would. Pure functions of their arguments; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/request_hints.h"
#include "base/result.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

enum class HintSetting : std::uint8_t {
  kNone,        ///< nothing is said
  kTruthful,    ///< session, turn and category as the trace tells them, and what will come
  kAbsentHalf,  ///< likewise, of every other request or so
  kInverted,    ///< will-continue for done, and the other way round; the rest is true
  kRandom,      ///< all of it is drawn
};
/// "none", "truthful", "absent-half", "inverted", "random".
[[nodiscard]] std::string_view HintSettingName(HintSetting setting) noexcept;
/// kInvalid lists them.
Result<HintSetting> ParseHintSetting(std::string_view name);

/// What is said of one request; zeros: nothing.
struct TraceHint {
  std::uint32_t session = 0;   ///< its number and 1
  std::uint32_t category = 0;  ///< likewise
  std::uint16_t turn = 0;      ///< from 1 on
  Continuation continuation = Continuation::kUnknown;

  friend bool operator==(const TraceHint&, const TraceHint&) = default;
};
static_assert(std::is_trivially_copyable_v<TraceHint>);

/// One for each request; none at all for kNone. The truth about what will come: kWillContinue when
/// a later request of the trace has this one's last full block, kDone when none has its second
/// (the first is what many conversations begin with), and nothing where some of it is used again
/// and its end is not, as when the last message is edited. `seed`: of what is drawn.
[[nodiscard]] std::vector<TraceHint> HintsOf(const Trace& trace, const BlockNumbers& blocks,
                                             HintSetting setting, std::uint64_t seed = 1);

/// As a client says it: "s7" and "c2" name session and category.
[[nodiscard]] RequestHints ToRequestHints(const TraceHint& hint);

}  // namespace terrace::replay
