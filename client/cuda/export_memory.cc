#include "client/cuda/export_memory.h"

#include "base/cuda_driver.h"
#include "base/cuda_memory.h"
#include "base/cuda_status.h"

namespace terrace {

Result<DeviceExport> ExportGpuMemory(std::span<std::byte> memory) {
  const Result<int> device = DeviceOfMemory(memory.data());
  if (!device.ok()) return Status(device.code(), "base: " + device.status().message());
  cudaDeviceProp properties;
  TERRACE_CUDA_TRY(cudaGetDeviceProperties(&properties, *device));
  return ExportCudaMemory(memory, *device, GpuUuidText(properties.uuid));
}

}  // namespace terrace
