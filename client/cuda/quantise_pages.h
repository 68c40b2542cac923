// Kernels that quantise blocks on their way from a paged cache into frames, and back
// (client/paged/quantise.h has the arithmetic, bit for bit that of the CPU).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "client/cuda/block_table.h"
#include "client/cuda/layer_walk.h"
#include "client/paged/mover.h"
#include "client/paged/quant_map.h"

namespace terrace::paged {

/// As CopyJob. Frames lie at multiples of 4 bytes, 16 for what is fast.
struct QuantJob {
  QuantMap map;
  const std::uint64_t* layer_bases = nullptr;
  std::uint32_t alignment = 1;
  LayerWalk walk{};
};

cudaError_t LaunchQuantisePages(const QuantJob& job, const BlockList& list, MoveWay way,
                                const CopyGrid& grid, cudaStream_t stream,
                                std::uint32_t& thread_blocks) noexcept;

}  // namespace terrace::paged
