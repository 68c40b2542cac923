#include <sys/socket.h>
#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/wait.h"
#include "transport/elsewhere.h"
#include "transport/server_impl.h"

namespace terrace {
namespace {

// Connections that have not said Hello yet; beyond it newcomers are closed without a word.
constexpr std::size_t kGreetingsMax = 256;
constexpr int kAcceptsPerTurn = 16;
constexpr Nanos kAcceptPause = 100 * kMillisecond;

}  // namespace

std::uint32_t ShardOf(std::uint32_t namespace_id, std::span<const std::byte> placement,
                      std::uint32_t shards) noexcept {
  const std::uint64_t hash = SeededHash64(placement, namespace_id);
  return static_cast<std::uint32_t>((static_cast<unsigned __int128>(hash) * shards) >> 64);
}

class ServerImpl::Listener final : public SocketEvents {
 public:
  Listener(ServerImpl& server, UniqueFd fd, bool local)
      : server_(server), fd_(std::move(fd)), local_(local) {}
  ~Listener() {
    if (pause_timer_) server_.scheduler().CancelTimer(*pause_timer_);
    if (fd_ && !pause_timer_) server_.poll_->Remove(fd_.get());
  }
  Status Start() {
    Status status = server_.poll_->Add(fd_.get(), false, *this);
    if (!status.ok()) fd_.Reset();
    return status;
  }
  void OnSocket(bool /*readable*/, bool /*writable*/) override {
    if (server_.Accept(fd_.get(), local_)) return;
    // Who waits to be accepted keeps the socket readable: looking at it all the time would burn a
    // core until somebody leaves.
    server_.poll_->Remove(fd_.get());
    Pause();
  }

 private:
  void Pause() {
    pause_timer_ = server_.scheduler().AddTimer(server_.scheduler().Now() + kAcceptPause, [this] {
      pause_timer_.reset();
      if (!server_.poll_->Add(fd_.get(), false, *this).ok()) Pause();
    });
  }

  ServerImpl& server_;
  UniqueFd fd_;
  const bool local_;
  std::optional<Scheduler::TimerId> pause_timer_;  // set: the socket is not polled
};

Result<std::unique_ptr<Server>> Server::Create(Reactor& reactor, const ServerOptions& options,
                                               RequestHandler& handler, Random& random) {
  auto server = std::make_unique<ServerImpl>(reactor, options, handler, random);
  if (Status status = server->Listen(); !status.ok()) return status;
  return std::unique_ptr<Server>(std::move(server));
}

ServerImpl::ServerImpl(Reactor& reactor, ServerOptions options, RequestHandler& handler,
                       Random& random)
    : reactor_(reactor),
      options_(std::move(options)),
      handler_(handler),
      random_(random),
      rdma_(reactor) {}

ServerImpl::~ServerImpl() {
  CloseAll(Status(StatusCode::kPeerDead, "the daemon stops"));
  // Flows that are still inside a transfer would meet a dead server: Shutdown comes first.
  for (const auto& peer : leaving_) {
    if (const auto alive = peer.lock()) TERRACE_CHECK(alive->transfers() == 0);
  }
}

Status ServerImpl::Listen() {
  const auto address = NumericAddress(options_.host, options_.port);
  if (!address.ok()) return address.status();
  auto poll = SocketPoll::Create(reactor_);
  if (!poll.ok()) return poll.status();
  poll_ = std::move(poll.value());
  auto rings = RingHub::Create(reactor_);
  if (!rings.ok()) return rings.status();
  rings_ = std::move(rings.value());
  auto tcp = ListenTcp(*address);
  if (!tcp.ok()) return tcp.status();
  port_ = LocalAddress(tcp->get()).port();
  listeners_.push_back(std::make_unique<Listener>(*this, std::move(tcp.value()), false));
  if (Status status = listeners_.back()->Start(); !status.ok()) return status;
  // Without it (another daemon has the port on another address) clients of this host use TCP.
  if (auto local = ListenLocal(port_); local.ok()) {
    listeners_.push_back(std::make_unique<Listener>(*this, std::move(local.value()), true));
    if (Status status = listeners_.back()->Start(); !status.ok()) return status;
  }
  // Long before the reactor runs, perhaps: late for a reason, too.
  sweep_due_ = scheduler().Now() + kSecond / 2;
  sweep_timer_ = scheduler().AddTimer(sweep_due_, [this] { Sweep(); });
  return {};
}

void ServerImpl::SetShards(std::vector<Shard> shards, std::uint16_t own_index,
                           std::uint64_t daemon_incarnation) {
  shards_ = std::move(shards);
  own_index_ = own_index;
  daemon_incarnation_ = daemon_incarnation;
}

bool ServerImpl::Accept(int fd, bool local) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    UniqueFd client(::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client) {
      // EAGAIN, or the client has gone; others are tried next turn.
      return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
    }
    if (peers_.size() - connected_ >= kGreetingsMax) {
      counters_.refused.fetch_add(1, std::memory_order_relaxed);
      if (local) CloseForeign(std::move(client));  // with what may lie in it
      continue;
    }
    const std::uint64_t id = next_id_++;
    auto peer = std::make_shared<ServerPeer>(*this, id, std::move(client), local);
    if (peer->Start().ok()) peers_[id] = std::move(peer);
  }
  return true;
}

std::uint64_t ServerImpl::MakeToken(ServerPeer& peer) {
  std::uint64_t token = 0;
  while (token == 0 || by_token_.contains(token)) token = random_.Next();
  by_token_[token] = &peer;
  return token;
}

std::shared_ptr<ServerPeer> ServerImpl::WithToken(std::uint64_t token) {
  const auto found = by_token_.find(token);
  return found == by_token_.end() ? nullptr : found->second->shared_from_this();
}

void ServerImpl::Forget(ServerPeer& peer, bool was_connected) {
  by_token_.erase(peer.token());
  if (was_connected) --connected_;
  const auto found = peers_.find(peer.id());
  if (found == peers_.end()) return;
  if (found->second->transfers() > 0) leaving_.push_back(found->second);
  peers_.erase(found);
}

void ServerImpl::Sweep() {
  const Nanos now = scheduler().Now();
  const Nanos period = std::clamp(options_.peer_timeout / 8, 10 * kMillisecond, kSecond);
  // Who did not run (SIGSTOP, a machine that was paused) has heard nobody, and nobody is to blame:
  // what clients sent meanwhile is still to be read.
  if (const Nanos late = now - sweep_due_; late > period) {
    for (const auto& [id, peer] : peers_) peer->Excuse(late, now);
  }
  std::vector<std::shared_ptr<ServerPeer>> silent;
  for (const auto& [id, peer] : peers_) {
    if (now - peer->last_heard() > options_.peer_timeout) silent.push_back(peer);
  }
  for (const auto& peer : silent) {
    counters_.peers_timed_out.fetch_add(1, std::memory_order_relaxed);
    peer->Drop(Status(StatusCode::kTimeout,
                      "nothing was heard of the client for " +
                          std::to_string(options_.peer_timeout / kMillisecond) + " ms"),
               true);
  }
  std::erase_if(leaving_, [](const auto& peer) {
    const auto alive = peer.lock();
    return alive == nullptr || alive->transfers() == 0;
  });
  sweep_due_ = now + period;
  sweep_timer_ = scheduler().AddTimer(sweep_due_, [this] { Sweep(); });
}

void ServerImpl::CloseAll(const Status& reason) {
  if (sweep_timer_) scheduler().CancelTimer(*std::exchange(sweep_timer_, std::nullopt));
  listeners_.clear();
  while (!peers_.empty()) {
    const std::shared_ptr<ServerPeer> peer = peers_.begin()->second;
    peer->Drop(reason, false);
  }
}

GpuWire ServerImpl::AttachPools(std::span<const DevicePool> pools) {
  if (options_.rdma) return rdma_.AttachPools(pools);
  return {.straight = false, .reason = GpuWire::Reason::kNoNic, .detail = "RDMA is not offered"};
}

void ServerImpl::RecallExtent(std::uint32_t extent, std::uint32_t edition) {
  for (const auto& [id, peer] : peers_) peer->RecallExtent(extent, edition);
}

void ServerImpl::EndLoans(std::uint32_t first, std::uint32_t last) {
  for (const auto& [id, peer] : peers_) peer->EndLoans(first, last);
}

void ServerImpl::EndLoan(const LentPlace& place) {
  for (const auto& [id, peer] : peers_) peer->EndLoan(place);
}

Task<Status> ServerImpl::Shutdown() {
  CloseAll(Status(StatusCode::kPeerDead, "the daemon stops"));
  // Links have ended; what a NIC has in flight ends within a few turns, and so does a GPU's copy,
  // unless it hangs.
  const Nanos end = scheduler().Now() + options_.shutdown_wait;
  for (;;) {
    std::erase_if(leaving_, [](const auto& peer) {
      const auto alive = peer.lock();
      return alive == nullptr || alive->transfers() == 0;
    });
    if (leaving_.empty() && rdma_.in_flight() == 0 && background_.live() == 0) co_return Status();
    if (scheduler().Now() >= end) break;
    co_await SleepUntil{scheduler().Now() + kMillisecond};
  }
  co_return Status(StatusCode::kIo,
                   "after " + std::to_string(options_.shutdown_wait / kMillisecond) +
                       " ms transfers of " + std::to_string(leaving_.size()) +
                       " clients are under way, " + std::to_string(rdma_.in_flight()) +
                       " of a NIC, and " + std::to_string(background_.live()) +
                       " tasks of a GPU; their memory stays as it is until the process ends");
}

}  // namespace terrace
