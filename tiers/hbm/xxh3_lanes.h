// XXH3-64 (seed 0, its default secret) cut so that a GPU computes it with many threads.
//
// Model. Bytes beyond kShortBytes are *stripes* of 64 bytes, each of 8 lanes of 8 bytes; 16 stripes
// are a *row* of 1 KiB. What a row adds to the 8 lanes of the state does not depend on the state,
// so all rows of a piece are summed at once, by anybody; only the scramble after each full row is
// serial. The same functions run in the kernel (cuda/checksum.cu) and, for the tests, on the host.
//
// Any thread; no allocation. Little-endian machines only, as all that GPUs hang on.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define TERRACE_HOST_DEVICE __host__ __device__
#else
#define TERRACE_HOST_DEVICE
#endif

namespace terrace::xxh3 {

inline constexpr std::uint32_t kShortBytes = 240;  ///< up to here: Short(), without stripes
inline constexpr std::uint32_t kStripeBytes = 64;
inline constexpr std::uint32_t kRowStripes = 16;
inline constexpr std::uint32_t kRowBytes = kRowStripes * kStripeBytes;
inline constexpr std::uint32_t kLanes = 8;

inline constexpr std::uint64_t kPrime32A = 0x9e3779b1;
inline constexpr std::uint64_t kPrime32B = 0x85ebca77;
inline constexpr std::uint64_t kPrime32C = 0xc2b2ae3d;
inline constexpr std::uint64_t kPrimeA = 0x9e3779b185ebca87;
inline constexpr std::uint64_t kPrimeB = 0xc2b2ae3d27d4eb4f;
inline constexpr std::uint64_t kPrimeC = 0x165667b19e3779f9;
inline constexpr std::uint64_t kPrimeD = 0x85ebca77c2b2ae63;
inline constexpr std::uint64_t kPrimeE = 0x27d4eb2f165667c5;

/// Word `index` (0 to 23) of the secret.
TERRACE_HOST_DEVICE inline std::uint64_t SecretWord(std::uint32_t index) {
  static constexpr std::uint64_t kSecret[24] = {
      0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072,
      0x78e5c0cc4ee679cb, 0x2172ffcc7dd05a82, 0x8e2443f7744608b8, 0x4c263a81e69035e0,
      0xcb00c391bb52283c, 0xa32e531b8b65d088, 0x4ef90da297486471, 0xd8acdea946ef1938,
      0x3f349ce33f76faa8, 0x1d4f0bc7c7bbdcf9, 0x3159b4cd4be0518a, 0x647378d9c97e9fc8,
      0xc3ebd33483acc5ea, 0xeb6313faffa081c5, 0x49daf0b751dd0d17, 0x9e68d429265516d3,
      0xfca1477d58be162b, 0xce31d07ad1b8f88f, 0x280416958f3acb45, 0x7e404bbbcafbd7af,
  };
  return kSecret[index];
}

/// 8 bytes of the secret from byte `offset` on (0 to 184).
TERRACE_HOST_DEVICE inline std::uint64_t SecretAt(std::uint32_t offset) {
  const std::uint32_t shift = offset % 8 * 8;
  const std::uint64_t low = SecretWord(offset / 8);
  return shift == 0 ? low : low >> shift | SecretWord(offset / 8 + 1) << (64 - shift);
}

/// A little-endian number of `bytes` (at most 8) bytes, however aligned.
TERRACE_HOST_DEVICE inline std::uint64_t Load(const std::byte* from, std::uint32_t bytes) {
  std::uint64_t value = 0;
  for (std::uint32_t i = 0; i < bytes; ++i) {
    value |= static_cast<std::uint64_t>(from[i]) << (8 * i);
  }
  return value;
}

TERRACE_HOST_DEVICE inline std::uint64_t SwapBytes(std::uint64_t value) {
  std::uint64_t swapped = 0;
  for (std::uint32_t i = 0; i < 8; ++i) swapped = swapped << 8 | (value >> (8 * i) & 0xff);
  return swapped;
}

/// The two halves of the product of 128 bits, one xored on the other.
TERRACE_HOST_DEVICE inline std::uint64_t FoldedProduct(std::uint64_t a, std::uint64_t b) {
#ifdef __CUDA_ARCH__
  return a * b ^ __umul64hi(a, b);
#else
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#endif
}

TERRACE_HOST_DEVICE constexpr std::uint64_t RotateLeft(std::uint64_t value, std::uint32_t by) {
  return value << by | value >> (64 - by);
}

TERRACE_HOST_DEVICE constexpr std::uint64_t Avalanche(std::uint64_t hash) {
  hash = (hash ^ hash >> 37) * 0x165667919e3779f9;
  return hash ^ hash >> 32;
}

TERRACE_HOST_DEVICE constexpr std::uint64_t AvalancheOfXxh64(std::uint64_t hash) {
  hash = (hash ^ hash >> 33) * kPrimeB;
  hash = (hash ^ hash >> 29) * kPrimeC;
  return hash ^ hash >> 32;
}

// --- At most kShortBytes ---

/// 16 bytes against 16 of the secret.
TERRACE_HOST_DEVICE inline std::uint64_t Mix16(const std::byte* at, std::uint32_t secret) {
  return FoldedProduct(Load(at, 8) ^ SecretAt(secret), Load(at + 8, 8) ^ SecretAt(secret + 8));
}

TERRACE_HOST_DEVICE inline std::uint64_t Upto16(const std::byte* at, std::uint32_t bytes) {
  if (bytes == 0) return AvalancheOfXxh64(SecretAt(56) ^ SecretAt(64));
  if (bytes < 4) {
    const std::uint64_t mixed =
        Load(at, 1) << 16 | Load(at + bytes / 2, 1) << 24 | Load(at + bytes - 1, 1) | bytes << 8;
    return AvalancheOfXxh64(mixed ^ ((SecretAt(0) ^ SecretAt(0) >> 32) & 0xffffffff));
  }
  if (bytes <= 8) {
    const std::uint64_t both = Load(at + bytes - 4, 4) + (Load(at, 4) << 32);
    std::uint64_t hash = both ^ SecretAt(8) ^ SecretAt(16);
    hash = (hash ^ RotateLeft(hash, 49) ^ RotateLeft(hash, 24)) * 0x9fb21c651e98df25;
    hash = (hash ^ ((hash >> 35) + bytes)) * 0x9fb21c651e98df25;
    return hash ^ hash >> 28;
  }
  const std::uint64_t low = Load(at, 8) ^ SecretAt(24) ^ SecretAt(32);
  const std::uint64_t high = Load(at + bytes - 8, 8) ^ SecretAt(40) ^ SecretAt(48);
  return Avalanche(bytes + SwapBytes(low) + high + FoldedProduct(low, high));
}

/// XXH3-64 of at most kShortBytes bytes.
TERRACE_HOST_DEVICE inline std::uint64_t Short(const std::byte* at, std::uint32_t bytes) {
  if (bytes <= 16) return Upto16(at, bytes);
  std::uint64_t sum = bytes * kPrimeA;
  if (bytes <= 128) {
    const std::uint32_t pairs = (bytes - 1) / 32 + 1;  // one from the front, one from the back
    for (std::uint32_t i = 0; i < pairs; ++i) {
      sum += Mix16(at + 16 * i, 32 * i) + Mix16(at + bytes - 16 * (i + 1), 32 * i + 16);
    }
    return Avalanche(sum);
  }
  for (std::uint32_t i = 0; i < 8; ++i) sum += Mix16(at + 16 * i, 16 * i);
  sum = Avalanche(sum);
  for (std::uint32_t i = 8; i < bytes / 16; ++i) sum += Mix16(at + 16 * i, 16 * (i - 8) + 3);
  return Avalanche(sum + Mix16(at + bytes - 16, 119));
}

// --- More than kShortBytes ---

/// Full rows, each with a scramble behind it; REQUIRES: bytes > kShortBytes.
TERRACE_HOST_DEVICE constexpr std::uint32_t FullRows(std::uint32_t bytes) {
  return (bytes - 1) / kRowBytes;
}
/// Whole stripes of the row after them (0 to 15); the last stripe, which may overlap, comes extra.
TERRACE_HOST_DEVICE constexpr std::uint32_t RestStripes(std::uint32_t bytes) {
  return (bytes - 1) % kRowBytes / kStripeBytes;
}

/// What `lane` gains from a stripe: `own` and `neighbour` are its words `lane` and `lane` ^ 1,
/// `key` the secret's word for it.
TERRACE_HOST_DEVICE constexpr std::uint64_t LaneGain(std::uint64_t own, std::uint64_t neighbour,
                                                     std::uint64_t key) {
  const std::uint64_t keyed = own ^ key;
  return neighbour + (keyed & 0xffffffff) * (keyed >> 32);
}

/// What `lane` gains from the stripe that ends the bytes, at `at`.
TERRACE_HOST_DEVICE inline std::uint64_t LastGain(const std::byte* at, std::uint32_t lane) {
  return LaneGain(Load(at + 8 * lane, 8), Load(at + 8 * (lane ^ 1), 8), SecretAt(121 + 8 * lane));
}

TERRACE_HOST_DEVICE inline std::uint64_t LaneStart(std::uint32_t lane) {
  static constexpr std::uint64_t kStart[kLanes] = {kPrime32C, kPrimeA,   kPrimeB, kPrimeC,
                                                   kPrimeD,   kPrime32B, kPrimeE, kPrime32A};
  return kStart[lane];
}

/// The lane after a full row; `key` is SecretWord(16 + lane).
TERRACE_HOST_DEVICE constexpr std::uint64_t Scramble(std::uint64_t value, std::uint64_t key) {
  return (value ^ value >> 47 ^ key) * kPrime32A;
}

/// The hash of `bytes` bytes from the 8 lanes at their end.
TERRACE_HOST_DEVICE inline std::uint64_t Merge(const std::uint64_t* lanes, std::uint32_t bytes) {
  std::uint64_t hash = bytes * kPrimeA;
  for (std::uint32_t i = 0; i < kLanes; i += 2) {
    hash += FoldedProduct(lanes[i] ^ SecretAt(11 + 8 * i), lanes[i + 1] ^ SecretAt(19 + 8 * i));
  }
  return Avalanche(hash);
}

}  // namespace terrace::xxh3
