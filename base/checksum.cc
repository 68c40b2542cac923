#include "base/checksum.h"

// For the size of XXH3_state_t, which then can stand on the stack.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#endif

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace terrace {
namespace {

// Of a copy that is hashed. 4 KiB and the state fit the first-level cache beside the source; larger
// steps take longer, and so do smaller ones.
constexpr std::size_t kStepBytes = 4 << 10;

}  // namespace

std::uint64_t Checksum64(std::span<const std::byte> bytes) noexcept {
#if defined(__x86_64__)
  // The library is built for SSE2; its dispatcher picks AVX2 or AVX-512 at run time (2.7x).
  return XXH3_64bits_dispatch(bytes.data(), bytes.size());
#else
  return XXH3_64bits(bytes.data(), bytes.size());
#endif
}

ChecksumStream::ChecksumStream() noexcept {
  static_assert(sizeof(XXH3_state_t) <= sizeof(state_) && alignof(XXH3_state_t) <= 64);
  XXH3_64bits_reset(reinterpret_cast<XXH3_state_t*>(state_));
}

void ChecksumStream::Update(std::span<const std::byte> bytes) noexcept {
  auto* state = reinterpret_cast<XXH3_state_t*>(state_);
#if defined(__x86_64__)
  XXH3_64bits_update_dispatch(state, bytes.data(), bytes.size());
#else
  XXH3_64bits_update(state, bytes.data(), bytes.size());
#endif
}

std::uint64_t ChecksumStream::Digest() const noexcept {
  return XXH3_64bits_digest(reinterpret_cast<const XXH3_state_t*>(state_));
}

void ChecksumCopy::Copy(std::span<const CopyPart> parts) noexcept {
  // What is hashed is what is then stored, even when somebody changes the source meanwhile: bytes
  // that nobody else can reach keep what was read once.
  alignas(64) std::array<std::byte, kStepBytes> step;
  ReadAhead ahead(parts);
  for (const CopyPart& part : parts) {
    for (std::size_t done = 0; done < part.bytes; done += kStepBytes) {
      const std::size_t length = std::min(kStepBytes, part.bytes - done);
      StreamPartAndKeep(part.to + done, step.data(), part.from + done, length, ahead);
      stream_.Update({step.data(), length});
    }
  }
}

void ChecksumCopy::CopyIntoCache(std::span<const CopyPart> parts) noexcept {
  ReadAhead ahead(parts);
  for (const CopyPart& part : parts) {
    for (std::size_t done = 0; done < part.bytes; done += kStepBytes) {
      const std::size_t length = std::min(kStepBytes, part.bytes - done);
      CopyColdPart(part.to + done, part.from + done, length, ahead);
      stream_.Update({part.to + done, length});
    }
  }
}

std::uint64_t ChecksumCopy::Finish() noexcept {
  FinishStream();
  return stream_.Digest();
}

void ChecksumBlock(std::span<const std::byte> bytes, std::span<std::uint64_t> checksums) noexcept {
  for (std::uint64_t& checksum : checksums) {
    const std::size_t length = std::min(kChecksumPieceBytes, bytes.size());
    checksum = Checksum64(bytes.first(length));
    bytes = bytes.subspan(length);
  }
}

bool VerifyBlock(std::span<const std::byte> bytes,
                 std::span<const std::uint64_t> checksums) noexcept {
  if (checksums.size() != ChecksumPieceCount(bytes.size())) return false;
  for (const std::uint64_t checksum : checksums) {
    const std::size_t length = std::min(kChecksumPieceBytes, bytes.size());
    if (checksum != Checksum64(bytes.first(length))) return false;
    bytes = bytes.subspan(length);
  }
  return true;
}

std::uint64_t SeededHash64(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Hash128 HashBytes128(std::span<const std::byte> bytes) noexcept {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {.low = hash.low64, .high = hash.high64};
}

std::string ToHex(const Hash128& hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high),
                static_cast<unsigned long long>(hash.low));
  return text;
}

}  // namespace terrace
