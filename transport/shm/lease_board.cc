#include "transport/shm/lease_board.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <utility>

#include "base/counter.h"

namespace terrace {

LeaseBoard::LeaseBoard(std::shared_ptr<SharedPage> page, Scheduler& scheduler, LeaseBudget host,
                       LeaseBudget device, std::uint32_t first_generation)
    : page_(std::move(page)),
      scheduler_(scheduler),
      host_{.budget = host},
      device_{.budget = device},
      first_generation_(first_generation) {}

LeaseBoard::~LeaseBoard() {
  if (timer_) scheduler_.CancelTimer(*timer_);
  while (!by_end_.empty()) Expire(by_end_.begin()->second);
}

Status LeaseBoard::CanLend(const LentPlace& place, std::uint64_t bytes) {
  Collect();
  const Kind& kind = KindOf(place);
  LeaseCounters& counters = kind.budget.counters;
  const std::uint64_t bytes_max = kind.budget.bytes_max;
  if (bytes_max == 0) return {StatusCode::kUnsupported, "lending is turned off"};
  const std::uint64_t all = counters.bytes_now.load(std::memory_order_relaxed);
  const bool no_slot = free_.empty() && slots_.size() >= kLeaseSlots;
  if (no_slot || kind.bytes + bytes > bytes_max / 2 || all + bytes > bytes_max) {
    Count(counters.refused);
    return {StatusCode::kRetry, "the client holds " + std::to_string(leases_) + " blocks lent, " +
                                    std::to_string(kind.bytes) + " bytes of such memory; " +
                                    std::to_string(all) + " of at most " +
                                    std::to_string(bytes_max) + " bytes are lent in all"};
  }
  return {};
}

Result<Loan> LeaseBoard::Lend(Hold frame, const LentPlace& place, Nanos until) {
  const std::uint64_t bytes = frame.bytes().size();
  if (Status status = CanLend(place, bytes); !status.ok()) return status;
  Kind& kind = KindOf(place);
  LeaseCounters& counters = kind.budget.counters;
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.push_back({.frame = {}, .generation = first_generation_, .until = {}, .place = {}});
    page_->layout().generations[free_.back()].store(slots_.back().generation,
                                                    std::memory_order_release);
  }
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  Lease& lease = slots_[slot];
  lease.frame = std::move(frame);
  lease.until = by_end_.emplace(until, slot);
  lease.place = place;
  ++leases_;
  kind.bytes += bytes;
  Count(counters.granted);
  Count(counters.now);
  Count(counters.bytes_now, bytes);
  if (!timer_) SetTimer();
  return Loan{.place = place, .bytes = bytes, .slot = slot, .generation = lease.generation};
}

void LeaseBoard::End(std::uint32_t slot) {
  Lease& lease = slots_[slot];
  // Seen before anything that is then written to the frame. The fence says so, not the order of the
  // store: later stores that are not atomic may overtake that one.
  page_->layout().generations[slot].store(++lease.generation, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  by_end_.erase(lease.until);
  const std::uint64_t bytes = lease.frame.bytes().size();
  Kind& kind = KindOf(lease.place);
  --leases_;
  kind.bytes -= bytes;
  Uncount(kind.budget.counters.now);
  Uncount(kind.budget.counters.bytes_now, bytes);
  // Never a generation twice: somebody may have slept over four thousand million leases.
  if (lease.generation != std::numeric_limits<std::uint32_t>::max()) free_.push_back(slot);
  lease.frame = Hold();
}

void LeaseBoard::Collect() {
  if (leases_ == 0) return;
  SharedLayout& layout = page_->layout();
  for (std::uint32_t word = 0; word * 64 < slots_.size(); ++word) {
    std::atomic<std::uint64_t>& bits = layout.released_bits[word];
    if (bits.load(std::memory_order_relaxed) == 0) continue;
    for (std::uint64_t set = bits.exchange(0, std::memory_order_acquire); set != 0;
         set &= set - 1) {
      const std::uint32_t slot = word * 64 + static_cast<std::uint32_t>(std::countr_zero(set));
      // The client's word, so it counts only for a lease that it has.
      if (slot >= slots_.size() || !slots_[slot].frame ||
          layout.released[slot].load(std::memory_order_relaxed) != slots_[slot].generation) {
        continue;
      }
      Count(KindOf(slots_[slot].place).budget.counters.released);
      End(slot);
    }
  }
  const Nanos now = scheduler_.Now();
  while (!by_end_.empty() && by_end_.begin()->first <= now) Expire(by_end_.begin()->second);
}

void LeaseBoard::Expire(std::uint32_t slot) {
  Count(KindOf(slots_[slot].place).budget.counters.expired);
  End(slot);
}

template <typename Which>
void LeaseBoard::EndThose(const Which& which) {
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].frame && which(slots_[slot].place)) Expire(slot);
  }
}

void LeaseBoard::EndIn(std::uint32_t first, std::uint32_t last) {
  EndThose([=](const LentPlace& at) { return at.extent >= first && at.extent <= last; });
}

void LeaseBoard::EndAt(const LentPlace& place) {
  EndThose([&place](const LentPlace& at) {
    return at.extent == place.extent && at.edition == place.edition && at.offset == place.offset;
  });
}

void LeaseBoard::SetTimer() {
  timer_ = scheduler_.AddTimer(scheduler_.Now() + kCollectPeriod, [this] {
    timer_.reset();
    Collect();
    if (leases_ > 0) SetTimer();
  });
}

}  // namespace terrace
