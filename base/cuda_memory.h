// Memory of a GPU as another process maps it.
//
// Thread: any; its current device is the same afterwards.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "base/cuda_driver.h"
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

/// What another process needs to map `memory` of `device`, whose UUID is `gpu`. REQUIRES: it is
/// memory of a GPU (DeviceOfMemory). kInvalid: it is not
/// in one allocation of this process; kUnsupported: it was allocated in a way that cannot be mapped
/// elsewhere (cudaMallocAsync, virtual memory as torch's expandable segments).
inline Result<DeviceExport> ExportCudaMemory(std::span<const std::byte> memory, int device,
                                             std::string gpu) {
  const OnCudaDevice on_device(device);
  if (!on_device.status().ok()) return on_device.status();
  if (!CanBeMappedElsewhere(memory.data())) {
    return Status(StatusCode::kUnsupported,
                  "base: memory of a pool or of virtual addresses, which nobody else can map");
  }
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
