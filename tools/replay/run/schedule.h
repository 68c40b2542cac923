// Schedule: which request is prefilled and decoded next. Pure: no processes, no time.
//
//   S1. Prefills start in the order of the trace; a request is decoded after its prefill ended,
//       decodes start in the order in which prefills ended.
//   S2. At most `prefill_workers` requests wait between prefill and decode, so that decodes follow
//       closely and nothing grows without bound.
//   S3. In lockstep, nothing overlaps: the decode of a request ends before the next prefill starts.
//
// Thread: one.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

namespace terrace::replay {

struct ScheduleOptions {
  std::uint64_t requests = 0;
  std::uint32_t prefill_workers = 1;
  bool lockstep = false;
};

class Schedule {
 public:
  explicit Schedule(const ScheduleOptions& options) : options_(options) {}

  /// The request that an idle prefill worker shall do now; nullopt when there is none.
  std::optional<std::uint64_t> TakePrefill() {
    if (next_ == options_.requests) return std::nullopt;
    if (options_.lockstep && (prefilling_ > 0 || decoding_ > 0 || !waiting_.empty())) {
      return std::nullopt;
    }
    if (waiting_.size() + prefilling_ >= Room()) return std::nullopt;
    ++prefilling_;
    return next_++;
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
  void DecodeEnded() {
    --decoding_;
    ++finished_;
  }

  [[nodiscard]] std::uint64_t finished() const noexcept { return finished_; }
  [[nodiscard]] bool Done() const noexcept { return finished_ == options_.requests; }

 private:
  [[nodiscard]] std::size_t Room() const noexcept { return options_.prefill_workers; }

  ScheduleOptions options_;
  std::uint64_t next_ = 0;
  std::uint64_t finished_ = 0;
  std::size_t prefilling_ = 0;
  std::size_t decoding_ = 0;
  std::deque<std::uint64_t> waiting_;  // between prefill and decode
};

}  // namespace terrace::replay
