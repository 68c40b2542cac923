// Several layers one after the other in one launch: each thread block does its share of a layer,
// adds 1 to that layer's counter and goes on with the next. Who waits for a layer need not wait for
// the rest, and the launch keeps its multiprocessors: one launch a layer would have to wait, each
// time, until the engine's kernels let go of some.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace terrace::paged {

struct LayerWalk {
  std::uint32_t layers = 1;           ///< Each moved by the job's map, from the next layer's base.
  std::uint64_t frame_stretch = 0;    ///< Bytes from one layer to the next in a frame.
  std::uint32_t* counters = nullptr;  ///< One a layer, in device memory; null: none.
};

/// What is queued on the stream behind it waits until the counter has reached that, in the order of
/// numbers that wrap around. A thread on the device waits, not the driver: a stream that waits for
/// a value in memory is looked at again only after a millisecond or two. REQUIRES: what adds to the
/// counter was queued before.
cudaError_t LaunchLayerWait(const std::uint32_t* counter, std::uint32_t reached,
                            cudaStream_t stream) noexcept;

#if defined(__CUDACC__)
/// By every thread of a thread block, when its share of the layer is done.
__device__ __forceinline__ void TellLayer(const LayerWalk& walk, std::uint32_t layer) {
  if (walk.counters != nullptr) {
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(walk.counters + layer, 1U);
    }
  }
}
#endif

}  // namespace terrace::paged
