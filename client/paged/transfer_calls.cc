// What a Transfer asks of the Client: blocks into and out of frames, parts of reserved blocks,
// pieces that are the pages themselves, blocks that are lent.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "client/paged/cpu_pages.h"
#include "client/paged/lent_frames.h"
#include "client/paged/make_map.h"
#include "client/paged/transfer.h"

namespace terrace::paged {
namespace {

constexpr std::size_t kPiecesOfCallMax = 65536;
/// Lent blocks are held while their bytes are copied: few at a time, and not waited for long, as
/// nobody can take back a request for them.
constexpr std::size_t kLentMax = 64;
constexpr std::chrono::milliseconds kLendTime{50};

/// True: a get may bring what could not be lent.
bool GetMayHelp(StatusCode code) {
  return code == StatusCode::kUnsupported || code == StatusCode::kRetry ||
         code == StatusCode::kTimeout || code == StatusCode::kExpired ||
         code == StatusCode::kInternal;
}

/// Of a block that the mover can scatter from, wherever it lies.
std::span<const std::byte> BytesOf(const LentBlock& block) {
  return block.gpu().empty() ? block.bytes() : block.device_bytes();
}

}  // namespace

BlockRange Transfer::RangeToGet() const {
  if (!setup_.wide) return StoredRuns(setup_.cache, setup_.stored, operation_.layers)[0].block;
  const std::uint64_t sections = setup_.shape.section_bytes * setup_.cache.parts;
  return {.offset = (setup_.stored.first_layer + operation_.layers.first) * sections,
          .bytes = operation_.layers.count * sections};
}

void Transfer::GetIntoFrames(Chunk& chunk) {
  const BlockRange range = RangeToGet();
  const std::uint64_t offset = setup_.wide ? setup_.wide_offset : 0;
  const std::uint64_t bytes = setup_.wide ? range.bytes : DenseBytes();
  std::vector<MemoryPiece> pieces;
  std::vector<BlockPieces> blocks;
  for (const std::uint32_t frame : chunk.frames) {
    pieces.push_back(setup_.FramePiece(frame, offset, bytes));
  }
  for (std::size_t i = 0; i < chunk.blocks.size(); ++i) {
    blocks.push_back({.position = operation_.positions[chunk.blocks[i]],
                      .pieces = std::span(pieces).subspan(i, 1),
                      .range = range});
  }
  chunk.doubtful =
      Take(chunk.blocks, InCall(pieces, [&] {
             return setup_.client.GetPieces(operation_.space, operation_.chain, blocks,
                                            operation_.block_kind, operation_.deadline);
           }));
}

void Transfer::PutFromFrames(Chunk& chunk) {
  std::vector<MemoryPiece> pieces;
  std::vector<BlockPieces> blocks;
  for (const std::uint32_t frame : chunk.frames) {
    pieces.push_back(setup_.FramePiece(frame, 0, setup_.shape.block_bytes));
  }
  for (std::size_t i = 0; i < chunk.blocks.size(); ++i) {
    blocks.push_back({.position = operation_.positions[chunk.blocks[i]],
                      .pieces = std::span(pieces).subspan(i, 1),
                      .range = {},
                      .valid_tokens = operation_.valid_tokens[chunk.blocks[i]]});
  }
  chunk.doubtful = Take(chunk.blocks, InCall(pieces, [&] {
                          return setup_.client.PutPieces(operation_.space, operation_.chain, blocks,
                                                         operation_.block_kind, operation_.deadline,
                                                         operation_.ack);
                        }));
}

void Transfer::WriteFromFrames(Chunk& chunk) {
  for (std::size_t i = 0; i < chunk.blocks.size(); ++i) {
    if (stop_.ok()) {
      WriteOne(chunk, i);
    } else {
      Fail(std::span(chunk.blocks).subspan(i, 1), stop_);
    }
  }
}

void Transfer::WriteOne(Chunk& chunk, std::size_t index) {
  std::vector<MemoryPiece> pieces;
  std::vector<std::uint64_t> offsets;
  for (const StoredRun& run : StoredRuns(setup_.cache, setup_.stored, operation_.layers)) {
    for (std::uint32_t i = 0; i < run.block.count; ++i) {
      offsets.push_back(run.block.offset + i * run.block.stride);
      pieces.push_back(setup_.FramePiece(chunk.frames[index], run.frame + i * run.frame_stride,
                                         run.block.bytes));
    }
  }
  std::vector<BlockFragment> fragments;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    fragments.push_back({.offset = offsets[i], .pieces = std::span(pieces).subspan(i, 1)});
  }
  const PutToken& token = operation_.tokens[chunk.blocks[index]];
  Result<std::vector<BlockResult>> answer =
      InCall(pieces, [&] { return setup_.client.Write(token, fragments, operation_.deadline); });
  const auto block = std::span(chunk.blocks).subspan(index, 1);
  if (!answer.ok()) {
    // Of this block alone: its reservation may have ended, and those of others not.
    operation_.results[block[0]].status = answer.code();
    any_ended_ = true;
    chunk.doubtful = chunk.doubtful || answer.code() == StatusCode::kInDoubt;
    return;
  }
  // A block has been written when all of its fragments have.
  BlockResult worst = answer->front();
  for (const BlockResult& result : *answer) {
    if (worst.status == StatusCode::kOk) worst = result;
    if (result.status == StatusCode::kInDoubt) chunk.doubtful = true;
  }
  any_ended_ = true;
  operation_.results[block[0]] = worst;
}

void Transfer::NarrowFrame(std::uint32_t frame) const {
  std::byte* dense = setup_.Frame(frame);
  const std::byte* wide = dense + setup_.wide_offset;
  const std::uint64_t start = RangeToGet().offset;
  for (const StoredRun& run : StoredRuns(setup_.cache, setup_.stored, operation_.layers)) {
    for (std::uint32_t i = 0; i < run.block.count; ++i) {
      std::memcpy(dense + run.frame + i * run.frame_stride,
                  wide + (run.block.offset - start) + i * run.block.stride, run.block.bytes);
    }
  }
}

void Transfer::RunDirect(const Blocks& blocks) {
  const PageMap map = BuildPageMap(setup_.cache, setup_.stored, setup_.bases, operation_.layers);
  const std::size_t most = std::max<std::size_t>(kPiecesOfCallMax / map.units, 1);
  for (std::size_t first = 0; first < blocks.size(); first += most) {
    const Blocks chunk(
        blocks.begin() + static_cast<std::ptrdiff_t>(first),
        blocks.begin() + static_cast<std::ptrdiff_t>(std::min(first + most, blocks.size())));
    if (stop_.ok()) {
      DirectChunk(chunk);
    } else {
      Fail(chunk, stop_);
    }
  }
}

void Transfer::DirectChunk(const Blocks& blocks) {
  const PageMap map = BuildPageMap(setup_.cache, setup_.stored, setup_.bases, operation_.layers);
  const bool gets = operation_.kind == OperationKind::kGet;
  const auto table = LayerTable(setup_.bases, operation_.layers);
  std::vector<MemoryPiece> pieces;
  pieces.reserve(blocks.size() * map.units);
  std::vector<BlockPieces> parts;
  for (const std::uint32_t block : blocks) {
    const PageTables tables{.layer_bases = table.data(), .pages = PagesOf(block).data()};
    const std::size_t first = pieces.size();
    for (std::uint32_t unit = 0; unit < map.units; ++unit) {
      pieces.push_back(setup_.DirectPiece(PlaceOfUnit(map, tables, unit).paged, map.unit_bytes));
    }
    parts.push_back({.position = operation_.positions[block],
                     .pieces = std::span(pieces).subspan(first),
                     .range = gets ? RangeToGet() : BlockRange{},
                     .valid_tokens = gets ? 0 : operation_.valid_tokens[block]});
  }
  if (!book_.BeginTouch(operation_)) {
    Fail(blocks, Status(StatusCode::kCancelled));
    return;
  }
  // What the daemon may still do to pages of a block in doubt, a fence asks the Client.
  Take(blocks, InCall(pieces, [&] {
         Client& client = setup_.client;
         return gets ? client.GetPieces(operation_.space, operation_.chain, parts,
                                        operation_.block_kind, operation_.deadline)
                     : client.PutPieces(operation_.space, operation_.chain, parts,
                                        operation_.block_kind, operation_.deadline, operation_.ack);
       }));
  book_.EndTouch(operation_);
}

Transfer::Blocks Transfer::ScatterLent() {
  Blocks others;
  Blocks chunk;
  for (std::uint32_t block = 0; block < operation_.count; ++block) {
    chunk.push_back(block);
    if (chunk.size() < kLentMax && block + 1 < operation_.count) continue;
    if (stop_.ok()) {
      ScatterLent(chunk, others);
    } else {
      Fail(chunk, stop_);
    }
    chunk.clear();
  }
  return others;
}

void Transfer::ScatterLent(const Blocks& blocks, Blocks& others) {
  std::vector<std::uint32_t> positions;
  for (const std::uint32_t block : blocks) positions.push_back(operation_.positions[block]);
  if (book_.Cancelled(operation_)) return Fail(blocks, Status(StatusCode::kCancelled));
  Result<std::vector<LentBlock>> lent = setup_.client.LendWith(
      operation_.space, operation_.chain, positions, operation_.block_kind,
      std::min(operation_.deadline, In(kLendTime)), {.lease = {}, .gpu = setup_.mover->gpu()});
  if (!lent.ok()) {
    if (!GetMayHelp(lent.code())) return Fail(blocks, lent.status());
    others.insert(others.end(), blocks.begin(), blocks.end());
    return;
  }
  // The CPU scatters one after the other, and can be cancelled in between; a GPU all at once.
  const std::size_t most = setup_.on_cpu ? 1 : blocks.size();
  struct Chosen {
    std::vector<LentBlock> lent;
    Blocks blocks;
  };
  Chosen places[2];  // in memory of the host, and of the GPU: a move has frames of one of them
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    LentBlock& block = lent.value()[i];
    BlockResult& result = operation_.results[blocks[i]];
    const bool on_gpu = block.status == StatusCode::kOk && !block.gpu().empty();
    const bool can = block.status != StatusCode::kOk || (setup_.on_cpu && !on_gpu) ||
                     CanScatterFrom(setup_.mover, block);
    if (GetMayHelp(block.status) || !can) {
      others.push_back(blocks[i]);
      continue;
    }
    any_ended_ = true;
    result = {.status = block.status, .tier = block.tier, .valid_tokens = block.valid_tokens};
    if (block.status != StatusCode::kOk) continue;
    if (BytesOf(block).size() != setup_.shape.block_bytes) {
      result.status = StatusCode::kIncompatible;
      continue;
    }
    Chosen& chosen = places[on_gpu ? 1 : 0];
    chosen.lent.push_back(std::move(block));
    chosen.blocks.push_back(blocks[i]);
    if (chosen.lent.size() < most) continue;
    Chosen now = std::exchange(chosen, {});
    ScatterFrom(std::move(now.lent), now.blocks, others);
  }
  for (Chosen& chosen : places) {
    if (!chosen.lent.empty()) ScatterFrom(std::move(chosen.lent), chosen.blocks, others);
  }
}

void Transfer::ScatterFrom(std::vector<LentBlock> lent, const Blocks& blocks, Blocks& others) {
  if (!book_.BeginTouch(operation_)) return Fail(blocks, Status(StatusCode::kCancelled));
  const std::uint64_t offset = RangeToGet().offset;
  const bool on_gpu = !lent.front().gpu().empty();
  std::vector<BlockMove> moves;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    // Only read: of a scatter the frame is the source.
    moves.push_back({.frame = const_cast<std::byte*>(BytesOf(lent[i]).data()) + offset,
                     .pages = PagesOf(blocks[i]).data()});
  }
  const Result<MoveId> started = machinery_.moves.Start({.way = MoveWay::kScatter,
                                                         .blocks = moves,
                                                         .first_layer = operation_.layers.first,
                                                         .layers = operation_.layers.count,
                                                         .after = operation_.after,
                                                         .frames_on_device = on_gpu},
                                                        operation_.deadline);
  if (started.code() != StatusCode::kTimeout) operation_.after = {};
  Status moved = started.status();
  if (started.ok()) {
    moved =
        machinery_.moves.Wait(started.value(), std::max(operation_.deadline, In({})) + kMoveGrace);
  }
  book_.EndTouch(operation_);
  if (started.ok() && moved.code() == StatusCode::kRetry) {
    Doubt doubt{.move = started.value(), .pages = {}, .frames = {}, .lent = std::move(lent)};
    for (const std::uint32_t block : blocks) {
      const auto pages = PagesOf(block);
      doubt.pages.insert(doubt.pages.end(), pages.begin(), pages.end());
    }
    book_.AddDoubt(std::move(doubt));
    return Fail(blocks, Status(StatusCode::kInDoubt, "the pages are still being moved"));
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const StatusCode intact = lent[i].Release();
    StatusCode& status = operation_.results[blocks[i]].status;
    status = moved.ok() ? intact : moved.code();
    if (status == StatusCode::kExpired) others.push_back(blocks[i]);
  }
}

}  // namespace terrace::paged
