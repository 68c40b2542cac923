#include "tools/terraced/service/event_service.h"

#include <algorithm>
#include <utility>

#include "base/counter.h"
#include "base/limits.h"
#include "base/scheduler.h"
#include "tools/terraced/service/event_page.h"
#include "tools/terraced/service/replies.h"

namespace terrace {

namespace {
/// Kept of a request's deadline for its reply.
constexpr Nanos kReplyTime = 20 * kMillisecond;
}  // namespace

bool EventService::Serves(wire::Body body) noexcept {
  return body == wire::Body_ReadEvents || body == wire::Body_ReadSnapshot;
}

Status EventService::Decode(const wire::Message& message, Nanos deadline, Flow& flow) const {
  const auto take = [&flow](const auto& body) {
    flow.incarnation = body.incarnation();
    flow.most = body.most();
    flow.space = TextOf(body.space()).substr(0, kNameBytesMax + 1);
  };
  flow.request_id = message.request_id();
  if (const wire::ReadEvents* events = message.body_as_ReadEvents(); events != nullptr) {
    take(*events);
    flow.from = events->from();
    const Nanos now = Scheduler::Current().Now();
    const Nanos wait =
        std::min<Nanos>(static_cast<Nanos>(events->wait_ms()) * kMillisecond, kHeartbeat);
    flow.until = std::min(now + wait, deadline - kReplyTime);
  } else {
    take(*message.body_as_ReadSnapshot());
    flow.from = message.body_as_ReadSnapshot()->from_block();
  }
  if (!cache_.events().enabled()) {
    return {StatusCode::kUnsupported, "this daemon keeps no events: cache.events is 0"};
  }
  if (flow.most == 0 || flow.most > kEventsMax) {
    return Status::Invalid("most is " + std::to_string(flow.most) + ", not 1 to " +
                           std::to_string(kEventsMax));
  }
  if (flow.space.size() > kNameBytesMax) {
    return Status::Invalid("space has more than " + std::to_string(kNameBytesMax) + " bytes");
  }
  return {};
}

void EventService::Start(const PeerRef& peer, const wire::Message& message, Nanos deadline) {
  auto flow = std::make_unique<Flow>();
  Status status = Decode(message, deadline, *flow);
  const auto own = in_progress_.find(peer->id());
  if (status.ok() && own != in_progress_.end()) {
    if (own->second.size() >= kReadsPerPeerMax) {
      status = Status(StatusCode::kRetry, std::to_string(kReadsPerPeerMax) +
                                              " reads of events of this client are in progress");
    } else if (own->second.contains(flow->request_id)) {
      status = Status::Invalid("a request of this id is in progress already");
    }
  }
  if (!status.ok()) return peer->link().Send(MakeErrorReply(flow->request_id, status));
  EventReaders& readers = cache_.events().readers();
  Count(readers.now);
  // Before it runs: a Cancel may come first.
  in_progress_[peer->id()].emplace(flow->request_id, flow.get());
  const bool events = message.body_type() == wire::Body_ReadEvents;
  Count(events ? readers.reads : readers.snapshots);
  flows_.Spawn(events ? ReadEvents(peer, std::move(flow)) : ReadSnapshot(peer, std::move(flow)));
}

void EventService::OnCancel(const PeerRef& peer, std::uint64_t request_id) {
  const auto own = in_progress_.find(peer->id());
  if (own == in_progress_.end()) return;
  const auto flow = own->second.find(request_id);
  if (flow == own->second.end()) return;
  flow->second->stop = true;
  flow->second->news.Set();
}

void EventService::OnDisconnect(const PeerRef& peer) {
  const auto own = in_progress_.find(peer->id());
  if (own == in_progress_.end()) return;
  for (const auto& [request_id, flow] : own->second) {
    flow->stop = true;
    flow->news.Set();
  }
  in_progress_.erase(own);
}

void EventService::Ended(const PeerRef& peer, std::uint64_t request_id) {
  Uncount(cache_.events().readers().now);
  const auto own = in_progress_.find(peer->id());
  if (own == in_progress_.end()) return;
  own->second.erase(request_id);
  if (own->second.empty()) in_progress_.erase(own);
}

Task<void> EventService::ReadEvents(PeerRef peer, FlowPtr flow) {
  EventLog& log = cache_.events();
  EventReaders& readers = log.readers();
  EventPage page(registry_, peer->tenant(), flow->space, flow->most);
  EventPage::Head head{.incarnation = incarnation_, .next = flow->from};
  if (flow->incarnation != incarnation_ || flow->from == 0 || flow->from > log.next()) {
    head.restarted = true;
    head.next = log.next();
    Count(readers.restarts);
  }
  while (!head.restarted) {
    if (head.next < log.first()) {
      head.lost_first = head.next;
      head.lost_last = log.first() - 1;
      head.next = log.first();
      Count(readers.gaps);
      Count(readers.lost, head.lost_last - head.lost_first + 1);
    }
    for (std::uint32_t looks = 0; looks < kLooksAtOnce && head.next < log.next(); ++looks) {
      if (page.Full()) break;
      page.Add(head.next, log.At(head.next));
      ++head.next;
    }
    if (!page.empty() || head.lost_first != 0 || flow->stop) break;
    if (Scheduler::Current().Now() >= flow->until) break;
    if (head.next < log.next()) {  // as far as it has looked they were of other tenants
      co_await Yield{};
      continue;
    }
    flow->news.Reset();
    log.Watch(&flow->news);
    (void)co_await flow->news.WaitUntil(flow->until);
    log.Unwatch(&flow->news);
  }
  Ended(peer, flow->request_id);
  head.end = log.next();
  peer->link().Send(page.Finish(flow->request_id, head));
}

Task<void> EventService::ReadSnapshot(PeerRef peer, FlowPtr flow) {
  EventLog& log = cache_.events();
  EventPage page(registry_, peer->tenant(), flow->space, flow->most);
  EventPage::Head head{.incarnation = incarnation_, .next = log.next()};
  if (flow->incarnation != 0 && flow->incarnation != incarnation_) {
    head.restarted = true;
    Count(log.readers().restarts);
  }
  // A reply looks at so many blocks at most, of this tenant or of others.
  constexpr std::uint32_t kLooksMax = 64 * kLooksAtOnce;
  std::uint64_t at = std::min<std::uint64_t>(flow->from, cache_.WalkEnd());
  std::uint32_t looks = 0;
  while (!head.restarted && !page.Full() && at < cache_.WalkEnd() && looks < kLooksMax) {
    at =
        cache_.WalkBlocks(static_cast<BlockId>(at), kLooksAtOnce, [&page](const BlockEvent& event) {
          if (page.Full()) return false;
          page.Add(0, event);
          return true;
        });
    looks += kLooksAtOnce;
    if (flow->stop) break;
    co_await Yield{};
  }
  Ended(peer, flow->request_id);
  head.from_block = at < cache_.WalkEnd() ? at : 0;
  head.end = log.next();
  peer->link().Send(page.Finish(flow->request_id, head));
}

}  // namespace terrace
