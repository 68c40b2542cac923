#include "client/cuda/transfer_lane.h"

#include <algorithm>

#include "base/cuda_status.h"

namespace terrace::paged {
namespace {

// Frames with less than this in one stretch are moved by a kernel: the copy engines take longer for
// many small copies, even in batches.
constexpr std::uint64_t kStagedStretchBytes = 128 << 10;
// Of a kernel that goes over PCIe. 128 KiB saturate the bus. More would only queue there, and what
// the GPU's front end reads from the host for the engine's kernels would queue behind it: with 512
// KiB under way, a kernel began 0.1 ms after the one before it had ended.
constexpr CopyGrid kBusGrid{32, 128 << 10};
// Of one that stays on the device.
constexpr CopyGrid kDeviceGrid{4096, 0};
// Of a staged frame, so that every vector of it is aligned.
constexpr std::size_t kStagedAlignment = 256;

}  // namespace

Result<std::unique_ptr<TransferLane>> TransferLane::Make(MoveWay way, std::size_t staging_bytes,
                                                         std::uint32_t block_pages) {
  std::unique_ptr<TransferLane> lane(new TransferLane(way, staging_bytes));
  if (Status status = lane->Prepare(); !status.ok()) {
    return status;
  }
  lane->pages_.reserve(kMaxMoveBlocks * block_pages);
  return lane;
}

Status TransferLane::Prepare() {
  int least = 0;
  int greatest = 0;
  TERRACE_CUDA_TRY(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  // Small kernels that others wait for: ahead of the engine's large ones.
  TERRACE_CUDA_TRY(cudaStreamCreateWithPriority(&kernels_, cudaStreamNonBlocking, greatest));
  TERRACE_CUDA_TRY(cudaStreamCreateWithPriority(&copies_, cudaStreamNonBlocking, greatest));
  for (cudaStream_t& stream : direct_) {
    TERRACE_CUDA_TRY(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest));
  }
  for (Buffer& buffer : buffers_) {
    TERRACE_CUDA_TRY(cudaEventCreateWithFlags(&buffer.filled, cudaEventDisableTiming));
    TERRACE_CUDA_TRY(cudaEventCreateWithFlags(&buffer.drained, cudaEventDisableTiming));
    TERRACE_CUDA_TRY(AllocateDevice(buffer.memory, staging_bytes_));
  }
  frames_.reserve(kMaxMoveBlocks);
  from_.reserve(kMaxMoveBlocks);
  to_.reserve(kMaxMoveBlocks);
  sizes_.reserve(kMaxMoveBlocks);
  return {};
}

TransferLane::~TransferLane() {
  Synchronize();
  for (Buffer& buffer : buffers_) {
    if (buffer.filled != nullptr) (void)cudaEventDestroy(buffer.filled);
    if (buffer.drained != nullptr) (void)cudaEventDestroy(buffer.drained);
    (void)cudaFree(buffer.memory);
  }
  for (cudaStream_t stream : {kernels_, copies_, direct_[0], direct_[1]}) {
    if (stream != nullptr) (void)cudaStreamDestroy(stream);
  }
}

void TransferLane::Synchronize() noexcept {
  for (cudaStream_t stream : {kernels_, copies_, direct_[0], direct_[1]}) {
    if (stream != nullptr) (void)cudaStreamSynchronize(stream);
  }
}

Status TransferLane::Queue(const LaneMove& move, std::uint32_t& thread_blocks) {
  const std::size_t stride =
      (move.work.frame_bytes + kStagedAlignment - 1) / kStagedAlignment * kStagedAlignment;
  const bool staged = !move.on_device && move.work.walk.layers == 1 && stride <= staging_bytes_ &&
                      move.work.frame_bytes >= kStagedStretchBytes;
  pages_.clear();
  for (const BlockMove& block : move.blocks) {
    pages_.insert(pages_.end(), block.pages, block.pages + move.work.block_pages);
  }
  return staged ? QueueStaged(move, stride) : QueueDirect(move, thread_blocks);
}

Status TransferLane::QueueDirect(const LaneMove& move, std::uint32_t& thread_blocks) {
  cudaStream_t stream = direct_[next_direct_];
  next_direct_ = (next_direct_ + 1) % 2;
  if (move.after != nullptr) {
    TERRACE_CUDA_TRY(cudaStreamWaitEvent(stream, move.after, 0));
  }
  frames_.clear();
  std::uint64_t bits = 0;
  for (const BlockMove& block : move.blocks) {
    frames_.push_back(reinterpret_cast<std::uint64_t>(block.frame));
    bits |= frames_.back();
  }
  const BlockList list{frames_.data(), pages_.data(), move.work.block_pages,
                       static_cast<std::uint32_t>(frames_.size())};
  // One that walks keeps its thread blocks until its last layer: few.
  const CopyGrid& grid = move.on_device && move.work.walk.layers == 1 ? kDeviceGrid : kBusGrid;
  TERRACE_CUDA_TRY(
      LaunchPages(move.work, list, AlignmentOfBits(bits), way_, grid, stream, thread_blocks));
  TERRACE_CUDA_TRY(cudaEventRecord(move.end, stream));
  return {};
}

Status TransferLane::QueueStaged(const LaneMove& move, std::size_t stride) {
  if (move.after != nullptr) {
    TERRACE_CUDA_TRY(cudaStreamWaitEvent(kernels_, move.after, 0));
  }
  const std::size_t chunk = staging_bytes_ / stride;
  for (std::size_t first = 0; first < move.blocks.size(); first += chunk) {
    const std::size_t count = std::min(chunk, move.blocks.size() - first);
    Buffer& buffer = buffers_[next_buffer_];
    next_buffer_ = (next_buffer_ + 1) % kBuffers;
    Status status = way_ == MoveWay::kGather
                        ? QueueGatherChunk(move, first, count, stride, buffer)
                        : QueueScatterChunk(move, first, count, stride, buffer);
    if (!status.ok()) {
      return status;
    }
  }
  TERRACE_CUDA_TRY(cudaEventRecord(move.end, way_ == MoveWay::kGather ? copies_ : kernels_));
  return {};
}

Status TransferLane::QueueGatherChunk(const LaneMove& move, std::size_t first, std::size_t count,
                                      std::size_t stride, Buffer& buffer) {
  TERRACE_CUDA_TRY(cudaStreamWaitEvent(kernels_, buffer.drained, 0));
  if (Status status = LaunchOnBuffer(move, first, count, stride, buffer); !status.ok()) {
    return status;
  }
  TERRACE_CUDA_TRY(cudaEventRecord(buffer.filled, kernels_));
  TERRACE_CUDA_TRY(cudaStreamWaitEvent(copies_, buffer.filled, 0));
  if (Status status = CopyFrames(move, first, count, stride, buffer); !status.ok()) {
    return status;
  }
  TERRACE_CUDA_TRY(cudaEventRecord(buffer.drained, copies_));
  return {};
}

Status TransferLane::QueueScatterChunk(const LaneMove& move, std::size_t first, std::size_t count,
                                       std::size_t stride, Buffer& buffer) {
  TERRACE_CUDA_TRY(cudaStreamWaitEvent(copies_, buffer.drained, 0));
  if (Status status = CopyFrames(move, first, count, stride, buffer); !status.ok()) {
    return status;
  }
  TERRACE_CUDA_TRY(cudaEventRecord(buffer.filled, copies_));
  TERRACE_CUDA_TRY(cudaStreamWaitEvent(kernels_, buffer.filled, 0));
  if (Status status = LaunchOnBuffer(move, first, count, stride, buffer); !status.ok()) {
    return status;
  }
  TERRACE_CUDA_TRY(cudaEventRecord(buffer.drained, kernels_));
  return {};
}

Status TransferLane::LaunchOnBuffer(const LaneMove& move, std::size_t first, std::size_t count,
                                    std::size_t stride, const Buffer& buffer) {
  frames_.clear();
  for (std::size_t i = 0; i < count; ++i) {
    frames_.push_back(reinterpret_cast<std::uint64_t>(buffer.memory + i * stride));
  }
  const BlockList list{frames_.data(), pages_.data() + first * move.work.block_pages,
                       move.work.block_pages, static_cast<std::uint32_t>(count)};
  std::uint32_t thread_blocks = 0;  // nobody counts them: the move has no walk
  TERRACE_CUDA_TRY(LaunchPages(move.work, list, 16, way_, kDeviceGrid, kernels_, thread_blocks));
  return {};
}

// Between the frames of blocks [first, first + count) and a buffer, as one batch. Frames that lie
// one behind the other, as their staged copies do, become one copy.
Status TransferLane::CopyFrames(const LaneMove& move, std::size_t first, std::size_t count,
                                std::size_t stride, const Buffer& buffer) {
  from_.clear();
  to_.clear();
  sizes_.clear();
  const std::uint64_t bytes = move.work.frame_bytes;
  const bool gather = way_ == MoveWay::kGather;
  const std::byte* last_end = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    std::byte* frame = move.blocks[first + i].frame;
    std::byte* staged = buffer.memory + i * stride;
    if (frame == last_end && stride == bytes) {
      sizes_.back() += bytes;
    } else {
      from_.push_back(gather ? staged : frame);
      to_.push_back(gather ? frame : staged);
      sizes_.push_back(bytes);
    }
    last_end = frame + bytes;
  }
#if CUDART_VERSION >= 13000
  if (batches_) {
    cudaMemcpyAttributes attributes{};
    attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
    std::size_t index = 0;
    const cudaError_t error = cudaMemcpyBatchAsync(to_.data(), from_.data(), sizes_.data(),
                                                   sizes_.size(), &attributes, &index, 1, copies_);
    if (error == cudaSuccess) {
      return {};
    }
    if (error != cudaErrorCallRequiresNewerDriver && error != cudaErrorNotSupported) {
      return CudaStatus(error, "cudaMemcpyBatchAsync");
    }
    (void)cudaGetLastError();
    batches_ = false;
  }
#endif
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    TERRACE_CUDA_TRY(cudaMemcpyAsync(to_[i], from_[i], sizes_[i], cudaMemcpyDefault, copies_));
  }
  return {};
}

}  // namespace terrace::paged
