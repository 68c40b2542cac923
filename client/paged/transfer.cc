#include "client/paged/transfer.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace terrace::paged {
namespace {

constexpr std::size_t kChunksUnderWay = 2;

bool NamesOne(std::span<const std::uint32_t> pages, const std::vector<std::uint32_t>& of) {
  return std::any_of(of.begin(), of.end(), [&](std::uint32_t page) {
    return std::binary_search(pages.begin(), pages.end(), page);
  });
}

/// True: nothing comes of it any more.
bool Settled(const Machinery& machinery, const Doubt& doubt) {
  if (doubt.move.value != 0) {
    return machinery.moves.mover().Done(doubt.move).code() != StatusCode::kRetry;
  }
  std::vector<MemoryPiece> pieces;
  for (const std::uint32_t frame : doubt.frames) {
    pieces.push_back(machinery.setup.FramePiece(frame, 0, machinery.setup.frame_stride));
  }
  return machinery.setup.client.Fence(pieces, In({})).ok();
}

}  // namespace

bool SettleDoubts(const Machinery& machinery, std::span<const std::uint32_t> pages) {
  bool left = false;
  for (Doubt& doubt : machinery.book.TakeDoubts()) {
    if (Settled(machinery, doubt)) {
      machinery.frames.GiveBack(doubt.frames);
      continue;
    }
    left = left || NamesOne(pages, doubt.pages);
    machinery.book.AddDoubt(std::move(doubt));
  }
  return left;
}

void Transfer::Run() {
  operation_.results.assign(operation_.count, {});
  SettleDoubts(machinery_, {});
  Blocks all(operation_.count);
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  const bool stretch = RangeToGet().count == 1;
  // A block that is lent is copied once, and by this thread or the GPU: whatever its pieces, the
  // fastest.
  const bool lends =
      operation_.kind == OperationKind::kGet && !setup_.wide && stretch && !setup_.on_device;
  const Blocks left = lends ? ScatterLent() : all;
  // On this host frames are faster: the daemon has them mapped, and looks up no page of theirs.
  const bool direct = setup_.direct && operation_.kind != OperationKind::kWrite && stretch &&
                      setup_.client.LinkName() != "shm";
  if (direct) {
    RunDirect(left);
  } else {
    RunInFrames(left);
  }
  if (operation_.after.value != 0) setup_.mover->Forget(std::exchange(operation_.after, {}));
}

void Transfer::RunInFrames(const Blocks& blocks) {
  std::deque<Chunk> under_way;
  std::span<const std::uint32_t> left(blocks);
  while (!left.empty() || !under_way.empty()) {
    // A point in the engine's stream holds back the first move only: it is waited for by itself.
    const std::size_t most =
        moves_under_way_ != 0 && operation_.after.value != 0 ? 1 : kChunksUnderWay;
    if (!stop_.ok()) {
      Fail(left, stop_);
      left = {};
    } else if (!left.empty() && under_way.size() < most) {
      Chunk chunk = Claim(left, under_way.empty());
      if (!chunk.blocks.empty()) {
        left = left.subspan(chunk.blocks.size());
        Begin(chunk);
        under_way.push_back(std::move(chunk));
        continue;
      }
      if (under_way.empty()) {
        Fail(left, Status(StatusCode::kTimeout, "no frame became free"));
        left = {};
      }
    }
    if (under_way.empty()) continue;
    Finish(under_way.front());
    under_way.pop_front();
  }
}

Transfer::Chunk Transfer::Claim(std::span<const std::uint32_t> blocks, bool may_wait) {
  // A quarter: two operations with two chunks each go on at the same time.
  const std::size_t most = std::min<std::size_t>(
      {blocks.size(), std::max<std::size_t>(setup_.frame_count / 4, 1), kMaxMoveBlocks});
  Chunk chunk;
  chunk.frames = machinery_.frames.Take(most, may_wait ? operation_.deadline : Deadline{});
  chunk.blocks.assign(blocks.begin(),
                      blocks.begin() + static_cast<std::ptrdiff_t>(chunk.frames.size()));
  return chunk;
}

void Transfer::Begin(Chunk& chunk) {
  if (operation_.kind == OperationKind::kGet) {
    GetIntoFrames(chunk);
    for (std::size_t i = 0; i < chunk.blocks.size(); ++i) {
      if (operation_.results[chunk.blocks[i]].status != StatusCode::kOk) continue;
      if (setup_.wide) NarrowFrame(chunk.frames[i]);
      chunk.moved.push_back(chunk.blocks[i]);
    }
    StartMove(chunk, MoveWay::kScatter);
  } else {
    chunk.moved = chunk.blocks;
    StartMove(chunk, MoveWay::kGather);
  }
}

void Transfer::Finish(Chunk& chunk) {
  const bool moved = FinishMove(chunk);
  if (moved && operation_.kind == OperationKind::kPut) PutFromFrames(chunk);
  if (moved && operation_.kind == OperationKind::kWrite) WriteFromFrames(chunk);
  GiveBack(chunk);
}

void Transfer::GiveBack(Chunk& chunk) {
  if (chunk.frames.empty()) return;
  if (chunk.doubtful) {
    book_.AddDoubt({.move = {}, .pages = {}, .frames = std::move(chunk.frames), .lent = {}});
    return;
  }
  machinery_.frames.GiveBack(chunk.frames);
}

void Transfer::StartMove(Chunk& chunk, MoveWay way) {
  if (chunk.moved.empty()) return;
  if (!book_.BeginTouch(operation_)) {
    Fail(chunk.moved, Status(StatusCode::kCancelled));
    chunk.moved.clear();
    return;
  }
  std::vector<BlockMove> moves;
  for (std::size_t i = 0; i < chunk.blocks.size(); ++i) {
    const std::uint32_t block = chunk.blocks[i];
    if (std::find(chunk.moved.begin(), chunk.moved.end(), block) == chunk.moved.end()) continue;
    moves.push_back({.frame = setup_.Frame(chunk.frames[i]), .pages = PagesOf(block).data()});
  }
  const Result<MoveId> move = machinery_.moves.Start({.way = way,
                                                      .blocks = moves,
                                                      .first_layer = operation_.layers.first,
                                                      .layers = operation_.layers.count,
                                                      .after = operation_.after,
                                                      .frames_on_device = setup_.on_device},
                                                     operation_.deadline);
  if (move.ok()) {
    chunk.move = move.value();
    ++moves_under_way_;
    return;
  }
  if (move.code() != StatusCode::kTimeout) operation_.after = {};  // the failed move used it up
  Fail(chunk.moved, move.status());
  chunk.moved.clear();
  if (moves_under_way_ == 0) book_.EndTouch(operation_);
}

bool Transfer::FinishMove(Chunk& chunk) {
  if (!chunk.move) return false;
  const Status status =
      machinery_.moves.Wait(*chunk.move, std::max(operation_.deadline, In({})) + kMoveGrace);
  operation_.after = {};
  if (status.code() == StatusCode::kRetry) {
    Doubt doubt{
        .move = *chunk.move, .pages = {}, .frames = std::exchange(chunk.frames, {}), .lent = {}};
    for (const std::uint32_t block : chunk.moved) {
      const auto pages = PagesOf(block);
      doubt.pages.insert(doubt.pages.end(), pages.begin(), pages.end());
    }
    book_.AddDoubt(std::move(doubt));
    Fail(chunk.moved, Status(StatusCode::kInDoubt, "the pages are still being moved"));
  } else if (!status.ok()) {
    Fail(chunk.moved, status);
  }
  if (--moves_under_way_ == 0) book_.EndTouch(operation_);
  return status.ok();
}

bool Transfer::Take(std::span<const std::uint32_t> blocks,
                    const Result<std::vector<BlockResult>>& answer) {
  if (!answer.ok()) {
    Fail(blocks, answer.status());
    return answer.code() == StatusCode::kInDoubt;
  }
  any_ended_ = true;
  bool doubtful = false;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    operation_.results[blocks[i]] = answer.value()[i];
    doubtful = doubtful || answer.value()[i].status == StatusCode::kInDoubt;
  }
  return doubtful;
}

void Transfer::Fail(std::span<const std::uint32_t> blocks, const Status& status) {
  for (const std::uint32_t block : blocks) operation_.results[block].status = status.code();
  if (stop_.ok()) stop_ = status;
  const bool of_blocks = status.code() == StatusCode::kCancelled ||
                         status.code() == StatusCode::kTimeout ||
                         status.code() == StatusCode::kInDoubt;
  if (!any_ended_ && !of_blocks) operation_.status = status;
}

}  // namespace terrace::paged
