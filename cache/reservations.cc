#include "cache/reservations.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/counter.h"

namespace terrace {
namespace {

constexpr std::size_t kCommittedMax = 1024;  // remembered, to tell an abort that comes too late

bool SameToken(const PutTokenParts& left, const PutTokenParts& right) {
  return left.slot == right.slot && left.nonce[0] == right.nonce[0] &&
         left.nonce[1] == right.nonce[1];
}

}  // namespace

// ---- one of them ----

Hold OpenPut::HoldFragment(Hold frame_pin, std::uint64_t offset, std::uint64_t length) {
  Flight& flight = in_flight_[offset];
  TERRACE_CHECK(flight.self == nullptr);
  const std::span<std::byte> part = frame_pin.bytes().subspan(offset, length);
  flight.self = shared_from_this();
  flight.frame_pin = std::move(frame_pin);
  return {part, this, offset};
}

void OpenPut::FinishFragment(std::uint64_t offset, bool written, std::vector<std::uint64_t> sums) {
  Flight& flight = in_flight_.at(offset);
  flight.ended = true;
  flight.written = written;
  flight.sums = std::move(sums);
  if (flight.released) Land(offset);
}

void OpenPut::Release(std::uint64_t offset) noexcept {
  Flight& flight = in_flight_.at(offset);
  flight.released = true;
  if (flight.ended) Land(offset);
}

void OpenPut::Land(std::uint64_t offset) {
  auto flight = in_flight_.extract(offset);
  if (flight.mapped().written) {
    ranges.Finish(offset, std::move(flight.mapped().sums));
  } else {
    ranges.Free(offset);
  }
  if (watcher != nullptr) watcher->OnChanged(*this);
  // Last: with it the frame may go, and this.
  flight.mapped().frame_pin = Hold();
}

// ---- all of them ----

Reservations::~Reservations() { TERRACE_CHECK(open_.empty()); }

void Reservations::Name(Random& random, std::uint64_t incarnation, std::uint16_t reactor) {
  random_ = &random;
  incarnation_ = incarnation;
  reactor_ = reactor;
}

Status Reservations::CheckLimits(std::uint64_t client, std::uint64_t block_bytes) const {
  if (random_ == nullptr) {
    return {StatusCode::kUnsupported, "this daemon takes no reservations"};
  }
  const std::uint64_t arena = cache_.options.arena.capacity_bytes;
  const auto found = usage_.find(client);
  const Usage own = found == usage_.end() ? Usage{} : found->second;
  const auto refused = [](const std::string& who, const Usage& usage, std::size_t open_max,
                          std::uint64_t bytes_max) {
    return Status(StatusCode::kRetry, who + " " + std::to_string(usage.open) + " reservations of " +
                                          std::to_string(usage.bytes) + " bytes open: at most " +
                                          std::to_string(open_max) + " and " +
                                          std::to_string(bytes_max) + " bytes");
  };
  if (own.open >= kOpenPerClientMax || own.bytes + block_bytes > arena / kClientShare) {
    return refused("this client has", own, kOpenPerClientMax, arena / kClientShare);
  }
  if (open_.size() >= kOpenMax || bytes_ + block_bytes > arena / kShare) {
    return refused("all clients have", {open_.size(), bytes_}, kOpenMax, arena / kShare);
  }
  return {};
}

void Reservations::Open(const OpenPutRef& put, std::uint64_t client, Nanos patience) {
  // Slots are used in turn, so that an old token rarely meets a new reservation; if it does, the
  // nonce tells them apart.
  while (open_.contains(next_slot_)) next_slot_ = (next_slot_ + 1) % kOpenMax;
  put->token = {.incarnation = incarnation_,
                .version = kPutTokenVersion,
                .reactor = reactor_,
                .slot = next_slot_,
                .nonce = {random_->Next(), random_->Next()}};
  next_slot_ = (next_slot_ + 1) % kOpenMax;
  put->owner = client;
  put->clients = {client};
  put->patience = patience;
  put->expires = cache_.clock.Now() + patience;
  by_block_[put->id] = put;
  if (put->watcher != nullptr) return;  // nobody has its token
  open_[put->token.slot] = put;
  Usage& usage = usage_[client];
  ++usage.open;
  usage.bytes += put->bytes;
  bytes_ += put->bytes;
  Count(cache_.counters.reservations_made);
  CountNow();
  if (std::exchange(watching_, true)) return changed_.Set();
  changed_.Reset();
  watch_.Spawn(Watch());
}

Result<OpenPutRef> Reservations::Find(const PutTokenParts& token, const std::string& tenant) const {
  if (token.version != kPutTokenVersion) {
    return Status::Invalid("token is of version " + std::to_string(token.version) + ", not " +
                           std::to_string(kPutTokenVersion));
  }
  if (token.incarnation != incarnation_ || token.reactor != reactor_) {
    return Status(StatusCode::kExpired,
                  "token is of another daemon, or of an earlier run of this one");
  }
  const auto found = open_.find(token.slot);
  // One of another tenant is as unknown as one that never was.
  if (found == open_.end() || !SameToken(found->second->token, token) ||
      found->second->space.spec.tenant != tenant) {
    return Status(StatusCode::kExpired, "token: there is no such reservation (any more)");
  }
  return found->second;
}

OpenPutRef Reservations::FindEnding(const PutTokenParts& token, const std::string& tenant) {
  std::erase_if(ending_, [](const auto& put) { return put.expired(); });
  for (const std::weak_ptr<OpenPut>& ending : ending_) {
    OpenPutRef put = ending.lock();
    if (put != nullptr && SameToken(put->token, token) && put->space.spec.tenant == tenant) {
      return put;
    }
  }
  return nullptr;
}

bool Reservations::WasCommitted(const PutTokenParts& token) const {
  return token.incarnation == incarnation_ &&
         std::find(committed_.begin(), committed_.end(), token.nonce[0]) != committed_.end();
}

void Reservations::Join(OpenPut& put, std::uint64_t client) {
  if (std::find(put.clients.begin(), put.clients.end(), client) == put.clients.end()) {
    put.clients.push_back(client);
  }
  Touch(put);
}

void Reservations::Touch(OpenPut& put) { put.expires = cache_.clock.Now() + put.patience; }

void Reservations::Finish(const OpenPutRef& put, PutEnd how) {
  TERRACE_CHECK(!put->ended);
  if (put->watcher != nullptr) put->watcher->OnEnding(*put, how);
  put->ended = true;
  if (put->watcher == nullptr) {
    open_.erase(put->token.slot);
    Uncount(*put, how);
    std::erase_if(ending_, [](const auto& ending) { return ending.expired(); });
    if (put->in_flight() > 0) ending_.push_back(put);
  }
  put->watcher = nullptr;
  if (!put->cleared) {
    by_block_.erase(put->id);
    if (how != PutEnd::kCommitted) cache_.Forget(put->id, EventCause::kNone);
  }
  put->pin = Hold();
  if (open_.empty()) changed_.Set();
}

void Reservations::Uncount(const OpenPut& put, PutEnd how) {
  if (const auto usage = usage_.find(put.owner); usage != usage_.end()) {
    usage->second.bytes -= put.bytes;
    if (--usage->second.open == 0) usage_.erase(usage);
  }
  bytes_ -= put.bytes;
  CacheCounters& counters = cache_.counters;
  switch (how) {
    case PutEnd::kCommitted:
      Count(counters.reservations_committed);
      if (committed_.size() >= kCommittedMax) committed_.pop_front();
      committed_.push_back(put.token.nonce[0]);
      break;
    case PutEnd::kAborted: Count(counters.reservations_aborted); break;
    case PutEnd::kExpired: Count(counters.reservations_expired); break;
    case PutEnd::kAbandoned: Count(counters.reservations_abandoned); break;
  }
  CountNow();
}

void Reservations::OnClientGone(std::uint64_t client) {
  std::vector<OpenPutRef> left;
  for (const auto& [slot, put] : open_) {
    std::erase(put->clients, client);
    if (put->clients.empty()) left.push_back(put);
  }
  for (const OpenPutRef& put : left) Finish(put, PutEnd::kAbandoned);
}

void Reservations::OnForgotten(BlockId id) {
  const auto found = by_block_.find(id);
  if (found == by_block_.end()) return;
  const OpenPutRef put = found->second;
  by_block_.erase(found);
  put->cleared = true;
  if (put->watcher != nullptr) put->watcher->OnChanged(*put);
  put->pin = Hold();  // fragments on their way keep the frame until they have landed
}

Nanos Reservations::NextExpiry() const {
  Nanos next = kForever;
  for (const auto& [slot, put] : open_) {
    if (put->watcher == nullptr && put->in_flight() == 0 && !put->committing)
      next = std::min(next, put->expires);
  }
  return next;
}

Task<void> Reservations::Watch() {
  // What is on its way now may land without a word: looked at again after so long.
  constexpr Nanos kLookAgain = kSecond;
  while (!open_.empty()) {
    const Nanos now = cache_.clock.Now();
    std::vector<OpenPutRef> late;
    for (const auto& [slot, put] : open_) {
      const bool idle = put->in_flight() == 0 && !put->committing;
      if (idle && put->expires <= now) late.push_back(put);
    }
    for (const OpenPutRef& put : late) Finish(put, PutEnd::kExpired);
    if (open_.empty()) break;
    (void)co_await changed_.WaitUntil(std::min(NextExpiry(), cache_.clock.Now() + kLookAgain));
    changed_.Reset();
  }
  watching_ = false;
}

Task<void> Reservations::Close() {
  while (!open_.empty()) {
    const OpenPutRef put = open_.begin()->second;
    Finish(put, PutEnd::kAbandoned);
  }
  co_await watch_.Join();
}

void Reservations::CountNow() {
  cache_.counters.reservations.store(open_.size(), std::memory_order_relaxed);
  cache_.counters.reservation_bytes.store(bytes_, std::memory_order_relaxed);
}

}  // namespace terrace
