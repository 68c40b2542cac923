// What CUDA says of memory of a GPU: which allocation it lies in, and how another process maps it.
//
// Thread: any; its current device is the same afterwards.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "base/cuda_status.h"
#include "base/device_export.h"
#include "base/result.h"

namespace terrace {

/// As nvidia-smi -L writes it.
inline std::string GpuUuidText(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (std::size_t i = 0; i < sizeof(uuid.bytes); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x",
                  static_cast<unsigned>(static_cast<unsigned char>(uuid.bytes[i])));
    text += digits.data();
  }
  return text;
}

struct CudaAllocation {
  std::uint64_t base = 0;   ///< address
  std::uint64_t bytes = 0;  ///< from there
};

/// The allocation, or the mapping, that an address of a device lies in. By the driver, because the
/// runtime does not tell. kInvalid: it is no memory of a device that this process has.
inline Result<CudaAllocation> AllocationOf(const void* memory) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  TERRACE_CUDA_TRY(cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &function, 12000,
                                                    cudaEnableDefault, &found));
#else
  TERRACE_CUDA_TRY(
      cudaGetDriverEntryPoint("cuMemGetAddressRange", &function, cudaEnableDefault, &found));
#endif
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    return Status(StatusCode::kUnsupported, "the driver has no cuMemGetAddressRange");
  }
  const auto range =
      reinterpret_cast<CUresult (*)(CUdeviceptr*, std::size_t*, CUdeviceptr)>(function);
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  const CUresult result = range(&base, &bytes, reinterpret_cast<CUdeviceptr>(memory));
  if (result != CUDA_SUCCESS) {
    return Status::Invalid("cuMemGetAddressRange: error " +
                           std::to_string(static_cast<int>(result)));
  }
  return CudaAllocation{.base = base, .bytes = bytes};
}

/// Makes a device the calling thread's current one for a scope.
class OnCudaDevice {
 public:
  explicit OnCudaDevice(int device) {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess) error_ = cudaSetDevice(device);
  }
  ~OnCudaDevice() { (void)cudaSetDevice(before_); }
  OnCudaDevice(const OnCudaDevice&) = delete;
  OnCudaDevice& operator=(const OnCudaDevice&) = delete;
  [[nodiscard]] Status status() const { return CudaStatus(error_, "cudaSetDevice"); }

 private:
  int before_ = 0;
  cudaError_t error_ = cudaSuccess;
};

/// What another process needs to map `memory` of `device`, whose UUID is `gpu`. kInvalid: it is not
/// in one allocation of this process; kUnsupported: it was allocated in a way that cannot be mapped
/// elsewhere (cudaMallocAsync, virtual memory as torch's expandable segments).
inline Result<DeviceExport> ExportCudaMemory(std::span<const std::byte> memory, int device,
                                             std::string gpu) {
  const OnCudaDevice on_device(device);
  if (Status status = on_device.status(); !status.ok()) return status;
  const Result<CudaAllocation> allocation = AllocationOf(memory.data());
  if (!allocation.ok()) return allocation.status();
  const std::uint64_t offset = reinterpret_cast<std::uintptr_t>(memory.data()) - allocation->base;
  if (memory.size() > allocation->bytes - offset) {
    return Status::Invalid("length " + std::to_string(memory.size()) + " reaches past the " +
                           std::to_string(allocation->bytes - offset) +
                           " bytes that the allocation has from base on");
  }
  cudaIpcMemHandle_t handle{};
  // The address of the allocation as it came from the driver: the handle is of all of it.
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  const cudaError_t error = cudaIpcGetMemHandle(&handle, reinterpret_cast<void*>(allocation->base));
  if (error != cudaSuccess) {
    Status status = CudaStatus(error, "cudaIpcGetMemHandle");
    if (error == cudaErrorInvalidValue || error == cudaErrorInvalidResourceHandle) {
      return Status(StatusCode::kUnsupported,
                    status.message() + " (memory of a pool or of virtual addresses?)");
    }
    return status;
  }
  DeviceExport exported{
      .gpu = std::move(gpu), .handle = {}, .offset = offset, .bytes = memory.size()};
  static_assert(sizeof(handle) <= DeviceExport::kHandleBytesMax);
  exported.handle.resize(sizeof(handle));
  std::memcpy(exported.handle.data(), &handle, sizeof(handle));
  return exported;
}

}  // namespace terrace
