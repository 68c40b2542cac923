// How fast a GPU reads its own memory when it does nothing else: the limit of a checksum there.
#pragma once

#include <cstddef>

namespace terrace::bench {

/// Reads `bytes` (a multiple of 1 MiB) of the current GPU's memory `passes` times; seconds, or 0
/// when CUDA failed. Blocks.
double ReadDeviceSeconds(const std::byte* memory, std::size_t bytes, int passes);

}  // namespace terrace::bench
