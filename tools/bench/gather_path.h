// The caches that the path `gather` measures, and its part that needs a GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "client/layout.hpp"
#include "tools/bench/measurement.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

/// A model's cache on one rank, bf16, pages of 16 tokens, as vLLM lays it out.
struct GatherGeometry {
  const char* name;
  std::uint32_t layers;
  std::uint32_t heads;
  std::uint32_t head_dim;
  bool latent;

  [[nodiscard]] CacheLayout Layout(std::uint32_t pages) const noexcept {
    const CacheShape shape{layers, pages, 16, heads, head_dim, ElementType::kBf16};
    return latent ? Latent(shape) : PartsFirst(shape, PageOrder::kNhd);
  }
  /// Of one layer's tensor.
  [[nodiscard]] std::uint64_t LayerBytes(std::uint32_t pages) const noexcept {
    return std::uint64_t{latent ? 1U : 2U} * pages * 16 * heads * head_dim * 2;
  }
};

inline constexpr GatherGeometry kGatherGeometries[] = {
    {"llama3-8b", 32, 8, 128, false},
    {"llama3-70b-tp8", 80, 1, 128, false},
    {"deepseek-v3-mla", 61, 1, 576, true},
};

/// Figures of a GPU; empty where there is none.
std::vector<Figure> GatherOnGpu(const BenchOptions& options);

}  // namespace terrace::bench
