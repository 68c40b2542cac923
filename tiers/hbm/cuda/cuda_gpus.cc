// What a build with CUDA has of gpus.h.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <utility>

#include "base/cuda_status.h"
#include "tiers/hbm/cuda/cuda_device_memory.h"
#include "tiers/hbm/gpus.h"

namespace terrace {

GpusFound FindGpus() {
  // Read by the driver when it starts. With the 8 queues that are its default, streams share them,
  // and wait for each other.
  // NOLINTNEXTLINE(concurrency-mt-unsafe): once, before there are threads that read variables
  static const int once = ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  (void)once;
  GpusFound found;
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    const bool no_driver = error == cudaErrorInsufficientDriver;
    found.why_none = error == cudaSuccess || error == cudaErrorNoDevice
                         ? "the driver sees none"
                         : (no_driver ? "no CUDA driver, or one older than this build: " : "") +
                               CudaStatus(error, "cudaGetDeviceCount").message();
    (void)cudaGetLastError();
    return found;
  }
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp facts{};
    if (const cudaError_t error = cudaGetDeviceProperties(&facts, index); error != cudaSuccess) {
      found.why_none = CudaStatus(error, "cudaGetDeviceProperties").message();
      continue;
    }
    found.gpus.push_back({.index = index, .name = facts.name, .bytes = facts.totalGlobalMem});
  }
  if (!found.gpus.empty()) found.why_none.clear();
  return found;
}

Result<std::unique_ptr<DeviceMemory>> OpenGpu(int index) {
  const GpusFound found = FindGpus();
  if (found.gpus.empty()) {
    return Status(StatusCode::kUnsupported,
                  "GPU " + std::to_string(index) + ": " + DescribeGpus(found));
  }
  for (const Gpu& gpu : found.gpus) {
    if (gpu.index != index) continue;
    Result<std::unique_ptr<CudaDeviceMemory>> memory = CudaDeviceMemory::Make(gpu);
    if (!memory.ok()) return memory.status();
    return std::unique_ptr<DeviceMemory>(std::move(memory).value());
  }
  return Status::Invalid("GPU " + std::to_string(index) +
                         ": there is none of that index: " + DescribeGpus(found));
}

}  // namespace terrace
