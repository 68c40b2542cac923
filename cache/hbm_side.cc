#include "cache/hbm_side.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/counter.h"
#include "base/wait.h"
#include "cache/nvme_side.h"

namespace terrace {

HbmSide::HbmSide(Cache::Impl& the_cache, std::vector<HbmTier*> the_tiers)
    : cache(the_cache),
      tiers(std::move(the_tiers)),
      policy(MakeLruPolicy(the_cache.index->capacity())),
      owners(tiers.size()) {
  TERRACE_CHECK(!tiers.empty() && cache.nvme != nullptr);
  cache.counters.hbm_gpus.store(tiers.size());
  CountTiers();
}

std::size_t HbmSide::NumberOf(const HbmTier& tier) const {
  return static_cast<std::size_t>(std::ranges::find(tiers, &tier) - tiers.begin());
}

void HbmSide::CountTiers() {
  HbmStats sum;
  std::uint64_t offline = 0;
  for (const HbmTier* tier : tiers) {
    sum.capacity_bytes += tier->Stats().capacity_bytes;
    sum.used_bytes += tier->Stats().used_bytes;
    if (!tier->health().ok()) ++offline;
  }
  cache.counters.hbm_capacity_bytes.store(sum.capacity_bytes, std::memory_order_relaxed);
  cache.counters.hbm_used_bytes.store(sum.used_bytes, std::memory_order_relaxed);
  cache.counters.hbm_gpus_offline.store(offline, std::memory_order_relaxed);
}

bool HbmSide::Wants(BlockId id) const {
  const BlockEntry& entry = (*cache.index)[id];
  if (closing || promotions >= kPromotionsMax) return false;
  if (entry.state != BlockState::kPublished || !entry.InDram()) return false;
  if (entry.gets < kReinsertGets || entry.block_bytes < kBlockBytesMin) return false;
  // A record that is written later is placed by the key that the put named.
  return !cache.nvme->price || cache.nvme->placements.Has(id);
}

void HbmSide::NoteUse(BlockId id) {
  const auto found = copies.find(id);
  if (found == copies.end()) {
    if (Wants(id)) StartPromotion(id);
  } else if (found->second->ready) {
    policy->Touch({&id, 1}, {});
  }
}

void HbmSide::StartPromotion(BlockId id) {
  HbmTier* roomiest = nullptr;
  std::uint64_t most = 0;
  for (HbmTier* tier : tiers) {
    if (!tier->health().ok()) continue;
    const HbmStats stats = tier->Stats();
    const std::uint64_t room = stats.capacity_bytes - stats.used_bytes;
    if (roomiest != nullptr && room <= most) continue;
    roomiest = tier;
    most = room;
  }
  if (roomiest == nullptr) return;
  const BlockEntry& entry = (*cache.index)[id];
  const FrameId frame = MakeRoom(*roomiest, entry.block_bytes);
  if (frame == kNoFrame) return;
  auto copy = std::make_shared<Copy>();
  copy->id = id;
  copy->tier = roomiest;
  copy->frame = frame;
  copy->header = cache.arena->Header(entry.frame);
  const std::span<const std::uint64_t> checksums = cache.arena->Checksums(entry.frame);
  copy->checksums.assign(checksums.begin(), checksums.end());
  if (cache.nvme->price) {
    const KeyView placement = cache.nvme->placements.Of(id);
    copy->placement.assign(placement.begin(), placement.end());
  }
  copy->users = 1;
  copies[id] = copy;
  owners[NumberOf(*roomiest)][frame] = id;
  ++promotions;
  background.Spawn(Promote(copy, cache.arena->Pin(entry.frame)));
}

Task<void> HbmSide::Promote(std::shared_ptr<Copy> copy, Hold pin) {
  const FrameId from = cache.arena->FrameOf(pin);
  const Status status = co_await copy->tier->Fill(copy->frame, cache.arena->Payload(from),
                                                  copy->checksums, CopyUrgency::kBackground);
  pin = Hold();
  --promotions;
  Count(status.ok() ? cache.counters.hbm_promotions : cache.counters.hbm_failures);
  if (status.ok() && !copy->dropped) {
    copy->ready = true;
    const BlockEntry& entry = (*cache.index)[copy->id];
    policy->Insert(
        {.block = copy->id, .identity = entry.hash.low, .position = entry.position, .request = {}});
    Count(cache.counters.blocks_hbm);
  } else if (!copy->dropped) {
    Drop(copy->id);
  }
  EndUse(*copy);
}

bool HbmSide::Holds(BlockId id) const {
  const auto found = copies.find(id);
  return found != copies.end() && found->second->ready && found->second->tier->health().ok();
}

std::shared_ptr<HbmSide::Copy> HbmSide::BeginRead(BlockId id) {
  if (!Holds(id)) return nullptr;
  const std::shared_ptr<Copy>& copy = copies.find(id)->second;
  ++copy->users;
  policy->Touch({&id, 1}, {});
  return copy;
}

Task<Status> HbmSide::ReadAndEnd(std::shared_ptr<Copy> copy, FrameId into) {
  Status status = co_await copy->tier->Read(copy->frame, cache.arena->Payload(into),
                                            copy->checksums, CopyUrgency::kDemand);
  // The GPU has checked what it sent; this, what has come.
  if (status.ok()) {
    co_await LongWork{copy->header.block_bytes};
    if (!VerifyBlock(cache.arena->Payload(into), copy->checksums)) {
      status = Status(StatusCode::kCorrupt, copy->tier->name() + ": other bytes came than it sent");
    }
  }
  if (status.ok()) {
    std::ranges::copy(copy->checksums, cache.arena->Checksums(into).begin());
    Count(cache.counters.hbm_loads);
  } else {
    Count(cache.counters.hbm_failures);
    if (!copy->dropped && status.code() != StatusCode::kRetry) Drop(copy->id);
  }
  EndUse(*copy);
  co_return status;
}

bool HbmSide::MayGo(const HbmTier& tier, FrameId frame) const {
  const auto owner = owners[NumberOf(tier)].find(frame);
  if (owner == owners[NumberOf(tier)].end()) return false;  // dropped, and still in use
  const Copy& copy = *copies.at(owner->second);
  return copy.ready && copy.users == 0;
}

FrameId HbmSide::MakeRoom(HbmTier& tier, std::uint64_t block_bytes) {
  Result<FrameId> frame = tier.Allocate(block_bytes);
  BlockId candidate = policy->First();
  for (int looked = 0; frame.code() == StatusCode::kRetry && candidate != kNoBlock; ++looked) {
    if (looked == kCandidatesMax) break;
    const Copy& copy = *copies.at(candidate);
    candidate = policy->After(candidate);
    if (copy.tier != &tier) continue;
    const std::vector<FrameId> in_the_way = tier.FramesInTheWay(copy.frame, block_bytes);
    const auto may_go = [&](FrameId one) { return MayGo(tier, one); };
    if (in_the_way.empty() || !std::ranges::all_of(in_the_way, may_go)) continue;
    for (const FrameId one : in_the_way) {
      Count(cache.counters.hbm_evictions);
      Drop(owners[NumberOf(tier)].at(one));
    }
    frame = tier.Allocate(block_bytes);
    candidate = policy->First();  // a walk knows no changes
  }
  return frame.ok() ? *frame : kNoFrame;
}

void HbmSide::Drop(BlockId id) {
  const auto found = copies.find(id);
  if (found == copies.end()) return;
  const std::shared_ptr<Copy> copy = found->second;
  copies.erase(found);
  owners[NumberOf(*copy->tier)].erase(copy->frame);
  copy->dropped = true;
  if (copy->ready) {
    policy->Remove(id);
    Uncount(cache.counters.blocks_hbm);
  }
  if (copy->users == 0) copy->tier->Free(copy->frame);
  CountTiers();
}

void HbmSide::EndUse(Copy& copy) {
  if (--copy.users == 0 && copy.dropped) copy.tier->Free(copy.frame);
  CountTiers();
}

Task<void> HbmSide::Close() {
  closing = true;
  co_await background.Join();
  for (HbmTier* tier : tiers) co_await tier->Close();
  while (!copies.empty()) Drop(copies.begin()->first);
}

Status HbmSide::Validate() const {
  std::uint64_t ready = 0;
  std::uint64_t owned = 0;
  for (const auto& [id, copy] : copies) {
    const std::string which = "block " + std::to_string(id) + ": its copy in HBM ";
    const BlockEntry& entry = (*cache.index)[id];
    if (entry.state != BlockState::kPublished) return Status::Internal(which + "outlived it");
    if (copy->dropped || copy->id != id) return Status::Internal(which + "is another's");
    const auto owner = owners[NumberOf(*copy->tier)].find(copy->frame);
    if (owner == owners[NumberOf(*copy->tier)].end() || owner->second != id) {
      return Status::Internal(which + "does not own its frame");
    }
    if (copy->header.block_bytes != entry.block_bytes ||
        copy->header.namespace_id != entry.namespace_id) {
      return Status::Internal(which + "differs from the index");
    }
    if (copy->ready) ++ready;
  }
  for (const auto& frames : owners) owned += frames.size();
  if (owned != copies.size() || ready != cache.counters.blocks_hbm.load()) {
    return Status::Internal("HBM: " + std::to_string(copies.size()) + " copies, " +
                            std::to_string(owned) + " frames owned, " + std::to_string(ready) +
                            " ready, " + std::to_string(cache.counters.blocks_hbm.load()) +
                            " counted");
  }
  return {};
}

}  // namespace terrace
