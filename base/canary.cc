#include "base/canary.h"

#if defined(TERRACE_CANARIES)

#include <array>
#include <cstdlib>

#include "base/check.h"

namespace terrace {

namespace {

constexpr std::array<std::string_view, 14> kCanaryNames = {
    "skip_payload_check", "drop_header_check",      "ignore_generation",
    "accept_short_read",  "publish_before_write",   "acknowledge_before_sync",
    "reuse_under_writes", "free_frame_early",       "compare_no_key",
    "forget_tombstone",   "publish_before_arrival", "keep_slot_on_error",
    "move_stale_record",  "lease_without_pin",
};

Canary Choose() {
  const char* const chosen = std::getenv("TERRACE_CANARY");
  if (chosen == nullptr || *chosen == '\0') return Canary::kNone;
  for (std::size_t i = 0; i < kCanaryNames.size(); ++i) {
    if (kCanaryNames[i] == chosen) return static_cast<Canary>(i + 1);
  }
  CheckFailed(__FILE__, __LINE__, "TERRACE_CANARY is the name of a canary");
}

}  // namespace

bool CanaryIs(Canary canary) noexcept {
  static const Canary chosen = Choose();
  return canary == chosen;
}

std::span<const std::string_view> CanaryNames() noexcept { return kCanaryNames; }

}  // namespace terrace

#endif
