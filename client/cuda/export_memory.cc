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
  return ExportCudaMemory(memory, attributes.device, GpuUuidText(properties.uuid));
}

}  // namespace terrace
