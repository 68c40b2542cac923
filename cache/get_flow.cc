// get: find -> pin frame -> push to the client -> unpin -> answer
#include <algorithm>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/wait.h"
#include "cache/cache_impl.h"

namespace terrace {

namespace {
/// Blocks a flow handles without a wait before it lets others run.
constexpr std::size_t kYieldEvery = 1024;
}  // namespace

/// Lives in the frame of Get, which joins every worker before it ends.
struct Cache::Impl::GetState {
  Link& link;
  const GetRequest& request;
  std::vector<WantedBlock> wanted;
  std::size_t next = 0;  ///< index into `wanted` of the block that is started next
  BatchAnswer answer;
};

Task<BatchAnswer> Cache::Impl::Get(Link& link, const GetRequest& request) {
  const FlowCount counted(*this);
  Add(counters.get_requests, 1);
  GetState state{.link = link, .request = request, .wanted = {}, .next = 0, .answer = {}};
  const Result<CheckedChain> checked = CheckChain(registry, request.chain, ChainOrder::kAny);
  state.answer.status = checked.ok() ? CheckPlaces(*checked, request.places) : checked.status();
  if (!state.answer.status.ok()) co_return std::move(state.answer);
  Add(counters.get_blocks, checked->keys);
  state.answer.blocks.resize(checked->keys);
  state.wanted = WantedBlocks(request.chain, checked->keys, options.locator_hash);

  // Recency is settled once, for the chain as a whole: pushes end in any order.
  {
    std::vector<BlockId> found(state.wanted.size());
    FindBatch(request.chain, state.wanted, found);
    BlockSet seen(found.size());
    std::erase_if(found, [&seen](BlockId id) { return id == kNoBlock || !seen.Insert(id); });
    policy->Touch(found);
  }

  TaskScope workers;
  const std::size_t window = std::min<std::size_t>(options.window_per_request, state.wanted.size());
  for (std::size_t worker = 0; worker < window; ++worker) workers.Spawn(GetWorker(state));
  co_await workers.Join();
  co_return std::move(state.answer);
}

Task<void> Cache::Impl::GetWorker(GetState& state) {
  while (state.next < state.wanted.size()) {
    if (state.next % kYieldEvery == kYieldEvery - 1) co_await Yield{};
    if (state.next == state.wanted.size()) break;
    const WantedBlock& wanted = state.wanted[state.next++];
    const BlockAnswer answer = co_await GetBlock(state, wanted);
    state.answer.blocks[wanted.index] = answer;
  }
}

Task<BlockAnswer> Cache::Impl::GetBlock(GetState& state, const WantedBlock& wanted) {
  const GetRequest& request = state.request;
  BlockAnswer answer;
  // Looked up anew at its turn: it may have gone, or come, while its predecessors were pushed.
  BlockId id = FindBlock(request.chain, wanted.hash, wanted.key).id;
  if (id == kNoBlock || (*index)[id].state != BlockState::kPublished) {
    answer.status = id == kNoBlock ? StatusCode::kMiss : StatusCode::kPending;
    Add(counters.get_misses, 1);
    co_return answer;
  }
  const FrameId frame = (*index)[id].frame;
  // Two pins: the link may let go of its own before the call ends, and the checksums stand beside
  // the frame until then.
  const Hold pin = arena->Pin(frame);
  Status status = clock.Now() < request.deadline
                      ? co_await slots.Acquire(&state.link, request.deadline)
                      : Status(StatusCode::kTimeout, "the deadline passed before the push");
  if (status.ok()) {
    const std::vector<Piece>& pieces = request.places[wanted.index].pieces;
    status = co_await state.link.Push(arena->Pin(frame),
                                      {.request_id = request.request_id,
                                       .block = wanted.index,
                                       .pieces = pieces,
                                       .deadline = request.deadline},
                                      arena->Checksums(frame));
    slots.Release(&state.link);
  }
  answer.status = AfterPush(id, status);
  if (status.ok()) {
    answer.tier = TierKind::kDram;
    answer.valid_tokens = arena->Header(frame).valid_tokens;
  }
  co_return answer;
}

StatusCode Cache::Impl::AfterPush(BlockId id, const Status& status) {
  const BlockEntry& entry = (*index)[id];
  if (status.ok()) {
    Add(counters.get_hits_dram, 1);
    Add(counters.bytes_got, entry.block_bytes);
    return StatusCode::kOk;
  }
  Add(counters.get_failures, 1);
  // The client found other bytes than were stored. If it is the memory here that has changed, the
  // block must not be offered again.
  if (status.code() == StatusCode::kCorrupt && entry.state == BlockState::kPublished &&
      !VerifyBlock(arena->Payload(entry.frame), arena->Checksums(entry.frame))) {
    Forget(id);
  }
  return status.code();
}

}  // namespace terrace
