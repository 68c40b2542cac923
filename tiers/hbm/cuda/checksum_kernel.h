// The kernel that computes Checksum64 (base/checksum.h) of many pieces of device memory at once.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace terrace {

/// At most 256 KiB, at an address that is a multiple of 16.
struct KernelPiece {
  const std::byte* at;
  std::uint32_t bytes;
};

/// Queues it on `stream`: results[i] of pieces[i]. Both arrays are readable by the GPU, e.g. pinned
/// host memory, until the kernel has ended. Does not block. REQUIRES: count > 0.
cudaError_t LaunchChecksums(const KernelPiece* pieces, std::uint32_t count, std::uint64_t* results,
                            cudaStream_t stream);

}  // namespace terrace
