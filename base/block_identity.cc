#include "base/block_identity.h"

#include <array>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"

namespace terrace {

namespace {

void StoreLittleEndian(std::byte* to, std::uint32_t value) noexcept {
  for (int byte = 0; byte < 4; ++byte) to[byte] = static_cast<std::byte>(value >> (8 * byte));
}

}  // namespace

Hash128 HashLocator(LocatorHash hash, std::uint32_t group, std::uint32_t shard,
                    std::span<const std::byte> key) noexcept {
  TERRACE_CHECK(key.size() <= kKeyBytesMax);
  std::array<std::byte, 8 + kKeyBytesMax> bytes;
  StoreLittleEndian(bytes.data(), group);
  StoreLittleEndian(bytes.data() + 4, shard);
  std::memcpy(bytes.data() + 8, key.data(), key.size());
  return hash(std::span(bytes).first(8 + key.size()));
}

}  // namespace terrace
