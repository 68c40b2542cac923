// RequestHints: what a client may say of the request that a call belongs to. Plain data, any
// thread. The numbers of Continuation are part of the wire protocol: append only.
#pragma once

#include <cstdint>
#include <string>

namespace terrace {

/// Whether a later request goes on where this one ends.
enum class Continuation : std::uint8_t { kUnknown = 0, kWillContinue = 1, kDone = 2 };

/// Every field may stay empty, and none is a promise: the daemon may use what it is told, and what
/// is wrong costs the tenant that said it.
struct RequestHints {
  /// A conversation, an agent: requests of one name go on where the one before ended. Up to 64
  /// bytes, of the tenant; empty: not known.
  std::string session{};
  /// What kind of requests these are, "chat" for instance; likewise. Requests of one category are
  /// expected to be alike.
  std::string category{};
  std::uint32_t turn = 0;  ///< Of the session; the first is 1, at most 65,535. 0: not known.
  /// kWillContinue: a later request is expected to bring these blocks and more. kDone: none is.
  Continuation continuation = Continuation::kUnknown;

  friend bool operator==(const RequestHints&, const RequestHints&) = default;
};

}  // namespace terrace
