#include "transport/channel_factory.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/check.h"
#include "transport/name_lookup.h"
#include "transport/rdma/rdma_transports.h"

namespace terrace {
namespace {

/// Resumes whoever waits for a socket to be connected.
class Connecting final : public SocketEvents {
 public:
  void OnSocket(bool /*readable*/, bool /*writable*/) override { event.Set(); }
  Event event;
};

/// Whether the daemon behind a unix socket may be shown this process's memory: only one of the
/// same user, or of root, could use it anyway; anyone else has taken the daemon's place.
Status CheckDaemon(int fd) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return {StatusCode::kUnsupported, std::string("SO_PEERCRED: ") + std::strerror(errno)};
  }
  if (credentials.uid != 0 && credentials.uid != geteuid()) {
    return {StatusCode::kUnsupported, "the daemon runs as user " + std::to_string(credentials.uid)};
  }
  // Where yama restricts ptrace to parents, this lets the daemon alone through. It fails where
  // there is no yama, and then it is not needed.
  prctl(PR_SET_PTRACER, credentials.pid, 0, 0, 0);
  return {};
}

/// The daemon itself answered: another way to it would hear the same.
bool IsFinal(StatusCode code) {
  return code == StatusCode::kIncompatible || code == StatusCode::kRetry ||
         code == StatusCode::kInvalid || code == StatusCode::kTimeout;
}

}  // namespace

Result<std::unique_ptr<ChannelFactory>> ChannelFactory::Create(Reactor& reactor) {
  auto factory = std::make_unique<ChannelFactoryImpl>(reactor);
  if (Status status = factory->Init(); !status.ok()) return status;
  return std::unique_ptr<ChannelFactory>(std::move(factory));
}

ChannelFactoryImpl::ChannelFactoryImpl(Reactor& reactor) : reactor_(reactor), rdma_(reactor) {}

Status ChannelFactoryImpl::Init() {
  auto poll = SocketPoll::Create(reactor_);
  if (!poll.ok()) return poll.status();
  poll_ = std::move(poll.value());
  auto rings = RingHub::Create(reactor_);
  if (!rings.ok()) return rings.status();
  rings_ = std::move(rings.value());
  return {};
}

Task<Result<std::unique_ptr<Channel>>> ChannelFactoryImpl::Connect(ChannelOptions options,
                                                                   ChannelHandler& handler,
                                                                   Nanos deadline) {
  if (options.incarnation == 0) co_return Status::Invalid("ChannelOptions.incarnation is 0");
  ChannelHandler* const to = &handler;
  Result<SocketAddress> address = NumericAddress(options.host, options.port);
  if (!address.ok()) {
    address = co_await LookUpAddressAsync(poll_.get(), options.host, options.port, deadline);
  }
  if (!address.ok()) co_return address.status();
  const bool same_host = !InterfaceOf(*address).empty();
  // Without a NIC this fails once and is remembered.
  if (!options.tcp_only && (!same_host || CurrentRdmaTransports().same_host) && rdma_.Get().ok()) {
    Connected connected = co_await ConnectNetwork(options, *address, LinkKind::kRdma, to, deadline);
    if (connected.ok() || IsFinal(connected.code())) co_return std::move(connected);
  }
  if (!options.tcp_only && same_host) {
    Connected connected = co_await ConnectSameHost(options, to, deadline);
    if (connected.ok() || IsFinal(connected.code())) co_return std::move(connected);
  }
  co_return co_await ConnectNetwork(std::move(options), *address, LinkKind::kTcp, to, deadline);
}

Task<ChannelFactoryImpl::Connected> ChannelFactoryImpl::ConnectSameHost(ChannelOptions options,
                                                                        ChannelHandler* handler,
                                                                        Nanos deadline) {
  auto fd = ConnectLocal(options.port);
  if (!fd.ok()) co_return fd.status();
  if (Status status = CheckDaemon(fd->get()); !status.ok()) co_return status;
  auto channel = std::make_unique<ChannelImpl>(*this, std::move(options), *handler);
  const Status status =
      co_await channel->Greet(std::move(fd.value()), LinkKind::kShm, nullptr, deadline);
  if (!status.ok()) co_return status;
  co_return std::unique_ptr<Channel>(std::move(channel));
}

Task<ChannelFactoryImpl::Connected> ChannelFactoryImpl::ConnectNetwork(ChannelOptions options,
                                                                       SocketAddress address,
                                                                       LinkKind kind,
                                                                       ChannelHandler* handler,
                                                                       Nanos deadline) {
  auto fd = co_await ConnectTcp(address, deadline);
  if (!fd.ok()) co_return fd.status();
  UcxWorker* worker = nullptr;
  if (kind == LinkKind::kRdma) {
    auto rdma = rdma_.Get();
    if (!rdma.ok()) co_return rdma.status();
    worker = *rdma;
  }
  auto channel = std::make_unique<ChannelImpl>(*this, std::move(options), *handler);
  const Status status = co_await channel->Greet(std::move(fd.value()), kind, worker, deadline);
  if (!status.ok()) co_return status;
  co_return std::unique_ptr<Channel>(std::move(channel));
}

Task<Result<UniqueFd>> ChannelFactoryImpl::ConnectTcp(SocketAddress address, Nanos deadline) {
  auto fd = BeginConnectTcp(address);
  if (!fd.ok()) co_return fd.status();
  {
    Connecting connecting;
    if (Status status = poll_->Add(fd->get(), true, connecting); !status.ok()) co_return status;
    const bool decided = co_await connecting.event.WaitUntil(deadline);
    poll_->Remove(fd->get());
    if (!decided) {
      co_return Status(StatusCode::kPeerDead,
                       "connect to " + address.ToString() + ": no answer before the deadline");
    }
  }
  if (Status status = ConnectResult(fd->get()); !status.ok()) {
    co_return Status(StatusCode::kPeerDead, address.ToString() + ": " + status.message());
  }
  co_return std::move(fd.value());
}

}  // namespace terrace
