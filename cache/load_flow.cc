// From NVMe to DRAM: allocate frame -> read record -> verify -> compare -> promote -> pin.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/canary.h"
#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"
#include "cache/hbm_side.h"
#include "cache/nvme_side.h"

namespace terrace {

Result<std::shared_ptr<NvmeSide::Load>> NvmeSide::StartLoad(BlockId id, const RequestFacts& facts,
                                                            const ChainGuard& guard,
                                                            Nanos deadline) {
  const BlockEntry& entry = (*cache.index)[id];
  if (!tier.log().Readable(entry.record) && (cache.hbm == nullptr || !cache.hbm->Holds(id))) {
    Count(cache.counters.load_io_errors);
    return Status(StatusCode::kMiss, "its device is offline");
  }
  // Whoever lost patience before its turn would keep a frame, and delay those behind it.
  if (tier.log().ReadBegins(entry.record) > deadline) {
    return Status(StatusCode::kTimeout, "its device may be read again after the deadline only");
  }
  const Result<FrameId> frame = cache.AllocateFrame(facts.tenant, entry.block_bytes, guard);
  if (!frame.ok()) {
    Count(cache.counters.load_no_frame);
    return frame.status();
  }
  cache.arena->Header(*frame).block_id = kNoBlock;  // S2
  ++loose_frames;
  auto load = std::make_shared<Load>();
  load->id = id;
  load->place = entry.record;
  load->frame = *frame;
  load->facts = facts;
  loads[id] = load;
  background.Spawn(RunLoad(load));
  return load;
}

Task<StatusCode> NvmeSide::ReadBlock(BlockId id, Locator locator, RequestFacts facts,
                                     ChainGuard guard, Nanos deadline, Hold* pin) {
  if (!StillIs(id, locator) || (*cache.index)[id].InDram()) co_return StatusCode::kPending;
  std::shared_ptr<Load> load;
  if (const auto found = loads.find(id); found != loads.end()) {
    load = found->second;
  } else {
    auto started = StartLoad(id, facts, guard, deadline);
    if (!started.ok()) co_return started.code();
    load = std::move(started).value();
  }
  LoadWaiter waiter;
  load->waiters.push_back(&waiter);
  if (!co_await waiter.done.WaitUntil(deadline)) {
    std::erase(load->waiters, &waiter);
    co_return StatusCode::kTimeout;
  }
  *pin = std::move(waiter.pin);
  co_return waiter.code;
}

bool NvmeSide::Describes(const nvme::RecordHeader& header, BlockId id) const {
  const BlockEntry& entry = (*cache.index)[id];
  const Namespace* space = cache.registry.Find(entry.namespace_id);
  if (space == nullptr || header.namespace_id != entry.namespace_id ||
      header.payload_bytes != entry.block_bytes || header.position != entry.position) {
    return false;
  }
  const Hash128 hash =
      HashLocator(cache.options.locator_hash, header.group, header.shard, header.Key());
  return hash == entry.hash && header.Tenant() == space->spec.tenant &&
         header.Name() == space->spec.name && header.fingerprint[0] == space->fingerprint.low &&
         header.fingerprint[1] == space->fingerprint.high;
}

void NvmeSide::FillFrame(const Load& load, const nvme::RecordHeader& header, TenantId tenant) {
  FrameHeader& frame = cache.arena->Header(load.frame);
  frame.namespace_id = header.namespace_id;
  frame.group = header.group;
  frame.shard = header.shard;
  frame.position = header.position;
  frame.valid_tokens = header.valid_tokens;
  frame.tenant = tenant;
  frame.key_bytes = header.key_bytes;
  std::memcpy(frame.key, header.key.data(), header.key_bytes);
  const std::span<const std::uint64_t> sums = header.Checksums();
  std::copy(sums.begin(), sums.end(), cache.arena->Checksums(load.frame).begin());
}

StatusCode NvmeSide::FinishLoad(Load& load, const Status& status,
                                const nvme::RecordHeader& header) {
  CacheCounters& counters = cache.counters;
  if (load.abandoned) return StatusCode::kMiss;
  const BlockEntry& entry = (*cache.index)[load.id];
  const bool elsewhere = !(entry.record == load.place);
  if (status.code() == StatusCode::kExpired || (elsewhere && !status.ok())) {
    Count(counters.load_expired);
    return StatusCode::kPending;  // look again: it was moved, or lost its record
  }
  if (status.code() == StatusCode::kIo) {
    Count(counters.load_io_errors);
    return StatusCode::kMiss;
  }
  if (!status.ok() || !Describes(header, load.id)) {
    Count(status.ok() ? counters.load_mismatched : counters.load_corrupt);
    tier.DropEntry(entry.namespace_id, entry.hash);
    cache.Forget(load.id, EventCause::kCorrupt);
    return StatusCode::kMiss;
  }
  Count(counters.loads);
  FillFrame(load, header, cache.registry.Find(entry.namespace_id)->tenant_id);
  KeepLoaded(load, std::span(header.placement).first(header.placement_bytes));
  return StatusCode::kOk;
}

void NvmeSide::KeepLoaded(const Load& load, KeyView placement) {
  if (!cache.policy->Promotes(load.id)) return;
  cache.arena->Header(load.frame).block_id = load.id;
  --loose_frames;
  cache.index->SetFrame(load.id, load.frame);
  cache.TellMoved(load.id, kTierSetDram | kTierSetNvme);
  NewBlock block = cache.AsNew(load.id);
  block.returns = true;
  block.request = load.facts;
  cache.policy->Insert(block);
  OnPromoted(load.id, placement);
  cache.CountBlocks();
}

Task<bool> NvmeSide::LoadFromHbm(std::shared_ptr<Load> load, StatusCode* code) {
  const std::shared_ptr<HbmSide::Copy> copy =
      load->abandoned ? nullptr : cache.hbm->BeginRead(load->id);
  if (copy == nullptr) co_return false;
  if (!(co_await cache.hbm->ReadAndEnd(copy, load->frame)).ok()) co_return false;
  *code = StatusCode::kMiss;
  if (load->abandoned) co_return true;
  // The header as it was in DRAM, but for what is this frame's own.
  FrameHeader& frame = cache.arena->Header(load->frame);
  FrameHeader header = copy->header;
  header.pins = frame.pins;
  header.block_id = frame.block_id;
  frame = header;
  KeepLoaded(*load, copy->placement);
  *code = StatusCode::kOk;
  co_return true;
}

Task<StatusCode> NvmeSide::LoadRecord(std::shared_ptr<Load> load) {
  const nvme::PagePool::Page page = tier.pages().Take();
  auto& header = page.Make<nvme::RecordHeader>();
  const std::uint32_t device = tier.log().LaneOf(load->place);
  const std::uint64_t bytes = cache.arena->Payload(load->frame).size();
  cache.estimate.BeginRead(device, bytes);
  const Status status =
      co_await tier.Read(load->place, &header, cache.arena->PayloadPages(load->frame));
  cache.estimate.EndRead(device, bytes, status.ok());
  CrashHere(CrashPoint::kLoadRead);
  co_return FinishLoad(*load, status, header);
}

Task<void> NvmeSide::RunLoad(std::shared_ptr<Load> load) {
  Hold pin = cache.arena->Pin(load->frame);
  if (CanaryIs(Canary::kFreeFrameEarly)) pin = Hold();
  StatusCode code = StatusCode::kMiss;
  if (cache.hbm == nullptr || !co_await LoadFromHbm(load, &code)) {
    code = co_await LoadRecord(load);
  }
  const auto found = loads.find(load->id);
  if (found != loads.end() && found->second == load) loads.erase(found);
  for (LoadWaiter* waiter : std::exchange(load->waiters, {})) {
    waiter->code = code;
    if (code == StatusCode::kOk) waiter->pin = cache.arena->Pin(load->frame);
    waiter->done.Set();
  }
  prefetches.Grant();
}

}  // namespace terrace
