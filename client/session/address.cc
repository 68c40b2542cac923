#include "client/session/address.h"

#include <charconv>
#include <system_error>

namespace terrace {
namespace {

constexpr std::size_t kHostBytesMax = 255;  // the longest DNS name

Status Bad(std::string_view text, const char* why) {
  return Status::Invalid("address \"" + std::string(text.substr(0, kHostBytesMax)) +
                         "\" is not HOST:PORT: " + why);
}

}  // namespace

Result<Address> ParseAddress(std::string_view text) {
  std::string_view host;
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return Bad(text, "no ] after [");
    host = text.substr(1, end - 1);
    if (end + 1 >= text.size() || text[end + 1] != ':') return Bad(text, "no port after ]");
    port = text.substr(end + 2);
  } else {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return Bad(text, "no port");
    host = text.substr(0, colon);
    if (host.find(':') != std::string_view::npos) {
      return Bad(text, "an IPv6 address stands in brackets, as [::1]:7420");
    }
    port = text.substr(colon + 1);
  }
  if (host.empty()) return Bad(text, "no host");
  // The system would look up what stands before it.
  if (host.find('\0') != std::string_view::npos) return Bad(text, "the host has a NUL byte");
  if (host.size() > kHostBytesMax) return Bad(text, "the host is longer than 255 bytes");
  Address address;
  address.host = host;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size() || address.port == 0) {
    return Bad(text, "the port is not a number from 1 to 65535");
  }
  return address;
}

}  // namespace terrace
