// The kernel that computes Checksum64 (base/checksum.h) of many pieces of device memory at once,
// and copies them within the device as it reads them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "tiers/hbm/cuda/kernel_piece.h"

namespace terrace {

/// Queues it on `stream`: results[i] of pieces[i], which are all copied, or none. `results` can be
/// written by the GPU, e.g. pinned host memory, until the kernel has ended; `pieces` are read in
/// the call. Does not block. REQUIRES: at least one.
cudaError_t LaunchPieces(std::span<const KernelPiece> pieces, std::uint64_t* results,
                         cudaStream_t stream);

}  // namespace terrace
