#include "tools/common/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>
#include <system_error>

namespace terrace {

namespace {

// inet_pton reads up to the first NUL: what is behind one is not to be passed over.
bool Parse(int family, const std::string& host, void* address) {
  return host.find('\0') == std::string::npos && inet_pton(family, host.c_str(), address) == 1;
}
bool ParseIpv4(const std::string& host, in_addr& address) { return Parse(AF_INET, host, &address); }
bool ParseIpv6(const std::string& host, in6_addr& address) {
  return Parse(AF_INET6, host, &address);
}

Status Bad(std::string_view text, const std::string& reason) {
  return Status::Invalid("\"" + std::string(text.substr(0, 128)) + "\": " + reason);
}

}  // namespace

bool ListenAddress::IsLoopback() const noexcept {
  in_addr four{};
  if (ParseIpv4(host, four)) return (ntohl(four.s_addr) >> 24) == 127;
  in6_addr six{};
  return ParseIpv6(host, six) && IN6_IS_ADDR_LOOPBACK(&six);
}

bool ListenAddress::IsAnyAddress() const noexcept {
  in_addr four{};
  if (ParseIpv4(host, four)) return four.s_addr == INADDR_ANY;
  in6_addr six{};
  return ParseIpv6(host, six) && IN6_IS_ADDR_UNSPECIFIED(&six);
}

std::string ListenAddress::ToString() const {
  const bool six = host.find(':') != std::string::npos;
  return (six ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<ListenAddress> ParseListenAddress(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return Bad(text, "has no port; write HOST:PORT, e.g. \"127.0.0.1:7420\"");
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);

  ListenAddress address;
  address.host = std::string(host);
  unsigned number = 0;
  const auto [stop, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || stop != port.data() + port.size() || number > 65535) {
    return Bad(text, "the port must be a number from 0 to 65535");
  }
  address.port = static_cast<std::uint16_t>(number);

  in_addr four{};
  in6_addr six{};
  const bool is_six = ParseIpv6(address.host, six);
  if (is_six && !bracketed) {
    return Bad(text, "an IPv6 address stands in brackets, e.g. \"[::1]:7420\"");
  }
  if (!is_six && (bracketed || !ParseIpv4(address.host, four))) {
    return Bad(text, "\"" + address.host.substr(0, 64) +
                         "\" is not a numeric address; write e.g. 127.0.0.1, not a name");
  }
  return address;
}

}  // namespace terrace
