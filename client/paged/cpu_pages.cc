#include "client/paged/cpu_pages.h"

#include <array>
#include <cstring>

#include "base/streaming_copy.h"

namespace terrace::paged {
namespace {

// From so many bytes on a unit is written past the caches: below it the first and last line of
// each, which are written in part, cost more than is won.
constexpr std::uint32_t kStreamedBytes = 2048;

/// Of a unit on the paged side, without what the innermost dimension adds.
struct Row {
  std::uint64_t paged = 0;
  std::uint64_t stored = 0;
};

void Step(const PageDim& dim, const PageTables& tables, std::uint32_t index, Row& row) {
  row.stored += index * dim.stored_stride;
  if (dim.kind == DimKind::kLayer) {
    row.paged += tables.layer_bases[index];
    return;
  }
  const std::uint32_t steps = dim.kind == DimKind::kPage ? tables.pages[index] : index;
  row.paged += static_cast<std::uint64_t>(static_cast<std::int64_t>(steps) * dim.paged_stride);
}

/// Calls `visit` with each row of the innermost dimension, in the order of the frame.
template <typename Visit>
void ForEachRow(const PageMap& map, const PageTables& tables, const Visit& visit) {
  std::array<std::uint32_t, kMaxPageDims> index{};
  const std::uint32_t outer = map.dims - 1;
  while (true) {
    Row row;
    for (std::uint32_t i = 0; i < outer; ++i) Step(map.dim[i], tables, index[i], row);
    visit(row);
    std::uint32_t i = outer;
    while (i > 0) {
      --i;
      if (++index[i] < map.dim[i].count.divisor) break;
      index[i] = 0;
      if (i == 0) return;
    }
    if (outer == 0) return;
  }
}

/// Calls `copy(paged address, bytes from the frame's start)` for each unit.
template <typename Copy>
void ForEachUnit(const PageMap& map, const PageTables& tables, const Copy& copy) {
  const PageDim& inner = map.dim[map.dims - 1];
  ForEachRow(map, tables, [&](Row row) {
    if (inner.kind == DimKind::kStride) {  // the usual one: nothing to look up
      for (std::uint32_t i = 0; i < inner.count.divisor; ++i) {
        copy(row.paged, row.stored);
        row.paged += static_cast<std::uint64_t>(inner.paged_stride);
        row.stored += inner.stored_stride;
      }
      return;
    }
    for (std::uint32_t i = 0; i < inner.count.divisor; ++i) {
      Row unit = row;
      Step(inner, tables, i, unit);
      copy(unit.paged, unit.stored);
    }
  });
}

/// Calls `walk` with a copy of units whose length the compiler knows, for the usual lengths.
template <typename Walk>
void WithUnitCopy(std::uint32_t bytes, const Walk& walk) {
  const auto fixed = [&]<std::size_t kBytes>() {
    walk([](std::byte* to, const std::byte* from) { std::memcpy(to, from, kBytes); });
  };
  switch (bytes) {
    case 64: return fixed.template operator()<64>();
    case 128: return fixed.template operator()<128>();
    case 256: return fixed.template operator()<256>();
    case 512: return fixed.template operator()<512>();
    default: break;
  }
  if (bytes < kStreamedBytes) {
    return walk([bytes](std::byte* to, const std::byte* from) { std::memcpy(to, from, bytes); });
  }
  walk([bytes](std::byte* to, const std::byte* from) { StreamPart(to, from, bytes); });
  FinishStream();
}

}  // namespace

void Gather(const PageMap& map, const PageTables& tables, std::byte* frame) noexcept {
  WithUnitCopy(map.unit_bytes, [&](const auto& copy) {
    ForEachUnit(map, tables, [&](std::uint64_t paged, std::uint64_t stored) {
      copy(frame + stored, reinterpret_cast<const std::byte*>(paged));
    });
  });
}

void Scatter(const PageMap& map, const PageTables& tables, const std::byte* frame) noexcept {
  WithUnitCopy(map.unit_bytes, [&](const auto& copy) {
    ForEachUnit(map, tables, [&](std::uint64_t paged, std::uint64_t stored) {
      copy(reinterpret_cast<std::byte*>(paged), frame + stored);
    });
  });
}

}  // namespace terrace::paged
