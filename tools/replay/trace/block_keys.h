// Keys of a trace's blocks, made the way an engine makes them: each 32-byte key is a hash of the
// key before it and of what the block itself holds (here: its id in the trace). Two requests share
// the key of a position exactly when all their ids up to it are equal.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "tools/replay/trace/trace.h"

namespace terrace::replay {

using BlockKey = std::array<std::byte, 32>;

/// For maps: a key is a hash already, so any 8 bytes of it will do.
struct BlockKeyHash {
  std::size_t operator()(const BlockKey& key) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, key.data(), sizeof value);
    return value;
  }
};

/// The key before the first block: a function of the seed, so that two seeds never share keys.
[[nodiscard]] BlockKey RootKey(std::uint64_t seed) noexcept;
/// The key of the block with `hash_id` that follows the block named `previous`.
[[nodiscard]] BlockKey NextKey(const BlockKey& previous, std::uint64_t hash_id) noexcept;
/// 64 lower-case hexadecimal digits.
[[nodiscard]] std::string ToHex(std::span<const std::byte> key);

/// The distinct blocks of a trace, numbered from 0 in the order of their first use.
struct BlockNumbers {
  std::vector<std::uint32_t> numbers;  ///< one per entry of Trace::hash_ids
  std::uint32_t distinct = 0;

  [[nodiscard]] std::span<const std::uint32_t> Of(const TraceRequest& request) const {
    return std::span(numbers).subspan(request.first_reference, request.block_count);
  }
};
[[nodiscard]] BlockNumbers NumberBlocks(const Trace& trace);

}  // namespace terrace::replay
