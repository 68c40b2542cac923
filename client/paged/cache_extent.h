// Where the bytes of one layer lie, from the lowest to the highest. Pure, any thread.
#pragma once

#include <cstdint>

#include "client/layout.hpp"

namespace terrace::paged {

struct Extent {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;  ///< Behind the last byte.
};

/// REQUIRES: ValidateCache(cache) is ok.
inline Extent ExtentOf(const CacheLayout& cache, const void* base) {
  const auto at = reinterpret_cast<std::uintptr_t>(base);
  Extent extent{at, at + std::uint64_t{cache.head_dim} * ElementBytes(cache.type)};
  const auto reach = [&extent](std::uint32_t count, std::int64_t stride) {
    if (count == 1) return;
    const std::int64_t bytes = stride * (static_cast<std::int64_t>(count) - 1);
    (bytes < 0 ? extent.begin : extent.end) += static_cast<std::uintptr_t>(bytes);
  };
  reach(cache.parts, cache.part_stride);
  reach(cache.pages, cache.page_stride);
  reach(cache.page_tokens, cache.token_stride);
  reach(cache.heads, cache.head_stride);
  return extent;
}

}  // namespace terrace::paged
