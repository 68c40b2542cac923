// CudaMover: PageMover for a cache in the memory of a GPU. Moves are queued behind the engine's own
// work, on streams of the mover, and end with an event; nothing here waits for the GPU but the
// constructor and the destructor.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "client/cuda/transfer_lane.h"
#include "client/layout.hpp"
#include "client/paged/mover.h"

namespace terrace::paged {

struct CudaMoverOptions {
  /// Of each of six staging buffers in device memory; what one block needs at least. 16 MiB keep
  /// the copy engines busy with blocks of 1 MiB.
  std::size_t staging_bytes = 16 << 20;
  std::uint32_t moves = 16;  ///< That may be under way at once, 1 to 1024.
};

/// Whether one of these is memory of a GPU. kUnsupported: no driver can be asked.
Result<bool> IsGpuMemory(std::span<void* const> bases);

class CudaMover final : public PageMover {
 public:
  /// The cache's layers are at `bases`, device memory of one GPU. @return kInvalid names the field
  /// (layers[3]: it is no memory of a GPU, ...); kUnsupported without a GPU or driver; kRetry when
  /// the device has no memory for the staging buffers; kIo for what else the driver says.
  static Result<std::unique_ptr<CudaMover>> Make(const CacheLayout& cache,
                                                 const StoredLayout& stored,
                                                 std::span<void* const> bases,
                                                 const CudaMoverOptions& options);
  ~CudaMover() override;

  Status RegisterFrames(std::span<std::byte> memory, bool read_only) override;
  void DeregisterFrames(std::span<std::byte> memory) override;
  Result<std::span<std::byte>> AllocateDeviceFrames(std::uint64_t bytes) override;
  void FreeDeviceFrames(std::span<std::byte> memory) override;
  Result<StreamPoint> Mark(void* stream) override;
  void Forget(StreamPoint point) override;
  Result<MoveId> Start(const MoveRequest& request) override;
  Status Done(MoveId move) override;
  Status OrderBehind(void* stream, MoveId move, std::uint32_t layers) override;
  [[nodiscard]] int EventFd() const noexcept override { return event_fd_; }
  [[nodiscard]] const std::string& gpu() const noexcept override { return gpu_; }

 private:
  // Of a move that is under way, or of a point that was taken. The number of its use is in the id,
  // so that an old id is not taken for a later one.
  struct Slot {
    cudaEvent_t event = nullptr;
    std::uint32_t use = 0;
    bool busy = false;
    // Of a move. Each layer's counter on the device only ever grows, and what it will have reached
    // when the move ends: a stream that still waits for an earlier move is not held up by a later
    // one.
    std::uint32_t* counters = nullptr;
    std::vector<std::uint32_t> reached;
    std::uint32_t layers = 0;  // that it counts; 0: it does not
  };

  CudaMover(const CacheLayout& cache, const StoredLayout& stored, const CudaMoverOptions& options)
      : cache_(cache), stored_(stored), options_(options) {}
  Status Prepare(std::span<void* const> bases);
  void EndOnDevice();
  PageWork WorkOf(const MoveRequest& request) const;
  Status Queue(const MoveRequest& request, PageWork work, const Slot* after, Slot& slot);
  Status CheckRequest(const MoveRequest& request) const;
  static Slot* SlotOf(std::vector<Slot>& slots, std::uint64_t id);

  CacheLayout cache_;
  StoredLayout stored_;
  CudaMoverOptions options_;
  int device_ = -1;  // not known yet
  std::string gpu_;  ///< UUID
  int event_fd_ = -1;
  std::uint32_t block_pages_ = 0;
  std::vector<void*> bases_;
  std::uint64_t* bases_device_ = nullptr;
  cudaStream_t notify_[2] = {};  // by MoveWay: on which the ends of moves are told

  std::mutex mutex_;                        // of all that follows
  std::unique_ptr<TransferLane> lanes_[2];  // by MoveWay
  std::vector<Slot> moves_;
  std::vector<Slot> points_;
};

}  // namespace terrace::paged
