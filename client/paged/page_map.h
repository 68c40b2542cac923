// Where the bytes of a block lie in an engine's paged cache: the index arithmetic that the CPU's
// copies and the GPU's kernels share, so that tests of the one hold for the other.
//
// A block is moved as units: runs of bytes that are contiguous on both sides. A PageMap names every
// unit by nested dimensions, the outermost first, in ascending order of their place in the stored
// block; a unit's place on either side is the sum over its dimensions of index x stride, where the
// layer's part on the paged side comes from a table of layer bases, and the page's from the list of
// page numbers. Plain data without a constructor: it is passed to kernels by value.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define TERRACE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define TERRACE_HOST_DEVICE inline
#endif

namespace terrace::paged {

/// Division of 32-bit numbers by one that is known before the loop: a multiplication and a shift
/// (Granlund and Montgomery, PLDI 1994, for the round-up method). Exact for dividends below 2^31.
struct Divisor {
  std::uint32_t divisor = 1;
  std::uint32_t multiplier = 0;  // 0: the divisor is 1
  std::uint32_t shift = 0;

  TERRACE_HOST_DEVICE std::uint32_t Quotient(std::uint32_t number) const {
    if (multiplier == 0) {
      return number;
    }
    return static_cast<std::uint32_t>((std::uint64_t{number} * multiplier) >> shift);
  }
};

/// REQUIRES: 1 <= divisor < 2^31.
inline Divisor MakeDivisor(std::uint32_t divisor) {
  Divisor made;
  made.divisor = divisor;
  if (divisor == 1) {
    return made;
  }
  std::uint32_t bits = 0;  // ceil(log2(divisor))
  while ((std::uint64_t{1} << bits) < divisor) {
    ++bits;
  }
  made.shift = 31 + bits;
  made.multiplier =
      static_cast<std::uint32_t>(((std::uint64_t{1} << made.shift) + divisor - 1) / divisor);
  return made;
}

/// What a dimension's index is multiplied with on the paged side.
enum class DimKind : std::uint32_t {
  kStride = 0,  ///< paged_stride.
  kLayer = 1,   ///< The layer's base in the table; paged_stride is not used.
  kPage = 2,    ///< The page's number, then paged_stride.
};

struct PageDim {
  Divisor count;
  DimKind kind = DimKind::kStride;
  std::int64_t paged_stride = 0;    ///< Bytes; negative where a layout runs backwards.
  std::uint64_t stored_stride = 0;  ///< Bytes.
};

inline constexpr std::uint32_t kMaxPageDims = 5;

/// The units of one block. One dimension is kLayer and one kPage, of count 1 if need be; those of
/// count 1 come first.
struct PageMap {
  std::uint32_t unit_bytes = 0;
  std::uint32_t dims = 0;  ///< Used entries of `dim`, the outermost first.
  PageDim dim[kMaxPageDims];
  std::uint32_t units = 0;        ///< Of a block: the product of the counts.
  std::uint32_t block_pages = 0;  ///< Pages of a block: the count of the kPage dimension.
};

/// Where one unit lies.
struct UnitPlace {
  std::uint64_t paged = 0;   ///< Bytes from address 0: the layer's base is in it.
  std::uint64_t stored = 0;  ///< Bytes from the start of the block.
};

/// What the dimensions kLayer and kPage, which every map has, look their places up in.
struct PageTables {
  const std::uint64_t* layer_bases = nullptr;  ///< Address of each layer that is moved.
  const std::uint32_t* pages = nullptr;        ///< Numbers of the block's pages.
};

/// Adds the places of dimensions [first, last): `rest` counts their indices, the innermost fastest.
TERRACE_HOST_DEVICE void AddPlaces(const PageMap& map, const PageTables& tables,
                                   std::uint32_t first, std::uint32_t last, std::uint32_t rest,
                                   UnitPlace& place) {
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
  for (std::uint32_t i = kMaxPageDims; i-- > 0;) {
    if (i < first || i >= last) {
      continue;
    }
    const PageDim& dim = map.dim[i];
    const std::uint32_t outer = dim.count.Quotient(rest);
    const std::uint32_t index = rest - outer * dim.count.divisor;
    rest = outer;
    place.stored += index * dim.stored_stride;
    if (dim.kind == DimKind::kLayer) {
      place.paged += tables.layer_bases[index];
    } else {
      const std::uint32_t steps = dim.kind == DimKind::kPage ? tables.pages[index] : index;
      place.paged +=
          static_cast<std::uint64_t>(static_cast<std::int64_t>(steps) * dim.paged_stride);
    }
  }
}

/// REQUIRES: unit < map.units.
TERRACE_HOST_DEVICE UnitPlace PlaceOfUnit(const PageMap& map, const PageTables& tables,
                                          std::uint32_t unit) {
  UnitPlace place;
  AddPlaces(map, tables, 0, map.dims, unit, place);
  return place;
}

}  // namespace terrace::paged
