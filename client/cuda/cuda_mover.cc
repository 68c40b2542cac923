#include "client/cuda/cuda_mover.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/cuda_driver.h"
#include "base/cuda_memory.h"
#include "base/cuda_status.h"
#include "client/paged/make_map.h"

namespace terrace::paged {
namespace {

// Points that are taken and not used up yet.
constexpr std::uint32_t kPoints = 64;
constexpr std::uint64_t kGpuPage = 2 << 20;  // bytes

std::uint64_t IdOf(std::uint32_t use, std::size_t index) noexcept {
  return (std::uint64_t{use} << 32) | (index + 1);
}

// An event of such a stream cannot be waited for outside of its graph, and trying ends the capture.
bool IsCaptured(cudaStream_t stream) noexcept {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream, &status) != cudaSuccess) {
    (void)cudaGetLastError();
    return true;  // the default stream, while one that it waits for is captured
  }
  return status != cudaStreamCaptureStatusNone;
}

// Wakes who waits for moves; on a thread of the driver, which may call nothing of CUDA.
void CUDART_CB TellEnd(void* fd) noexcept {
  const std::uint64_t one = 1;
  (void)!write(*static_cast<const int*>(fd), &one, sizeof(one));
}

std::uint64_t AddressBits(std::span<void* const> addresses) noexcept {
  std::uint64_t bits = 0;
  for (const void* address : addresses) {
    bits |= reinterpret_cast<std::uint64_t>(address);
  }
  return bits;
}

// The power of two that divides every address and stride of a move.
std::uint32_t AlignmentOf(const PageMap& map, std::span<void* const> bases) noexcept {
  std::uint64_t bits = map.unit_bytes | AddressBits(bases);
  for (std::uint32_t i = 0; i < map.dims; ++i) {
    const PageDim& dim = map.dim[i];
    if (dim.count.divisor > 1 || dim.kind == DimKind::kPage) {
      bits |= static_cast<std::uint64_t>(dim.paged_stride);
    }
    if (dim.count.divisor > 1) {
      bits |= dim.stored_stride;
    }
  }
  return AlignmentOfBits(bits);
}

// The same of a quantised cache: of its side of the moves.
std::uint32_t AlignmentOf(const QuantMap& map, std::span<void* const> bases) noexcept {
  return AlignmentOfBits(AddressBits(bases) | static_cast<std::uint64_t>(map.part_stride) |
                         static_cast<std::uint64_t>(map.page_stride) |
                         static_cast<std::uint64_t>(map.token_stride) |
                         static_cast<std::uint64_t>(map.head_stride));
}

}  // namespace

Result<bool> IsGpuMemory(std::span<void* const> bases) {
  for (const void* base : bases) {
    const Result<int> device = DeviceOfMemory(base);
    if (device.ok()) {
      return true;
    }
    if (device.code() != StatusCode::kInvalid) {
      return device.status();
    }
  }
  return false;
}

Result<std::unique_ptr<CudaMover>> CudaMover::Make(const CacheLayout& cache,
                                                   const StoredLayout& stored,
                                                   std::span<void* const> bases,
                                                   const CudaMoverOptions& options) {
  if (Status status = ValidateStored(cache, stored); !status.ok()) {
    return status;
  }
  if (Status status = ValidateBases(cache, bases); !status.ok()) {
    return status;
  }
  if (const std::uint32_t pages = stored.block_tokens / cache.page_tokens; pages > kMaxBlockPages) {
    return Status::Invalid("stored.block_tokens: blocks of " + std::to_string(pages) +
                           " pages, at most " + std::to_string(kMaxBlockPages) + " on a GPU");
  }
  if (options.moves == 0 || options.moves > 1024) {
    return Status::Invalid("options.moves is " + std::to_string(options.moves) + ", 1 to 1024");
  }
  std::unique_ptr<CudaMover> mover(new CudaMover(cache, stored, options));
  if (Status status = mover->Prepare(bases); !status.ok()) {
    return status;
  }
  return mover;
}

Status CudaMover::Prepare(std::span<void* const> bases) {
  int devices = 0;
  TERRACE_CUDA_TRY(cudaGetDeviceCount(&devices));
  for (std::size_t i = 0; i < bases.size(); ++i) {
    const Result<int> device = DeviceOfMemory(bases[i]);
    if (!device.ok()) {
      return Status(device.code(),
                    "layers[" + std::to_string(i) + "]: " + device.status().message());
    }
    if (i > 0 && *device != device_) {
      return Status::Invalid("layers[" + std::to_string(i) + "] is on device " +
                             std::to_string(*device) + ", layers[0] on device " +
                             std::to_string(device_));
    }
    device_ = *device;
    bases_.push_back(bases[i]);
  }
  block_pages_ = stored_.block_tokens / cache_.page_tokens;
  const OnCudaDevice here(device_);
  if (!here.status().ok()) {
    return here.status();
  }
  cudaDeviceProp properties;
  TERRACE_CUDA_TRY(cudaGetDeviceProperties(&properties, device_));
  gpu_ = GpuUuidText(properties.uuid);
  event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd_ < 0) {
    return {StatusCode::kRetry, "eventfd: the process has no file descriptors left"};
  }
  const std::vector<std::uint64_t> table = LayerTable(bases, {});
  const std::size_t bases_bytes = table.size() * sizeof(std::uint64_t);
  TERRACE_CUDA_TRY(AllocateDevice(bases_device_, bases_bytes));
  TERRACE_CUDA_TRY(cudaMemcpy(bases_device_, table.data(), bases_bytes, cudaMemcpyHostToDevice));
  for (const MoveWay way : {MoveWay::kGather, MoveWay::kScatter}) {
    auto lane = TransferLane::Make(way, options_.staging_bytes, block_pages_);
    if (!lane.ok()) {
      return lane.status();
    }
    lanes_[static_cast<std::size_t>(way)] = std::move(lane).value();
    TERRACE_CUDA_TRY(
        cudaStreamCreateWithFlags(&notify_[static_cast<std::size_t>(way)], cudaStreamNonBlocking));
  }
  moves_.resize(options_.moves);
  for (Slot& slot : moves_) {
    const std::size_t bytes = cache_.layers * sizeof(std::uint32_t);
    TERRACE_CUDA_TRY(AllocateDevice(slot.counters, bytes));
    TERRACE_CUDA_TRY(cudaMemset(slot.counters, 0, bytes));
    slot.reached.resize(cache_.layers);
  }
  points_.resize(kPoints);
  for (std::vector<Slot>* slots : {&moves_, &points_}) {
    for (Slot& slot : *slots) {
      TERRACE_CUDA_TRY(cudaEventCreateWithFlags(&slot.event, cudaEventDisableTiming));
    }
  }
  return {};
}

CudaMover::~CudaMover() {
  if (device_ >= 0) {
    EndOnDevice();
  }
  if (event_fd_ >= 0) {
    close(event_fd_);
  }
}

void CudaMover::EndOnDevice() {
  const OnCudaDevice here(device_);
  for (auto& lane : lanes_) {
    lane.reset();  // waits for its work
  }
  for (cudaStream_t stream : notify_) {
    if (stream != nullptr) {
      (void)cudaStreamSynchronize(stream);
      (void)cudaStreamDestroy(stream);
    }
  }
  for (const std::vector<Slot>* slots : {&moves_, &points_}) {
    for (const Slot& slot : *slots) {
      if (slot.event != nullptr) (void)cudaEventDestroy(slot.event);
      (void)cudaFree(slot.counters);
    }
  }
  (void)cudaFree(bases_device_);
}

Status CudaMover::RegisterFrames(std::span<std::byte> memory, bool read_only) {
  const OnCudaDevice here(device_);
  if (!here.status().ok()) {
    return here.status();
  }
  if (read_only) {
    int supported = 0;
    TERRACE_CUDA_TRY(
        cudaDeviceGetAttribute(&supported, cudaDevAttrHostRegisterReadOnlySupported, device_));
    if (supported == 0) {
      return {StatusCode::kUnsupported, "this GPU cannot read memory that is mapped read-only"};
    }
  }
  const unsigned flags = cudaHostRegisterPortable | (read_only ? cudaHostRegisterReadOnly : 0U);
  TERRACE_CUDA_TRY(cudaHostRegister(memory.data(), memory.size(), flags));
  void* on_device = nullptr;
  const cudaError_t error = cudaHostGetDevicePointer(&on_device, memory.data(), 0);
  if (error != cudaSuccess || on_device != memory.data()) {
    (void)cudaHostUnregister(memory.data());
    if (error != cudaSuccess) {
      return CudaStatus(error, "cudaHostGetDevicePointer");
    }
    return {StatusCode::kUnsupported, "the GPU sees host memory under other addresses"};
  }
  return {};
}

void CudaMover::DeregisterFrames(std::span<std::byte> memory) {
  const OnCudaDevice here(device_);
  if (cudaHostUnregister(memory.data()) != cudaSuccess) {
    (void)cudaGetLastError();
  }
}

Result<std::span<std::byte>> CudaMover::AllocateDeviceFrames(std::uint64_t bytes) {
  const OnCudaDevice here(device_);
  if (!here.status().ok()) {
    return here.status();
  }
  std::byte* memory = nullptr;
  // Of cudaMalloc: other memory cannot be mapped elsewhere. Whole pages of the GPU: of a part of
  // one whoever maps it is given all (CUDA programming guide, interprocess communication).
  TERRACE_CUDA_TRY(AllocateDevice(memory, (bytes + kGpuPage - 1) / kGpuPage * kGpuPage));
  return std::span(memory, bytes);
}

void CudaMover::FreeDeviceFrames(std::span<std::byte> memory) {
  const OnCudaDevice here(device_);
  (void)cudaFree(memory.data());
}

Result<StreamPoint> CudaMover::Mark(void* stream) {
  const OnCudaDevice here(device_);
  if (!here.status().ok()) {
    return here.status();
  }
  if (IsCaptured(static_cast<cudaStream_t>(stream))) {
    return Status::Invalid("stream is being captured into a graph: its work is queued later");
  }
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < points_.size(); ++i) {
    Slot& point = points_[i];
    if (!point.busy) {
      TERRACE_CUDA_TRY(cudaEventRecord(point.event, static_cast<cudaStream_t>(stream)));
      point.busy = true;
      ++point.use;
      return StreamPoint{IdOf(point.use, i)};
    }
  }
  return Status(StatusCode::kRetry,
                std::to_string(points_.size()) + " points of streams are taken and not used");
}

void CudaMover::Forget(StreamPoint point) {
  const std::lock_guard lock(mutex_);
  if (Slot* slot = SlotOf(points_, point.value); slot != nullptr) {
    slot->busy = false;
  }
}

CudaMover::Slot* CudaMover::SlotOf(std::vector<Slot>& slots, std::uint64_t id) {
  const std::size_t index = (id & 0xffffffffU) - 1;
  if (index >= slots.size() || !slots[index].busy || IdOf(slots[index].use, index) != id) {
    return nullptr;
  }
  return &slots[index];
}

Status CudaMover::CheckRequest(const MoveRequest& request) const {
  if (request.blocks.empty() || request.blocks.size() > kMaxMoveBlocks) {
    return Status::Invalid("blocks has " + std::to_string(request.blocks.size()) +
                           " entries, 1 to " + std::to_string(kMaxMoveBlocks));
  }
  if (request.layers == 0) {
    return Status::Invalid("layers is 0");
  }
  if (Status status = ValidateLayers(cache_, {request.first_layer, request.layers}); !status.ok()) {
    return status;
  }
  for (std::size_t i = 0; i < request.blocks.size(); ++i) {
    for (std::uint32_t page = 0; page < block_pages_; ++page) {
      if (const std::uint32_t number = request.blocks[i].pages[page]; number >= cache_.pages) {
        return Status::Invalid("blocks[" + std::to_string(i) + "].pages[" + std::to_string(page) +
                               "] is " + std::to_string(number) + " of " +
                               std::to_string(cache_.pages));
      }
    }
  }
  return {};
}

PageWork CudaMover::WorkOf(const MoveRequest& request) const {
  const LayerSpan all{request.first_layer, request.layers};
  const bool walks = request.layer_by_layer && request.layers > 1;
  const LayerSpan layers = walks ? LayerSpan{request.first_layer, 1} : all;
  PageWork work;
  if (walks) {
    work.walk = {request.layers, FrameBytes(cache_, stored_, layers), nullptr};
  }
  work.layer_bases = bases_device_ + request.first_layer;
  work.block_pages = block_pages_;
  work.frame_bytes = FrameBytes(cache_, stored_, all);
  work.quantised = stored_.type != StoredType::kLossless;
  const std::uint32_t stretch_alignment = AlignmentOfBits(work.walk.frame_stretch);
  if (work.quantised) {
    work.quant = BuildQuantMap(cache_, stored_, layers);
    work.alignment = std::min(AlignmentOf(work.quant, bases_), stretch_alignment);
  } else {
    work.copy = BuildPageMap(cache_, stored_, bases_, layers);
    work.alignment = std::min(AlignmentOf(work.copy, bases_), stretch_alignment);
  }
  return work;
}

Result<MoveId> CudaMover::Start(const MoveRequest& request) {
  const OnCudaDevice here(device_);
  if (!here.status().ok()) {
    return here.status();
  }
  const std::lock_guard lock(mutex_);
  Slot* after = nullptr;
  if (request.after.value != 0) {
    after = SlotOf(points_, request.after.value);
    if (after == nullptr) {
      return Status::Invalid("after is no point of this mover, or was used before");
    }
  }
  const auto free =
      std::find_if(moves_.begin(), moves_.end(), [](const Slot& s) { return !s.busy; });
  if (free == moves_.end()) {
    return Status(StatusCode::kRetry, std::to_string(moves_.size()) + " moves are under way");
  }
  if (after != nullptr) {
    after->busy = false;  // whatever becomes of the move; the streams keep what they were told
  }
  if (Status status = CheckRequest(request); !status.ok()) {
    return status;
  }
  if (Status status = Queue(request, WorkOf(request), after, *free); !status.ok()) {
    return status;
  }
  free->busy = true;
  ++free->use;
  return MoveId{IdOf(free->use, static_cast<std::size_t>(free - moves_.begin()))};
}

Status CudaMover::Queue(const MoveRequest& request, PageWork work, const Slot* after, Slot& slot) {
  TransferLane& lane = *lanes_[static_cast<std::size_t>(request.way)];
  cudaStream_t notify = notify_[static_cast<std::size_t>(request.way)];
  slot.layers = work.walk.layers > 1 ? work.walk.layers : 0;
  work.walk.counters = slot.layers == 0 ? nullptr : slot.counters;
  LaneMove move;
  move.work = work;
  move.blocks = request.blocks;
  move.on_device = request.frames_on_device;
  move.after = after == nullptr ? nullptr : after->event;
  move.end = slot.event;
  std::uint32_t thread_blocks = 0;
  Status status = lane.Queue(move, thread_blocks);
  for (std::uint32_t layer = 0; layer < slot.layers; ++layer) {
    slot.reached[layer] += thread_blocks;
  }
  if (status.ok()) {
    status = CudaStatus(cudaStreamWaitEvent(notify, slot.event, 0), "cudaStreamWaitEvent");
  }
  if (status.ok()) {
    status = CudaStatus(cudaLaunchHostFunc(notify, TellEnd, &event_fd_), "cudaLaunchHostFunc");
  }
  if (!status.ok()) {
    lane.Synchronize();  // what was queued must not touch pages and frames after the answer
  }
  return status;
}

Status CudaMover::Done(MoveId move) {
  const OnCudaDevice here(device_);
  if (!here.status().ok()) {
    return here.status();
  }
  const std::lock_guard lock(mutex_);
  Slot* slot = SlotOf(moves_, move.value);
  if (slot == nullptr) {
    return Status::Invalid("move is none of this mover, or has ended before");
  }
  const cudaError_t error = cudaEventQuery(slot->event);
  // What does not say that the GPU has ended: the engine may be capturing a graph just now.
  if (error == cudaErrorNotReady || error == cudaErrorStreamCaptureUnsupported ||
      error == cudaErrorStreamCaptureInvalidated) {
    (void)cudaGetLastError();
    return Status(StatusCode::kRetry);
  }
  slot->busy = false;
  return CudaStatus(error, "cudaEventQuery");
}

Status CudaMover::OrderBehind(void* stream, MoveId move, std::uint32_t layers) {
  const OnCudaDevice here(device_);
  if (!here.status().ok()) {
    return here.status();
  }
  const std::lock_guard lock(mutex_);
  const Slot* slot = SlotOf(moves_, move.value);
  if (slot == nullptr) {
    return Status::Invalid("move is none of this mover, or has ended before");
  }
  if (layers > cache_.layers || (slot->layers != 0 && layers > slot->layers)) {
    return Status::Invalid("layers is " + std::to_string(layers) + ", the move has " +
                           std::to_string(slot->layers));
  }
  if (layers == 0 || slot->layers == 0) {
    TERRACE_CUDA_TRY(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), slot->event, 0));
    return {};
  }
  TERRACE_CUDA_TRY(LaunchLayerWait(slot->counters + layers - 1, slot->reached[layers - 1],
                                   static_cast<cudaStream_t>(stream)));
  return {};
}

}  // namespace terrace::paged
