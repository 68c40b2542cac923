// Hints: what will be needed soon (prefetch), was needed (touch), or shall be kept (retain).
#include <algorithm>
#include <utility>
#include <vector>

#include "base/counter.h"
#include "base/wait.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"

namespace terrace {

namespace {
/// Blocks a flow handles without a wait before it lets others run.
constexpr std::size_t kYieldEvery = 1024;
/// Looks at a block whose record moves, or whose frame goes, while it is read.
constexpr int kLooksMax = 4;
}  // namespace

/// Lives in the frame of Prefetch, which joins every worker before it ends.
struct Cache::Impl::PrefetchState {
  const PrefetchRequest& request;
  RequestFacts facts{};  ///< with the tenant
  std::vector<WantedBlock> wanted;
  BlockSet chain_blocks;  ///< of this request: none goes for another of them
  std::size_t next = 0;
  BatchAnswer answer;
};

Task<BatchAnswer> Cache::Impl::Prefetch(const PrefetchRequest& request) {
  const FlowCount counted(*this);
  const Result<CheckedChain> checked = CheckChain(registry, request.chain, ChainOrder::kAny);
  PrefetchState state{.request = request,
                      .facts = request.facts,
                      .wanted = {},
                      .chain_blocks = BlockSet(checked.ok() ? checked->keys : 0),
                      .next = 0,
                      .answer = {}};
  state.answer.status = checked.status();
  if (!checked.ok()) co_return std::move(state.answer);
  state.answer.blocks.resize(checked->keys);
  Count(counters.prefetch_blocks, checked->keys);
  state.wanted = WantedBlocks(request.chain, checked->keys, options.locator_hash);
  state.facts = FactsIn(*checked->space, checked->block_bytes, state.wanted, request.facts);
  {
    std::vector<BlockId> found(state.wanted.size());
    FindBatch(request.chain, state.wanted, found);
    ShowCurve(CurveUse::kTouch, request.chain, checked->block_bytes, state.wanted, found,
              FactsIn(*checked->space, checked->block_bytes, state.wanted, {}));
    std::erase_if(
        found, [&state](BlockId id) { return id == kNoBlock || !state.chain_blocks.Insert(id); });
    TouchInDram(std::move(found), state.facts);
  }
  TaskScope workers;
  const std::size_t window = std::min(PrefetchQueue::kAtOnce, state.wanted.size());
  for (std::size_t worker = 0; worker < window; ++worker) workers.Spawn(PrefetchWorker(state));
  co_await workers.Join();
  co_return std::move(state.answer);
}

Task<void> Cache::Impl::PrefetchWorker(PrefetchState& state) {
  while (state.next < state.wanted.size()) {
    if (state.next % kYieldEvery == kYieldEvery - 1) co_await Yield{};
    if (state.next == state.wanted.size()) break;
    const WantedBlock& wanted = state.wanted[state.next++];
    const StatusCode code = co_await PrefetchBlock(state, wanted);
    const TierKind tier = code == StatusCode::kOk ? TierKind::kDram : TierKind::kNone;
    state.answer.blocks[wanted.index] = {.status = code, .tier = tier};
  }
}

Task<StatusCode> Cache::Impl::PrefetchBlock(PrefetchState& state, const WantedBlock& wanted) {
  const PrefetchRequest& request = state.request;
  for (int look = 0; look < kLooksMax; ++look) {
    const BlockId id = FindBlock(request.chain, wanted.hash, wanted.key).id;
    if (id == kNoBlock) co_return StatusCode::kMiss;
    if ((*index)[id].state != BlockState::kPublished) co_return StatusCode::kPending;
    if ((*index)[id].InDram()) co_return StatusCode::kOk;
    if (clock.Now() >= request.deadline ||
        !co_await loads->prefetches.Acquire(request.priority, request.deadline)) {
      co_return StatusCode::kTimeout;
    }
    // The request may have been cancelled while it waited.
    StatusCode read = StatusCode::kTimeout;
    BlockLoads::Loaded loaded;
    if (clock.Now() < request.deadline) {
      const ChainGuard guard{
          .blocks = &state.chain_blocks, .position = wanted.position, .spares_written = true};
      read = co_await loads->ReadBlock(
          id, {.namespace_id = request.chain.namespace_id, .hash = wanted.hash}, state.facts, guard,
          request.deadline, &loaded);
    }
    loads->prefetches.Release();
    if (read == StatusCode::kPending) continue;
    if (read != StatusCode::kOk) co_return read;
    if (KeyIs(arena->Header(arena->FrameOf(loaded.pin)), request.chain, wanted.key)) {
      Count(counters.prefetch_loads);
      co_return StatusCode::kOk;
    }
    Count(counters.key_mismatches);
    co_return StatusCode::kMiss;
  }
  co_return StatusCode::kRetry;
}

BatchAnswer Cache::Impl::Touch(const ChainSlice& chain, const RequestFacts& facts) {
  BatchAnswer answer;
  const Result<CheckedChain> checked = CheckChain(registry, chain, ChainOrder::kAny);
  answer.status = checked.status();
  if (!checked.ok()) return answer;
  answer.blocks.resize(checked->keys);
  const std::vector<WantedBlock> wanted = WantedBlocks(chain, checked->keys, options.locator_hash);
  std::vector<BlockId> found(wanted.size());
  FindBatch(chain, wanted, found);
  ShowCurve(CurveUse::kTouch, chain, checked->block_bytes, wanted, found,
            FactsIn(*checked->space, checked->block_bytes, wanted, {}));
  BlockSet seen(wanted.size());
  std::vector<BlockId> recent;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const BlockId id = found[i];
    BlockAnswer& block = answer.blocks[wanted[i].index];
    block.status = StatusCode::kMiss;
    if (id == kNoBlock || (*index)[id].state != BlockState::kPublished) continue;
    block = {.status = StatusCode::kOk, .tier = TierOf(id)};
    if (!seen.Insert(id)) continue;
    index->CountGet(id);
    recent.push_back(id);
  }
  Count(counters.touched, recent.size());
  TouchInDram(std::move(recent), FactsIn(*checked->space, checked->block_bytes, wanted, facts));
  return answer;
}

Task<BatchAnswer> Cache::Impl::Retain(const RetainRequest& request) {
  const FlowCount counted(*this);
  BatchAnswer answer;
  const Result<CheckedChain> checked = CheckChain(registry, request.chain, ChainOrder::kAny);
  answer.status = checked.status();
  if (!checked.ok()) co_return answer;
  answer.blocks.resize(checked->keys);
  retention.Expire(clock.Now(), kYieldEvery);
  const Nanos end = clock.Now() + request.time;
  const std::string name = Retention::NameOf(checked->space->spec.tenant, request.label);
  retention.Renew(name, end);
  std::uint64_t refused = 0;
  std::size_t handled = 0;
  for (const WantedBlock& wanted :
       WantedBlocks(request.chain, checked->keys, options.locator_hash)) {
    if (++handled % kYieldEvery == 0) co_await Yield{};
    BlockAnswer& block = answer.blocks[wanted.index];
    const BlockId id = FindBlock(request.chain, wanted.hash, wanted.key).id;
    if (id == kNoBlock || (*index)[id].state != BlockState::kPublished) {
      block.status = StatusCode::kMiss;
    } else if (retention.Add(name, end, id)) {
      block = {.status = StatusCode::kOk, .tier = TierOf(id)};
    } else {
      block.status = StatusCode::kRetry;
      ++refused;
    }
  }
  Count(counters.retain_refused, refused);
  CountRetained();
  co_return answer;
}

Task<std::uint64_t> Cache::Impl::ReleaseRetained(std::string tenant, std::string label) {
  const FlowCount counted(*this);
  const std::string name = Retention::NameOf(tenant, label);
  std::uint64_t released = 0;
  // What is retained by that label meanwhile goes, too.
  while (const std::size_t some = retention.Release(name, kYieldEvery)) {
    released += some;
    if (some == kYieldEvery) co_await Yield{};
  }
  CountRetained();
  co_return released;
}

}  // namespace terrace
