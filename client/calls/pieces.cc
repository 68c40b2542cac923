// Lists of pieces and parts of blocks: their member functions of Client, from arguments to request.
#include <new>
#include <utility>

#include "client/calls/answer_of.h"
#include "client/calls/client_impl.h"
#include "client/calls/validation.h"
#include "client/request/validate_pieces.h"
#include "client/wire/encode_pieces.h"

namespace terrace {
namespace {

/// What ValidateBlocks and PlanBlocks look at: positions and tokens.
std::vector<BlockBuffer> HeadsOf(std::span<const BlockPieces> blocks) {
  std::vector<BlockBuffer> heads(blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    heads[i].position = blocks[i].position;
    heads[i].valid_tokens = blocks[i].valid_tokens;
  }
  return heads;
}

/// Where each block's pieces begin in `memory`, which has them one after the other.
PieceMemory MemoryOf(std::span<const std::uint32_t> wanted, std::span<const std::size_t> begins,
                     std::span<const std::span<std::byte>> memory) {
  PieceMemory result;
  for (const std::uint32_t index : wanted) {
    result.BeginBlock();
    for (std::size_t i = begins[index]; i < begins[index + 1]; ++i) result.Add(memory[i]);
  }
  return result;
}

}  // namespace

RequestRef RequestBuilder::TransferPieces(TransferKind transfer, const NamespaceView& space,
                                          const Chain& chain, std::span<const BlockPieces> blocks,
                                          BlockKind kind,
                                          std::span<const std::span<std::byte>> memory,
                                          RegionUse regions) const {
  RequestRef request = Start(transfer.kind);
  request->ack = transfer.ack;
  request->regions = std::move(regions);
  request->blocks.resize(blocks.size());
  std::vector<std::size_t> begins{0};
  for (const BlockPieces& block : blocks) begins.push_back(begins.back() + block.pieces.size());
  const Placement placement = PlacementOf(space);
  std::vector<ShardPlan> plans = PlanBlocks(chain, placement, HeadsOf(blocks));
  for (ShardPlan& plan : plans) {
    RequestPart& part = AddPart(*request, chain, plan, [&](const MessageHead& head) {
      return EncodePieces(head, {chain, placement, kind, plan}, blocks, transfer);
    });
    part.memory = MemoryOf(part.blocks, begins, memory);
  }
  return request;
}

Result<RequestRef> Client::Impl::PreparePieces(TransferKind transfer, NamespaceId space,
                                               const Chain& chain,
                                               std::span<const BlockPieces> blocks, BlockKind kind,
                                               Deadline deadline) const try {
  const Result<Target> target = FindTarget(space, chain, kind, deadline);
  if (!target.ok()) return target.status();
  const NamespaceView& view = target->space;
  Status status = ValidateBlocks(*view.descriptor, chain, HeadsOf(blocks));
  if (status.ok()) status = ValidatePieces(blocks, view.BlockBytes(kind.group), transfer);
  if (status.ok()) status = ValidateAck(transfer.ack);
  if (status.ok() && transfer.handoff) status = ValidateHandoffToken(*transfer.handoff);
  if (status.ok()) status = ValidateTokenIds(transfer.token_ids, blocks.size());
  if (!status.ok()) return status;
  std::vector<std::span<const MemoryPiece>> lists;
  lists.reserve(blocks.size());
  for (const BlockPieces& block : blocks) lists.push_back(block.pieces);
  std::vector<std::span<std::byte>> memory;
  Result<RegionUse> regions = core_->regions().UsePieces("blocks", lists, memory);
  if (!regions.ok()) return regions.status();
  if (transfer.kind == RequestKind::kGet) {
    status = CheckDisjoint(blocks, memory);
    if (!status.ok()) return status;
  }
  if (status = CheckTarget(*target); !status.ok()) return status;
  return BuilderFor(*target).TransferPieces(transfer, view, chain, blocks, kind, memory,
                                            std::move(regions.value()));
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<std::vector<BlockResult>> Client::GetPieces(NamespaceId space, const Chain& chain,
                                                   std::span<const BlockPieces> blocks,
                                                   BlockKind kind, Deadline deadline) {
  const auto request =
      impl_->PreparePieces({.kind = RequestKind::kGet}, space, chain, blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitGetPieces(NamespaceId space, const Chain& chain,
                                       std::span<const BlockPieces> blocks, BlockKind kind,
                                       Deadline deadline) {
  return impl_->Submit(
      impl_->PreparePieces({.kind = RequestKind::kGet}, space, chain, blocks, kind, deadline));
}

Result<std::vector<BlockResult>> Client::PutPieces(NamespaceId space, const Chain& chain,
                                                   std::span<const BlockPieces> blocks,
                                                   BlockKind kind, Deadline deadline, Ack ack) {
  const auto request = impl_->PreparePieces({.kind = RequestKind::kPut, .ack = ack}, space, chain,
                                            blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitPutPieces(NamespaceId space, const Chain& chain,
                                       std::span<const BlockPieces> blocks, BlockKind kind,
                                       Deadline deadline, Ack ack) {
  return impl_->Submit(impl_->PreparePieces({.kind = RequestKind::kPut, .ack = ack}, space, chain,
                                            blocks, kind, deadline));
}

}  // namespace terrace
