#include "client/layout.hpp"

#include <array>
#include <initializer_list>

namespace terrace {
namespace {

enum class Axis : std::uint8_t { kLayer, kPart, kPage, kToken, kHead };

struct Strides {
  CacheLayout cache;
  std::int64_t layer = 0;
};

/// A dense tensor of these axes, the outermost first, around rows of head_dim elements.
/// Multiplications wrap: what does not fit an address is refused by ValidateCache.
Strides Dense(const CacheShape& shape, std::uint32_t parts, std::initializer_list<Axis> axes) {
  Strides made;
  CacheLayout& cache = made.cache;
  cache = {.layers = shape.layers,
           .parts = parts,
           .pages = shape.pages,
           .page_tokens = shape.page_tokens,
           .heads = shape.heads,
           .head_dim = shape.head_dim,
           .type = shape.type};
  std::uint64_t stride = std::uint64_t{shape.head_dim} * ElementBytes(shape.type);
  for (auto axis = axes.end(); axis != axes.begin();) {
    --axis;
    const auto here = static_cast<std::int64_t>(stride);
    switch (*axis) {
      case Axis::kLayer:
        made.layer = here;
        stride *= shape.layers;
        break;
      case Axis::kPart:
        cache.part_stride = here;
        stride *= parts;
        break;
      case Axis::kPage:
        cache.page_stride = here;
        stride *= shape.pages;
        break;
      case Axis::kToken:
        cache.token_stride = here;
        stride *= shape.page_tokens;
        break;
      case Axis::kHead:
        cache.head_stride = here;
        stride *= shape.heads;
        break;
    }
  }
  return made;
}

using enum Axis;

Strides OfAllLayers(const CacheShape& shape, PageOrder order) {
  return order == PageOrder::kNhd ? Dense(shape, 2, {kPage, kLayer, kPart, kToken, kHead})
                                  : Dense(shape, 2, {kPage, kLayer, kPart, kHead, kToken});
}

Strides OfAllLayers(const CacheShape& shape, CrossLayerOrder order) {
  switch (order) {
    case CrossLayerOrder::kLBHNC: return Dense(shape, 1, {kLayer, kPage, kHead, kToken});
    case CrossLayerOrder::kLBNHC: return Dense(shape, 1, {kLayer, kPage, kToken, kHead});
    case CrossLayerOrder::kLHBNC: return Dense(shape, 1, {kLayer, kHead, kPage, kToken});
    case CrossLayerOrder::kBLHNC: return Dense(shape, 1, {kPage, kLayer, kHead, kToken});
    case CrossLayerOrder::kBLNHC: return Dense(shape, 1, {kPage, kLayer, kToken, kHead});
    case CrossLayerOrder::kBHLNC: return Dense(shape, 1, {kPage, kHead, kLayer, kToken});
  }
  return {};  // no such order: a layout of nothing, which ValidateCache refuses
}

CacheLayout OneLayer(const CacheShape& shape, std::uint32_t parts, PageOrder order) {
  return order == PageOrder::kNhd ? Dense(shape, parts, {kPart, kPage, kToken, kHead}).cache
                                  : Dense(shape, parts, {kPart, kPage, kHead, kToken}).cache;
}

}  // namespace

std::uint32_t ElementBytes(ElementType type) noexcept {
  switch (type) {
    case ElementType::kBf16:
    case ElementType::kFp16: return 2;
    case ElementType::kFp8E4m3:
    case ElementType::kFp8E5m2:
    case ElementType::kInt8: return 1;
    case ElementType::kFp32: return 4;
  }
  return 0;
}

CacheLayout PartsFirst(const CacheShape& shape, PageOrder order) noexcept {
  return OneLayer(shape, 2, order);
}

CacheLayout PagesFirst(const CacheShape& shape, PageOrder order) noexcept {
  return order == PageOrder::kNhd ? Dense(shape, 2, {kPage, kPart, kToken, kHead}).cache
                                  : Dense(shape, 2, {kPage, kPart, kHead, kToken}).cache;
}

CacheLayout FusedParts(const CacheShape& shape, PageOrder order) noexcept {
  CacheShape wide = shape;
  wide.head_dim *= 2;
  return OneLayer(wide, 1, order);
}

CacheLayout SeparateParts(const CacheShape& shape, PageOrder order) noexcept {
  CacheShape twice = shape;
  twice.layers *= 2;
  return OneLayer(twice, 1, order);
}

CacheLayout Latent(const CacheShape& shape) noexcept {
  CacheShape one = shape;
  one.heads = 1;
  return OneLayer(one, 1, PageOrder::kNhd);
}

CacheLayout CrossLayer(const CacheShape& shape, PageOrder order) noexcept {
  return OfAllLayers(shape, order).cache;
}

CacheLayout CrossLayer(const CacheShape& shape, CrossLayerOrder order) noexcept {
  return OfAllLayers(shape, order).cache;
}

std::int64_t LayerStride(const CacheShape& shape, PageOrder order) noexcept {
  return OfAllLayers(shape, order).layer;
}

std::int64_t LayerStride(const CacheShape& shape, CrossLayerOrder order) noexcept {
  return OfAllLayers(shape, order).layer;
}

std::vector<void*> LayerBases(void* base, std::uint32_t layers, std::int64_t stride) {
  std::vector<void*> bases;
  bases.reserve(layers);
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    bases.push_back(static_cast<std::byte*>(base) + static_cast<std::int64_t>(layer) * stride);
  }
  return bases;
}

}  // namespace terrace
