// How large a tier is for a trace: bytes, or a share of the trace's distinct blocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tools/common/byte_size.h"

namespace terrace::replay {

/// Tiers are made of 2 MiB pages, bytes.
inline constexpr std::uint64_t kTierGrainBytes = 2 << 20;
/// Smallest tier that a share may come to, bytes: several extents for each of a few reactors.
inline constexpr std::uint64_t kTierBytesMin = 32 << 20;

/// Bytes for a tier. A percentage is taken of `distinct_blocks`, rounded up to whole blocks, to
/// room for `longest_request_blocks` twice (a tier that cannot hold one prompt is of no use), to
/// `least_bytes` and to whole pages. Bytes stay as they are.
[[nodiscard]] inline std::uint64_t TierBytes(const ByteAmount& amount,
                                             std::uint64_t distinct_blocks,
                                             std::uint64_t longest_request_blocks,
                                             std::uint64_t block_bytes,
                                             std::uint64_t least_bytes = kTierBytesMin) {
  if (!amount.is_percent) return amount.bytes;
  const double blocks = std::ceil(amount.percent / 100 * static_cast<double>(distinct_blocks));
  const std::uint64_t wanted = std::max({static_cast<std::uint64_t>(blocks) * block_bytes,
                                         2 * longest_request_blocks * block_bytes, least_bytes});
  return (wanted + kTierGrainBytes - 1) / kTierGrainBytes * kTierGrainBytes;
}

}  // namespace terrace::replay
