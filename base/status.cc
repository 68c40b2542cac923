#include "base/status.h"

#include <array>

namespace terrace {

namespace {
constexpr std::array<std::string_view, kStatusCodeCount> kCodeNames = {
    "ok",      "miss",        "exists",    "pending",   "retry",        "expired",
    "corrupt", "timeout",     "cancelled", "peer_dead", "incompatible", "invalid",
    "io",      "unsupported", "in_doubt",  "internal",
};
}  // namespace

std::string_view StatusCodeName(StatusCode code) noexcept {
  const auto index = static_cast<std::size_t>(code);
  return index < kCodeNames.size() ? kCodeNames[index] : "unknown";
}

std::string Status::ToString() const {
  std::string text(StatusCodeName(code_));
  if (!message_.empty()) {
    text += ": ";
    text += message_;
  }
  return text;
}

}  // namespace terrace
