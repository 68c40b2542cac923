// A block from several writers: their member functions of Client, from arguments to request.
#include <new>
#include <utility>

#include "client/calls/answer_of.h"
#include "client/calls/client_impl.h"
#include "client/calls/validation.h"
#include "client/request/validate_pieces.h"
#include "client/wire/encode_pieces.h"

namespace terrace {

RequestRef RequestBuilder::Reserve(const NamespaceView& space, const Chain& chain,
                                   const BlockBuffer& block, BlockKind kind,
                                   std::uint32_t patience_ms) const {
  RequestRef request = Start(RequestKind::kReserve);
  const Placement placement = PlacementOf(space);
  std::vector<ShardPlan> plans = PlanBlocks(chain, placement, {&block, 1});
  for (ShardPlan& plan : plans) {  // one block, one reactor
    AddPart(*request, chain, plan, [&](const MessageHead& head) {
      return EncodeReserve(head, {chain, placement, kind, plan}, block.valid_tokens, patience_ms);
    });
  }
  return request;
}

RequestRef RequestBuilder::Write(const PutToken& token, std::uint32_t shard,
                                 std::span<const BlockFragment> fragments, PieceMemory memory,
                                 RegionUse regions) const {
  RequestRef request = Start(RequestKind::kWrite);
  request->regions = std::move(regions);
  request->blocks.resize(fragments.size());
  ShardPlan plan{.shard = shard, .stretches = {}, .blocks = {}};
  for (std::uint32_t i = 0; i < fragments.size(); ++i) plan.blocks.push_back(i);
  AddPart(*request, plan, [&](const MessageHead& head) {
    return EncodeWrite(head, token, fragments);
  }).memory = std::move(memory);
  return request;
}

RequestRef RequestBuilder::Commit(const PutToken& token, std::uint32_t shard, Ack ack) const {
  RequestRef request = Start(RequestKind::kCommit);
  request->ack = ack;
  request->blocks.resize(1);
  ShardPlan plan{.shard = shard, .stretches = {}, .blocks = {0}};
  AddPart(*request, plan, [&](const MessageHead& head) { return EncodeCommit(head, token, ack); });
  return request;
}

RequestRef RequestBuilder::Abort(const PutToken& token, std::uint32_t shard) const {
  RequestRef request = Start(RequestKind::kAbort);
  ShardPlan plan{.shard = shard, .stretches = {}, .blocks = {}};
  AddPart(*request, plan, [&](const MessageHead& head) { return EncodeAbort(head, token); });
  return request;
}

Result<RequestRef> Client::Impl::PrepareReserve(NamespaceId space, const Chain& chain,
                                                const BlockBuffer& block, BlockKind kind,
                                                Deadline deadline,
                                                std::chrono::milliseconds patience) const try {
  const Result<Target> target = FindTarget(space, chain, kind, deadline);
  if (!target.ok()) return target.status();
  Status status = ValidateRange(chain, block.position, 1);
  if (!status.ok()) {
    return Status::Invalid("position is " + std::to_string(block.position) + ", the chain has " +
                           std::to_string(chain.size()) + " keys");
  }
  if (block.valid_tokens > target->space.descriptor->block_tokens) {
    return Status::Invalid("valid_tokens is " + std::to_string(block.valid_tokens) +
                           ", a block holds " +
                           std::to_string(target->space.descriptor->block_tokens));
  }
  if (status = ValidatePatience(patience); !status.ok()) return status;
  if (status = CheckTarget(*target); !status.ok()) return status;
  return BuilderFor(*target).Reserve(target->space, chain, block, kind,
                                     static_cast<std::uint32_t>(patience.count()));
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PrepareWrite(const PutToken& token,
                                              std::span<const BlockFragment> fragments,
                                              Deadline deadline) const try {
  if (Status status = CheckProcess(); !status.ok()) return status;
  if (Status status = ValidateFragments(fragments); !status.ok()) return status;
  std::vector<std::span<const MemoryPiece>> lists;
  lists.reserve(fragments.size());
  for (const BlockFragment& fragment : fragments) lists.push_back(fragment.pieces);
  std::vector<std::span<std::byte>> pieces;
  Result<RegionUse> regions = core_->regions().UsePieces("fragments", lists, pieces);
  if (!regions.ok()) return regions.status();
  PieceMemory memory;
  auto piece = pieces.begin();
  for (const auto& list : lists) {
    memory.BeginBlock();
    for (std::size_t i = 0; i < list.size(); ++i) memory.Add(*piece++);
  }
  return PrepareForToken(token, deadline, [&](const RequestBuilder& builder, std::uint32_t shard) {
    return builder.Write(token, shard, fragments, std::move(memory), std::move(regions.value()));
  });
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PrepareForToken(
    const PutToken& token, Deadline deadline,
    const std::function<RequestRef(const RequestBuilder&, std::uint32_t)>& build) const try {
  Target target;
  target.session = core_->View();
  if (target.session.epoch == 0) return NotConnected();
  const Result<PutTokenParts> parts = ReadToken(token, target.session.shards);
  if (!parts.ok()) return parts.status();
  target.now = core_->clock().Now();
  target.deadline = ToNanos(deadline, target.now);
  if (target.deadline <= target.now) {
    return Status(StatusCode::kTimeout, "the deadline has passed");
  }
  return build(BuilderFor(target), parts->reactor);
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PrepareCommit(const PutToken& token, Deadline deadline,
                                               Ack ack) const {
  if (Status status = CheckProcess(); !status.ok()) return status;
  if (Status status = ValidateAck(ack); !status.ok()) return status;
  return PrepareForToken(token, deadline, [&](const RequestBuilder& builder, std::uint32_t shard) {
    return builder.Commit(token, shard, ack);
  });
}

Result<Reservation> Client::Reserve(NamespaceId space, const Chain& chain, std::uint32_t position,
                                    BlockKind kind, Deadline deadline, std::uint32_t valid_tokens,
                                    std::chrono::milliseconds patience) {
  const auto request = impl_->PrepareReserve(
      space, chain, {.position = position, .region = {}, .valid_tokens = valid_tokens}, kind,
      deadline, patience);
  return AnswerOf<Reservation>(impl_->Run(request), request,
                               [](const Request& call) { return call.reservation; });
}

Result<Ticket> Client::SubmitReserve(NamespaceId space, const Chain& chain, std::uint32_t position,
                                     BlockKind kind, Deadline deadline, std::uint32_t valid_tokens,
                                     std::chrono::milliseconds patience) {
  return impl_->Submit(impl_->PrepareReserve(
      space, chain, {.position = position, .region = {}, .valid_tokens = valid_tokens}, kind,
      deadline, patience));
}

Result<std::vector<BlockResult>> Client::Write(const PutToken& token,
                                               std::span<const BlockFragment> fragments,
                                               Deadline deadline) {
  const auto request = impl_->PrepareWrite(token, fragments, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitWrite(const PutToken& token, std::span<const BlockFragment> fragments,
                                   Deadline deadline) {
  return impl_->Submit(impl_->PrepareWrite(token, fragments, deadline));
}

Result<BlockResult> Client::Commit(const PutToken& token, Deadline deadline, Ack ack) {
  const auto request = impl_->PrepareCommit(token, deadline, ack);
  return AnswerOf<BlockResult>(impl_->Run(request), request,
                               [](const Request& call) { return call.blocks.front(); });
}

Result<Ticket> Client::SubmitCommit(const PutToken& token, Deadline deadline, Ack ack) {
  return impl_->Submit(impl_->PrepareCommit(token, deadline, ack));
}

Result<RequestRef> Client::Impl::PrepareAbort(const PutToken& token, Deadline deadline) const {
  if (Status status = CheckProcess(); !status.ok()) return status;
  return PrepareForToken(token, deadline, [&](const RequestBuilder& builder, std::uint32_t shard) {
    return builder.Abort(token, shard);
  });
}

Status Client::Abort(const PutToken& token, Deadline deadline) {
  return impl_->Run(impl_->PrepareAbort(token, deadline));
}

Result<Ticket> Client::SubmitAbort(const PutToken& token, Deadline deadline) {
  return impl_->Submit(impl_->PrepareAbort(token, deadline));
}

}  // namespace terrace
