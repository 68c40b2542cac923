// Operation: what a replay does with a request, in the order in which it was done.
#pragma once

#include <cstdint>

namespace terrace::replay {

enum class WorkKind : std::uint32_t { kPrefill = 0, kDecode = 1, kStop = 2 };

/// One finished prefill or decode.
struct Operation {
  WorkKind kind;
  std::uint64_t request;  ///< index in the trace
};

}  // namespace terrace::replay
