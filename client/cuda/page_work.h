// What a move's kernels are told that does not change from chunk to chunk of it.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "client/cuda/copy_pages.h"
#include "client/cuda/quantise_pages.h"
#include "client/paged/mover.h"

namespace terrace::paged {

/// The largest power of two up to 16 that divides all numbers whose bits these are, or'ed together.
inline std::uint32_t AlignmentOfBits(std::uint64_t bits) noexcept {
  return bits == 0 ? 16 : std::uint32_t{1} << std::min(4, std::countr_zero(bits));
}

struct PageWork {
  bool quantised = false;
  PageMap copy;                                ///< Unless quantised.
  QuantMap quant;                              ///< When quantised.
  const std::uint64_t* layer_bases = nullptr;  ///< On the device: of the first layer moved.
  std::uint32_t block_pages = 0;
  std::uint64_t frame_bytes = 0;
  std::uint32_t alignment = 1;  ///< As CopyJob::alignment, of all but the frames' addresses.
  LayerWalk walk{};             ///< Of more than one layer: layer by layer.
};

/// As LaunchCopyPages. frame_alignment: a power of two up to 16 that divides the frames' addresses.
inline cudaError_t LaunchPages(const PageWork& work, const BlockList& list,
                               std::uint32_t frame_alignment, MoveWay way, const CopyGrid& grid,
                               cudaStream_t stream, std::uint32_t& thread_blocks) noexcept {
  const std::uint32_t alignment =
      work.alignment < frame_alignment ? work.alignment : frame_alignment;
  if (work.quantised) {
    return LaunchQuantisePages({work.quant, work.layer_bases, alignment, work.walk}, list, way,
                               grid, stream, thread_blocks);
  }
  return LaunchCopyPages({work.copy, work.layer_bases, alignment, work.walk}, list, way, grid,
                         stream, thread_blocks);
}

}  // namespace terrace::paged
