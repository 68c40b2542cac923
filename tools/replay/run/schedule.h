// Schedule: which request is prefilled and decoded next. Pure: no processes, no clock; `now` is the
// time since the run began, ns, and never goes back.
//
//   S1. Prefills start in the order in which Arrivals hands requests out (arrivals.h); a request
//       is decoded after its prefill ended, decodes start in the order in which prefills ended.
//   S2. At most `prefill_workers` requests wait between prefill and decode, so that decodes follow
//       closely and nothing grows without bound. What is due meanwhile waits before its prefill,
//       where the delay is counted.
//   S3. In lockstep, nothing overlaps: the decode of a request ends before the next prefill starts.
//
// Thread: one. Lifetime: the requests outlive this.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>

#include "tools/replay/run/arrivals.h"

namespace terrace::replay {

struct ScheduleOptions {
  std::uint32_t prefill_workers = 1;
  bool lockstep = false;
  PaceOptions pace;
};

class Schedule {
 public:
  /// REQUIRES: CheckPace(options.pace, requests).
  Schedule(std::span<const TraceRequest> requests, const ScheduleOptions& options)
      : options_(options), requests_(requests.size()), arrivals_(requests, options.pace) {}

  /// The request that an idle prefill worker shall do now; nullopt when there is none.
  std::optional<Arrival> TakePrefill(Nanos now) {
    if (!HasRoom()) return std::nullopt;
    const std::optional<Arrival> arrival = arrivals_.Take(now);
    if (arrival.has_value()) ++prefilling_;
    return arrival;
  }
  void PrefillEnded(std::uint64_t request) {
    --prefilling_;
    waiting_.push_back(request);
  }
  /// The request that an idle decode worker shall do now; nullopt when there is none.
  std::optional<std::uint64_t> TakeDecode() {
    if (waiting_.empty()) return std::nullopt;
    const std::uint64_t request = waiting_.front();
    waiting_.pop_front();
    ++decoding_;
    return request;
  }
  void DecodeEnded(std::uint64_t request, Nanos now) {
    --decoding_;
    ++finished_;
    arrivals_.Ended(request, now);
  }
  /// When an idle prefill worker that got nothing shall ask again, should nothing end before:
  /// perhaps in the past. nullopt: only when something ends.
  [[nodiscard]] std::optional<Nanos> NextDue() const {
    return HasRoom() ? arrivals_.NextDue() : std::nullopt;
  }

  [[nodiscard]] std::uint64_t finished() const noexcept { return finished_; }
  [[nodiscard]] bool Done() const noexcept { return finished_ == requests_; }
  [[nodiscard]] std::uint64_t turns_held() const noexcept { return arrivals_.turns_held(); }

 private:
  [[nodiscard]] bool HasRoom() const noexcept {
    if (options_.lockstep) return prefilling_ == 0 && decoding_ == 0 && waiting_.empty();
    return waiting_.size() + prefilling_ < options_.prefill_workers;
  }

  ScheduleOptions options_;
  std::uint64_t requests_;
  Arrivals arrivals_;
  std::uint64_t finished_ = 0;
  std::size_t prefilling_ = 0;
  std::size_t decoding_ = 0;
  std::deque<std::uint64_t> waiting_;  // between prefill and decode
};

}  // namespace terrace::replay
