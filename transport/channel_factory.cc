#include "transport/channel_factory.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/check.h"
#include "transport/name_lookup.h"
#include "transport/rdma_transports.h"

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

ChannelFactoryImpl::ChannelFactoryImpl(Reactor& reactor) : reactor_(reactor) {}

Status ChannelFactoryImpl::Init() {
  auto poll = SocketPoll::Create(reactor_);
  if (!poll.ok()) return poll.status();
  poll_ = std::move(poll.value());
  auto rings = RingHub::Create(reactor_);
  if (!rings.ok()) return rings.status();
  rings_ = std::move(rings.value());
  workers_ = std::make_unique<UcxWorkers>(reactor_, *this);
  return {};
}

ChannelFactoryImpl::~ChannelFactoryImpl() {
  TERRACE_CHECK(channels_.empty());
  if (pending_timer_) scheduler().CancelTimer(*pending_timer_);
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
  if (!options.tcp_only && (!same_host || CurrentRdmaTransports().same_host) &&
      workers_->Rdma().ok()) {
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
  auto worker = kind == LinkKind::kRdma ? workers_->Rdma()
                                        : workers_->For(InterfaceOf(LocalAddress(fd->get())));
  if (!worker.ok()) co_return worker.status();
  auto channel = std::make_unique<ChannelImpl>(*this, std::move(options), *handler);
  const Status status = co_await channel->Greet(std::move(fd.value()), kind, *worker, deadline);
  if (!status.ok()) co_return status;
  co_return std::unique_ptr<Channel>(std::move(channel));
}

bool ChannelFactoryImpl::AddChannel(std::uint64_t token, ChannelImpl& channel) {
  return token != 0 && channels_.emplace(token, &channel).second;
}

void ChannelFactoryImpl::RemoveChannel(std::uint64_t token) { channels_.erase(token); }

void ChannelFactoryImpl::OnActiveMessage(unsigned id, std::span<const std::byte> header_bytes,
                                         std::span<const std::byte> data, ucp_ep_h /*from*/) {
  if (id == kControlAmId) {
    Pending pending;
    if (header_bytes.size() != sizeof(pending.token) || data.size() > kControlBytesMax) return;
    std::memcpy(&pending.token, header_bytes.data(), sizeof(pending.token));
    pending.control.assign(data.begin(), data.end());
    if (!pending.control.empty()) Later(std::move(pending));
    return;
  }
  DataHeader header;
  if (!ReadDataHeader(header_bytes, data.size(), header)) return;
  const auto found = channels_.find(header.token);
  if (found == channels_.end() || found->second->incarnation() != header.incarnation) return;
  if (found->second->OnData(header, data)) Later({header.token, header, {}});
}

void ChannelFactoryImpl::Later(Pending pending) {
  pending_.push_back(std::move(pending));
  if (!pending_timer_) {
    pending_timer_ = scheduler().AddTimer(scheduler().Now(), [this] { DeliverPending(); });
  }
}

void ChannelFactoryImpl::DeliverPending() {
  pending_timer_.reset();
  for (Pending& pending : std::exchange(pending_, {})) {
    // Looked up each time: a handler may close channels.
    const auto found = channels_.find(pending.token);
    if (found == channels_.end()) continue;
    if (pending.control.empty()) {
      found->second->OnDataLater(pending.header);
    } else {
      found->second->OnControl(std::move(pending.control));
    }
  }
}

}  // namespace terrace
