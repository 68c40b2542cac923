#include "transport/shm/device_moves.h"

#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/wait.h"
#include "transport/elsewhere.h"
#include "transport/shm/device_plan.h"

namespace terrace {

struct DeviceMoves::Move {
  DeviceMoves* moves = nullptr;  ///< there as long as `connection` is held
  std::shared_ptr<void> connection;
  Kind kind = Kind::kPush;
  std::uint64_t request_id = 0;
  Nanos deadline = 0;
  Places places;
  std::vector<std::span<std::byte>> memory;  ///< of `places`
  Hold frame;                                ///< of kPush and kPull
  FrameRange range;
  std::vector<std::uint64_t> sums;  ///< of the range: kPush compares with them, kPull finds them
  std::shared_ptr<DeviceSource> source;

  bool running = false;
  bool quarantined = false;  ///< its call has ended
  Status status;
  Event wake;  ///< it has ended, or its call must
};

DeviceMoves::~DeviceMoves() { TERRACE_CHECK(moves_.empty()); }

bool DeviceMoves::Concerns(const Places& places) noexcept {
  return std::ranges::any_of(places, [](const auto& place) { return place.device != nullptr; });
}

bool DeviceMoves::CanPushFrom(const DeviceCopier& gpu, const Places& places) {
  if (places.size() > DeviceCopier::kPartsMax) return false;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto& place = places[i];
    if (place.device == nullptr || &place.device->copier() != &gpu) return false;
    const auto at = reinterpret_cast<std::uintptr_t>(place.device->memory().data()) + place.offset;
    if (at % DeviceCopier::Sum::kAlignment != 0) return false;
    if (i + 1 < places.size() && place.length % kChecksumPieceBytes != 0) return false;
  }
  return true;
}

Result<DeviceMoves::MoveRef> DeviceMoves::Make(Kind kind, const BlockTransfer& transfer,
                                               Places places) {
  const auto move = std::make_shared<Move>();
  for (const auto& place : places) {
    if (place.device == nullptr || &place.device->copier() != &places.front().device->copier()) {
      return Status::Invalid("region " + std::to_string(place.region) +
                             ": a block's pieces lie in memory of one GPU, or of none");
    }
    move->memory.push_back(place.device->memory().subspan(place.offset, place.length));
  }
  move->moves = this;
  move->connection = context_.keep();
  move->kind = kind;
  move->request_id = transfer.request_id;
  move->deadline = transfer.deadline;
  move->range = transfer.range;
  move->places = std::move(places);
  return move;
}

Status DeviceMoves::Stopped(const Move& move) const {
  if (!end_.ok()) return end_;
  if (context_.requests.Cancelled(move.request_id)) {
    return {StatusCode::kCancelled, "the client cancelled the request"};
  }
  if (context_.scheduler.Now() >= move.deadline) {
    return {StatusCode::kTimeout, "the deadline passed in mid copy"};
  }
  return {};
}

Task<Status> DeviceMoves::Push(Hold source, BlockTransfer transfer, Places places,
                               std::vector<std::uint64_t> stored) {
  Result<MoveRef> move = Make(Kind::kPush, transfer, std::move(places));
  if (!move.ok()) co_return move.status();
  const RangeView view(source.bytes(), transfer.range);
  Status sound = co_await ChecksumRange(view, stored, &(*move)->sums);
  if (!sound.ok()) co_return sound;
  (*move)->frame = std::move(source);
  co_return co_await Await(*move, transfer.deadline);
}

Task<Status> DeviceMoves::Pull(Hold destination, BlockTransfer transfer, Places places,
                               std::span<std::uint64_t> checksums) {
  transfer.range = {};
  Result<MoveRef> move = Make(Kind::kPull, transfer, std::move(places));
  if (!move.ok()) co_return move.status();
  (*move)->sums.resize(checksums.size());
  (*move)->frame = std::move(destination);
  Status status = co_await Await(*move, transfer.deadline);
  if (status.ok()) std::ranges::copy((*move)->sums, checksums.begin());
  co_return status;
}

Task<Status> DeviceMoves::PushFrom(std::shared_ptr<DeviceSource> source, BlockTransfer transfer,
                                   Places places) {
  Result<MoveRef> move = Make(Kind::kPushFrom, transfer, std::move(places));
  if (!move.ok()) co_return move.status();
  (*move)->source = std::move(source);
  co_return co_await Await(*move, transfer.deadline);
}

Task<Status> DeviceMoves::Await(MoveRef move, Nanos deadline) {
  if (Status stopped = Stopped(*move); !stopped.ok()) co_return stopped;
  if (!context_.requests.Begin(move->request_id)) {
    co_return Status(StatusCode::kCancelled, "the client cancelled the request");
  }
  move->running = true;
  moves_.insert(move);
  context_.background->Spawn(Run(move));
  (void)co_await move->wake.WaitUntil(deadline);
  // Also when all has come: who gave up at the deadline may have used the memory again.
  Status status = Stopped(*move);
  if (!move->running) {
    co_return status.ok() ? move->status : status;
  }
  move->quarantined = true;
  context_.counters.quarantined.fetch_add(1, std::memory_order_relaxed);
  co_return status.ok() ? Status(StatusCode::kTimeout, "the GPU did not answer by the deadline")
                        : status;
}

Task<void> DeviceMoves::Run(MoveRef move) {
  move->status = co_await RunSteps(move.get());
  // To the end of this function: the connection, and all that is used here, may go with it.
  const std::shared_ptr<void> connection = std::move(move->connection);
  move->moves->Ended(move);
}

void DeviceMoves::Ended(const MoveRef& move) {
  move->running = false;
  move->frame = Hold();
  move->source.reset();
  move->places.clear();
  move->memory.clear();
  if (move->quarantined) context_.counters.quarantined.fetch_sub(1, std::memory_order_relaxed);
  moves_.erase(move);
  if (moves_.empty() && socket_) {
    ::shutdown(socket_.get(), SHUT_RDWR);
    CloseForeign(std::move(socket_));
  }
  context_.requests.End(move->request_id);
  move->wake.Set();
}

Task<Status> DeviceMoves::RunSteps(Move* move) {
  if (Status status = move->moves->Stopped(*move); !status.ok()) co_return status;
  if (move->kind == Kind::kPushFrom) co_return co_await move->source->CopyTo(move->memory);
  const bool push = move->kind == Kind::kPush;
  const RangeView view(move->frame.bytes(), move->range);
  DeviceCopier& copier = move->places.front().device->copier();
  std::vector<DeviceStep> steps = PlanDeviceMove(view, move->memory);
  for (DeviceStep& step : steps) {
    Status status = move->moves->Stopped(*move);
    if (status.ok()) {
      status = co_await copier.Copy(
          push ? DeviceCopier::Way::kToDevice : DeviceCopier::Way::kToHost, step.parts, step.sums);
    }
    if (status.ok()) status = co_await CompareStep(move, &step);
    if (!status.ok()) co_return status;
  }
  if (push) co_return Status();
  // Those that no step has summed as a whole.
  for (const DeviceStep& step : steps) {
    for (const std::size_t piece : step.odd_pieces) {
      const std::size_t at = piece * kChecksumPieceBytes;
      const std::size_t bytes = std::min(kChecksumPieceBytes, view.size() - at);
      co_await LongWork{bytes};
      move->sums[piece] = view.Checksum(at, bytes);
    }
  }
  co_return Status();
}

Task<Status> DeviceMoves::CompareStep(Move* move, const DeviceStep* step) {
  const bool push = move->kind == Kind::kPush;
  const RangeView view(move->frame.bytes(), move->range);
  const auto differs = [push] {
    return Status(StatusCode::kCorrupt, push ? "other bytes came to the GPU than were sent"
                                             : "other bytes came from the GPU than it has");
  };
  for (std::size_t i = 0; i < step->sums.size(); ++i) {
    const DeviceStep::Compared& compared = step->compared[i];
    std::uint64_t expected = 0;
    if (compared.piece == DeviceStep::Compared::kOdd) {
      co_await LongWork{compared.frame.size()};
      expected = Checksum64(compared.frame);
    } else if (push) {
      expected = move->sums[compared.piece];
    } else {
      const std::size_t at = compared.piece * kChecksumPieceBytes;
      const std::size_t bytes = std::min(kChecksumPieceBytes, view.size() - at);
      co_await LongWork{bytes};
      expected = move->sums[compared.piece] = view.Checksum(at, bytes);
    }
    if (step->sums[i].checksum != expected) co_return differs();
  }
  if (!push) co_return Status();
  // What was compared part by part is worth what the frame is.
  for (const std::size_t piece : step->odd_pieces) {
    const std::size_t at = piece * kChecksumPieceBytes;
    const std::size_t bytes = std::min(kChecksumPieceBytes, view.size() - at);
    co_await LongWork{bytes};
    if (view.Checksum(at, bytes) != move->sums[piece]) co_return differs();
  }
  co_return Status();
}

void DeviceMoves::End(const Status& reason) {
  if (!end_.ok()) return;
  end_ = reason;
  for (const MoveRef& move : moves_) move->wake.Set();
}

}  // namespace terrace
