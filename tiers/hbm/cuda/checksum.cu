// One thread block per piece (piece_work.cuh). The pieces are parameters of the kernel, which reach
// it without a copy of their own and without a read over the bus.
#include <algorithm>

#include "tiers/hbm/cuda/checksum_kernel.h"
#include "tiers/hbm/cuda/piece_work.cuh"

namespace terrace {
namespace {

template <std::uint32_t kCount>
struct PieceList {
  KernelPiece pieces[kCount];
};

// Two sizes, as every launch pays for all of its parameters. They are 4 KiB at most, and 32,764
// bytes since CUDA 12.1.
constexpr std::uint32_t kFewPieces = 64;
#if CUDART_VERSION >= 12010
constexpr std::uint32_t kManyPieces = 512;
#else
constexpr std::uint32_t kManyPieces = 160;
#endif

template <bool kCopies, std::uint32_t kCount>
__global__ void __launch_bounds__(kPieceThreads, 4)
    WorkOnPieces(const __grid_constant__ PieceList<kCount> list, std::uint64_t* results) {
  __shared__ std::uint64_t sums[kPieceRowsMax][xxh3::kLanes];
  WorkOnPiece<kCopies>(list.pieces[blockIdx.x], threadIdx.x, sums, &results[blockIdx.x]);
}

template <bool kCopies, std::uint32_t kCount>
cudaError_t Launch(std::span<const KernelPiece> pieces, std::uint64_t* results,
                   cudaStream_t stream) {
  PieceList<kCount> list;
  std::copy(pieces.begin(), pieces.end(), list.pieces);
  WorkOnPieces<kCopies, kCount>
      <<<static_cast<std::uint32_t>(pieces.size()), kPieceThreads, 0, stream>>>(list, results);
  return cudaGetLastError();
}

template <bool kCopies>
cudaError_t LaunchAll(std::span<const KernelPiece> pieces, std::uint64_t* results,
                      cudaStream_t stream) {
  if (pieces.size() <= kFewPieces) return Launch<kCopies, kFewPieces>(pieces, results, stream);
  while (!pieces.empty()) {
    const auto part = pieces.first(std::min<std::size_t>(kManyPieces, pieces.size()));
    const cudaError_t error = Launch<kCopies, kManyPieces>(part, results, stream);
    if (error != cudaSuccess) return error;
    results += part.size();
    pieces = pieces.subspan(part.size());
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t LaunchPieces(std::span<const KernelPiece> pieces, std::uint64_t* results,
                         cudaStream_t stream) {
  return pieces.front().to != nullptr ? LaunchAll<true>(pieces, results, stream)
                                      : LaunchAll<false>(pieces, results, stream);
}

}  // namespace terrace
