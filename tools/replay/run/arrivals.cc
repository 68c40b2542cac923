#include "tools/replay/run/arrivals.h"

#include <cmath>
#include <cstdio>
#include <string>
#include <unordered_map>

namespace terrace::replay {
namespace {

/// A number as a person would write it, for messages.
std::string Plain(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

Status CheckPace(const PaceOptions& options, std::span<const TraceRequest> requests) {
  if (options.pace == Pace::kAsFastAsPossible) return Status::Ok();
  // Written so that a value that is no number fails, too.
  if (!(options.speed >= kSpeedMin && options.speed <= kSpeedMax)) {
    return Status::Invalid("--speed is " + Plain(options.speed) + ", must be from " +
                           Plain(kSpeedMin) + " to 1000000");
  }
  const bool closed = options.pace == Pace::kClosed;
  if (closed && (options.concurrency == 0 || options.concurrency > kConcurrencyMax)) {
    return Status::Invalid("--concurrency is " + std::to_string(options.concurrency) +
                           ", must be from 1 to " + std::to_string(kConcurrencyMax));
  }
  if (options.think.has_value()) {
    if (*options.think >= 0 && *options.think <= kThinkMax) return Status::Ok();
    return Status::Invalid("--think-time must be from 0 to " + std::to_string(kThinkMax / kSecond) +
                           " seconds");
  }
  const double span_s = RecordedSeconds(requests) / options.speed;
  if (span_s * 1e9 <= static_cast<double>(kSpanMax)) return Status::Ok();
  return Status::Invalid("the timestamps of the trace span " + Plain(span_s / 86'400) +
                         " days at --speed " + Plain(options.speed) + ", more than " +
                         std::to_string(kSpanMax / (86'400 * kSecond)) +
                         "; raise --speed, or replay --as-fast-as-possible");
}

double RecordedSeconds(std::span<const TraceRequest> requests) {
  if (requests.empty()) return 0;
  return static_cast<double>(requests.back().timestamp_ms - requests.front().timestamp_ms) / 1e3;
}

Arrivals::Arrivals(std::span<const TraceRequest> requests, const PaceOptions& options)
    : requests_(requests), options_(options) {
  if (options_.pace == Pace::kAsFastAsPossible) return;
  LinkTurns();
  if (options_.pace == Pace::kOpen) return;
  for (std::uint32_t place = 0; place < options_.concurrency && next_ < requests_.size(); ++place) {
    Admit(0);
  }
}

void Arrivals::LinkTurns() {
  std::unordered_map<std::uint32_t, std::uint32_t> last_of_session;
  for (std::uint32_t request = 0; request < requests_.size(); ++request) {
    const std::uint32_t session = requests_[request].session;
    if (session == kNoSession) continue;
    const auto [entry, first] = last_of_session.try_emplace(session, request);
    if (first) continue;
    if (next_turn_.empty()) {
      next_turn_.assign(requests_.size(), kNone);
      waits_for_turn_.assign(requests_.size(), false);
    }
    next_turn_[entry->second] = request;
    waits_for_turn_[request] = true;
    entry->second = request;
  }
}

std::uint32_t Arrivals::NextTurn(std::uint64_t request) const {
  return next_turn_.empty() ? kNone : next_turn_[request];
}

bool Arrivals::WaitsForTurn(std::uint64_t request) const {
  return !waits_for_turn_.empty() && waits_for_turn_[request];
}

Nanos Arrivals::Gap(std::uint64_t from, std::uint64_t to) const {
  const std::uint64_t recorded_ms = requests_[to].timestamp_ms - requests_[from].timestamp_ms;
  return std::llround(static_cast<double>(recorded_ms) * 1e6 / options_.speed);
}

void Arrivals::Admit(Nanos now) {
  while (next_ < requests_.size() && WaitsForTurn(next_)) ++next_;
  if (next_ < requests_.size()) waiting_.push({.request = next_++, .due = now});
}

std::optional<Arrival> Arrivals::Take(Nanos now) {
  if (options_.pace == Pace::kAsFastAsPossible) {
    if (next_ == requests_.size()) return std::nullopt;
    return Arrival{.request = next_++, .due = now};
  }
  if (!waiting_.empty() && waiting_.top().due <= now) {
    const Arrival arrival = waiting_.top();
    waiting_.pop();
    return arrival;
  }
  if (options_.pace == Pace::kClosed) return std::nullopt;
  while (next_ < requests_.size() && DueOf(next_) <= now) {
    const std::uint64_t request = next_++;
    if (!WaitsForTurn(request)) return Arrival{.request = request, .due = DueOf(request)};
  }
  return std::nullopt;
}

void Arrivals::Ended(std::uint64_t request, Nanos now) {
  if (options_.pace == Pace::kAsFastAsPossible) return;
  const std::uint32_t turn = NextTurn(request);
  if (options_.pace == Pace::kClosed) {
    if (turn == kNone) return Admit(now);
    waiting_.push({.request = turn, .due = now + options_.think.value_or(Gap(request, turn))});
    return;
  }
  if (turn == kNone) return;
  waits_for_turn_[turn] = false;
  if (DueOf(turn) < now) ++turns_held_;
  if (turn < next_) waiting_.push({.request = turn, .due = DueOf(turn)});
}

std::optional<Nanos> Arrivals::NextDue() const {
  if (!waiting_.empty()) return waiting_.top().due;
  if (options_.pace == Pace::kClosed || next_ == requests_.size()) return std::nullopt;
  return options_.pace == Pace::kOpen ? DueOf(next_) : 0;
}

}  // namespace terrace::replay
