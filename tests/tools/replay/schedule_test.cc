// When requests start, on a simulated clock: against an oracle that looks at every request at every
// moment.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "base/random.h"
#include "tools/replay/run/schedule.h"
#include "tools/replay/simulate/operation.h"

namespace terrace::replay {
namespace {

TEST(ScheduleTest, LockstepOverlapsNothing) {
  const std::vector<TraceRequest> requests(2);
  Schedule schedule(requests, {.prefill_workers = 4, .lockstep = true, .pace = {}});
  EXPECT_FALSE(schedule.TakeDecode().has_value());
  ASSERT_EQ(schedule.TakePrefill(0)->request, 0U);
  EXPECT_FALSE(schedule.TakePrefill(0).has_value());
  schedule.PrefillEnded(0);
  EXPECT_FALSE(schedule.TakePrefill(0).has_value());
  ASSERT_EQ(schedule.TakeDecode(), 0U);
  EXPECT_FALSE(schedule.TakePrefill(0).has_value());
  EXPECT_FALSE(schedule.NextDue().has_value());
  schedule.DecodeEnded(0, 0);
  ASSERT_EQ(schedule.TakePrefill(0)->request, 1U);
  schedule.PrefillEnded(1);
  ASSERT_EQ(schedule.TakeDecode(), 1U);
  EXPECT_FALSE(schedule.Done());
  schedule.DecodeEnded(1, 0);
  EXPECT_TRUE(schedule.Done());
  EXPECT_FALSE(schedule.TakePrefill(0).has_value());
}

TEST(ScheduleTest, PrefillsDoNotRunAwayFromDecodes) {
  const std::vector<TraceRequest> requests(100);
  for (const Pace pace : {Pace::kAsFastAsPossible, Pace::kOpen}) {
    Schedule schedule(requests, {.prefill_workers = 2, .pace = {.pace = pace}});
    std::uint64_t started = 0;
    for (int step = 0; step < 50; ++step) {
      const auto arrival = schedule.TakePrefill(0);
      if (!arrival.has_value()) continue;
      ++started;
      schedule.PrefillEnded(arrival->request);
    }
    EXPECT_EQ(started, 2U);  // two wait; nobody decodes
    EXPECT_FALSE(schedule.NextDue().has_value()) << "a coordinator would spin";
    ASSERT_EQ(schedule.TakeDecode(), 0U);
    EXPECT_TRUE(schedule.NextDue().has_value());
    EXPECT_TRUE(schedule.TakePrefill(0).has_value());
  }
}

/// A run on a simulated machine: how long each piece of work takes.
struct Machine {
  std::uint32_t prefill_workers = 1;
  std::uint32_t decode_workers = 1;
  std::vector<Nanos> prefill_ns;
  std::vector<Nanos> decode_ns;
};

struct Times {
  std::vector<Nanos> due, started, ended;

  explicit Times(std::size_t requests)
      : due(requests, -1), started(requests, -1), ended(requests, -1) {}
  friend bool operator==(const Times&, const Times&) = default;
};

/// Work that ends: prefills first, then the order of the trace.
struct End {
  Nanos time;
  WorkKind kind;
  std::uint64_t request;

  friend auto operator<=>(const End&, const End&) = default;
};

/// Does what the coordinator does, and wakes up only when it would.
class Drive {
 public:
  Drive(std::span<const TraceRequest> requests, const ScheduleOptions& options,
        const Machine& machine)
      : machine_(machine),
        schedule_(requests, options),
        times_(requests.size()),
        idle_prefill_(options.prefill_workers),
        idle_decode_(machine.decode_workers),
        // Of each request an arrival and two ends, and a turn that is held until another's end.
        wakes_left_(4 * requests.size() + 2) {}

  Times Run() {
    while (!schedule_.Done() && wakes_left_-- > 0) {
      Dispatch();
      std::optional<Nanos> next;
      if (!running_.empty()) next = running_.begin()->time;
      const std::optional<Nanos> due = schedule_.NextDue();
      if (idle_prefill_ > 0 && due.has_value()) next = std::min(next.value_or(*due), *due);
      if (!next.has_value()) break;  // nothing would ever happen again
      now_ = std::max(now_, *next);
      while (!running_.empty() && running_.begin()->time == now_) EndFirst();
    }
    EXPECT_TRUE(schedule_.Done()) << "stuck, or spinning, at " << now_;
    return times_;
  }

 private:
  void Dispatch() {
    while (idle_decode_ > 0) {
      const std::optional<std::uint64_t> request = schedule_.TakeDecode();
      if (!request.has_value()) break;
      --idle_decode_;
      running_.insert({now_ + machine_.decode_ns[*request], WorkKind::kDecode, *request});
    }
    while (idle_prefill_ > 0) {
      const std::optional<Arrival> arrival = schedule_.TakePrefill(now_);
      if (!arrival.has_value()) break;
      --idle_prefill_;
      EXPECT_EQ(times_.started[arrival->request], -1) << "started twice";
      times_.started[arrival->request] = now_;
      times_.due[arrival->request] = arrival->due;
      running_.insert(
          {now_ + machine_.prefill_ns[arrival->request], WorkKind::kPrefill, arrival->request});
    }
  }

  void EndFirst() {
    const End end = *running_.begin();
    running_.erase(running_.begin());
    if (end.kind == WorkKind::kPrefill) {
      ++idle_prefill_;
      return schedule_.PrefillEnded(end.request);
    }
    ++idle_decode_;
    times_.ended[end.request] = now_;
    schedule_.DecodeEnded(end.request, now_);
  }

  const Machine& machine_;
  Schedule schedule_;
  Times times_;
  std::uint32_t idle_prefill_;
  std::uint32_t idle_decode_;
  std::size_t wakes_left_;
  Nanos now_ = 0;
  std::set<End> running_;
};

/// The rules of arrivals.h and schedule.h read aloud: at every moment at which anything can happen
/// it looks at every request.
class Oracle {
 public:
  Oracle(std::span<const TraceRequest> requests, const ScheduleOptions& options,
         const Machine& machine)
      : requests_(requests), options_(options), machine_(machine), times_(requests.size()) {}

  Times Run() {
    if (options_.pace.pace == Pace::kOpen) {
      for (std::size_t request = 0; request < requests_.size(); ++request) {
        times_.due[request] = Scaled(requests_[request].timestamp_ms - requests_[0].timestamp_ms);
      }
    }
    Nanos now = 0;
    AdmitSessions(now);
    while (std::ranges::count(times_.ended, -1) > 0) {
      while (StartDecode(now)) {
      }
      while (StartPrefill(now)) {
      }
      now = NextMoment(now);
      while (!running_.empty() && running_.begin()->time == now) EndFirst(now);
      AdmitSessions(now);
    }
    return times_;
  }

 private:
  [[nodiscard]] Nanos Scaled(std::uint64_t ms) const {
    return std::llround(static_cast<double>(ms) * 1e6 / options_.pace.speed);
  }
  [[nodiscard]] bool SameSession(std::size_t a, std::size_t b) const {
    return requests_[a].session != kNoSession && requests_[a].session == requests_[b].session;
  }
  [[nodiscard]] std::optional<std::size_t> Before(std::size_t request) const {
    for (std::size_t other = request; other-- > 0;) {
      if (SameSession(other, request)) return other;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::optional<std::size_t> After(std::size_t request) const {
    for (std::size_t other = request + 1; other < requests_.size(); ++other) {
      if (SameSession(other, request)) return other;
    }
    return std::nullopt;
  }

  /// Closed loop: sessions with a due, unended turn are under way, as are those that think.
  void AdmitSessions(Nanos now) {
    if (options_.pace.pace != Pace::kClosed) return;
    for (std::size_t request = 0; request < requests_.size(); ++request) {
      std::size_t under_way = 0;
      for (std::size_t other = 0; other < requests_.size(); ++other) {
        if (times_.due[other] >= 0 && times_.ended[other] < 0) ++under_way;
      }
      if (under_way >= options_.pace.concurrency) return;
      if (times_.due[request] < 0 && !Before(request).has_value()) times_.due[request] = now;
    }
  }

  bool StartDecode(Nanos now) {
    if (decoding_ == machine_.decode_workers || handed_on_.empty()) return false;
    const std::size_t request = handed_on_.front();
    handed_on_.erase(handed_on_.begin());
    ++decoding_;
    running_.insert({now + machine_.decode_ns[request], WorkKind::kDecode, request});
    return true;
  }

  bool StartPrefill(Nanos now) {
    if (prefilling_ + handed_on_.size() >= options_.prefill_workers) return false;
    if (options_.lockstep && prefilling_ + handed_on_.size() + decoding_ > 0) return false;
    std::optional<std::size_t> first;
    for (std::size_t request = 0; request < requests_.size(); ++request) {
      if (times_.started[request] >= 0) continue;
      if (options_.pace.pace == Pace::kAsFastAsPossible) times_.due[request] = now;
      if (times_.due[request] < 0 || times_.due[request] > now) continue;
      const std::optional<std::size_t> before = Before(request);
      const bool any_turn = options_.pace.pace == Pace::kAsFastAsPossible;
      if (!any_turn && before.has_value() && times_.ended[*before] < 0) continue;
      if (!first.has_value() || times_.due[request] < times_.due[*first]) first = request;
    }
    if (!first.has_value()) return false;
    times_.started[*first] = now;
    ++prefilling_;
    running_.insert({now + machine_.prefill_ns[*first], WorkKind::kPrefill, *first});
    return true;
  }

  [[nodiscard]] Nanos NextMoment(Nanos now) const {
    Nanos next = running_.empty() ? kForever : running_.begin()->time;
    for (const Nanos due : times_.due) {
      if (due > now) next = std::min(next, due);
    }
    return next;
  }

  void EndFirst(Nanos now) {
    const End end = *running_.begin();
    running_.erase(running_.begin());
    if (end.kind == WorkKind::kPrefill) {
      --prefilling_;
      handed_on_.push_back(end.request);
      return;
    }
    --decoding_;
    times_.ended[end.request] = now;
    const std::optional<std::size_t> turn = After(end.request);
    if (options_.pace.pace != Pace::kClosed || !turn.has_value()) return;
    const std::uint64_t gap = requests_[*turn].timestamp_ms - requests_[end.request].timestamp_ms;
    times_.due[*turn] = now + options_.pace.think.value_or(Scaled(gap));
  }

  std::span<const TraceRequest> requests_;
  ScheduleOptions options_;
  const Machine& machine_;
  Times times_;
  std::size_t prefilling_ = 0;
  std::size_t decoding_ = 0;
  std::vector<std::size_t> handed_on_;
  std::set<End> running_;
};

/// Bursts, pauses, sessions that overlap, requests without one.
std::vector<TraceRequest> DrawRequests(SeededRandom& random) {
  std::vector<TraceRequest> requests(random.Between(1, 60));
  const std::uint64_t sessions = random.Between(0, 12);
  std::uint64_t time_ms = random.Below(1'000'000);
  for (TraceRequest& request : requests) {
    if (random.Chance(0.5)) time_ms += random.Below(100);
    request.timestamp_ms = time_ms;
    if (sessions > 0 && random.Chance(0.8)) {
      request.session = static_cast<std::uint32_t>(random.Below(sessions));
    }
  }
  return requests;
}

PaceOptions DrawPace(SeededRandom& random) {
  PaceOptions pace;
  pace.pace = static_cast<Pace>(random.Below(3));
  constexpr double kSpeeds[] = {0.5, 1, 3, 10};
  pace.speed = kSpeeds[random.Below(4)];
  pace.concurrency = static_cast<std::uint32_t>(random.Between(1, 8));
  if (pace.pace == Pace::kClosed && random.Chance(0.5)) {
    pace.think = static_cast<Nanos>(random.Below(2) * random.Below(50) * kMillisecond);
  }
  return pace;
}

TEST(ScheduleTest, EveryRequestStartsExactlyWhenTheRulesSay) {
  const std::uint64_t seed = SystemRandom().Next();
  for (std::uint64_t round = 0; round < 1'000; ++round) {
    SCOPED_TRACE("seed " + std::to_string(seed) + ", round " + std::to_string(round));
    SeededRandom random(seed + round);
    const std::vector<TraceRequest> requests = DrawRequests(random);
    ScheduleOptions options;
    options.pace = DrawPace(random);
    options.prefill_workers = static_cast<std::uint32_t>(random.Between(1, 4));
    options.lockstep = options.pace.pace == Pace::kAsFastAsPossible && random.Chance(0.5);
    Machine machine;
    machine.decode_workers = static_cast<std::uint32_t>(random.Between(1, 4));
    const std::uint64_t longest = random.Chance(0.5) ? 5'000'000 : 60'000'000;  // ns
    for (std::size_t request = 0; request < requests.size(); ++request) {
      machine.prefill_ns.push_back(static_cast<Nanos>(1 + random.Below(longest)));
      machine.decode_ns.push_back(static_cast<Nanos>(1 + random.Below(longest)));
    }
    ASSERT_TRUE(CheckPace(options.pace, requests).ok());
    ASSERT_EQ(Drive(requests, options, machine).Run(), Oracle(requests, options, machine).Run());
  }
}

}  // namespace
}  // namespace terrace::replay
