// What a move's kernels are told that does not change from chunk to chunk of it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "client/cuda/copy_pages.h"
#include "client/cuda/quantise_pages.h"
#include "client/paged/mover.h"

namespace terrace::paged {

struct PageWork {
  bool quantised = false;
  PageMap copy;                                ///< Unless quantised.
  QuantMap quant;                              ///< When quantised.
  const std::uint64_t* layer_bases = nullptr;  ///< On the device: of the first layer that is moved.
  std::uint32_t block_pages = 0;
  std::uint64_t frame_bytes = 0;
  std::uint32_t alignment = 1;  ///< As CopyJob::alignment, of the pages' side.
};

/// The tables of some blocks, on the device.
struct BlockTables {
  const std::uint32_t* pages = nullptr;
  const std::uint64_t* frames = nullptr;
  std::uint32_t blocks = 0;
  std::uint32_t alignment = 1;  ///< Of the frames.
};

inline cudaError_t LaunchPages(const PageWork& work, const BlockTables& tables, MoveWay way,
                               const CopyGrid& grid, cudaStream_t stream) noexcept {
  const std::uint32_t alignment =
      work.alignment < tables.alignment ? work.alignment : tables.alignment;
  if (work.quantised) {
    const QuantJob job{work.quant,    work.layer_bases, tables.pages,
                       tables.frames, tables.blocks,    alignment};
    return LaunchQuantisePages(job, way, grid, stream);
  }
  const CopyJob job{work.copy,     work.layer_bases, tables.pages,
                    tables.frames, tables.blocks,    alignment};
  return LaunchCopyPages(job, way, grid, stream);
}

}  // namespace terrace::paged
