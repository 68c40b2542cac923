// Locator: the index key of a block.
#pragma once

#include <cstdint>

#include "base/block_identity.h"

namespace terrace {

/// The namespace id is exact, so nobody can collide into another tenant. The hash is not: the full
/// key stands in the frame's header and is compared on every hit.
struct Locator {
  std::uint32_t namespace_id = 0;
  Hash128 hash;
  friend bool operator==(const Locator&, const Locator&) = default;
};

}  // namespace terrace
