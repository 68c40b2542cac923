#include "tools/terraced/service/lease_service.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "tools/terraced/service/replies.h"
#include "transport/codec.h"

namespace terrace {

namespace {

std::vector<std::uint32_t> NumbersOf(const flatbuffers::Vector<std::uint32_t>* numbers,
                                     std::size_t most) {
  if (numbers == nullptr) return {};
  // One too many is enough to be refused for.
  const std::size_t count = std::min<std::size_t>(numbers->size(), most + 1);
  std::vector<std::uint32_t> copy(count);
  for (std::uint32_t i = 0; i < count; ++i) copy[i] = numbers->Get(i);
  return copy;
}

Nanos LeaseTime(std::uint32_t milliseconds) noexcept {
  const std::uint32_t asked = milliseconds == 0 ? kLeaseMsDefault : milliseconds;
  return static_cast<Nanos>(std::min(asked, kLeaseMsMax)) * kMillisecond;
}

}  // namespace

void LeaseService::OnDisconnect(const PeerRef& peer) {
  in_progress_.erase(peer->id());
  cache_.leases().EndHolder(peer->id());
}

void LeaseService::Match(const PeerRef& peer, std::vector<std::byte> bytes,
                         const wire::Message& message) {
  Link& link = peer->link();
  const std::uint64_t request_id = message.request_id();
  std::size_t& in_progress = in_progress_[peer->id()];
  if (in_progress >= kMatchesPerPeerMax) {
    return link.Send(MakeErrorReply(
        request_id, Status(StatusCode::kRetry, std::to_string(kMatchesPerPeerMax) +
                                                   " matches of this client are in progress")));
  }
  const wire::MatchGroups& match = *message.body_as_MatchGroups();
  Result<ChainSlice> chain = DecodeChain(match.namespace_id(), 0, 0, match.runs(), place_);
  if (!chain.ok()) return link.Send(MakeErrorReply(request_id, chain.status()));
  auto flow = std::make_unique<Flow>();
  flow->request_id = request_id;
  flow->query.chain = std::move(chain).value();
  flow->query.groups = NumbersOf(match.groups(), kGroupsMax);
  flow->query.shards = NumbersOf(match.shards(), kShardsMax);
  if (flow->query.shards.empty()) {
    flow->query.shards.resize(registry_.Find(match.namespace_id())->spec.shard_count);
    std::iota(flow->query.shards.begin(), flow->query.shards.end(), 0U);
  }
  flow->query.holder = peer->id();
  flow->query.link = &link;  // the peer's, which Run holds
  flow->query.lease_for = match.lease_ms() == 0 ? 0 : LeaseTime(match.lease_ms());
  flow->bytes = std::move(bytes);
  ++in_progress;
  flows_.Spawn(Run(peer, std::move(flow)));
}

Task<void> LeaseService::Run(PeerRef peer, std::unique_ptr<Flow> flow) {
  const GroupsAnswer answer = co_await cache_.MatchGroups(flow->query);
  const auto found = in_progress_.find(peer->id());
  if (found == in_progress_.end()) {
    // Nobody can release what it leased.
    cache_.leases().EndHolder(peer->id());
    co_return;
  }
  --found->second;
  peer->link().Send(answer.status.ok() ? MakeMatchGroupsReply(flow->request_id, answer)
                                       : MakeErrorReply(flow->request_id, answer.status));
}

Status LeaseService::Apply(const PeerRef& peer, const wire::Message& message) {
  LeaseTable& leases = cache_.leases();
  if (const wire::TrimLease* trim = message.body_as_TrimLease(); trim != nullptr) {
    return leases.Trim(peer->id(), trim->lease(), BytesOf(trim->keep()));
  }
  if (const wire::RenewLease* renew = message.body_as_RenewLease(); renew != nullptr) {
    return leases.Renew(peer->id(), renew->lease(), LeaseTime(renew->lease_ms()));
  }
  return leases.Release(peer->id(), message.body_as_ReleaseLease()->lease());
}

void LeaseService::Change(const PeerRef& peer, const wire::Message& message) {
  const Status status = Apply(peer, message);
  const std::uint64_t request_id = message.request_id();
  peer->link().Send(status.ok() ? BuildMessage<wire::Empty>({.request_id = request_id})
                                : MakeErrorReply(request_id, status));
}

}  // namespace terrace
