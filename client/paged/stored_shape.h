// The numbers of a StoredLayout with its defaults filled in, and the sizes that follow from them.
// Pure functions, any thread. REQUIRES: ValidateStored(cache, stored) is ok.
#pragma once

#include <cstdint>

#include "client/layout.hpp"

namespace terrace::paged {

struct StoredShape {
  std::uint32_t layers_total = 0;
  std::uint32_t heads_total = 0;
  std::uint32_t block_pages = 0;
  std::uint32_t group_tokens = 0;         ///< 0 unless quantised.
  std::uint32_t groups = 0;               ///< Of a block's tokens; 0 unless quantised.
  std::uint64_t row_bytes = 0;            ///< What one token has of one head, as it is stored.
  std::uint64_t section_bytes = 0;        ///< Of one (layer, part) with all of the block's heads.
  std::uint64_t frame_section_bytes = 0;  ///< With this rank's heads.
  std::uint64_t block_bytes = 0;
};

StoredShape ShapeOf(const CacheLayout& cache, const StoredLayout& stored);

inline bool IsQuantised(const StoredLayout& stored) { return stored.type != StoredType::kLossless; }

/// Bytes of the scales, floats, of `heads` heads and `groups` groups.
inline std::uint64_t ScaleBytes(std::uint64_t heads, std::uint64_t groups) {
  return heads * groups * sizeof(float);
}

/// Quantised sections end at a multiple of this.
inline constexpr std::uint64_t kSectionAlignment = 16;

/// `layers` with its 0 filled in.
inline LayerSpan Filled(const CacheLayout& cache, LayerSpan layers) {
  if (layers.count == 0) layers.count = cache.layers - layers.first;
  return layers;
}

}  // namespace terrace::paged
