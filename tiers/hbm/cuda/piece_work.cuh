// What the thread blocks of the checksum kernel do: one sums a piece of device memory, and copies
// it on the way if that is asked for, so that a copy with its checksum reads memory once.
//
// Model. Warps 0 to 7, the readers, sum rows (xxh3_lanes.h), four at a time, and store the sums in
// shared memory; a round is a turn of all of them: 32 rows. The ninth scrambles the rows of a round
// while the others sum those of the next: the serial part hides behind memory. A round has a named
// barrier of its own, at which readers arrive without waiting, since no memory is used twice.
//
// Compiled by nvcc for GPUs (checksum.cu), and for threads of the host by its test, which brings
// the words of CUDA that are used here (tests/tiers/cuda_threads.h). Both are linked into one
// program, so all of it is each one's own.
#pragma once

#include "tiers/hbm/cuda/kernel_piece.h"
#include "tiers/hbm/xxh3_lanes.h"

namespace terrace {
namespace {

constexpr std::uint32_t kReaderWarps = 8;
constexpr std::uint32_t kPieceThreads = 32 * (kReaderWarps + 1);
constexpr std::uint32_t kPieceRowsMax = (256 << 10) / xxh3::kRowBytes;
// Rows that a warp loads before it sums the first: 4 KiB, so that loads hide each other's latency.
constexpr std::uint32_t kRowsAtOnce = 4;
constexpr std::uint32_t kRoundRows = kReaderWarps * kRowsAtOnce;
// A barrier each; there are 16, and the first is that of __syncthreads.
static_assert(kPieceRowsMax / kRoundRows < 16);

#ifdef __CUDACC__
/// The calling reader has stored its sums of the round.
__device__ void ArriveAtRound(std::uint32_t round) {
  asm volatile("bar.arrive %0, %1;" ::"r"(round + 1), "n"(kPieceThreads) : "memory");
}
/// Every reader has.
__device__ void AwaitRound(std::uint32_t round) {
  asm volatile("bar.sync %0, %1;" ::"r"(round + 1), "n"(kPieceThreads) : "memory");
}
#endif

/// Two neighbouring lanes of a stripe, as a thread loads them.
struct LanePair {
  std::uint64_t even;
  std::uint64_t odd;
};

/// By row: full ones, and behind them what is left of one, without its last stripe.
using RowSums = std::uint64_t (*)[xxh3::kLanes];

__device__ LanePair LoadPair(const std::byte* at) {
  const ulonglong2 words = __ldcs(reinterpret_cast<const ulonglong2*>(at));
  return {words.x, words.y};
}

__device__ void StorePair(std::byte* to, const LanePair& pair) {
  ulonglong2 words;
  words.x = pair.even;
  words.y = pair.odd;
  __stcs(reinterpret_cast<ulonglong2*>(to), words);
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

  /// Of the thread's first pair in that row, bytes; the second is half a row behind.
  __device__ std::uint32_t Offset(std::uint32_t row) const {
    return row * xxh3::kRowBytes + stripe * xxh3::kStripeBytes + pair * 16;
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

/// Full rows from `row` on.
template <bool kCopies>
__device__ void SumFullRows(const KernelPiece& piece, const RowReader& reader, std::uint32_t row,
                            RowSums sums) {
  LanePair low[kRowsAtOnce];
  LanePair high[kRowsAtOnce];
#pragma unroll
  for (std::uint32_t i = 0; i < kRowsAtOnce; ++i) {
    const std::byte* at = piece.at + reader.Offset(row + i);
    low[i] = LoadPair(at);
    high[i] = LoadPair(at + xxh3::kRowBytes / 2);
  }
#pragma unroll
  for (std::uint32_t i = 0; i < kRowsAtOnce; ++i) {
    if (kCopies) {
      std::byte* to = piece.to + reader.Offset(row + i);
      StorePair(to, low[i]);
      StorePair(to + xxh3::kRowBytes / 2, high[i]);
    }
    LanePair sum = {0, 0};
    Gain(sum, low[i], reader.low_key);
    Gain(sum, high[i], reader.high_key);
    reader.Store(sum, sums[row + i]);
  }
}

/// A row of so many stripes, of at most 16.
template <bool kCopies>
__device__ void SumRow(const KernelPiece& piece, const RowReader& reader, std::uint32_t row,
                       std::uint32_t stripes, RowSums sums) {
  LanePair sum = {0, 0};
  const std::uint32_t offset = reader.Offset(row);
  if (reader.stripe < stripes) {
    const LanePair data = LoadPair(piece.at + offset);
    if (kCopies) StorePair(piece.to + offset, data);
    Gain(sum, data, reader.low_key);
  }
  if (reader.stripe + 8 < stripes) {
    const LanePair data = LoadPair(piece.at + offset + xxh3::kRowBytes / 2);
    if (kCopies) StorePair(piece.to + offset + xxh3::kRowBytes / 2, data);
    Gain(sum, data, reader.high_key);
  }
  reader.Store(sum, sums[row]);
}

/// What a reader warp does.
template <bool kCopies>
__device__ void SumRows(const KernelPiece& piece, std::uint32_t warp, std::uint32_t thread,
                        RowSums sums) {
  const std::uint32_t rows = xxh3::FullRows(piece.bytes);
  const RowReader reader(thread);
  for (std::uint32_t round = 0; round * kRoundRows <= rows; ++round) {
    std::uint32_t row = round * kRoundRows + warp * kRowsAtOnce;
    if (row + kRowsAtOnce <= rows) {
      SumFullRows<kCopies>(piece, reader, row, sums);
    } else {
      const std::uint32_t end = row + kRowsAtOnce < rows + 1 ? row + kRowsAtOnce : rows + 1;
      for (; row < end; ++row) {
        const std::uint32_t stripes =
            row < rows ? xxh3::kRowStripes : xxh3::RestStripes(piece.bytes);
        SumRow<kCopies>(piece, reader, row, stripes, sums);
      }
    }
    __threadfence_block();
    __syncwarp();
    ArriveAtRound(round);
  }
}

/// What the ninth warp does: the checksum, of all its threads. Thread t has lane t % 8.
template <bool kCopies>
__device__ std::uint64_t ScrambleRows(const KernelPiece& piece, std::uint32_t thread,
                                      RowSums sums) {
  const std::uint32_t rows = xxh3::FullRows(piece.bytes);
  const std::uint32_t lane = thread % xxh3::kLanes;
  const std::uint64_t last = xxh3::LastGain(piece.at + piece.bytes - xxh3::kStripeBytes, lane);
  if (kCopies) {  // what no whole stripe has: at most 64 bytes
    const std::uint32_t begin =
        rows * xxh3::kRowBytes + xxh3::RestStripes(piece.bytes) * xxh3::kStripeBytes;
    for (std::uint32_t i = begin + thread; i < piece.bytes; i += 32) piece.to[i] = piece.at[i];
    __syncwarp();  // together again before a barrier
  }
  const std::uint64_t key = xxh3::SecretWord(16 + lane);
  std::uint64_t value = xxh3::LaneStart(lane);
  for (std::uint32_t round = 0; round * kRoundRows <= rows; ++round) {
    AwaitRound(round);
    const std::uint32_t end = (round + 1) * kRoundRows < rows ? (round + 1) * kRoundRows : rows;
#pragma unroll 8
    for (std::uint32_t row = round * kRoundRows; row < end; ++row) {
      value = xxh3::Scramble(value + sums[row][lane], key);
    }
  }
  value += sums[rows][lane] + last;
  __syncwarp();
  if (thread < xxh3::kLanes) sums[0][lane] = value;
  __syncwarp();
  return xxh3::Merge(sums[0], piece.bytes);
}

/// Apart from the loops, whose registers it would take.
__device__ __attribute__((noinline)) std::uint64_t SumShort(const KernelPiece& piece) {
  return xxh3::Short(piece.at, piece.bytes);
}

/// The work of a thread block of kPieceThreads threads, of which `thread` is one; the checksum is
/// stored at `result`. `sums` is shared memory, of kPieceRowsMax rows.
template <bool kCopies>
__device__ void WorkOnPiece(const KernelPiece& piece, std::uint32_t thread, RowSums sums,
                            std::uint64_t* result) {
  if (piece.bytes <= xxh3::kShortBytes) {
    if (kCopies && thread < piece.bytes) piece.to[thread] = piece.at[thread];
    if (thread == 0) *result = SumShort(piece);
    return;
  }
  const std::uint32_t warp = thread / 32;
  if (warp < kReaderWarps) return SumRows<kCopies>(piece, warp, thread % 32, sums);
  const std::uint64_t sum = ScrambleRows<kCopies>(piece, thread % 32, sums);
  if (thread % 32 == 0) *result = sum;
}

}  // namespace
}  // namespace terrace
