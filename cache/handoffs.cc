#include "cache/handoffs.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/counter.h"
#include "cache/arrivals.h"

namespace terrace {
namespace {

/// What became of a block whose reservation ends so.
StatusCode ReasonOf(const OpenPut& put, PutEnd how) {
  switch (how) {
    case PutEnd::kCommitted: return StatusCode::kOk;
    case PutEnd::kAborted:
      if (put.failure == StatusCode::kOk) return StatusCode::kCancelled;
      return put.failure == StatusCode::kRetry ? StatusCode::kMiss : put.failure;
    case PutEnd::kExpired: return StatusCode::kExpired;
    case PutEnd::kAbandoned: return StatusCode::kPeerDead;
  }
  return StatusCode::kInternal;
}

PutEnd EndOf(StatusCode why) {
  switch (why) {
    case StatusCode::kExpired: return PutEnd::kExpired;
    case StatusCode::kPeerDead: return PutEnd::kAbandoned;
    default: return PutEnd::kAborted;
  }
}

}  // namespace

// ---- one of them ----

Handoff::Block* Handoff::Find(std::uint32_t position) noexcept {
  const auto found =
      std::lower_bound(blocks.begin(), blocks.end(), position,
                       [](const Block& block, std::uint32_t at) { return block.position < at; });
  return found != blocks.end() && found->position == position ? &*found : nullptr;
}

void Handoff::OnChanged(OpenPut& put) { all_.OnChanged(*this, put); }

void Handoff::OnEnding(OpenPut& put, PutEnd how) { all_.OnEnding(*this, put, how); }

// ---- all of them ----

Handoffs::~Handoffs() { TERRACE_CHECK(open_.empty()); }

Result<HandoffRef> Handoffs::Open(HandoffNumber number, const std::string& tenant,
                                  std::uint64_t client, std::size_t blocks) {
  const auto refused = [this](std::string why) {
    Count(cache_.counters.handoffs_refused);
    return Status(StatusCode::kRetry, std::move(why));
  };
  if (open_.contains(number) || past_.contains(number)) {
    return Status::Invalid("handoff: this number was opened before");
  }
  const auto own = usage_.find(client);
  if (own != usage_.end() && own->second.open >= kOpenPerClientMax) {
    return refused("this client has " + std::to_string(own->second.open) + " hand-offs open");
  }
  if (open_.size() >= kOpenMax || blocks_ + blocks > kBlocksMax) {
    return refused("all clients have " + std::to_string(open_.size()) + " hand-offs of " +
                   std::to_string(blocks_) + " blocks open: at most " + std::to_string(kOpenMax) +
                   " and " + std::to_string(kBlocksMax));
  }
  auto handoff = std::make_shared<Handoff>(*this, number, tenant);
  handoff->owner = client;
  handoff->clients = {client};
  handoff->opening = true;
  handoff->blocks.reserve(blocks);
  handoff->planned = blocks;
  blocks_ += blocks;
  open_[number] = handoff;
  ++usage_[client].open;
  Count(cache_.counters.handoffs_opened);
  CountNow();
  return handoff;
}

HandoffRef Handoffs::Find(HandoffNumber number, const std::string& tenant) const {
  const auto found = open_.find(number);
  if (found == open_.end() || found->second->tenant != tenant) return nullptr;
  return found->second;
}

StatusCode Handoffs::Ended(HandoffNumber number, const std::string& tenant) const {
  const auto found = past_.find(number);
  if (found == past_.end() || found->second.tenant != tenant) return StatusCode::kMiss;
  return found->second.why;
}

bool Handoffs::HasRoom(const Handoff& handoff, std::uint64_t block_bytes) const {
  const std::uint64_t arena = cache_.options.arena.capacity_bytes;
  const auto own = usage_.find(handoff.owner);
  return bytes_ + block_bytes <= arena / kShare &&
         (own == usage_.end() || own->second.bytes + block_bytes <= arena / kClientShare);
}

void Handoffs::Add(const HandoffRef& handoff, Handoff::Block block) {
  const std::uint64_t bytes = block.put != nullptr ? block.put->bytes : block.pin.bytes().size();
  handoff->pinned_bytes += bytes;
  usage_[handoff->owner].bytes += bytes;
  bytes_ += bytes;
  if (block.put != nullptr) ++handoff->unfinished;
  handoff->blocks.push_back(std::move(block));
}

void Handoffs::Opened(const HandoffRef& handoff) {
  handoff->opening = false;
  Touch(*handoff);
  CountNow();
  cache_.arrivals.Tell(Arrivals::Of(handoff->number));
  if (std::exchange(watching_, true)) {
    changed_.Set();
  } else {
    changed_.Reset();
    tasks_.Spawn(Watch());
  }
  EndWhenDone(handoff);
}

void Handoffs::Touch(Handoff& handoff) {
  const bool complete = handoff.unfinished == 0 && !handoff.opening;
  handoff.expires = cache_.clock.Now() + (complete ? handoff.keep : handoff.patience);
}

void Handoffs::Join(Handoff& handoff, std::uint64_t client) {
  if (std::find(handoff.clients.begin(), handoff.clients.end(), client) == handoff.clients.end()) {
    handoff.clients.push_back(client);
  }
  Touch(handoff);
}

void Handoffs::Unpin(Handoff& handoff, Handoff::Block& block) {
  const std::uint64_t bytes = block.pin.bytes().size();
  if (bytes == 0) return;
  handoff.pinned_bytes -= bytes;
  usage_[handoff.owner].bytes -= bytes;
  bytes_ -= bytes;
  block.pin = Hold();
}

void Handoffs::OnChanged(Handoff& handoff, OpenPut& put) {
  cache_.arrivals.Tell(Arrivals::Of(put.locator));
  if (handoff.ended || put.ended || put.committing) return;
  Touch(handoff);
  // Complete, or cleared: then its end is that it has no end to come to.
  if (!put.cleared && !put.ranges.Complete()) return;
  put.committing = true;  // from now on: its turn comes later
  complete_.push_back(put.shared_from_this());
  if (!std::exchange(commits_, true)) tasks_.Spawn(CommitBlocks());
}

Task<void> Handoffs::CommitBlocks() {
  const Cache::Impl::FlowCount counted(cache_);
  // Receivers wait for the last layer, and nobody for its block: to hash it comes after the
  // transfers, unless they never end.
  constexpr Nanos kStep = kMillisecond / 5;
  constexpr int kStepsMax = 25;
  int step = 0;  // of all of them together
  while (!complete_.empty()) {
    for (; step < kStepsMax && cache_.slots.busy(); ++step) {
      co_await SleepUntil{cache_.clock.Now() + kStep};
    }
    const OpenPutRef put = std::move(complete_.front());
    complete_.pop_front();
    (void)co_await cache_.CommitPut(put, Ack::kCommitted);  // OnEnding hears how it ended
  }
  commits_ = false;
}

void Handoffs::OnEnding(Handoff& handoff, OpenPut& put, PutEnd how) {
  Handoff::Block& block = *handoff.Find(put.position);
  block.state = ReasonOf(put, how);
  if (how == PutEnd::kCommitted && put.pin && handoff.receivers > 0) {
    block.pin = cache_.arena->Pin(put.frame);
    TERRACE_CHECK(block.pin.bytes().size() == put.bytes);
  } else {
    handoff.pinned_bytes -= put.bytes;
    usage_[handoff.owner].bytes -= put.bytes;
    bytes_ -= put.bytes;
  }
  block.put.reset();
  --handoff.unfinished;
  CountNow();
  cache_.arrivals.Tell(Arrivals::Of(put.locator));
  if (handoff.ended || handoff.opening || handoff.unfinished > 0) return;
  Touch(handoff);  // from now on it is kept
  changed_.Set();
  EndWhenDone(Find(handoff.number, handoff.tenant));
}

void Handoffs::EndWhenDone(const HandoffRef& handoff) {
  if (handoff == nullptr || handoff->ended || handoff->opening) return;
  if (handoff->unfinished == 0 && handoff->receivers == 0) End(handoff, StatusCode::kOk);
}

void Handoffs::Acknowledge(const HandoffRef& handoff) {
  if (handoff->receivers > 0 && --handoff->receivers == 0) {
    for (Handoff::Block& block : handoff->blocks) Unpin(*handoff, block);
    CountNow();
  }
  EndWhenDone(handoff);
}

void Handoffs::End(const HandoffRef& handoff, StatusCode why) {
  TERRACE_CHECK(!handoff->ended);
  handoff->ended = true;
  for (std::size_t i = 0; i < handoff->blocks.size(); ++i) {
    // A copy: its end takes it out.
    if (const OpenPutRef put = handoff->blocks[i].put; put != nullptr) {
      cache_.reservations->Finish(put, EndOf(why));
    }
    Unpin(*handoff, handoff->blocks[i]);
  }
  TERRACE_CHECK(handoff->pinned_bytes == 0 && handoff->unfinished == 0);
  blocks_ -= handoff->planned;
  const auto usage = usage_.find(handoff->owner);
  if (--usage->second.open == 0) usage_.erase(usage);
  past_[handoff->number] = {.tenant = handoff->tenant, .why = why};
  past_order_.push_back(handoff->number);
  if (past_order_.size() > kEndedMax) {
    past_.erase(past_order_.front());
    past_order_.pop_front();
  }
  CacheCounters& counters = cache_.counters;
  switch (why) {
    case StatusCode::kOk: Count(counters.handoffs_completed); break;
    case StatusCode::kCancelled: Count(counters.handoffs_aborted); break;
    case StatusCode::kPeerDead: Count(counters.handoffs_abandoned); break;
    default: Count(counters.handoffs_expired);
  }
  for (const Handoff::Block& block : handoff->blocks) {
    cache_.arrivals.Tell(Arrivals::Of(block.locator));
  }
  cache_.arrivals.Tell(Arrivals::Of(handoff->number));
  open_.erase(handoff->number);
  CountNow();
  if (open_.empty()) changed_.Set();
}

void Handoffs::OnClientGone(std::uint64_t client) {
  std::vector<HandoffRef> left;
  for (const auto& [number, handoff] : open_) {
    std::erase(handoff->clients, client);
    // One that is complete, or has all its bytes, stays for its receivers.
    const auto& blocks = handoff->blocks;
    const bool waits =
        handoff->opening || std::any_of(blocks.begin(), blocks.end(), [](const auto& block) {
          return block.put != nullptr && (!block.put->committing || block.put->cleared);
        });
    if (handoff->clients.empty() && waits) left.push_back(handoff);
  }
  for (const HandoffRef& handoff : left) End(handoff, StatusCode::kPeerDead);
}

Task<void> Handoffs::Watch() {
  constexpr Nanos kLookPause = 10 * kMillisecond;
  constexpr Nanos kLookAgain = kSecond;  // a touch moves the end without a word
  while (!open_.empty()) {
    const Nanos now = cache_.clock.Now();
    Nanos next = now + kLookAgain;
    std::vector<HandoffRef> late;
    for (const auto& [number, handoff] : open_) {
      if (handoff->opening || handoff->sends > 0) continue;
      const auto& blocks = handoff->blocks;
      const bool moves =
          handoff->unfinished > 0 && std::any_of(blocks.begin(), blocks.end(), [](const auto& one) {
            return one.put != nullptr && (one.put->in_flight() > 0 || one.put->committing);
          });
      if (moves) continue;
      if (handoff->expires <= now) {
        late.push_back(handoff);
      } else {
        next = std::min(next, handoff->expires);
      }
    }
    for (const HandoffRef& handoff : late) {
      End(handoff, handoff->unfinished > 0 ? StatusCode::kExpired : StatusCode::kOk);
    }
    if (open_.empty()) break;
    (void)co_await changed_.WaitUntil(next);
    // Whoever wakes it again and again does not make it look as often.
    co_await SleepUntil{cache_.clock.Now() + kLookPause};
    changed_.Reset();
  }
  watching_ = false;
}

Task<void> Handoffs::Close() {
  while (!open_.empty()) End(HandoffRef(open_.begin()->second), StatusCode::kPeerDead);
  co_await tasks_.Join();
}

void Handoffs::CountNow() {
  cache_.counters.handoffs.store(open_.size(), std::memory_order_relaxed);
  cache_.counters.handoff_bytes.store(bytes_, std::memory_order_relaxed);
}

}  // namespace terrace
