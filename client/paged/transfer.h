// Transfer: one operation of a PagedCache, run to its end on the thread that calls.
//
// Blocks go in chunks of as many as there are free frames for, two at a time: while the pages of
// one are moved, the next is got from the daemon, or the other way around. Of a GPU that hides the
// one behind the other; of a CPU it is one after the other on the same thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "client/paged/frame_pool.h"
#include "client/paged/move_waiter.h"
#include "client/paged/operation.h"
#include "client/paged/setup.h"

namespace terrace::paged {

/// What all transfers of a PagedCache share.
/// A move that goes on so long after its call's deadline is left in doubt.
inline constexpr std::chrono::milliseconds kMoveGrace{1000};

struct Machinery {
  PagedSetup& setup;
  OperationBook& book;
  FramePool& frames;
  MoveWaiter& moves;
};

/// Gives back the frames of doubts that are none any more. @return whether one about these pages
/// (sorted) is left.
bool SettleDoubts(const Machinery& machinery, std::span<const std::uint32_t> pages);

class Transfer {
 public:
  /// All of it outlives the transfer.
  Transfer(const Machinery& machinery, Operation& operation)
      : machinery_(machinery),
        setup_(machinery.setup),
        book_(machinery.book),
        operation_(operation) {}
  /// Fills in status and results. Nothing is left on its way but what the book has as a Doubt.
  void Run();

 private:
  using Blocks = std::vector<std::uint32_t>;  // of the operation
  struct Chunk {
    Blocks blocks;
    std::vector<std::uint32_t> frames;  // one for each
    std::optional<MoveId> move;
    Blocks moved;           // of `blocks`, those that the move is about
    bool doubtful = false;  // the daemon may write to the frames
  };

  void RunInFrames(const Blocks& blocks);
  Chunk Claim(std::span<const std::uint32_t> blocks, bool may_wait);
  void Begin(Chunk& chunk);
  void Finish(Chunk& chunk);
  void GiveBack(Chunk& chunk);
  void StartMove(Chunk& chunk, MoveWay way);
  /// False: not all bytes are where they should be, and the results say so.
  bool FinishMove(Chunk& chunk);

  void GetIntoFrames(Chunk& chunk);
  void PutFromFrames(Chunk& chunk);
  void WriteFromFrames(Chunk& chunk);
  void WriteOne(Chunk& chunk, std::size_t index);
  /// From all heads of a quantised block, which lie behind it, to this rank's.
  void NarrowFrame(std::uint32_t frame) const;
  void RunDirect(const Blocks& blocks);
  void DirectChunk(const Blocks& blocks);
  /// @return the blocks that could not be lent.
  Blocks ScatterLent();
  void ScatterLent(const Blocks& blocks, Blocks& others);
  /// Entry i of `lent` is block blocks[i], and may be read by the mover; all in memory of the GPU,
  /// or none.
  void ScatterFrom(std::vector<LentBlock> lent, const Blocks& blocks, Blocks& others);

  /// Runs a call of the Client that uses `memory`; kCancelled when the operation was.
  template <typename Call>
  Result<std::vector<BlockResult>> InCall(std::vector<MemoryPiece> memory, const Call& call) {
    if (!book_.BeginCall(operation_, std::move(memory))) return Status(StatusCode::kCancelled);
    Result<std::vector<BlockResult>> answer = call();
    book_.EndCall(operation_);
    return answer;
  }
  /// @return whether the daemon may still touch the memory of one of them.
  bool Take(std::span<const std::uint32_t> blocks, const Result<std::vector<BlockResult>>& answer);
  void Fail(std::span<const std::uint32_t> blocks, const Status& status);
  [[nodiscard]] std::span<const std::uint32_t> PagesOf(std::uint32_t block) const {
    return std::span(operation_.pages)
        .subspan(std::size_t{block} * setup_.shape.block_pages, setup_.shape.block_pages);
  }
  /// What a get asks for.
  [[nodiscard]] BlockRange RangeToGet() const;
  [[nodiscard]] std::uint64_t DenseBytes() const {
    return FrameBytes(setup_.cache, setup_.stored, operation_.layers);
  }

  const Machinery machinery_;
  PagedSetup& setup_;
  OperationBook& book_;
  Operation& operation_;
  std::size_t moves_under_way_ = 0;
  bool any_ended_ = false;  // some block has a result of its own
  Status stop_;             // not ok: what is left fails with it
};

}  // namespace terrace::paged
