// Arrivals: which request of a trace is due, and when. Pure: no processes, no clock; `now` is the
// time since the run began, ns, and never goes back.
//
//   A1. As fast as possible: every request is due at once, in the order of the trace.
//   A2. Open loop: a request is due at its timestamp, counted from the first one's and divided by
//       the speed, however many wait. A turn is handed out only once the turn before it in its
//       session has ended, since no engine could have sent it; it stays due at its own time.
//   A3. Closed loop: at most `concurrency` sessions are under way. The first turn of a session is
//       due when a place gets free, each further one its think time after the one before ended.
//       A request without a session is a session of its own.
//   A4. Of those that are due, the one that was due first goes first; then the order of the trace.
//   A5. What waits is a position in the trace, and beside it at most one turn per session under
//       way: a backlog takes no memory, however long it gets.
//
// A trace tells when turns arrived, not when they ended. So the recorded think time is the gap
// between two arrivals: it holds the answer, which a replay does not take the time to generate.
//
// Thread: one. Lifetime: the requests outlive this.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

enum class Pace : std::uint8_t { kAsFastAsPossible, kOpen, kClosed };

struct PaceOptions {
  Pace pace = Pace::kAsFastAsPossible;
  double speed = 1;                           ///< recorded time over time of the run
  std::uint32_t concurrency = 0;              ///< closed loop: most sessions under way
  std::optional<Nanos> think = std::nullopt;  ///< closed loop, between turns; nullopt: as recorded
};

inline constexpr double kSpeedMin = 0.001;
inline constexpr double kSpeedMax = 1'000'000;
inline constexpr std::uint32_t kConcurrencyMax = 1'000'000;
inline constexpr Nanos kThinkMax = 86'400 * kSecond;
/// Longest time that the timestamps of a run may span, at its speed: nobody waits longer, and sums
/// of such times do not overflow.
inline constexpr Nanos kSpanMax = 30LL * 86'400 * kSecond;

/// @return kInvalid names the option that is out of bounds, or that is too slow for the trace.
Status CheckPace(const PaceOptions& options, std::span<const TraceRequest> requests);

/// From the first timestamp to the last, as recorded, seconds.
[[nodiscard]] double RecordedSeconds(std::span<const TraceRequest> requests);

struct Arrival {
  std::uint64_t request = 0;
  Nanos due = 0;  ///< at most the `now` of Take

  friend bool operator==(const Arrival&, const Arrival&) = default;
};

class Arrivals {
 public:
  /// REQUIRES: CheckPace(options, requests).
  Arrivals(std::span<const TraceRequest> requests, const PaceOptions& options);

  /// The next request that is due, and whose turn it is; nullopt when there is none.
  std::optional<Arrival> Take(Nanos now);
  /// A request that was taken has been decoded.
  void Ended(std::uint64_t request, Nanos now);
  /// When to ask Take again, should nothing end before; perhaps in the past. It never finds
  /// anything earlier, and nothing then when that turn's predecessor is still under way. nullopt:
  /// only the end of a request can bring the next one, or there is none.
  [[nodiscard]] std::optional<Nanos> NextDue() const;

  /// Open loop: turns that were due before the one before them had ended.
  [[nodiscard]] std::uint64_t turns_held() const noexcept { return turns_held_; }

 private:
  struct Later {
    bool operator()(const Arrival& a, const Arrival& b) const noexcept {
      return a.due != b.due ? a.due > b.due : a.request > b.request;
    }
  };
  static constexpr std::uint32_t kNone = 0xffffffff;

  void LinkTurns();
  [[nodiscard]] std::uint32_t NextTurn(std::uint64_t request) const;
  /// Time of the run that passes while the trace goes from one request to another.
  [[nodiscard]] Nanos Gap(std::uint64_t from, std::uint64_t to) const;
  [[nodiscard]] Nanos DueOf(std::uint64_t request) const { return Gap(0, request); }
  [[nodiscard]] bool WaitsForTurn(std::uint64_t request) const;
  /// Closed loop: a place is free for one more session.
  void Admit(Nanos now);

  std::span<const TraceRequest> requests_;
  PaceOptions options_;
  std::uint64_t next_ = 0;  // in the trace; all before it were taken, or wait for their turn
  std::uint64_t turns_held_ = 0;
  // Of each request, both empty when there are no sessions.
  std::vector<std::uint32_t> next_turn_;
  std::vector<bool> waits_for_turn_;  // closed loop: is not the first of its session
  // Open loop: turns before next_ whose turn it is now. Closed loop: the sessions under way that
  // wait, or think.
  std::priority_queue<Arrival, std::vector<Arrival>, Later> waiting_;
};

}  // namespace terrace::replay
