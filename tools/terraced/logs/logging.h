// Logging: one line an event, written by a thread of its own so that no reactor waits for a disk.
//
//   2026-01-31T12:00:00.123Z info client_connected peer=10.0.0.1:5000 tenant=default
//
// A line is formatted by the caller (about 1 us) and queued; the queue holds 8,192 lines, and when
// it is full the oldest is lost and counted. Control characters, newlines among them, are written
// as \xNN: what a client names itself cannot forge a line.
//
// Thread: Log and its kin from any thread. StartLogging and StopLogging by the main thread.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/status.h"
#include "tools/terraced/logs/log_level.h"
#include "tools/terraced/logs/log_site.h"

namespace terrace {

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  std::string file;  ///< appended to; empty: standard error
  std::uint32_t rate_limit_per_s = 10;
};

/// Starts the writer. kIo, with path and cause, when the file cannot be opened. Before it, and
/// after StopLogging, lines of at least kInfo go to standard error at once.
Status StartLogging(const LogOptions& options);
/// Tells what was suppressed, writes every queued line and ends the writer. Does nothing when it
/// does not run.
void StopLogging();

[[nodiscard]] bool LogEnabled(LogLevel level) noexcept;

/// Lines since the process began; any thread.
struct LogCounters {
  std::array<std::uint64_t, kLogLevelCount> lines{};  ///< by level, queued or written
  std::uint64_t suppressed = 0;                       ///< held back by the rate limit
  std::uint64_t dropped = 0;                          ///< lost because the queue was full
};
[[nodiscard]] LogCounters CountLogLines() noexcept;

/// Logs how many lines each place held back in seconds that have ended. The writer does this once
/// a second.
void ReportSuppressedLines();

namespace logging_internal {
void Write(LogLevel level, std::string_view event, std::string_view text);
/// True when the site may log now; appends " (suppressed N)" to `suffix` when it held lines back.
bool Admit(LogSite& site, std::string& suffix);
}  // namespace logging_internal

/// `event`: one word with underscores, by which lines are found. The text is "name=value ...".
template <typename... Args>
void Log(LogLevel level, std::string_view event, fmt::format_string<Args...> format,
         Args&&... args) {
  if (!LogEnabled(level)) return;
  logging_internal::Write(level, event, fmt::format(format, std::forward<Args>(args)...));
}

/// As Log, at most LogOptions::rate_limit_per_s lines a second for the site. The next line says how
/// many were suppressed.
template <typename... Args>
void LogLimited(LogSite& site, LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (!LogEnabled(level)) return;
  std::string suffix;
  if (!logging_internal::Admit(site, suffix)) return;
  logging_internal::Write(level, site.event(),
                          fmt::format(format, std::forward<Args>(args)...) + suffix);
}

}  // namespace terrace

/// LogLimited with a site of this place in the code:
///   TERRACE_LOG_LIMITED(LogLevel::kWarning, "peer_malformed", "peer={}", address);
#define TERRACE_LOG_LIMITED(level, event, ...)                   \
  do {                                                           \
    static ::terrace::LogSite terrace_log_site(event);           \
    ::terrace::LogLimited(terrace_log_site, level, __VA_ARGS__); \
  } while (false)
