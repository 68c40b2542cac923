// A thread block takes one piece. Its first warps read it, 8 KiB a warp at a time, store it where
// it is copied to, and leave the sums of each 1 KiB in shared memory; its last warp scrambles one
// after the other behind them, so that the serial part hides behind the reading.
#include "tiers/hbm/cuda/checksum.h"
#include "tiers/hbm/xxh3_pieces.h"

namespace terrace {
namespace {

using namespace xxh3;

constexpr std::uint32_t kPieceBytes = 256 << 10;
constexpr std::uint32_t kWarp = 32;
constexpr std::uint32_t kReaders = 4;  // warps
constexpr std::uint32_t kThreads = (kReaders + 1) * kWarp;
constexpr std::uint32_t kPieceBlocks = kPieceBytes / kBlockBytes;
constexpr std::uint32_t kWarpBlocks = 8;  // that a warp sums at once
constexpr std::uint32_t kChunkBlocks = kReaders * kWarpBlocks;
// Two vectors of 16 bytes in each block are a thread's: 4 threads read a stripe.
constexpr std::uint32_t kStripeThreads = kLanes / 2;
constexpr std::uint32_t kRowStripes = kWarp / kStripeThreads;  // that a warp reads at once
static_assert(kRowStripes * 2 == kBlockStripes && kRowStripes == kWarpBlocks);
static_assert(kPieceBlocks / kChunkBlocks <= 15);  // named barriers beside the first

__constant__ Secret device_secret = kSecret;

struct Vector {
  std::uint64_t even = 0;
  std::uint64_t odd = 0;
};

struct Piece {
  const std::byte* from;
  std::byte* to;  // null: not copied
  std::uint32_t bytes;
  std::uint32_t blocks;     // that are scrambled; one more, partial or empty, is not
  std::uint32_t stripes;    // of the blocks; the last 64 bytes are one more
  std::uint64_t* checksum;  // null: not hashed
};

// Chunks have a barrier each: the readers only arrive at it, the scrambler waits.
__device__ __forceinline__ void ChunkIsThere(std::uint32_t chunk) {
  __threadfence_block();
  asm volatile("bar.arrive %0, %1;" ::"r"(chunk + 1), "r"(kThreads) : "memory");
}
__device__ __forceinline__ void WaitForChunk(std::uint32_t chunk) {
  asm volatile("bar.sync %0, %1;" ::"r"(chunk + 1), "r"(kThreads) : "memory");
}

template <bool kAligned>
__device__ __forceinline__ Vector Load(const std::byte* from) {
  Vector value;
  if constexpr (kAligned) {
    // The bytes are used once: they should push nothing out of the first cache.
    asm volatile("ld.global.L1::no_allocate.v2.u64 {%0, %1}, [%2];"
                 : "=l"(value.even), "=l"(value.odd)
                 : "l"(from));
  } else {
    value.even = Read64(from);
    value.odd = Read64(from + 8);
  }
  return value;
}

template <bool kAligned>
__device__ __forceinline__ void Store(std::byte* to, const Vector& value) {
  if constexpr (kAligned) {
    asm volatile("st.global.cs.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(value.even), "l"(value.odd)
                 : "memory");
  } else {
    memcpy(to, &value, sizeof value);
  }
}

// By threads `thread` of `threads`.
__device__ __forceinline__ void CopyBytes(const Piece& piece, std::uint32_t begin,
                                          std::uint32_t thread, std::uint32_t threads) {
  for (std::uint32_t i = begin + thread; i < piece.bytes; i += threads) {
    piece.to[i] = piece.from[i];
  }
}

__device__ __forceinline__ void Add(Vector& sum, const Vector& value, const Vector& key) {
  AddLanes(sum.even, sum.odd, value.even, value.odd, key.even, key.odd);
}

// Of `count` pairs of sums, keeps one of each pair and adds the other thread's to it.
template <std::uint32_t kMask, std::uint32_t kCount>
__device__ __forceinline__ void Exchange(Vector* sums, std::uint32_t lane) {
  const bool upper = (lane & kMask) != 0;
#pragma unroll
  for (std::uint32_t i = 0; i < kCount; ++i) {
    Vector keep = upper ? sums[i + kCount] : sums[i];
    const Vector give = upper ? sums[i] : sums[i + kCount];
    keep.even += __shfl_xor_sync(~0U, give.even, kMask);
    keep.odd += __shfl_xor_sync(~0U, give.odd, kMask);
    sums[i] = keep;
  }
}

// kWarpBlocks blocks from `first` on, by one warp: their bytes to where they are copied to, their
// sums to shared memory.
template <bool kAligned, bool kWhole>
__device__ __forceinline__ void ReadBlocks(const Piece& piece, std::uint32_t first,
                                           const Vector (&keys)[2], Vector* block_sums) {
  const std::uint32_t lane = threadIdx.x % kWarp;
  const std::uint32_t first_stripe = first * kBlockStripes + lane / kStripeThreads;
  const std::uint32_t at = first_stripe * kStripeBytes + lane % kStripeThreads * sizeof(Vector);
  Vector values[kWarpBlocks * 2];
#pragma unroll
  for (std::uint32_t i = 0; i < kWarpBlocks * 2; ++i) {
    if (kWhole || first_stripe + i * kRowStripes < piece.stripes) {
      values[i] = Load<kAligned>(piece.from + at + i * kRowStripes * kStripeBytes);
    }
  }
  if (piece.to != nullptr) {
#pragma unroll
    for (std::uint32_t i = 0; i < kWarpBlocks * 2; ++i) {
      if (kWhole || first_stripe + i * kRowStripes < piece.stripes) {
        Store<kAligned>(piece.to + at + i * kRowStripes * kStripeBytes, values[i]);
      }
    }
  }
  if (piece.checksum == nullptr) return;
  Vector sums[kWarpBlocks];
#pragma unroll
  for (std::uint32_t i = 0; i < kWarpBlocks * 2; ++i) {
    if (kWhole || first_stripe + i * kRowStripes < piece.stripes) {
      Add(sums[i / 2], values[i], keys[i % 2]);
    }
  }
  // The 8 threads with the same lanes of a stripe add theirs up; each ends with one block.
  Exchange<16, 4>(sums, lane);
  Exchange<8, 2>(sums, lane);
  Exchange<4, 1>(sums, lane);
  block_sums[first * kStripeThreads + lane] = sums[0];
}

template <bool kAligned>
__device__ __forceinline__ void ReadPiece(const Piece& piece, Vector* block_sums) {
  const std::uint32_t lane = threadIdx.x % kWarp;
  Vector keys[2];
#pragma unroll
  for (std::uint32_t row = 0; row < 2; ++row) {
    const std::uint32_t word =
        KeyWord(row * kRowStripes + lane / kStripeThreads, lane % kStripeThreads * 2);
    keys[row] = {device_secret.words[word], device_secret.words[word + 1]};
  }
  for (std::uint32_t chunk = 0; chunk <= piece.blocks / kChunkBlocks; ++chunk) {
    const std::uint32_t first = chunk * kChunkBlocks + threadIdx.x / kWarp * kWarpBlocks;
    if ((first + kWarpBlocks) * kBlockStripes <= piece.stripes) {
      ReadBlocks<kAligned, true>(piece, first, keys, block_sums);
    } else {
      ReadBlocks<kAligned, false>(piece, first, keys, block_sums);
    }
    if (piece.checksum != nullptr) ChunkIsThere(chunk);
  }
}

// By one warp, whose threads past the lanes do the same as the first.
__device__ __forceinline__ void ScrambleBlocks(const Piece& piece, const std::uint64_t* block_sums,
                                               std::uint64_t* lanes) {
  const std::uint32_t lane = threadIdx.x % kLanes;
  const std::uint64_t last = Read64(piece.from + piece.bytes - kStripeBytes + lane * 8);
  const std::uint64_t key = device_secret.words[ScrambleWord(lane)];
  std::uint64_t value = FirstLane(lane);
  std::uint32_t block = 0;
  for (std::uint32_t chunk = 0; chunk <= piece.blocks / kChunkBlocks; ++chunk) {
    WaitForChunk(chunk);
    const std::uint32_t end = min(piece.blocks, (chunk + 1) * kChunkBlocks);
#pragma unroll 8
    for (; block < end; ++block) value = Scramble(value + block_sums[block * kLanes + lane], key);
  }
  value += block_sums[block * kLanes + lane];  // the partial block
  value += __shfl_xor_sync(~0U, last, 1) +
           HalvesProduct(last ^ SecretAt(device_secret, LastKeyOffset(lane)));
  if (threadIdx.x % kWarp < kLanes) lanes[lane] = value;
  __syncwarp();
  if (threadIdx.x % kWarp == 0) *piece.checksum = MergeLanes(device_secret, lanes, piece.bytes);
}

__global__ void __launch_bounds__(kThreads, 3)
    TakePieces(const __grid_constant__ PieceRanges ranges) {
  __shared__ Vector block_sums[kPieceBlocks * kStripeThreads];
  __shared__ std::uint64_t lanes[kLanes];
  std::uint32_t index = 0;  // the last range that begins at or before this piece
  for (std::uint32_t end = ranges.count; end - index > 1;) {
    const std::uint32_t middle = (index + end) / 2;
    (ranges.range[middle].first_piece <= blockIdx.x ? index : end) = middle;
  }
  const PieceRange& range = ranges.range[index];
  const std::uint64_t number = blockIdx.x - range.first_piece;
  const std::uint64_t done = number * kPieceBytes;
  Piece piece;
  piece.from = range.from + done;
  piece.to = range.to == nullptr ? nullptr : range.to + done;
  piece.bytes = static_cast<std::uint32_t>(min(range.bytes - done, std::uint64_t{kPieceBytes}));
  piece.checksum = range.checksums == nullptr ? nullptr : range.checksums + number;
  if (piece.bytes <= kShortBytes) {
    if (piece.to != nullptr) CopyBytes(piece, 0, threadIdx.x, kThreads);
    if (piece.checksum != nullptr && threadIdx.x == 0) {
      *piece.checksum = HashShort(device_secret, piece.from, piece.bytes);
    }
    return;
  }
  piece.blocks = (piece.bytes - 1) / kBlockBytes;
  piece.stripes = (piece.bytes - 1) / kStripeBytes;
  const std::uint64_t places =
      reinterpret_cast<std::uint64_t>(piece.from) | reinterpret_cast<std::uint64_t>(piece.to);
  if (threadIdx.x / kWarp == kReaders) {
    if (piece.to != nullptr) {
      CopyBytes(piece, piece.stripes * kStripeBytes, threadIdx.x % kWarp, kWarp);
    }
    if (piece.checksum != nullptr) {
      ScrambleBlocks(piece, reinterpret_cast<const std::uint64_t*>(block_sums), lanes);
    }
  } else if (places % sizeof(Vector) == 0) {
    ReadPiece<true>(piece, block_sums);
  } else {
    ReadPiece<false>(piece, block_sums);
  }
}

}  // namespace

cudaError_t LaunchPieces(PieceRanges& ranges, cudaStream_t stream) noexcept {
  std::uint64_t pieces = 0;
  for (std::uint32_t i = 0; i < ranges.count; ++i) {
    ranges.range[i].first_piece = static_cast<std::uint32_t>(pieces);
    pieces += (ranges.range[i].bytes + kPieceBytes - 1) / kPieceBytes;
  }
  if (pieces == 0) return cudaSuccess;
  ranges.pieces = static_cast<std::uint32_t>(pieces);
  TakePieces<<<ranges.pieces, kThreads, 0, stream>>>(ranges);
  return cudaGetLastError();
}

}  // namespace terrace
