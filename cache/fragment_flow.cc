// reserve: find -> allocate frame (evict) -> token
// write: take each fragment's bytes -> pull them into the frame -> written
// commit: complete? -> checksums, and every fragment as it came -> publish -> answer COMMITTED
//         -> (if asked) DURABLE
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/counter.h"
#include "base/crash_point.h"
#include "base/wait.h"
#include "cache/cache_impl.h"
#include "cache/nvme_side.h"
#include "cache/put_state.h"
#include "cache/reservations.h"

namespace terrace {

namespace {

constexpr std::uint64_t kSliceBytes = 1 << 20;  // hashed at a time

/// Bytes of a fragment's pieces; more than a block can have when they do not fit one.
std::uint64_t LengthOf(std::span<const Piece> pieces) {
  std::uint64_t length = 0;
  for (const Piece& piece : pieces) {
    if (piece.length > kBlockBytesMax) return kBlockBytesMax + 1;
    length += piece.length;
  }
  return length;  // 65,535 pieces of 64 MiB do not overflow
}

/// One block of a known namespace, whose tokens fit it.
Status CheckReserve(const Result<CheckedChain>& checked, const ReserveRequest& request) {
  if (!checked.ok()) return checked.status();
  if (checked->keys != 1) {
    return Status::Invalid("runs: a reservation is of 1 block, not of " +
                           std::to_string(checked->keys));
  }
  const std::uint32_t tokens = checked->space->spec.block_tokens;
  if (request.valid_tokens <= tokens) return {};
  return Status::Invalid("valid_tokens is " + std::to_string(request.valid_tokens) +
                         ", a block has " + std::to_string(tokens));
}

}  // namespace

ReserveAnswer Cache::Impl::Reserve(Link& link, std::uint64_t client,
                                   const ReserveRequest& request) {
  const Result<CheckedChain> checked = CheckChain(registry, request.chain, ChainOrder::kAny);
  if (Status status = CheckReserve(checked, request); !status.ok()) return {.status = status};
  PutRequest put_request;
  put_request.chain = request.chain;
  put_request.facts = request.facts;
  put_request.places = {{.pieces = {}, .valid_tokens = request.valid_tokens, .range = {}}};
  PutState state = BeginPut(link, put_request, *checked);
  const WantedBlock& wanted = state.wanted.front();
  BlockAnswer stored;
  if (AnswerIfStored(state, wanted, stored)) return {.status = {}, .outcome = stored.status};
  if (Status status = reservations->CheckLimits(client, checked->block_bytes); !status.ok()) {
    Count(counters.reservations_refused);
    return {.status = status};
  }
  GuardAncestors(state);
  ShowCurve(CurveUse::kPut, request.chain, state.block_bytes, state.wanted, {}, state.facts,
            put_request.places);
  const Result<BlockId> reserved = ReserveBlock(state, 0);
  if (!reserved.ok()) {
    CountNoSpace({.namespace_id = request.chain.namespace_id, .hash = wanted.hash});
    return {.status = {}, .outcome = reserved.code()};
  }
  CrashHere(CrashPoint::kPutReserved);
  const OpenPutRef put = MakeOpenPut(state, wanted, *reserved);
  reservations->Open(put, client, request.patience);
  return {.status = {}, .outcome = StatusCode::kOk, .token = put->token};
}

std::shared_ptr<OpenPut> Cache::Impl::MakeOpenPut(const PutState& state, const WantedBlock& wanted,
                                                  BlockId reserved) {
  auto put = std::make_shared<OpenPut>(*state.space, state.block_bytes);
  put->id = reserved;
  put->position = wanted.position;
  put->locator = (*index)[reserved].locator();
  put->frame = (*index)[reserved].frame;
  put->pin = arena->Pin(put->frame);
  const KeyView placement = PlacementOf(state.request.chain, wanted);
  put->placement.assign(placement.begin(), placement.end());
  const KeyView parent = ParentKeyOf(state.request.chain, wanted);
  put->parent.assign(parent.begin(), parent.end());
  return put;
}

/// Lives in the frame of Write, which joins every worker before it ends.
struct Cache::Impl::WriteState {
  Link& link;
  const WriteRequest& request;
  OpenPutRef put;
  std::size_t next = 0;
  BatchAnswer answer;
};

Task<BatchAnswer> Cache::Impl::Write(Link& link, std::uint64_t client, std::string tenant,
                                     const WriteRequest& request) {
  const FlowCount counted(*this);
  const Result<OpenPutRef> put = reservations->Find(request.token, tenant);
  if (!put.ok()) co_return BatchAnswer{.status = put.status(), .blocks = {}};
  WriteState state{.link = link, .request = request, .put = *put, .next = 0, .answer = {}};
  state.answer.blocks.resize(request.fragments.size());
  // A client that has gone would never leave again.
  if (link.Alive()) reservations->Join(*state.put, client);
  TaskScope workers;
  const std::size_t window =
      std::min<std::size_t>(options.window_per_request, request.fragments.size());
  for (std::size_t worker = 0; worker < window; ++worker) workers.Spawn(WriteWorker(state));
  co_await workers.Join();
  co_return std::move(state.answer);
}

Task<void> Cache::Impl::WriteWorker(WriteState& state) {
  while (state.next < state.request.fragments.size()) {
    const std::size_t which = state.next++;
    const WriteRequest::Fragment& fragment = state.request.fragments[which];
    const FragmentSource source{.link = state.link,
                                .request_id = state.request.request_id,
                                .index = static_cast<std::uint32_t>(which),
                                .pieces = fragment.pieces,
                                .deadline = state.request.deadline};
    state.answer.blocks[which].status = co_await WriteFragment(*state.put, fragment.offset, source);
    if (!state.put->ended) reservations->Touch(*state.put);
  }
}

Task<StatusCode> Cache::Impl::WriteFragment(OpenPut& put, std::uint64_t offset,
                                            FragmentSource source) {
  const StatusCode code = co_await PullFragment(put, offset, source);
  Count(code == StatusCode::kOk ? counters.fragments_written : counters.fragments_failed);
  co_return code;
}

Task<StatusCode> Cache::Impl::PullFragment(OpenPut& put, std::uint64_t offset,
                                           FragmentSource source) {
  if (put.ended) co_return StatusCode::kExpired;
  const std::uint64_t length = LengthOf(source.pieces);
  const StatusCode taken = put.ranges.Take(offset, length);
  if (taken != StatusCode::kOk) co_return taken;
  Status status = clock.Now() < source.deadline
                      ? co_await slots.Acquire(&source.link, source.deadline)
                      : Status(StatusCode::kTimeout, "the deadline passed before the pull");
  const bool acquired = status.ok();
  if (acquired && put.ended) status = Status(StatusCode::kExpired);
  // Cleared: nothing to write into, and its commit says so.
  if (acquired && status.ok() && put.cleared) status = Status(StatusCode::kRetry);
  if (!status.ok()) {
    if (acquired) slots.Release(&source.link);
    put.ranges.Free(offset);
    co_return status.code();
  }
  std::vector<std::uint64_t> sums(ChecksumPieceCount(length));
  status = co_await source.link.Pull(put.HoldFragment(arena->Pin(put.frame), offset, length),
                                     {.request_id = source.request_id,
                                      .block = source.index,
                                      .pieces = source.pieces,
                                      .deadline = source.deadline},
                                     sums);
  slots.Release(&source.link);
  CrashHere(CrashPoint::kPutPulled);
  put.FinishFragment(offset, status.ok(), std::move(sums));
  if (!status.ok()) co_return status.code();
  co_return put.ended ? StatusCode::kExpired : StatusCode::kOk;
}

Task<Status> Cache::Impl::SealBlock(std::shared_ptr<OpenPut> put) {
  // It begins a turn after its commit: an abort or a clear in between has taken the frame.
  if (put->ended || put->cleared) co_return Status::Ok();
  const Hold pin = arena->Pin(put->frame);
  const std::span<const std::byte> bytes = pin.bytes();
  const std::span<std::uint64_t> sums = arena->Checksums(put->frame);
  std::uint64_t hashed = 0;
  const auto hash = [&](std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t stop = std::min<std::uint64_t>(begin + kChecksumPieceBytes, end);
    hashed += stop - begin;
    return Checksum64(bytes.subspan(begin, stop - begin));
  };
  // All fragments are written: nobody adds or frees one. Where a fragment's sums are of the block's
  // own pieces they become the block's: what has changed since is found as in any stored block.
  const auto fits = [&](std::uint64_t offset, const WrittenRanges::Fragment& fragment) {
    const std::uint64_t end = offset + fragment.length;
    return offset % kChecksumPieceBytes == 0 &&
           (end % kChecksumPieceBytes == 0 || end == bytes.size());
  };
  std::vector<bool> known(sums.size());
  for (const auto& [offset, fragment] : put->ranges.fragments()) {
    if (!fits(offset, fragment)) continue;
    const std::uint64_t first = offset / kChecksumPieceBytes;
    std::copy(fragment.sums.begin(), fragment.sums.end(),
              sums.begin() + static_cast<std::ptrdiff_t>(first));
    std::fill_n(known.begin() + static_cast<std::ptrdiff_t>(first), fragment.sums.size(), true);
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (known[i]) continue;
    if (hashed >= kSliceBytes) co_await LongWork{.bytes = std::exchange(hashed, 0)};
    sums[i] = hash(i * kChecksumPieceBytes, bytes.size());
  }
  // After the block's own sums: what has changed before them is found here, what changes later by
  // them.
  for (const auto& [offset, fragment] : put->ranges.fragments()) {
    if (fits(offset, fragment)) continue;
    std::vector<std::uint64_t> own(ChecksumPieceCount(fragment.length));
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (hashed >= kSliceBytes) co_await LongWork{.bytes = std::exchange(hashed, 0)};
      own[i] = hash(offset + i * kChecksumPieceBytes, offset + fragment.length);
    }
    if (own != fragment.sums) {
      co_return Status(StatusCode::kCorrupt, "the bytes from " + std::to_string(offset) +
                                                 " on are not those that were written");
    }
  }
  co_return Status::Ok();
}

Task<BlockAnswer> Cache::Impl::CommitPut(OpenPutRef put, Ack ack) {
  Status sealed;
  if (!put->cleared) sealed = co_await SealBlock(put);
  put->committing = false;
  if (put->ended) co_return BlockAnswer{.status = StatusCode::kExpired};
  if (put->cleared || !sealed.ok()) {
    // As a put that was cleared while its bytes came: nothing stands against another try.
    Count(counters.put_failures);
    put->failure = sealed.ok() ? StatusCode::kRetry : sealed.code();
    reservations->Finish(put, PutEnd::kAborted);
    co_return BlockAnswer{.status = put->failure};
  }
  PublishPut(put->id, put->placement, ack, {.parent = put->parent, .tokens = {}});
  const BlockAnswer answer{.status = StatusCode::kOk,
                           .tier = TierKind::kDram,
                           .valid_tokens = arena->Header(put->frame).valid_tokens};
  reservations->Finish(put, PutEnd::kCommitted);
  co_return answer;
}

Task<BatchAnswer> Cache::Impl::Commit(std::string tenant, CommitRequest request) {
  const FlowCount counted(*this);
  BatchAnswer answer;
  const Result<OpenPutRef> found = reservations->Find(request.token, tenant);
  if (!found.ok()) co_return BatchAnswer{.status = found.status(), .blocks = {}};
  const OpenPutRef& put = *found;
  answer.blocks.resize(1);
  BlockAnswer& block = answer.blocks.front();
  if (put->committing) {
    block.status = StatusCode::kPending;
    co_return answer;
  }
  if (!put->cleared && !put->ranges.Complete()) {
    const WrittenRanges::Gap gap = put->ranges.FirstGap();
    co_return BatchAnswer{
        .status = Status::Invalid("byte " + std::to_string(gap.byte) + " of the block " +
                                  (gap.taken ? "is being written" : "was not written")),
        .blocks = {}};
  }
  put->committing = true;
  block = co_await CommitPut(put, request.ack);
  if (block.status == StatusCode::kExpired) {
    co_return BatchAnswer{
        .status = Status(StatusCode::kExpired, "token: the reservation has ended"), .blocks = {}};
  }
  if (block.status != StatusCode::kOk) co_return answer;
  if (request.ack == Ack::kDurable) {
    co_await AwaitDurableBlock(put->id, put->locator, put->placement, request.deadline, block);
  }
  co_return answer;
}

Task<Status> Cache::Impl::Abort(std::string tenant, PutTokenParts token, Nanos deadline) {
  const FlowCount counted(*this);
  OpenPutRef put;
  if (Result<OpenPutRef> found = reservations->Find(token, tenant); found.ok()) {
    put = *found;
    reservations->Finish(put, PutEnd::kAborted);
  } else if (found.code() == StatusCode::kInvalid) {
    co_return found.status();
  } else if (reservations->WasCommitted(token)) {
    co_return Status(StatusCode::kExists, "token: the reservation was committed");
  } else {
    put = reservations->FindEnding(token, tenant);
  }
  constexpr Nanos kStep = kMillisecond;
  while (put != nullptr && put->in_flight() > 0) {
    if (clock.Now() >= deadline) {
      co_return Status(StatusCode::kTimeout, "fragments are still being read from their memory");
    }
    co_await SleepUntil{std::min(clock.Now() + kStep, deadline)};
  }
  co_return Status::Ok();
}

}  // namespace terrace
