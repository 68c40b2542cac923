// Kernels that move whole blocks between a paged cache in device memory and frames: dense blocks in
// device memory, or in pinned host memory that the device reads and writes over PCIe.
//
// A launch takes any number of blocks, allocates nothing and waits for nothing. Every pointer of a
// job is a device address; what it points to must stay until the stream has passed the launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "client/paged/mover.h"
#include "client/paged/page_map.h"

namespace terrace::paged {

struct CopyJob {
  PageMap map;
  const std::uint64_t* layer_bases = nullptr;  ///< As PageTables::layer_bases.
  const std::uint32_t* pages = nullptr;   ///< map.block_pages numbers of each block, one after the
                                          ///< other.
  const std::uint64_t* frames = nullptr;  ///< Address of each block's frame.
  std::uint32_t blocks = 0;
  /// Bytes, a power of two up to 16, that divides every address, stride and unit of the job.
  std::uint32_t alignment = 1;
};

/// Thread blocks of a launch: enough to saturate what limits it, no more, because they take their
/// multiprocessors from whoever computes meanwhile.
struct CopyGrid {
  std::uint32_t thread_blocks = 0;  ///< At least 1.
};

/// Gather copies from the pages into the frames, scatter from the frames into the pages.
cudaError_t LaunchCopyPages(const CopyJob& job, MoveWay way, const CopyGrid& grid,
                            cudaStream_t stream) noexcept;

}  // namespace terrace::paged
