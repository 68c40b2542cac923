#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "client/cuda/quantise_pages.h"
#include "client/paged/quantise.h"

namespace terrace::paged {
namespace {

constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kWarp = 32;
// Vectors of a group that a thread keeps between the search for amax and the quantising.
constexpr std::uint32_t kKept = 8;
// Vectors of bytes that a thread has in flight when it scatters.
constexpr std::uint32_t kInFlight = 4;

// ---- Elements, by vectors of kWide of them -------------------------------------------------

template <std::uint32_t kElement>
struct Element;
template <>
struct Element<kElementBf16> {
  using Bits = std::uint16_t;
  static constexpr std::uint32_t kWide = 8;  // in 16 bytes
  static constexpr std::uint32_t kPerWord = 2;
  static __device__ float ToFloat(Bits bits) { return FromBf16(bits); }
  static __device__ Bits FromFloat(float value) {
    return value != value ? Bits{0x7fc0} : __bfloat16_as_ushort(__float2bfloat16_rn(value));
  }
};
template <>
struct Element<kElementFp16> {
  using Bits = std::uint16_t;
  static constexpr std::uint32_t kWide = 8;
  static constexpr std::uint32_t kPerWord = 2;
  static __device__ float ToFloat(Bits bits) { return __half2float(__ushort_as_half(bits)); }
  static __device__ Bits FromFloat(float value) {
    return value != value ? Bits{0x7e00} : __half_as_ushort(__float2half_rn(value));
  }
};
template <>
struct Element<kElementFp32> {
  using Bits = std::uint32_t;
  static constexpr std::uint32_t kWide = 4;
  static constexpr std::uint32_t kPerWord = 1;
  static __device__ float ToFloat(Bits bits) { return FloatOf(bits); }
  static __device__ Bits FromFloat(float value) { return BitsOf(value); }
};

template <typename T, std::uint32_t kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T value[kCount];
};

// kCount elements as they are kept: in whole words, two to each where they are that small, because
// the compiler gives every element a register of its own otherwise.
template <typename E, std::uint32_t kCount>
struct Kept {
  static constexpr std::uint32_t kWords = kCount == 1 ? 1 : kCount / E::kPerWord;
  Pack<std::uint32_t, kWords> words;

  static __device__ Kept Load(std::uint64_t from) {
    Kept kept;
    if constexpr (kCount == 1) {
      kept.words.value[0] = *reinterpret_cast<const typename E::Bits*>(from);
    } else {
      kept.words = *reinterpret_cast<const Pack<std::uint32_t, kWords>*>(from);
    }
    return kept;
  }
  // The larger magnitudes of it and of `most`, which holds one for each place in a word.
  __device__ std::uint32_t Larger(std::uint32_t most) const {
#pragma unroll
    for (std::uint32_t i = 0; i < kWords; ++i) {
      if constexpr (E::kPerWord == 2) {
        most = __vmaxu2(most, words.value[i] & 0x7fff7fffU);
      } else {
        most = max(most, words.value[i] & 0x7fffffffU);
      }
    }
    return most;
  }
  __device__ float Value(std::uint32_t index) const {
    const std::uint32_t word = words.value[index / E::kPerWord];
    return E::ToFloat(
        static_cast<typename E::Bits>(E::kPerWord == 2 && index % 2 == 1 ? word >> 16 : word));
  }
};

// ---- Bytes ---------------------------------------------------------------------------------

template <std::uint32_t kStored>
struct Quantum;
template <>
struct Quantum<kStoredFp8E4m3> {
  static constexpr float kMost = kE4m3Max;
  static __device__ std::uint8_t Of(float x, float inverse) {
#if __CUDA_ARCH__ >= 890
    // The GPU's own conversion: to nearest even, beyond 448 to 448. The group has no NaN.
    std::uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
        : "=h"(pair)
        : "f"(0.0F), "f"(Multiply(x, inverse)));
    return inverse == 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(pair);
#else
    return QuantiseE4m3(x, inverse);
#endif
  }
  static __device__ float Back(std::uint8_t q, float scale) {
#if __CUDA_ARCH__ >= 890
    std::uint32_t halves;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(static_cast<std::uint16_t>(q)));
    return Dequantise(__half2float(__ushort_as_half(static_cast<std::uint16_t>(halves))), scale);
#else
    return Dequantise(FromE4m3(q), scale);
#endif
  }
};
template <>
struct Quantum<kStoredInt8> {
  static constexpr float kMost = kInt8Max;
  static __device__ std::uint8_t Of(float x, float inverse) {
    return static_cast<std::uint8_t>(QuantiseInt8(x, inverse));
  }
  static __device__ float Back(std::uint8_t q, float scale) {
    return Dequantise(FromInt8(static_cast<std::int8_t>(q)), scale);
  }
};

// How the items of a launch are counted.
struct QuantTiling {
  Divisor block_items;
  Divisor row_vectors;
  std::uint32_t item_vectors = 0;
  std::uint32_t items = 0;   // of the launch
  std::uint32_t blocks = 0;  // of the launch
};

// The largest of `bits` over the kTeam threads that share an item.
template <std::uint32_t kTeam>
__device__ std::uint32_t LargestOfTeam(std::uint32_t bits) {
  bits = __reduce_max_sync(0xffffffffU, bits);
  if constexpr (kTeam > kWarp) {
    static_assert(kTeam == kThreads, "a team is a warp or the thread block");
    __shared__ std::uint32_t of_warp[kThreads / kWarp];
    __syncthreads();  // whoever still reads those of the item before
    if (threadIdx.x % kWarp == 0) {
      of_warp[threadIdx.x / kWarp] = bits;
    }
    __syncthreads();
    bits = __reduce_max_sync(0xffffffffU, of_warp[threadIdx.x % (kThreads / kWarp)]);
  }
  return bits;
}

// A team takes a group: it finds amax, then writes the bytes and the scale. kKeeps: the elements
// stay in registers in between; otherwise they are read again.
template <std::uint32_t kElement, std::uint32_t kStored, std::uint32_t kCount, std::uint32_t kTeam,
          bool kKeeps>
__global__ void __launch_bounds__(kThreads)
    GatherQuantised(const QuantJob job, const QuantTiling tiling,
                    const __grid_constant__ SmallTable table) {
  using E = Element<kElement>;
  using Vector = Kept<E, kCount>;
  using Bytes = Pack<std::uint8_t, kCount>;
  const std::uint32_t lane = threadIdx.x % kTeam;
  const std::uint32_t teams = gridDim.x * (kThreads / kTeam);
  for (std::uint32_t layer = 0; layer < job.walk.layers; ++layer) {
    std::uint32_t item = blockIdx.x * (kThreads / kTeam) + threadIdx.x / kTeam;
    for (; item < tiling.items; item += teams) {
      const std::uint32_t block = tiling.block_items.Quotient(item);
      const PageTables tables{job.layer_bases + layer,
                              table.Pages(tiling.blocks, block, job.map.block_pages)};
      const GroupPlace place =
          PlaceOfGroup(job.map, tables, item - block * tiling.block_items.divisor);
      const auto load = [&](std::uint32_t vector) {
        const std::uint32_t row = tiling.row_vectors.Quotient(vector);
        const std::uint32_t column = vector - row * tiling.row_vectors.divisor;
        return Vector::Load(
            place.paged +
            static_cast<std::uint64_t>(static_cast<std::int64_t>(row) * job.map.token_stride) +
            column * (kCount * sizeof(typename E::Bits)));
      };
      Vector kept[kKeeps ? kKept : 1];
      std::uint32_t most = 0;  // magnitudes, as the elements' bits, one for each place in a word
      if constexpr (kKeeps) {
#pragma unroll
        for (std::uint32_t i = 0; i < kKept; ++i) {
          if (const std::uint32_t vector = lane + i * kTeam; vector < tiling.item_vectors) {
            kept[i] = load(vector);
          }
        }
#pragma unroll
        for (std::uint32_t i = 0; i < kKept; ++i) {
          if (lane + i * kTeam < tiling.item_vectors) {
            most = kept[i].Larger(most);
          }
        }
      } else {
        for (std::uint32_t vector = lane; vector < tiling.item_vectors; vector += kTeam) {
          most = load(vector).Larger(most);
        }
      }
      if constexpr (E::kPerWord == 2) {
        most = max(most >> 16, most & 0xffffU);
      }
      most = LargestOfTeam<kTeam>(most);
      const float amax = E::ToFloat(static_cast<typename E::Bits>(most));
      const GroupScale scale = ScaleOf(BitsOf(amax), Quantum<kStored>::kMost);
      const std::uint64_t frame = table.words[block] + layer * job.walk.frame_stretch;
      const std::uint64_t payload = frame + place.payload;
      const auto store = [&](std::uint32_t index, const Vector& vector) {
        Bytes bytes;
#pragma unroll
        for (std::uint32_t e = 0; e < kCount; ++e) {
          bytes.value[e] = Quantum<kStored>::Of(vector.Value(e), scale.inverse);
        }
        *reinterpret_cast<Bytes*>(payload + std::uint64_t{index} * sizeof(Bytes)) = bytes;
      };
      if constexpr (kKeeps) {
#pragma unroll
        for (std::uint32_t i = 0; i < kKept; ++i) {
          if (const std::uint32_t vector = lane + i * kTeam; vector < tiling.item_vectors) {
            store(vector, kept[i]);
          }
        }
      } else {
        for (std::uint32_t vector = lane; vector < tiling.item_vectors; vector += kTeam) {
          store(vector, load(vector));
        }
      }
      if (lane == 0) {
        auto* out = reinterpret_cast<float*>(frame + place.scale);
        *out = scale.scale;
        for (std::uint32_t pad = 0; place.pads && pad < job.map.padding / sizeof(float); ++pad) {
          out[1 + pad] = 0;
        }
      }
    }
    TellLayer(job.walk, layer);
  }
}

// A warp takes a group; four vectors a thread are in flight.
template <std::uint32_t kElement, std::uint32_t kStored, std::uint32_t kCount>
__global__ void __launch_bounds__(kThreads)
    ScatterQuantised(const QuantJob job, const QuantTiling tiling,
                     const __grid_constant__ SmallTable table) {
  using E = Element<kElement>;
  using Vector = Pack<typename E::Bits, kCount>;
  using Bytes = Pack<std::uint8_t, kCount>;
  const std::uint32_t lane = threadIdx.x % kWarp;
  const std::uint32_t warps = gridDim.x * (kThreads / kWarp);
  for (std::uint32_t layer = 0; layer < job.walk.layers; ++layer) {
    std::uint32_t item = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
    for (; item < tiling.items; item += warps) {
      const std::uint32_t block = tiling.block_items.Quotient(item);
      const PageTables tables{job.layer_bases + layer,
                              table.Pages(tiling.blocks, block, job.map.block_pages)};
      const GroupPlace place =
          PlaceOfGroup(job.map, tables, item - block * tiling.block_items.divisor);
      const std::uint64_t frame = table.words[block] + layer * job.walk.frame_stretch;
      const float scale = *reinterpret_cast<const float*>(frame + place.scale);
      for (std::uint32_t first = lane; first < tiling.item_vectors; first += kInFlight * kWarp) {
        Bytes bytes[kInFlight];
#pragma unroll
        for (std::uint32_t i = 0; i < kInFlight; ++i) {
          if (const std::uint32_t vector = first + i * kWarp; vector < tiling.item_vectors) {
            bytes[i] = *reinterpret_cast<const Bytes*>(frame + place.payload +
                                                       std::uint64_t{vector} * sizeof(Bytes));
          }
        }
#pragma unroll
        for (std::uint32_t i = 0; i < kInFlight; ++i) {
          const std::uint32_t vector = first + i * kWarp;
          if (vector < tiling.item_vectors) {
            Vector out;
#pragma unroll
            for (std::uint32_t e = 0; e < kCount; ++e) {
              out.value[e] = E::FromFloat(Quantum<kStored>::Back(bytes[i].value[e], scale));
            }
            const std::uint32_t row = tiling.row_vectors.Quotient(vector);
            const std::uint32_t column = vector - row * tiling.row_vectors.divisor;
            *reinterpret_cast<Vector*>(
                place.paged +
                static_cast<std::uint64_t>(static_cast<std::int64_t>(row) * job.map.token_stride) +
                column * sizeof(Vector)) = out;
          }
        }
      }
    }
    TellLayer(job.walk, layer);
  }
}

template <std::uint32_t kElement, std::uint32_t kStored, std::uint32_t kCount>
std::uint32_t LaunchOne(const QuantJob& job, const QuantTiling& tiling, const SmallTable& table,
                        MoveWay way, const CopyGrid& grid, cudaStream_t stream) noexcept {
  const bool by_warp = way == MoveWay::kScatter || tiling.item_vectors <= kKept * kWarp;
  const std::uint32_t teams = by_warp ? kThreads / kWarp : 1;
  const std::uint32_t needed = (tiling.items + teams - 1) / teams;
  // What a scatter has under way are bytes of the frames; a gather's loads stay on the device.
  const std::uint32_t bytes = kThreads * kInFlight * kCount;
  const std::uint32_t blocks = grid.ThreadBlocks(needed, bytes);
  if (way == MoveWay::kScatter) {
    ScatterQuantised<kElement, kStored, kCount>
        <<<blocks, kThreads, 0, stream>>>(job, tiling, table);
  } else if (by_warp) {
    GatherQuantised<kElement, kStored, kCount, kWarp, true>
        <<<blocks, kThreads, 0, stream>>>(job, tiling, table);
  } else if (tiling.item_vectors <= kKept * kThreads) {
    GatherQuantised<kElement, kStored, kCount, kThreads, true>
        <<<blocks, kThreads, 0, stream>>>(job, tiling, table);
  } else {
    GatherQuantised<kElement, kStored, kCount, kThreads, false>
        <<<blocks, kThreads, 0, stream>>>(job, tiling, table);
  }
  return blocks;
}

template <std::uint32_t kElement, std::uint32_t kStored>
cudaError_t Launch(const QuantJob& job, const BlockList& list, MoveWay way, const CopyGrid& grid,
                   cudaStream_t stream, std::uint32_t& thread_blocks) noexcept {
  const bool wide = job.alignment >= 16;
  const std::uint32_t count = wide ? Element<kElement>::kWide : 1;
  QuantTiling tiling;
  tiling.block_items = MakeDivisor(job.map.items);
  tiling.row_vectors = MakeDivisor(job.map.head_dim / count);
  tiling.item_vectors = job.map.group_tokens * (job.map.head_dim / count);
  // A launch takes the blocks that fit its parameters, and counts items in 31 bits.
  std::uint32_t most = SmallTable::Capacity(list.block_pages);
  if (const std::uint32_t counted = (std::uint32_t{1} << 30) / job.map.items; counted < most) {
    most = counted;
  }
  SmallTable table;
  for (std::uint32_t done = 0; done < list.blocks; done += tiling.blocks) {
    tiling.blocks = list.blocks - done < most ? list.blocks - done : most;
    tiling.items = tiling.blocks * job.map.items;
    table.Fill(list, done, tiling.blocks);
    const std::uint32_t blocks =
        wide ? LaunchOne<kElement, kStored, Element<kElement>::kWide>(job, tiling, table, way, grid,
                                                                      stream)
             : LaunchOne<kElement, kStored, 1>(job, tiling, table, way, grid, stream);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
      return error;
    }
    thread_blocks += blocks;
  }
  return cudaSuccess;
}

template <std::uint32_t kElement>
cudaError_t LaunchElement(const QuantJob& job, const BlockList& list, MoveWay way,
                          const CopyGrid& grid, cudaStream_t stream,
                          std::uint32_t& thread_blocks) noexcept {
  return job.map.stored == kStoredFp8E4m3
             ? Launch<kElement, kStoredFp8E4m3>(job, list, way, grid, stream, thread_blocks)
             : Launch<kElement, kStoredInt8>(job, list, way, grid, stream, thread_blocks);
}

}  // namespace

cudaError_t LaunchQuantisePages(const QuantJob& job, const BlockList& list, MoveWay way,
                                const CopyGrid& grid, cudaStream_t stream,
                                std::uint32_t& thread_blocks) noexcept {
  if (job.map.items == 0) {
    return cudaSuccess;
  }
  switch (job.map.element) {
    case kElementBf16:
      return LaunchElement<kElementBf16>(job, list, way, grid, stream, thread_blocks);
    case kElementFp16:
      return LaunchElement<kElementFp16>(job, list, way, grid, stream, thread_blocks);
    default: return LaunchElement<kElementFp32>(job, list, way, grid, stream, thread_blocks);
  }
}

}  // namespace terrace::paged
