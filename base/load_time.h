// How long it takes to bring a set of blocks to a client: what the daemon promises, and what the
// client plans with, by one function. Pure; any thread.
//
// Model. All sources work at the same time. A connection carries the bytes of its own blocks (those
// in DRAM) and of its devices; a device's last block crosses the connection once it was read.
//
//   connection: latency + max(queue + all bytes / rate, its slowest device)
//   device:     queue + latency + its bytes / rate + largest block / rate of the connection
//   set:        the slowest connection
#pragma once

#include <cstdint>
#include <span>

#include "base/load_source.h"

namespace terrace {

/// Seconds. `bytes[i]`: of the blocks that lie at sources[i]; `largest_block` is of any of them.
/// 0 when there are no bytes. REQUIRES: as many of one as of the other; each bytes_per_s > 0.
[[nodiscard]] double LoadSeconds(std::span<const LoadSource> sources,
                                 std::span<const std::uint64_t> bytes, std::uint64_t largest_block);

/// The same of one block alone at sources[which].
[[nodiscard]] double BlockLoadSeconds(std::span<const LoadSource> sources, std::size_t which,
                                      std::uint64_t block_bytes);

}  // namespace terrace
