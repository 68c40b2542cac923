// The bytes of a block as a function of its key, so that whoever reads a block can verify it
// alone, without the producer and without a second buffer.
//
// Word i of a block is a mix of (seed, i); the loops use only additions, shifts and xors of 64-bit
// lanes, so that the compiler makes vector code of them for every x86-64 and AArch64. Two keys, or
// two places of one block, agree in a given word with a chance of about 2^-64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "tools/replay/trace/block_keys.h"

namespace terrace::replay {

/// Sizes must be multiples of this, bytes.
inline constexpr std::size_t kWordBytes = 8;

struct BlockSeed {
  std::uint64_t start = 0;
  std::uint64_t twist = 0;
};
[[nodiscard]] BlockSeed SeedOf(const BlockKey& key) noexcept;

/// Writes the right bytes. REQUIRES: block.size() % 8 == 0 (also below).
void ProduceBlock(BlockSeed seed, std::span<std::byte> block) noexcept;

/// Writes bytes of which every single one is wrong (the complement of the right one), so that any
/// byte that a get leaves untouched is found.
void PoisonBlock(BlockSeed seed, std::span<std::byte> block) noexcept;

struct WrongByte {
  std::size_t offset = 0;   ///< of the first wrong byte in the block
  std::uint64_t count = 0;  ///< wrong bytes of the block
  std::byte expected{};
  std::byte found{};
};
/// nullopt when every byte is right.
[[nodiscard]] std::optional<WrongByte> FindWrongByte(BlockSeed seed,
                                                     std::span<const std::byte> block) noexcept;

}  // namespace terrace::replay
