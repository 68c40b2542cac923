#include "tools/terraced/service/handoff_service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "tools/terraced/service/replies.h"
#include "transport/codec.h"

namespace terrace {

namespace {

constexpr Nanos kPatienceDefault = 10 * kSecond;
constexpr Nanos kPatienceMax = 10 * 60 * kSecond;
constexpr Nanos kKeepDefault = 30 * kSecond;
constexpr Nanos kKeepMax = 10 * 60 * kSecond;

}  // namespace

Result<HandoffNumber> HandoffService::NumberOf(
    const flatbuffers::Vector<std::uint8_t>* token) const {
  const Result<HandoffTokenParts> parts = DecodeHandoffToken(token);
  if (!parts.ok()) return parts.status();
  if (parts->incarnation != cache_.incarnation()) {
    return Status(StatusCode::kExpired,
                  "handoff: the token is of another daemon, or of an earlier run of this one");
  }
  return parts->number;
}

void HandoffService::Open(const PeerRef& peer, std::vector<std::byte> bytes,
                          const wire::Message& message, const RequestFacts& facts) {
  Link& link = peer->link();
  const wire::OpenHandoff& open = *message.body_as_OpenHandoff();
  const Result<HandoffNumber> number = NumberOf(open.handoff());
  if (!number.ok()) return link.Send(MakeErrorReply(message.request_id(), number.status()));
  Result<ChainSlice> chain =
      DecodeChain(open.namespace_id(), open.group(), open.shard(), open.runs(), place_);
  if (!chain.ok()) return link.Send(MakeErrorReply(message.request_id(), chain.status()));
  auto flow = std::make_unique<Flow>();
  flow->request_id = message.request_id();
  HandoffRequest& request = flow->request;
  request.number = *number;
  request.facts = facts;
  request.chain = std::move(chain).value();
  if (const auto* tokens = open.valid_tokens(); tokens != nullptr) {
    if (tokens->size() != BlockCount(request.chain)) {
      return link.Send(MakeErrorReply(
          message.request_id(), Status::Invalid("valid_tokens does not have one entry per key")));
    }
    request.valid_tokens.assign(tokens->begin(), tokens->end());
  }
  request.patience = DecodeTime(open.patience_ms(), kPatienceDefault, kPatienceMax);
  request.keep = DecodeTime(open.keep_ms(), kKeepDefault, kKeepMax);
  request.receivers = std::max<std::uint32_t>(open.receivers(), 1);
  flow->bytes = std::move(bytes);
  flows_.Spawn(RunOpen(peer, std::move(flow)));
}

Task<void> HandoffService::RunOpen(PeerRef peer, std::unique_ptr<Flow> flow) {
  const BatchAnswer answer =
      co_await cache_.OpenHandoff(peer->link(), peer->id(), peer->tenant(), flow->request);
  peer->link().Send(answer.status.ok() ? MakeBlocksReply(flow->request_id, answer, Ack::kCommitted)
                                       : MakeErrorReply(flow->request_id, answer.status));
}

void HandoffService::Acknowledge(const PeerRef& peer, const wire::Message& message) {
  const Result<HandoffNumber> number = NumberOf(message.body_as_AckHandoff()->handoff());
  if (!number.ok()) {
    return peer->link().Send(MakeErrorReply(message.request_id(), number.status()));
  }
  cache_.AcknowledgeHandoff(peer->tenant(), *number);
  peer->link().Send(BuildMessage<wire::Empty>({.request_id = message.request_id()}));
}

void HandoffService::Abort(const PeerRef& peer, const wire::Message& message) {
  const Result<HandoffNumber> number = NumberOf(message.body_as_AbortHandoff()->handoff());
  if (!number.ok()) {
    return peer->link().Send(MakeErrorReply(message.request_id(), number.status()));
  }
  cache_.AbortHandoff(peer->tenant(), *number);
  peer->link().Send(BuildMessage<wire::Empty>({.request_id = message.request_id()}));
}

}  // namespace terrace
