#include "tools/replay/commands/pace_options.h"

#include <charconv>
#include <cmath>
#include <optional>

namespace terrace::replay {
namespace {

constexpr const char* kRecorded = "recorded";

/// nullopt: as recorded.
Result<std::optional<Nanos>> ReadThinkTime(const std::string& text) {
  if (text == kRecorded) return std::optional<Nanos>();
  if (text == "none") return std::optional<Nanos>(0);
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  const auto most = static_cast<double>(kThinkMax) / static_cast<double>(kSecond);
  // Written so that a value that is no number fails, too.
  if (!whole || !(seconds >= 0 && seconds <= most)) {
    return Status::Invalid("--think-time is '" + text +
                           "', must be recorded, none or from 0 to 86400 seconds");
  }
  return std::optional<Nanos>(std::llround(seconds * 1e9));
}

}  // namespace

void PaceCommandOptions::Add(CLI::App& command) {
  CLI::Option* fast = command.add_flag("--as-fast-as-possible", as_fast_as_possible,
                                       "start requests as soon as a worker is free (default)");
  command
      .add_option_function<double>(
          "--speed",
          [this](double value) {
            speed = value;
            speed_given = true;
          },
          "start requests at their timestamps: 1 as recorded, 10 ten times as fast; in a closed "
          "loop: of the recorded think times")
      ->excludes(fast);
  command
      .add_flag("--closed-loop", closed_loop,
                "start a turn when the one before it ended and its think time is over")
      ->excludes(fast);
  command
      .add_option(
          "--concurrency", concurrency,
          "closed loop: most sessions under way (requests, where the trace has no sessions)")
      ->check(CLI::NonNegativeNumber)
      ->excludes(fast);
  command
      .add_option("--think-time", think_time,
                  "closed loop: between two turns: recorded, none or SECONDS")
      ->capture_default_str()
      ->excludes(fast);
}

Result<PaceOptions> PaceCommandOptions::Read(bool lockstep) const {
  PaceOptions pace;
  pace.speed = speed;
  if (lockstep && (speed_given || closed_loop)) {
    return Status::Invalid(
        "--lockstep goes through the trace one request at a time: without --speed and "
        "--closed-loop");
  }
  if (!closed_loop) {
    if (concurrency != 0) return Status::Invalid("--concurrency is of a --closed-loop");
    if (think_time != kRecorded) return Status::Invalid("--think-time is of a --closed-loop");
    if (speed_given) pace.pace = Pace::kOpen;
    return pace;
  }
  if (concurrency == 0) {
    return Status::Invalid("--closed-loop needs --concurrency N, at least 1: sessions under way");
  }
  const Result<std::optional<Nanos>> think = ReadThinkTime(think_time);
  if (!think.ok()) return think.status();
  if (think->has_value() && speed_given) {
    return Status::Invalid("--speed is of recorded think times: without --think-time " +
                           think_time);
  }
  if (concurrency > kConcurrencyMax) {
    return Status::Invalid("--concurrency is " + std::to_string(concurrency) +
                           ", must be from 1 to " + std::to_string(kConcurrencyMax));
  }
  pace.pace = Pace::kClosed;
  pace.think = *think;
  pace.concurrency = static_cast<std::uint32_t>(concurrency);
  return pace;
}

}  // namespace terrace::replay
