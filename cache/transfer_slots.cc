#include "cache/transfer_slots.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace terrace {

TransferSlots::TransferSlots(std::size_t slots)
    : free_(slots), held_per_link_max_(std::max<std::size_t>(slots / kLinkShare, 1)) {}

TransferSlots::~TransferSlots() { TERRACE_CHECK(waiting_ == 0); }

Task<Status> TransferSlots::Acquire(const Link* link, Nanos deadline) {
  if (waiting_ >= kWaitersMax) {
    co_return Status(StatusCode::kRetry,
                     std::to_string(kWaitersMax) + " transfers wait for a slot already");
  }
  const auto share = shares_.try_emplace(link).first;
  Event granted;
  const auto place = share->second.waiters.insert(share->second.waiters.end(), &granted);
  ++waiting_;
  Queue(link, share->second);
  GrantFree();
  // A grant that comes between the timer and this coroutine's turn is taken: GrantFree has removed
  // the place from the list then, and the event says so.
  if (co_await granted.WaitUntil(deadline)) co_return Status::Ok();
  share->second.waiters.erase(place);
  --waiting_;
  Tidy(share);
  co_return Status(StatusCode::kTimeout, "the deadline passed while waiting for a transfer slot");
}

void TransferSlots::Release(const Link* link) {
  const auto share = shares_.find(link);
  TERRACE_CHECK(share != shares_.end() && share->second.held > 0);
  --share->second.held;
  ++free_;
  Queue(link, share->second);
  GrantFree();
  Tidy(share);
}

void TransferSlots::Queue(const Link* link, Share& share) {
  if (share.has_turn || share.waiters.empty() || share.held >= held_per_link_max_) return;
  share.has_turn = true;
  turns_.push_back(link);
}

void TransferSlots::GrantFree() {
  while (free_ > 0 && !turns_.empty()) {
    const Link* const link = turns_.front();
    turns_.pop_front();
    Share& share = shares_.find(link)->second;
    share.has_turn = false;
    Event* const granted = share.waiters.front();
    share.waiters.pop_front();
    --waiting_;
    --free_;
    ++share.held;
    granted->Set();
    Queue(link, share);
  }
}

void TransferSlots::Tidy(Shares::iterator share) {
  if (!share->second.waiters.empty()) return;
  if (share->second.has_turn) turns_.remove(share->first);  // as many links as clients, at most
  share->second.has_turn = false;
  if (share->second.held == 0) shares_.erase(share);
}

}  // namespace terrace
