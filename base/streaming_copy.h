// StreamingCopy: memcpy for blocks, past the caches.
//
// A block is larger than what a core's caches keep of it until it is read again. An ordinary copy
// first loads every line that it is about to overwrite, and pushes out what others would have
// found: it takes up to twice as long as one whose stores go straight to memory. Bytes that are
// read again at once are better copied by memcpy. Any thread.
#pragma once

#include <cstddef>

namespace terrace {

/// Copies `bytes` from `from` to `to`, which do not overlap. Other threads that learn of it in the
/// usual ways (a mutex, an atomic, a system call) see the bytes.
void StreamingCopy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;

/// The same in parts: StreamPart for each, and FinishStream before others may learn of any. Waiting
/// for the stores of each part of a few KiB by itself would cost a fifth of the speed.
void StreamPart(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;
void FinishStream() noexcept;

}  // namespace terrace
