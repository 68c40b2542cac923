#include "client/session/shard_connection.h"

#include <utility>

#include "base/check.h"
#include "base/crash_point.h"
#include "client/session/lease_flow.h"

namespace terrace {

ShardConnection::~ShardConnection() {
  if (tell_timer_) scheduler_.CancelTimer(*tell_timer_);
  // Destroying the channel closes it by force. Nobody is told: no part is left (S3).
  closed_ = told_ = true;
  channel_.reset();
}

Task<Status> ShardConnection::Connect(ChannelFactory& factory, ChannelOptions options,
                                      Nanos deadline) {
  incarnation_ = options.incarnation;
  Result<std::unique_ptr<Channel>> channel =
      co_await factory.Connect(std::move(options), *this, deadline);
  if (!channel.ok()) co_return channel.status();
  channel_ = std::move(channel.value());
  co_return Status();
}

void ShardConnection::Send(const RequestRef& request, std::uint32_t part_index) {
  RequestPart& part = request->parts[part_index];
  part.state = PartState::kWaiting;
  part.connection = this;
  parts_[part.request_id] = {request, part_index};
  if (request->kind == RequestKind::kGet) {
    channel_->Expect(part.request_id, part.memory);
  } else if (request->kind == RequestKind::kPut || request->kind == RequestKind::kWrite) {
    channel_->Offer(part.request_id, part.memory);
  }
  if (request->kind == RequestKind::kRegisterDevice) {
    AddRegion(request->device.id, request->device.memory);
  }
  channel_->Send(std::move(part.message));
  CrashHere(CrashPoint::kClientRequestSent);
}

void ShardConnection::Post(std::vector<std::byte> message) {
  if (!closed_) channel_->Send(std::move(message));
}

StatusCode ShardConnection::Withdraw(const RequestPart& part) {
  if (part.memory.empty()) return StatusCode::kOk;
  const StatusCode code = channel_->Withdraw(part.request_id);
  // A channel that has ended touches nothing (H3), whatever it still says.
  return closed_ ? StatusCode::kOk : code;
}

void ShardConnection::Cancel(std::uint64_t request_id, const MessageHead& head) {
  if (closed_) return;
  channel_->Send(
      BuildMessage<wire::Cancel>(head, [request_id](flatbuffers::FlatBufferBuilder& builder) {
        return wire::CreateCancel(builder, request_id);
      }));
  CrashHere(CrashPoint::kClientCancelSent);
}

void ShardConnection::AddRegion(std::uint32_t region, ClientMemory memory) {
  // A region can be both in the table that a new session reads and in the queue behind it.
  if (regions_.insert(region).second) channel_->AddRegion(region, std::move(memory));
}

void ShardConnection::RemoveRegion(std::uint32_t region) {
  if (regions_.erase(region) > 0) channel_->RemoveRegion(region);
}

void ShardConnection::Heartbeat(const MessageHead& head) {
  missed_ = pinged_ && !heard_ ? missed_ + 1 : 0;
  heard_ = false;
  pinged_ = true;
  channel_->Send(BuildMessage<wire::Ping>(head));
}

void ShardConnection::Close(const Status& reason) {
  if (channel_ != nullptr) channel_->Close();
  if (!closed_) {
    closed_ = true;
    end_reason_ = reason;
  }
  if (tell_timer_) scheduler_.CancelTimer(*std::exchange(tell_timer_, std::nullopt));
  TellEnd();
}

std::vector<ShardConnection::Waiting> ShardConnection::Parts() const {
  std::vector<Waiting> parts;
  parts.reserve(parts_.size());
  for (const auto& [id, waiting] : parts_) parts.push_back(waiting);
  return parts;
}

void ShardConnection::OnMessage(const wire::Message& message) {
  heard_ = true;
  const auto found = parts_.find(message.request_id());
  if (found == parts_.end()) return GiveBack(message);
  const Waiting waiting = found->second;  // the entry may go while it is told
  events_.OnReply(waiting.request, waiting.part, message, *this);
}

void ShardConnection::OnQuiet(std::uint64_t request_id) {
  heard_ = true;
  const auto found = parts_.find(request_id);
  if (found == parts_.end()) return;
  const Waiting waiting = found->second;
  events_.OnPartQuiet(waiting.request, waiting.part);
}

void ShardConnection::OnClosed(const Status& reason) {
  if (closed_) return;
  closed_ = true;
  end_reason_ = reason;
  // Later, because this may come inside a call of ours into the channel (S2).
  tell_timer_ = scheduler_.AddTimer(scheduler_.Now(), [this] {
    tell_timer_.reset();
    TellEnd();
  });
}

StatusCode ShardConnection::Arrived(std::uint64_t request_id, std::uint32_t index) const {
  return channel_->Arrived(request_id, index);
}

std::unique_ptr<LentMemory> ShardConnection::TakeLoan(const wire::Loan& loan) const {
  return channel_->TakeLoan(loan);
}

void ShardConnection::GiveBack(const wire::Message& message) const {
  if (const auto* match = message.body_as_MatchGroupsReply(); match != nullptr) {
    if (match->lease() == 0) return;
    // The number of a request that has been answered may be used again.
    const MessageHead head{.request_id = message.request_id(), .incarnation = incarnation_};
    const LeaseOrder order{.shard = 0, .lease = match->lease(), .release = true, .keep = {}};
    return channel_->Send(EncodeLeaseOrder(head, order));
  }
  const auto* reply = message.body_as_BlocksReply();
  if (reply == nullptr || reply->loans() == nullptr) return;
  for (const wire::Loan* loan : *reply->loans()) {
    if (loan->length() > 0) (void)channel_->TakeLoan(*loan);
  }
}

void ShardConnection::TellEnd() {
  if (told_) return;
  told_ = true;
  for (const Waiting& waiting : Parts()) {
    events_.OnPartLost(waiting.request, waiting.part, end_reason_);
  }
  if (lost_ != nullptr) lost_->Set();
}

}  // namespace terrace
