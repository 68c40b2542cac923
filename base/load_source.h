// LoadSource: what blocks are brought from, and how long that is expected to take. Plain data.
#pragma once

#include <cstdint>

#include "base/tier_kind.h"

namespace terrace {

/// A connection to one reactor of the daemon, which every block of that reactor crosses, or a
/// device whose blocks cross it as well. In a list of them a connection stands before its devices.
struct LoadSource {
  TierKind tier =
      TierKind::kNone;            ///< kDram: a connection, and the blocks in DRAM; kNvme: a device
  std::uint64_t bytes_per_s = 0;  ///< as measured; at least 1
  std::uint32_t queue_us = 0;     ///< until what others wait for has come
  std::uint32_t latency_us = 0;   ///< beside queue and bytes, as measured
};

}  // namespace terrace
