#include "tools/terraced/logs/logging.h"

#include <spdlog/async.h>
#include <spdlog/details/periodic_worker.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

namespace terrace {

namespace {

constexpr std::size_t kQueueLines = 8192;  // at 120 bytes a line about 3 MiB (spdlog's entries)
constexpr std::size_t kLineBytesMax = 4096;

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: break;
  }
  return spdlog::level::err;
}

// Everything that logging shares; lives as long as the process, because lines may be logged by
// destructors of static objects.
struct State {
  std::mutex mutex;
  std::vector<LogSite*> sites;                         // guarded by mutex
  std::shared_ptr<spdlog::details::thread_pool> pool;  // guarded by mutex, as is `writer`
  std::shared_ptr<spdlog::logger> writer;
  std::unique_ptr<spdlog::details::periodic_worker> ticker;  // main thread's
  std::atomic<int> level{static_cast<int>(LogLevel::kInfo)};
  std::atomic<std::uint32_t> rate_limit_per_s{10};
  std::array<std::atomic<std::uint64_t>, kLogLevelCount> lines{};
  std::atomic<std::uint64_t> suppressed{0};
  std::atomic<std::uint64_t> dropped_before{0};  // by writers that have ended
  SteadyClock clock;
};

State& Shared() {
  static State* const state = new State;
  return *state;
}

std::shared_ptr<spdlog::logger> MakeLogger(const std::string& file,
                                           std::shared_ptr<spdlog::details::thread_pool> pool) {
  spdlog::sink_ptr sink;
  if (file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file);
  }
  std::shared_ptr<spdlog::logger> logger;
  if (pool == nullptr) {
    logger = std::make_shared<spdlog::logger>("terraced", sink);
  } else {
    logger = std::make_shared<spdlog::async_logger>("terraced", sink, pool,
                                                    spdlog::async_overflow_policy::overrun_oldest);
  }
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %v", spdlog::pattern_time_type::utc);
  logger->set_level(spdlog::level::trace);  // LogEnabled decides
  logger->flush_on(spdlog::level::warn);
  return logger;
}

// Where lines go now.
std::shared_ptr<spdlog::logger> Writer() {
  State& state = Shared();
  const std::lock_guard lock(state.mutex);
  if (state.writer == nullptr) state.writer = MakeLogger("", nullptr);
  return state.writer;
}

std::string OneLine(std::string_view event, std::string_view text) {
  std::string line;
  line.reserve(event.size() + text.size() + 1);
  const auto append = [&line](std::string_view part) {
    for (const char letter : part) {
      if (line.size() >= kLineBytesMax) return;
      const auto code = static_cast<unsigned char>(letter);
      if (code >= 0x20 && code != 0x7f) {
        line += letter;
      } else {
        line += fmt::format("\\x{:02x}", code);
      }
    }
  };
  append(event);
  if (!text.empty()) append(" ");
  append(text);
  if (event.size() + text.size() + 1 > kLineBytesMax) line += " (cut)";
  return line;
}

}  // namespace

namespace logging_internal {

void Write(LogLevel level, std::string_view event, std::string_view text) {
  State& state = Shared();
  state.lines[static_cast<std::size_t>(level)].fetch_add(1, std::memory_order_relaxed);
  const std::string line = OneLine(event, text);
  Writer()->log(SpdlogLevel(level), "{} {}", LogLevelName(level), line);
}

bool Admit(LogSite& site, std::string& suffix) {
  State& state = Shared();
  const LogSite::Verdict verdict =
      site.Admit(state.clock.Now(), state.rate_limit_per_s.load(std::memory_order_relaxed));
  if (!verdict.admitted) {
    state.suppressed.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  if (verdict.suppressed > 0) suffix = fmt::format(" (suppressed {})", verdict.suppressed);
  return true;
}

}  // namespace logging_internal

LogSite::LogSite(std::string_view event) : event_(event) {
  State& state = Shared();
  const std::lock_guard lock(state.mutex);
  state.sites.push_back(this);
}

LogSite::~LogSite() {
  State& state = Shared();
  const std::lock_guard lock(state.mutex);
  std::erase(state.sites, this);
}

LogSite::Verdict LogSite::Admit(Nanos now, std::uint32_t limit) {
  const std::lock_guard lock(mutex_);
  if (!window_open_ || now - window_start_ >= kSecond) {
    window_start_ = now;
    window_open_ = true;
    in_window_ = 0;
  }
  if (in_window_ >= limit) {
    ++suppressed_;
    return {};
  }
  ++in_window_;
  return {.admitted = true, .suppressed = std::exchange(suppressed_, 0)};
}

std::uint64_t LogSite::TakeSuppressed(Nanos now) {
  const std::lock_guard lock(mutex_);
  if (suppressed_ == 0 || now - window_start_ < kSecond) return 0;
  return std::exchange(suppressed_, 0);
}

bool LogEnabled(LogLevel level) noexcept {
  return static_cast<int>(level) >= Shared().level.load(std::memory_order_relaxed);
}

LogCounters CountLogLines() noexcept {
  State& state = Shared();
  LogCounters counters;
  for (std::size_t level = 0; level < counters.lines.size(); ++level) {
    counters.lines[level] = state.lines[level].load(std::memory_order_relaxed);
  }
  counters.suppressed = state.suppressed.load(std::memory_order_relaxed);
  counters.dropped = state.dropped_before.load(std::memory_order_relaxed);
  const std::lock_guard lock(state.mutex);
  if (state.pool != nullptr) counters.dropped += state.pool->overrun_counter();
  return counters;
}

static void ReportSuppressedAt(Nanos now) {
  State& state = Shared();
  std::vector<std::pair<std::string, std::uint64_t>> held_back;
  {
    const std::lock_guard lock(state.mutex);
    for (LogSite* site : state.sites) {
      const std::uint64_t lines = site->TakeSuppressed(now);
      if (lines > 0) held_back.emplace_back(site->event(), lines);
    }
  }
  for (const auto& [event, lines] : held_back) {
    Log(LogLevel::kWarning, "lines_suppressed", "event={} lines={}", event, lines);
  }
}

void ReportSuppressedLines() { ReportSuppressedAt(Shared().clock.Now()); }

Status StartLogging(const LogOptions& options) {
  StopLogging();
  State& state = Shared();
  try {
    auto pool = std::make_shared<spdlog::details::thread_pool>(kQueueLines, 1);
    auto writer = MakeLogger(options.file, pool);
    const std::lock_guard lock(state.mutex);
    state.pool = std::move(pool);
    state.writer = std::move(writer);
  } catch (const std::exception& error) {
    return Status(StatusCode::kIo,
                  "log file \"" + options.file + "\" cannot be opened: " + error.what());
  }
  state.level.store(static_cast<int>(options.level), std::memory_order_relaxed);
  state.rate_limit_per_s.store(std::max(1U, options.rate_limit_per_s), std::memory_order_relaxed);
  state.ticker = std::make_unique<spdlog::details::periodic_worker>(
      [] {
        ReportSuppressedLines();
        Writer()->flush();
      },
      std::chrono::seconds(1));
  return Status::Ok();
}

void StopLogging() {
  State& state = Shared();
  state.ticker.reset();
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::logger> writer;
  {
    const std::lock_guard lock(state.mutex);
    if (state.pool == nullptr) return;
  }
  ReportSuppressedAt(kForever);
  {
    const std::lock_guard lock(state.mutex);
    pool = std::move(state.pool);
    writer = std::move(state.writer);
    state.pool.reset();
    state.writer.reset();
  }
  writer->flush();
  state.dropped_before.fetch_add(pool->overrun_counter(), std::memory_order_relaxed);
  pool.reset();    // waits until the queue is written
  writer.reset();  // after it: TSan does not see spdlog's own reference counts, but does see joins
  state.level.store(static_cast<int>(LogLevel::kInfo), std::memory_order_relaxed);
}

}  // namespace terrace
