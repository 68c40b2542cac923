#include "client/paged/pick_mover.h"

#include <utility>

#include "client/paged/cpu_mover.h"
#if defined(TERRACE_CUDA)
#include "base/cuda_driver.h"
#include "client/cuda/cuda_mover.h"
#endif

namespace terrace::paged {

Result<std::shared_ptr<PageMover>> PickMover(const CacheLayout& cache, const StoredLayout& stored,
                                             std::span<void* const> bases) {
  // The CPU first: a process without GPUs loads no driver.
  Result<std::shared_ptr<CpuMover>> cpu = CpuMover::Make(cache, stored, bases);
  if (cpu.ok()) {
    return std::shared_ptr<PageMover>(std::move(cpu).value());
  }
#if defined(TERRACE_CUDA)
  const Result<bool> is_gpu = IsGpuMemory(bases);
  if (!is_gpu.ok()) {
    // Memory that is not the host's is of a GPU, if there is a driver.
    return Status(HasGpuDriver() ? is_gpu.code() : cpu.code(),
                  cpu.status().message() + "; of GPUs: " + is_gpu.status().message());
  }
  if (*is_gpu) {
    Result<std::unique_ptr<CudaMover>> gpu = CudaMover::Make(cache, stored, bases, {});
    if (!gpu.ok()) return gpu.status();
    return std::shared_ptr<PageMover>(std::move(gpu).value());
  }
#endif
  return cpu.status();
}

Status RequireGpuMemory(std::span<void* const> bases) {
#if defined(TERRACE_CUDA)
  const Result<bool> is_gpu = IsGpuMemory(bases);
  if (is_gpu.ok() && *is_gpu) return {};
  if (is_gpu.ok()) return Status::Invalid("layer_bases are no memory of a GPU");
  return Status(is_gpu.code(), "layer_bases: " + is_gpu.status().message());
#else
  static_cast<void>(bases);
  return {StatusCode::kUnsupported, "this library was built without CUDA: it moves no GPU's pages"};
#endif
}

}  // namespace terrace::paged
