#include "tools/terraced/service/event_page.h"

#include <cstring>
#include <utility>

#include "base/block_identity.h"

namespace terrace {

namespace {
using Bytes = flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>>;
using Numbers = flatbuffers::Offset<flatbuffers::Vector<std::uint32_t>>;

Bytes Keep(flatbuffers::FlatBufferBuilder& builder, std::span<const std::byte> bytes) {
  return bytes.empty() ? Bytes() : BuildBytes(builder, bytes);
}

Numbers KeepTokens(flatbuffers::FlatBufferBuilder& builder, std::span<const std::byte> tokens) {
  if (tokens.empty()) return {};
  std::uint8_t* numbers = nullptr;
  const auto offset = builder.CreateUninitializedVector(tokens.size() / 4, 4, &numbers);
  std::memcpy(numbers, tokens.data(), tokens.size());  // little-endian from the wire, and back
  return Numbers(offset);
}

bool IsKnown(const Hash128& identity) { return identity.low != 0 || identity.high != 0; }
}  // namespace

const std::string* EventPage::NameOf(std::uint32_t namespace_id) {
  const auto [found, added] = names_.try_emplace(namespace_id);
  if (added) {
    const Namespace* space = registry_.Find(namespace_id);
    const bool wanted = space != nullptr && space->spec.tenant == tenant_ &&
                        (space_.empty() || space->spec.name == space_);
    if (wanted) found->second = space->spec.name;
  }
  return found->second.empty() ? nullptr : &found->second;
}

void EventPage::Add(std::uint64_t sequence, const BlockEvent& event) {
  if (NameOf(event.namespace_id) == nullptr) return;
  Hash128 parent = event.parent_identity;
  if (!IsKnown(parent) && !event.parent.empty()) {
    parent = HashLocator(HashBytes128, event.group, event.shard, event.parent);
  }
  const Bytes key = Keep(builder_, event.key);
  const Bytes parent_key = Keep(builder_, event.parent);
  const Bytes placement = Keep(builder_, event.placement);
  const Numbers tokens = KeepTokens(builder_, event.tokens);
  wire::BlockEventBuilder wire_event(builder_);
  wire_event.add_sequence(sequence);
  wire_event.add_kind(static_cast<std::uint8_t>(event.kind));
  wire_event.add_cause(static_cast<std::uint8_t>(event.cause));
  wire_event.add_tiers(event.tiers);
  wire_event.add_namespace_id(event.namespace_id);
  wire_event.add_identity_low(event.identity.low);
  wire_event.add_identity_high(event.identity.high);
  wire_event.add_position(event.position);
  wire_event.add_valid_tokens(event.valid_tokens);
  wire_event.add_key(key);
  wire_event.add_group(event.group);
  wire_event.add_shard(event.shard);
  wire_event.add_parent_low(parent.low);
  wire_event.add_parent_high(parent.high);
  wire_event.add_parent(parent_key);
  wire_event.add_placement(placement);
  wire_event.add_token_ids(tokens);
  events_.push_back(wire_event.Finish());
}

std::vector<std::byte> EventPage::Finish(std::uint64_t request_id, const Head& head) {
  std::vector<flatbuffers::Offset<wire::EventSpace>> spaces;
  for (const auto& [id, name] : names_) {
    if (name.empty()) continue;
    spaces.push_back(wire::CreateEventSpace(builder_, id, builder_.CreateString(name)));
  }
  const auto events = builder_.CreateVector(events_);
  const auto all_spaces = builder_.CreateVector(spaces);
  const auto reply = wire::CreateEventsReply(builder_, head.incarnation, head.restarted,
                                             head.lost_first, head.lost_last, head.next, head.end,
                                             events, all_spaces, head.from_block);
  return codec_internal::FinishMessage(builder_, {.request_id = request_id}, wire::Body_EventsReply,
                                       reply.Union());
}

}  // namespace terrace
