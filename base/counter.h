// Counters with one writer that any thread may read: a plain load and store will do, where an
// atomic addition would lock the line.
#pragma once

#include <atomic>
#include <cstdint>

namespace terrace {

/// The counter's one writer's.
inline void Count(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

/// The same downwards. REQUIRES: by <= counter.
inline void Uncount(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) - by, std::memory_order_relaxed);
}

}  // namespace terrace
