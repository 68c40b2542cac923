#include "tiers/hbm/copy_engine.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"

namespace terrace {
namespace {

constexpr Nanos kOverduePause = 10 * kMillisecond;  // between questions to a device that hangs

}  // namespace

CopyEngine::CopyEngine(DeviceMemory& device, const CopyLimits& limits)
    : device_(device), limits_(limits) {
  TERRACE_CHECK(limits.batches > 0 && limits.within_batches > 0 &&
                (2 * limits.batches + limits.within_batches) * kCopyUrgencies <=
                    DeviceMemory::kSlots);
}

std::uint64_t CopyEngine::BatchBytesMax(CopyDirection direction,
                                        CopyUrgency urgency) const noexcept {
  if (direction == CopyDirection::kWithin) return limits_.within_batch_bytes;
  return urgency == CopyUrgency::kDemand ? limits_.demand_batch_bytes
                                         : limits_.background_batch_bytes;
}

CopyEngine::~CopyEngine() { TERRACE_CHECK(queued_ == 0 && in_flight_ == 0 && !pumping_); }

Status CopyEngine::Check(const CopyRequest& request) const {
  const auto wrong = [this](const std::string& what) {
    return Status::Invalid(device_.name() + ": a request of " + what);
  };
  if (request.copies.empty() && request.pieces.empty()) return wrong("no copy and no piece");
  if (request.copies.size() > CopyBatch::kCopiesMax) {
    return wrong(std::to_string(request.copies.size()) + " copies, at most " +
                 std::to_string(CopyBatch::kCopiesMax));
  }
  if (request.pieces.size() > CopyRequest::kPiecesMax) {
    return wrong(std::to_string(request.pieces.size()) + " pieces, at most " +
                 std::to_string(CopyRequest::kPiecesMax));
  }
  if (request.checksums.size() != request.pieces.size()) {
    return wrong(std::to_string(request.pieces.size()) + " pieces with " +
                 std::to_string(request.checksums.size()) + " checksums");
  }
  for (const DevicePiece& piece : request.pieces) {
    if (piece.bytes > kChecksumPieceBytes) {
      return wrong("a piece of " + std::to_string(piece.bytes) + " bytes, at most " +
                   std::to_string(kChecksumPieceBytes));
    }
    if (piece.bytes > DevicePiece::kShortBytes &&
        reinterpret_cast<std::uintptr_t>(piece.at) % DevicePiece::kAlignment != 0) {
      return wrong("a piece that is not aligned to " + std::to_string(DevicePiece::kAlignment));
    }
  }
  return {};
}

Task<Status> CopyEngine::Run(CopyRequest request) {
  ++counters_.requests;
  if (!health_.ok()) co_return health_;
  if (Status wrong = Check(request); !wrong.ok()) co_return wrong;
  if (queued_ >= limits_.queued) {
    co_return Status(StatusCode::kRetry,
                     device_.name() + ": " + std::to_string(queued_) + " copies wait already");
  }
  Waiting waiting{.request = request, .bytes = 0, .result = {}, .ended = {}};
  for (const DeviceCopy& copy : request.copies) waiting.bytes += copy.bytes;
  LaneOf(request.direction, request.urgency).waiting.push_back(&waiting);
  ++queued_;
  if (!pumping_) {
    pumping_ = true;
    scope_.Spawn(Pump());
  }
  [[maybe_unused]] const bool ended = co_await waiting.ended.Wait();
  co_return std::move(waiting.result);
}

Task<void> CopyEngine::Drain() { co_await scope_.Join(); }

Task<void> CopyEngine::Pump() {
  for (;;) {
    SubmitAll();
    if (!InFlight() && queued_ == 0) break;
    if (Reap()) continue;
    const Nanos pause = health_.ok() ? device_.PollPause() : kOverduePause;
    if (pause > 0) {
      co_await SleepUntil{Scheduler::Current().Now() + pause};
    } else {
      co_await Yield{};
    }
  }
  pumping_ = false;
}

void CopyEngine::SubmitAll() {
  for (const CopyUrgency urgency : {CopyUrgency::kDemand, CopyUrgency::kBackground}) {
    for (const CopyDirection direction :
         {CopyDirection::kOut, CopyDirection::kIn, CopyDirection::kWithin}) {
      SubmitLane(direction, urgency);
    }
  }
}

void CopyEngine::SubmitLane(CopyDirection direction, CopyUrgency urgency) {
  Lane& lane = LaneOf(direction, urgency);
  while (!lane.waiting.empty() && lane.in_flight.size() < BatchesMax(direction)) {
    if (urgency == CopyUrgency::kBackground &&
        !LaneOf(direction, CopyUrgency::kDemand).waiting.empty()) {
      return;
    }
    if (!SubmitBatch(lane, direction, urgency)) return;
  }
}

bool CopyEngine::SubmitBatch(Lane& lane, CopyDirection direction, CopyUrgency urgency) {
  const std::uint64_t bytes_most = BatchBytesMax(direction, urgency);
  Batch batch;
  copies_.clear();
  pieces_.clear();
  std::uint64_t bytes = 0;
  while (!lane.waiting.empty() && (batch.requests.empty() || bytes < bytes_most)) {
    Waiting& next = *lane.waiting.front();
    if (next.alone && !batch.requests.empty()) break;
    if (copies_.size() + next.request.copies.size() > CopyBatch::kCopiesMax ||
        pieces_.size() + next.request.pieces.size() > CopyBatch::kPiecesMax) {
      break;
    }
    copies_.insert(copies_.end(), next.request.copies.begin(), next.request.copies.end());
    pieces_.insert(pieces_.end(), next.request.pieces.begin(), next.request.pieces.end());
    bytes += next.bytes;
    batch.requests.push_back(&next);
    lane.waiting.pop_front();
    if (next.alone) break;
  }
  batch.submitted = Scheduler::Current().Now();
  batch.checksums.resize(pieces_.size());
  queued_ -= batch.requests.size();
  const auto slot = device_.Submit(
      {.direction = direction, .urgency = urgency, .copies = copies_, .pieces = pieces_});
  if (slot.ok()) {
    batch.slot = *slot;
    ++counters_.batches;
    ++in_flight_;
    lane.in_flight.push_back(std::move(batch));
    return true;
  }
  if (slot.code() == StatusCode::kRetry && InFlight()) {
    queued_ += batch.requests.size();
    lane.waiting.insert(lane.waiting.begin(), batch.requests.begin(), batch.requests.end());
    return false;
  }
  EndBatch(lane, batch, slot.status());
  return true;
}

bool CopyEngine::Reap() {
  bool any = false;
  for (Lane& lane : lanes_) {
    while (!lane.in_flight.empty()) {
      Batch& batch = lane.in_flight.front();
      const std::optional<Status> ended = device_.Poll(batch.slot, batch.checksums);
      if (!ended) {
        if (health_.ok() && Scheduler::Current().Now() - batch.submitted > limits_.answer_within) {
          TakeOffline({StatusCode::kIo, device_.name() + ": has not answered for " +
                                            std::to_string(limits_.answer_within / kSecond) +
                                            " s"});
        }
        break;
      }
      any = true;
      --in_flight_;
      const Batch done = std::move(batch);
      lane.in_flight.pop_front();
      EndBatch(lane, done, *ended);
    }
  }
  return any;
}

void CopyEngine::TryAlone(Lane& lane, const Batch& batch) {
  for (Waiting* waiting : batch.requests) waiting->alone = true;
  lane.waiting.insert(lane.waiting.begin(), batch.requests.begin(), batch.requests.end());
  queued_ += batch.requests.size();
}

void CopyEngine::EndBatch(Lane& lane, const Batch& batch, const Status& status) {
  if (!device_.health().ok()) TakeOffline(device_.health());
  if (!status.ok() && health_.ok() && batch.requests.size() > 1) return TryAlone(lane, batch);
  auto checksum = batch.checksums.cbegin();
  for (Waiting* waiting : batch.requests) {
    const CopyRequest& request = waiting->request;
    if (status.ok()) {
      std::copy_n(checksum, request.checksums.size(), request.checksums.begin());
      counters_.bytes[static_cast<std::size_t>(request.direction)] += waiting->bytes;
    } else {
      ++counters_.failures;
    }
    checksum += static_cast<std::ptrdiff_t>(request.checksums.size());
    End(*waiting, status);
  }
}

void CopyEngine::End(Waiting& waiting, Status status) {
  waiting.result = std::move(status);
  waiting.ended.Set();
}

void CopyEngine::TakeOffline(Status why) {
  if (!health_.ok()) return;
  health_ = std::move(why);
  if (offline_) offline_();
  for (Lane& lane : lanes_) {
    for (Waiting* waiting : lane.waiting) {
      --queued_;
      ++counters_.failures;
      End(*waiting, health_);
    }
    lane.waiting.clear();
  }
}

}  // namespace terrace
