#include "client/cuda/layer_walk.h"

namespace terrace::paged {
namespace {

__global__ void LayerWait(const std::uint32_t* counter, std::uint32_t reached) {
  for (;;) {
    std::uint32_t now;
    asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
    if (static_cast<std::int32_t>(now - reached) >= 0) {
      return;
    }
    __nanosleep(100);
  }
}

}  // namespace

cudaError_t LaunchLayerWait(const std::uint32_t* counter, std::uint32_t reached,
                            cudaStream_t stream) noexcept {
  LayerWait<<<1, 1, 0, stream>>>(counter, reached);
  return cudaGetLastError();
}

}  // namespace terrace::paged
