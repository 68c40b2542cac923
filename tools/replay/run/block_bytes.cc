#include "tools/replay/run/block_bytes.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checksum.h"

namespace terrace::replay {
namespace {

/// 2^64 / golden ratio, odd: the counter visits all 2^64 values before it repeats.
constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;
/// Words compared before the loop looks whether one was wrong: 4 KiB, a page.
constexpr std::size_t kVerifyWords = 512;

// Compiled once for any x86-64 and once for AVX2, where the loops are about twice as fast; which
// one runs is decided at run time, so that one build suits every host.
#if defined(__x86_64__)
#define TERRACE_WIDE_VECTORS __attribute__((target("avx2")))
bool HasWideVectors() noexcept {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}
#else
#define TERRACE_WIDE_VECTORS
constexpr bool HasWideVectors() noexcept { return false; }
#endif

[[gnu::always_inline]] inline std::uint64_t Mix(std::uint64_t counter,
                                                std::uint64_t twist) noexcept {
  std::uint64_t value = counter;
  value ^= value << 13;
  value ^= value >> 7;
  value += twist;
  value ^= value << 17;
  return value;
}

[[gnu::always_inline]] inline void WriteWords(BlockSeed seed, std::byte* out, std::size_t words,
                                              std::uint64_t flip) noexcept {
  for (std::size_t word = 0; word < words; ++word) {
    const std::uint64_t value = Mix(seed.start + word * kStep, seed.twist) ^ flip;
    std::memcpy(out + word * kWordBytes, &value, kWordBytes);
  }
}

[[gnu::always_inline]] inline std::uint64_t CompareWords(std::uint64_t start, std::uint64_t twist,
                                                         const std::byte* in,
                                                         std::size_t words) noexcept {
  std::uint64_t difference = 0;
  for (std::size_t word = 0; word < words; ++word) {
    std::uint64_t value = 0;
    std::memcpy(&value, in + word * kWordBytes, kWordBytes);
    difference |= value ^ Mix(start + word * kStep, twist);
  }
  return difference;
}

TERRACE_WIDE_VECTORS void WriteWide(BlockSeed seed, std::byte* out, std::size_t words,
                                    std::uint64_t flip) noexcept {
  WriteWords(seed, out, words, flip);
}
TERRACE_WIDE_VECTORS std::uint64_t CompareWide(std::uint64_t start, std::uint64_t twist,
                                               const std::byte* in, std::size_t words) noexcept {
  return CompareWords(start, twist, in, words);
}

void Write(BlockSeed seed, std::span<std::byte> block, std::uint64_t flip) noexcept {
  TERRACE_CHECK(block.size() % kWordBytes == 0);
  const std::size_t words = block.size() / kWordBytes;
  if (HasWideVectors()) {
    WriteWide(seed, block.data(), words, flip);
  } else {
    WriteWords(seed, block.data(), words, flip);
  }
}

/// 0 when words [first, first + count) of the block are right.
std::uint64_t Difference(BlockSeed seed, const std::byte* block, std::size_t first,
                         std::size_t count) noexcept {
  const std::byte* in = block + first * kWordBytes;
  const std::uint64_t start = seed.start + first * kStep;
  return HasWideVectors() ? CompareWide(start, seed.twist, in, count)
                          : CompareWords(start, seed.twist, in, count);
}

/// The slow path: which byte is wrong first, and how many are.
WrongByte Locate(BlockSeed seed, std::span<const std::byte> block) noexcept {
  WrongByte result;
  for (std::size_t offset = 0; offset < block.size(); offset += kWordBytes) {
    const std::uint64_t value = Mix(seed.start + offset / kWordBytes * kStep, seed.twist);
    std::byte right[kWordBytes];
    std::memcpy(right, &value, kWordBytes);
    for (std::size_t byte = 0; byte < kWordBytes; ++byte) {
      if (block[offset + byte] == right[byte]) continue;
      if (result.count++ == 0) {
        result.offset = offset + byte;
        result.expected = right[byte];
        result.found = block[offset + byte];
      }
    }
  }
  return result;
}

}  // namespace

BlockSeed SeedOf(const BlockKey& key) noexcept {
  const Hash128 hash = HashBytes128(key);
  return {.start = hash.low, .twist = hash.high};
}

void ProduceBlock(BlockSeed seed, std::span<std::byte> block) noexcept { Write(seed, block, 0); }

void PoisonBlock(BlockSeed seed, std::span<std::byte> block) noexcept {
  Write(seed, block, ~std::uint64_t{0});
}

std::optional<WrongByte> FindWrongByte(BlockSeed seed, std::span<const std::byte> block) noexcept {
  TERRACE_CHECK(block.size() % kWordBytes == 0);
  const std::size_t words = block.size() / kWordBytes;
  for (std::size_t word = 0; word < words; word += kVerifyWords) {
    const std::size_t count = std::min(kVerifyWords, words - word);
    if (Difference(seed, block.data(), word, count) != 0) return Locate(seed, block);
  }
  return std::nullopt;
}

}  // namespace terrace::replay
