// The limit of what reads device memory: a kernel that does nothing else.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace terrace::bench {

/// Queues the reading of so many bytes, a multiple of 64 KiB. `sink`: 4 bytes of device memory.
cudaError_t LaunchRead(const std::byte* from, std::uint64_t bytes, std::uint32_t* sink,
                       cudaStream_t stream) noexcept;

}  // namespace terrace::bench
