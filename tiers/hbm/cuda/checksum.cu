// One thread block per piece: its warps sum the rows of the piece, then 8 threads scramble.
#include "tiers/hbm/cuda/checksum_kernel.h"
#include "tiers/hbm/xxh3_lanes.h"

namespace terrace {
namespace {

constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kWarps = kThreads / 32;
constexpr std::uint32_t kPieceRowsMax = (256 << 10) / xxh3::kRowBytes;
// Rows that a warp loads before it sums the first: 4 KiB, so that loads hide each other's latency.
constexpr std::uint32_t kRowsAtOnce = 4;

/// Two neighbouring lanes of a stripe, as a thread loads them.
struct LanePair {
  std::uint64_t even;
  std::uint64_t odd;
};

__device__ LanePair LoadPair(const std::byte* at) {
  const ulonglong2 words = __ldcs(reinterpret_cast<const ulonglong2*>(at));
  return {words.x, words.y};
}

__device__ void Gain(LanePair& sum, const LanePair& data, const LanePair& key) {
  sum.even += xxh3::LaneGain(data.even, data.odd, key.even);
  sum.odd += xxh3::LaneGain(data.odd, data.even, key.odd);
}

/// A warp's threads hold two stripes each of 4 pairs of lanes: thread t has pair t % 4 of stripes
/// t / 4 and 8 + t / 4.
struct RowReader {
  std::uint32_t pair;
  std::uint32_t stripe;
  LanePair low_key;
  LanePair high_key;

  __device__ explicit RowReader(std::uint32_t thread)
      : pair(thread % 4),
        stripe(thread / 4),
        low_key{xxh3::SecretWord(stripe + 2 * pair), xxh3::SecretWord(stripe + 2 * pair + 1)},
        high_key{xxh3::SecretWord(stripe + 2 * pair + 8), xxh3::SecretWord(stripe + 2 * pair + 9)} {
  }

  __device__ const std::byte* Place(const std::byte* row) const {
    return row + stripe * xxh3::kStripeBytes + pair * 16;
  }

  /// Adds the warp's sums and stores the 8 lanes.
  __device__ void Store(LanePair sum, std::uint64_t* lanes) const {
    for (std::uint32_t apart = 4; apart < 32; apart *= 2) {
      sum.even += __shfl_xor_sync(0xffffffff, sum.even, apart);
      sum.odd += __shfl_xor_sync(0xffffffff, sum.odd, apart);
    }
    if (stripe == 0) {
      lanes[2 * pair] = sum.even;
      lanes[2 * pair + 1] = sum.odd;
    }
  }
};

__device__ void SumRows(const KernelPiece& piece, std::uint64_t (*sums)[xxh3::kLanes]) {
  const std::uint32_t rows = xxh3::FullRows(piece.bytes);
  const RowReader reader(threadIdx.x % 32);
  const std::uint32_t warp = threadIdx.x / 32;
  std::uint32_t row = warp * kRowsAtOnce;
  for (; row + kRowsAtOnce <= rows; row += kWarps * kRowsAtOnce) {
    LanePair low[kRowsAtOnce];
    LanePair high[kRowsAtOnce];
#pragma unroll
    for (std::uint32_t i = 0; i < kRowsAtOnce; ++i) {
      const std::byte* at = reader.Place(piece.at + (row + i) * xxh3::kRowBytes);
      low[i] = LoadPair(at);
      high[i] = LoadPair(at + xxh3::kRowBytes / 2);
    }
#pragma unroll
    for (std::uint32_t i = 0; i < kRowsAtOnce; ++i) {
      LanePair sum = {0, 0};
      Gain(sum, low[i], reader.low_key);
      Gain(sum, high[i], reader.high_key);
      reader.Store(sum, sums[row + i]);
    }
  }
  // The warp that meets the end: what is left there, and the row that is not full, which has a
  // place of its own behind the full ones.
  const std::uint32_t end = min(rows + 1, row + kRowsAtOnce);
  for (; row < end; ++row) {
    const std::uint32_t stripes = row < rows ? xxh3::kRowStripes : xxh3::RestStripes(piece.bytes);
    const std::byte* at = reader.Place(piece.at + row * xxh3::kRowBytes);
    LanePair sum = {0, 0};
    if (reader.stripe < stripes) Gain(sum, LoadPair(at), reader.low_key);
    if (reader.stripe + 8 < stripes) {
      Gain(sum, LoadPair(at + xxh3::kRowBytes / 2), reader.high_key);
    }
    reader.Store(sum, sums[row]);
  }
}

/// Apart from the loop, whose registers it would take.
__device__ __noinline__ std::uint64_t ShortPiece(const KernelPiece& piece) {
  return xxh3::Short(piece.at, piece.bytes);
}

__global__ void __launch_bounds__(kThreads, 4)
    ChecksumPieces(const KernelPiece* pieces, std::uint64_t* results) {
  __shared__ std::uint64_t sums[kPieceRowsMax][xxh3::kLanes];
  __shared__ KernelPiece piece;
  if (threadIdx.x == 0) piece = pieces[blockIdx.x];  // one read over the bus
  __syncthreads();
  if (piece.bytes <= xxh3::kShortBytes) {
    if (threadIdx.x == 0) results[blockIdx.x] = ShortPiece(piece);
    return;
  }
  SumRows(piece, sums);
  __syncthreads();
  if (threadIdx.x >= xxh3::kLanes) return;
  const std::uint32_t lane = threadIdx.x;
  const std::uint32_t rows = xxh3::FullRows(piece.bytes);
  const std::uint64_t key = xxh3::SecretWord(16 + lane);
  std::uint64_t value = xxh3::LaneStart(lane);
#pragma unroll 8
  for (std::uint32_t row = 0; row < rows; ++row) {
    value = xxh3::Scramble(value + sums[row][lane], key);
  }
  value += sums[rows][lane];
  value += xxh3::LastGain(piece.at + piece.bytes - xxh3::kStripeBytes, lane);
  __syncwarp(0xff);
  sums[0][lane] = value;
  __syncwarp(0xff);
  if (lane == 0) results[blockIdx.x] = xxh3::Merge(sums[0], piece.bytes);
}

}  // namespace

cudaError_t LaunchChecksums(const KernelPiece* pieces, std::uint32_t count, std::uint64_t* results,
                            cudaStream_t stream) {
  ChecksumPieces<<<count, kThreads, 0, stream>>>(pieces, results);
  return cudaGetLastError();
}

}  // namespace terrace
