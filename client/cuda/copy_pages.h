// Kernels that move whole blocks between a paged cache in device memory and frames: dense blocks in
// device memory, or in pinned host memory that the device reads and writes over PCIe.
//
// A call launches what it takes for any number of blocks, allocates nothing and waits for nothing.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "client/cuda/block_table.h"
#include "client/cuda/layer_walk.h"
#include "client/paged/mover.h"
#include "client/paged/page_map.h"

namespace terrace::paged {

struct CopyJob {
  PageMap map;
  const std::uint64_t* layer_bases = nullptr;  ///< As PageTables::layer_bases, in device memory.
  /// Bytes, a power of two up to 16, that divides every address, stride and unit of the job.
  std::uint32_t alignment = 1;
  LayerWalk walk{};
};

/// Gather copies from the pages into the frames, scatter from the frames into the pages.
/// REQUIRES: list.block_pages == map.block_pages, at most kMaxBlockPages.
/// thread_blocks: grows by what each counter of the walk will.
cudaError_t LaunchCopyPages(const CopyJob& job, const BlockList& list, MoveWay way,
                            const CopyGrid& grid, cudaStream_t stream,
                            std::uint32_t& thread_blocks) noexcept;

}  // namespace terrace::paged
