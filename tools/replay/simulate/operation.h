// Operation: what a replay does with a request, in the order in which it was done.
#pragma once

#include <cstdint>

namespace terrace::replay {

enum class WorkKind : std::uint32_t { kPrefill = 0, kDecode = 1, kStop = 2 };

/// A prefill is two operations: where several overlap, what one stores at its end is no hit of one
/// that looked for it before.
enum class OperationKind : std::uint8_t { kLookUp, kStore, kDecode };

struct Operation {
  OperationKind kind;
  std::uint64_t request;  ///< index in the trace
};

}  // namespace terrace::replay
