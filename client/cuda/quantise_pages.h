// Kernels that quantise blocks on their way from a paged cache into frames, and back
// (client/paged/quantise.h has the arithmetic, bit for bit that of the CPU).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "client/cuda/copy_pages.h"
#include "client/paged/mover.h"
#include "client/paged/quant_map.h"

namespace terrace::paged {

/// As CopyJob. Frames lie at multiples of 16 bytes.
struct QuantJob {
  QuantMap map;
  const std::uint64_t* layer_bases = nullptr;
  const std::uint32_t* pages = nullptr;
  const std::uint64_t* frames = nullptr;
  std::uint32_t blocks = 0;
  std::uint32_t alignment = 1;  ///< Of the pages' side; 16 is what is fast.
};

cudaError_t LaunchQuantisePages(const QuantJob& job, MoveWay way, const CopyGrid& grid,
                                cudaStream_t stream) noexcept;

}  // namespace terrace::paged
