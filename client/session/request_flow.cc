#include "client/session/request_flow.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/crash_point.h"
#include "client/session/lease_flow.h"
#include "client/session/lent_block.h"
#include "client/wire/event_reply.h"

namespace terrace {

void RequestFlow::Start(const RequestRef& request,
                        const std::vector<std::unique_ptr<ShardConnection>>& connections) {
  const Nanos now = shared_.scheduler.Now();
  if (now >= request->deadline) {
    return Refuse(request, Status(StatusCode::kTimeout, "the deadline passed before it was sent"));
  }
  ++active_;
  request->begun = now;
  Enlist(request);
  request->waiting = static_cast<std::uint32_t>(request->parts.size());
  SetTimer(request, request->deadline);
  for (std::uint32_t i = 0; i < request->parts.size(); ++i) {
    TERRACE_CHECK(request->parts[i].shard < connections.size());
    connections[request->parts[i].shard]->Send(request, i);
  }
}

void RequestFlow::Refuse(const RequestRef& request, Status status) {
  request->status = std::move(status);
  request->blocks.clear();
  request->lent.clear();
  request->regions.Release();
  Deliver(request);
}

void RequestFlow::Abandon(ShardConnection& connection, const Status& status) {
  for (const ShardConnection::Waiting& waiting : connection.Parts()) {
    RequestPart& part = waiting.request->parts[waiting.part];
    if (part.state != PartState::kWaiting) continue;
    StopPart(*waiting.request, part, status);
    Advance(waiting.request);
  }
}

MessageHead RequestFlow::NextHead() {
  constexpr std::uint32_t kBudget = 1'000'000;  // a ping or a cancel is of no use after 1 s
  return {.request_id = shared_.ids.fetch_add(1, std::memory_order_relaxed),
          .incarnation = shared_.incarnation,
          .budget_us = kBudget};
}

void RequestFlow::OnReply(const RequestRef& request, std::uint32_t index,
                          const wire::Message& message, const ArrivalCheck& arrivals) {
  RequestPart& part = request->parts[index];
  if (part.state != PartState::kWaiting) return;  // after its deadline; it has its outcome
  CrashHere(CrashPoint::kClientReplyCame);
  ApplyReply(*request, part, message, arrivals);
  part.replied = true;
  EndPart(*request, part);
  if (request->kind == RequestKind::kReadEvents) Hurry(*request);
  Advance(request);
}

void RequestFlow::Hurry(Request& request) {
  if (request.hurried || !HasEvents(request)) return;
  request.hurried = true;
  for (const RequestPart& part : request.parts) {
    if (part.state == PartState::kWaiting) part.connection->Cancel(part.request_id, NextHead());
  }
}

void RequestFlow::OnPartQuiet(const RequestRef& request, std::uint32_t index) {
  RequestPart& part = request->parts[index];
  if (part.state == PartState::kQuieting) {
    Settle(part);
    --request->quieting;
    Advance(request);
  } else if (part.state == PartState::kDoubtful) {
    Settle(part);
    if (--request->doubtful > 0) return;
    request->regions.Release();
    if (!request->ended) return;
    Retire(*request);
    Tell(*request, true);
  }
}

void RequestFlow::OnPartLost(const RequestRef& request, std::uint32_t index, const Status& reason) {
  RequestPart& part = request->parts[index];
  if (part.state == PartState::kWaiting) {
    FailPart(*request, part, Status(StatusCode::kPeerDead, reason.message()));
    EndPart(*request, part);  // the channel has ended: quiet at once
    Advance(request);
  } else {
    OnPartQuiet(request, index);
  }
}

void RequestFlow::EndPart(Request& request, RequestPart& part) {
  --request.waiting;
  if (part.connection->Withdraw(part) == StatusCode::kOk) return Settle(part);
  part.state = PartState::kQuieting;
  ++request.quieting;
  part.connection->Cancel(part.request_id, NextHead());
}

void RequestFlow::StopPart(Request& request, RequestPart& part, const Status& status) {
  FailPart(request, part, status);
  ShardConnection* connection = part.connection;
  EndPart(request, part);
  // Told even when nothing is left to wait for: it spares the daemon the rest of the work.
  if (part.state == PartState::kDone && IsWorkedAt(request.kind)) {
    connection->Cancel(part.request_id, NextHead());
  }
}

void RequestFlow::Settle(RequestPart& part) {
  part.state = PartState::kDone;
  std::exchange(part.connection, nullptr)->Forget(part.request_id);
}

void RequestFlow::Advance(const RequestRef& request) {
  if (request->waiting > 0) return;
  if (request->quieting == 0) {
    if (request->doubtful == 0) Finish(request);
    return;
  }
  if (request->in_grace) return;
  request->in_grace = true;
  SetTimer(request, shared_.scheduler.Now() + kQuietGrace);
}

void RequestFlow::OnTimer(const RequestRef& request) {
  if (request->in_grace) return OnGraceOver(request);
  GiveUp(request, Status(StatusCode::kTimeout, "no answer by the deadline"));
}

void RequestFlow::GiveUp(const RequestRef& request, const Status& status) {
  for (RequestPart& part : request->parts) {
    if (part.state == PartState::kWaiting) StopPart(*request, part, status);
  }
  Advance(request);
}

void RequestFlow::OnGraceOver(const RequestRef& request) {
  for (RequestPart& part : request->parts) {
    if (part.state != PartState::kQuieting) continue;
    part.state = PartState::kDoubtful;
    DoubtPart(*request, part);
    --request->quieting;
    ++request->doubtful;
  }
  request->regions.TurnToDoubt();
  Finish(request);
}

void RequestFlow::DoubtTheRest() {
  std::vector<RequestRef> left;  // a copy: the list changes
  for (const Live& live : live_) {
    if (live.request->quieting > 0 || live.request->doubtful > 0) left.push_back(live.request);
  }
  for (const RequestRef& request : left) {
    if (request->quieting > 0) OnGraceOver(request);
    request->regions.LeaveDoubt();
    for (const std::shared_ptr<CallWatch>& watch : request->watches) watch->doubted = true;
  }
}

void RequestFlow::SetTimer(const RequestRef& request, Nanos time) {
  StopTimer(*request);
  request->timer = shared_.scheduler.AddTimer(time, [this, request] {
    request->timer.reset();
    OnTimer(request);
  });
}

void RequestFlow::StopTimer(Request& request) {
  if (request.timer) shared_.scheduler.CancelTimer(*std::exchange(request.timer, std::nullopt));
}

void RequestFlow::Finish(const RequestRef& request) {
  StopTimer(*request);
  --active_;
  if (request->kind == RequestKind::kMatch || request->kind == RequestKind::kMatchGroups) {
    NoteRoundTrip(*request);
  }
  CombineAnswer(*request);
  if (request->kind == RequestKind::kMatchGroups) FinishMatchGroups(*request);
  if (request->kind == RequestKind::kRenewLease) FinishRenewLease(*request);
  if (request->kind == RequestKind::kOpenNamespace && request->status.ok()) {
    const Result<NamespaceId> opened =
        shared_.namespaces.Opened(request->descriptor, request->epoch, request->opened_id);
    if (opened.ok()) {
      request->opened = opened.value();
    } else {
      request->status = opened.status();
    }
  }
  request->ended = true;
  // `request` may be of the list that it leaves.
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const RequestRef kept = request;
  const bool quiet = kept->doubtful == 0;
  if (quiet) {
    kept->regions.Release();
    Retire(*kept);
  }
  Deliver(kept);
  Tell(*kept, quiet);
}

void RequestFlow::NoteRoundTrip(Request& request) {
  if (!request.status.ok()) return;
  const Nanos took = shared_.scheduler.Now() - request.begun;
  // The quickest of the last ones: what a call takes when nothing holds it up.
  const Nanos grown = round_trip_ + round_trip_ / 16;
  round_trip_ = round_trip_ == 0 ? took : std::min(grown, took);
  request.round_trip = round_trip_;
}

void RequestFlow::FinishMatchGroups(Request& request) {
  std::vector<LeaseBook::Part> kept;
  for (const LeaseOrder& order : CombinePrefix(request, kept)) {
    shared_.post(request.epoch, order.shard, EncodeLeaseOrder(NextHead(), order));
  }
  if (kept.empty()) return;
  const Nanos now = shared_.scheduler.Now();
  request.prefix.lease =
      shared_.leases.Add({.epoch = request.epoch,
                          .until = now + request.prefix_question.lease_ms * kMillisecond,
                          .parts = std::move(kept)},
                         now);
}

void RequestFlow::FinishRenewLease(const Request& request) {
  const Nanos now = shared_.scheduler.Now();
  const LeaseId lease = request.renews.lease;
  if (request.status.ok()) shared_.leases.Extend(lease, now + request.renews.ms * kMillisecond);
  if (request.status.code() != StatusCode::kExpired) return;
  // Gone at one reactor, so it is given back at all.
  const Result<LeaseBook::Entry> rest = shared_.leases.Take(lease, now);
  if (!rest.ok()) return;
  for (const LeaseBook::Part& part : rest->parts) {
    const LeaseOrder order{.shard = part.shard, .lease = part.lease, .release = true, .keep = {}};
    shared_.post(rest->epoch, part.shard, EncodeLeaseOrder(NextHead(), order));
  }
}

void RequestFlow::Deliver(const RequestRef& request) {
  if (request->finished_event != nullptr) return request->finished_event->Set();
  if (request->ticket == 0) {
    request->slot.Release();
    return request->done.Set();
  }
  Completion completion;
  completion.ticket = request->ticket;
  completion.status = std::move(request->status);
  completion.match = std::move(request->match);
  completion.prefix = std::move(request->prefix);
  completion.reservation = request->reservation;
  if (request->kind == RequestKind::kLend) completion.lent = LentBlocksOf(*request);
  completion.blocks = std::move(request->blocks);  // the lent ones were made from them
  const bool events =
      request->kind == RequestKind::kReadEvents || request->kind == RequestKind::kReadSnapshot;
  if (events && completion.status.ok()) {
    completion.events = std::make_shared<const EventBatch>(std::move(request->events));
  }
  shared_.completions.Push(std::move(completion), std::move(request->slot));
}

}  // namespace terrace
