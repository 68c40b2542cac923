#include "client/cuda/copy_pages.h"

namespace terrace::paged {
namespace {

constexpr std::uint32_t kThreads = 512;
constexpr std::uint32_t kWarp = 32;
// Vectors that a thread has in flight. 8 x 16 bytes x 2,048 threads are what a multiprocessor of
// Hopper needs under way to keep its share of the memory busy.
constexpr std::uint32_t kInFlight = 8;

struct alignas(16) Vector16 {
  std::uint32_t word[4];
};

// The bytes are used once: they should push nothing out of the caches.
template <typename Vector>
__device__ __forceinline__ Vector LoadOnce(const Vector* from) {
  return *from;
}
template <>
__device__ __forceinline__ Vector16 LoadOnce(const Vector16* from) {
  Vector16 value;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.word[0]), "=r"(value.word[1]), "=r"(value.word[2]), "=r"(value.word[3])
               : "l"(from));
  return value;
}
template <typename Vector>
__device__ __forceinline__ void StoreOnce(Vector* to, const Vector& value) {
  *to = value;
}
template <>
__device__ __forceinline__ void StoreOnce(Vector16* to, const Vector16& value) {
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(value.word[0]),
               "r"(value.word[1]), "r"(value.word[2]), "r"(value.word[3])
               : "memory");
}

// How the vectors of a block are counted: block > plane > tile > vector. A plane is the units of
// the innermost dimensions, a tile kInFlight x 32 vectors of it (fewer at its end), which one warp
// moves at a time. The plane's place is looked up once for the warp; the dimensions inside it for
// each vector.
struct Tiling {
  Divisor block_tiles;
  Divisor plane_tiles;
  Divisor unit_vectors;
  std::uint32_t plane_vectors = 0;
  std::uint32_t outer_dims = 0;  // what a plane is named by
  std::uint32_t tiles = 0;       // of the launch
};

template <typename Vector, MoveWay kWay, bool kInner>
__global__ void __launch_bounds__(kThreads) CopyPages(const CopyJob job, const Tiling tiling) {
  const std::uint32_t lane = threadIdx.x % kWarp;
  const std::uint32_t warps = gridDim.x * (kThreads / kWarp);
  std::uint32_t tile = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
  for (; tile < tiling.tiles; tile += warps) {
    const std::uint32_t block = tiling.block_tiles.Quotient(tile);
    const std::uint32_t in_block = tile - block * tiling.block_tiles.divisor;
    const std::uint32_t plane = tiling.plane_tiles.Quotient(in_block);
    const std::uint32_t first =
        (in_block - plane * tiling.plane_tiles.divisor) * (kInFlight * kWarp) + lane;
    const PageTables tables{job.layer_bases,
                            job.pages + std::uint64_t{block} * job.map.block_pages};
    UnitPlace base;
    AddPlaces(job.map, tables, 0, tiling.outer_dims, plane, base);
    base.stored += job.frames[block];
    Vector values[kInFlight];
    UnitPlace places[kInFlight];
#pragma unroll
    for (std::uint32_t i = 0; i < kInFlight; ++i) {
      const std::uint32_t vector = first + i * kWarp;
      if (vector < tiling.plane_vectors) {
        places[i] = base;
        std::uint32_t within = vector;
        if constexpr (kInner) {
          const std::uint32_t unit = tiling.unit_vectors.Quotient(vector);
          within = vector - unit * tiling.unit_vectors.divisor;
          AddPlaces(job.map, tables, tiling.outer_dims, job.map.dims, unit, places[i]);
        }
        places[i].paged += std::uint64_t{within} * sizeof(Vector);
        places[i].stored += std::uint64_t{within} * sizeof(Vector);
        values[i] = LoadOnce(reinterpret_cast<const Vector*>(
            kWay == MoveWay::kGather ? places[i].paged : places[i].stored));
      }
    }
#pragma unroll
    for (std::uint32_t i = 0; i < kInFlight; ++i) {
      if (first + i * kWarp < tiling.plane_vectors) {
        StoreOnce(reinterpret_cast<Vector*>(kWay == MoveWay::kGather ? places[i].stored
                                                                     : places[i].paged),
                  values[i]);
      }
    }
  }
}

// Planes of at least a tile, from as few inner dimensions as give that.
Tiling MakeTiling(const PageMap& map, std::uint32_t unit_vectors) noexcept {
  constexpr std::uint32_t kTile = kInFlight * kWarp;
  Tiling tiling;
  tiling.unit_vectors = MakeDivisor(unit_vectors);
  tiling.plane_vectors = unit_vectors;
  tiling.outer_dims = map.dims;
  while (tiling.plane_vectors < kTile && tiling.outer_dims > 0) {
    tiling.plane_vectors *= map.dim[--tiling.outer_dims].count.divisor;
  }
  const std::uint32_t plane_tiles = (tiling.plane_vectors + kTile - 1) / kTile;
  const std::uint32_t planes = map.units / (tiling.plane_vectors / unit_vectors);
  tiling.plane_tiles = MakeDivisor(plane_tiles);
  tiling.block_tiles = MakeDivisor(plane_tiles * planes);
  return tiling;
}

template <typename Vector, MoveWay kWay>
cudaError_t Launch(const CopyJob& job, const CopyGrid& grid, cudaStream_t stream) noexcept {
  constexpr std::uint32_t kWarps = kThreads / kWarp;
  Tiling tiling =
      MakeTiling(job.map, static_cast<std::uint32_t>(job.map.unit_bytes / sizeof(Vector)));
  // Tiles are counted in 31 bits: more blocks go into several launches.
  const std::uint32_t most = (std::uint32_t{1} << 30) / tiling.block_tiles.divisor;
  CopyJob part = job;
  for (std::uint32_t done = 0; done < job.blocks; done += part.blocks) {
    part.blocks = job.blocks - done < most ? job.blocks - done : most;
    part.pages = job.pages + std::uint64_t{done} * job.map.block_pages;
    part.frames = job.frames + done;
    tiling.tiles = part.blocks * tiling.block_tiles.divisor;
    const std::uint32_t needed = (tiling.tiles + kWarps - 1) / kWarps;
    const std::uint32_t blocks = needed < grid.thread_blocks ? needed : grid.thread_blocks;
    if (tiling.outer_dims == job.map.dims) {
      CopyPages<Vector, kWay, false><<<blocks, kThreads, 0, stream>>>(part, tiling);
    } else {
      CopyPages<Vector, kWay, true><<<blocks, kThreads, 0, stream>>>(part, tiling);
    }
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
      return error;
    }
  }
  return cudaSuccess;
}

template <typename Vector>
cudaError_t LaunchWay(const CopyJob& job, MoveWay way, const CopyGrid& grid,
                      cudaStream_t stream) noexcept {
  return way == MoveWay::kGather ? Launch<Vector, MoveWay::kGather>(job, grid, stream)
                                 : Launch<Vector, MoveWay::kScatter>(job, grid, stream);
}

}  // namespace

cudaError_t LaunchCopyPages(const CopyJob& job, MoveWay way, const CopyGrid& grid,
                            cudaStream_t stream) noexcept {
  if (job.blocks == 0 || job.map.units == 0) {
    return cudaSuccess;
  }
  switch (job.alignment) {
    case 16: return LaunchWay<Vector16>(job, way, grid, stream);
    case 8:
    case 4: return LaunchWay<std::uint32_t>(job, way, grid, stream);
    default: return LaunchWay<std::uint8_t>(job, way, grid, stream);
  }
}

}  // namespace terrace::paged
