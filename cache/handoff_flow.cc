// open: find -> allocate frames (evict), or pin what is stored
// send: take each part's bytes -> pull them into the frame -> tell receivers -> (if the block is
//       complete) seal -> publish -> answer
// receive: a get that waits: (the part | the block) has come -> push -> answer
#include <algorithm>
#include <utility>
#include <vector>

#include "base/counter.h"
#include "base/crash_point.h"
#include "base/wait.h"
#include "cache/cache_impl.h"
#include "cache/handoffs.h"
#include "cache/put_state.h"
#include "cache/reservations.h"

namespace terrace {

namespace {

/// Blocks that are reserved before others get a turn.
constexpr std::size_t kYieldEvery = 256;

/// Behind the last byte of a range that was checked.
std::uint64_t EndOf(const FrameRange& range, std::uint64_t block_bytes) {
  return range.bytes == 0 ? block_bytes
                          : range.offset + range.stride * (range.count - 1) + range.bytes;
}

Status CheckOneStretchEach(const std::vector<BlockPlace>& places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i].range.count != 1) {
      return Status::Invalid("places[" + std::to_string(i) + "].count is " +
                             std::to_string(places[i].range.count) +
                             ": what is sent at once is 1 stretch of a block");
    }
  }
  return {};
}

}  // namespace

// ---- open ----

Task<BatchAnswer> Cache::Impl::OpenHandoff(Link& link, std::uint64_t client, std::string tenant,
                                           const HandoffRequest& request) {
  const FlowCount counted(*this);
  const auto refused = [](Status status) {
    return BatchAnswer{.status = std::move(status), .blocks = {}};
  };
  const Result<CheckedChain> checked = CheckChain(registry, request.chain, ChainOrder::kAny);
  if (!checked.ok()) co_return refused(checked.status());
  for (const std::uint32_t tokens : request.valid_tokens) {
    if (tokens > checked->space->spec.block_tokens) {
      co_return refused(Status::Invalid("valid_tokens is " + std::to_string(tokens) +
                                        ", a block has " +
                                        std::to_string(checked->space->spec.block_tokens)));
    }
  }
  PutRequest put_request;
  put_request.chain = request.chain;
  put_request.facts = request.facts;
  put_request.places.resize(checked->keys);
  for (std::size_t i = 0; i < request.valid_tokens.size() && i < checked->keys; ++i) {
    put_request.places[i].valid_tokens = request.valid_tokens[i];
  }
  PutState state = BeginPut(link, put_request, *checked);
  for (std::size_t i = 1; i < state.wanted.size(); ++i) {
    if (state.wanted[i].position == state.wanted[i - 1].position) {
      co_return refused(Status::Invalid(
          "runs: position " + std::to_string(state.wanted[i].position) + " is named twice"));
    }
  }
  // A client that has gone would never leave again.
  if (!link.Alive()) co_return refused(Status(StatusCode::kPeerDead));
  const Result<HandoffRef> opened =
      handoffs->Open(request.number, tenant, client, state.wanted.size());
  if (!opened.ok()) co_return refused(opened.status());
  const HandoffRef& handoff = *opened;
  handoff->patience = request.patience;
  handoff->keep = request.keep;
  handoff->receivers = request.receivers;
  GuardAncestors(state);
  ShowCurve(CurveUse::kPut, request.chain, state.block_bytes, state.wanted, {}, state.facts,
            put_request.places);
  state.answer.blocks.resize(state.wanted.size());
  for (std::size_t which = 0; which < state.wanted.size(); ++which) {
    if (which % kYieldEvery == kYieldEvery - 1) co_await Yield{};
    if (handoff->ended) co_return refused(Status(StatusCode::kPeerDead, "the producer has gone"));
    OpenBlock(state, which, handoff);
  }
  handoffs->Opened(handoff);
  co_return std::move(state.answer);
}

void Cache::Impl::OpenBlock(PutState& state, std::size_t which,
                            const std::shared_ptr<Handoff>& handoff) {
  const ChainSlice& chain = state.request.chain;
  const WantedBlock& wanted = state.wanted[which];
  Handoff::Block block{
      .position = wanted.position,
      .locator = {.namespace_id = chain.namespace_id, .hash = wanted.hash},
      .put = nullptr,
      .pin = {},
  };
  BlockAnswer& answer = state.answer.blocks[wanted.index];
  if (AnswerIfStored(state, wanted, answer)) {
    // Stored or brought by another: a receiver finds it by its key.
    block.state = answer.status == StatusCode::kRetry ? StatusCode::kRetry : StatusCode::kExists;
    const bool wanted_here = answer.status == StatusCode::kExists && handoff->receivers > 0;
    if (wanted_here && handoffs->HasRoom(*handoff, state.block_bytes)) {
      const BlockId id = FindBlock(chain, wanted.hash, wanted.key).id;
      if (id != kNoBlock && (*index)[id].InDram()) block.pin = arena->Pin((*index)[id].frame);
    }
    return handoffs->Add(handoff, std::move(block));
  }
  Result<BlockId> reserved = Status(StatusCode::kRetry);
  if (handoffs->HasRoom(*handoff, state.block_bytes)) reserved = ReserveBlock(state, which);
  if (!reserved.ok()) {
    state.full = true;  // nor for its descendants, which would be of no use without it
    CountNoSpace(block.locator);
    answer.status = block.state = reserved.code();
    return handoffs->Add(handoff, std::move(block));
  }
  CrashHere(CrashPoint::kPutReserved);
  const OpenPutRef put = MakeOpenPut(state, wanted, *reserved);
  put->watcher = handoff.get();
  block.put = put;
  handoffs->Add(handoff, std::move(block));
  reservations->Open(put, handoff->owner, 0);
  answer.status = StatusCode::kOk;
}

// ---- send ----

/// Lives in the frame of Send, which joins every worker before it ends.
struct Cache::Impl::SendState {
  Link& link;
  const PutRequest& request;
  HandoffRef handoff;
  std::uint64_t block_bytes = 0;
  std::vector<WantedBlock> wanted;
  std::size_t next = 0;
  std::vector<OpenPutRef> written;  ///< of wanted[i]; null where nothing was
  BatchAnswer answer;
};

Task<BatchAnswer> Cache::Impl::Send(Link& link, std::uint64_t client, std::string tenant,
                                    const PutRequest& request) {
  const FlowCount counted(*this);
  const Result<CheckedChain> checked = CheckChain(registry, request.chain, ChainOrder::kAny);
  Status status = checked.ok() ? CheckPlaces(*checked, request.places) : checked.status();
  if (status.ok()) status = CheckOneStretchEach(request.places);
  SendState state{.link = link,
                  .request = request,
                  .handoff = handoffs->Find(request.handoff, tenant),
                  .block_bytes = checked.ok() ? checked->block_bytes : 0,
                  .wanted = {},
                  .next = 0,
                  .written = {},
                  .answer = {}};
  if (status.ok() && state.handoff == nullptr) {
    const StatusCode why = handoffs->Ended(request.handoff, tenant);
    status = Status(why == StatusCode::kOk || why == StatusCode::kMiss ? StatusCode::kExpired : why,
                    "handoff: there is no such hand-off (any more)");
  }
  if (!status.ok()) co_return BatchAnswer{.status = std::move(status), .blocks = {}};
  if (link.Alive()) handoffs->Join(*state.handoff, client);
  ++state.handoff->sends;
  state.wanted = WantedBlocks(request.chain, checked->keys, options.locator_hash);
  state.answer.blocks.resize(state.wanted.size());
  state.written.resize(state.wanted.size());
  TaskScope workers;
  const std::size_t window = std::min<std::size_t>(options.window_per_request, state.wanted.size());
  for (std::size_t worker = 0; worker < window; ++worker) workers.Spawn(SendWorker(state));
  co_await workers.Join();
  // What had its last bytes is answered once it is stored.
  for (std::size_t which = 0; which < state.wanted.size(); ++which) {
    if (state.written[which] != nullptr) co_await AwaitCommitted(state, which);
  }
  --state.handoff->sends;
  if (!state.handoff->ended && link.Alive()) handoffs->Join(*state.handoff, client);
  co_return std::move(state.answer);
}

Task<void> Cache::Impl::SendWorker(SendState& state) {
  while (state.next < state.wanted.size()) {
    const std::size_t which = state.next++;
    state.answer.blocks[state.wanted[which].index].status = co_await SendPart(state, which);
  }
}

Task<StatusCode> Cache::Impl::SendPart(SendState& state, std::size_t which) {
  const PutRequest& request = state.request;
  const WantedBlock& wanted = state.wanted[which];
  const Locator locator{.namespace_id = request.chain.namespace_id, .hash = wanted.hash};
  const Handoff::Block* block = state.handoff->Find(wanted.position);
  if (block == nullptr || !(block->locator == locator)) co_return StatusCode::kInvalid;
  if (block->put == nullptr) {
    // kOk: it has had all of its bytes, so that these were sent before.
    co_return block->state == StatusCode::kOk ? StatusCode::kInvalid : block->state;
  }
  const OpenPutRef put = block->put;
  // A cleared one has no frame, and so no key, any more; nothing is written to it either.
  if (!put->cleared && !KeyIs(arena->Header(put->frame), request.chain, wanted.key)) {
    Count(counters.key_mismatches);
    co_return StatusCode::kInvalid;
  }
  const BlockPlace& place = request.places[wanted.index];
  const StatusCode code = co_await WriteFragment(*put, place.range.offset,
                                                 {.link = state.link,
                                                  .request_id = request.request_id,
                                                  .index = wanted.index,
                                                  .pieces = place.pieces,
                                                  .deadline = request.deadline});
  if (code == StatusCode::kOk || put->ended || put->cleared) state.written[which] = put;
  co_return code;
}

Task<void> Cache::Impl::AwaitCommitted(SendState& state, std::size_t which) {
  const OpenPut& put = *state.written[which];
  StatusCode& code = state.answer.blocks[state.wanted[which].index].status;
  Arrivals::Waiter waiter(arrivals, Arrivals::Of(put.locator), &state.request);
  while (!put.ended && put.committing) {
    if (co_await waiter.WaitUntil(state.request.deadline)) continue;
    code = StatusCode::kTimeout;
    co_return;
  }
  if (!put.ended) co_return;
  // Why it ended is worth more than that it has.
  const StatusCode became = state.handoff->Find(put.position)->state;
  if (code == StatusCode::kOk || became != StatusCode::kOk) code = became;
}

// ---- receive ----

Cache::Impl::Awaited Cache::Impl::LookAt(const GetRequest& request, const WantedBlock& wanted) {
  const ChainSlice& chain = request.chain;
  const Locator locator{.namespace_id = chain.namespace_id, .hash = wanted.hash};
  StatusCode otherwise = StatusCode::kPending;  // when it is not stored
  if (request.handoff) {
    const std::string& tenant = registry.Find(chain.namespace_id)->spec.tenant;
    const HandoffRef handoff = handoffs->Find(request.handoff, tenant);
    const Handoff::Block* block = handoff != nullptr ? handoff->Find(wanted.position) : nullptr;
    if (handoff == nullptr) {
      otherwise = handoffs->Ended(request.handoff, tenant);
      // Complete, and gone since: a miss. Never heard of: it may still be opened.
      if (otherwise == StatusCode::kMiss) return {};
      if (otherwise == StatusCode::kOk) otherwise = StatusCode::kMiss;
    } else if (block == nullptr) {
      return {.status = handoff->opening ? StatusCode::kPending : StatusCode::kInvalid};
    } else if (!(block->locator == locator)) {
      return {.status = StatusCode::kInvalid};
    } else if (block->put != nullptr) {
      if (block->put->cleared) return {};
      if (!KeyIs(arena->Header(block->put->frame), chain, wanted.key)) {
        Count(counters.key_mismatches);
        return {.status = StatusCode::kInvalid};
      }
      const FrameRange& range = request.places[wanted.index].range;
      const auto end = EndOf(range, block->put->bytes);
      const bool come = block->put->ranges.Written(range.offset, end).fragment != nullptr;
      if (!come) return {};
      return {.status = StatusCode::kOk, .put = block->put, .pin = arena->Pin(block->put->frame)};
    } else {
      const bool was_there = block->state == StatusCode::kOk || block->state == StatusCode::kExists;
      otherwise = was_there ? StatusCode::kMiss : block->state;
    }
  }
  const BlockId id = FindBlock(chain, wanted.hash, wanted.key).id;
  if (id == kNoBlock) return {.status = otherwise};
  const bool stored = (*index)[id].state == BlockState::kPublished;
  return {.status = stored ? StatusCode::kOk : StatusCode::kPending};
}

Task<Cache::Impl::Awaited> Cache::Impl::AwaitBlock(const GetRequest& request,
                                                   const WantedBlock& wanted, Nanos until) {
  Awaited found = LookAt(request, wanted);
  if (found.status != StatusCode::kPending) co_return found;
  const Locator locator{.namespace_id = request.chain.namespace_id, .hash = wanted.hash};
  Arrivals::Waiter block(arrivals, Arrivals::Of(locator), &request);
  while (found.status == StatusCode::kPending) {
    // `request.deadline` is in the past when the call was cancelled or its client has gone.
    bool told = request.deadline > clock.Now();
    if (told && request.handoff && NotOpenedYet(request)) {
      Arrivals::Waiter opened(arrivals, Arrivals::Of(request.handoff), &request);
      told = co_await opened.WaitUntil(until);
    } else if (told) {
      told = co_await block.WaitUntil(until);
    }
    if (!told) co_return Awaited{.status = StatusCode::kTimeout};
    found = LookAt(request, wanted);
  }
  co_return found;
}

bool Cache::Impl::NotOpenedYet(const GetRequest& request) const {
  const std::string& tenant = registry.Find(request.chain.namespace_id)->spec.tenant;
  const HandoffRef handoff = handoffs->Find(request.handoff, tenant);
  return handoff == nullptr || handoff->opening;
}

Task<BlockAnswer> Cache::Impl::PushPart(Link& link, const GetRequest& request,
                                        const WantedBlock& wanted, Awaited part) {
  // The reservation may end at any moment. The frame is pinned, and once more for the link, which
  // may let go of its own before the call ends; the sums stay with the reservation.
  const OpenPut& put = *part.put;
  const FrameId frame = arena->FrameOf(part.pin);
  const BlockPlace& place = request.places[wanted.index];
  const std::uint64_t end = EndOf(place.range, put.bytes);
  const auto [offset, fragment] = put.ranges.Written(place.range.offset, end);
  BlockAnswer answer;
  answer.valid_tokens = arena->Header(frame).valid_tokens;
  FrameRange range = place.range;
  if (range.bytes == 0) range.bytes = end - range.offset;
  range.offset -= offset;
  const std::uint64_t moved = range.bytes * range.count;
  Status status = clock.Now() < request.deadline
                      ? co_await slots.Acquire(&link, request.deadline)
                      : Status(StatusCode::kTimeout, "the deadline passed before the push");
  if (status.ok()) {
    Hold stretch = arena->Pin(frame);
    stretch.Narrow(offset, fragment->length);
    status = co_await link.Push(std::move(stretch),
                                {.request_id = request.request_id,
                                 .block = wanted.index,
                                 .pieces = place.pieces,
                                 .deadline = request.deadline,
                                 .range = range},
                                fragment->sums);
    slots.Release(&link);
  }
  answer.status = status.code();
  Count(status.ok() ? counters.fragments_received : counters.get_failures);
  if (status.ok()) {
    Count(counters.bytes_got, moved);
    answer.tier = TierKind::kDram;
  }
  co_return answer;
}

}  // namespace terrace
