// XXH3-64 (Collet, xxHash 0.8) with seed 0 and the default secret, of pieces of up to 256 KiB, as
// arithmetic that the host and a GPU share. The values are those of base/checksum.h.
//
// Model. A piece longer than 240 bytes is a row of blocks of 1 KiB, each of 16 stripes of 8 lanes
// of 8 bytes. Within a block the stripes' contributions to a lane only add up, so they can be
// summed in any order and by anybody; from block to block the 8 lanes are scrambled, one after the
// other. The last, partial block is not scrambled; the last 64 bytes are one more stripe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define TERRACE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define TERRACE_HOST_DEVICE inline
#endif

namespace terrace::xxh3 {

inline constexpr std::uint32_t kLanes = 8;
inline constexpr std::uint32_t kStripeBytes = 64;
inline constexpr std::uint32_t kBlockStripes = 16;
inline constexpr std::uint32_t kBlockBytes = kStripeBytes * kBlockStripes;
/// Pieces up to this length have neither stripes nor blocks.
inline constexpr std::uint32_t kShortBytes = 240;

/// The default secret, 192 bytes, as little-endian words.
struct Secret {
  std::uint64_t words[24];
};
inline constexpr Secret kSecret = {{
    0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072,
    0x78e5c0cc4ee679cb, 0x2172ffcc7dd05a82, 0x8e2443f7744608b8, 0x4c263a81e69035e0,
    0xcb00c391bb52283c, 0xa32e531b8b65d088, 0x4ef90da297486471, 0xd8acdea946ef1938,
    0x3f349ce33f76faa8, 0x1d4f0bc7c7bbdcf9, 0x3159b4cd4be0518a, 0x647378d9c97e9fc8,
    0xc3ebd33483acc5ea, 0xeb6313faffa081c5, 0x49daf0b751dd0d17, 0x9e68d429265516d3,
    0xfca1477d58be162b, 0xce31d07ad1b8f88f, 0x280416958f3acb45, 0x7e404bbbcafbd7af,
}};

inline constexpr std::uint64_t kPrime1 = 0x9e3779b185ebca87;
inline constexpr std::uint64_t kPrime2 = 0xc2b2ae3d27d4eb4f;
inline constexpr std::uint64_t kPrime3 = 0x165667b19e3779f9;
inline constexpr std::uint64_t kPrime4 = 0x85ebca77c2b2ae63;
inline constexpr std::uint64_t kPrime5 = 0x27d4eb2f165667c5;
inline constexpr std::uint64_t kPrime32A = 0x9e3779b1;
inline constexpr std::uint64_t kPrime32B = 0x85ebca77;
inline constexpr std::uint64_t kPrime32C = 0xc2b2ae3d;
inline constexpr std::uint64_t kMixA = 0x165667919e3779f9;
inline constexpr std::uint64_t kMixB = 0x9fb21c651e98df25;

/// The 8 bytes of the secret at `offset`, which need not be a multiple of 8.
TERRACE_HOST_DEVICE std::uint64_t SecretAt(const Secret& secret, std::uint32_t offset) noexcept {
  const std::uint32_t shift = offset % 8 * 8;
  const std::uint64_t low = secret.words[offset / 8] >> shift;
  return shift == 0 ? low : low | secret.words[offset / 8 + 1] << (64 - shift);
}

// Little-endian, at any alignment.
TERRACE_HOST_DEVICE std::uint64_t Read64(const std::byte* from) noexcept {
  std::uint64_t value = 0;
  memcpy(&value, from, sizeof value);
  return value;
}
TERRACE_HOST_DEVICE std::uint32_t Read32(const std::byte* from) noexcept {
  std::uint32_t value = 0;
  memcpy(&value, from, sizeof value);
  return value;
}

TERRACE_HOST_DEVICE std::uint64_t RotateLeft(std::uint64_t value, int bits) noexcept {
  return value << bits | value >> (64 - bits);
}

TERRACE_HOST_DEVICE std::uint64_t SwapBytes(std::uint64_t value) noexcept {
  value = (value & 0x00ff00ff00ff00ff) << 8 | (value >> 8 & 0x00ff00ff00ff00ff);
  value = (value & 0x0000ffff0000ffff) << 16 | (value >> 16 & 0x0000ffff0000ffff);
  return value << 32 | value >> 32;
}

/// Both halves of the product of 128 bits, one over the other.
TERRACE_HOST_DEVICE std::uint64_t FoldProduct(std::uint64_t a, std::uint64_t b) noexcept {
#if defined(__CUDA_ARCH__)
  return (a * b) ^ __umul64hi(a, b);
#else
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#endif
}

TERRACE_HOST_DEVICE std::uint64_t Avalanche(std::uint64_t hash) noexcept {
  hash ^= hash >> 37;
  hash *= kMixA;
  return hash ^ hash >> 32;
}

/// That of XXH64, which the shortest pieces use.
TERRACE_HOST_DEVICE std::uint64_t OldAvalanche(std::uint64_t hash) noexcept {
  hash ^= hash >> 33;
  hash *= kPrime2;
  hash ^= hash >> 29;
  hash *= kPrime3;
  return hash ^ hash >> 32;
}

/// Of 16 bytes with 16 bytes of the secret.
TERRACE_HOST_DEVICE std::uint64_t Mix16(const std::byte* from, const Secret& secret,
                                        std::uint32_t offset) noexcept {
  return FoldProduct(Read64(from) ^ SecretAt(secret, offset),
                     Read64(from + 8) ^ SecretAt(secret, offset + 8));
}

/// REQUIRES: bytes <= 16.
TERRACE_HOST_DEVICE std::uint64_t HashTiny(const Secret& secret, const std::byte* from,
                                           std::uint32_t bytes) noexcept {
  const auto keys = [&secret](std::uint32_t offset) {
    return SecretAt(secret, offset) ^ SecretAt(secret, offset + 8);
  };
  if (bytes > 8) {
    const std::uint64_t low = Read64(from) ^ keys(24);
    const std::uint64_t high = Read64(from + bytes - 8) ^ keys(40);
    return Avalanche(bytes + SwapBytes(low) + high + FoldProduct(low, high));
  }
  if (bytes >= 4) {
    const std::uint64_t first = Read32(from);
    std::uint64_t hash = (Read32(from + bytes - 4) + (first << 32)) ^ keys(8);
    hash ^= RotateLeft(hash, 49) ^ RotateLeft(hash, 24);
    hash *= kMixB;
    hash ^= (hash >> 35) + bytes;
    hash *= kMixB;
    return hash ^ hash >> 28;
  }
  if (bytes == 0) return OldAvalanche(keys(56));
  const auto byte = [from](std::uint32_t at) { return static_cast<std::uint32_t>(from[at]); };
  const std::uint32_t all = byte(0) << 16 | byte(bytes / 2) << 24 | byte(bytes - 1) | bytes << 8;
  const std::uint64_t word = secret.words[0];
  return OldAvalanche(all ^ static_cast<std::uint32_t>(word ^ word >> 32));
}

/// REQUIRES: bytes <= kShortBytes.
TERRACE_HOST_DEVICE std::uint64_t HashShort(const Secret& secret, const std::byte* from,
                                            std::uint32_t bytes) noexcept {
  if (bytes <= 16) return HashTiny(secret, from, bytes);
  std::uint64_t hash = bytes * kPrime1;
  if (bytes <= 128) {
    // Pairs from both ends inwards.
    for (std::uint32_t pair = 0; pair <= (bytes - 1) / 32; ++pair) {
      hash += Mix16(from + 16 * pair, secret, 32 * pair);
      hash += Mix16(from + bytes - 16 * (pair + 1), secret, 32 * pair + 16);
    }
    return Avalanche(hash);
  }
  for (std::uint32_t i = 0; i < 8; ++i) hash += Mix16(from + 16 * i, secret, 16 * i);
  hash = Avalanche(hash);
  for (std::uint32_t i = 8; i < bytes / 16; ++i) {
    hash += Mix16(from + 16 * i, secret, 16 * (i - 8) + 3);
  }
  hash += Mix16(from + bytes - 16, secret, 119);
  return Avalanche(hash);
}

/// What a piece's lanes begin with.
TERRACE_HOST_DEVICE std::uint64_t FirstLane(std::uint32_t lane) noexcept {
  switch (lane) {
    case 0: return kPrime32C;
    case 1: return kPrime1;
    case 2: return kPrime2;
    case 3: return kPrime3;
    case 4: return kPrime4;
    case 5: return kPrime32B;
    case 6: return kPrime5;
    default: return kPrime32A;
  }
}

TERRACE_HOST_DEVICE std::uint64_t HalvesProduct(std::uint64_t value) noexcept {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(value)) * (value >> 32);
}

/// Adds two neighbouring lanes of a stripe to their sums; each also gets the other's bytes.
TERRACE_HOST_DEVICE void AddLanes(std::uint64_t& even_sum, std::uint64_t& odd_sum,
                                  std::uint64_t even, std::uint64_t odd, std::uint64_t even_key,
                                  std::uint64_t odd_key) noexcept {
  even_sum += HalvesProduct(even ^ even_key) + odd;
  odd_sum += HalvesProduct(odd ^ odd_key) + even;
}

/// The key of a lane in a stripe of a block, in words of the secret.
TERRACE_HOST_DEVICE std::uint32_t KeyWord(std::uint32_t stripe, std::uint32_t lane) noexcept {
  return stripe + lane;
}
/// The key of a lane in the last stripe, in bytes of the secret.
TERRACE_HOST_DEVICE std::uint32_t LastKeyOffset(std::uint32_t lane) noexcept {
  return 121 + 8 * lane;
}
/// The key of a lane between blocks, in words of the secret.
TERRACE_HOST_DEVICE std::uint32_t ScrambleWord(std::uint32_t lane) noexcept { return 16 + lane; }

TERRACE_HOST_DEVICE std::uint64_t Scramble(std::uint64_t value, std::uint64_t key) noexcept {
  return (value ^ value >> 47 ^ key) * kPrime32A;
}

/// The hash, of the lanes after the last stripe.
TERRACE_HOST_DEVICE std::uint64_t MergeLanes(const Secret& secret, const std::uint64_t* lanes,
                                             std::uint64_t bytes) noexcept {
  std::uint64_t hash = bytes * kPrime1;
  for (std::uint32_t lane = 0; lane < kLanes; lane += 2) {
    hash += FoldProduct(lanes[lane] ^ SecretAt(secret, 11 + 8 * lane),
                        lanes[lane + 1] ^ SecretAt(secret, 19 + 8 * lane));
  }
  return Avalanche(hash);
}

/// Adds stripes [0, count) of a block to its sums.
TERRACE_HOST_DEVICE void SumStripes(const Secret& secret, const std::byte* block,
                                    std::uint32_t count, std::uint64_t* sums) noexcept {
  for (std::uint32_t stripe = 0; stripe < count; ++stripe) {
    for (std::uint32_t lane = 0; lane < kLanes; lane += 2) {
      const std::byte* at = block + stripe * kStripeBytes + lane * 8;
      AddLanes(sums[lane], sums[lane + 1], Read64(at), Read64(at + 8),
               secret.words[KeyWord(stripe, lane)], secret.words[KeyWord(stripe, lane + 1)]);
    }
  }
}

/// XXH3-64 of a piece by one thread: what the kernel does with many.
TERRACE_HOST_DEVICE std::uint64_t HashPiece(const Secret& secret, const std::byte* from,
                                            std::uint32_t bytes) noexcept {
  if (bytes <= kShortBytes) return HashShort(secret, from, bytes);
  std::uint64_t lanes[kLanes];
  for (std::uint32_t lane = 0; lane < kLanes; ++lane) lanes[lane] = FirstLane(lane);
  const std::uint32_t blocks = (bytes - 1) / kBlockBytes;  // that are scrambled
  for (std::uint32_t block = 0; block <= blocks; ++block) {
    const std::uint32_t stripes =
        block < blocks ? kBlockStripes : (bytes - 1) % kBlockBytes / kStripeBytes;
    SumStripes(secret, from + std::size_t{block} * kBlockBytes, stripes, lanes);
    if (block == blocks) break;
    for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = Scramble(lanes[lane], secret.words[ScrambleWord(lane)]);
    }
  }
  const std::byte* last = from + bytes - kStripeBytes;
  for (std::uint32_t lane = 0; lane < kLanes; lane += 2) {
    AddLanes(lanes[lane], lanes[lane + 1], Read64(last + lane * 8), Read64(last + lane * 8 + 8),
             SecretAt(secret, LastKeyOffset(lane)), SecretAt(secret, LastKeyOffset(lane + 1)));
  }
  return MergeLanes(secret, lanes, bytes);
}

}  // namespace terrace::xxh3
