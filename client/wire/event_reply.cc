#include "client/wire/event_reply.h"

#include <map>
#include <string>
#include <utility>

#include "base/limits.h"

namespace terrace {
namespace {

std::vector<std::byte> Copy(const flatbuffers::Vector<std::uint8_t>* bytes) {
  const std::span<const std::byte> view = BytesOf(bytes);
  return {view.begin(), view.end()};
}

/// What a reply says of one event, within what any can have: entries of a message may all point to
/// the same bytes, so that their sum has no other limit.
bool IsSane(const wire::BlockEvent& event) {
  return event.kind() != 0 && event.kind() < kEventKindEnd && event.cause() < kEventCauseEnd &&
         BytesOf(event.key()).size() <= kKeyBytesMax &&
         BytesOf(event.parent()).size() <= kKeyBytesMax &&
         BytesOf(event.placement()).size() <= kKeyBytesMax &&
         (event.token_ids() == nullptr || event.token_ids()->size() <= kEventTokensMax);
}

BlockEventInfo Take(const wire::BlockEvent& event, std::uint32_t reactor) {
  BlockEventInfo info;
  info.kind = static_cast<EventKind>(event.kind());
  info.cause = static_cast<EventCause>(event.cause());
  info.tiers = event.tiers();
  info.reactor = reactor;
  info.sequence = event.sequence();
  info.space_number = event.namespace_id();
  info.identity = {.high = event.identity_high(), .low = event.identity_low()};
  info.position = event.position();
  info.valid_tokens = event.valid_tokens();
  info.key = Copy(event.key());
  info.block = {.group = event.group(), .shard = event.shard()};
  info.parent = {.high = event.parent_high(), .low = event.parent_low()};
  info.parent_key = Copy(event.parent());
  info.placement = Copy(event.placement());
  if (event.token_ids() != nullptr) {
    info.token_ids.assign(event.token_ids()->begin(), event.token_ids()->end());
  }
  return info;
}

Status Misfit(const std::string& why) {
  return Status::Internal("the daemon's EventsReply " + why);
}

/// The cursor's place of the reactor that answered.
EventCursor::Place& PlaceOf(Request& request, const RequestPart& part) {
  return request.events.cursor.reactors[part.shard];
}

void GoOn(Request& request, const RequestPart& part, const wire::EventsReply& reply) {
  EventCursor::Place& place = PlaceOf(request, part);
  if (request.kind == RequestKind::kReadEvents) {
    place.sequence = reply.next();
    return;
  }
  // Events from before its first look on bring the snapshot up to date.
  if (place.from_block == 0) place.sequence = reply.next();
  place.from_block = reply.from_block();
  place.walked = reply.from_block() == 0;
}

Status TakeEvents(Request& request, const RequestPart& part, const wire::EventsReply& reply) {
  std::map<std::uint32_t, std::string> spaces;
  if (reply.spaces() != nullptr) {
    if (reply.spaces()->size() > kEventsMax) return Misfit("names too many namespaces");
    for (const wire::EventSpace* space : *reply.spaces()) {
      const std::string_view name = TextOf(space->name());
      if (name.size() > kNameBytesMax) return Misfit("has a name that is none");
      spaces.try_emplace(space->namespace_id(), name);
    }
  }
  if (reply.events() == nullptr) return {};
  if (reply.events()->size() > request.events_most) return Misfit("has more events than asked for");
  std::size_t bytes = 0;
  for (const wire::BlockEvent* event : *reply.events()) {
    const auto space = spaces.find(event->namespace_id());
    if (!IsSane(*event) || space == spaces.end()) return Misfit("has an event that is none");
    bytes += event->token_ids() == nullptr ? 0 : std::size_t{4} * event->token_ids()->size();
    if (bytes > 2 * kControlBytesMax) return Misfit("repeats too many token ids");
    request.events.events.push_back(Take(*event, part.shard));
    request.events.events.back().space = space->second;
  }
  return {};
}

}  // namespace

void ApplyEvents(Request& request, const RequestPart& part, const wire::Message& message) {
  const auto fail = [&request](Status status) {
    if (request.status.ok()) request.status = std::move(status);
  };
  const wire::EventsReply* reply = message.body_as_EventsReply();
  if (reply == nullptr) {
    return fail(Status::Internal("the daemon's " + std::string(BodyName(message.body_type())) +
                                 " answers a read of events"));
  }
  EventBatch& batch = request.events;
  if (reply->restarted()) {
    batch.restarted = true;
    // Which run of the daemon has answered, the end of the call knows: all parts are of one.
    batch.cursor.incarnation = reply->incarnation();
    PlaceOf(request, part) = {.sequence = reply->next(), .from_block = 0, .walked = false};
    return;
  }
  if (request.kind == RequestKind::kReadSnapshot) batch.cursor.incarnation = reply->incarnation();
  if (reply->lost_first() != 0) {
    batch.gaps.push_back(
        {.reactor = part.shard, .first = reply->lost_first(), .last = reply->lost_last()});
  }
  GoOn(request, part, *reply);
  if (reply->end() > reply->next() && request.kind == RequestKind::kReadEvents) {
    batch.behind += reply->end() - reply->next();
  }
  if (Status status = TakeEvents(request, part, *reply); !status.ok()) fail(std::move(status));
}

bool HasEvents(const Request& request) {
  const EventBatch& batch = request.events;
  return !request.status.ok() || batch.restarted || !batch.gaps.empty() || !batch.events.empty();
}

void CombineEvents(Request& request) {
  EventBatch& batch = request.events;
  if (batch.restarted) {
    // A cursor of another run, in all its places: the snapshot sets them.
    batch.events.clear();
    batch.gaps.clear();
    batch.cursor.BeginSnapshot();
    return;
  }
  batch.complete = true;
  for (const EventCursor::Place& place : batch.cursor.reactors) {
    batch.complete = batch.complete && place.walked;
  }
}

}  // namespace terrace
