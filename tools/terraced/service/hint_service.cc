#include "tools/terraced/service/hint_service.h"

#include <utility>

#include "base/crash_point.h"
#include "base/limits.h"
#include "base/wait.h"
#include "tools/terraced/service/replies.h"
#include "tools/terraced/service/request_service.h"

namespace terrace {

namespace {

constexpr Nanos kRetainMax = 24 * 3600 * kSecond;

Result<std::string> DecodeLabel(const flatbuffers::String* label) {
  const std::size_t size = label == nullptr ? 0 : label->size();
  if (size == 0 || size > kNameBytesMax) {
    return Status::Invalid("label has " + std::to_string(size) + " bytes, not 1 to " +
                           std::to_string(kNameBytesMax));
  }
  return label->str();
}

std::vector<std::byte> BlocksOrError(std::uint64_t request_id, const BatchAnswer& answer) {
  return answer.status.ok() ? MakeBlocksReply(request_id, answer, Ack::kCommitted)
                            : MakeErrorReply(request_id, answer.status);
}

}  // namespace

bool HintService::Serves(wire::Body body) noexcept {
  return body == wire::Body_Prefetch || body == wire::Body_Touch || body == wire::Body_Retain ||
         body == wire::Body_ReleaseRetained || body == wire::Body_RemovePrefix ||
         body == wire::Body_ClearTenant;
}

void HintService::Start(const PeerRef& peer, std::vector<std::byte> bytes,
                        const wire::Message& message, const RequestFacts& facts, Nanos deadline) {
  const std::uint64_t request_id = message.request_id();
  const auto refuse = [&](const Status& status) {
    peer->link().Send(MakeErrorReply(request_id, status));
  };
  const auto own = in_progress_.find(peer->id());
  if (own != in_progress_.end()) {
    if (own->second.size() >= kRequestsPerPeerMax) {
      return refuse(Status(StatusCode::kRetry, "4096 requests of this client are in progress"));
    }
    if (own->second.contains(request_id)) {
      return refuse(Status::Invalid("a request of this id is in progress already"));
    }
  }
  auto flow = std::make_unique<Flow>();
  flow->bytes = std::move(bytes);
  flow->request_id = request_id;
  flow->prefetch.deadline = flow->prefix.deadline = deadline;
  flow->prefetch.facts = facts;
  switch (message.body_type()) {
    case wire::Body_Prefetch:
      return StartPrefetch(peer, std::move(flow), *message.body_as_Prefetch());
    case wire::Body_Touch: return Touch(peer, request_id, *message.body_as_Touch(), facts);
    case wire::Body_Retain: return StartRetain(peer, std::move(flow), *message.body_as_Retain());
    case wire::Body_ReleaseRetained:
      return StartRelease(peer, std::move(flow), *message.body_as_ReleaseRetained());
    case wire::Body_RemovePrefix:
      return StartRemovePrefix(peer, std::move(flow), *message.body_as_RemovePrefix());
    default: return Run(peer, std::move(flow), &HintService::ClearTenant);
  }
}

void HintService::OnCancel(const PeerRef& peer, std::uint64_t request_id) {
  const auto own = in_progress_.find(peer->id());
  if (own == in_progress_.end()) return;
  const auto flow = own->second.find(request_id);
  if (flow == own->second.end()) return;
  flow->second->prefetch.deadline = 0;
  flow->second->prefix.deadline = 0;
}

void HintService::OnDisconnect(const PeerRef& peer) {
  const auto own = in_progress_.find(peer->id());
  if (own == in_progress_.end()) return;
  for (const auto& [request_id, flow] : own->second) {
    flow->prefetch.deadline = 0;
    flow->prefix.deadline = 0;
  }
  in_progress_.erase(own);
}

template <typename Body>
Result<ChainSlice> HintService::ChainOf(const PeerRef& peer, const Body& body, std::uint32_t group,
                                        std::uint32_t shard) const {
  const Namespace* space = registry_.Find(body.namespace_id());
  if (space == nullptr || space->spec.tenant != peer->tenant()) {
    return Status::Invalid("namespace " + std::to_string(body.namespace_id()) +
                           " is none of this tenant: open it first");
  }
  return DecodeChain(body.namespace_id(), group, shard, body.runs(), place_);
}

void HintService::Run(const PeerRef& peer, FlowPtr flow,
                      Task<void> (HintService::*task)(PeerRef, FlowPtr)) {
  // Before it runs: a Cancel may come first.
  in_progress_[peer->id()].emplace(flow->request_id, flow.get());
  flows_.Spawn((this->*task)(peer, std::move(flow)));
}

void HintService::Ended(const PeerRef& peer, std::uint64_t request_id) {
  const auto own = in_progress_.find(peer->id());
  if (own == in_progress_.end()) return;
  own->second.erase(request_id);
  if (own->second.empty()) in_progress_.erase(own);
}

void HintService::StartPrefetch(const PeerRef& peer, FlowPtr flow, const wire::Prefetch& body) {
  Result<ChainSlice> chain = ChainOf(peer, body, body.group(), body.shard());
  if (chain.ok() && body.tier() != static_cast<std::uint8_t>(TierKind::kDram)) {
    chain = Status::Invalid("tier is " + std::to_string(body.tier()) + ", not dram");
  }
  if (!chain.ok()) return peer->link().Send(MakeErrorReply(flow->request_id, chain.status()));
  flow->prefetch.chain = std::move(chain).value();
  flow->prefetch.priority = body.priority();
  Run(peer, std::move(flow), &HintService::Prefetch);
}

Task<void> HintService::Prefetch(PeerRef peer, FlowPtr flow) {
  const BatchAnswer answer = co_await cache_.Prefetch(flow->prefetch);
  Ended(peer, flow->request_id);
  peer->link().Send(BlocksOrError(flow->request_id, answer));
}

void HintService::Touch(const PeerRef& peer, std::uint64_t request_id, const wire::Touch& body,
                        const RequestFacts& facts) {
  const Result<ChainSlice> chain = ChainOf(peer, body, body.group(), body.shard());
  peer->link().Send(chain.ok() ? BlocksOrError(request_id, cache_.Touch(*chain, facts))
                               : MakeErrorReply(request_id, chain.status()));
}

void HintService::StartRetain(const PeerRef& peer, FlowPtr flow, const wire::Retain& body) {
  Result<ChainSlice> chain = ChainOf(peer, body, body.group(), body.shard());
  Result<std::string> label = DecodeLabel(body.label());
  const Nanos time = static_cast<Nanos>(body.time_ms()) * kMillisecond;
  Status status = chain.ok() ? label.status() : chain.status();
  if (status.ok() && (time == 0 || time > kRetainMax)) {
    status = Status::Invalid("time_ms is " + std::to_string(body.time_ms()) + ", not 1 to " +
                             std::to_string(kRetainMax / kMillisecond));
  }
  if (!status.ok()) return peer->link().Send(MakeErrorReply(flow->request_id, status));
  flow->retain.chain = std::move(chain).value();
  flow->retain.label = std::move(label).value();
  flow->retain.time = time;
  Run(peer, std::move(flow), &HintService::Retain);
}

Task<void> HintService::Retain(PeerRef peer, FlowPtr flow) {
  const BatchAnswer answer = co_await cache_.Retain(flow->retain);
  Ended(peer, flow->request_id);
  peer->link().Send(BlocksOrError(flow->request_id, answer));
}

void HintService::StartRelease(const PeerRef& peer, FlowPtr flow,
                               const wire::ReleaseRetained& body) {
  Result<std::string> label = DecodeLabel(body.label());
  if (!label.ok()) return peer->link().Send(MakeErrorReply(flow->request_id, label.status()));
  flow->retain.label = std::move(label).value();
  Run(peer, std::move(flow), &HintService::Release);
}

Task<void> HintService::Release(PeerRef peer, FlowPtr flow) {
  const std::uint64_t blocks = co_await cache_.ReleaseRetained(peer->tenant(), flow->retain.label);
  Ended(peer, flow->request_id);
  peer->link().Send(MakeCountReply(flow->request_id, blocks));
}

void HintService::StartRemovePrefix(const PeerRef& peer, FlowPtr flow,
                                    const wire::RemovePrefix& body) {
  Result<ChainSlice> chain = ChainOf(peer, body, 0, 0);
  if (!chain.ok()) return peer->link().Send(MakeErrorReply(flow->request_id, chain.status()));
  flow->prefix.chain = std::move(chain).value();
  Run(peer, std::move(flow), &HintService::RemovePrefix);
}

Task<void> HintService::RemovePrefix(PeerRef peer, FlowPtr flow) {
  const Result<std::uint64_t> blocks = co_await cache_.RemovePrefix(flow->prefix);
  Ended(peer, flow->request_id);
  peer->link().Send(blocks.ok() ? MakeCountReply(flow->request_id, blocks.value())
                                : MakeErrorReply(flow->request_id, blocks.status()));
  CrashHere(CrashPoint::kRemoveAnswered);
}

Task<void> HintService::ClearTenant(PeerRef peer, FlowPtr flow) {
  std::uint64_t blocks = 0;
  for (const Namespace* space : registry_.All()) {
    if (space->spec.tenant != peer->tenant()) continue;
    blocks += co_await cache_.Clear(space->id);
    co_await Yield{};
  }
  Ended(peer, flow->request_id);
  peer->link().Send(MakeCountReply(flow->request_id, blocks));
  CrashHere(CrashPoint::kClearAnswered);
}

}  // namespace terrace
