// RequestFacts: what a policy may know of a request beside its chain. What a client said is a hint:
// it may be missing or wrong.
#pragma once

#include <cstdint>

#include "base/request_hints.h"

namespace terrace {

/// Zeros where nothing is known.
struct RequestFacts {
  std::uint32_t tenant = 0;    ///< number of the tenant
  std::uint32_t space = 0;     ///< of the namespace
  std::uint32_t session = 0;   ///< hash of the session's name
  std::uint32_t category = 0;  ///< hash of the category's name
  std::uint16_t turn = 0;      ///< of the session; the first is 1
  Continuation continuation = Continuation::kUnknown;
  /// The policy is shown 1 of 2^thinned blocks, of a miniature; numbers and lengths are of all.
  std::uint8_t thinned = 0;
  /// To compute a byte of the request's chain again, on average over the chain, in a unit that is
  /// one for all requests of a tenant; 0, or block_bytes 0: as any other.
  float cost_per_byte = 0;
  std::uint32_t block_bytes = 0;  ///< of each of its blocks
  /// The policy's own, from Extend to Insert.
  bool extended = false;
  std::int8_t cost_class = 0;  ///< CostClasses
  std::uint16_t kind = 0;
  std::uint32_t when = 0;
};

}  // namespace terrace
