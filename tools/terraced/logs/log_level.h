// LogLevel: how grave a log line is.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace terrace {

enum class LogLevel : std::uint8_t { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };
inline constexpr int kLogLevelCount = 4;

/// "debug", "info", "warning", "error".
constexpr std::string_view LogLevelName(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarning: return "warning";
    case LogLevel::kError: break;
  }
  return "error";
}

/// The level with that name, if any.
constexpr std::optional<LogLevel> LogLevelFromName(std::string_view name) noexcept {
  for (int index = 0; index < kLogLevelCount; ++index) {
    const auto level = static_cast<LogLevel>(index);
    if (LogLevelName(level) == name) return level;
  }
  return std::nullopt;
}

}  // namespace terrace
