// What an engine computes while blocks are moved, as far as the GPU is concerned: a kernel that
// keeps every multiprocessor busy and touches no memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace terrace::bench {

/// Queues `waves` rounds of thread blocks over all multiprocessors, each of `steps` dependent
/// multiplications and additions. `sink`: 4 bytes of device memory that are never written.
cudaError_t LaunchBusy(std::uint32_t multiprocessors, std::uint32_t waves, std::uint32_t steps,
                       float* sink, cudaStream_t stream) noexcept;

}  // namespace terrace::bench
