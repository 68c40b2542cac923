// TransferLane: one direction between an engine's pages and host frames. What is contiguous for
// long enough goes through staging buffers on the device, whose other side the copy engines move:
// single copies leave a gap of some microseconds between them, batches of them do not, and kernels
// that reach over PCIe themselves stay some percent below either. What is in small stretches (one
// layer of many blocks) is moved by a kernel that reads or writes the frames itself, and so is all
// between pages and frames on the device.
//
// Everything is queued on the lane's own streams; nothing here waits. One thread at a time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/status.h"
#include "client/cuda/page_work.h"
#include "client/paged/mover.h"

namespace terrace::paged {

/// One move's blocks.
struct LaneMove {
  PageWork work;
  std::span<const BlockMove> blocks;
  bool on_device = false;       ///< The frames are: one kernel does it all.
  cudaEvent_t after = nullptr;  ///< What the pages wait for; null: nothing.
  cudaEvent_t end = nullptr;    ///< Recorded behind the last byte.
};

class TransferLane {
 public:
  /// staging_bytes: of each of the lane's buffers. @return kRetry when the device has no memory.
  static Result<std::unique_ptr<TransferLane>> Make(MoveWay way, std::size_t staging_bytes,
                                                    std::uint32_t block_pages);
  ~TransferLane();
  TransferLane(const TransferLane&) = delete;
  TransferLane& operator=(const TransferLane&) = delete;

  /// Queues the move. thread_blocks: grows by what each counter of its walk will. After an error
  /// nothing more is queued; what was is still under way until Synchronize.
  Status Queue(const LaneMove& move, std::uint32_t& thread_blocks);
  /// Waits for all that was queued.
  void Synchronize() noexcept;

 private:
  struct Buffer {
    std::byte* memory = nullptr;
    cudaEvent_t filled = nullptr;
    cudaEvent_t drained = nullptr;
  };
  TransferLane(MoveWay way, std::size_t staging_bytes) noexcept
      : way_(way), staging_bytes_(staging_bytes) {}
  Status Prepare();
  Status QueueDirect(const LaneMove& move, std::uint32_t& thread_blocks);
  Status QueueStaged(const LaneMove& move, std::size_t stride);
  Status QueueGatherChunk(const LaneMove& move, std::size_t first, std::size_t count,
                          std::size_t stride, Buffer& buffer);
  Status QueueScatterChunk(const LaneMove& move, std::size_t first, std::size_t count,
                           std::size_t stride, Buffer& buffer);
  Status LaunchOnBuffer(const LaneMove& move, std::size_t first, std::size_t count,
                        std::size_t stride, const Buffer& buffer);
  Status CopyFrames(const LaneMove& move, std::size_t first, std::size_t count, std::size_t stride,
                    const Buffer& buffer);

  static constexpr std::size_t kBuffers = 3;

  MoveWay way_;
  std::size_t staging_bytes_;
  cudaStream_t kernels_ = nullptr;
  cudaStream_t copies_ = nullptr;
  // Direct moves take turns: while one ends, the next one already has its multiprocessors.
  cudaStream_t direct_[2] = {};
  std::size_t next_direct_ = 0;
  Buffer buffers_[kBuffers];
  std::size_t next_buffer_ = 0;
  bool batches_ = true;  // until the driver says that it has none
  // Of a launch and of a batch; filled anew for each.
  std::vector<std::uint64_t> frames_;
  std::vector<std::uint32_t> pages_;
  std::vector<const void*> from_;
  std::vector<void*> to_;
  std::vector<std::size_t> sizes_;
};

}  // namespace terrace::paged
