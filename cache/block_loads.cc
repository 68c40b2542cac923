// To DRAM from what lies beside or below it: allocate frame -> read, verify -> promote -> pin.
#include "cache/block_loads.h"

#include <algorithm>
#include <utility>

#include "base/canary.h"
#include "base/counter.h"
#include "cache/hbm_side.h"
#include "cache/nvme_side.h"

namespace terrace {

Result<std::shared_ptr<BlockLoads::Load>> BlockLoads::Start(BlockId id, const RequestFacts& facts,
                                                            const ChainGuard& guard,
                                                            Nanos deadline) {
  const BlockEntry& entry = (*cache.index)[id];
  const bool in_hbm = cache.hbm != nullptr && !gpus_closed && cache.hbm->Holds(id);
  if (!in_hbm) {
    if (!entry.record.exists()) return Status(StatusCode::kMiss, "its GPU is offline or closed");
    const nvme::SegmentLog& log = cache.nvme->tier.log();
    if (!log.Readable(entry.record)) {
      Count(cache.counters.load_io_errors);
      return Status(StatusCode::kMiss, "its device is offline");
    }
    // Whoever lost patience before its turn would keep a frame, and delay those behind it.
    if (log.ReadBegins(entry.record) > deadline) {
      return Status(StatusCode::kTimeout, "its device may be read again after the deadline only");
    }
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
  background.Spawn(Run(load));
  return load;
}

Task<StatusCode> BlockLoads::ReadBlock(BlockId id, Locator locator, RequestFacts facts,
                                       ChainGuard guard, Nanos deadline, Loaded* loaded) {
  const BlockEntry& entry = (*cache.index)[id];
  const bool still_it = entry.state == BlockState::kPublished && entry.locator() == locator;
  if (!still_it || entry.InDram()) co_return StatusCode::kPending;
  std::shared_ptr<Load> load;
  if (const auto found = loads.find(id); found != loads.end()) {
    load = found->second;
  } else {
    auto started = Start(id, facts, guard, deadline);
    if (!started.ok()) co_return started.code();
    load = std::move(started).value();
  }
  Waiter waiter;
  load->waiters.push_back(&waiter);
  if (!co_await waiter.done.WaitUntil(deadline)) {
    std::erase(load->waiters, &waiter);
    co_return StatusCode::kTimeout;
  }
  loaded->pin = std::move(waiter.pin);
  loaded->from = load->from;
  co_return waiter.code;
}

void BlockLoads::Keep(const Load& load, KeyView placement) {
  if (!cache.policy->Promotes(load.id)) return;
  cache.arena->Header(load.frame).block_id = load.id;
  --loose_frames;
  cache.index->SetFrame(load.id, load.frame);
  cache.TellMoved(load.id, kTierSetDram | cache.TiersBeside(load.id));
  NewBlock block = cache.AsNew(load.id);
  block.returns = true;
  block.request = load.facts;
  cache.policy->Insert(block);
  if (cache.nvme != nullptr) cache.nvme->OnPromoted(load.id, placement);
  cache.CountBlocks();
}

Task<bool> BlockLoads::LoadFromHbm(std::shared_ptr<Load> load, StatusCode* code) {
  const std::shared_ptr<HbmSide::Copy> copy =
      load->abandoned || gpus_closed ? nullptr : cache.hbm->BeginRead(load->id);
  if (copy == nullptr) co_return false;
  load->from = TierKind::kHbm;
  load->reading = copy->tier;
  const Status read = co_await cache.hbm->ReadAndEnd(copy, load->frame);
  load->reading = nullptr;
  *code = StatusCode::kMiss;
  if (load->abandoned) co_return true;
  if (!read.ok()) co_return false;
  // The header as it was in DRAM, but for what is this frame's own.
  FrameHeader& frame = cache.arena->Header(load->frame);
  FrameHeader header = copy->header;
  header.pins = frame.pins;
  header.block_id = frame.block_id;
  frame = header;
  Keep(*load, copy->placement);
  *code = StatusCode::kOk;
  co_return true;
}

void BlockLoads::Answer(Load& load, StatusCode code, FrameArena& arena) {
  for (Waiter* waiter : std::exchange(load.waiters, {})) {
    waiter->code = code;
    if (code == StatusCode::kOk) waiter->pin = arena.Pin(load.frame);
    waiter->done.Set();
  }
}

Task<void> BlockLoads::Run(std::shared_ptr<Load> load) {
  Hold pin = cache.arena->Pin(load->frame);
  if (CanaryIs(Canary::kFreeFrameEarly)) pin = Hold();
  StatusCode code = StatusCode::kMiss;
  if (cache.hbm == nullptr) {
    code = co_await cache.nvme->LoadRecord(load);
  } else if (!co_await LoadFromHbm(load, &code)) {
    // Its record may have moved, or gone, while the GPU was asked.
    if (!load->abandoned) load->place = (*cache.index)[load->id].record;
    load->from = TierKind::kNvme;
    if (!load->abandoned && !closing && load->place.exists()) {
      code = co_await cache.nvme->LoadRecord(load);
    }
  }
  const auto found = loads.find(load->id);
  if (found != loads.end() && found->second == load) loads.erase(found);
  Answer(*load, code, *cache.arena);
  prefetches.Grant();
}

void BlockLoads::OnForget(BlockId id) {
  const auto load = loads.find(id);
  if (load == loads.end()) return;
  load->second->abandoned = true;
  loads.erase(load);
}

void BlockLoads::GiveUp(const HbmTier& tier) {
  std::vector<std::shared_ptr<Load>> given_up;
  for (const auto& [id, load] : loads) {
    if (load->reading == &tier) given_up.push_back(load);
  }
  for (const std::shared_ptr<Load>& load : given_up) {
    load->abandoned = true;
    loads.erase(load->id);
    Answer(*load, StatusCode::kPending, *cache.arena);
  }
  if (!given_up.empty()) prefetches.Grant();
}

}  // namespace terrace
