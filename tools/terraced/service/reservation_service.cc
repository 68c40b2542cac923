#include "tools/terraced/service/reservation_service.h"

#include <algorithm>
#include <string>

#include "base/crash_point.h"
#include "base/limits.h"
#include "tools/terraced/service/replies.h"
#include "transport/codec.h"

namespace terrace {

namespace {

constexpr Nanos kPatienceDefault = 10 * kSecond;
constexpr Nanos kPatienceMax = 60 * kSecond;
constexpr std::size_t kWritesPerPeerMax = 4096;

std::vector<std::byte> MakeReserveReply(std::uint64_t request_id, const ReserveAnswer& answer) {
  return BuildMessage<wire::ReserveReply>(
      {.request_id = request_id}, [&answer](flatbuffers::FlatBufferBuilder& builder) {
        const auto code = static_cast<std::uint8_t>(answer.outcome);
        if (answer.outcome != StatusCode::kOk) return wire::CreateReserveReply(builder, code);
        const auto token = BuildBytes(builder, PackPutToken(answer.token));
        return wire::CreateReserveReply(builder, code, token);
      });
}

}  // namespace

void ReservationService::Reserve(const PeerRef& peer, const wire::Message& message,
                                 const RequestFacts& facts) {
  Link& link = peer->link();
  const wire::Reserve& reserve = *message.body_as_Reserve();
  Result<ChainSlice> chain =
      DecodeChain(reserve.namespace_id(), reserve.group(), reserve.shard(), reserve.runs(), place_);
  if (!chain.ok()) return link.Send(MakeErrorReply(message.request_id(), chain.status()));
  const ReserveRequest request{
      .chain = std::move(chain).value(),
      .valid_tokens = reserve.valid_tokens(),
      .patience = DecodeTime(reserve.patience_ms(), kPatienceDefault, kPatienceMax),
      .facts = facts};
  const ReserveAnswer answer = cache_.Reserve(link, peer->id(), request);
  link.Send(answer.status.ok() ? MakeReserveReply(message.request_id(), answer)
                               : MakeErrorReply(message.request_id(), answer.status));
}

void ReservationService::Write(const PeerRef& peer, const wire::Message& message, Nanos deadline) {
  Link& link = peer->link();
  const std::uint64_t request_id = message.request_id();
  Writes& writes = writes_[peer->id()];
  if (writes.size() >= kWritesPerPeerMax) {
    return link.Send(MakeErrorReply(
        request_id, Status(StatusCode::kRetry, "4096 writes of this client are in progress")));
  }
  if (writes.contains(request_id)) {
    return link.Send(
        MakeErrorReply(request_id, Status::Invalid("a request of this id is in progress already")));
  }
  Result<std::unique_ptr<WriteRequest>> request = DecodeWrite(*message.body_as_WriteFragments());
  if (!request.ok()) return link.Send(MakeErrorReply(request_id, request.status()));
  (*request)->request_id = request_id;
  (*request)->deadline = deadline;
  writes.emplace(request_id, request->get());  // before it runs: a Cancel may come first
  flows_.Spawn(RunWrite(peer, std::move(request).value()));
}

Task<void> ReservationService::RunWrite(PeerRef peer, std::unique_ptr<WriteRequest> request) {
  const std::uint64_t request_id = request->request_id;
  const BatchAnswer answer =
      co_await cache_.Write(peer->link(), peer->id(), peer->tenant(), *request);
  if (const auto found = writes_.find(peer->id()); found != writes_.end()) {
    found->second.erase(request_id);
  }
  peer->link().Send(answer.status.ok() ? MakeBlocksReply(request_id, answer, Ack::kCommitted)
                                       : MakeErrorReply(request_id, answer.status));
}

void ReservationService::Commit(const PeerRef& peer, const wire::Message& message, Nanos deadline) {
  const wire::CommitReservation& commit = *message.body_as_CommitReservation();
  const Result<PutTokenParts> token = DecodeToken(commit.token());
  const Result<Ack> ack = DecodeAck(commit.ack());
  if (!token.ok() || !ack.ok()) {
    return peer->link().Send(
        MakeErrorReply(message.request_id(), token.ok() ? ack.status() : token.status()));
  }
  flows_.Spawn(
      RunCommit(peer, message.request_id(), {.token = *token, .deadline = deadline, .ack = *ack}));
}

Task<void> ReservationService::RunCommit(PeerRef peer, std::uint64_t request_id,
                                         CommitRequest request) {
  const BatchAnswer answer = co_await cache_.Commit(peer->tenant(), request);
  peer->link().Send(answer.status.ok() ? MakeBlocksReply(request_id, answer, request.ack)
                                       : MakeErrorReply(request_id, answer.status));
  if (request.ack == Ack::kDurable) CrashHere(CrashPoint::kPutAnswered);
}

void ReservationService::Abort(const PeerRef& peer, const wire::Message& message, Nanos deadline) {
  const Result<PutTokenParts> token = DecodeToken(message.body_as_AbortReservation()->token());
  if (!token.ok()) {
    return peer->link().Send(MakeErrorReply(message.request_id(), token.status()));
  }
  flows_.Spawn(RunAbort(peer, message.request_id(), *token, deadline));
}

Task<void> ReservationService::RunAbort(PeerRef peer, std::uint64_t request_id, PutTokenParts token,
                                        Nanos deadline) {
  const Status status = co_await cache_.Abort(peer->tenant(), token, deadline);
  peer->link().Send(status.ok() ? BuildMessage<wire::Empty>({.request_id = request_id})
                                : MakeErrorReply(request_id, status));
}

void ReservationService::OnCancel(const PeerRef& peer, std::uint64_t request_id) {
  const auto found = writes_.find(peer->id());
  if (found == writes_.end()) return;
  const auto write = found->second.find(request_id);
  if (write != found->second.end()) write->second->deadline = 0;
}

void ReservationService::OnDisconnect(const PeerRef& peer) {
  if (const auto found = writes_.find(peer->id()); found != writes_.end()) {
    for (const auto& [request_id, write] : found->second) write->deadline = 0;
    writes_.erase(found);
  }
  cache_.OnClientGone(peer->id());
}

}  // namespace terrace
