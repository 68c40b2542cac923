#include "base/link.h"

namespace terrace {

std::string_view LinkKindName(LinkKind kind) noexcept {
  switch (kind) {
    case LinkKind::kTcp: return "tcp";
    case LinkKind::kShm: return "shm";
    case LinkKind::kRdma: return "rdma";
    case LinkKind::kSim: return "sim";
    case LinkKind::kNone: break;
  }
  return "none";
}

}  // namespace terrace
