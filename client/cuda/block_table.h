// The blocks of a launch, by value: a kernel's parameters reach it without a copy of their own, so
// that a launch needs no memory on the device and no wait for it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>

namespace terrace::paged {

/// Bounds of a launch: enough to saturate what limits it and no more, because it takes its
/// multiprocessors, and its share of the bus, from whoever computes meanwhile.
struct CopyGrid {
  std::uint32_t thread_blocks = 0;    ///< At least 1.
  std::uint32_t in_flight_bytes = 0;  ///< Loads under way at once, about; 0: no bound.

  /// For thread blocks that have so many bytes under way each.
  [[nodiscard]] std::uint32_t ThreadBlocks(std::uint32_t needed,
                                           std::uint32_t bytes_each) const noexcept {
    std::uint32_t most = thread_blocks;
    if (in_flight_bytes != 0) {
      const std::uint32_t by_bytes = (in_flight_bytes + bytes_each - 1) / bytes_each;
      most = by_bytes < most ? by_bytes : most;
    }
    return needed < most ? needed : most;
  }
};

/// Blocks in host memory; read during the call they are passed to.
struct BlockList {
  const std::uint64_t* frames = nullptr;  ///< Address of each block's frame, as the device sees it.
  const std::uint32_t* pages =
      nullptr;  ///< block_pages numbers of each block, one after the other.
  std::uint32_t block_pages = 0;
  std::uint32_t blocks = 0;
};

/// Some blocks of a list, as a kernel is passed them: the frames, then the pages.
template <std::uint32_t kWordCount>
struct BlockTable {
  static constexpr std::uint32_t kWords = kWordCount;
  std::uint64_t words[kWords];

  /// Most blocks of that many pages; 0 when not even one fits.
  static constexpr std::uint32_t Capacity(std::uint32_t block_pages) noexcept {
    return kWords * 8 / (8 + 4 * block_pages);
  }
  void Fill(const BlockList& list, std::uint32_t first, std::uint32_t count) noexcept {
    std::memcpy(words, list.frames + first, count * sizeof(std::uint64_t));
    std::memcpy(words + count, list.pages + std::uint64_t{first} * list.block_pages,
                std::uint64_t{count} * list.block_pages * sizeof(std::uint32_t));
  }
#if defined(__CUDACC__)
  /// REQUIRES: block < count of Fill.
  __device__ __forceinline__ const std::uint32_t* Pages(std::uint32_t count, std::uint32_t block,
                                                        std::uint32_t block_pages) const {
    return reinterpret_cast<const std::uint32_t*>(words + count) + block * block_pages;
  }
#endif
};

/// Parameters of a kernel are 4 KiB at most, and 32,764 bytes since CUDA 12.1.
using SmallTable = BlockTable<440>;
#if CUDART_VERSION >= 12010
using LargeTable = BlockTable<3600>;
#else
using LargeTable = SmallTable;
#endif

/// Pages that a block may have, so that one fits the parameters of a kernel.
inline constexpr std::uint32_t kMaxBlockPages = SmallTable::kWords * 2 - 2;

}  // namespace terrace::paged
