#include "client/paged/make_map.h"

#include <array>
#include <string>

#include "client/paged/stored_shape.h"

namespace terrace::paged {
namespace {

static_assert(static_cast<std::uint32_t>(ElementType::kBf16) == kElementBf16);
static_assert(static_cast<std::uint32_t>(ElementType::kFp16) == kElementFp16);
static_assert(static_cast<std::uint32_t>(ElementType::kFp32) == kElementFp32);
static_assert(static_cast<std::uint32_t>(StoredType::kFp8E4m3) == kStoredFp8E4m3);
static_assert(static_cast<std::uint32_t>(StoredType::kInt8) == kStoredInt8);

struct Dimension {
  std::uint32_t count = 1;
  DimKind kind = DimKind::kStride;
  std::int64_t paged = 0;    // stride, bytes
  std::uint64_t stored = 0;  // stride, bytes
};

/// Of layer, part, page, head and token, the outermost in the stored block first.
using Dimensions = std::vector<Dimension>;

Status CheckArguments(const CacheLayout& cache, const StoredLayout& stored,
                      std::span<void* const> bases, LayerSpan layers) {
  if (Status status = ValidateStored(cache, stored); !status.ok()) return status;
  if (Status status = ValidateBases(cache, bases); !status.ok()) return status;
  if (layers.first >= cache.layers || layers.count > cache.layers - layers.first) {
    return Status::Invalid("layers is " + std::to_string(layers.count) + " from " +
                           std::to_string(layers.first) + " on, and cache.layers is " +
                           std::to_string(cache.layers));
  }
  return {};
}

/// What is between two neighbours of `bases`; 0: not always the same, or there are no two.
std::int64_t Spacing(std::span<void* const> bases) {
  const auto address = [&](std::size_t i) { return reinterpret_cast<std::intptr_t>(bases[i]); };
  for (std::size_t i = 2; i < bases.size(); ++i) {
    if (address(i) - address(i - 1) != address(1) - address(0)) return 0;
  }
  return bases.size() < 2 ? 0 : address(1) - address(0);
}

Dimensions DimensionsOf(const CacheLayout& cache, const StoredLayout& stored,
                        const StoredShape& shape, std::span<void* const> bases) {
  const std::uint64_t row = shape.row_bytes;
  const Dimension part{cache.parts, DimKind::kStride, cache.part_stride, shape.frame_section_bytes};
  Dimension layer{static_cast<std::uint32_t>(bases.size()), DimKind::kLayer, Spacing(bases),
                  shape.frame_section_bytes * cache.parts};
  Dimension page{shape.block_pages, DimKind::kPage, cache.page_stride, row * cache.page_tokens};
  Dimension token{cache.page_tokens, DimKind::kStride, cache.token_stride, row};
  Dimension head{cache.heads, DimKind::kStride, cache.head_stride, row};
  if (stored.order == StoredOrder::kTokensFirst) {
    token.stored *= cache.heads;
    page.stored *= cache.heads;
    return {layer, part, page, token, head};
  }
  head.stored *= stored.block_tokens;
  return {layer, part, head, page, token};
}

bool Follows(const Dimension& outer, const Dimension& inner) {
  return outer.paged == inner.paged * static_cast<std::int64_t>(inner.count) &&
         outer.stored == inner.stored * inner.count;
}

/// Joins neighbours that are one walk on both sides, and what touches the unit with it. Layers join
/// as if they were a stride, where they are equally spaced; their dimension is then one of count 1.
void Merge(Dimensions& dimensions, std::uint64_t& unit) {
  Dimensions ones;  // kLayer and kPage are always there
  Dimensions kept;
  const auto keep_one = [&](DimKind kind) {
    if (kind != DimKind::kStride) ones.push_back({.kind = kind});
  };
  for (const Dimension& dimension : dimensions) {
    if (dimension.count == 1) {
      Dimension one = dimension;
      one.stored = 0;
      if (one.kind != DimKind::kStride) ones.push_back(one);
      continue;
    }
    const bool joins = !kept.empty() && Follows(kept.back(), dimension) &&
                       kept.back().kind != DimKind::kPage && dimension.kind != DimKind::kPage &&
                       kept.back().paged != 0;
    if (!joins) {
      kept.push_back(dimension);
      continue;
    }
    keep_one(kept.back().kind);
    kept.back().count *= dimension.count;
    kept.back().kind = DimKind::kStride;
    kept.back().paged = dimension.paged;
    kept.back().stored = dimension.stored;
  }
  while (!kept.empty() && kept.back().kind != DimKind::kPage &&
         kept.back().paged == static_cast<std::int64_t>(unit) && kept.back().stored == unit) {
    keep_one(kept.back().kind);
    unit *= kept.back().count;
    kept.pop_back();
  }
  ones.insert(ones.end(), kept.begin(), kept.end());
  dimensions = std::move(ones);
}

}  // namespace

Result<PageMap> MakePageMap(const CacheLayout& cache, const StoredLayout& stored,
                            std::span<void* const> bases, LayerSpan layers) {
  if (Status status = CheckArguments(cache, stored, bases, layers); !status.ok()) return status;
  if (IsQuantised(stored)) return Status::Invalid("stored.type is quantised: no page map has it");
  layers = Filled(cache, layers);
  const StoredShape shape = ShapeOf(cache, stored);
  Dimensions dimensions =
      DimensionsOf(cache, stored, shape, bases.subspan(layers.first, layers.count));
  std::uint64_t unit = shape.row_bytes;
  Merge(dimensions, unit);
  PageMap map;
  map.unit_bytes = static_cast<std::uint32_t>(unit);
  map.units = 1;
  map.block_pages = shape.block_pages;
  for (const Dimension& dimension : dimensions) {
    PageDim& made = map.dim[map.dims++];
    made.count = MakeDivisor(dimension.count);
    made.kind = dimension.kind;
    made.paged_stride = dimension.kind == DimKind::kLayer ? 0 : dimension.paged;
    made.stored_stride = dimension.stored;
    map.units *= dimension.count;
  }
  return map;
}

Result<QuantMap> MakeQuantMap(const CacheLayout& cache, const StoredLayout& stored,
                              std::span<void* const> bases, LayerSpan layers) {
  if (Status status = CheckArguments(cache, stored, bases, layers); !status.ok()) return status;
  if (!IsQuantised(stored)) return Status::Invalid("stored.type is lossless: no scales to map");
  layers = Filled(cache, layers);
  const StoredShape shape = ShapeOf(cache, stored);
  QuantMap map;
  map.element = static_cast<std::uint32_t>(cache.type);
  map.stored = static_cast<std::uint32_t>(stored.type);
  map.head_dim = cache.head_dim;
  map.group_tokens = shape.group_tokens;
  map.groups = MakeDivisor(shape.groups);
  map.groups_of_page = MakeDivisor(cache.page_tokens / shape.group_tokens);
  map.heads = MakeDivisor(cache.heads);
  map.parts = MakeDivisor(cache.parts);
  map.items = layers.count * cache.parts * cache.heads * shape.groups;
  map.block_pages = shape.block_pages;
  map.section_bytes = shape.frame_section_bytes;
  map.payload_bytes = cache.heads * stored.block_tokens * shape.row_bytes;
  map.padding = static_cast<std::uint32_t>(map.section_bytes - map.payload_bytes -
                                           ScaleBytes(cache.heads, shape.groups));
  map.part_stride = cache.part_stride;
  map.page_stride = cache.page_stride;
  map.token_stride = cache.token_stride;
  map.head_stride = cache.head_stride;
  return map;
}

std::vector<std::uint64_t> LayerTable(std::span<void* const> bases, LayerSpan layers) {
  if (layers.count == 0) {
    layers.count = static_cast<std::uint32_t>(bases.size()) - layers.first;
  }
  std::vector<std::uint64_t> table;
  for (void* base : bases.subspan(layers.first, layers.count)) {
    table.push_back(reinterpret_cast<std::uintptr_t>(base));
  }
  return table;
}

}  // namespace terrace::paged
