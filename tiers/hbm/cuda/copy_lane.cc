#include "tiers/hbm/cuda/copy_lane.h"

#include <algorithm>

#include "base/check.h"
#include "base/cuda_status.h"
#include "base/scheduler.h"

namespace terrace {

// Returns the Status of a CUDA call that failed, and keeps its error.
#define TERRACE_LANE_TRY(call)                                                \
  do {                                                                        \
    if (const cudaError_t cuda_error_ = (call); cuda_error_ != cudaSuccess) { \
      error_ = cuda_error_;                                                   \
      return CudaStatus(cuda_error_, #call);                                  \
    }                                                                         \
  } while (false)

Result<std::unique_ptr<CopyLane>> CopyLane::Make(const CopyLaneOptions& options) {
  TERRACE_CHECK(options.batch_copies > 0 && options.batch_copies <= PieceRanges::kMost);
  std::unique_ptr<CopyLane> lane(new CopyLane(options));
  if (Status status = lane->Prepare(); !status.ok()) return status;
  return lane;
}

Status CopyLane::Prepare() {
  const auto make = [this](cudaStream_t& stream) {
    return cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, options_.priority);
  };
  const bool within = options_.way == CopyWay::kWithin;
  TERRACE_CUDA_TRY(make(rings_));
  if (!within) TERRACE_CUDA_TRY(make(hashes_));
  for (std::size_t i = 0; i < kBatches; ++i) {
    if (within || i == 0) TERRACE_CUDA_TRY(make(copies_[i]));
    batches_[i].stream = copies_[within ? i : 0];
  }
  for (Batch& batch : batches_) {
    TERRACE_CUDA_TRY(cudaEventCreateWithFlags(&batch.copied, cudaEventDisableTiming));
    TERRACE_CUDA_TRY(cudaEventCreateWithFlags(&batch.hashed, cudaEventDisableTiming));
    TERRACE_CUDA_TRY(AllocatePinned(batch.checksums, kBatchPieces * sizeof(std::uint64_t)));
    batch.copies.reserve(options_.batch_copies);
  }
  // The first launch loads the kernel, which takes milliseconds, or says that there is none for
  // this device.
  ranges_.range[0] = {.from = reinterpret_cast<const std::byte*>(batches_[0].checksums),
                      .bytes = sizeof(std::uint64_t),
                      .checksums = batches_[0].checksums + 1};
  ranges_.count = 1;
  TERRACE_CUDA_TRY(LaunchPieces(ranges_, rings_));
  TERRACE_CUDA_TRY(cudaStreamSynchronize(rings_));
  from_.reserve(options_.batch_copies);
  to_.reserve(options_.batch_copies);
  sizes_.reserve(options_.batch_copies);
  return {};
}

CopyLane::~CopyLane() {
  TERRACE_CHECK(in_flight_ == 0 && waiting_.empty());
  const auto end = [](cudaStream_t stream) {
    if (stream == nullptr) return;
    (void)cudaStreamSynchronize(stream);
    (void)cudaStreamDestroy(stream);
  };
  for (cudaStream_t stream : copies_) end(stream);
  end(hashes_);
  end(rings_);
  for (Batch& batch : batches_) {
    if (batch.copied != nullptr) (void)cudaEventDestroy(batch.copied);
    if (batch.hashed != nullptr) (void)cudaEventDestroy(batch.hashed);
    (void)cudaFreeHost(batch.checksums);
  }
  (void)cudaGetLastError();
}

void CopyLane::Fill(Batch& batch) {
  std::uint64_t bytes = 0;
  std::size_t pieces = 0;
  batch.copies.clear();
  while (!waiting_.empty() && batch.copies.size() < options_.batch_copies) {
    DeviceCopy& next = *waiting_.front();
    const bool fits = bytes + next.bytes <= options_.batch_bytes &&
                      pieces + next.checksums.size() <= kBatchPieces;
    if (!fits && !batch.copies.empty()) break;
    bytes += next.bytes;
    pieces += next.checksums.size();
    batch.copies.push_back(&next);
    waiting_.pop_front();
  }
  ranges_.count = 0;
  std::uint64_t* checksums = batch.checksums;
  for (const DeviceCopy* copy : batch.copies) {
    const bool hashed = !copy->checksums.empty();
    const bool within = options_.way == CopyWay::kWithin;
    if (!hashed && !within) continue;
    ranges_.range[ranges_.count++] = {.from = options_.way == CopyWay::kIn ? copy->to : copy->from,
                                      .to = within ? copy->to : nullptr,
                                      .bytes = copy->bytes,
                                      .checksums = hashed ? checksums : nullptr};
    checksums += copy->checksums.size();
  }
}

Status CopyLane::Submit() {
  Batch& batch = batches_[(first_ + in_flight_) % kBatches];
  Fill(batch);
  batch.rings = false;
  batch.hashes = false;
  ++in_flight_;
  batch.status = Queue(batch);
  if (batch.status.ok()) return {};
  if (CudaErrorIsSticky(error_)) return batch.status;
  // Part of it may be under way: its buffers are the caller's again only behind that.
  TERRACE_LANE_TRY(cudaEventRecord(batch.copied, batch.stream));
  if (hashes_ == nullptr) return {};
  batch.hashes = true;
  TERRACE_LANE_TRY(cudaEventRecord(batch.hashed, hashes_));
  return {};
}

Status CopyLane::Queue(Batch& batch) {
  if (options_.way == CopyWay::kWithin) {
    TERRACE_LANE_TRY(LaunchPieces(ranges_, batch.stream));
    TERRACE_LANE_TRY(cudaEventRecord(batch.copied, batch.stream));
    return {};
  }
  if (options_.way == CopyWay::kOut) {
    if (Status status = QueueHashes(batch); !status.ok()) return status;
  }
  if (Status status = QueueCopies(batch); !status.ok()) return status;
  TERRACE_LANE_TRY(cudaEventRecord(batch.copied, batch.stream));
  if (options_.way == CopyWay::kIn && ranges_.count > 0) {
    TERRACE_LANE_TRY(cudaStreamWaitEvent(hashes_, batch.copied, 0));
    return QueueHashes(batch);
  }
  return {};
}

Status CopyLane::QueueHashes(Batch& batch) {
  if (ranges_.count == 0) return {};
  TERRACE_LANE_TRY(LaunchPieces(ranges_, hashes_));
  TERRACE_LANE_TRY(cudaEventRecord(batch.hashed, hashes_));
  batch.hashes = true;
  return {};
}

Status CopyLane::QueueCopies(const Batch& batch) {
  from_.clear();
  to_.clear();
  sizes_.clear();
  bool pinned = true;
  for (const DeviceCopy* copy : batch.copies) {
    pinned = pinned && copy->pinned;
    from_.push_back(copy->from);
    to_.push_back(copy->to);
    sizes_.push_back(copy->bytes);
  }
#if CUDART_VERSION >= 13000
  if (batch_call_ && pinned && sizes_.size() > 1) {
    cudaMemcpyAttributes attributes{};
    attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
    std::size_t index = 0;
    const cudaError_t error =
        cudaMemcpyBatchAsync(to_.data(), from_.data(), sizes_.data(), sizes_.size(), &attributes,
                             &index, 1, batch.stream);
    if (error != cudaErrorCallRequiresNewerDriver && error != cudaErrorNotSupported) {
      TERRACE_LANE_TRY(error);
      return {};
    }
    (void)cudaGetLastError();
    batch_call_ = false;
  }
#endif
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    TERRACE_LANE_TRY(cudaMemcpyAsync(to_[i], from_[i], sizes_[i], cudaMemcpyDefault, batch.stream));
  }
  return {};
}

Status CopyLane::Collect(unsigned& ended) {
  while (in_flight_ > 0) {
    Batch& batch = First();
    cudaError_t error = cudaEventQuery(batch.copied);
    if (error == cudaSuccess && batch.hashes) error = cudaEventQuery(batch.hashed);
    if (error == cudaErrorNotReady) {
      (void)cudaGetLastError();
      break;
    }
    // What fails here failed on the device: nothing later of this context can be trusted.
    if (error != cudaSuccess) return CudaStatus(error, "cudaEventQuery");
    ended += static_cast<unsigned>(batch.copies.size());
    End(batch, batch.status);
    first_ = (first_ + 1) % kBatches;
    --in_flight_;
  }
  return {};
}

void CopyLane::End(Batch& batch, const Status& status) {
  const std::uint64_t* checksums = batch.checksums;
  for (DeviceCopy* copy : batch.copies) {
    std::copy_n(checksums, copy->checksums.size(), copy->checksums.begin());
    checksums += copy->checksums.size();
    copy->status = status;
    Scheduler::Current().Ready(copy->waiter);
  }
  batch.copies.clear();
}

Status CopyLane::RingAtEnd(cudaHostFn_t ring, void* context) {
  for (std::size_t i = 0; i < in_flight_; ++i) {
    Batch& batch = batches_[(first_ + i) % kBatches];
    if (batch.rings) continue;
    batch.rings = true;
    TERRACE_LANE_TRY(cudaStreamWaitEvent(rings_, batch.copied, 0));
    if (batch.hashes) TERRACE_LANE_TRY(cudaStreamWaitEvent(rings_, batch.hashed, 0));
    TERRACE_LANE_TRY(cudaLaunchHostFunc(rings_, ring, context));
  }
  return {};
}

void CopyLane::FailAll(const Status& status) {
  for (; in_flight_ > 0; --in_flight_) {
    End(First(), status);
    first_ = (first_ + 1) % kBatches;
  }
  for (DeviceCopy* copy : waiting_) {
    copy->status = status;
    Scheduler::Current().Ready(copy->waiter);
  }
  waiting_.clear();
}

}  // namespace terrace
