// The lanes' background: segments made ready, devices watched, probed and taken back.
#include "tiers/nvme/segment_lane.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/canary.h"
#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"

namespace terrace::nvme {

namespace {
constexpr Nanos kWatchPeriod = kSecond;
constexpr Nanos kOldWritesWait = 10 * kMillisecond;
}  // namespace

void SegmentLog::WakeAll(std::vector<Event*>& waiters) {
  for (Event* waiter : std::exchange(waiters, {})) waiter->Set();
}

void SegmentLog::CountLanes() noexcept {
  std::uint64_t online = 0;
  for (const auto& lane : lanes_) online += lane->online ? 1 : 0;
  counters_.lanes_online.store(online, std::memory_order_relaxed);
}

void SegmentLog::StartPreparing(Lane& lane) {
  if (lane.preparing || lane.next_ready || !lane.online || closing_) return;
  lane.preparing = true;
  background_.Spawn(Prepare(&lane));
}

void SegmentLog::TellGeneration(const Lane& lane, std::uint32_t segment) noexcept {
  if (options_.generations == nullptr) return;
  options_.generations->Set(options_.slice, lane.number * options_.segments + segment,
                            lane.generations[segment]);
}

Task<void> SegmentLog::Prepare(Lane* lane) {
  const std::uint32_t next = (lane->current + 1) % options_.segments;
  if (lane->generations[next] != 0) {
    co_await owner_.Reclaim(lane->number * options_.segments + next);
    Count(counters_.segments_reclaimed);
  }
  // G1: a write that is stuck since the ring's last turn would land on what comes now.
  while (lane->writing[next] != 0 && !closing_ && !CanaryIs(Canary::kReuseUnderWrites)) {
    co_await SleepUntil{scheduler_.Now() + kOldWritesWait};
  }
  Status status;
  if (!closing_) {
    // From here on no place of the old generation is read, whatever becomes of the header.
    // A header that was damaged counts as generation 0 (N2): the next must not be one that was.
    std::uint32_t& generation = lane->generations[next];
    generation = (generation == 0 ? lane->newest_generation : generation) + 1;
    lane->doubtful[next] = 0;
    TellGeneration(*lane, next);
    Count(counters_.segments_begun);
    status = co_await WriteSegmentHeader(lane, next);
    if (status.ok() && lane->doubtful[next] == 0) {
      lane->next_ready = true;
      CrashHere(CrashPoint::kSegmentSynced);
    }  // Else somebody's sync failed since the header was begun: it may be lost, like a record.
  }
  lane->preparing = false;
  // After a failure too: who waits tries again, until the lane is offline.
  WakeAll(lane->wait_for_room);
}

void SegmentLog::MakeSegmentHeader(const Lane& lane, std::uint32_t segment,
                                   SegmentHeader& header) const {
  header.device = lane.number;
  header.store_id = options_.store_id;
  header.slice = options_.slice;
  header.segment = segment;
  header.generation = lane.generations[segment];
  header.sequence = lane.begun[segment];
  Seal(header, options_.salt);
}

Task<Status> SegmentLog::WriteSegmentHeader(Lane* lane, std::uint32_t segment) {
  const PagePool::Page page = pages_.Take();
  lane->begun[segment] = ++sequence_;
  MakeSegmentHeader(*lane, segment, page.Make<SegmentHeader>());
  Status status;
  {
    const InFlight counted(*lane, scheduler_.Now());
    status = co_await lane->device.Write(segment * options_.segment_bytes, page.bytes());
  }
  if (!status.ok()) {
    Count(counters_.write_errors);
    NoteError(*lane, status);
    co_return status;
  }
  Count(counters_.bytes_written, kPageBytes);
  CrashHere(CrashPoint::kSegmentWritten);
  co_return co_await Sync(lane->number);  // which notes its own failure
}

void SegmentLog::NoteError(Lane& lane, const Status& status) {
  const Nanos now = scheduler_.Now();
  lane.errors.push_back(now);
  while (now - lane.errors.front() > options_.errors_window) lane.errors.pop_front();
  if (lane.errors.size() >= options_.errors_max) GoOffline(lane, status.message());
}

void SegmentLog::GoOffline(Lane& lane, const std::string& why) {
  if (!lane.online) return;
  lane.online = false;
  Count(counters_.lanes_failed);
  CountLanes();
  owner_.OnLane(lane.number, false, why);
  WakeAll(lane.wait_for_room);
  WakeAll(lane.wait_to_write);
  if (lane.probing || closing_) return;
  lane.probing = true;
  background_.Spawn(Probe(&lane));
}

/// Writes the current segment's header anew, syncs, and reads it back. Never what the device itself
/// says that it is: it may answer with another place's bytes.
Task<Status> SegmentLog::ProbeOnce(Lane* lane) {
  const PagePool::Page page = pages_.Take();
  const std::uint64_t offset = lane->current * options_.segment_bytes;
  if (lane->generations[lane->current] == 0) {  // nothing was ever written
    const Status read = co_await lane->device.Read(offset, page.bytes());
    co_return read.ok() ? co_await lane->device.Sync() : read;
  }
  MakeSegmentHeader(*lane, lane->current, page.Make<SegmentHeader>());
  Status status = co_await lane->device.Write(offset, page.bytes());
  if (status.ok()) status = co_await lane->device.Sync();
  if (!status.ok()) co_return status;
  const PagePool::Page found = pages_.Take();
  status = co_await lane->device.Read(offset, found.bytes());
  if (status.ok() && std::memcmp(found.bytes().data(), page.bytes().data(), kPageBytes) != 0) {
    status = Status(StatusCode::kCorrupt, "device " + lane->device.name() + " read other bytes");
  }
  co_return status;
}

/// Until the device answers again.
Task<void> SegmentLog::Probe(Lane* lane) {
  while (!lane->online && !closing_) {
    co_await Pause(scheduler_.Now() + options_.probe_period);
    if (closing_ || !lane->started.empty()) continue;  // something is stuck in it still
    if (!(co_await ProbeOnce(lane)).ok()) continue;
    lane->errors.clear();
    lane->online = true;
    Count(counters_.lanes_returned);
    CountLanes();
    owner_.OnLane(lane->number, true, "it answers again");
  }
  lane->probing = false;
}

Task<void> SegmentLog::Pause(Nanos until) {
  if (closing_) co_return;  // it has woken all that it will
  Event closed;
  sleepers_.push_back(&closed);
  (void)co_await closed.WaitUntil(until);
  std::erase(sleepers_, &closed);
}

Task<void> SegmentLog::Watch() {
  while (!closing_) {
    co_await Pause(scheduler_.Now() + kWatchPeriod);
    const Nanos now = scheduler_.Now();
    for (const auto& lane : lanes_) {
      if (!lane->online || lane->started.empty()) continue;
      const Nanos age = now - *lane->started.begin();
      if (age < options_.stuck_after) continue;
      Count(counters_.stuck);
      GoOffline(*lane, "an operation has been under way for " + std::to_string(age / kMillisecond) +
                           " ms");
    }
  }
}

Task<void> SegmentLog::Close() {
  closing_ = true;
  WakeAll(sleepers_);
  for (const auto& lane : lanes_) WakeAll(lane->wait_for_room);
  co_await background_.Join();
}

}  // namespace terrace::nvme
