#include "cache/retention.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace terrace {

namespace {
/// Blocks that one Add takes from older labels before it gives up: blocks that other labels hold as
/// well free nothing.
constexpr std::size_t kGiveWayMax = 1024;
}  // namespace

std::string Retention::NameOf(std::string_view tenant, std::string_view label) {
  std::string name(tenant);
  name += '\0';  // no tenant's name begins another's labels
  name += label;
  return name;
}

void Retention::Renew(const std::string& name, Nanos end) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  const Labels::iterator label = found->second;
  labels_.splice(labels_.end(), labels_, label);
  if (label->end->first >= end) return;
  ends_.erase(label->end);
  label->end = ends_.emplace(end, label);
}

Retention::Labels::iterator Retention::Make(const std::string& name, Nanos end) {
  const Labels::iterator label = labels_.emplace(labels_.end());
  label->name = name;
  label->end = ends_.emplace(end, label);
  by_name_.emplace(name, label);
  return label;
}

bool Retention::Add(const std::string& name, Nanos end, BlockId block) {
  const auto named = by_name_.find(name);
  const bool is_new = named == by_name_.end();
  const auto held = held_.find(block);
  if (!is_new && held != held_.end() && held->second.contains(&*named->second)) return true;
  if (!MakeRoom(0, is_new, name)) return false;
  // Only now: for this block's sake another label may have let go of it.
  const bool kept = held_.contains(block);
  const std::uint64_t bytes = index_[block].block_bytes;
  if (!kept && !MakeRoom(bytes, is_new, name)) return false;
  const Labels::iterator label = is_new ? Make(name, end) : named->second;
  label->blocks.push_back(block);
  held_[block].emplace(&*label, std::prev(label->blocks.end()));
  ++holds_;
  if (kept) return true;
  bytes_ += bytes;
  policy_.SetKept(AsNew(block), true, index_[block].InDram());
  return true;
}

bool Retention::MakeRoom(std::uint64_t bytes, bool for_a_label, const std::string& for_whom) {
  std::size_t looked = 0;
  while (bytes > bytes_max_ - bytes_ || (bytes > 0 && held_.size() >= blocks_max_) ||
         holds_ >= holds_max_ || (for_a_label && labels_.size() >= kLabelsMax)) {
    if (labels_.empty() || labels_.front().name == for_whom || ++looked > kGiveWayMax) return false;
    TakeLast(labels_.begin());
    ++displaced_;
  }
  return true;
}

void Retention::TakeLast(Labels::iterator label) {
  const BlockId block = label->blocks.back();
  const auto held = held_.find(block);
  TERRACE_CHECK(held != held_.end());
  held->second.erase(&*label);
  label->blocks.pop_back();
  --holds_;
  if (held->second.empty()) {
    held_.erase(held);
    bytes_ -= index_[block].block_bytes;
    policy_.SetKept(AsNew(block), false, index_[block].InDram());
  }
  if (label->blocks.empty()) Drop(label);
}

void Retention::Drop(Labels::iterator label) {
  ends_.erase(label->end);
  by_name_.erase(label->name);
  labels_.erase(label);
}

std::size_t Retention::Release(const std::string& name, std::size_t most) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return 0;
  const Labels::iterator label = found->second;
  const std::size_t count = std::min(most, label->blocks.size());
  for (std::size_t i = 0; i < count; ++i) TakeLast(label);
  return count;
}

std::size_t Retention::Expire(Nanos now, std::size_t most) {
  std::size_t taken = 0;
  while (taken < most && !ends_.empty() && ends_.begin()->first <= now) {
    TakeLast(ends_.begin()->second);
    ++taken;
  }
  return taken;
}

void Retention::OnForget(BlockId block) {
  const auto held = held_.find(block);
  TERRACE_CHECK(held != held_.end());
  holds_ -= held->second.size();
  for (const auto& [label, place] : held->second) {
    label->blocks.erase(place);
    if (label->blocks.empty()) Drop(by_name_.find(label->name)->second);
  }
  held_.erase(held);
  bytes_ -= index_[block].block_bytes;
  policy_.SetKept({.block = block}, false, false);
}

NewBlock Retention::AsNew(BlockId block) const {
  const BlockId parent = index_.ParentOf(block);
  return {.block = block,
          .parent = parent != kNoBlock && index_[parent].InDram() ? parent : kNoBlock,
          .identity = index_[block].hash.low,
          .position = index_[block].position};
}

Status Retention::Validate() const {
  std::uint64_t bytes = 0;
  std::size_t holders = 0;
  for (const auto& [block, held_by] : held_) {
    const std::string text = "retention: block " + std::to_string(block);
    if (index_[block].state != BlockState::kPublished) return Status::Internal(text + " is none");
    if (held_by.empty() || !policy_.Keeps(block)) return Status::Internal(text + " is not kept");
    bytes += index_[block].block_bytes;
    holders += held_by.size();
  }
  for (BlockId block = 0; block < index_.high_water(); ++block) {
    if (policy_.Keeps(block) && !held_.contains(block)) {
      return Status::Internal("retention: block " + std::to_string(block) + " is kept by nobody");
    }
  }
  const std::size_t held_total = holders;
  for (const Label& label : labels_) {
    if (label.blocks.empty()) return Status::Internal("retention: a label that holds nothing");
    holders -= label.blocks.size();
  }
  if (held_total != holds_ || holds_ > holds_max_ || labels_.size() > kLabelsMax) {
    return Status::Internal("retention: " + std::to_string(holds_) + " holds counted, " +
                            std::to_string(held_total) + " there, by " +
                            std::to_string(labels_.size()) + " labels");
  }
  if (holders != 0 || by_name_.size() != labels_.size() || ends_.size() != labels_.size()) {
    return Status::Internal("retention: labels and blocks do not agree");
  }
  if (bytes != bytes_ || bytes_ > bytes_max_ || held_.size() > blocks_max_) {
    return Status::Internal("retention: " + std::to_string(bytes_) + " bytes counted, " +
                            std::to_string(bytes) + " kept, at most " + std::to_string(bytes_max_));
  }
  return {};
}

}  // namespace terrace
