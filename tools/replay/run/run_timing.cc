#include "tools/replay/run/run_timing.h"

namespace terrace::replay {

void RunTiming::PrefillStarted(const Arrival& arrival, Nanos now) {
  const Nanos waited = now - arrival.due;
  if (pace_ != Pace::kAsFastAsPossible) queue_.Add(waited);
  if (waited > kLateAfter) ++late_;
  underway_[arrival.request] = {.due = arrival.due, .started = now};
}

void RunTiming::PrefillEnded(std::uint64_t request, Nanos now) {
  const auto found = underway_.find(request);
  if (found != underway_.end()) prefill_.Add(now - found->second.started);
}

void RunTiming::DecodeEnded(std::uint64_t request, Nanos now) {
  const auto found = underway_.find(request);
  if (found == underway_.end()) return;
  request_.Add(now - found->second.due);
  underway_.erase(found);
}

}  // namespace terrace::replay
