// PageMover: what moves blocks between an engine's paged cache and dense frames. The CPU copies at
// once; a GPU's copies are queued behind the engine's own work and end later.
//
// One PageMover serves one cache with one stored layout. Any thread, at the same time. Start and
// Done never wait and allocate nothing but what was set aside when the mover was made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/status.h"

namespace terrace::paged {

enum class MoveWay : std::uint8_t {
  kGather = 0,   ///< From the pages into the frame.
  kScatter = 1,  ///< From the frame into the pages.
};

/// One block: a dense frame of the layers that are moved, and the pages that hold it.
struct BlockMove {
  std::byte* frame = nullptr;            ///< In memory that was given to RegisterFrames.
  const std::uint32_t* pages = nullptr;  ///< block_tokens / page_tokens numbers; copied by Start.
};

/// A point in the engine's stream of work: what was queued there before it was taken. 0: no point,
/// nothing to be waited for.
struct StreamPoint {
  std::uint64_t value = 0;
};

struct MoveRequest {
  MoveWay way = MoveWay::kGather;
  std::span<const BlockMove> blocks;  ///< At least 1, at most kMaxMoveBlocks.
  std::uint32_t first_layer = 0;      ///< Of the cache's layers.
  std::uint32_t layers = 0;           ///< At least 1.
  StreamPoint after;  ///< From Mark. The move uses it up, also when it fails, but for kRetry.
  /// The first layer first, then the next: OrderBehind can wait for some of them. Otherwise all at
  /// once, which may be faster.
  bool layer_by_layer = false;
  /// All frames are memory of the pages' GPU, or none is.
  bool frames_on_device = false;
};

inline constexpr std::size_t kMaxMoveBlocks = 4096;

/// Names a move of its mover until Done has said that it ended; never 0.
struct MoveId {
  std::uint64_t value = 0;
};

class PageMover {
 public:
  virtual ~PageMover() = default;

  /// Makes host memory usable as frames: a GPU's mover pins it, once. `read_only`: it is mapped so,
  /// and is only scattered from. The memory must outlive its use. @return kUnsupported when the
  /// driver cannot take such memory; frames must then lie in memory that it can.
  virtual Status RegisterFrames(std::span<std::byte> memory, bool read_only) = 0;
  /// REQUIRES: no move of it is under way. Unknown memory is ignored.
  virtual void DeregisterFrames(std::span<std::byte> memory) = 0;

  /// Memory for frames on the GPU of the pages, which another process can map (CUDA IPC); they
  /// need no RegisterFrames. @return kUnsupported: the pages are no GPU's; kRetry: it has no
  /// memory.
  virtual Result<std::span<std::byte>> AllocateDeviceFrames(std::uint64_t bytes) = 0;
  /// REQUIRES: no move of it is under way, and nobody has it mapped.
  virtual void FreeDeviceFrames(std::span<std::byte> /*memory*/) {}

  /// Takes the point where `stream`, the engine's (a cudaStream_t; the CPU's mover takes only
  /// null), now is. @return kRetry when too many points are out; kInvalid for a stream that is
  /// being captured into a graph.
  virtual Result<StreamPoint> Mark(void* stream) = 0;

  /// Gives up a point that no move was given.
  virtual void Forget(StreamPoint /*point*/) {}

  /// Begins to move. @return kRetry when too many moves are under way: nothing was used up, ask
  /// again after one has ended; kInvalid names the field of the request.
  virtual Result<MoveId> Start(const MoveRequest& request) = 0;
  /// Ok: all bytes are there. kRetry: it goes on. Anything else: it failed. Nothing touches pages
  /// and frames of a move any more once this has answered something else than kRetry, which it does
  /// once; then the id is void (kInvalid).
  virtual Status Done(MoveId move) = 0;

  /// What is queued on `stream`, the engine's, from now on waits, on the device, until the first
  /// `layers` layers of the move are there (0: all; of a move that is not layer by layer: all). The
  /// caller does not wait. A stream of null is the device's default stream; on the CPU moves have
  /// ended already. @return kInvalid for a move that is not under way, or has not so many layers.
  virtual Status OrderBehind(void* /*stream*/, MoveId /*move*/, std::uint32_t /*layers*/) {
    return {};
  }

  /// Readable after a move ended, until it is read (an eventfd); -1: every move ends within Start.
  [[nodiscard]] virtual int EventFd() const noexcept = 0;

  /// UUID of the GPU that moves: frames that are only scattered from may lie in its memory, and are
  /// not registered then. Empty: the CPU does.
  [[nodiscard]] virtual const std::string& gpu() const noexcept {
    static const std::string none;
    return none;
  }
};

}  // namespace terrace::paged
