// Socket: the few system calls behind connections, and SocketPoll, which shows a whole set of
// sockets to the reactor as one descriptor.
//
// All sockets are non-blocking and close-on-exec.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/reactor.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace terrace {

/// An address with its length.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  [[nodiscard]] const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
  [[nodiscard]] std::uint16_t port() const noexcept;
  void SetPort(std::uint16_t port) noexcept;
  [[nodiscard]] bool IsLoopback() const noexcept;
  /// "127.0.0.1:7420", "[::1]:7420".
  [[nodiscard]] std::string ToString() const;
};

/// Reads a numeric IPv4 or IPv6 address; kInvalid for anything else. Does not block.
Result<SocketAddress> NumericAddress(const std::string& host, std::uint16_t port);
/// Looks a name up in the system's databases. Blocks for seconds: never on a reactor's thread.
/// kPeerDead with the resolver's text when there is no answer.
Result<SocketAddress> LookUpAddress(const std::string& host, std::uint16_t port);

/// Listens on a TCP address. kIo names the cause, e.g. that it is in use.
Result<UniqueFd> ListenTcp(const SocketAddress& address);
/// The abstract unix socket on which a daemon that listens on TCP port `port` greets clients of
/// its own network namespace. Nothing appears in the file system. Nobody can pass it a descriptor
/// before PassDescriptors is called for an accepted socket, where the system knows how
/// (Linux 6.16).
Result<UniqueFd> ListenLocal(std::uint16_t port);
/// Whether the other end of a unix socket can pass descriptors. Without effect on older systems.
void PassDescriptors(int fd, bool allowed);
/// kPeerDead when nobody listens there.
Result<UniqueFd> ConnectLocal(std::uint16_t port);
/// Begins to connect; the socket becomes writable when it is decided, ConnectResult says how.
Result<UniqueFd> BeginConnectTcp(const SocketAddress& address);
Status ConnectResult(int fd);

/// What a receive that brought no bytes means, `got` 0 or negative with errno: ok: there are none
/// for now, look again when the socket is readable; else why the connection has ended (kPeerDead).
Status NothingReceived(ssize_t got);

SocketAddress LocalAddress(int fd);
SocketAddress RemoteAddress(int fd);
/// Name of the network interface that has `address`, e.g. "lo"; empty when none has it.
std::string InterfaceOf(const SocketAddress& address);

/// Who hears of a socket's events, on the reactor's thread.
class SocketEvents {
 public:
  /// `readable` also means hung up or failed: a read tells which.
  virtual void OnSocket(bool readable, bool writable) = 0;

 protected:
  ~SocketEvents() = default;
};

/// An epoll set shown to the reactor as one watched descriptor, because a reactor watches for
/// reading only and one watch is cheaper than a thousand. Level-triggered. Reactor's thread, or
/// before it runs.
class SocketPoll final : private Poller {
 public:
  static Result<std::unique_ptr<SocketPoll>> Create(Reactor& reactor);
  /// REQUIRES: every socket was removed.
  ~SocketPoll();
  SocketPoll(const SocketPoll&) = delete;
  SocketPoll& operator=(const SocketPoll&) = delete;

  /// `events` stays until Remove; it may be removed, and destroyed, inside any OnSocket.
  Status Add(int fd, bool want_write, SocketEvents& events);
  void WantWrite(int fd, bool want_write);
  void Remove(int fd);

  /// Counts a request whose bytes are to come over a socket of the set, until it is dropped: the
  /// reactor then looks at the set on every turn, and polls for a while before it sleeps.
  class Awaited {
   public:
    Awaited() noexcept = default;
    explicit Awaited(SocketPoll* poll) noexcept : poll_(poll) {
      if (poll_ != nullptr) ++poll_->awaited_;
    }
    Awaited(Awaited&& other) noexcept : poll_(std::exchange(other.poll_, nullptr)) {}
    Awaited& operator=(Awaited&& other) noexcept {
      std::swap(poll_, other.poll_);
      return *this;
    }
    Awaited(const Awaited&) = delete;
    Awaited& operator=(const Awaited&) = delete;
    ~Awaited() {
      if (poll_ != nullptr) --poll_->awaited_;
    }

   private:
    SocketPoll* poll_ = nullptr;
  };

 private:
  struct Entry {
    SocketEvents* events = nullptr;
    std::uint64_t token = 0;
    bool want_write = false;
  };
  SocketPoll(Reactor& reactor, UniqueFd epoll, UniqueFd never)
      : reactor_(reactor), epoll_(std::move(epoll)), never_(std::move(never)) {}
  unsigned Dispatch();
  unsigned Poll() override { return awaited_ > 0 ? Dispatch() : 0; }
  [[nodiscard]] int Fd() const noexcept override { return never_.get(); }
  bool Arm() override { return true; }  // the set is watched
  [[nodiscard]] bool Expecting() const noexcept override { return awaited_ > 0; }

  Reactor& reactor_;
  UniqueFd epoll_;
  UniqueFd never_;  // a Poller must have a descriptor; the set is watched as itself
  std::size_t awaited_ = 0;
  std::uint64_t next_token_ = 1;
  std::unordered_map<int, Entry> entries_;           // by descriptor
  std::unordered_map<std::uint64_t, int> by_token_;  // so that a stale event finds nobody
};

}  // namespace terrace
