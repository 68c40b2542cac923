// What identifies a block within its namespace: a hash of group, shard and key. The index, records
// on NVMe and events name blocks by it. Any thread.
#pragma once

#include <cstdint>
#include <span>

#include "base/checksum.h"

namespace terrace {

/// Hashes the bytes of a locator; HashBytes128, except in tests that force collisions.
using LocatorHash = Hash128 (*)(std::span<const std::byte> bytes) noexcept;

/// Hash of group (4 bytes, little endian), shard (4 bytes, little endian) and key, in that order.
/// Stores on NVMe and readers of events rely on these bytes. REQUIRES: key.size() <= kKeyBytesMax.
Hash128 HashLocator(LocatorHash hash, std::uint32_t group, std::uint32_t shard,
                    std::span<const std::byte> key) noexcept;

}  // namespace terrace
