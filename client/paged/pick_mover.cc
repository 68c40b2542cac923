#include "client/paged/pick_mover.h"

#include <utility>

#include "client/paged/cpu_mover.h"
#if defined(TERRACE_CUDA)
#include "client/cuda/cuda_mover.h"
#endif

namespace terrace::paged {

Result<std::shared_ptr<PageMover>> PickMover(const CacheLayout& cache, const StoredLayout& stored,
                                             std::span<void* const> bases) {
  // The CPU first: asking CUDA about an address makes a context on a GPU.
  Result<std::shared_ptr<CpuMover>> cpu = CpuMover::Make(cache, stored, bases);
  if (cpu.ok()) {
    return std::shared_ptr<PageMover>(std::move(cpu).value());
  }
#if defined(TERRACE_CUDA)
  if (IsGpuMemory(bases)) {
    Result<std::unique_ptr<CudaMover>> gpu = CudaMover::Make(cache, stored, bases, {});
    if (!gpu.ok()) return gpu.status();
    return std::shared_ptr<PageMover>(std::move(gpu).value());
  }
#endif
  return cpu.status();
}

Status RequireGpuMemory(std::span<void* const> bases) {
#if defined(TERRACE_CUDA)
  if (IsGpuMemory(bases)) return {};
  return Status::Invalid("layer_bases are no memory of a GPU, or there is no GPU");
#else
  static_cast<void>(bases);
  return {StatusCode::kUnsupported, "this library was built without CUDA: it moves no GPU's pages"};
#endif
}

}  // namespace terrace::paged
