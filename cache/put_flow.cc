// put: allocate frame (evict) -> pull from the client -> checksum -> publish -> answer COMMITTED
//      -> (if admitted to NVMe, now or when it is demoted) append -> index -> DURABLE
//
// Blocks are started in prefix order and reserved, in index and policy, before their bytes come:
// so a second put of a block is told kPending at once (C3), and the policy knows a block's parent
// however the pulls overtake each other. A failure takes the reservation with it.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/canary.h"
#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"
#include "base/wait.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"
#include "cache/hbm_side.h"
#include "cache/nvme_side.h"
#include "cache/put_state.h"

namespace terrace {

namespace {
/// Blocks a flow handles without a wait before it lets others run.
constexpr std::size_t kYieldEvery = 1024;
/// Looks at a block in HBM that changes while it is read.
constexpr int kLooksMax = 4;
/// Kept of a put's deadline for its reply when it waits for durability.
constexpr Nanos kReplyTime = 20 * kMillisecond;

}  // namespace

Cache::Impl::PutState Cache::Impl::BeginPut(Link& link, const PutRequest& request,
                                            const CheckedChain& checked) const {
  std::vector<WantedBlock> wanted = WantedBlocks(request.chain, checked.keys, options.locator_hash);
  const RequestFacts facts = FactsIn(*checked.space, checked.block_bytes, wanted, request.facts);
  return {.link = link,
          .request = request,
          .space = checked.space,
          .block_bytes = checked.block_bytes,
          .wanted = std::move(wanted),
          .first_of_same = {},
          // A block enters the set when it is found stored and again, under another number, when it
          // had been evicted meanwhile and is put anew.
          .chain_blocks = BlockSet(2 * checked.keys + PutState::kAncestorsMax),
          .next = 0,
          .full = false,
          .facts = facts,
          .extends = false,
          .answer = {}};
}

Task<BatchAnswer> Cache::Impl::Put(Link& link, const PutRequest& request) {
  const FlowCount counted(*this);
  Count(counters.put_requests);
  const Result<CheckedChain> checked = CheckChain(registry, request.chain, ChainOrder::kAny);
  Status status = checked.ok() ? CheckPlaces(*checked, request.places) : checked.status();
  if (!status.ok()) co_return BatchAnswer{.status = std::move(status), .blocks = {}};
  Count(counters.put_blocks, checked->keys);

  PutState state = BeginPut(link, request, *checked);
  state.answer.blocks.resize(checked->keys);
  state.first_of_same = FirstOfSameKey(state.wanted);
  {
    std::vector<BlockId> found(state.wanted.size());
    FindBatch(request.chain, state.wanted, found);
    ShowCurve(CurveUse::kPut, request.chain, state.block_bytes, state.wanted, found, state.facts,
              request.places);
    std::erase_if(
        found, [&state](BlockId id) { return id == kNoBlock || !state.chain_blocks.Insert(id); });
    TouchInDram(std::move(found), state.facts);
  }
  GuardAncestors(state);

  TaskScope workers;
  const std::size_t window = std::min<std::size_t>(options.window_per_request, state.wanted.size());
  for (std::size_t worker = 0; worker < window; ++worker) workers.Spawn(PutWorker(state));
  co_await workers.Join();
  if (request.ack == Ack::kDurable) co_await AwaitDurable(state);

  // A key that repeats within the request is stored once; its later places share that outcome.
  for (std::size_t i = 0; i < state.wanted.size(); ++i) {
    const std::uint32_t first = state.first_of_same[i];
    if (first == i) continue;
    BlockAnswer& answer = state.answer.blocks[state.wanted[i].index];
    answer = state.answer.blocks[state.wanted[first].index];
    if (answer.status == StatusCode::kOk) answer.status = StatusCode::kExists;
  }
  co_return std::move(state.answer);
}

Task<void> Cache::Impl::AwaitDurable(PutState& state) {
  // One after the other: they were all queued already, so the waits overlap.
  for (std::size_t which = 0; which < state.wanted.size(); ++which) {
    co_await AwaitOneDurable(state, which);
  }
}

Task<void> Cache::Impl::AwaitOneDurable(PutState& state, std::size_t which) {
  const WantedBlock& wanted = state.wanted[which];
  BlockAnswer& answer = state.answer.blocks[wanted.index];
  if (answer.status != StatusCode::kOk && answer.status != StatusCode::kExists) co_return;
  const ChainSlice& chain = state.request.chain;
  co_await AwaitDurableBlock(FindBlock(chain, wanted.hash, wanted.key).id,
                             {.namespace_id = chain.namespace_id, .hash = wanted.hash},
                             PlacementOf(chain, wanted), state.request.deadline, answer);
}

Task<void> Cache::Impl::AwaitDurableBlock(BlockId id, Locator locator, KeyView placement,
                                          Nanos deadline, BlockAnswer& answer) {
  answer.not_durable = NotDurable::kNoTier;
  if (nvme == nullptr) co_return;
  // The number may be another block's by now: a task begins a turn after it was made.
  if (id == kNoBlock || !nvme->StillIs(id, locator)) {
    answer.not_durable = NotDurable::kGone;
    nvme->tier.CountDeclined(answer.not_durable);
    co_return;
  }
  // The client waits no longer than the deadline either: the reply must be there by then.
  answer.not_durable = co_await nvme->MakeDurable(id, locator, placement, deadline - kReplyTime);
  if (answer.not_durable != NotDurable::kNone) {
    nvme->tier.CountDeclined(answer.not_durable);  // the one place: once for each answer
    co_return;
  }
  answer.ack = Ack::kDurable;
  CrashHere(CrashPoint::kPutDurable);
}

void Cache::Impl::GuardAncestors(PutState& state) {
  const ChainSlice& chain = state.request.chain;
  std::size_t left = PutState::kAncestorsMax;
  for (const RunSlice& run : chain.runs) {
    if (left == 0) break;
    if (run.parent.empty()) continue;
    const Hash128 hash = HashLocator(options.locator_hash, chain.group, chain.shard, run.parent);
    BlockId ancestor = FindBlock(chain, hash, run.parent).id;
    // Ends at a block that is known already: the run before it in this request.
    while (left > 0 && ancestor != kNoBlock && state.chain_blocks.Insert(ancestor)) {
      ancestor = index->ParentOf(ancestor);
      --left;
    }
  }
}

Task<void> Cache::Impl::PutWorker(PutState& state) {
  while (state.next < state.wanted.size()) {
    if (state.next % kYieldEvery == kYieldEvery - 1) co_await Yield{};
    if (state.next == state.wanted.size()) break;
    const std::size_t which = state.next++;
    if (state.first_of_same[which] != which) continue;
    const BlockAnswer answer = co_await PutBlock(state, which);
    state.answer.blocks[state.wanted[which].index] = answer;
  }
}

bool Cache::Impl::AnswerIfStored(PutState& state, const WantedBlock& wanted, BlockAnswer& answer) {
  const Lookup lookup = FindBlock(state.request.chain, wanted.hash, wanted.key);
  if (lookup.id != kNoBlock) {
    const BlockEntry& entry = (*index)[lookup.id];
    if (entry.state != BlockState::kPublished) {
      answer.status = StatusCode::kPending;
      Count(counters.put_pending);
      return true;
    }
    answer.tier = TierOf(lookup.id);
    // What a failed sync may have taken can only be promised when it is written once more, and so
    // can what is in HBM alone; both take a frame. A copy in HBM that can be read is not given up
    // for a put that may fail yet: BringFromHbm has tried, and found no room.
    const bool again = state.request.ack == Ack::kDurable && nvme != nullptr && !entry.InDram() &&
                       (!entry.record.exists() || nvme->tier.log().Doubtful(entry.record));
    if (answer.tier != TierKind::kNone && !again) {
      answer.status = StatusCode::kExists;
      answer.valid_tokens = entry.valid_tokens;
      Count(counters.put_exists);
      return true;
    }
    if (answer.tier == TierKind::kHbm) {
      const bool late = clock.Now() >= state.request.deadline;
      answer = {.status = late ? StatusCode::kTimeout : StatusCode::kRetry};
      if (late) {
        Count(counters.put_failures);
      } else {
        CountNoSpace({.namespace_id = state.request.chain.namespace_id, .hash = wanted.hash});
      }
      return true;
    }
    answer.tier = TierKind::kNone;
    // Until its bytes have come again it is a miss, and for good when this put fails.
    Count(counters.nvme_evictions);
    Forget(lookup.id,
           EventCause::kLost);  // on a device that is offline, or doubtful: better to have it again
  }
  // The locator is another key's while that block lives: there is no place for this one.
  if (lookup.collided || state.full) {
    answer.status = StatusCode::kRetry;
    CountNoSpace({.namespace_id = state.request.chain.namespace_id, .hash = wanted.hash});
    return true;
  }
  return false;
}

Task<void> Cache::Impl::BringFromHbm(PutState& state, const WantedBlock& wanted) {
  const ChainSlice& chain = state.request.chain;
  const Locator locator{.namespace_id = chain.namespace_id, .hash = wanted.hash};
  for (int look = 0; look < kLooksMax; ++look) {
    const BlockId id = FindBlock(chain, wanted.hash, wanted.key).id;
    if (id == kNoBlock || !StandsInHbmAlone(id) || clock.Now() >= state.request.deadline) co_return;
    const ChainGuard guard{.blocks = &state.chain_blocks, .position = wanted.position};
    BlockLoads::Loaded loaded;
    const StatusCode read =
        co_await loads->ReadBlock(id, locator, state.facts, guard, state.request.deadline, &loaded);
    if (read == StatusCode::kPending) continue;
    // At once: it must not leave DRAM again before AwaitDurable asks for it.
    NotDurable declined = NotDurable::kNone;
    if (read == StatusCode::kOk && nvme->StillIs(id, locator) && (*index)[id].InDram() &&
        !(*index)[id].record.exists() && !nvme->Waits(id)) {
      (void)nvme->Queue(id, PlacementOf(chain, wanted), true, &declined);
    }
    co_return;
  }
}

bool Cache::Impl::StandsInHbmAlone(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  return entry.state == BlockState::kPublished && !entry.InDram() && hbm != nullptr &&
         hbm->Holds(id) &&
         (!entry.record.exists() || nvme == nullptr || nvme->tier.log().Doubtful(entry.record));
}

Task<BlockAnswer> Cache::Impl::PutBlock(PutState& state, std::size_t which) {
  const PutRequest& request = state.request;
  const WantedBlock& wanted = state.wanted[which];
  BlockAnswer answer;
  if (request.ack == Ack::kDurable && nvme != nullptr && hbm != nullptr) {
    co_await BringFromHbm(state, wanted);
  }
  if (AnswerIfStored(state, wanted, answer)) co_return answer;
  // The slot comes first, so that no frame stands reserved while its flow waits in a queue.
  Status status = clock.Now() < request.deadline
                      ? co_await slots.Acquire(&state.link, request.deadline)
                      : Status(StatusCode::kTimeout, "the deadline passed before the pull");
  if (!status.ok()) {
    Count(counters.put_failures);
    answer.status = status.code();
    co_return answer;
  }
  if (AnswerIfStored(state, wanted, answer)) {  // it may have come during the wait
    slots.Release(&state.link);
    co_return answer;
  }
  const Result<BlockId> reserved = ReserveBlock(state, which);
  if (!reserved.ok()) {
    slots.Release(&state.link);
    state.full = state.full || reserved.code() == StatusCode::kRetry;
    if (reserved.code() == StatusCode::kRetry) {
      CountNoSpace({.namespace_id = request.chain.namespace_id, .hash = wanted.hash});
    } else {
      Count(counters.put_failures);
    }
    answer.status = reserved.code();
    co_return answer;
  }
  const BlockId id = *reserved;
  CrashHere(CrashPoint::kPutReserved);
  const FrameId frame = (*index)[id].frame;
  if (CanaryIs(Canary::kPublishBeforeArrival))
    index->Publish(id, arena->Header(frame).valid_tokens);
  {
    // Two pins: the link may let go of its own before the call ends, and a Clear meanwhile must
    // not free the frame whose checksums are being written.
    const Hold pin = arena->Pin(frame);
    const std::vector<Piece>& pieces = request.places[wanted.index].pieces;
    const Status pulled = co_await state.link.Pull(arena->Pin(frame),
                                                   {.request_id = request.request_id,
                                                    .block = wanted.index,
                                                    .pieces = pieces,
                                                    .deadline = request.deadline},
                                                   arena->Checksums(frame));
    slots.Release(&state.link);
    CrashHere(CrashPoint::kPutPulled);
    answer.status = FinishPut(state, id, pulled, wanted);
    if (answer.status == StatusCode::kOk) {
      answer.tier = TierKind::kDram;
      answer.valid_tokens = arena->Header(frame).valid_tokens;
    }
  }
  co_return answer;
}

BlockId Cache::Impl::ParentOf(const PutState& state, std::size_t which) {
  const ChainSlice& chain = state.request.chain;
  const WantedBlock& wanted = state.wanted[which];
  if (which > 0 && state.wanted[which - 1].position + 1 == wanted.position) {
    const WantedBlock& before = state.wanted[which - 1];
    return FindBlock(chain, before.hash, before.key).id;
  }
  for (const RunSlice& run : chain.runs) {
    if (run.first_position != wanted.position || run.parent.empty()) continue;
    const Hash128 hash = HashLocator(options.locator_hash, chain.group, chain.shard, run.parent);
    return FindBlock(chain, hash, run.parent).id;
  }
  return kNoBlock;
}

Result<BlockId> Cache::Impl::ReserveBlock(PutState& state, std::size_t which) {
  const ChainSlice& chain = state.request.chain;
  const WantedBlock& wanted = state.wanted[which];
  const ChainGuard guard{.blocks = &state.chain_blocks, .position = wanted.position};
  if (!MakeIndexRoom(guard)) {
    return Status(StatusCode::kRetry, "the index is full, and nothing may be evicted");
  }
  const Result<FrameId> frame = AllocateFrame(state.space->tenant_id, state.block_bytes, guard);
  if (!frame.ok()) return frame.status();

  const BlockId parent = ParentOf(state, which);
  const BlockId id =
      index->Reserve({.namespace_id = chain.namespace_id, .hash = wanted.hash}, *frame,
                     wanted.position, static_cast<std::uint32_t>(state.block_bytes), parent);
  FrameHeader& header = arena->Header(*frame);
  const std::uint32_t valid_tokens = state.request.places[wanted.index].valid_tokens;
  header.namespace_id = chain.namespace_id;
  header.group = chain.group;
  header.shard = chain.shard;
  header.position = wanted.position;
  header.valid_tokens = valid_tokens != 0 ? valid_tokens : state.space->spec.block_tokens;
  header.block_id = id;
  header.key_bytes = static_cast<std::uint8_t>(wanted.key.size());
  std::memcpy(header.key, wanted.key.data(), wanted.key.size());
  NewBlock block = AsNew(id);
  if (!state.extends) {  // its first block: what the policy makes of the chain holds for them all
    std::vector<std::uint64_t> identities;
    for (std::size_t i = which; i < state.wanted.size(); ++i) {
      identities.push_back(state.wanted[i].hash.low);
    }
    state.facts = policy->Extend({.parent = block.parent,
                                  .position = block.position,
                                  .blocks = static_cast<std::uint32_t>(identities.size()),
                                  .identities = identities,
                                  .request = state.facts});
    state.extends = true;
    counters.hints_ignored.store(policy->IgnoredHints(), std::memory_order_relaxed);
  }
  block.behind = static_cast<std::uint32_t>(state.wanted.size() - 1 - which);
  block.partial = header.valid_tokens < state.space->spec.block_tokens;
  block.request = state.facts;
  policy->Insert(block);
  state.chain_blocks.Insert(id);
  return id;
}

KeyView Cache::Impl::ParentKeyOf(const ChainSlice& chain, const WantedBlock& wanted) {
  const RunSlice& run = chain.runs[wanted.run];
  const std::uint32_t index = wanted.position - run.first_position;
  return index == 0 ? run.parent : run.keys[index - 1];
}

KeyView Cache::Impl::PlacementOf(const ChainSlice& chain, const WantedBlock& wanted) {
  return chain.runs[wanted.run].placement;
}

void Cache::Impl::PublishPut(BlockId id, KeyView placement, Ack ack, const PutOrigin& origin) {
  const BlockEntry& entry = (*index)[id];
  index->Publish(id, arena->Header(entry.frame).valid_tokens, Minute());
  CountBlocks();
  arrivals.Tell(Arrivals::Of(entry.locator()));
  TellCommitted(id, placement, origin);
  CrashHere(CrashPoint::kPutPublished);
  if (nvme != nullptr) nvme->OnPublished(id, placement, ack == Ack::kDurable);
  Count(counters.put_stored);
  Count(counters.bytes_put, entry.block_bytes);
}

StatusCode Cache::Impl::FinishPut(PutState& state, BlockId id, const Status& pulled,
                                  const WantedBlock& wanted) {
  const BlockEntry& entry = (*index)[id];
  if (pulled.ok() && entry.state == BlockState::kReserved) {
    const ChainSlice& chain = state.request.chain;
    PublishPut(id, PlacementOf(chain, wanted), state.request.ack,
               {.parent = ParentKeyOf(chain, wanted),
                .tokens = state.request.places[wanted.index].tokens});
    return StatusCode::kOk;
  }
  Count(counters.put_failures);
  if (entry.state == BlockState::kReserved) Forget(id, EventCause::kNone);
  // Cleared while its bytes came: not stored, and nothing stands against another try.
  return pulled.ok() ? StatusCode::kRetry : pulled.code();
}

}  // namespace terrace
