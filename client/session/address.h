// Address: HOST:PORT as a person writes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace terrace {

struct Address {
  std::string host;  ///< numeric or a name; an IPv6 address without its brackets
  std::uint16_t port = 0;
};

/// Reads "127.0.0.1:7420", "name:7420" or "[::1]:7420". kInvalid, quoting `text`, otherwise.
Result<Address> ParseAddress(std::string_view text);

}  // namespace terrace
