// Checksums and hashes of blocks: XXH3 (Collet, xxHash 0.8), by the widest vectors the CPU has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/streaming_copy.h"

namespace terrace {

/// A block's payload is checked in pieces of this size, so that parts of it verify alone, bytes.
inline constexpr std::size_t kChecksumPieceBytes = 256 << 10;

/// Number of checksums of a block of `bytes` bytes; the last piece may be shorter.
[[nodiscard]] constexpr std::size_t ChecksumPieceCount(std::size_t bytes) noexcept {
  return (bytes + kChecksumPieceBytes - 1) / kChecksumPieceBytes;
}

/// XXH3-64 with seed 0 of `bytes`.
[[nodiscard]] std::uint64_t Checksum64(std::span<const std::byte> bytes) noexcept;

/// Checksum64 of bytes that lie in several places. Any thread, one at a time; not in a coroutine's
/// frame (its alignment).
class ChecksumStream {
 public:
  ChecksumStream() noexcept;
  void Update(std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] std::uint64_t Digest() const noexcept;

 private:
  alignas(64) std::byte state_[576];
};

/// Copies parts that lie anywhere, whose sources are cold; the checksum is that of all of them, one
/// after the other, as they then stand there, in one walk; also when others write to the sources
/// meanwhile. As ChecksumStream; others may learn of what was copied after Finish.
class ChecksumCopy {
 public:
  /// Past the caches (base/streaming_copy.h).
  void Copy(std::span<const CopyPart> parts) noexcept;
  /// To where they are read again at once. REQUIRES: nobody else writes there.
  void CopyIntoCache(std::span<const CopyPart> parts) noexcept;
  [[nodiscard]] std::uint64_t Finish() noexcept;

 private:
  ChecksumStream stream_;
};

/// Fills checksums[i] with Checksum64 of piece i. REQUIRES: checksums.size() ==
/// ChecksumPieceCount(bytes.size()).
void ChecksumBlock(std::span<const std::byte> bytes, std::span<std::uint64_t> checksums) noexcept;

/// True when every piece matches. A wrong number of checksums is a mismatch.
[[nodiscard]] bool VerifyBlock(std::span<const std::byte> bytes,
                               std::span<const std::uint64_t> checksums) noexcept;

/// XXH3-64 with `seed` of `bytes`: for placement, where another seed must give another order.
[[nodiscard]] std::uint64_t SeededHash64(std::span<const std::byte> bytes,
                                         std::uint64_t seed) noexcept;

struct Hash128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

/// XXH3-128 with seed 0 of `bytes`.
[[nodiscard]] Hash128 HashBytes128(std::span<const std::byte> bytes) noexcept;

/// 32 lower-case hexadecimal digits, high half first.
[[nodiscard]] std::string ToHex(const Hash128& hash);

}  // namespace terrace
