// CopyLane: copies of one direction and urgency, queued on streams of their own.
//
// Model. What waits goes to the device as one batch, because single copies of a megabyte leave gaps
// of microseconds between them. A batch is bounded in copies and bytes, so that one copy's end does
// not wait for many others; so many batches are with the device that it always has a next one.
// Copies to and from the host go by the copy engines; on another stream a kernel computes the
// checksums, while the next batch is copied. Copies within the device are the kernel's too: it
// reads every byte once, for both.
//
// Thread: the reactor's; its device is current. Nothing here waits but the destructor.
#pragma once

#include <cuda_runtime_api.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/status.h"
#include "tiers/hbm/cuda/checksum.h"

namespace terrace {

enum class CopyWay : std::uint8_t { kIn = 0, kOut = 1, kWithin = 2 };

/// One call, which stands on its coroutine's frame until it ended.
struct DeviceCopy {
  std::byte* to = nullptr;  ///< Null: only checksums.
  const std::byte* from = nullptr;
  std::uint64_t bytes = 0;
  std::span<std::uint64_t> checksums;  ///< Empty: none.
  bool pinned = false;                 ///< The host's side: batches take no other memory.
  Status status{};
  std::coroutine_handle<> waiter{};
};

struct CopyLaneOptions {
  CopyWay way = CopyWay::kIn;
  int priority = 0;              ///< Of the streams, as CUDA counts.
  std::size_t batch_copies = 1;  ///< At most PieceRanges::kMost.
  /// A larger copy goes alone.
  std::uint64_t batch_bytes = 1;
};

class CopyLane {
 public:
  /// With the device at once.
  static constexpr std::size_t kBatches = 3;
  /// Checksums of one batch, at most.
  static constexpr std::size_t kBatchPieces = 2048;

  /// @return kRetry when the device or the host has no memory.
  static Result<std::unique_ptr<CopyLane>> Make(const CopyLaneOptions& options);
  /// Waits for what is with the device. REQUIRES: no copy is under way, or FailAll was called.
  ~CopyLane();
  CopyLane(const CopyLane&) = delete;
  CopyLane& operator=(const CopyLane&) = delete;

  /// REQUIRES: at most kBatchPieces checksums.
  void Add(DeviceCopy& copy) { waiting_.push_back(&copy); }
  [[nodiscard]] bool waiting() const noexcept { return !waiting_.empty(); }
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }
  [[nodiscard]] bool full() const noexcept { return in_flight_ == kBatches; }

  /// Queues one batch of what waits. What the driver refuses ends with its error, once nothing of
  /// the batch is under way. REQUIRES: waiting(), !full(). @return the error when it is sticky.
  Status Submit();
  /// Ends what the device has done; adds to `ended`. @return the error when it is sticky.
  Status Collect(unsigned& ended);
  /// Has `ring(context)` called when a batch ends that is under way now. @return as Submit.
  Status RingAtEnd(cudaHostFn_t ring, void* context);
  /// Ends everything with that error.
  void FailAll(const Status& status);

 private:
  struct Batch {
    cudaStream_t stream = nullptr;  // what it copies on
    cudaEvent_t copied = nullptr;
    cudaEvent_t hashed = nullptr;
    std::uint64_t* checksums = nullptr;  // pinned, of all copies one after the other
    std::vector<DeviceCopy*> copies;
    bool hashes = false;  // `hashed` is recorded, too
    bool rings = false;
    Status status;
  };
  explicit CopyLane(const CopyLaneOptions& options) noexcept : options_(options) {}
  Status Prepare();
  void Fill(Batch& batch);
  Status Queue(Batch& batch);
  Status QueueHashes(Batch& batch);
  Status QueueCopies(const Batch& batch);
  void End(Batch& batch, const Status& status);
  [[nodiscard]] Batch& First() noexcept { return batches_[first_]; }

  const CopyLaneOptions options_;
  cudaStream_t copies_[kBatches] = {};  // one, or one for each batch
  cudaStream_t hashes_ = nullptr;       // null where the copying kernel does them
  // What rings has a stream of its own: it is queued late, and must not wait for later batches.
  cudaStream_t rings_ = nullptr;
  Batch batches_[kBatches];
  std::size_t first_ = 0;
  std::size_t in_flight_ = 0;
  std::deque<DeviceCopy*> waiting_;  // as many as there are callers
  bool batch_call_ = true;           // until the driver says that it has none
  cudaError_t error_ = cudaSuccess;  // of the last call that failed
  // Of a batch; filled anew for each.
  PieceRanges ranges_;
  std::vector<const void*> from_;
  std::vector<void*> to_;
  std::vector<std::size_t> sizes_;
};

}  // namespace terrace
