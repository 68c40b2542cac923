#include "tools/bench/limits/busy_kernel.h"

namespace terrace::bench {
namespace {

constexpr std::uint32_t kThreads = 512;
// Thread blocks that fill half of a multiprocessor's threads, as matrix kernels do.
constexpr std::uint32_t kResident = 2;

__global__ void __launch_bounds__(kThreads) Busy(std::uint32_t steps, float* sink) {
  float value = static_cast<float>(threadIdx.x);
  for (std::uint32_t i = 0; i < steps; ++i) {
    value = value * 0.999F + 0.5F;
  }
  if (value < 0) {
    *sink = value;
  }
}

}  // namespace

cudaError_t LaunchBusy(std::uint32_t multiprocessors, std::uint32_t waves, std::uint32_t steps,
                       float* sink, cudaStream_t stream) noexcept {
  Busy<<<multiprocessors * kResident * waves, kThreads, 0, stream>>>(steps, sink);
  return cudaGetLastError();
}

}  // namespace terrace::bench
