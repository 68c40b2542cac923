#include "transport/socket.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace terrace {
namespace {

constexpr int kBacklog = 512;
constexpr int kEventsPerTurn = 64;
constexpr int kSoPassRights = 83;  // newer than the headers that this is built with: Linux 6.16

Status Failure(const std::string& what, int error) {
  return {StatusCode::kIo, what + ": " + std::strerror(error)};
}

const sockaddr_in& AsV4(const SocketAddress& address) {
  return *reinterpret_cast<const sockaddr_in*>(&address.storage);
}
const sockaddr_in6& AsV6(const SocketAddress& address) {
  return *reinterpret_cast<const sockaddr_in6*>(&address.storage);
}

bool SameHost(const SocketAddress& address, const sockaddr* other) {
  if (other == nullptr || other->sa_family != address.storage.ss_family) return false;
  if (other->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(other);
    return v4->sin_addr.s_addr == AsV4(address).sin_addr.s_addr;
  }
  if (other->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(other);
    return std::memcmp(&v6->sin6_addr, &AsV6(address).sin6_addr, sizeof(in6_addr)) == 0;
  }
  return false;
}

sockaddr_un LocalName(std::uint16_t port, socklen_t& length) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string text = "terrace-" + std::to_string(port);
  // sun_path[0] stays 0: the abstract namespace.
  std::memcpy(name.sun_path + 1, text.data(), text.size());
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  return name;
}

Result<SocketAddress> Resolve(const std::string& host, std::uint16_t port, int flags,
                              StatusCode code) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0 || found == nullptr) {
    return Status(code, "host \"" + host + "\": " + gai_strerror(error));
  }
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

}  // namespace

std::uint16_t SocketAddress::port() const noexcept {
  if (storage.ss_family == AF_INET) return ntohs(AsV4(*this).sin_port);
  if (storage.ss_family == AF_INET6) return ntohs(AsV6(*this).sin6_port);
  return 0;
}

void SocketAddress::SetPort(std::uint16_t port) noexcept {
  if (storage.ss_family == AF_INET) {
    reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
  } else if (storage.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
  }
}

bool SocketAddress::IsLoopback() const noexcept {
  if (storage.ss_family == AF_INET) return (ntohl(AsV4(*this).sin_addr.s_addr) >> 24) == 127;
  if (storage.ss_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&AsV6(*this).sin6_addr) != 0;
  return storage.ss_family == AF_UNIX;
}

std::string SocketAddress::ToString() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    inet_ntop(AF_INET, &AsV4(*this).sin_addr, text.data(), text.size());
    return std::string(text.data()) + ":" + std::to_string(port());
  }
  if (storage.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &AsV6(*this).sin6_addr, text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(port());
  }
  return "local";
}

Result<SocketAddress> NumericAddress(const std::string& host, std::uint16_t port) {
  return Resolve(host, port, AI_NUMERICHOST | AI_NUMERICSERV, StatusCode::kInvalid);
}

Result<SocketAddress> LookUpAddress(const std::string& host, std::uint16_t port) {
  return Resolve(host, port, AI_ADDRCONFIG | AI_NUMERICSERV, StatusCode::kPeerDead);
}

Result<UniqueFd> ListenTcp(const SocketAddress& address) {
  UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Failure("socket for " + address.ToString(), errno);
  const int on = 1;
  // A restarted daemon must not wait for the old connections' TIME_WAIT.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd.get(), address.get(), address.length) != 0) {
    return Failure("listen on " + address.ToString(), errno);
  }
  if (listen(fd.get(), kBacklog) != 0) return Failure("listen on " + address.ToString(), errno);
  return fd;
}

Result<UniqueFd> ListenLocal(std::uint16_t port) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Failure("unix socket", errno);
  PassDescriptors(fd.get(), false);  // what is accepted begins likewise
  socklen_t length = 0;
  const sockaddr_un name = LocalName(port, length);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), length) != 0 ||
      listen(fd.get(), kBacklog) != 0) {
    return Failure("listen on unix socket @terrace-" + std::to_string(port), errno);
  }
  return fd;
}

void PassDescriptors(int fd, bool allowed) {
  const int value = allowed ? 1 : 0;
  ::setsockopt(fd, SOL_SOCKET, kSoPassRights, &value, sizeof(value));
}

Result<UniqueFd> ConnectLocal(std::uint16_t port) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Failure("unix socket", errno);
  socklen_t length = 0;
  const sockaddr_un name = LocalName(port, length);
  // Decided at once: a full backlog answers EAGAIN instead of waiting.
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), length) != 0) {
    return Status(StatusCode::kPeerDead,
                  "unix socket @terrace-" + std::to_string(port) + ": " + std::strerror(errno));
  }
  return fd;
}

Result<UniqueFd> BeginConnectTcp(const SocketAddress& address) {
  UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Failure("socket for " + address.ToString(), errno);
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS) {
    return Status(StatusCode::kPeerDead,
                  "connect to " + address.ToString() + ": " + std::strerror(errno));
  }
  return fd;
}

Status ConnectResult(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  if (error == 0) return {};
  return {StatusCode::kPeerDead, std::string("connect: ") + std::strerror(error)};
}

Status NothingReceived(ssize_t got) {
  if (got == 0) return {StatusCode::kPeerDead, "the peer closed the connection"};
  if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
  return {StatusCode::kPeerDead, std::string("receive: ") + std::strerror(errno)};
}

SocketAddress LocalAddress(int fd) {
  SocketAddress address;
  address.length = sizeof(address.storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) {
    return {};
  }
  return address;
}

SocketAddress RemoteAddress(int fd) {
  SocketAddress address;
  address.length = sizeof(address.storage);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) {
    return {};
  }
  return address;
}

std::string InterfaceOf(const SocketAddress& address) {
  if (address.IsLoopback()) return "lo";
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return {};
  std::string name;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (SameHost(address, one->ifa_addr)) {
      name = one->ifa_name;
      break;
    }
  }
  freeifaddrs(all);
  return name;
}

Result<std::unique_ptr<SocketPoll>> SocketPoll::Create(Reactor& reactor) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Failure("epoll_create1", errno);
  UniqueFd never(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!never) return Failure("eventfd", errno);
  std::unique_ptr<SocketPoll> poll(new SocketPoll(reactor, std::move(epoll), std::move(never)));
  reactor.AddPoller(*poll);
  reactor.Watch(poll->epoll_.get(), [raw = poll.get()] { raw->Dispatch(); });
  return poll;
}

SocketPoll::~SocketPoll() {
  TERRACE_CHECK(entries_.empty() && awaited_ == 0);
  reactor_.Unwatch(epoll_.get());
  reactor_.RemovePoller(*this);
}

Status SocketPoll::Add(int fd, bool want_write, SocketEvents& events) {
  const std::uint64_t token = next_token_++;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | (want_write ? EPOLLOUT : 0u);
  event.data.u64 = token;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return Failure("epoll_ctl", errno);
  entries_[fd] = Entry{&events, token, want_write};
  by_token_[token] = fd;
  return {};
}

void SocketPoll::WantWrite(int fd, bool want_write) {
  const auto found = entries_.find(fd);
  TERRACE_CHECK(found != entries_.end());
  if (found->second.want_write == want_write) return;
  found->second.want_write = want_write;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | (want_write ? EPOLLOUT : 0u);
  event.data.u64 = found->second.token;
  TERRACE_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0);
}

void SocketPoll::Remove(int fd) {
  const auto found = entries_.find(fd);
  TERRACE_CHECK(found != entries_.end());
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  by_token_.erase(found->second.token);
  entries_.erase(found);
}

unsigned SocketPoll::Dispatch() {
  std::array<epoll_event, kEventsPerTurn> events;
  // Once per turn: what is left keeps the descriptor readable, and the reactor calls again.
  const int count = epoll_wait(epoll_.get(), events.data(), kEventsPerTurn, 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const std::uint64_t token = event.data.u64;  // a copy: the struct is packed
    const auto found = by_token_.find(token);
    if (found == by_token_.end()) continue;  // removed by an earlier event of this turn
    SocketEvents* handler = entries_.at(found->second).events;
    handler->OnSocket((event.events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0,
                      (event.events & EPOLLOUT) != 0);
  }
  return count > 0 ? static_cast<unsigned>(count) : 0;
}

}  // namespace terrace
