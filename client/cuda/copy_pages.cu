#include "client/cuda/copy_pages.h"

namespace terrace::paged {
namespace {

constexpr std::uint32_t kThreads = 512;
constexpr std::uint32_t kWarp = 32;
// Vectors that a thread has in flight, at most. 8 x 16 bytes x 1,024 threads are what a
// multiprocessor of Hopper needs under way to keep its share of the memory busy.
constexpr std::uint32_t kMostInFlight = 8;

struct alignas(16) Vector16 {
  std::uint32_t word[4];
};

// The bytes are used once: they should push nothing out of the caches.
template <typename Vector>
__device__ __forceinline__ Vector LoadOnce(std::uint64_t from) {
  return *reinterpret_cast<const Vector*>(from);
}
template <>
__device__ __forceinline__ Vector16 LoadOnce(std::uint64_t from) {
  Vector16 value;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.word[0]), "=r"(value.word[1]), "=r"(value.word[2]), "=r"(value.word[3])
               : "l"(from));
  return value;
}
template <typename Vector>
__device__ __forceinline__ void StoreOnce(std::uint64_t to, const Vector& value) {
  *reinterpret_cast<Vector*>(to) = value;
}
template <>
__device__ __forceinline__ void StoreOnce(std::uint64_t to, const Vector16& value) {
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(value.word[0]),
               "r"(value.word[1]), "r"(value.word[2]), "r"(value.word[3])
               : "memory");
}

// How the vectors of a launch are counted: block > tile > step > lane. A warp moves a tile at a
// time, each thread one vector a step.
struct Tiling {
  Divisor block_tiles;
  Divisor unit_vectors;
  std::uint32_t tile_vectors = 0;
  std::uint32_t block_vectors = 0;
  std::uint32_t tiles = 0;   // of the launch
  std::uint32_t blocks = 0;  // of the launch
};

// Where the steps of a regular tile lie from its first vector on: the same for all tiles and lanes.
struct Steps {
  std::uint64_t paged[kMostInFlight];
  std::uint64_t stored[kMostInFlight];
};

struct Tile {
  std::uint32_t block;
  std::uint32_t first;  // vector of the block
};

__device__ __forceinline__ Tile TileOf(const Tiling& tiling, std::uint32_t tile) {
  const std::uint32_t block = tiling.block_tiles.Quotient(tile);
  return {block, (tile - block * tiling.block_tiles.divisor) * tiling.tile_vectors};
}

template <typename Vector>
TERRACE_HOST_DEVICE UnitPlace PlaceOfVector(const PageMap& map, const PageTables& tables,
                                            const Divisor& unit_vectors, std::uint32_t vector) {
  const std::uint32_t unit = unit_vectors.Quotient(vector);
  UnitPlace place = PlaceOfUnit(map, tables, unit);
  const std::uint64_t within = std::uint64_t{vector - unit * unit_vectors.divisor} * sizeof(Vector);
  place.paged += within;
  place.stored += within;
  return place;
}

// Regular tiles: the place of a vector is that of its tile + that of its lane + that of its step
// (IsRegular says when), so that each is looked up once.
template <MoveWay kWay, std::uint32_t kInFlight, typename Table>
__global__ void __launch_bounds__(kThreads, 2)
    CopyRegular(const CopyJob job, const Tiling tiling, const Steps steps,
                const __grid_constant__ Table table) {
  using Vector = Vector16;
  const std::uint32_t warps = gridDim.x * (kThreads / kWarp);
  // No layer and no page changes within a tile: relative to the first vector they cancel out.
  const std::uint64_t no_base = 0;
  const std::uint32_t no_page = 0;
  const UnitPlace lane = PlaceOfVector<Vector>(job.map, {&no_base, &no_page}, tiling.unit_vectors,
                                               threadIdx.x % kWarp);
  for (std::uint32_t layer = 0; layer < job.walk.layers; ++layer) {
    std::uint32_t number = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
    for (; number < tiling.tiles; number += warps) {
      const Tile tile = TileOf(tiling, number);
      const PageTables tables{job.layer_bases + layer,
                              table.Pages(tiling.blocks, tile.block, job.map.block_pages)};
      UnitPlace place = PlaceOfVector<Vector>(job.map, tables, tiling.unit_vectors, tile.first);
      place.paged += lane.paged;
      place.stored += lane.stored + table.words[tile.block] + layer * job.walk.frame_stretch;
      Vector values[kInFlight];
#pragma unroll
      for (std::uint32_t i = 0; i < kInFlight; ++i) {
        values[i] = LoadOnce<Vector>(kWay == MoveWay::kGather ? place.paged + steps.paged[i]
                                                              : place.stored + steps.stored[i]);
      }
#pragma unroll
      for (std::uint32_t i = 0; i < kInFlight; ++i) {
        StoreOnce<Vector>(kWay == MoveWay::kGather ? place.stored + steps.stored[i]
                                                   : place.paged + steps.paged[i],
                          values[i]);
      }
    }
    TellLayer(job.walk, layer);
  }
}

// Any other: each vector's place is looked up.
template <typename Vector, MoveWay kWay, typename Table>
__global__ void __launch_bounds__(kThreads)
    CopyAny(const CopyJob job, const Tiling tiling, const __grid_constant__ Table table) {
  constexpr std::uint32_t kInFlight = 4;
  const std::uint32_t warps = gridDim.x * (kThreads / kWarp);
  for (std::uint32_t layer = 0; layer < job.walk.layers; ++layer) {
    std::uint32_t number = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
    for (; number < tiling.tiles; number += warps) {
      const Tile tile = TileOf(tiling, number);
      const PageTables tables{job.layer_bases + layer,
                              table.Pages(tiling.blocks, tile.block, job.map.block_pages)};
      const std::uint64_t frame = table.words[tile.block] + layer * job.walk.frame_stretch;
      Vector values[kInFlight];
      std::uint64_t to[kInFlight];
#pragma unroll
      for (std::uint32_t i = 0; i < kInFlight; ++i) {
        const std::uint32_t vector = tile.first + i * kWarp + threadIdx.x % kWarp;
        if (vector < tiling.block_vectors) {
          const UnitPlace place =
              PlaceOfVector<Vector>(job.map, tables, tiling.unit_vectors, vector);
          const std::uint64_t stored = frame + place.stored;
          to[i] = kWay == MoveWay::kGather ? stored : place.paged;
          values[i] = LoadOnce<Vector>(kWay == MoveWay::kGather ? place.paged : stored);
        }
      }
#pragma unroll
      for (std::uint32_t i = 0; i < kInFlight; ++i) {
        if (tile.first + i * kWarp + threadIdx.x % kWarp < tiling.block_vectors) {
          StoreOnce<Vector>(to[i], values[i]);
        }
      }
    }
    TellLayer(job.walk, layer);
  }
}

// True: `count` vectors from any multiple of `count` on lie as the first `count` do, seen from
// their first one, and none of the indices of layers and pages changes among them. Vectors are
// counted in mixed digits, those inside a unit first, then one digit a dimension from the innermost
// on: that is so when the `count` numbers are whole digits and an even part of the next one.
bool AreAlike(const PageMap& map, std::uint32_t unit_vectors, std::uint32_t count) noexcept {
  if (unit_vectors % count == 0) {
    return true;
  }
  if (count % unit_vectors != 0) {
    return false;
  }
  count /= unit_vectors;
  for (std::uint32_t i = map.dims; i-- > 0;) {
    const PageDim& dim = map.dim[i];
    if (dim.count.divisor > 1 && dim.kind != DimKind::kStride) {
      return false;
    }
    if (dim.count.divisor % count == 0) {
      return true;
    }
    if (count % dim.count.divisor != 0) {
      return false;
    }
    count /= dim.count.divisor;
  }
  return false;
}

Steps StepsOf(const PageMap& map, const Divisor& unit_vectors) noexcept {
  const std::uint64_t no_base = 0;
  const std::uint32_t no_page = 0;
  Steps steps{};
  for (std::uint32_t i = 0; i < kMostInFlight; ++i) {
    const std::uint32_t vector = i * kWarp;
    if (unit_vectors.Quotient(vector) >= map.units) {
      break;
    }
    const UnitPlace place =
        PlaceOfVector<Vector16>(map, {&no_base, &no_page}, unit_vectors, vector);
    steps.paged[i] = place.paged;
    steps.stored[i] = place.stored;
  }
  return steps;
}

// Steps of a regular tile of vectors of 16 bytes; 0: there are none.
std::uint32_t RegularSteps(const PageMap& map, std::uint32_t unit_vectors) noexcept {
  if (!AreAlike(map, unit_vectors, kWarp)) {
    return 0;
  }
  for (const std::uint32_t steps : {kMostInFlight, kMostInFlight / 2}) {
    if (unit_vectors * map.units % (steps * kWarp) == 0 &&
        AreAlike(map, unit_vectors, steps * kWarp)) {
      return steps;
    }
  }
  return 0;
}

template <typename Vector, MoveWay kWay, typename Table>
void LaunchOne(const CopyJob& job, const Tiling& tiling, std::uint32_t regular, const Table& table,
               std::uint32_t thread_blocks, cudaStream_t stream) noexcept {
  if constexpr (sizeof(Vector) == sizeof(Vector16)) {
    if (regular != 0) {
      const Steps steps = StepsOf(job.map, tiling.unit_vectors);
      if (regular == kMostInFlight) {
        CopyRegular<kWay, kMostInFlight>
            <<<thread_blocks, kThreads, 0, stream>>>(job, tiling, steps, table);
      } else {
        CopyRegular<kWay, kMostInFlight / 2>
            <<<thread_blocks, kThreads, 0, stream>>>(job, tiling, steps, table);
      }
      return;
    }
  }
  CopyAny<Vector, kWay><<<thread_blocks, kThreads, 0, stream>>>(job, tiling, table);
}

template <typename Vector, MoveWay kWay, typename Table>
cudaError_t Launch(const CopyJob& job, const BlockList& list, const CopyGrid& grid,
                   cudaStream_t stream, std::uint32_t& thread_blocks) noexcept {
  constexpr std::uint32_t kWarps = kThreads / kWarp;
  const auto unit_vectors = static_cast<std::uint32_t>(job.map.unit_bytes / sizeof(Vector));
  const std::uint32_t regular =
      sizeof(Vector) == sizeof(Vector16) ? RegularSteps(job.map, unit_vectors) : 0;
  Tiling tiling;
  tiling.unit_vectors = MakeDivisor(unit_vectors);
  tiling.block_vectors = unit_vectors * job.map.units;
  tiling.tile_vectors = (regular == 0 ? 4 : regular) * kWarp;
  tiling.block_tiles =
      MakeDivisor((tiling.block_vectors + tiling.tile_vectors - 1) / tiling.tile_vectors);
  // A launch takes the blocks that fit its parameters, and counts tiles in 31 bits.
  std::uint32_t most = Table::Capacity(list.block_pages);
  if (const std::uint32_t tiles = (std::uint32_t{1} << 30) / tiling.block_tiles.divisor;
      tiles < most) {
    most = tiles;
  }
  Table table;
  for (std::uint32_t done = 0; done < list.blocks; done += tiling.blocks) {
    tiling.blocks = list.blocks - done < most ? list.blocks - done : most;
    tiling.tiles = tiling.blocks * tiling.block_tiles.divisor;
    table.Fill(list, done, tiling.blocks);
    const std::uint32_t needed = (tiling.tiles + kWarps - 1) / kWarps;
    const std::uint32_t blocks = grid.ThreadBlocks(
        needed, tiling.tile_vectors * kWarps * static_cast<std::uint32_t>(sizeof(Vector)));
    LaunchOne<Vector, kWay>(job, tiling, regular, table, blocks, stream);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
      return error;
    }
    thread_blocks += blocks;
  }
  return cudaSuccess;
}

template <typename Vector>
cudaError_t LaunchVectors(const CopyJob& job, const BlockList& list, MoveWay way,
                          const CopyGrid& grid, cudaStream_t stream,
                          std::uint32_t& thread_blocks) noexcept {
  const bool large = list.blocks > SmallTable::Capacity(list.block_pages);
  if (way == MoveWay::kGather) {
    return large ? Launch<Vector, MoveWay::kGather, LargeTable>(job, list, grid, stream,
                                                                thread_blocks)
                 : Launch<Vector, MoveWay::kGather, SmallTable>(job, list, grid, stream,
                                                                thread_blocks);
  }
  return large
             ? Launch<Vector, MoveWay::kScatter, LargeTable>(job, list, grid, stream, thread_blocks)
             : Launch<Vector, MoveWay::kScatter, SmallTable>(job, list, grid, stream,
                                                             thread_blocks);
}

}  // namespace

cudaError_t LaunchCopyPages(const CopyJob& job, const BlockList& list, MoveWay way,
                            const CopyGrid& grid, cudaStream_t stream,
                            std::uint32_t& thread_blocks) noexcept {
  if (job.map.units == 0) {
    return cudaSuccess;
  }
  switch (job.alignment) {
    case 16: return LaunchVectors<Vector16>(job, list, way, grid, stream, thread_blocks);
    case 8:
    case 4: return LaunchVectors<std::uint32_t>(job, list, way, grid, stream, thread_blocks);
    default: return LaunchVectors<std::uint8_t>(job, list, way, grid, stream, thread_blocks);
  }
}

}  // namespace terrace::paged
