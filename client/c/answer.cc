#include "client/c/answer.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "client/c/convert.h"

namespace terrace::c {
namespace {

// Shown as bytes without a copy.
static_assert(sizeof(Tier) == 1 && sizeof(Presence) == 1);

template <typename T>
const std::uint8_t* BytesOf(const std::vector<T>& values) noexcept {
  return values.empty() ? nullptr : reinterpret_cast<const std::uint8_t*>(values.data());
}

template <typename T>
const T* DataOf(const std::vector<T>& values) noexcept {
  return values.empty() ? nullptr : values.data();
}

Completion Finished() { return {}; }

}  // namespace

Answer::Answer(Completion completion) : owned_(std::move(completion)) {
  view_.struct_size = sizeof view_;
  view_.status = static_cast<terrace_status>(owned_.status.code());
  view_.message = owned_.status.message().c_str();
  view_.ticket = owned_.ticket;
  view_.reservation = static_cast<terrace_status>(owned_.reservation.status);
  std::copy_n(reinterpret_cast<const std::uint8_t*>(owned_.reservation.token.bytes.data()),
              sizeof view_.token.bytes, view_.token.bytes);
  view_.region = owned_.region.value;
  ShowBlocks();
  ShowLent();
  ShowMatch();
  ShowPrefix();
  ShowEvents();
}

Answer::Answer(EventBatch events) : Answer(Finished()) {
  owned_.events = std::make_shared<const EventBatch>(std::move(events));
  ShowEvents();
}

Answer::Answer(std::vector<LentBlock> lent) : Answer(Finished()) {
  owned_.lent = std::move(lent);
  ShowLent();
}

Answer::Answer(PrefixMatch prefix) : Answer(Finished()) {
  owned_.prefix = std::move(prefix);
  ShowPrefix();
}

Answer::Answer(MatchResult match) : Answer(Finished()) {
  owned_.match = std::move(match);
  ShowMatch();
}

Answer::Answer(std::vector<Sample> samples) : Answer(Finished()) {
  owned_samples_ = std::move(samples);
  ShowSamples();
}

Answer::Answer(std::vector<NamespaceInfo> namespaces) : Answer(Finished()) {
  owned_namespaces_ = std::move(namespaces);
  ShowNamespaces();
}

void Answer::ShowBlocks() {
  blocks_.reserve(owned_.blocks.size());
  for (const BlockResult& block : owned_.blocks) blocks_.push_back(FromBlockResult(block));
  view_.blocks = DataOf(blocks_);
  view_.block_count = blocks_.size();
}

void Answer::ShowLent() {
  lent_.reserve(owned_.lent.size());
  for (const LentBlock& block : owned_.lent) {
    terrace_lent shown{};
    const bool on_gpu = !block.gpu().empty();
    const std::span<const std::byte> bytes = on_gpu ? block.device_bytes() : block.bytes();
    shown.data = bytes.data();
    shown.length = bytes.size();
    shown.on_gpu = on_gpu ? 1 : 0;
    shown.status = static_cast<terrace_status>(block.status);
    shown.valid_tokens = block.valid_tokens;
    shown.tier = static_cast<std::uint8_t>(block.tier);
    lent_.push_back(shown);
  }
  view_.lent = DataOf(lent_);
  view_.lent_count = lent_.size();
}

void Answer::ShowMatch() {
  const MatchResult& match = owned_.match;
  view_.matched = match.matched;
  view_.tiers = BytesOf(match.tiers);
  if (match.load_from.empty()) return;
  view_.load_us = DataOf(match.load_us);
  view_.sources = DataOf(match.sources);
  ShowLoadFrom(match.load_from);
}

void Answer::ShowLoadFrom(const std::vector<LoadSource>& sources) {
  for (const LoadSource& source : sources) {
    terrace_load_source shown{};
    shown.bytes_per_s = source.bytes_per_s;
    shown.queue_us = source.queue_us;
    shown.latency_us = source.latency_us;
    shown.tier = static_cast<std::uint8_t>(source.tier);
    load_from_.push_back(shown);
  }
  view_.load_from = DataOf(load_from_);
  view_.load_from_count = load_from_.size();
}

Result<LoadPlan> Answer::Plan(const PlanRequest& request) const {
  if (!owned_.prefix.found.empty()) return Client::Plan(owned_.prefix, request);
  if (owned_.match.block_tokens > 0 && owned_.status.ok()) {
    return Client::Plan(owned_.match, request);
  }
  return Status::Invalid("match: the result is of no match");
}

void Answer::ShowPrefix() {
  const PrefixMatch& prefix = owned_.prefix;
  groups_.reserve(prefix.found.size());
  for (const GroupPresence& found : prefix.found) {
    terrace_group_presence shown{};
    shown.group = found.group;
    shown.shard = found.shard;
    shown.consecutive = found.consecutive;
    shown.block_count = static_cast<std::uint32_t>(found.blocks.size());
    shown.presence = BytesOf(found.blocks);
    shown.tiers = BytesOf(found.tiers);
    groups_.push_back(shown);
  }
  view_.groups = DataOf(groups_);
  view_.group_count = groups_.size();
  view_.stops = DataOf(prefix.stops);
  view_.stop_count = prefix.stops.size();
  view_.lease = prefix.lease.value;
  view_.lease_status = static_cast<terrace_status>(prefix.lease_status);
  if (!groups_.empty()) view_.matched = prefix.longest;
  if (prefix.load_from.empty()) return;
  for (const GroupPresence& found : prefix.found) {
    group_loads_.push_back({DataOf(found.load_us), DataOf(found.sources)});
  }
  view_.group_loads = DataOf(group_loads_);
  ShowLoadFrom(prefix.load_from);
}

void Answer::ShowEvents() {
  if (owned_.events == nullptr) return;
  const EventBatch& batch = *owned_.events;
  const auto bytes = [](const std::vector<std::byte>& key) {
    return std::pair(BytesOf(key), static_cast<std::uint8_t>(key.size()));  // keys: at most 64
  };
  events_.reserve(batch.events.size());
  for (const BlockEventInfo& event : batch.events) {
    terrace_event shown{};
    shown.space = event.space.c_str();
    std::tie(shown.key, shown.key_bytes) = bytes(event.key);
    std::tie(shown.parent_key, shown.parent_bytes) = bytes(event.parent_key);
    std::tie(shown.placement, shown.placement_bytes) = bytes(event.placement);
    shown.token_ids = DataOf(event.token_ids);
    shown.token_count = static_cast<std::uint32_t>(event.token_ids.size());
    shown.sequence = event.sequence;
    shown.identity_high = event.identity.high;
    shown.identity_low = event.identity.low;
    shown.parent_high = event.parent.high;
    shown.parent_low = event.parent.low;
    shown.reactor = event.reactor;
    shown.space_number = event.space_number;
    shown.position = event.position;
    shown.valid_tokens = event.valid_tokens;
    shown.group = event.block.group;
    shown.shard = event.block.shard;
    shown.kind = static_cast<std::uint8_t>(event.kind);
    shown.cause = static_cast<std::uint8_t>(event.cause);
    shown.tiers = event.tiers;
    events_.push_back(shown);
  }
  for (const EventGap& gap : batch.gaps) gaps_.push_back({gap.first, gap.last, gap.reactor, 0});
  cursor_ = batch.cursor.Serialize();
  event_view_ = {.struct_size = sizeof event_view_,
                 .restarted = batch.restarted ? 1U : 0U,
                 .complete = batch.complete ? 1U : 0U,
                 .reserved = 0,
                 .events = DataOf(events_),
                 .event_count = events_.size(),
                 .gaps = DataOf(gaps_),
                 .gap_count = gaps_.size(),
                 .cursor = cursor_.data(),
                 .cursor_bytes = cursor_.size(),
                 .behind = batch.behind};
}

void Answer::ShowSamples() {
  samples_.reserve(owned_samples_.size());
  for (const Sample& sample : owned_samples_) {
    samples_.push_back({sample.name.c_str(), sample.labels.c_str(), sample.value});
  }
  view_.samples = DataOf(samples_);
  view_.sample_count = samples_.size();
}

void Answer::ShowNamespaces() {
  namespaces_.reserve(owned_namespaces_.size());
  for (const NamespaceInfo& info : owned_namespaces_) {
    namespaces_.push_back({info.tenant.c_str(), info.name.c_str(), info.fingerprint.c_str(),
                           info.blocks, info.bytes});
  }
  view_.namespaces = DataOf(namespaces_);
  view_.namespace_count = namespaces_.size();
}

Status Answer::CheckLent(std::uint64_t index) const {
  if (index < owned_.lent.size()) return {};
  return Status::Invalid("index is " + std::to_string(index) + ", the result has " +
                         std::to_string(owned_.lent.size()) + " lent blocks");
}

Status Answer::LentIntact(std::uint64_t index) const {
  if (Status status = CheckLent(index); !status.ok()) return status;
  return Status(owned_.lent[index].Intact() ? StatusCode::kOk : StatusCode::kExpired);
}

Status Answer::LentRelease(std::uint64_t index) {
  if (Status status = CheckLent(index); !status.ok()) return status;
  const StatusCode code = owned_.lent[index].Release();
  if (code == StatusCode::kInvalid) {
    return Status::Invalid("block " + std::to_string(index) +
                           " of the result is not lent, or was given back before");
  }
  return Status(code);
}

}  // namespace terrace::c
