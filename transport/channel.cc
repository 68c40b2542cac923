#include "transport/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/crash_point.h"
#include "transport/channel_factory.h"
#include "transport/protocol_version.h"

namespace terrace {
namespace {

// How long Close waits for a daemon that may be in the middle of a copy; a slice takes 0.1 ms.
constexpr int kLetGoMilliseconds = 200;

// A message of a few bytes may name one text of megabytes for each of 100,000 reactors. More than
// any daemon has, and longer than any host's name: who uses them refuses them.
constexpr std::size_t kShardsMax = 4096;
constexpr std::size_t kHostBytesMax = 256;
constexpr std::size_t kDescriptorsKeptMax = 4;  // three with HelloReply, one with each ExtentOffer

}  // namespace

ChannelImpl::ChannelImpl(ChannelFactoryImpl& factory, ChannelOptions options,
                         ChannelHandler& handler)
    : factory_(factory),
      options_(std::move(options)),
      handler_(handler),
      probe_(std::make_unique<Probe>()) {}

ChannelImpl::~ChannelImpl() { Close(); }

Task<Status> ChannelImpl::Greet(UniqueFd fd, LinkKind kind, UcxWorker* worker, Nanos deadline) {
  worker_ = worker;
  stream_ =
      std::make_unique<ControlStream>(factory_.poll(), std::move(fd), kControlBytesMax, *this);
  if (kind == LinkKind::kShm) stream_->AcceptDescriptors(kDescriptorsKeptMax);
  if (Status status = stream_->Start(); !status.ok()) co_return status;
  CrashHere(CrashPoint::kClientConnected);
  SendHello(kind);
  CrashHere(CrashPoint::kClientHelloSent);
  if (!co_await decided_.WaitUntil(deadline)) {
    co_return Status(StatusCode::kPeerDead, "the daemon did not answer Hello before the deadline");
  }
  if (!decision_.ok()) co_return decision_;
  if (hello_.link != kind) {
    co_return Status::Internal("the daemon chose a link that was not offered");
  }
  if (kind == LinkKind::kTcp) {
    if (Status status = co_await OpenDataPlane(deadline); !status.ok()) co_return status;
  }
  state_ = State::kOpen;
  co_return Status();
}

void ChannelImpl::SendHello(LinkKind kind) {
  probe_->value = factory_.random().Next();
  stream_->Send(BuildMessage<wire::Hello>(
      {0, options_.incarnation, 0}, [&](flatbuffers::FlatBufferBuilder& builder) {
        const auto tenant = builder.CreateString(options_.tenant);
        const auto name = builder.CreateString(options_.name);
        const auto link = static_cast<std::uint8_t>(kind);
        const auto links = builder.CreateVector(&link, 1);
        const auto address = BuildBytes(
            builder, kind == LinkKind::kRdma ? worker_->address() : std::span<const std::byte>());
        wire::HelloBuilder hello(builder);
        hello.add_rdma_address(address);
        hello.add_version_min(kProtocolVersionMin);
        hello.add_version_max(kProtocolVersionMax);
        hello.add_incarnation(options_.incarnation);
        hello.add_tenant(tenant);
        hello.add_name(name);
        hello.add_links(links);
        hello.add_probe_address(reinterpret_cast<std::uintptr_t>(probe_.get()));
        hello.add_probe_value(probe_->value);
        hello.add_verify_same_host(options_.verify_same_host);
        hello.add_shared_version(kSharedPageVersion);
        return hello.Finish();
      }));
}

void ChannelImpl::OnHelloAnswer(const wire::Message& message) {
  if (const wire::ErrorReply* error = message.body_as_ErrorReply()) {
    decision_ = StatusOf(*error);
    decided_.Set();
    return;
  }
  const wire::HelloReply* reply = message.body_as_HelloReply();
  if (reply == nullptr || reply->version() < kProtocolVersionMin ||
      reply->version() > kProtocolVersionMax) {
    decision_ = Status(StatusCode::kIncompatible, "the daemon's answer to Hello is not understood");
    decided_.Set();
    return;
  }
  hello_.version = reply->version();
  hello_.daemon_incarnation = reply->daemon_incarnation();
  hello_.link = static_cast<LinkKind>(reply->link());
  hello_.shard_index = reply->shard_index();
  hello_.heartbeat = reply->heartbeat_ms() * kMillisecond;
  hello_.heartbeat_idle = reply->heartbeat_idle_ms() * kMillisecond;
  hello_.server = std::string(TextOf(reply->server()).substr(0, kHostBytesMax));
  if (reply->shards() != nullptr) {
    for (const wire::ShardAddress* shard : *reply->shards()) {
      if (hello_.shards.size() >= kShardsMax) break;
      hello_.shards.push_back(
          {std::string(TextOf(shard->host()).substr(0, kHostBytesMax)), shard->port()});
    }
  }
  token_ = reply->data_token();
  // Volatile: it was the daemon who wrote it, behind the compiler's back.
  if (hello_.link == LinkKind::kShm &&
      static_cast<volatile std::uint64_t&>(probe_->written) != reply->probe_written()) {
    decision_ = Status(StatusCode::kUnsupported, "the daemon writes to another process");
  }
  if (hello_.link == LinkKind::kShm && decision_.ok()) decision_ = OpenRing();
  state_ = State::kOpening;
  CrashHere(CrashPoint::kClientHelloAnswered);
  decided_.Set();
}

Status ChannelImpl::OpenRing() {
  std::vector<UniqueFd> passed = stream_->TakeDescriptors();
  if (passed.size() != 3) {
    return {StatusCode::kUnsupported,
            "the daemon passed " + std::to_string(passed.size()) + " descriptors, not 3"};
  }
  auto page = SharedPage::Open(passed[0].get());
  if (!page.ok()) return {StatusCode::kUnsupported, page.status().message()};
  page_ = std::move(page.value());
  ring_ = std::make_unique<RingStream>(factory_.rings(), page_, RingStream::Side::kClient,
                                       Bell(std::move(passed[1]), std::move(passed[2])),
                                       kControlBytesMax, *this);
  return {};
}

void ChannelImpl::OnExtentOffer(const wire::Message& message) {
  const wire::ExtentOffer& offer = *message.body_as_ExtentOffer();
  std::vector<UniqueFd> passed = stream_->TakeDescriptors();
  const bool whole = page_ != nullptr && passed.size() == 1;
  if (offer.extent() >= kDeviceExtentFirst) {
    return OnDeviceOffer(offer, whole ? std::move(passed[0]) : UniqueFd());
  }
  if (!whole) return;  // a loan that names it is then refused
  extents_.Offer(offer.extent(), offer.edition(), passed[0].get(), offer.length());
  CrashHere(CrashPoint::kClientExtentOffered);
}

void ChannelImpl::OnExtentRecall(const wire::ExtentRecall& recall) {
  CrashHere(CrashPoint::kClientExtentRecalled);
  extents_.Recall(recall.extent(), recall.edition());
}

bool ChannelImpl::Knows(const wire::Loan& loan) const {
  return extents_.Knows({loan.extent(), loan.edition(), loan.offset()});
}

std::unique_ptr<LentMemory> ChannelImpl::TakeLoan(const wire::Loan& loan) {
  if (page_ == nullptr || loan.slot() >= kLeaseSlots) return nullptr;
  return extents_.Take({.place = {loan.extent(), loan.edition(), loan.offset()},
                        .bytes = loan.length(),
                        .slot = loan.slot(),
                        .generation = loan.generation()},
                       page_);
}

Task<Status> ChannelImpl::OpenDataPlane(Nanos deadline) {
  decided_.Reset();
  auto fd = co_await factory_.ConnectTcp(RemoteAddress(stream_->fd()), deadline);
  if (!decision_.ok()) co_return decision_;  // the control stream ended meanwhile
  if (!fd.ok()) co_return fd.status();
  const std::vector<std::byte> message = BuildMessage<wire::OpenData>(
      {0, options_.incarnation, 0}, [this](flatbuffers::FlatBufferBuilder& builder) {
        return wire::CreateOpenData(builder, token_);
      });
  const auto header = FrameHeaderFor(message.size());
  std::vector<std::byte> frame(header.begin(), header.end());
  frame.insert(frame.end(), message.begin(), message.end());
  // A new socket takes it whole.
  if (::send(fd->get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
      static_cast<ssize_t>(frame.size())) {
    co_return Status(StatusCode::kPeerDead, "the data connection broke as it began");
  }
  data_ = std::make_unique<DataStream>(factory_.data(), std::move(fd.value()),
                                       DataStream::Side::kClient,
                                       DataSender::Identity{token_, options_.incarnation}, *this);
  if (Status status = data_->Start(); !status.ok()) co_return status;
  CrashHere(CrashPoint::kClientPlaneAsked);
  if (!co_await decided_.WaitUntil(deadline)) {
    co_return Status(StatusCode::kPeerDead,
                     "the daemon's data plane did not open before the deadline");
  }
  co_return decision_;
}

void ChannelImpl::OnFrame(std::vector<std::byte> bytes) { OnControl(std::move(bytes)); }

void ChannelImpl::OnControl(std::vector<std::byte> bytes) {
  if (state_ == State::kEnded) return;
  const auto verified = VerifyMessage(bytes);
  if (!verified.ok()) {
    if (verified.code() == StatusCode::kUnsupported) return;  // of a newer daemon
    End(Status(StatusCode::kPeerDead, "the daemon sent: " + verified.status().message()));
    return;
  }
  const wire::Message& message = **verified;
  if (state_ == State::kGreeting) {
    OnHelloAnswer(message);
  } else {
    OnSessionMessage(message);
  }
}

void ChannelImpl::OnSessionMessage(const wire::Message& message) {
  switch (message.body_type()) {
    case wire::Body_ExtentOffer: OnExtentOffer(message); return;
    case wire::Body_ExtentRecall: OnExtentRecall(*message.body_as_ExtentRecall()); return;
    case wire::Body_BlockChecksums: OnBlockChecksums(message); return;
    case wire::Body_BlocksReply: Answered(message.request_id(), message); return;
    case wire::Body_CancelReply:
      Answered(message.body_as_CancelReply()->request_id(), message);
      return;
    case wire::Body_ErrorReply:
      if (message.request_id() == 0) {
        session_error_ = StatusOf(*message.body_as_ErrorReply());
        return;  // the daemon closes the stream next
      }
      Answered(message.request_id(), message);
      return;
    default:
      if (state_ == State::kOpen) handler_.OnMessage(message);
  }
}

void ChannelImpl::Answered(std::uint64_t request_id, const wire::Message& message) {
  // The descriptor of an extent was sent before the reply that names it, but over the socket.
  const auto* blocks = message.body_as_BlocksReply();
  if (blocks != nullptr && blocks->loans() != nullptr &&
      std::any_of(blocks->loans()->begin(), blocks->loans()->end(),
                  [this](const wire::Loan* loan) { return loan->length() > 0 && !Knows(*loan); })) {
    stream_->ReadNow();
    if (state_ == State::kEnded) return;
  }
  const auto found = requests_.find(request_id);
  if (found != requests_.end()) found->second.answered = true;
  if (state_ == State::kOpen) handler_.OnMessage(message);
  FinishWithdrawn(request_id);
}

void ChannelImpl::FinishWithdrawn(std::uint64_t request_id) {
  const auto found = requests_.find(request_id);
  if (found == requests_.end() || !found->second.withdrawn) return;
  if (DaemonTouchesMemory() && !found->second.answered) return;
  requests_.erase(found);
  if (state_ == State::kOpen) handler_.OnQuiet(request_id);
}

void ChannelImpl::OnBlockChecksums(const wire::Message& message) {
  const wire::BlockChecksums& body = *message.body_as_BlockChecksums();
  const auto found = requests_.find(message.request_id());
  if (found == requests_.end() || found->second.withdrawn || body.checksums() == nullptr) return;
  ChannelRequest& request = found->second;
  if (body.block() >= request.destinations.size()) return;
  // What went to a GPU was checked there; nobody looks at it here.
  if (IsOnDevice(request.destinations[body.block()].front().data())) return;
  request.verified.resize(request.destinations.size(), StatusCode::kMiss);
  std::vector<std::uint64_t> sums(body.checksums()->begin(), body.checksums()->end());
  request.verified[body.block()] = VerifyPieces(request.destinations[body.block()], sums)
                                       ? StatusCode::kOk
                                       : StatusCode::kCorrupt;
}

void ChannelImpl::OnData(const DataHeader& header, std::span<const std::byte> payload) {
  switch (header.kind) {
    case DataKind::kOpened:
      if (state_ == State::kOpening) decided_.Set();
      return;
    case DataKind::kPull:
      if (state_ == State::kOpen) StartSending(header);
      return;
    case DataKind::kBlock: break;
    default: return;
  }
  const auto found = requests_.find(header.request_id);
  if (found == requests_.end() || header.block >= found->second.receivers.size()) return;
  found->second.receivers[header.block].Take(header, payload);
  CrashHere(CrashPoint::kClientDataCame);
}

void ChannelImpl::StartSending(const DataHeader& header) {
  const auto found = requests_.find(header.request_id);
  if (found == requests_.end() || found->second.withdrawn ||
      header.block >= found->second.sources.size() || header.block_bytes == 0 ||
      header.block_bytes != BytesOfPieces(found->second.sources[header.block])) {
    DataHeader refuse;
    refuse.kind = DataKind::kRefuse;
    refuse.request_id = header.request_id;
    refuse.block = header.block;
    data_->SendHeader(refuse);
    return;
  }
  const auto outgoing = std::make_shared<Outgoing>();
  outgoing->request_id = header.request_id;
  outgoing->block = header.block;
  const std::span<const PieceMemory::Piece> pieces = found->second.sources[header.block];
  outgoing->size = header.block_bytes;
  if (pieces.size() == 1) {
    outgoing->bytes = pieces.front();
  } else {
    outgoing->scattered = PieceWalk(pieces);
  }
  found->second.sending.push_back(outgoing);
  data_->Send(outgoing);
  CrashHere(CrashPoint::kClientDataSent);
}

void ChannelImpl::OnBlockSent(const std::shared_ptr<Outgoing>& outgoing) {
  const auto found = requests_.find(outgoing->request_id);
  if (found != requests_.end()) std::erase(found->second.sending, outgoing);
}

void ChannelImpl::Send(std::vector<std::byte> message) {
  if (state_ != State::kOpen) return;
  if (ring_ != nullptr) {
    ring_->Send(std::move(message));
  } else {
    stream_->Send(std::move(message));
  }
}

void ChannelImpl::Expect(std::uint64_t request_id, PieceMemory destinations) {
  if (state_ != State::kOpen) return;
  ChannelRequest& request = requests_[request_id];
  if (hello_.link == LinkKind::kTcp) {
    request.awaited = data_->Await();
  }
  request.destinations = std::move(destinations);
  if (hello_.link != LinkKind::kTcp) return;
  request.receivers.reserve(request.destinations.size());
  for (std::size_t i = 0; i < request.destinations.size(); ++i) {
    request.receivers.emplace_back(request.destinations[i]);
  }
}

void ChannelImpl::Offer(std::uint64_t request_id, PieceMemory sources) {
  if (state_ != State::kOpen) return;
  ChannelRequest& request = requests_[request_id];
  if (hello_.link == LinkKind::kTcp) request.awaited = data_->Await();
  request.sources = std::move(sources);
}

StatusCode ChannelImpl::Arrived(std::uint64_t request_id, std::uint32_t index) const {
  const auto found = requests_.find(request_id);
  if (found == requests_.end()) return StatusCode::kMiss;
  const ChannelRequest& request = found->second;
  if (index >= request.destinations.size()) return StatusCode::kMiss;
  if (hello_.link == LinkKind::kTcp) {
    switch (request.receivers[index].state()) {
      case BlockReceiver::State::kWhole: return StatusCode::kOk;
      case BlockReceiver::State::kCorrupt: return StatusCode::kCorrupt;
      default: return StatusCode::kMiss;
    }
  }
  if (!ChecksArrivals() || IsOnDevice(request.destinations[index].front().data())) {
    return StatusCode::kOk;
  }
  return index < request.verified.size() ? request.verified[index] : StatusCode::kMiss;
}

StatusCode ChannelImpl::Withdraw(std::uint64_t request_id) {
  const auto found = requests_.find(request_id);
  if (found == requests_.end()) return StatusCode::kOk;
  ChannelRequest& request = found->second;
  if (state_ == State::kOpen) {
    for (const auto& outgoing : request.sending) data_->Abandon(outgoing);
    request.sending.clear();
    if (DaemonTouchesMemory() && !request.answered) {
      request.withdrawn = true;
      return StatusCode::kPending;
    }
  }
  requests_.erase(found);
  return StatusCode::kOk;
}

void ChannelImpl::OnStreamEnd(const Status& reason) {
  if (AwaitsDaemonExit(reason)) return;
  End(session_error_.ok() ? Status(StatusCode::kPeerDead, reason.message()) : session_error_);
}

void ChannelImpl::OnDataEnd(const Status& reason) {
  End(Status(StatusCode::kPeerDead, reason.message()));
}

void ChannelImpl::End(const Status& reason) {
  if (state_ == State::kEnded) return;
  const bool was_open = state_ == State::kOpen;
  TearDown(reason);
  if (was_open) {
    handler_.OnClosed(reason);
  } else {
    decision_ = reason;
    decided_.Set();
  }
}

void ChannelImpl::Close() {
  if (state_ == State::kEnded) return;
  CrashHere(CrashPoint::kClientClosing);
  if (state_ == State::kOpen) WaitForDaemonToLetGo();
  TearDown(Status(StatusCode::kPeerDead, "closed by the client"));
  CrashHere(CrashPoint::kClientClosed);
}

void ChannelImpl::TearDown(const Status& reason) {
  state_ = State::kEnded;
  daemon_life_.reset();
  if (data_ != nullptr) data_->Close(reason);
  if (ring_ != nullptr) ring_->Close();
  if (stream_ != nullptr) stream_->Close();
  for (const auto& [region, memory] : registered_) worker_->Unregister(memory);
  registered_.clear();
  requests_.clear();
  extents_.End();
}

void ChannelImpl::WaitForDaemonToLetGo() {
  if (!DaemonTouchesMemory()) return;
  const bool open = std::any_of(requests_.begin(), requests_.end(),
                                [](const auto& entry) { return !entry.second.answered; });
  if (!open) return;
  const SteadyClock clock;
  const Nanos end = clock.Now() + kLetGoMilliseconds * kMillisecond;
  AwaitStreamEnd(clock, end);
  // Of a daemon that is dying the GPU may still be at work then.
  if (daemon_life_ != nullptr && !device_memory_.empty() && daemon_life_->process().Exiting()) {
    [[maybe_unused]] const bool exited =
        daemon_life_->process().AwaitExit(std::max<Nanos>(end - clock.Now(), 0));
  }
}

void ChannelImpl::AwaitStreamEnd(const Clock& clock, Nanos end) {
  if (!stream_->open()) return;
  // The daemon ends its link before it closes the stream, so an end of the stream means that no
  // slice is under way any more.
  ::shutdown(stream_->fd(), SHUT_WR);
  std::array<std::byte, 4096> waste;
  for (;;) {
    const Nanos left = end - clock.Now();
    if (left <= 0) return;
    pollfd fd{stream_->fd(), POLLIN, 0};
    const int ready = ::poll(&fd, 1, static_cast<int>(left / kMillisecond) + 1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return;
    const ssize_t got = ::recv(stream_->fd(), waste.data(), waste.size(), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return;
  }
}

}  // namespace terrace
