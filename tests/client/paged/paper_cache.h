// PaperCache: an engine's paged cache in plain memory with any strides, filled with bytes that are
// all known; and the five plain loops that the fast code is compared with.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "client/layout.hpp"
#include "client/paged/stored_shape.h"

namespace terrace::paged {

class PaperCache {
 public:
  /// A cache of a maker of layout.hpp; one tensor of all layers when layer_stride is not 0.
  explicit PaperCache(const CacheLayout& layout, std::int64_t layer_stride = 0) : layout_(layout) {
    const std::uint64_t layer_bytes = LayerBytes();
    const std::uint64_t all =
        layer_stride == 0
            ? layer_bytes * layout.layers
            : layer_bytes + static_cast<std::uint64_t>(layer_stride) * (layout.layers - 1);
    bytes_.resize(all + kSlack);
    const auto step = layer_stride == 0 ? static_cast<std::int64_t>(layer_bytes) : layer_stride;
    bases_ = LayerBases(bytes_.data(), layout.layers, step);
  }
  /// Axes in a random order with random gaps, bases at random places.
  static PaperCache Random(CacheLayout shape, SeededRandom& random) {
    std::array<int, 4> axes = {0, 1, 2, 3};
    for (std::size_t i = 3; i > 0; --i) std::swap(axes[i], axes[random.Below(i + 1)]);
    const std::int64_t element = ElementBytes(shape.type);
    const bool dense = random.Chance(0.5);
    std::int64_t stride = element * shape.head_dim;
    for (const int axis : axes) {
      if (!dense) stride += element * static_cast<std::int64_t>(random.Below(3) * 16);
      switch (axis) {
        case 0: shape.part_stride = stride, stride *= shape.parts; break;
        case 1: shape.page_stride = stride, stride *= shape.pages; break;
        case 2: shape.token_stride = stride, stride *= shape.page_tokens; break;
        default: shape.head_stride = stride, stride *= shape.heads; break;
      }
    }
    PaperCache cache(shape);
    if (random.Chance(0.5)) std::reverse(cache.bases_.begin(), cache.bases_.end());
    return cache;
  }

  [[nodiscard]] const CacheLayout& layout() const { return layout_; }
  [[nodiscard]] std::span<void* const> bases() const { return bases_; }
  [[nodiscard]] std::vector<std::byte>& bytes() { return bytes_; }

  void Fill(SeededRandom& random) {
    for (std::byte& byte : bytes_) byte = static_cast<std::byte>(random.Next());
  }
  std::byte* Row(std::uint32_t layer, std::uint32_t part, std::uint32_t page, std::uint32_t token,
                 std::uint32_t head) {
    return static_cast<std::byte*>(bases_[layer]) + part * layout_.part_stride +
           page * layout_.page_stride + token * layout_.token_stride + head * layout_.head_stride;
  }

  /// Calls visit(row in the cache, offset in the frame) for each row of one block.
  template <typename Visit>
  void ForEachRow(const StoredLayout& stored, std::span<const std::uint32_t> pages,
                  LayerSpan layers, const Visit& visit) {
    const std::uint64_t row = std::uint64_t{layout_.head_dim} * ElementBytes(layout_.type);
    const std::uint64_t tokens = stored.block_tokens;
    for (std::uint32_t layer = 0; layer < layers.count; ++layer) {
      for (std::uint32_t part = 0; part < layout_.parts; ++part) {
        for (std::uint32_t head = 0; head < layout_.heads; ++head) {
          for (std::uint32_t token = 0; token < tokens; ++token) {
            const std::uint64_t section = std::uint64_t{layer} * layout_.parts + part;
            const std::uint64_t index = stored.order == StoredOrder::kHeadsFirst
                                            ? (section * layout_.heads + head) * tokens + token
                                            : (section * tokens + token) * layout_.heads + head;
            visit(Row(layers.first + layer, part, pages[token / layout_.page_tokens],
                      token % layout_.page_tokens, head),
                  index * row);
          }
        }
      }
    }
  }

 private:
  static constexpr std::uint64_t kSlack = 64;

  std::uint64_t LayerBytes() const {
    const auto reach = [](std::uint32_t count, std::int64_t stride) {
      return count == 1 ? 0 : static_cast<std::uint64_t>(stride) * (count - 1);
    };
    const std::uint64_t bytes = std::uint64_t{layout_.head_dim} * ElementBytes(layout_.type) +
                                reach(layout_.parts, layout_.part_stride) +
                                reach(layout_.pages, layout_.page_stride) +
                                reach(layout_.page_tokens, layout_.token_stride) +
                                reach(layout_.heads, layout_.head_stride);
    return (bytes + 15) / 16 * 16;
  }

  CacheLayout layout_;
  std::vector<std::byte> bytes_;
  std::vector<void*> bases_;
};

/// `count` distinct pages of `pages` in a random order.
inline std::vector<std::uint32_t> RandomPages(std::uint32_t pages, std::uint32_t count,
                                              SeededRandom& random) {
  std::vector<std::uint32_t> all(pages);
  std::iota(all.begin(), all.end(), 0U);
  for (std::uint32_t i = 0; i < count; ++i) std::swap(all[i], all[i + random.Below(pages - i)]);
  all.resize(count);
  return all;
}

}  // namespace terrace::paged
