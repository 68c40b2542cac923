#include "transport/tcp/tcp_link.h"

#include <string>

#include "base/check.h"
#include "base/wait.h"
#include "transport/tcp/block_receiver.h"

namespace terrace {

struct TcpLink::PushState final : Outgoing {
  std::vector<PieceMemory::Piece> stretches;  // of the frame, of a range that does not lie together
  Event wake;
};

struct TcpLink::PullState {
  PullState(std::span<std::byte> frame, std::span<std::uint64_t> checksums)
      : destination(frame), receiver({&destination, 1}, checksums) {}
  PullState(const PullState&) = delete;
  PullState& operator=(const PullState&) = delete;

  const PieceMemory::Piece destination;
  BlockReceiver receiver;
  Event wake;
  bool refused = false;
};

TcpLink::~TcpLink() { End(Status(StatusCode::kPeerDead, "the connection is gone")); }

Status TcpLink::Open(DataStream::Shared shared, UniqueFd fd, std::uint64_t token) {
  TERRACE_CHECK(Alive() && stream_ == nullptr);
  stream_ = std::make_unique<DataStream>(shared, std::move(fd), DataStream::Side::kDaemon,
                                         DataSender::Identity{token, context_.incarnation},
                                         static_cast<DataStreamOwner&>(*this));
  if (Status status = stream_->Start(); !status.ok()) return status;
  DataHeader opened;
  opened.kind = DataKind::kOpened;
  stream_->SendHeader(opened);
  return {};
}

Task<Status> TcpLink::Push(Hold source, BlockTransfer transfer,
                           std::span<const std::uint64_t> checksums) {
  if (!Alive()) co_return end();
  const RangeView view(source.bytes(), transfer.range);
  const auto places = context_.regions.Resolve(transfer.pieces, view.size());
  if (!places.ok()) co_return places.status();
  const auto state = std::make_shared<PushState>();
  if (view.whole()) {
    state->checksums.assign(checksums.begin(), checksums.end());
  } else {
    Status sound = co_await ChecksumRange(view, checksums, &state->checksums);
    if (!sound.ok()) co_return sound;
  }
  if (Status status = CheckBegin(transfer); !status.ok()) co_return status;

  state->request_id = transfer.request_id;
  state->block = transfer.block;
  state->size = view.size();
  if (view.contiguous()) {
    state->bytes = view.From(0).first(view.size());
  } else {
    state->stretches = view.Stretches();
    state->scattered = PieceWalk(state->stretches);
  }
  state->hold = std::move(source);
  pushes_.insert(state);
  stream_->Send(state);
  if (!state->ended) {
    (void)co_await state->wake.WaitUntil(transfer.deadline);  // FinishPush sees how it ended
  }
  pushes_.erase(state);
  Status status = FinishPush(state, transfer.deadline);
  context_.requests.End(transfer.request_id);
  co_return status;
}

Status TcpLink::FinishPush(const std::shared_ptr<PushState>& state, Nanos deadline) {
  if (state->ended) {
    if (!state->status.ok()) return Alive() ? state->status : end();
    context_.counters.bytes_pushed.fetch_add(state->size, std::memory_order_relaxed);
    return {};
  }
  stream_->Abandon(state);
  if (!Alive()) return end();
  if (context_.requests.Cancelled(state->request_id)) {
    return Status(StatusCode::kCancelled, "the client cancelled the request");
  }
  return {StatusCode::kTimeout, "the client took " + std::to_string(state->taken) + " of " +
                                    std::to_string(state->size) + " bytes before the deadline (" +
                                    std::to_string(deadline) + ")"};
}

Task<Status> TcpLink::Pull(Hold destination, BlockTransfer transfer,
                           std::span<std::uint64_t> checksums) {
  const std::size_t bytes = destination.bytes().size();
  TERRACE_CHECK(checksums.size() == ChecksumPieceCount(bytes));
  if (!Alive()) co_return end();
  const auto places = context_.regions.Resolve(transfer.pieces, bytes);
  if (!places.ok()) co_return places.status();
  const BlockKey key{transfer.request_id, transfer.block};
  if (pulls_.contains(key)) co_return Status::Invalid("the block is being pulled already");
  if (Status status = CheckBegin(transfer); !status.ok()) co_return status;

  PullState state(destination.bytes(), checksums);
  pulls_[key] = &state;
  DataHeader ask;
  ask.kind = DataKind::kPull;
  ask.request_id = transfer.request_id;
  ask.block = transfer.block;
  ask.block_bytes = bytes;
  const SocketPoll::Awaited awaited = stream_->Await();
  stream_->SendHeader(ask);
  (void)co_await state.wake.WaitUntil(transfer.deadline);
  pulls_.erase(key);

  Status status;
  if (state.receiver.state() == BlockReceiver::State::kWhole) {
    context_.counters.bytes_pulled.fetch_add(bytes, std::memory_order_relaxed);
  } else if (state.receiver.state() == BlockReceiver::State::kCorrupt) {
    status = Status(StatusCode::kCorrupt, "what the client sent does not match its checksums");
  } else if (!Alive()) {
    status = end();
  } else if (context_.requests.Cancelled(transfer.request_id) || state.refused) {
    status = Status(StatusCode::kCancelled, "the client does not offer the block any more");
  } else {
    status = Status(StatusCode::kTimeout, "the client did not send the block before the deadline");
  }
  context_.requests.End(transfer.request_id);
  co_return status;
}

void TcpLink::OnData(const DataHeader& header, std::span<const std::byte> payload) {
  context_.last_heard = context_.scheduler.Now();
  const auto found = pulls_.find({header.request_id, header.block});
  if (found == pulls_.end()) return;  // ended meanwhile
  PullState& state = *found->second;
  if (header.kind == DataKind::kRefuse) {
    state.refused = true;
    state.wake.Set();
  } else if (state.receiver.Take(header, payload) != BlockReceiver::State::kWaiting) {
    state.wake.Set();
  }
}

void TcpLink::OnDataEnd(const Status& reason) {
  if (reason.code() == StatusCode::kInvalid) {
    context_.counters.malformed.fetch_add(1, std::memory_order_relaxed);
  }
  context_.abort(Status(StatusCode::kPeerDead, reason.message()));
}

void TcpLink::OnBlockSent(const std::shared_ptr<Outgoing>& outgoing) {
  // Only this link's pushes go over its stream.
  static_cast<PushState*>(outgoing.get())->wake.Set();
}

void TcpLink::WakeTransfers(std::uint64_t request_id) {
  for (const auto& state : pushes_) {
    if (state->request_id == request_id) state->wake.Set();
  }
  for (const auto& [key, state] : pulls_) {
    if (key.first == request_id) state->wake.Set();
  }
}

void TcpLink::SendMessage(std::vector<std::byte> message) {
  if (stream_->SendControl(std::move(message))) return;
  context_.abort(Status(StatusCode::kPeerDead, "the client does not take its messages"));
}

void TcpLink::OnEnd() {
  if (stream_ != nullptr) stream_->Close(end());
  for (const auto& state : pushes_) state->wake.Set();
  for (const auto& [key, state] : pulls_) state->wake.Set();
}

}  // namespace terrace
