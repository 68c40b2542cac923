// Locator: the index key of a block.
#pragma once

#include <cstdint>
#include <span>

#include "base/checksum.h"

namespace terrace {

/// The namespace id is exact, so nobody can collide into another tenant. The hash is not: the full
/// key stands in the frame's header and is compared on every hit.
struct Locator {
  std::uint32_t namespace_id = 0;
  Hash128 hash;
  friend bool operator==(const Locator&, const Locator&) = default;
};

/// Hashes the bytes of a locator; HashBytes128, except in tests that force collisions.
using LocatorHash = Hash128 (*)(std::span<const std::byte> bytes) noexcept;

/// Hash of group (4 bytes, little endian), shard (4 bytes, little endian) and key, in that order.
/// The issue that persists the index relies on these bytes. REQUIRES: key.size() <= kKeyBytesMax.
Hash128 HashLocator(LocatorHash hash, std::uint32_t group, std::uint32_t shard,
                    std::span<const std::byte> key) noexcept;

}  // namespace terrace
