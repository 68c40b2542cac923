#include "client/cuda/map_memory.h"

#include "base/cuda_ipc_mappings.h"
#include "base/cuda_memory.h"
#include "base/cuda_status.h"

namespace terrace {
namespace {

/// The number of that GPU in this process. kUnsupported: it is not among those that it sees.
Result<int> NumberOf(const std::string& gpu) {
  int count = 0;
  TERRACE_CUDA_TRY(cudaGetDeviceCount(&count));
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    TERRACE_CUDA_TRY(cudaGetDeviceProperties(&properties, device));
    if (GpuUuidText(properties.uuid) == gpu) return device;
  }
  return Status(StatusCode::kUnsupported,
                "this process sees no GPU " + gpu + " (CUDA_VISIBLE_DEVICES?)");
}

}  // namespace

Result<std::span<std::byte>> MapGpuMemory(const DeviceExport& exported) {
  if (Status status = CheckDeviceExport(exported); !status.ok()) return status;
  const Result<int> device = NumberOf(exported.gpu);
  if (!device.ok()) return device.status();
  return CudaIpcMappings::OfProcess().Open(*device, exported);
}

void UnmapGpuMemory(const std::string& gpu, std::span<std::byte> memory) {
  const Result<int> device = NumberOf(gpu);
  if (!device.ok()) return;  // the driver is gone, and all mappings with it
  CudaIpcMappings::OfProcess().Close(*device, memory);
}

}  // namespace terrace
