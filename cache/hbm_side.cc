#include "cache/hbm_side.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/counter.h"
#include "base/wait.h"
#include "cache/block_loads.h"
#include "cache/nvme_side.h"
#include "cache/policy/policies.h"

namespace terrace {

namespace {
/// Copies of a lost GPU given up before others run.
constexpr std::size_t kYieldEvery = 1024;
constexpr Nanos kClosePoll = 5 * kMillisecond;
/// Tries of a read that a GPU fails and survives.
constexpr int kReadsMax = 2;

std::unique_ptr<EvictionPolicy> PolicyFor(const Cache::Impl& cache) {
  const CacheOptions& options = cache.options;
  const std::size_t blocks = cache.index->capacity();
  if (options.hbm_policy_kind != nullptr) return options.hbm_policy_kind->make(blocks);
  std::unique_ptr<EvictionPolicy> follower = cache.policy->Follower(blocks);
  if (follower != nullptr) return follower;
  if (options.policy_kind != nullptr) return options.policy_kind->make(blocks);
  return (*FindPolicy(options.policy))->make(blocks);
}
}  // namespace

HbmSide::HbmSide(Cache::Impl& the_cache, std::vector<HbmTier*> the_tiers)
    : cache(the_cache),
      tiers(std::move(the_tiers)),
      policy(PolicyFor(the_cache)),
      owners(tiers.size()),
      told_away_(tiers.size()) {
  TERRACE_CHECK(!tiers.empty());
  for (HbmTier* tier : tiers) tier->OnOffline([this, tier] { OnLost(*tier); });
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
    const HbmStats stats = tier->Stats();
    sum.capacity_bytes += stats.capacity_bytes;
    sum.used_bytes += stats.used_bytes;
    sum.extents_shared += stats.extents_shared;
    sum.extents_replaced += stats.extents_replaced;
    sum.extents_not_let_go += stats.extents_not_let_go;
    sum.renewal_failures += stats.renewal_failures;
    sum.away_bytes += stats.away_bytes;
    TellAway(*tier, stats.away_bytes);
    if (!tier->health().ok()) ++offline;
  }
  cache.counters.hbm_capacity_bytes.store(sum.capacity_bytes, std::memory_order_relaxed);
  cache.counters.hbm_used_bytes.store(sum.used_bytes, std::memory_order_relaxed);
  cache.counters.hbm_extents_shared.store(sum.extents_shared, std::memory_order_relaxed);
  cache.counters.hbm_extents_replaced.store(sum.extents_replaced, std::memory_order_relaxed);
  cache.counters.hbm_extents_not_let_go.store(sum.extents_not_let_go, std::memory_order_relaxed);
  cache.counters.hbm_renewal_failures.store(sum.renewal_failures, std::memory_order_relaxed);
  cache.counters.hbm_away_bytes.store(sum.away_bytes, std::memory_order_relaxed);
  cache.counters.hbm_gpus_offline.store(offline, std::memory_order_relaxed);
}

void HbmSide::TellAway(const HbmTier& tier, std::uint64_t bytes) {
  const std::size_t number = NumberOf(tier);
  if (bytes == 0 || told_away_[number] || !on_memory_away) return;
  told_away_[number] = true;
  on_memory_away(tier.name(), bytes, tier.WhyAway());
}

void HbmSide::BeforeReplaced(std::span<std::byte> memory) {
  for (HbmTier* tier : tiers) tier->Unpin(memory);
}

void HbmSide::AfterReplaced(std::span<std::byte> memory) {
  for (HbmTier* tier : tiers) {
    if (!tier->Pin(memory).ok()) Count(cache.counters.hbm_pin_failures);
  }
}

bool HbmSide::Wants(BlockId id) const {
  const BlockEntry& entry = (*cache.index)[id];
  if (closing || promotions >= kPromotionsMax) return false;
  if (entry.state != BlockState::kPublished || !entry.InDram()) return false;
  if (entry.block_bytes < cache.options.hbm_block_bytes_min) return false;
  if (entry.gets < kReinsertGetsKnown) return false;
  if (entry.gets < kReinsertGets && !Known(id)) return false;
  // A record that is written later is placed by the key that the put named.
  return cache.nvme == nullptr || !cache.nvme->price || cache.nvme->placements.Has(id);
}

void HbmSide::Touch(std::span<const BlockId> found, const RequestFacts& request) {
  std::vector<BlockId> chain;
  for (const BlockId id : found) {
    if ((*cache.index)[id].in_hbm) chain.push_back(id);
  }
  if (!chain.empty()) policy->Touch(chain, request);
}

void HbmSide::NoteUse(BlockId id) {
  if (Wants(id) && !copies.contains(id)) StartPromotion(id);
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
  const std::span<std::byte> payload = cache.arena->Payload(entry.frame);
  // No copy gives way to one that cannot be made.
  if (!roomiest->IsPinned(payload.data(), payload.size()))
    return Count(cache.counters.hbm_failures);
  const TenantId owner = OwnerOf(entry.namespace_id);
  const FrameId frame = MakeRoom(*roomiest, entry.block_bytes, owner);
  if (frame == kNoFrame) return CountTiers();
  auto copy = std::make_shared<Copy>();
  copy->id = id;
  copy->tier = roomiest;
  copy->frame = frame;
  copy->lendable = owner != HbmTier::kNobody && roomiest->lendable();
  copy->facts = cache.policy->FactsOf(id);
  copy->header = cache.arena->Header(entry.frame);
  const std::span<const std::uint64_t> checksums = cache.arena->Checksums(entry.frame);
  copy->checksums.assign(checksums.begin(), checksums.end());
  if (cache.nvme != nullptr && cache.nvme->price) {
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
    const BlockId parent = cache.index->ParentOf(copy->id);
    const NewBlock block{
        .block = copy->id,
        .parent = parent != kNoBlock && (*cache.index)[parent].in_hbm ? parent : kNoBlock,
        .identity = entry.hash.low,
        .position = entry.position,
        .request = copy->facts};
    policy->Insert(block);
    cache.index->SetInHbm(copy->id, true);
    Count(cache.counters.blocks_hbm);
    cache.TellMoved(copy->id);
  } else if (!copy->dropped) {
    Drop(copy->id);
  }
  EndUse(*copy);
}

bool HbmSide::Holds(BlockId id) const {
  if (!(*cache.index)[id].in_hbm) return false;
  return copies.find(id)->second->tier->health().ok();
}

const FrameHeader* HbmSide::HeaderOf(BlockId id) const {
  return Holds(id) ? &copies.find(id)->second->header : nullptr;
}

std::shared_ptr<HbmSide::Copy> HbmSide::BeginRead(BlockId id) {
  if (!Holds(id)) return nullptr;
  const std::shared_ptr<Copy>& copy = copies.find(id)->second;
  ++copy->users;
  return copy;
}

Task<Status> HbmSide::ReadAndEnd(std::shared_ptr<Copy> copy, FrameId into) {
  Status status;
  for (int read = 0; read < kReadsMax; ++read) {
    status = co_await copy->tier->Read(copy->frame, cache.arena->Payload(into), copy->checksums,
                                       CopyUrgency::kDemand);
    if (status.code() != StatusCode::kIo || !copy->tier->health().ok()) break;
  }
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
    const bool stays =
        status.code() == StatusCode::kRetry || status.code() == StatusCode::kUnsupported;
    const bool corrupt = status.code() == StatusCode::kCorrupt;
    if (corrupt) EndLoans(*copy);
    if (!copy->dropped && !stays) {
      GiveUp(copy->id, corrupt ? EventCause::kCorrupt : EventCause::kLost);
    }
  }
  EndUse(*copy);
  co_return status;
}

bool HbmSide::MayGo(const HbmTier& tier, FrameId frame) const {
  const auto owner = owners[NumberOf(tier)].find(frame);
  if (owner == owners[NumberOf(tier)].end()) return false;  // dropped, and still in use
  const Copy& copy = *copies.at(owner->second);
  if (!copy.ready || copy.users != 0) return false;
  const bool promised = cache.leases.Marks(copy.id) || cache.policy->Keeps(copy.id);
  return !promised || !IsLast(copy.id);  // G4
}

bool HbmSide::Known(BlockId id) const {
  return !WritePrice::Unknown(cache.policy->ReuseWithin(id, cache.index->in_dram()));
}

TenantId HbmSide::OwnerOf(std::uint32_t namespace_id) const {
  const std::vector<std::string>& lending = cache.options.hbm_lend_tenants;
  if (lending.empty()) return HbmTier::kNobody;
  const Namespace* space = cache.registry.Find(namespace_id);
  const bool lends = space != nullptr && std::ranges::count(lending, space->spec.tenant) > 0;
  return lends ? space->tenant_id : HbmTier::kNobody;
}

FrameId HbmSide::MakeRoom(HbmTier& tier, std::uint64_t block_bytes, TenantId owner) {
  Result<FrameId> frame = tier.Allocate(block_bytes, owner);
  if (frame.code() != StatusCode::kRetry) return frame.ok() ? *frame : kNoFrame;
  BlockId candidate = policy->First();
  for (int looked = 0; looked < kCandidatesMax && candidate != kNoBlock; ++looked) {
    const Copy& copy = *copies.at(candidate);
    if (copy.tier == &tier) {
      const std::vector<FrameId> in_the_way = tier.FramesInTheWay(copy.frame, block_bytes, owner);
      const auto may_go = [&](FrameId one) { return MayGo(tier, one); };
      if (!in_the_way.empty() && std::ranges::all_of(in_the_way, may_go)) {
        for (const FrameId one : in_the_way) {
          Count(cache.counters.hbm_evictions);
          GiveUp(owners[NumberOf(tier)].at(one), EventCause::kEvicted);
        }
        frame = tier.Allocate(block_bytes, owner);
        return frame.ok() ? *frame : kNoFrame;
      }
    }
    candidate = policy->After(candidate);
  }
  return kNoFrame;
}

bool HbmSide::IsLast(BlockId id) const {
  const BlockEntry& entry = (*cache.index)[id];
  return entry.in_hbm && !entry.InDram() && !entry.record.exists();
}

void HbmSide::EndLoans(const Copy& copy) {
  if (!copy.lendable || !on_loans_over) return;
  on_loans_over(*copy.tier, copy.tier->PlaceForLending(copy.frame));
}

void HbmSide::EndChecks(const std::function<bool(const Check&)>& which) {
  for (const std::shared_ptr<Check>& check : checks) {
    if (check->ended.IsSet() || !which(*check)) continue;
    check->status = Status(StatusCode::kCancelled, "nobody waits for the GPU's check any more");
    check->ended.Set();
  }
}

bool HbmSide::IsSlow(const HbmTier& tier) const {
  return std::ranges::any_of(
      checks, [&](const auto& check) { return check->tier == &tier && check->late; });
}

void HbmSide::GiveUp(BlockId id, EventCause why) {
  if (IsLast(id)) return cache.Forget(id, why);
  const BlockEntry& entry = (*cache.index)[id];
  const bool known = entry.in_hbm;
  Drop(id, why == EventCause::kEvicted);
  if (!known) return;
  if (entry.InDram() && !entry.record.exists()) cache.leases.PinMarked(id);
  cache.TellMoved(id);
}

bool HbmSide::ForgetFirst(const ChainGuard& guard) {
  BlockId candidate = policy->First();
  for (int looked = 0; looked < kCandidatesMax && candidate != kNoBlock; ++looked) {
    const Copy& copy = *copies.at(candidate);
    if (IsLast(candidate) && MayGo(*copy.tier, copy.frame) && !cache.Guarded(candidate, guard)) {
      Count(cache.counters.index_evictions);
      cache.Forget(candidate, EventCause::kEvicted, MissReason::kIndexFull);
      return true;
    }
    candidate = policy->After(candidate);
  }
  return false;
}

void HbmSide::Drop(BlockId id, bool evicts) {
  const auto found = copies.find(id);
  if (found == copies.end()) return;
  const std::shared_ptr<Copy> copy = found->second;
  copies.erase(found);
  owners[NumberOf(*copy->tier)].erase(copy->frame);
  copy->dropped = true;
  if (copy->ready) {
    if (evicts) {
      policy->Evict(id);
    } else {
      policy->Remove(id);
    }
    cache.index->SetInHbm(id, false);
    Uncount(cache.counters.blocks_hbm);
  }
  if (copy->users == 0) copy->tier->Free(copy->frame);
  CountTiers();
}

void HbmSide::EndUse(Copy& copy) {
  if (--copy.users == 0 && copy.dropped) copy.tier->Free(copy.frame);
  CountTiers();
}

void HbmSide::OnLost(HbmTier& tier) {
  CountTiers();
  if (on_lost) on_lost(tier.name(), tier.health().message());
  if (on_loans_over) on_loans_over(tier, std::nullopt);
  cache.loads->GiveUp(tier);
  EndChecks([&](const Check& check) { return check.tier == &tier; });
  if (!closing) background.Spawn(GiveUpAll(tier));
}

Task<void> HbmSide::GiveUpAll(HbmTier& tier) {
  std::vector<BlockId> lost;
  for (const auto& [frame, id] : owners[NumberOf(tier)]) lost.push_back(id);
  std::size_t handled = 0;
  for (const BlockId id : lost) {
    if (++handled % kYieldEvery == 0) co_await Yield{};
    const auto found = copies.find(id);
    if (found != copies.end() && found->second->tier == &tier) GiveUp(id, EventCause::kLost);
  }
}

bool HbmSide::Idle() const {
  return background.live() == 0 &&
         std::ranges::all_of(tiers, [](const HbmTier* tier) { return tier->Idle(); });
}

Task<Status> HbmSide::Close() {
  closing = true;
  const Nanos end = cache.clock.Now() + kCloseWait;
  while (!Idle() && cache.clock.Now() < end) {
    co_await SleepUntil{cache.clock.Now() + kClosePoll};
  }
  for (const HbmTier* tier : tiers) {
    if (tier->Idle()) continue;
    co_return Status(StatusCode::kIo, tier->name() +
                                          ": does not answer; its copies under way "
                                          "were given up, and so is the memory of both "
                                          "sides until the process ends");
  }
  co_await background.Join();
  for (HbmTier* tier : tiers) co_await tier->Close();
  while (!copies.empty()) GiveUp(copies.begin()->first, EventCause::kEvicted);
  co_return Status();
}

Status HbmSide::Validate() const {
  std::uint64_t ready = 0;
  std::uint64_t owned = 0;
  std::uint64_t ranked = 0;
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
    if (copy->ready != entry.in_hbm) return Status::Internal(which + "is not what the index says");
    if (copy->ready) ++ready;
  }
  for (const auto& frames : owners) owned += frames.size();
  for (BlockId id = policy->First(); id != kNoBlock && ranked <= ready; id = policy->After(id)) {
    if (!(*cache.index)[id].in_hbm) return Status::Internal("HBM: the policy ranks no copy");
    ++ranked;
  }
  std::uint64_t marked = 0;
  for (BlockId id = 0; id < cache.index->high_water(); ++id) marked += (*cache.index)[id].in_hbm;
  if (owned == copies.size() && ready == cache.counters.blocks_hbm.load() && ranked == ready &&
      marked == ready) {
    return {};
  }
  return Status::Internal("HBM: " + std::to_string(copies.size()) + " copies, " +
                          std::to_string(owned) + " frames owned, " + std::to_string(ready) +
                          " ready, " + std::to_string(ranked) + " ranked, " +
                          std::to_string(marked) + " in the index, " +
                          std::to_string(cache.counters.blocks_hbm.load()) + " counted");
}

}  // namespace terrace
