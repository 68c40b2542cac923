#include "transport/server_peer.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "transport/codec.h"
#include "transport/elsewhere.h"
#include "transport/protocol_version.h"
#include "transport/rdma/rdma_link.h"
#include "transport/rdma/rdma_transports.h"
#include "transport/server_impl.h"
#include "transport/shm/client_process.h"
#include "transport/shm/shm_link.h"

namespace terrace {
namespace {

// A budget of 0 means that the client named none.
constexpr Nanos kBudgetDefault = 30 * kSecond;

}  // namespace

ServerPeer::ServerPeer(ServerImpl& server, std::uint64_t id, UniqueFd fd, bool local)
    : server_(server),
      id_(id),
      local_(local),
      context_(server.scheduler(), server.counters(), server.options().regions_per_peer_max,
               [this](std::uint64_t request_id) { OnQuiet(request_id); }),
      stream_(server.poll(), std::move(fd), kGreetingBytesMax, *this) {
  context_.last_heard = server.scheduler().Now();
  context_.abort = [this](const Status& reason) { Abort(reason); };
  context_.keep = [this] { return shared_from_this(); };
  context_.background = &server.background();
  address_ = local ? "local" : RemoteAddress(stream_.fd()).ToString();
}

ServerPeer::~ServerPeer() = default;

Status ServerPeer::Start() {
  if (local_) stream_.HearsStrangers();
  return stream_.Start();
}

void ServerPeer::OnFrame(std::vector<std::byte> bytes) {
  const std::shared_ptr<ServerPeer> self = shared_from_this();
  context_.last_heard = server_.scheduler().Now();
  const auto verified = VerifyMessage(bytes);
  if (!verified.ok()) {
    if (verified.code() == StatusCode::kUnsupported && state_ == State::kConnected) {
      Refuse(*wire::GetMessage(bytes.data()), verified.status());
      return;
    }
    server_.counters().malformed.fetch_add(1, std::memory_order_relaxed);
    Drop(Status::Invalid(verified.status().message()), true);
    return;
  }
  const wire::Message& message = **verified;
  if (state_ == State::kGreeting) {
    if (message.body_type() == wire::Body_OpenData) {
      OnOpenData(message);
    } else {
      OnHello(message);
    }
    return;
  }
  if (message.body_type() == wire::Body_Hello) {
    server_.counters().malformed.fetch_add(1, std::memory_order_relaxed);
    Drop(Status::Invalid("a second Hello on one connection"), true);
    return;
  }
  if (message.incarnation() != context_.incarnation) {
    server_.counters().refused.fetch_add(1, std::memory_order_relaxed);
    Refuse(message, Status(StatusCode::kExpired, "the message is of another incarnation"));
    return;
  }
  if (state_ == State::kConnected) {
    OnSession(std::move(bytes), message);
  } else {
    Drop(Status::Invalid(std::string(BodyName(message.body_type())) +
                         " before the data plane was open"),
         true);
  }
}

void ServerPeer::OnStreamEnd(const Status& reason) {
  const std::shared_ptr<ServerPeer> self = shared_from_this();
  if (reason.code() == StatusCode::kInvalid) {
    server_.counters().malformed.fetch_add(1, std::memory_order_relaxed);
  }
  Drop(abort_reason_.ok() ? reason : abort_reason_, false);
}

void ServerPeer::OnSocket(bool /*readable*/, bool /*writable*/) {
  const std::shared_ptr<ServerPeer> self = shared_from_this();
  Drop(Status(StatusCode::kPeerDead, "the client's process has exited"), false);
}

void ServerPeer::OnEndpointFailed(const Status& reason) {
  const std::shared_ptr<ServerPeer> self = shared_from_this();
  Drop(Status(StatusCode::kPeerDead, reason.message()), true);
}

void ServerPeer::Abort(const Status& reason) {
  // Later, from the socket's event: whoever aborts is in the middle of something.
  if (state_ == State::kGone || !abort_reason_.ok()) return;
  abort_reason_ = reason;
  stream_.EndSoon();
}

void ServerPeer::Drop(const Status& reason, bool tell_client) {
  if (state_ == State::kGone) return;
  const bool was_connected = state_ == State::kConnected;
  state_ = State::kGone;
  if (life_) {
    server_.poll().Remove(life_.get());
    life_.Reset();
  }
  if (ring_ != nullptr) ring_->Close();
  // The link first: when the client sees its stream closed, nothing touches its memory any more.
  if (link_ != nullptr) {
    link_->End(Status(StatusCode::kPeerDead, "the client is gone: " + reason.message()));
  }
  context_.regions.RemoveDevices();
  if (tell_client) stream_.Send(BuildError({0, context_.incarnation, 0}, reason));
  if (KeepSocketWhileMemoryIsTouched()) {
    // It is closed later.
  } else if (tell_client) {
    stream_.CloseAfterSending();
  } else {
    stream_.Close();
  }
  const std::shared_ptr<ServerPeer> self = shared_from_this();
  server_.Forget(*this, was_connected);
  if (!was_connected) {
    server_.counters().refused.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ServerCounters& counters = server_.counters();
  counters.disconnects.fetch_add(1, std::memory_order_relaxed);
  counters.peers.fetch_sub(1, std::memory_order_relaxed);
  switch (link_->kind()) {
    case LinkKind::kTcp: counters.peers_tcp.fetch_sub(1, std::memory_order_relaxed); break;
    case LinkKind::kShm: counters.peers_shm.fetch_sub(1, std::memory_order_relaxed); break;
    case LinkKind::kRdma: counters.peers_rdma.fetch_sub(1, std::memory_order_relaxed); break;
    default: break;
  }
  server_.handler().OnDisconnect(self, reason);
}

Status ServerPeer::CheckHello(const wire::Hello& hello) const {
  if (hello.version_min() > kProtocolVersionMax || hello.version_max() < kProtocolVersionMin) {
    return {StatusCode::kIncompatible, "protocol versions do not meet: the client speaks " +
                                           std::to_string(hello.version_min()) + " to " +
                                           std::to_string(hello.version_max()) + ", the daemon " +
                                           std::to_string(kProtocolVersionMin) + " to " +
                                           std::to_string(kProtocolVersionMax)};
  }
  if (hello.incarnation() == 0) return Status::Invalid("Hello.incarnation is 0");
  const std::size_t tenant = TextOf(hello.tenant()).size();
  if (tenant == 0 || tenant > kNameBytesMax) {
    return Status::Invalid("Hello.tenant has " + std::to_string(tenant) + " bytes, not 1 to " +
                           std::to_string(kNameBytesMax));
  }
  if (TextOf(hello.name()).size() > kNameBytesMax) {
    return Status::Invalid("Hello.name has more than " + std::to_string(kNameBytesMax) + " bytes");
  }
  if (server_.connected() >= server_.options().peers_max) {
    return {StatusCode::kRetry,
            "the daemon has its most clients, " + std::to_string(server_.options().peers_max)};
  }
  return {};
}

void ServerPeer::OnHello(const wire::Message& message) {
  const wire::Hello* hello = message.body_as_Hello();
  if (hello == nullptr) {
    server_.counters().malformed.fetch_add(1, std::memory_order_relaxed);
    Drop(Status::Invalid(std::string(BodyName(message.body_type())) + " before Hello"), true);
    return;
  }
  Status status = CheckHello(*hello);
  if (status.ok()) {
    context_.incarnation = hello->incarnation();
    tenant_ = std::string(TextOf(hello->tenant()));
    name_ = std::string(TextOf(hello->name()));
    version_ = std::min(kProtocolVersionMax, hello->version_max());
    status = ChooseLink(*hello);
  }
  if (!status.ok()) {
    stream_.Send(BuildError({message.request_id(), hello->incarnation(), 0}, status));
    stream_.CloseAfterSending();
    Drop(status, false);
    return;
  }
  stream_.SetFrameLimit(kControlBytesMax);
  SendHelloReply({message.request_id(), context_.incarnation, 0});
  if (tcp_ != nullptr) {
    state_ = State::kOpening;
  } else {
    Connected();
  }
}

Status ServerPeer::ChooseLink(const wire::Hello& hello) {
  Status why(StatusCode::kUnsupported, "the client can use no link");
  for (const std::byte wanted : BytesOf(hello.links())) {
    switch (static_cast<LinkKind>(wanted)) {
      case LinkKind::kShm: why = TryShm(hello); break;
      case LinkKind::kTcp: why = TryTcp(); break;
      case LinkKind::kRdma: why = TryRdma(hello); break;
      default: continue;
    }
    if (why.ok()) return why;
  }
  return why;
}

Status ServerPeer::TryShm(const wire::Hello& hello) {
  if (!local_ || !server_.options().same_host) {
    return {StatusCode::kUnsupported, "the shared-memory link is not offered"};
  }
  if (hello.shared_version() != kSharedPageVersion) {
    return {StatusCode::kUnsupported, "the client knows another version of the shared page"};
  }
  auto process = ClientProcess::Behind(stream_.fd());
  if (!process.ok()) return process.status();
  const std::uint64_t challenge = server_.random().Next();
  if (Status status =
          ProbeProcessMemory(process->pid(), hello.probe_address(), hello.probe_value(), challenge);
      !status.ok()) {
    return status;
  }
  UniqueFd watched(::dup(process->life()));
  if (!watched) return {StatusCode::kRetry, "no descriptor is left"};
  if (Status status = server_.poll().Add(watched.get(), false, *this); !status.ok()) return status;
  life_ = std::move(watched);
  auto page = MakeRing();
  if (!page.ok()) {
    server_.poll().Remove(life_.get());  // the client may have named the link twice
    life_.Reset();
    return {StatusCode::kUnsupported, page.status().message()};
  }
  probe_written_ = challenge;
  std::unique_ptr<LeaseBoard> board;
  const LeaseBudget host{server_.counters().leases, server_.options().lent_bytes_max};
  const LeaseBudget device{server_.counters().device_leases,
                           server_.options().lent_device_bytes_max};
  if (host.bytes_max > 0 || device.bytes_max > 0) {
    board = std::make_unique<LeaseBoard>(std::move(*page), server_.scheduler(), host, device);
  }
  link_ = std::make_unique<ShmLink>(context_, ShmLink::Ways{stream_, *ring_},
                                    std::move(process.value()), std::move(board),
                                    hello.verify_same_host());
  PassDescriptors(stream_.fd(), true);
  stream_.AcceptDescriptors(1);  // one with each ShareRegion
  return {};
}

Result<std::shared_ptr<SharedPage>> ServerPeer::MakeRing() {
  UniqueFd memory;
  auto page = SharedPage::Create(&memory);
  if (!page.ok()) return page.status();
  auto bells = Bell::MakePair();
  if (!bells.ok()) return bells.status();
  introduction_.push_back(std::move(memory));
  for (UniqueFd& end : std::move((*bells)[1]).Take()) introduction_.push_back(std::move(end));
  ring_ = std::make_unique<RingStream>(server_.rings(), *page, RingStream::Side::kDaemon,
                                       std::move((*bells)[0]), kControlBytesMax,
                                       static_cast<ControlStreamOwner&>(*this));
  return std::move(*page);
}

Status ServerPeer::TryTcp() {
  if (local_) return {StatusCode::kUnsupported, "TCP begins with a TCP connection"};
  token_ = server_.MakeToken(*this);
  auto link = std::make_unique<TcpLink>(context_);
  tcp_ = link.get();
  link_ = std::move(link);
  return {};
}

Status ServerPeer::TryRdma(const wire::Hello& hello) {
  const auto address = BytesOf(hello.rdma_address());
  if (!server_.options().rdma || (local_ && !CurrentRdmaTransports().same_host) ||
      address.empty()) {
    return {StatusCode::kUnsupported, "RDMA is not offered"};
  }
  auto worker = server_.rdma().Get();
  if (!worker.ok()) return worker.status();
  auto endpoint = (*worker)->Connect(address, *this);
  if (!endpoint.ok()) return {StatusCode::kUnsupported, endpoint.status().message()};
  link_ =
      std::make_unique<RdmaLink>(context_, stream_, server_.rdma(), std::move(endpoint.value()));
  return {};
}

void ServerPeer::SendHelloReply(const MessageHead& head) {
  const ServerOptions& options = server_.options();
  auto message = BuildMessage<wire::HelloReply>(head, [&](flatbuffers::FlatBufferBuilder& builder) {
    std::vector<flatbuffers::Offset<wire::ShardAddress>> shards;
    for (const Server::Shard& shard : server_.shards()) {
      const auto host = builder.CreateString(shard.host);
      shards.push_back(wire::CreateShardAddress(builder, host, shard.port));
    }
    const auto shard_list = builder.CreateVector(shards);
    const auto text = builder.CreateString(options.server_text);
    wire::HelloReplyBuilder reply(builder);
    reply.add_version(version_);
    reply.add_daemon_incarnation(server_.daemon_incarnation());
    reply.add_link(static_cast<std::uint8_t>(link_->kind()));
    reply.add_shard_index(server_.own_index());
    reply.add_shards(shard_list);
    reply.add_heartbeat_ms(static_cast<std::uint32_t>(options.heartbeat / kMillisecond));
    reply.add_heartbeat_idle_ms(static_cast<std::uint32_t>(options.heartbeat_idle / kMillisecond));
    reply.add_segment_bytes(static_cast<std::uint32_t>(kDataPayloadMax));
    reply.add_server(text);
    reply.add_data_token(token_);
    reply.add_probe_written(probe_written_);
    reply.add_shared_version(ring_ != nullptr ? kSharedPageVersion : 0);
    return reply.Finish();
  });
  stream_.Send(std::move(message), std::exchange(introduction_, {}));
}

void ServerPeer::OnOpenData(const wire::Message& message) {
  const std::uint64_t token = message.body_as_OpenData()->token();
  const std::shared_ptr<ServerPeer> owner = local_ ? nullptr : server_.WithToken(token);
  if (owner == nullptr || owner->incarnation() != message.incarnation() ||
      owner->state() != State::kOpening) {
    Drop(Status(StatusCode::kExpired,
                "OpenData.token is of no connection that waits for its data connection"),
         true);
    return;
  }
  UniqueFd fd = stream_.Release();
  state_ = State::kGone;
  server_.Forget(*this, false);
  owner->OpenDataPlane(std::move(fd));
}

void ServerPeer::OpenDataPlane(UniqueFd fd) {
  const Status status = tcp_->Open(server_.data(), std::move(fd), token_);
  if (status.ok()) {
    Connected();
  } else {
    Drop(status, true);
  }
}

void ServerPeer::Connected() {
  state_ = State::kConnected;
  server_.NoteConnected();
  ServerCounters& counters = server_.counters();
  counters.connects.fetch_add(1, std::memory_order_relaxed);
  counters.peers.fetch_add(1, std::memory_order_relaxed);
  switch (link_->kind()) {
    case LinkKind::kTcp: counters.peers_tcp.fetch_add(1, std::memory_order_relaxed); break;
    case LinkKind::kShm: counters.peers_shm.fetch_add(1, std::memory_order_relaxed); break;
    case LinkKind::kRdma: counters.peers_rdma.fetch_add(1, std::memory_order_relaxed); break;
    default: break;
  }
  server_.handler().OnConnect(shared_from_this());
}

void ServerPeer::Reply(std::vector<std::byte> message) {
  if (state_ == State::kConnected) {
    link_->Send(std::move(message));
  } else {
    stream_.Send(std::move(message));
  }
}

void ServerPeer::Refuse(const wire::Message& message, const Status& status) {
  Reply(BuildError({message.request_id(), context_.incarnation, 0}, status));
}

void ServerPeer::OnSession(std::vector<std::byte> bytes, const wire::Message& message) {
  switch (message.body_type()) {
    case wire::Body_Ping:
      Reply(BuildMessage<wire::Empty>({message.request_id(), context_.incarnation, 0}));
      return;
    case wire::Body_RegisterRegion: OnRegister(message); return;
    case wire::Body_ShareRegion: OnShare(*message.body_as_ShareRegion()); return;
    case wire::Body_RegisterDevice: OnRegisterDevice(message); return;
    case wire::Body_ForgetDevice: OnForgetDevice(message); return;
    case wire::Body_ForgetRegion:
      context_.regions.Remove(message.body_as_ForgetRegion()->region());
      return;
    case wire::Body_Cancel: OnCancel(message); return;
    case wire::Body_OpenNamespace:
    case wire::Body_Match:
    case wire::Body_MatchGroups:
    case wire::Body_TrimLease:
    case wire::Body_RenewLease:
    case wire::Body_ReleaseLease:
    case wire::Body_Get:
    case wire::Body_Put:
    case wire::Body_Remove:
    case wire::Body_Reserve:
    case wire::Body_WriteFragments:
    case wire::Body_CommitReservation:
    case wire::Body_AbortReservation:
    case wire::Body_OpenHandoff:
    case wire::Body_AckHandoff:
    case wire::Body_AbortHandoff:
    case wire::Body_Stat:
    case wire::Body_ListNamespaces:
    case wire::Body_ClearNamespace:
    case wire::Body_Prefetch:
    case wire::Body_Touch:
    case wire::Body_Retain:
    case wire::Body_ReleaseRetained:
    case wire::Body_RemovePrefix:
    case wire::Body_ClearTenant:
    // events
    case wire::Body_ReadEvents:
    case wire::Body_ReadSnapshot:
    // explanations
    case wire::Body_Explain: OnRequest(std::move(bytes), message); return;
    default:
      server_.counters().malformed.fetch_add(1, std::memory_order_relaxed);
      Drop(Status::Invalid(std::string(BodyName(message.body_type())) +
                           " is not for a client to send"),
           true);
  }
}

void ServerPeer::OnRegister(const wire::Message& message) {
  const wire::RegisterRegion& body = *message.body_as_RegisterRegion();
  // Its ShareRegion was sent before. Once a turn, so that a client that only says so takes no more
  // time from others than its ring does; the memory of the next is found a turn later then.
  if (body.shared() && ring_ != nullptr && ring_->turns() != read_in_turn_) {
    read_in_turn_ = ring_->turns();
    stream_.ReadNow();
    if (state_ != State::kConnected) return;
  }
  RemoteRegions::Region region;
  region.base = body.base();
  region.length = body.length();
  const auto key = BytesOf(body.rkey());
  region.packed_key.assign(key.begin(), key.end());
  if (Status status = context_.regions.Add(body.region(), std::move(region)); !status.ok()) {
    Refuse(message, status);
  }
}

void ServerPeer::OnShare(const wire::ShareRegion& body) {
  std::vector<UniqueFd> passed = stream_.TakeDescriptors();
  if (passed.size() != 1 || link_->kind() != LinkKind::kShm) return;
  // What cannot be mapped is copied as any other memory is.
  auto shared = SharedRegion::Map(passed.front().get(), body.length(), shared_memory_);
  CloseForeign(std::move(passed.front()));
  if (!shared.ok()) return;
  server_.counters().regions_shared.fetch_add(1, std::memory_order_relaxed);
  context_.regions.Share(body.region(), std::move(shared.value()));
}

void ServerPeer::OnCancel(const wire::Message& message) {
  const std::uint64_t request_id = message.body_as_Cancel()->request_id();
  const std::shared_ptr<ServerPeer> self = shared_from_this();
  server_.handler().OnCancel(self, request_id);
  if (state_ != State::kConnected) return;
  link_->WakeTransfers(request_id);
  context_.requests.Cancel(request_id);
}

void ServerPeer::OnQuiet(std::uint64_t request_id) {
  if (state_ != State::kConnected) return;
  // Past Link::Send: the reply of the request itself is still to come.
  Reply(BuildMessage<wire::CancelReply>({0, context_.incarnation, 0},
                                        [request_id](flatbuffers::FlatBufferBuilder& builder) {
                                          return wire::CreateCancelReply(builder, request_id);
                                        }));
}

void ServerPeer::OnRequest(std::vector<std::byte> bytes, const wire::Message& message) {
  switch (context_.requests.Open(message.request_id())) {
    case RequestTracker::Opened::kYes: break;
    case RequestTracker::Opened::kTwice:
      Drop(Status::Invalid("request id " + std::to_string(message.request_id()) +
                           " is in use already"),
           true);
      return;
    case RequestTracker::Opened::kTooMany:
      Refuse(message, Status(StatusCode::kRetry, "too many requests are unanswered"));
      return;
  }
  const Nanos budget = message.budget_us() == 0
                           ? kBudgetDefault
                           : static_cast<Nanos>(message.budget_us()) * kMicrosecond;
  const Nanos deadline = server_.scheduler().Now() + budget;
  server_.handler().OnRequest(shared_from_this(), std::move(bytes), message, deadline);
}

}  // namespace terrace
