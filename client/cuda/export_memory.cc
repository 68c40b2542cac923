#include "client/cuda/export_memory.h"

#include "base/cuda_memory.h"

namespace terrace {

Result<DeviceExport> ExportGpuMemory(std::span<std::byte> memory) {
  cudaPointerAttributes attributes{};
  TERRACE_CUDA_TRY(cudaPointerGetAttributes(&attributes, memory.data()));
  if (attributes.type != cudaMemoryTypeDevice) {
    return Status::Invalid("base is no memory of a GPU, or managed memory");
  }
  cudaDeviceProp properties;
  TERRACE_CUDA_TRY(cudaGetDeviceProperties(&properties, attributes.device));
  int before = attributes.device;
  TERRACE_CUDA_TRY(cudaGetDevice(&before));
  if (before != attributes.device) TERRACE_CUDA_TRY(cudaSetDevice(attributes.device));
  Result<DeviceExport> exported = ExportCudaMemory(memory, GpuUuidText(properties.uuid));
  if (before != attributes.device) (void)cudaSetDevice(before);
  return exported;
}

}  // namespace terrace
