// RequestFacts: what a policy may know of a request beside its chain. What a client said is a hint:
// it may be missing or wrong.
#pragma once

#include <cstdint>

#include "base/request_hints.h"

namespace terrace {

/// Zeros where nothing is known.
struct RequestFacts {
  std::uint32_t tenant = 0;    ///< number of the tenant
  std::uint32_t session = 0;   ///< hash of the session's name
  std::uint32_t category = 0;  ///< hash of the category's name
  std::uint16_t turn = 0;      ///< of the session; the first is 1
  Continuation continuation = Continuation::kUnknown;
  /// The policy is shown 1 of 2^thinned blocks, of a miniature; numbers and lengths are of all.
  std::uint8_t thinned = 0;
  /// The policy's own, from Extend to Insert.
  bool extended = false;
  std::uint16_t kind = 0;
  std::uint32_t when = 0;
};

}  // namespace terrace
