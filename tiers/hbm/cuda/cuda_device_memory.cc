#include "tiers/hbm/cuda/cuda_device_memory.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/checksum.h"
#include "base/cuda_ipc_mappings.h"
#include "base/cuda_memory.h"
#include "tiers/hbm/gpu.h"

namespace terrace {
namespace {

std::string Describe(cudaError_t error) {
  return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}

/// What a call answers without the device being the worse for it.
bool IsPassing(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
    case cudaErrorInvalidValue:
    case cudaErrorNotSupported:
    case cudaErrorOperatingSystem:
    case cudaErrorHostMemoryAlreadyRegistered:
    case cudaErrorHostMemoryNotRegistered:
    case cudaErrorCallRequiresNewerDriver: return true;
    default: return false;
  }
}

StatusCode CodeOf(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation: return StatusCode::kRetry;
    case cudaErrorInvalidValue:
    case cudaErrorHostMemoryAlreadyRegistered:
    case cudaErrorHostMemoryNotRegistered: return StatusCode::kInvalid;
    case cudaErrorNotSupported:
    case cudaErrorCallRequiresNewerDriver: return StatusCode::kUnsupported;
    default: return StatusCode::kIo;
  }
}

/// Host memory that GPUs of this process have pinned, and how many of them.
struct HostPins {
  static HostPins& OfProcess() {
    static HostPins pins;
    return pins;
  }
  std::mutex mutex;
  std::map<const std::byte*, std::uint32_t> users;  // by first byte; under mutex
  std::set<int> devices;                            // that this process has opened; likewise
};

bool IsAligned(const std::byte* at) noexcept {
  return reinterpret_cast<std::uintptr_t>(at) % DevicePiece::kAlignment == 0;
}

cudaMemcpyKind KindOf(CopyDirection direction) {
  switch (direction) {
    case CopyDirection::kIn: return cudaMemcpyHostToDevice;
    case CopyDirection::kOut: return cudaMemcpyDeviceToHost;
    case CopyDirection::kWithin: break;
  }
  return cudaMemcpyDeviceToDevice;
}

}  // namespace

Result<int> CountGpus() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // or the next call would answer it again
    return Status(StatusCode::kUnsupported, "no GPU: " + Describe(error));
  }
  if (count == 0) return Status(StatusCode::kUnsupported, "no GPU: the driver shows none");
  return count;
}

namespace {

Status CheckIndex(int index) {
  const Result<int> count = CountGpus();
  if (!count.ok()) return count.status();
  if (index >= 0 && index < *count) return {};
  return Status::Invalid("there is no GPU " + std::to_string(index) + ": this machine shows " +
                         std::to_string(*count) + ", numbered from 0");
}

}  // namespace

Result<std::unique_ptr<DeviceMemory>> OpenGpu(int index) {
  if (Status wrong = CheckIndex(index); !wrong.ok()) return wrong;
  return CudaDeviceMemory::Open(index);
}

Result<std::string> GpuUuid(int index) {
  if (Status wrong = CheckIndex(index); !wrong.ok()) return wrong;
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return Status(CodeOf(error), "gpu " + std::to_string(index) + ": " + Describe(error));
  }
  return GpuUuidText(properties.uuid);
}

Result<std::unique_ptr<DeviceMemory>> CudaDeviceMemory::Open(int index) {
  std::unique_ptr<CudaDeviceMemory> device(new CudaDeviceMemory(index));
  if (Status failed = device->Start(); !failed.ok()) return failed;
  return std::unique_ptr<DeviceMemory>(std::move(device));
}

CudaDeviceMemory::CudaDeviceMemory(int index)
    : index_(index), name_("gpu " + std::to_string(index)) {}

Status CudaDeviceMemory::Start() {
  cudaDeviceProp properties;
  Status status = Note(cudaGetDeviceProperties(&properties, index_), "cudaGetDeviceProperties");
  if (status.ok()) {
    name_ += " (" + std::string(properties.name) + ")";
    uuid_ = GpuUuidText(properties.uuid);
  }
  if (status.ok()) status = Enter();
  if (status.ok()) {
    const std::lock_guard lock(HostPins::OfProcess().mutex);
    HostPins::OfProcess().devices.insert(index_);
  }
  int lowest = 0;
  int highest = 0;
  if (status.ok()) {
    status = Note(cudaDeviceGetStreamPriorityRange(&lowest, &highest),
                  "cudaDeviceGetStreamPriorityRange");
  }
  const auto make_stream = [&](cudaStream_t& stream, std::size_t urgency) {
    const bool demand = urgency == static_cast<std::size_t>(CopyUrgency::kDemand);
    if (!status.ok()) return;
    status = Note(
        cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, demand ? highest : lowest),
        "cudaStreamCreateWithPriority");
  };
  for (std::size_t i = 0; i < copy_streams_.size(); ++i) {
    make_stream(copy_streams_[i], i % kCopyUrgencies);
  }
  for (std::size_t i = 0; i < kernel_streams_.size(); ++i) {
    make_stream(kernel_streams_[i], i % kCopyUrgencies);
  }
  for (Slot& slot : slots_) {
    for (cudaEvent_t* event : {&slot.copied, &slot.summed}) {
      if (!status.ok()) break;
      status =
          Note(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    }
    if (status.ok()) {
      status = Note(cudaHostAlloc(reinterpret_cast<void**>(&slot.checksums),
                                  CopyBatch::kPiecesMax * sizeof(std::uint64_t), 0),
                    "cudaHostAlloc");
    }
  }
  return status.ok() ? TryKernels() : status;
}

Status CudaDeviceMemory::TryKernels() {
  constexpr std::size_t kScratch = 2 * kChecksumPieceBytes;
  void* scratch = nullptr;  // of the host: any memory that the GPU reaches
  Status status = Note(cudaHostAlloc(&scratch, kScratch, 0), "cudaHostAlloc");
  if (status.ok()) status = TryKernels({static_cast<std::byte*>(scratch), kScratch});
  static_cast<void>(cudaFreeHost(scratch));
  return status;
}

Status CudaDeviceMemory::TryKernels(std::span<std::byte> scratch) {
  const std::span<std::byte> from = scratch.first(scratch.size() / 2);
  const std::span<std::byte> to = scratch.subspan(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + i / 256);
  std::ranges::fill(to, std::byte{0});
  std::uint64_t* const sums = slots_[0].checksums;
  // A piece that ends in the middle of a row, and of a stripe: each part of the kernel has some of
  // it. And more pieces than the kernel for few takes.
  const std::vector<std::uint32_t> one = {static_cast<std::uint32_t>(from.size() - 4444)};
  const std::vector<std::uint32_t> many(100, 1040);
  for (const std::vector<std::uint32_t>& lengths : {one, many}) {
    for (const bool copies : {false, true}) {
      std::vector<KernelPiece> pieces;
      std::ranges::fill(to, std::byte{0});
      std::size_t end = 0;
      for (const std::uint32_t bytes : lengths) {
        pieces.push_back({.at = &from[end], .to = copies ? &to[end] : nullptr, .bytes = bytes});
        end += bytes;
      }
      std::fill_n(sums, pieces.size(), 0);
      Status status = Note(LaunchPieces(pieces, sums, kernel_streams_[0]), "launch of a kernel");
      if (status.ok()) status = Note(cudaStreamSynchronize(kernel_streams_[0]), "its kernel");
      if (!status.ok()) return status;
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        if (sums[i] == Checksum64({pieces[i].at, pieces[i].bytes})) continue;
        return {StatusCode::kCorrupt, name_ + ": computes other checksums than the host"};
      }
      if (!copies) continue;
      if (!std::ranges::equal(from.first(end), to.first(end)) || to[end] != std::byte{0}) {
        return {StatusCode::kCorrupt, name_ + ": its kernel copies other bytes than it is told to"};
      }
    }
  }
  return {};
}

CudaDeviceMemory::~CudaDeviceMemory() {
  // What fails here has failed before: the device is lost, and all of its memory with it.
  if (cudaSetDevice(index_) != cudaSuccess) return;
  static_cast<void>(cudaDeviceSynchronize());
  for (const Slot& slot : slots_) {
    if (slot.copied != nullptr) static_cast<void>(cudaEventDestroy(slot.copied));
    if (slot.summed != nullptr) static_cast<void>(cudaEventDestroy(slot.summed));
    static_cast<void>(cudaFreeHost(slot.checksums));
  }
  for (const cudaStream_t stream : copy_streams_) {
    if (stream != nullptr) static_cast<void>(cudaStreamDestroy(stream));
  }
  for (const cudaStream_t stream : kernel_streams_) {
    if (stream != nullptr) static_cast<void>(cudaStreamDestroy(stream));
  }
}

Status CudaDeviceMemory::StatusOf(cudaError_t error, std::string_view call) const {
  if (error == cudaSuccess) return {};
  static_cast<void>(cudaGetLastError());  // of what passes, the runtime keeps a copy
  return {CodeOf(error), name_ + ": " + std::string(call) + ": " + Describe(error)};
}

Status CudaDeviceMemory::Note(cudaError_t error, std::string_view call) {
  Status status = StatusOf(error, call);
  if (!status.ok() && !IsPassing(error) && health_.ok()) health_ = status;
  return status;
}

Status CudaDeviceMemory::Enter() {
  if (!health_.ok()) return health_;
  return Note(cudaSetDevice(index_), "cudaSetDevice");
}

Result<DeviceSpace> CudaDeviceMemory::Space() {
  if (Status failed = Enter(); !failed.ok()) return failed;
  std::size_t free = 0;
  std::size_t total = 0;
  if (Status failed = Note(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"); !failed.ok()) {
    return failed;
  }
  return DeviceSpace{.total_bytes = total, .free_bytes = free};
}

Result<std::byte*> CudaDeviceMemory::Allocate(std::uint64_t bytes) {
  if (Status failed = Enter(); !failed.ok()) return failed;
  void* memory = nullptr;
  const Status status =
      Note(cudaMalloc(&memory, bytes), "cudaMalloc of " + std::to_string(bytes) + " bytes");
  if (!status.ok()) return status;
  return static_cast<std::byte*>(memory);
}

Status CudaDeviceMemory::Free(std::byte* memory) {
  if (Status failed = Enter(); !failed.ok()) return failed;
  return Note(cudaFree(memory), "cudaFree");
}

// By a thread of its own; as below.
Result<std::byte*> CudaDeviceMemory::Renew(std::byte* old, std::uint64_t bytes) {
  const OnCudaDevice on_device(index_);
  Status status = on_device.status();
  if (status.ok() && old != nullptr) status = StatusOf(cudaFree(old), "cudaFree");
  if (!status.ok()) return Status(StatusCode::kIo, name_ + ": " + status.message());
  void* memory = nullptr;
  status =
      StatusOf(cudaMalloc(&memory, bytes), "cudaMalloc of " + std::to_string(bytes) + " bytes");
  if (!status.ok()) return status;
  // What another allocation of this process left there is not shown to anybody.
  status = StatusOf(cudaMemset(memory, 0, bytes), "cudaMemset");
  if (status.ok()) status = StatusOf(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  if (status.ok()) return static_cast<std::byte*>(memory);
  static_cast<void>(StatusOf(cudaFree(memory), "cudaFree"));
  return Status(StatusCode::kIo, status.message());
}

// What is sticky here is found by the next Poll, too: health() is another thread's.
Status CudaDeviceMemory::PinHost(std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  if (memory.empty()) return Status::Invalid(name_ + ": no memory to pin");
  if (pinned_.contains(memory.data())) {
    return Status::Invalid(name_ + ": this memory is pinned already");
  }
  Status status = StatusOf(cudaSetDevice(index_), "cudaSetDevice");
  if (!status.ok()) return status;
  HostPins& pins = HostPins::OfProcess();
  const std::lock_guard pins_lock(pins.mutex);
  std::uint32_t& users = pins.users[memory.data()];
  if (users == 0) {
    // Portable: pinned for every GPU of the process; registered twice it would be an error.
    status = StatusOf(cudaHostRegister(memory.data(), memory.size(), cudaHostRegisterPortable),
                      "cudaHostRegister of " + std::to_string(memory.size()) + " bytes");
  }
  if (status.ok()) {
    ++users;
    pinned_.insert(memory.data());
  } else {
    pins.users.erase(memory.data());
  }
  return status;
}

Status CudaDeviceMemory::UnpinHost(std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  if (pinned_.erase(memory.data()) == 0) {
    return Status::Invalid(name_ + ": this memory is not pinned");
  }
  HostPins& pins = HostPins::OfProcess();
  const std::lock_guard pins_lock(pins.mutex);
  if (--pins.users[memory.data()] > 0) return {};
  pins.users.erase(memory.data());
  Status status = Unregister(index_, memory.data());
  // By another GPU where this one is lost: to those that go on it would stay registered.
  for (const int other : pins.devices) {
    if (!status.ok() && other != index_ && Unregister(other, memory.data()).ok()) status = {};
  }
  return status;
}

Status CudaDeviceMemory::Unregister(int index, std::byte* memory) const {
  const OnCudaDevice on_device(index);
  if (!on_device.status().ok()) {
    return {on_device.status().code(), name_ + ": " + on_device.status().message()};
  }
  return StatusOf(cudaHostUnregister(memory), "cudaHostUnregister");
}

Result<DeviceExport> CudaDeviceMemory::Export(std::span<const std::byte> memory) {
  // Any thread: what is kept of errors is not touched.
  if (const Result<int> owner = DeviceOfMemory(memory.data());
      owner.code() == StatusCode::kInvalid) {
    return Status::Invalid(name_ + ": base: " + owner.status().message());
  }
  Result<DeviceExport> exported = ExportCudaMemory(memory, index_, uuid_);
  if (exported.ok()) return exported;
  return Status(exported.code(), name_ + ": " + exported.status().message());
}

Result<std::span<std::byte>> CudaDeviceMemory::OpenExport(const DeviceExport& exported) {
  Status status = CheckDeviceExport(exported);
  if (status.ok() && exported.gpu != uuid_) {
    status = Status::Invalid("gpu " + exported.gpu + " is another than " + uuid_);
  }
  if (status.ok()) {
    Result<std::span<std::byte>> opened = CudaIpcMappings::OfProcess().Open(index_, exported);
    if (opened.ok()) return opened;
    status = opened.status();
  }
  return Status(status.code(), name_ + ": " + status.message());
}

void CudaDeviceMemory::CloseExport(std::span<std::byte> memory) {
  CudaIpcMappings::OfProcess().Close(index_, memory);
}

Result<std::size_t> CudaDeviceMemory::Submit(const CopyBatch& batch) {
  TERRACE_CHECK(batch.copies.size() <= CopyBatch::kCopiesMax &&
                batch.pieces.size() <= CopyBatch::kPiecesMax);
  if (Status failed = Enter(); !failed.ok()) return failed;
  const auto slot = std::ranges::find(slots_, false, &Slot::used);
  if (slot == slots_.end()) {
    return Status(StatusCode::kRetry, name_ + ": too many batches in flight");
  }
  slot->used = true;
  slot->sums = false;
  // A failure half way leaves copies queued, which Poll waits for.
  slot->failed = StartBatch(*slot, batch);
  return static_cast<std::size_t>(slot - slots_.begin());
}

Status CudaDeviceMemory::StartBatch(Slot& slot, const CopyBatch& batch) {
  const auto direction = static_cast<std::size_t>(batch.direction);
  const auto urgency = static_cast<std::size_t>(batch.urgency);
  Pieces pieces;
  const std::size_t copied = PlanOneKernel(batch, pieces);
  const bool one_kernel = copied > 0;
  const cudaStream_t copies = one_kernel ? NextKernelStream(batch.urgency)
                                         : copy_streams_[direction * kCopyUrgencies + urgency];
  Status status = one_kernel
                      ? Note(LaunchPieces(std::span(pieces).first(copied), slot.checksums, copies),
                             "launch of the copies")
                      : QueueCopies(batch, copies);
  // Recorded whatever happened: it stands for what was queued.
  const Status recorded = Note(cudaEventRecord(slot.copied, copies), "cudaEventRecord");
  if (status.ok()) status = recorded;
  if (status.ok() && !one_kernel && !batch.pieces.empty()) {
    status = QueueSums(slot, batch, NextKernelStream(batch.urgency));
  }
  return status;
}

cudaStream_t CudaDeviceMemory::NextKernelStream(CopyUrgency urgency) noexcept {
  const std::size_t turn = kernels_++ % kKernelStreams;
  return kernel_streams_[turn * kCopyUrgencies + static_cast<std::size_t>(urgency)];
}

std::size_t CudaDeviceMemory::PlanOneKernel(const CopyBatch& batch, Pieces& pieces) noexcept {
  if (batch.direction != CopyDirection::kWithin) return 0;
  std::size_t count = 0;
  for (const DeviceCopy& copy : batch.copies) {
    if (!IsAligned(copy.from) || !IsAligned(copy.to)) return 0;
    for (std::size_t done = 0; done < copy.bytes; ++count) {
      if (count == batch.pieces.size()) return 0;
      const DevicePiece& piece = batch.pieces[count];
      if (piece.at != copy.to + done || !IsAligned(piece.at)) return 0;
      if (piece.bytes == 0 || piece.bytes > copy.bytes - done) return 0;
      pieces[count] = {.at = copy.from + done, .to = copy.to + done, .bytes = piece.bytes};
      done += piece.bytes;
    }
  }
  return count == batch.pieces.size() ? count : 0;
}

Status CudaDeviceMemory::QueueCopies(const CopyBatch& batch, cudaStream_t stream) {
  const cudaMemcpyKind kind = KindOf(batch.direction);
#if CUDART_VERSION >= 13000
  if (batch_call_ && batch.copies.size() > 1) {
    std::array<void*, CopyBatch::kCopiesMax> to;
    std::array<const void*, CopyBatch::kCopiesMax> from;
    std::array<std::size_t, CopyBatch::kCopiesMax> bytes;
    for (std::size_t i = 0; i < batch.copies.size(); ++i) {
      to[i] = batch.copies[i].to;
      from[i] = batch.copies[i].from;
      bytes[i] = batch.copies[i].bytes;
    }
    cudaMemcpyAttributes attributes{};
    attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
    std::size_t first = 0;  // the attributes hold from this copy on
    const cudaError_t error = cudaMemcpyBatchAsync(
        to.data(), from.data(), bytes.data(), batch.copies.size(), &attributes, &first, 1, stream);
    if (error != cudaErrorCallRequiresNewerDriver && error != cudaErrorNotSupported) {
      return Note(error, "cudaMemcpyBatchAsync");
    }
    static_cast<void>(cudaGetLastError());
    batch_call_ = false;
  }
#endif
  for (const DeviceCopy& copy : batch.copies) {
    Status status = Note(cudaMemcpyAsync(copy.to, copy.from, copy.bytes, kind, stream),
                         "cudaMemcpyAsync of " + std::to_string(copy.bytes) + " bytes");
    if (!status.ok()) return status;
  }
  return {};
}

Status CudaDeviceMemory::QueueSums(Slot& slot, const CopyBatch& batch, cudaStream_t stream) {
  Pieces pieces;
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    pieces[i] = {.at = batch.pieces[i].at, .to = nullptr, .bytes = batch.pieces[i].bytes};
  }
  if (batch.direction != CopyDirection::kOut && !batch.copies.empty()) {
    Status status = Note(cudaStreamWaitEvent(stream, slot.copied, 0), "cudaStreamWaitEvent");
    if (!status.ok()) return status;
  }
  Status status =
      Note(LaunchPieces(std::span(pieces).first(batch.pieces.size()), slot.checksums, stream),
           "launch of the checksums");
  // Recorded also when a part of them was launched.
  slot.sums = true;
  const Status recorded = Note(cudaEventRecord(slot.summed, stream), "cudaEventRecord");
  return status.ok() ? recorded : status;
}

std::optional<Status> CudaDeviceMemory::Poll(std::size_t index,
                                             std::span<std::uint64_t> checksums) {
  Slot& slot = slots_[index];
  TERRACE_CHECK(slot.used);
  // Also of a device that has failed in another call: what runs there yet touches memory.
  Status status = Note(cudaSetDevice(index_), "cudaSetDevice");
  for (const cudaEvent_t event : {slot.copied, slot.sums ? slot.summed : nullptr}) {
    if (event == nullptr) continue;
    const cudaError_t error = cudaEventQuery(event);
    if (error == cudaErrorNotReady) {
      static_cast<void>(cudaGetLastError());
      return std::nullopt;
    }
    Status asked = Note(error, "cudaEventQuery");
    if (status.ok()) status = std::move(asked);
  }
  slot.used = false;
  if (status.ok()) status = health_;
  if (status.ok()) status = std::exchange(slot.failed, Status());
  if (status.ok()) std::copy_n(slot.checksums, checksums.size(), checksums.begin());
  return status;
}

}  // namespace terrace
