// TierKind: the terrace of memory that a block lies on.
#pragma once

#include <cstdint>
#include <string_view>

namespace terrace {

/// Part of the wire protocol: append only. A higher terrace is faster and has a lower number.
enum class TierKind : std::uint8_t { kNone = 0, kHbm = 1, kDram = 2, kNvme = 3 };

/// "none", "hbm", "dram", "nvme".
constexpr std::string_view TierName(TierKind tier) noexcept {
  switch (tier) {
    case TierKind::kHbm: return "hbm";
    case TierKind::kDram: return "dram";
    case TierKind::kNvme: return "nvme";
    case TierKind::kNone: break;
  }
  return "none";
}

}  // namespace terrace
