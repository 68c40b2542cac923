// Numeric HOST:PORT addresses to listen on. Pure functions; any thread; no exceptions, no look-up
// of names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace terrace {

struct ListenAddress {
  std::string host = "127.0.0.1";  ///< numeric IPv4 or IPv6, without brackets
  std::uint16_t port = 0;          ///< 0: the system picks

  /// 127.0.0.0/8 and ::1: only processes of this host can connect.
  [[nodiscard]] bool IsLoopback() const noexcept;
  /// 0.0.0.0 and ::, every address of the host.
  [[nodiscard]] bool IsAnyAddress() const noexcept;
  /// "127.0.0.1:7420", "[::1]:7420".
  [[nodiscard]] std::string ToString() const;
  friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};

/// Parses "127.0.0.1:7420" or "[::1]:7420". kInvalid names what is wrong.
Result<ListenAddress> ParseListenAddress(std::string_view text);

}  // namespace terrace
