// The checksums of many pieces in device memory, by one kernel: base/checksum.h's, piece by piece.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace terrace {

/// One stretch of device memory, in pieces of 256 KiB of which the last may be shorter.
struct ChecksumRange {
  const std::byte* from = nullptr;
  std::uint64_t bytes = 0;
  std::uint64_t* checksums = nullptr;  ///< One a piece; the device's or pinned host memory.
  std::uint32_t first_piece = 0;       ///< Of the launch; LaunchChecksums fills it.
};

/// What one launch takes, as the kernel's parameter.
struct ChecksumRanges {
  static constexpr std::uint32_t kMost = 64;
  ChecksumRange range[kMost];
  std::uint32_t count = 0;
  std::uint32_t pieces = 0;  ///< Of all of them; LaunchChecksums fills it.
};

/// Queues the checksums of all ranges; ranges of 0 bytes have none. Fast where `from` is a multiple
/// of 16, right everywhere. REQUIRES: less than 2^31 pieces.
cudaError_t LaunchChecksums(ChecksumRanges& ranges, cudaStream_t stream) noexcept;

}  // namespace terrace
