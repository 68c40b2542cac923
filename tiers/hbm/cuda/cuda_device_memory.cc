#include "tiers/hbm/cuda/cuda_device_memory.h"

#include <cuda.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/cuda_status.h"
#include "base/scheduler.h"
#include "tiers/hbm/cuda/pinned_memory.h"

namespace terrace {
namespace {

// A megabyte alone leaves the bus idle for a seventh of its time, 8 of them as a batch for a
// fiftieth. 8 MiB take 0.15 ms, and three such batches are what a small copy may wait for.
constexpr std::size_t kBusCopies = 64;
constexpr std::uint64_t kBusBytes = std::uint64_t{8} << 20;
// Within the device 256 MiB take about as long.
constexpr std::size_t kWithinCopies = PieceRanges::kMost;
constexpr std::uint64_t kWithinBytes = std::uint64_t{256} << 20;
// Demand batches that go before a background one that waits.
constexpr std::size_t kPassedOverMax = 8;

std::byte* Pointer(DeviceAddress address) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): what CUDA takes for an address of the device
  return reinterpret_cast<std::byte*>(address);
}
DeviceAddress Address(const void* pointer) { return reinterpret_cast<DeviceAddress>(pointer); }

// The allocation that `memory` lies in ends so many bytes behind it. By the driver, because the
// runtime does not tell.
Result<std::uint64_t> BytesBehind(const void* memory) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  TERRACE_CUDA_TRY(cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &function, 12000,
                                                    cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    return Status(StatusCode::kUnsupported, "the driver has no cuMemGetAddressRange");
  }
  const auto get_range =
      reinterpret_cast<CUresult (*)(CUdeviceptr*, size_t*, CUdeviceptr)>(function);
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  if (const CUresult result = get_range(&base, &bytes, Address(memory)); result != CUDA_SUCCESS) {
    return Status(StatusCode::kIo,
                  "cuMemGetAddressRange: error " + std::to_string(static_cast<int>(result)));
  }
  return base + bytes - Address(memory);
}

// What cudaIpcOpenMemHandle says of a handle.
StatusCode OpenCode(cudaError_t error) {
  switch (error) {
    case cudaErrorMapBufferObjectFailed:
    case cudaErrorInvalidResourceHandle: return StatusCode::kPeerDead;
    case cudaErrorInvalidValue:
    case cudaErrorDeviceUninitialized:  // what it says of a handle of its own process
    case cudaErrorAlreadyMapped: return StatusCode::kInvalid;
    default: return CudaStatus(error, "").code();
  }
}

}  // namespace

/// Puts the coroutine's copy into its lane and sleeps until it ended.
struct CudaDeviceMemory::Enqueue {
  CopyLane* lane;
  DeviceCopy* copy;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) const {
    copy->waiter = waiter;
    lane->Add(*copy);
  }
  void await_resume() const noexcept {}
};

CudaDeviceMemory::CudaDeviceMemory(const Gpu& gpu)
    : gpu_(gpu), name_("cuda:" + std::to_string(gpu.index) + " " + gpu.name) {}

Result<std::unique_ptr<CudaDeviceMemory>> CudaDeviceMemory::Make(const Gpu& gpu) {
  std::unique_ptr<CudaDeviceMemory> memory(new CudaDeviceMemory(gpu));
  if (const Status status = memory->Prepare(); !status.ok()) {
    return Status(status.code(), memory->name() + ": " + status.message());
  }
  return memory;
}

Status CudaDeviceMemory::Prepare() {
  bell_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (bell_ < 0) return {StatusCode::kIo, std::string("eventfd: ") + std::strerror(errno)};
  TERRACE_CUDA_TRY(cudaSetDevice(gpu_.index));
  int least = 0;
  int greatest = 0;
  TERRACE_CUDA_TRY(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  for (std::size_t way = 0; way < kWays; ++way) {
    for (std::size_t urgency = 0; urgency < kUrgencies; ++urgency) {
      const bool within = static_cast<CopyWay>(way) == CopyWay::kWithin;
      auto lane = CopyLane::Make(
          {.way = static_cast<CopyWay>(way),
           .priority = static_cast<CopyUrgency>(urgency) == CopyUrgency::kDemand ? greatest : least,
           .batch_copies = within ? kWithinCopies : kBusCopies,
           .batch_bytes = within ? kWithinBytes : kBusBytes});
      if (!lane.ok()) return lane.status();
      directions_[way].lanes[urgency] = std::move(lane).value();
    }
  }
  return {};
}

CudaDeviceMemory::~CudaDeviceMemory() {
  (void)cudaSetDevice(gpu_.index);
  for (Direction& direction : directions_) {
    for (auto& lane : direction.lanes) lane.reset();  // whose streams end: nothing rings any more
  }
  while (!opened_.empty()) CloseExported(opened_.begin()->first);
  while (!registered_.empty()) {
    const auto [start, bytes] = *registered_.begin();
    DeregisterHost({const_cast<std::byte*>(start), bytes});
  }
  while (!allocated_.empty()) Free(allocated_.begin()->first);
  if (bell_ >= 0) ::close(bell_);
}

Status CudaDeviceMemory::UseDevice() {
  if (!state_.ok()) return state_;
  return Noted(cudaSetDevice(gpu_.index), "cudaSetDevice");
}

Status CudaDeviceMemory::Noted(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return {};
  const Status status = CudaStatus(error, call);
  if (CudaErrorIsSticky(error)) Break(status);
  return {status.code(), name_ + ": " + status.message()};
}

void CudaDeviceMemory::Break(const Status& status) {
  if (!state_.ok()) return;
  const bool named = status.message().starts_with(name_);
  state_ = {StatusCode::kIo, named ? status.message() : name_ + ": " + status.message()};
  for (Direction& direction : directions_) {
    for (auto& lane : direction.lanes) lane->FailAll(state_);
  }
}

Result<DeviceAddress> CudaDeviceMemory::Allocate(std::uint64_t bytes) {
  if (Status status = UseDevice(); !status.ok()) return status;
  if (bytes == 0) return Status::Invalid(name_ + ": Allocate: 0 bytes");
  std::byte* memory = nullptr;
  const cudaError_t error = AllocateDevice(memory, bytes);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    std::size_t free = 0;
    std::size_t total = 0;
    (void)cudaMemGetInfo(&free, &total);
    return Status(StatusCode::kRetry, name_ + ": out of memory: " + std::to_string(bytes) +
                                          " bytes asked for, " + std::to_string(free) + " of " +
                                          std::to_string(total) + " are free");
  }
  if (Status status = Noted(error, "cudaMalloc"); !status.ok()) return status;
  allocated_[Address(memory)] = bytes;
  return Address(memory);
}

void CudaDeviceMemory::Free(DeviceAddress memory) {
  TERRACE_CHECK(allocated_.erase(memory) == 1);
  (void)cudaSetDevice(gpu_.index);
  (void)cudaFree(Pointer(memory));
  (void)cudaGetLastError();
}

Status CudaDeviceMemory::RegisterHost(std::span<std::byte> memory) {
  if (Status status = UseDevice(); !status.ok()) return status;
  Status status = PinHostMemory(memory);
  if (!status.ok()) return {status.code(), name_ + ": RegisterHost: " + status.message()};
  registered_[memory.data()] = memory.size();
  return {};
}

void CudaDeviceMemory::DeregisterHost(std::span<std::byte> memory) {
  const auto found = registered_.find(memory.data());
  TERRACE_CHECK(found != registered_.end() && found->second == memory.size());
  registered_.erase(found);
  (void)cudaSetDevice(gpu_.index);
  UnpinHostMemory(memory);
}

bool CudaDeviceMemory::IsRegistered(std::span<const std::byte> memory) const {
  const auto after = registered_.upper_bound(memory.data());
  if (after == registered_.begin()) return false;
  const auto& [start, bytes] = *std::prev(after);
  return memory.data() + memory.size() <= start + bytes;
}

Task<Status> CudaDeviceMemory::CopyIn(DeviceAddress to, std::span<const std::byte> from,
                                      std::span<std::uint64_t> checksums, CopyUrgency urgency) {
  return Run({.to = Pointer(to),
              .from = from.data(),
              .bytes = from.size(),
              .checksums = checksums,
              .pinned = IsRegistered(from)},
             CopyWay::kIn, urgency, "CopyIn");
}

Task<Status> CudaDeviceMemory::CopyOut(std::span<std::byte> to, DeviceAddress from,
                                       std::span<std::uint64_t> checksums, CopyUrgency urgency) {
  return Run({.to = to.data(),
              .from = Pointer(from),
              .bytes = to.size(),
              .checksums = checksums,
              .pinned = IsRegistered(to)},
             CopyWay::kOut, urgency, "CopyOut");
}

Task<Status> CudaDeviceMemory::CopyWithin(DeviceAddress to, DeviceAddress from, std::uint64_t bytes,
                                          std::span<std::uint64_t> checksums, CopyUrgency urgency) {
  return Run({.to = Pointer(to), .from = Pointer(from), .bytes = bytes, .checksums = checksums},
             CopyWay::kWithin, urgency, "CopyWithin");
}

Task<Status> CudaDeviceMemory::Checksum(DeviceAddress from, std::uint64_t bytes,
                                        std::span<std::uint64_t> checksums, CopyUrgency urgency) {
  return Run({.from = Pointer(from), .bytes = bytes, .checksums = checksums}, CopyWay::kWithin,
             urgency, "Checksum");
}

Task<Status> CudaDeviceMemory::Run(DeviceCopy copy, CopyWay way, CopyUrgency urgency,
                                   const char* call) {
  if (!state_.ok()) co_return state_;
  if (copy.bytes > kCopyBytesMax) {
    co_return Status::Invalid(name_ + ": " + call + ": " + std::to_string(copy.bytes) +
                              " bytes, at most " + std::to_string(kCopyBytesMax));
  }
  if (!copy.checksums.empty() && copy.checksums.size() != ChecksumPieceCount(copy.bytes)) {
    co_return Status::Invalid(name_ + ": " + call + ": " + std::to_string(copy.checksums.size()) +
                              " checksums for " + std::to_string(copy.bytes) + " bytes");
  }
  if (copy.bytes == 0 || (copy.to == nullptr && copy.checksums.empty())) co_return Status::Ok();
  Direction& direction = directions_[static_cast<std::size_t>(way)];
  co_await Enqueue{direction.lanes[static_cast<std::size_t>(urgency)].get(), &copy};
  if (!copy.status.ok() && state_.ok()) {
    co_return Status(copy.status.code(), name_ + ": " + call + ": " + copy.status.message());
  }
  co_return copy.status;
}

bool CudaDeviceMemory::HasWork() const noexcept {
  return std::ranges::any_of(directions_, [](const Direction& direction) {
    return std::ranges::any_of(
        direction.lanes, [](const auto& lane) { return lane->in_flight() > 0 || lane->waiting(); });
  });
}

unsigned CudaDeviceMemory::Poll() {
  if (rang_.load(std::memory_order_acquire) && rang_.exchange(false, std::memory_order_acquire)) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t bytes = ::read(bell_, &count, sizeof count);
  }
  if (!HasWork()) return 0;
  // Whatever keeps the device from being asked would keep the copies from ever ending.
  if (const Status status = UseDevice(); !status.ok()) {
    Break(status);
    return 1;
  }
  unsigned events = 0;
  for (Direction& direction : directions_) {
    Status status;
    for (auto& lane : direction.lanes) {
      if (status.ok()) status = lane->Collect(events);
    }
    if (status.ok()) status = SubmitDirection(direction, events);
    if (!status.ok()) {
      Break(status);
      return events + 1;
    }
  }
  return events;
}

Status CudaDeviceMemory::SubmitDirection(Direction& direction, unsigned& queued) {
  CopyLane& demand = *direction.lanes[static_cast<std::size_t>(CopyUrgency::kDemand)];
  CopyLane& background = *direction.lanes[static_cast<std::size_t>(CopyUrgency::kBackground)];
  while (!demand.full() && demand.waiting()) {
    if (background.waiting()) ++direction.passed_over;
    ++queued;
    if (Status status = demand.Submit(); !status.ok()) return status;
  }
  while (!background.full() && background.waiting()) {
    if (demand.in_flight() > 0 && direction.passed_over < kPassedOverMax) break;
    direction.passed_over = 0;
    ++queued;
    if (Status status = background.Submit(); !status.ok()) return status;
  }
  return {};
}

bool CudaDeviceMemory::Arm() {
  if (!HasWork()) return true;
  if (!UseDevice().ok()) return false;  // Poll ends them
  bool under_way = false;
  for (Direction& direction : directions_) {
    for (auto& lane : direction.lanes) {
      if (lane->in_flight() == 0) continue;
      under_way = true;
      if (const Status status = lane->RingAtEnd(&RingBell, this); !status.ok()) {
        Break(status);
        return false;
      }
    }
  }
  return under_way;  // what waits with nothing under way is for Poll
}

void CUDART_CB CudaDeviceMemory::RingBell(void* self) {
  auto* memory = static_cast<CudaDeviceMemory*>(self);
  // Written first: who sees that it rang finds the count there to be read.
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t bytes = ::write(memory->bell_, &one, sizeof one);
  memory->rang_.store(true, std::memory_order_release);
}

Result<ExportedMemory> CudaDeviceMemory::Export(DeviceAddress memory) {
  if (Status status = UseDevice(); !status.ok()) return status;
  const auto found = allocated_.find(memory);
  TERRACE_CHECK(found != allocated_.end());
  cudaIpcMemHandle_t handle{};
  if (Status status = Noted(cudaIpcGetMemHandle(&handle, Pointer(memory)), "cudaIpcGetMemHandle");
      !status.ok()) {
    return status;
  }
  ExportedMemory exported{.bytes = found->second};
  static_assert(sizeof handle == sizeof exported.handle);
  std::memcpy(exported.handle.data(), &handle, sizeof handle);
  return exported;
}

Result<DeviceAddress> CudaDeviceMemory::OpenExported(const ExportedMemory& memory) {
  if (Status status = UseDevice(); !status.ok()) return status;
  if (memory.bytes == 0 || memory.handle == decltype(memory.handle){}) {
    return Status::Invalid(name_ + ": OpenExported: no handle of exported memory");
  }
  cudaIpcMemHandle_t handle{};
  std::memcpy(&handle, memory.handle.data(), sizeof handle);
  void* mapped = nullptr;
  const cudaError_t error = cudaIpcOpenMemHandle(&mapped, handle, cudaIpcMemLazyEnablePeerAccess);
  if (error != cudaSuccess) {
    const Status status = Noted(error, "cudaIpcOpenMemHandle");
    return Status(OpenCode(error), status.message());
  }
  // A copy past its end would break the device for everybody: the size is the driver's to say.
  Result<std::uint64_t> bytes = BytesBehind(mapped);
  if (!bytes.ok() || memory.bytes > bytes.value()) {
    (void)cudaIpcCloseMemHandle(mapped);
    (void)cudaGetLastError();
    if (!bytes.ok()) return Status(bytes.code(), name_ + ": " + bytes.status().message());
    return Status::Invalid(name_ + ": OpenExported: " + std::to_string(memory.bytes) +
                           " bytes of memory of " + std::to_string(bytes.value()) + " bytes");
  }
  ++opened_[Address(mapped)].count;
  return Address(mapped);
}

void CudaDeviceMemory::CloseExported(DeviceAddress memory) {
  const auto found = opened_.find(memory);
  TERRACE_CHECK(found != opened_.end());
  if (--found->second.count == 0) opened_.erase(found);
  (void)cudaSetDevice(gpu_.index);
  (void)cudaIpcCloseMemHandle(Pointer(memory));
  (void)cudaGetLastError();
}

}  // namespace terrace
