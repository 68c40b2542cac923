// get: find -> pin frame | (allocate frame, read, verify, promote) -> push, or lend -> unpin
// -> answer
#include <algorithm>
#include <utility>
#include <vector>

#include "base/canary.h"
#include "base/checksum.h"
#include "base/counter.h"
#include "base/wait.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"
#include "cache/device_copies.h"
#include "cache/hbm_side.h"

namespace terrace {

namespace {
/// Blocks a flow handles without a wait before it lets others run.
constexpr std::size_t kYieldEvery = 1024;
/// Looks at a block outside DRAM whose record moves, or whose frame goes, while it is read.
constexpr int kLooksMax = 4;
/// As of BeforeReply.
constexpr Nanos kReplyTime = 20 * kMillisecond;

/// Why a block that was waited for is not there; `gone` is what is known of one that left.
MissReason ReasonOfWait(StatusCode status, MissReason gone) noexcept {
  if (status == StatusCode::kPending || status == StatusCode::kTimeout) return MissReason::kPending;
  return status == StatusCode::kMiss ? gone : MissReason::kHandoff;
}

/// Why a block outside DRAM could not be read; `gone` is what the cache, or its absence, says.
MissReason ReasonOfLoad(StatusCode status, MissReason gone) noexcept {
  switch (status) {
    case StatusCode::kTimeout: return MissReason::kTimeout;
    case StatusCode::kRetry: return MissReason::kNoFrame;
    case StatusCode::kMiss: return gone;
    default: return MissReason::kDevice;
  }
}
}  // namespace

/// Lives in the frame of Get, which joins every worker before it ends.
struct Cache::Impl::GetState {
  Link& link;
  const GetRequest& request;
  RequestFacts facts{};  ///< with the tenant
  std::vector<WantedBlock> wanted;
  BlockSet chain_blocks;  ///< of this request: not to be evicted for their own descendants
  GetLoads loads;
  Nanos wait_until = 0;
  std::size_t next = 0;  ///< index into `wanted` of the block that is started next
  BatchAnswer answer;
};

Task<BatchAnswer> Cache::Impl::Get(Link& link, const GetRequest& request) {
  const FlowCount counted(*this);
  Count(counters.get_requests);
  const Result<CheckedChain> checked = CheckChain(registry, request.chain, ChainOrder::kAny);
  GetState state{.link = link,
                 .request = request,
                 .facts = request.facts,
                 .wanted = {},
                 .chain_blocks = BlockSet(checked.ok() ? checked->keys : 0),
                 .loads = GetLoads(estimate, link, checked.ok() ? checked->keys : 0),
                 .wait_until = 0,
                 .next = 0,
                 .answer = {}};
  state.answer.status = checked.status();
  if (checked.ok() && request.lend_for == 0) {
    state.answer.status = CheckPlaces(*checked, request.places);
  }
  if (!state.answer.status.ok()) co_return std::move(state.answer);
  Count(counters.get_blocks, checked->keys);
  state.answer.blocks.resize(checked->keys);
  state.wanted = WantedBlocks(request.chain, checked->keys, options.locator_hash);
  state.facts = FactsIn(*checked->space, checked->block_bytes, state.wanted, request.facts);

  // Recency is settled once, for the chain as a whole: pushes end in any order.
  {
    std::vector<BlockId> found(state.wanted.size());
    FindBatch(request.chain, state.wanted, found);
    ShowCurve(CurveUse::kGet, request.chain, checked->block_bytes, state.wanted, found,
              state.facts);
    PredictGet(state, found);
    std::erase_if(
        found, [&state](BlockId id) { return id == kNoBlock || !state.chain_blocks.Insert(id); });
    for (const BlockId id : found) index->CountGet(id);
    TouchInDram(std::move(found), state.facts);
  }

  if (request.waits) {
    state.wait_until = BeforeReply(request.deadline);
    // One flow waits for the first, not a window of them.
    if (!state.wanted.empty()) {
      (void)co_await AwaitBlock(request, state.wanted.front(), state.wait_until);
    }
  }
  TaskScope workers;
  const std::size_t window = std::min<std::size_t>(options.window_per_request, state.wanted.size());
  for (std::size_t worker = 0; worker < window; ++worker) workers.Spawn(GetWorker(state));
  co_await workers.Join();
  const auto came = [](const BlockAnswer& block) { return block.status == StatusCode::kOk; };
  if (!request.waits && request.lend_for == 0 && std::ranges::all_of(state.answer.blocks, came)) {
    state.loads.OnAllCame();
  }
  co_return std::move(state.answer);
}

void Cache::Impl::PredictGet(GetState& state, std::span<const BlockId> found) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    const BlockId id = found[i];
    if (id == kNoBlock || TierOf(id) == TierKind::kNone) continue;
    const std::uint64_t bytes = (*index)[id].block_bytes;
    const std::size_t which = state.wanted[i].index;
    std::uint64_t moved = 0;  // of what is lent, nothing
    if (state.request.lend_for == 0) {
      const FrameRange& range = state.request.places[which].range;
      moved = range.bytes == 0 ? bytes - std::min(bytes, range.offset) : range.bytes * range.count;
    }
    state.loads.Add(which, SourceOf(id), bytes, moved);
  }
  state.loads.Predict();
}

Nanos Cache::Impl::BeforeReply(Nanos deadline) const {
  return deadline - std::min(kReplyTime, (deadline - clock.Now()) / 4);
}

Task<void> Cache::Impl::GetWorker(GetState& state) {
  while (state.next < state.wanted.size()) {
    if (state.next % kYieldEvery == kYieldEvery - 1) co_await Yield{};
    if (state.next == state.wanted.size()) break;
    const WantedBlock& wanted = state.wanted[state.next++];
    BlockAnswer answer = co_await GetBlock(state, wanted);
    state.loads.OnEnd(wanted.index);
    if (answer.status != StatusCode::kOk) {
      if (answer.reason == MissReason::kNone) answer.reason = MissReason::kTransfer;
      CountGetMiss({.namespace_id = state.request.chain.namespace_id, .hash = wanted.hash},
                   answer.reason);
    }
    state.answer.blocks[wanted.index] = answer;
  }
}

Task<BlockAnswer> Cache::Impl::GetBlock(GetState& state, const WantedBlock& wanted) {
  const GetRequest& request = state.request;
  StatusCode status = StatusCode::kOk;
  MissReason why = MissReason::kNone;
  if (request.waits) {
    Awaited awaited = co_await AwaitBlock(request, wanted, state.wait_until);
    if (awaited.put != nullptr) {
      co_return co_await PushPart(state.link, request, wanted, std::move(awaited));
    }
    status = awaited.status;
    why = ReasonOfWait(
        status,
        WhyMissing({.namespace_id = request.chain.namespace_id, .hash = wanted.hash}).reason);
  }
  if (status == StatusCode::kOk && hbm != nullptr && request.lend_for == 0) {
    BlockAnswer answer;
    if (co_await GetOnDevice(state, wanted, &answer)) co_return answer;
  }
  if (status == StatusCode::kOk && hbm != nullptr && !request.lend_gpu.empty()) {
    BlockAnswer answer;
    if (co_await LendOnDevice(state.link, request, wanted, &answer)) co_return answer;
  }
  Hold pin;
  TierKind tier = TierKind::kNone;
  if (status == StatusCode::kOk) status = co_await PinBlock(state, wanted, &pin, &tier, &why);
  if (status != StatusCode::kOk) {
    Count(counters.get_misses);
    co_return BlockAnswer{.status = status, .reason = why};
  }
  if (request.lend_for != 0) co_return LendBlock(state, std::move(pin), tier);
  co_return co_await PushBlock(state, wanted, std::move(pin), tier);
}

Task<bool> Cache::Impl::GetOnDevice(GetState& state, const WantedBlock& wanted,
                                    BlockAnswer* answer) {
  const GetRequest& request = state.request;
  const BlockPlace& place = request.places[wanted.index];
  const BlockTransfer transfer{.request_id = request.request_id,
                               .block = wanted.index,
                               .pieces = place.pieces,
                               .deadline = request.deadline,
                               .range = place.range};
  const BlockId id = FindBlock(request.chain, wanted.hash, wanted.key).id;
  if (id == kNoBlock || (*index)[id].state != BlockState::kPublished) co_return false;
  // What is in DRAM as well a NIC takes from there: nothing says that it reads a GPU's memory
  // faster (not measured on one), and the way to the GPU is the one that promotions need.
  const bool wire = state.link.kind() == LinkKind::kRdma;
  if (wire && (*index)[id].InDram()) co_return false;
  const DeviceCopier* const gpu = HbmBlock::GpuWith(*hbm, id);
  const std::uint64_t bytes = (*index)[id].block_bytes;
  if (gpu == nullptr || !state.link.ReachesDevice(*gpu, bytes, transfer)) co_return false;
  const std::shared_ptr<HbmBlock> block = HbmBlock::Begin(*hbm, id);
  if (!KeyIs(block->header(), request.chain, wanted.key)) co_return false;
  const std::uint64_t moved = RangeView(block->memory(), place.range).size();
  Status status = clock.Now() < request.deadline
                      ? co_await slots.Acquire(&state.link, request.deadline)
                      : Status(StatusCode::kTimeout, "the deadline passed before the push");
  if (status.ok()) {
    if (!state.link.ReachesDevice(*gpu, bytes, transfer)) {  // its region may have gone meanwhile
      slots.Release(&state.link);
      co_return false;
    }
    if (wire) estimate.BeginPush(state.link);
    status = co_await state.link.PushFromDevice(block, transfer);
    if (wire) estimate.EndPush(state.link, status.ok() ? moved : 0);
    slots.Release(&state.link);
  }
  answer->status = status.code();
  switch (status.code()) {
    case StatusCode::kOk:
      answer->tier = TierKind::kHbm;
      answer->valid_tokens = block->header().valid_tokens;
      CountGot(TierKind::kHbm, block->header(), moved);
      co_return true;
    case StatusCode::kTimeout:
    case StatusCode::kCancelled:
    case StatusCode::kPeerDead: Count(counters.get_failures); co_return true;
    case StatusCode::kCorrupt:
    case StatusCode::kIo: block->GiveUp(status.code()); co_return false;
    default: co_return false;
  }
}

Task<BlockAnswer> Cache::Impl::PushBlock(GetState& state, const WantedBlock& wanted, Hold pin,
                                         TierKind tier) {
  const GetRequest& request = state.request;
  BlockAnswer answer{.tier = tier};
  // Two pins: the link may let go of its own before the call ends, and the checksums stand beside
  // the frame until then.
  const FrameId frame = arena->FrameOf(pin);
  Status status = clock.Now() < request.deadline
                      ? co_await slots.Acquire(&state.link, request.deadline)
                      : Status(StatusCode::kTimeout, "the deadline passed before the push");
  if (status.ok()) {
    const BlockPlace& place = request.places[wanted.index];
    estimate.BeginPush(state.link);
    status = co_await state.link.Push(arena->Pin(frame),
                                      {.request_id = request.request_id,
                                       .block = wanted.index,
                                       .pieces = place.pieces,
                                       .deadline = request.deadline,
                                       .range = place.range},
                                      arena->Checksums(frame));
    const RangeView pushed(arena->Payload(frame), place.range);
    estimate.EndPush(state.link, status.ok() ? pushed.size() : 0);
    if (status.ok() || !CanaryIs(Canary::kKeepSlotOnError)) slots.Release(&state.link);
  }
  const RangeView moved(arena->Payload(frame), request.places[wanted.index].range);
  answer.status = AfterPush(frame, answer.tier, moved.size(), status);
  if (!status.ok()) co_return BlockAnswer{.status = answer.status};
  answer.valid_tokens = arena->Header(frame).valid_tokens;
  co_return answer;
}

BlockAnswer Cache::Impl::LendBlock(GetState& state, Hold pin, TierKind tier) {
  const FrameId frame = arena->FrameOf(pin);
  const FrameHeader& header = arena->Header(frame);
  const Result<Loan> loan = state.link.Lend(std::move(pin), arena->PlaceForLending(frame), *arena,
                                            clock.Now() + state.request.lend_for);
  if (!loan.ok()) {
    Count(counters.get_failures);
    return {.status = loan.code()};
  }
  CountGot(tier, header, header.block_bytes);
  Count(counters.blocks_lent);
  return {.status = StatusCode::kOk,
          .tier = tier,
          .valid_tokens = header.valid_tokens,
          .loan = loan.value()};
}

Task<StatusCode> Cache::Impl::PinBlock(GetState& state, const WantedBlock& wanted, Hold* pin,
                                       TierKind* tier, MissReason* why) {
  const ChainSlice& chain = state.request.chain;
  const Locator locator{.namespace_id = chain.namespace_id, .hash = wanted.hash};
  *tier = TierKind::kDram;
  for (int look = 0; look < kLooksMax; ++look) {
    // Looked up anew at its turn: it may have gone, or come, while its predecessors were pushed.
    const BlockId id = FindBlock(chain, wanted.hash, wanted.key).id;
    *why = id == kNoBlock ? WhyMissing(locator).reason : MissReason::kPending;
    if (id == kNoBlock) co_return StatusCode::kMiss;
    if ((*index)[id].state != BlockState::kPublished) co_return StatusCode::kPending;
    if ((*index)[id].InDram()) {
      *pin = arena->Pin((*index)[id].frame);
      co_return StatusCode::kOk;
    }
    *why = MissReason::kTimeout;
    if (clock.Now() >= state.request.deadline) co_return StatusCode::kTimeout;
    if (hbm == nullptr || !hbm->Holds(id)) state.loads.OnRead(wanted.index);
    const ChainGuard guard{.blocks = &state.chain_blocks, .position = wanted.position};
    BlockLoads::Loaded loaded;
    const StatusCode read =
        co_await loads->ReadBlock(id, locator, state.facts, guard, state.request.deadline, &loaded);
    if (read == StatusCode::kPending) continue;
    *why = ReasonOfLoad(
        read, index->Find(locator) != kNoBlock ? MissReason::kDevice : WhyMissing(locator).reason);
    if (read != StatusCode::kOk) co_return read;
    *pin = std::move(loaded.pin);
    *tier = loaded.from;
    const FrameHeader& header = arena->Header(arena->FrameOf(*pin));
    if (KeyIs(header, chain, wanted.key)) co_return StatusCode::kOk;
    *why = MissReason::kKeyMismatch;
    Count(counters.key_mismatches);
    co_return StatusCode::kMiss;
  }
  *why = MissReason::kMoved;
  co_return StatusCode::kRetry;
}

void Cache::Impl::CountHit(TierKind tier) noexcept {
  switch (tier) {
    case TierKind::kHbm: return Count(counters.get_hits_hbm);
    case TierKind::kNvme: return Count(counters.get_hits_nvme);
    default: return Count(counters.get_hits_dram);
  }
}

void Cache::Impl::CountGot(TierKind tier, const FrameHeader& header, std::uint64_t bytes) {
  CountHit(tier);
  Count(counters.bytes_got, bytes);
  CountTokens(header, bytes);
}

void Cache::Impl::CountTokens(const FrameHeader& header, std::uint64_t bytes) {
  const Namespace* space = registry.Find(header.namespace_id);
  // The blocks of other groups and shards are of the same tokens.
  if (space == nullptr || header.shard != 0 || header.group != space->spec.groups.front().id)
    return;
  Count(counters.tokens_got, header.valid_tokens * bytes / header.block_bytes);
}

StatusCode Cache::Impl::AfterPush(FrameId frame, TierKind tier, std::uint64_t bytes,
                                  const Status& status) {
  const FrameHeader& header = arena->Header(frame);
  if (status.ok()) {
    CountGot(tier, header, bytes);
    return StatusCode::kOk;
  }
  Count(counters.get_failures);
  // The client found other bytes than were stored. If it is the memory here that has changed, the
  // block must not be offered again.
  const BlockId id = header.block_id;
  if (status.code() == StatusCode::kCorrupt && id != kNoBlock &&
      (*index)[id].state == BlockState::kPublished && (*index)[id].frame == frame &&
      !VerifyBlock(arena->Payload(frame), arena->Checksums(frame))) {
    Forget(id, EventCause::kCorrupt);
  }
  return status.code();
}

}  // namespace terrace
