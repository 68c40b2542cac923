#include "tools/terraced/service/request_service.h"

#include <map>
#include <utility>

#include "base/crash_point.h"
#include "tools/terraced/service/replies.h"

namespace terrace {

RequestService::RequestService(Cache& cache, NamespaceRegistry& registry, ShardPlace place,
                               StatOf stat)
    : cache_(cache),
      registry_(registry),
      place_(place),
      stat_(std::move(stat)),
      reservations_(cache, place),
      handoffs_(cache, place),
      hints_(cache, registry, place),
      events_(cache, registry),
      leases_(cache, registry, place, flows_) {}

void RequestService::OnConnect(const PeerRef& peer) {
  peers_[peer->id()].peer = peer;
  leases_.OnConnect(peer);
}

void RequestService::OnDisconnect(const PeerRef& peer, const Status& /*reason*/) {
  const auto found = peers_.find(peer->id());
  if (found == peers_.end()) return;
  for (const auto& [request_id, flow] : found->second.in_progress) {
    flow->request.deadline = 0;
    cache_.Wake(flow->request);
  }
  peers_.erase(found);
  hints_.OnDisconnect(peer);
  events_.OnDisconnect(peer);
  leases_.OnDisconnect(peer);
  reservations_.OnDisconnect(peer);
}

void RequestService::OnCancel(const PeerRef& peer, std::uint64_t request_id) {
  hints_.OnCancel(peer, request_id);
  events_.OnCancel(peer, request_id);
  reservations_.OnCancel(peer, request_id);
  const auto found = peers_.find(peer->id());
  if (found == peers_.end()) return;
  const auto flow = found->second.in_progress.find(request_id);
  if (flow == found->second.in_progress.end()) return;
  flow->second->request.deadline = 0;
  cache_.Wake(flow->second->request);
}

Task<void> RequestService::Drain() {
  co_await flows_.Join();
  co_await hints_.Drain();
  co_await events_.Drain();
  co_await reservations_.Drain();
  co_await handoffs_.Drain();
}

void RequestService::OnRequest(const PeerRef& peer, std::vector<std::byte> bytes,
                               const wire::Message& message, Nanos deadline) {
  const auto found = peers_.find(peer->id());
  if (found == peers_.end()) return;  // it has gone: nobody reads a reply
  PeerState& state = found->second;
  const RequestFacts facts = DecodeHints(message.hints(), peer->tenant(), hint_counters_);
  if (HintService::Serves(message.body_type())) {
    return hints_.Start(peer, std::move(bytes), message, facts, deadline);
  }
  if (EventService::Serves(message.body_type())) return events_.Start(peer, message, deadline);
  switch (message.body_type()) {
    case wire::Body_Match: return Match(state, message);
    case wire::Body_Get:
    case wire::Body_Put: return StartTransfer(state, std::move(bytes), message, facts, deadline);
    case wire::Body_Remove: return StartRemove(state, std::move(bytes), message);
    case wire::Body_MatchGroups: return MatchGroups(state, std::move(bytes), message);
    case wire::Body_TrimLease:
    case wire::Body_RenewLease:
    case wire::Body_ReleaseLease: return leases_.Change(peer, message);
    case wire::Body_Reserve: return Reserve(state, message, facts);
    case wire::Body_WriteFragments: return reservations_.Write(peer, message, deadline);
    case wire::Body_CommitReservation: return reservations_.Commit(peer, message, deadline);
    case wire::Body_AbortReservation: return reservations_.Abort(peer, message, deadline);
    case wire::Body_OpenHandoff: return OpenHandoff(state, std::move(bytes), message, facts);
    case wire::Body_AckHandoff: return handoffs_.Acknowledge(peer, message);
    case wire::Body_AbortHandoff: return handoffs_.Abort(peer, message);
    case wire::Body_OpenNamespace: return OpenNamespace(state, message);
    case wire::Body_Stat: return Stat(state, message);
    case wire::Body_Explain: return Explain(state, message);
    case wire::Body_ListNamespaces: return ListNamespaces(state, message);
    case wire::Body_ClearNamespace: return ClearNamespace(state, message);
    default:
      // A body of a newer protocol version, or a reply sent by a client.
      peer->link().Send(MakeErrorReply(
          message.request_id(),
          Status(StatusCode::kUnsupported,
                 "body type " + std::to_string(static_cast<int>(message.body_type())) +
                     " is not a request that this daemon knows")));
  }
}

Status RequestService::CheckTenant(PeerState& state, std::uint32_t namespace_id) const {
  if (state.own.contains(namespace_id)) return {};
  // Not only what this connection opened: a client opens a namespace on one reactor and uses its
  // id on all of them.
  const Namespace* space = registry_.Find(namespace_id);
  if (space == nullptr || space->spec.tenant != state.peer->tenant()) {
    return Status::Invalid("namespace " + std::to_string(namespace_id) +
                           " is none of this tenant: open it first");
  }
  state.own.insert(namespace_id);
  return {};
}

void RequestService::OpenNamespace(PeerState& state, const wire::Message& message) {
  Link& link = state.peer->link();
  const Result<const Namespace*> opened =
      registry_.Open(DecodeNamespace(*message.body_as_OpenNamespace(), state.peer->tenant()));
  if (!opened.ok()) return link.Send(MakeErrorReply(message.request_id(), opened.status()));
  const PrefillCost cost = DecodePrefillCost(*message.body_as_OpenNamespace(), hint_counters_);
  if (cost.told()) (*opened)->cost.Set(cost);
  link.Send(MakeOpenNamespaceReply(message.request_id(), **opened));
}

void RequestService::Match(PeerState& state, const wire::Message& message) {
  Link& link = state.peer->link();
  const wire::Match& match = *message.body_as_Match();
  Status status = CheckTenant(state, match.namespace_id());
  if (!status.ok()) return link.Send(MakeErrorReply(message.request_id(), status));
  const Result<ChainSlice> chain =
      DecodeChain(match.namespace_id(), match.group(), match.shard(), match.runs(), place_);
  if (!chain.ok()) return link.Send(MakeErrorReply(message.request_id(), chain.status()));
  const MatchAnswer answer = cache_.Match(*chain, &link);
  if (!answer.status.ok()) return link.Send(MakeErrorReply(message.request_id(), answer.status));
  link.Send(MakeMatchReply(message.request_id(), answer));
}

void RequestService::MatchGroups(PeerState& state, std::vector<std::byte> bytes,
                                 const wire::Message& message) {
  Status status = CheckTenant(state, message.body_as_MatchGroups()->namespace_id());
  if (status.ok()) return leases_.Match(state.peer, std::move(bytes), message);
  state.peer->link().Send(MakeErrorReply(message.request_id(), status));
}

void RequestService::StartRemove(PeerState& state, std::vector<std::byte> bytes,
                                 const wire::Message& message) {
  Link& link = state.peer->link();
  const wire::Remove& remove = *message.body_as_Remove();
  Status status = CheckTenant(state, remove.namespace_id());
  if (!status.ok()) return link.Send(MakeErrorReply(message.request_id(), status));
  Result<ChainSlice> chain =
      DecodeChain(remove.namespace_id(), remove.group(), remove.shard(), remove.runs(), place_);
  if (!chain.ok()) return link.Send(MakeErrorReply(message.request_id(), chain.status()));
  auto flow = std::make_unique<Flow>();
  flow->request.request_id = message.request_id();
  flow->request.chain = std::move(chain).value();
  flow->bytes = std::move(bytes);
  flows_.Spawn(Remove(state.peer, std::move(flow)));
}

Task<void> RequestService::Remove(PeerRef peer, std::unique_ptr<Flow> flow) {
  const BatchAnswer answer = co_await cache_.Remove(flow->request.chain);
  const std::uint64_t request_id = flow->request.request_id;
  peer->link().Send(answer.status.ok() ? MakeBlocksReply(request_id, answer, Ack::kCommitted)
                                       : MakeErrorReply(request_id, answer.status));
  CrashHere(CrashPoint::kRemoveAnswered);
}

void RequestService::StartTransfer(PeerState& state, std::vector<std::byte> bytes,
                                   const wire::Message& message, const RequestFacts& facts,
                                   Nanos deadline) {
  Link& link = state.peer->link();
  const std::uint64_t request_id = message.request_id();
  if (state.in_progress.size() >= kRequestsPerPeerMax) {
    return link.Send(MakeErrorReply(
        request_id, Status(StatusCode::kRetry, "4096 requests of this client are in progress")));
  }
  if (state.in_progress.contains(request_id)) {
    return link.Send(
        MakeErrorReply(request_id, Status::Invalid("a request of this id is in progress already")));
  }
  auto flow = std::make_unique<Flow>();
  flow->request.request_id = request_id;
  flow->request.deadline = deadline;
  flow->request.facts = facts;
  const Status status = DecodeTransfer(state, message, *flow);
  if (!status.ok()) return link.Send(MakeErrorReply(request_id, status));
  flow->bytes = std::move(bytes);
  state.in_progress.emplace(request_id, flow.get());  // before it runs: a Cancel may come first
  flows_.Spawn(Transfer(state.peer, std::move(flow)));
}

Status RequestService::DecodeTransfer(PeerState& state, const wire::Message& message,
                                      Flow& flow) const {
  GetRequest& request = flow.request;
  const auto decode = [&](const auto& body, const auto* valid_tokens) -> Status {
    if (Status status = CheckTenant(state, body.namespace_id()); !status.ok()) return status;
    Result<ChainSlice> chain =
        DecodeChain(body.namespace_id(), body.group(), body.shard(), body.runs(), place_);
    if (!chain.ok()) return chain.status();
    request.chain = std::move(chain).value();
    if (body.handoff() != nullptr) {
      const Result<HandoffNumber> number = handoffs_.NumberOf(body.handoff());
      if (!number.ok()) return number.status();
      request.handoff = *number;
    }
    if (request.lend_for != 0) return {};
    Result<std::vector<BlockPlace>> places =
        DecodePlaces(BlockCount(request.chain), body.pieces(), body.piece_counts(), valid_tokens);
    if (!places.ok()) return places.status();
    request.places = std::move(places).value();
    return DecodeRanges(body.ranges(), request.places);
  };
  if (const wire::Put* put = message.body_as_Put(); put != nullptr) {
    flow.is_put = true;
    const Result<Ack> ack = DecodeAck(put->ack());
    if (!ack.ok()) return ack.status();
    request.ack = *ack;
    if (put->ranges() != nullptr && put->handoff() == nullptr) {
      return Status::Invalid("ranges: a put stores whole blocks");
    }
    if (put->handoff() != nullptr && (*ack != Ack::kCommitted || put->token_counts() != nullptr)) {
      return Status::Invalid("ack, token_counts: not of what is sent in a hand-off");
    }
    Status status = decode(*put, put->valid_tokens());
    return status.ok() ? DecodeTokenIds(*put, request.places) : status;
  }
  const wire::Get& get = *message.body_as_Get();
  request.lend_for = DecodeLease(get);
  Result<std::string> lend_gpu = DecodeLendGpu(get);
  if (!lend_gpu.ok()) return lend_gpu.status();
  request.lend_gpu = std::move(*lend_gpu);
  request.waits = get.wait();
  if (request.waits && request.lend_for != 0) return Status::Invalid("wait: not with lend");
  if (!request.waits && get.handoff() != nullptr) return Status::Invalid("handoff: without wait");
  return decode(get, static_cast<flatbuffers::Vector<std::uint32_t>*>(nullptr));
}

Task<void> RequestService::Transfer(PeerRef peer, std::unique_ptr<Flow> flow) {
  const std::uint64_t request_id = flow->request.request_id;
  const Ack asked = flow->request.ack;
  const bool lent = flow->request.lend_for != 0;
  BatchAnswer answer;
  if (flow->is_put && flow->request.handoff) {
    answer = co_await cache_.Send(peer->link(), peer->id(), peer->tenant(), flow->request);
  } else if (flow->is_put) {
    answer = co_await cache_.Put(peer->link(), flow->request);
  } else {
    answer = co_await cache_.Get(peer->link(), flow->request);
  }
  if (const auto found = peers_.find(peer->id()); found != peers_.end()) {
    found->second.in_progress.erase(request_id);
  }
  if (!answer.status.ok()) {
    peer->link().Send(MakeErrorReply(request_id, answer.status));
  } else {
    peer->link().Send(MakeBlocksReply(request_id, answer, asked, lent));
  }
  if (asked == Ack::kDurable) CrashHere(CrashPoint::kPutAnswered);
}

void RequestService::Reserve(PeerState& state, const wire::Message& message,
                             const RequestFacts& facts) {
  Status status = CheckTenant(state, message.body_as_Reserve()->namespace_id());
  if (!status.ok()) {
    return state.peer->link().Send(MakeErrorReply(message.request_id(), status));
  }
  reservations_.Reserve(state.peer, message, facts);
}

void RequestService::OpenHandoff(PeerState& state, std::vector<std::byte> bytes,
                                 const wire::Message& message, const RequestFacts& facts) {
  Status status = CheckTenant(state, message.body_as_OpenHandoff()->namespace_id());
  if (status.ok()) return handoffs_.Open(state.peer, std::move(bytes), message, facts);
  state.peer->link().Send(MakeErrorReply(message.request_id(), status));
}

void RequestService::Stat(PeerState& state, const wire::Message& message) {
  const std::vector<ClientsSeen> clients = ClientsOf(state.peer->tenant());
  state.peer->link().Send(MakeStatReply(message.request_id(), stat_(clients)));
}

std::vector<ClientsSeen> RequestService::ClientsOf(const std::string& tenant) const {
  std::map<std::pair<std::string, LinkKind>, std::uint64_t> counts;
  for (const auto& [id, state] : peers_) {
    if (state.peer->tenant() != tenant) continue;
    const std::pair name(state.peer->name(), state.peer->link().kind());
    if (counts.size() >= kClientsToldMax && !counts.contains(name)) continue;
    ++counts[name];
  }
  std::vector<ClientsSeen> clients;
  for (const auto& [name, connections] : counts) {
    clients.push_back({.name = name.first, .link = name.second, .connections = connections});
  }
  return clients;
}

void RequestService::Explain(PeerState& state, const wire::Message& message) {
  Link& link = state.peer->link();
  const wire::Explain& explain = *message.body_as_Explain();
  const std::string name(TextOf(explain.space()).substr(0, kNameBytesMax + 1));
  const Namespace* space = registry_.FindByName(state.peer->tenant(), name);
  const Result<std::vector<KeyView>> keys = DecodeExplainKeys(explain);
  Status status = keys.status();
  if (space == nullptr) {
    status = Status(StatusCode::kMiss,
                    "no namespace \"" + name + "\" of tenant " + state.peer->tenant());
  } else if (space->BlockBytes(explain.group()) == 0) {
    status = Status::Invalid("group " + std::to_string(explain.group()) + " is none of namespace " +
                             name);
  } else if (explain.shard() >= space->spec.shard_count) {
    status = Status::Invalid("shard is " + std::to_string(explain.shard()) + ", namespace " + name +
                             " has " + std::to_string(space->spec.shard_count));
  }
  if (!status.ok()) return link.Send(MakeErrorReply(message.request_id(), status));
  std::vector<BlockStory> stories;
  stories.reserve(keys->size());
  for (const KeyView key : *keys) {
    stories.push_back(cache_.Explain(space->id, explain.group(), explain.shard(), key));
  }
  link.Send(MakeExplainReply(message.request_id(), stories));
}

void RequestService::ListNamespaces(PeerState& state, const wire::Message& message) {
  std::vector<NamespaceUsage> usages;
  for (const Namespace* space : registry_.All()) {
    if (space->spec.tenant != state.peer->tenant()) continue;
    const Cache::Usage usage = cache_.UsageOf(space->id);
    usages.push_back({.space = space, .blocks = usage.blocks, .bytes = usage.bytes});
  }
  state.peer->link().Send(MakeListNamespacesReply(message.request_id(), usages));
}

void RequestService::ClearNamespace(PeerState& state, const wire::Message& message) {
  Link& link = state.peer->link();
  const flatbuffers::String* name = message.body_as_ClearNamespace()->name();
  const std::string text = name == nullptr ? std::string() : name->str();
  const Namespace* space = registry_.FindByName(state.peer->tenant(), text);
  if (space == nullptr) {
    return link.Send(MakeErrorReply(
        message.request_id(), Status(StatusCode::kMiss, "no namespace \"" + text + "\" of tenant " +
                                                            state.peer->tenant())));
  }
  flows_.Spawn(Clear(state.peer, message.request_id(), space->id));
}

Task<void> RequestService::Clear(PeerRef peer, std::uint64_t request_id,
                                 std::uint32_t namespace_id) {
  const std::uint64_t blocks = co_await cache_.Clear(namespace_id);
  peer->link().Send(MakeClearNamespaceReply(request_id, blocks));
  CrashHere(CrashPoint::kClearAnswered);
}

}  // namespace terrace
