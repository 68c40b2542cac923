// Copies and checksums of many pieces in device memory by one kernel, which reads every byte once.
// The checksums are base/checksum.h's, piece by piece.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace terrace {

/// One stretch of device memory, in pieces of 256 KiB of which the last may be shorter.
struct PieceRange {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;  ///< Null: nothing is copied.
  std::uint64_t bytes = 0;
  /// One a piece, the device's or pinned host memory; null: none are computed.
  std::uint64_t* checksums = nullptr;
  std::uint32_t first_piece = 0;  ///< Of the launch; LaunchPieces fills it.
};

/// What one launch takes, as the kernel's parameter.
struct PieceRanges {
  static constexpr std::uint32_t kMost = 128;
  PieceRange range[kMost];
  std::uint32_t count = 0;
  std::uint32_t pieces = 0;  ///< Of all of them; LaunchPieces fills it.
};

/// Queues all ranges. Fast where `from` and `to` are multiples of 16, right everywhere.
/// REQUIRES: less than 2^31 pieces; no range is written to and also read or written by another.
cudaError_t LaunchPieces(PieceRanges& ranges, cudaStream_t stream) noexcept;

}  // namespace terrace
