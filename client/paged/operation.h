// Operation: one call of a PagedCache on its way, and OperationBook: all that are, what was
// promised of them to those who cancel, fence and poll, and what ended in doubt.
//
//   B1. An operation ends once, and then its pages are touched by nothing; or a Doubt says by what.
//   B2. Nothing begins to touch pages of an operation that was cancelled.
//   B3. The descriptor is readable exactly while a completion waits to be taken.
// Thread: any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "client/paged.hpp"
#include "client/paged/mover.h"

namespace terrace::paged {

enum class OperationKind : std::uint8_t { kGet, kPut, kWrite };

struct Operation {
  Ticket ticket = 0;
  OperationKind kind = OperationKind::kGet;
  NamespaceId space;
  Chain chain;
  BlockKind block_kind;
  Deadline deadline;
  Ack ack = Ack::kCommitted;
  LayerSpan layers;   // count is not 0
  StreamPoint after;  // of the first move
  // Of each block:
  std::vector<std::uint32_t> positions;
  std::vector<std::uint32_t> valid_tokens;
  std::vector<PutToken> tokens;      // kWrite: instead of the two above
  std::vector<std::uint32_t> pages;  // block_pages of each, one block after the other
  std::size_t count = 0;
  bool waited = false;  // by its caller: no completion

  // The answer; of whoever runs it, until it has ended.
  Status status;
  std::vector<BlockResult> results;

  // Guarded by the book's mutex.
  bool cancelled = false;
  bool begun = false;
  bool ended = false;
  bool touching = false;            // something reads or writes its pages
  std::vector<MemoryPiece> memory;  // of the Client's call that it waits in
};

/// What an operation left behind that may still touch pages or frames.
struct Doubt {
  MoveId move;                       // 0: the daemon may write to the frames
  std::vector<std::uint32_t> pages;  // of the move
  std::vector<std::uint32_t> frames;
  std::vector<LentBlock> lent;  // that the move reads
};

class OperationBook {
 public:
  /// kIo when no eventfd can be had.
  static Result<std::unique_ptr<OperationBook>> Create();
  ~OperationBook();
  OperationBook(const OperationBook&) = delete;
  OperationBook& operator=(const OperationBook&) = delete;

  /// Gives it a ticket and, unless it is `waited`, a place in its queue. kRetry when 4,096 are
  /// under way or not taken; kCancelled after Stop.
  Status Add(const std::shared_ptr<Operation>& operation);
  /// The next one of the queue of gets, or of the others; waits for it. Null after Stop.
  std::shared_ptr<Operation> Next(bool gets);
  void End(const std::shared_ptr<Operation>& operation);

  [[nodiscard]] bool Cancelled(const Operation& operation);
  /// False when it was cancelled, and then nothing may begin.
  [[nodiscard]] bool BeginTouch(Operation& operation);
  void EndTouch(Operation& operation);
  [[nodiscard]] bool BeginCall(Operation& operation, std::vector<MemoryPiece> memory);
  void EndCall(Operation& operation);

  void AddDoubt(Doubt doubt);
  /// Takes the doubts out of the book; what is still doubtful comes back by AddDoubt.
  std::vector<Doubt> TakeDoubts();
  [[nodiscard]] bool NoDoubts();

  std::vector<PagedCompletion> Take(std::size_t most);
  Status WaitForCompletion(Deadline deadline);
  [[nodiscard]] int Fd() const noexcept { return fd_; }

  using Operations = std::vector<std::shared_ptr<Operation>>;
  /// All under way, or those that name one of the pages (sorted), or that ticket.
  Operations UnderWay();
  Operations Naming(std::span<const std::uint32_t> pages);
  /// Null: it has ended. kInvalid: there never was one.
  Result<std::shared_ptr<Operation>> Named(Ticket ticket);
  /// They touch nothing any more once they are not touching; those that had not begun end at once.
  /// @return what these had taken of the engine's streams.
  std::vector<StreamPoint> Cancel(const Operations& operations);
  /// Until all have ended; false at the deadline.
  bool AwaitEnd(const Operations& operations, Deadline deadline);
  /// What their calls use now.
  std::vector<MemoryPiece> MemoryOf(const Operations& operations);
  [[nodiscard]] bool AnyTouching(const Operations& operations);
  /// No operation is begun any more.
  void Stop();

 private:
  explicit OperationBook(int fd) : fd_(fd) {}
  void EndLocked(const std::shared_ptr<Operation>& operation);

  static constexpr std::size_t kOperationsMax = 4096;

  const int fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_.
  bool stopped_ = false;
  Ticket last_ = 0;
  Operations under_way_;
  std::deque<std::shared_ptr<Operation>> gets_;
  std::deque<std::shared_ptr<Operation>> others_;
  std::deque<PagedCompletion> completions_;
  std::vector<Doubt> doubts_;
};

}  // namespace terrace::paged
