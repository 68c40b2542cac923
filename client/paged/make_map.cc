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

/// Some of layer, part, page, head and token, the outermost in the stored block first.
struct Dimensions {
  std::array<Dimension, kMaxPageDims> of{};
  std::size_t count = 0;

  void Add(const Dimension& dimension) { of[count++] = dimension; }
  Dimension& back() { return of[count - 1]; }
};

Status CheckArguments(const CacheLayout& cache, const StoredLayout& stored,
                      std::span<void* const> bases, LayerSpan layers) {
  if (Status status = ValidateStored(cache, stored); !status.ok()) return status;
  if (Status status = ValidateBases(cache, bases); !status.ok()) return status;
  return ValidateLayers(cache, layers);
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
    return {.of = {layer, part, page, token, head}, .count = 5};
  }
  head.stored *= stored.block_tokens;
  return {.of = {layer, part, head, page, token}, .count = 5};
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
  const auto add_one = [&ones](const Dimension& dimension) {
    if (dimension.kind == DimKind::kStride) return;
    ones.Add({.kind = dimension.kind, .paged = dimension.paged});
  };
  for (const Dimension& dimension : dimensions.of) {
    if (dimension.count == 1) {
      add_one(dimension);
      continue;
    }
    const bool joins = kept.count != 0 && Follows(kept.back(), dimension) &&
                       kept.back().kind != DimKind::kPage && dimension.kind != DimKind::kPage &&
                       kept.back().paged != 0;
    if (!joins) {
      kept.Add(dimension);
      continue;
    }
    add_one(kept.back());
    const std::uint32_t count = kept.back().count * dimension.count;
    kept.back() = dimension;
    kept.back().count = count;
  }
  while (kept.count != 0 && kept.back().kind != DimKind::kPage &&
         kept.back().paged == static_cast<std::int64_t>(unit) && kept.back().stored == unit) {
    add_one(kept.back());
    unit *= kept.back().count;
    --kept.count;
  }
  for (std::size_t i = 0; i < kept.count; ++i) ones.Add(kept.of[i]);
  dimensions = ones;
}

}  // namespace

PageMap BuildPageMap(const CacheLayout& cache, const StoredLayout& stored,
                     std::span<void* const> bases, LayerSpan layers) {
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
  for (std::size_t i = 0; i < dimensions.count; ++i) {
    const Dimension& dimension = dimensions.of[i];
    PageDim& made = map.dim[map.dims++];
    made.count = MakeDivisor(dimension.count);
    made.kind = dimension.kind;
    made.paged_stride = dimension.kind == DimKind::kLayer ? 0 : dimension.paged;
    made.stored_stride = dimension.stored;
    map.units *= dimension.count;
  }
  return map;
}

QuantMap BuildQuantMap(const CacheLayout& cache, const StoredLayout& stored, LayerSpan layers) {
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
  map.payload_bytes = std::uint64_t{cache.heads} * stored.block_tokens * shape.row_bytes;
  map.padding = static_cast<std::uint32_t>(map.section_bytes - map.payload_bytes -
                                           ScaleBytes(cache.heads, shape.groups));
  map.part_stride = cache.part_stride;
  map.page_stride = cache.page_stride;
  map.token_stride = cache.token_stride;
  map.head_stride = cache.head_stride;
  return map;
}

Result<PageMap> MakePageMap(const CacheLayout& cache, const StoredLayout& stored,
                            std::span<void* const> bases, LayerSpan layers) {
  if (Status status = CheckArguments(cache, stored, bases, layers); !status.ok()) return status;
  if (IsQuantised(stored)) return Status::Invalid("stored.type is quantised: no page map has it");
  return BuildPageMap(cache, stored, bases, layers);
}

Result<QuantMap> MakeQuantMap(const CacheLayout& cache, const StoredLayout& stored,
                              std::span<void* const> bases, LayerSpan layers) {
  if (Status status = CheckArguments(cache, stored, bases, layers); !status.ok()) return status;
  if (!IsQuantised(stored)) return Status::Invalid("stored.type is lossless: no scales to map");
  return BuildQuantMap(cache, stored, layers);
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
