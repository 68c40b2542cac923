#include "tiers/nvme/segment_log.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/canary.h"
#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"
#include "tiers/nvme/segment_lane.h"

namespace terrace::nvme {

namespace {

/// Bytes that writes have under way on a lane that nobody reads from: enough to keep a device busy
/// while the reactor turns, few enough that a read that comes waits for little.
constexpr std::uint64_t kWritesAloneBytes = 16 << 20;
/// The same while there are reads, but not enough to keep the device busy.
constexpr std::uint64_t kWritesBesideReadsBytes = 1 << 20;
/// From so many bytes of reads under way on, a device is busy: 2 to 8 MiB fill one (measured).
constexpr std::uint64_t kReadsBusyBytes = 2 << 20;

std::span<std::byte> BytesOf(RecordHeader* header) {
  return std::as_writable_bytes(std::span(header, 1));
}

/// For the canary kPublishBeforeWrite: what a flow that did not wait would do.
Task<void> WriteLater(Device* device, std::uint64_t offset, RecordHeader header,
                      std::vector<std::byte> payload) {
  PagePool pages;
  const PagePool::Page page = pages.Take();
  page.Make<RecordHeader>() = header;
  const Pages copy = AllocatePages(payload.size());
  std::copy(payload.begin(), payload.end(), copy.get());
  (void)co_await device->Write(offset, page.bytes(), std::span(copy.get(), payload.size()));
}

}  // namespace

SegmentLog::SegmentLog(const SegmentLogOptions& options, std::vector<LaneStart> lanes, Owner& owner,
                       Scheduler& scheduler)
    : options_(options),
      segment_pages_(options.segment_bytes / kPageBytes),
      owner_(owner),
      scheduler_(scheduler) {
  for (LaneStart& start : lanes) {
    TERRACE_CHECK(start.headers.size() == options.segments);
    lanes_.push_back(std::make_unique<Lane>(*start.device, lanes_.size()));
    Lane& lane = *lanes_.back();
    lane.writing.resize(options.segments);
    lane.doubtful.resize(options.segments);
    // The newest segment is full as far as we know: what a crash left of it is not looked for.
    lane.current = options.segments - 1;
    lane.next_page = segment_pages_;
    std::uint64_t newest = 0;
    for (std::uint32_t segment = 0; segment < options.segments; ++segment) {
      const SegmentHeader& header = start.headers[segment];
      lane.generations.push_back(header.generation);
      lane.newest_generation = std::max(lane.newest_generation, header.generation);
      TellGeneration(lane, segment);
      lane.begun.push_back(header.sequence);
      RaiseSequence(header.sequence);
      if (header.generation == 0 || header.sequence < newest) continue;
      newest = header.sequence;
      lane.current = segment;
    }
  }
  // Records that nobody looks for have sequences of their own, two for a page at most.
  RaiseSequence(sequence_ + 2 * segments() * segment_pages_);
  CountLanes();
}

void SegmentLog::StartWatching() {
  if (watching_) return;
  watching_ = true;
  background_.Spawn(Watch());
}

SegmentLog::~SegmentLog() = default;

void SegmentLog::RaiseSequence(std::uint64_t sequence) noexcept {
  sequence_ = std::max(sequence_, sequence);
}

const std::string& SegmentLog::NameOf(std::uint32_t lane) const noexcept {
  return lanes_[lane]->device.name();
}

bool SegmentLog::Online(std::uint32_t lane) const noexcept { return lanes_[lane]->online; }

bool SegmentLog::AnyOnline() const noexcept {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->online; });
}

bool SegmentLog::Current(const RecordPlace& place) const noexcept {
  if (!place.exists() || place.segment() >= segments() || place.page == 0 ||
      place.page >= segment_pages_) {
    return false;
  }
  const Lane& lane = *lanes_[LaneOf(place)];
  if (CanaryIs(Canary::kIgnoreGeneration)) return true;
  return lane.generations[place.segment() % options_.segments] == place.generation &&
         place.generation != 0;
}

bool SegmentLog::Readable(const RecordPlace& place) const noexcept {
  return Current(place) && Online(LaneOf(place));
}

bool SegmentLog::Lasts(const RecordPlace& place) const noexcept {
  if (!Current(place)) return false;
  const Lane& lane = *lanes_[LaneOf(place)];
  return !lane.preparing ||
         place.segment() % options_.segments != (lane.current + 1) % options_.segments;
}

std::uint32_t SegmentLog::OldestSegment(std::uint32_t lane) const noexcept {
  const std::uint32_t ahead = lanes_[lane]->next_ready ? 2 : 1;
  return lane * options_.segments + (lanes_[lane]->current + ahead) % options_.segments;
}

SegmentLog::Lane* SegmentLog::Choose(std::uint64_t pages) noexcept {
  Lane* best = nullptr;
  for (const auto& lane : lanes_) {
    if (!lane->online) continue;
    const bool room = lane->next_ready || HasRoom(*lane, pages, Room::kWait);
    const bool best_room =
        best != nullptr && (best->next_ready || HasRoom(*best, pages, Room::kWait));
    if (best == nullptr || (room && !best_room) ||
        (room == best_room && lane->bytes_to_write < best->bytes_to_write)) {
      best = lane.get();
    }
  }
  return best;
}

std::vector<SegmentHeader> SegmentLog::HeadersOf(std::uint32_t lane) const {
  std::vector<SegmentHeader> headers(options_.segments);
  for (std::uint32_t segment = 0; segment < options_.segments; ++segment) {
    MakeSegmentHeader(*lanes_[lane], segment, headers[segment]);
  }
  return headers;
}

Task<Result<RecordPlace>> SegmentLog::Append(RecordHeader* header,
                                             std::span<const std::byte> payload, Room room,
                                             const std::function<bool()>* wanted) {
  Lane* const lane = Choose(RecordPages(header->payload_bytes));
  if (lane == nullptr) co_return Status(StatusCode::kIo, "every device of the log is offline");
  // At once, so that appends of one moment spread over the lanes.
  const ToWrite counted(*lane, RecordPages(header->payload_bytes) * kPageBytes);
  co_return co_await AppendOn(lane, header, payload, room, wanted);
}

Task<Result<RecordPlace>> SegmentLog::AppendTo(std::uint32_t lane, RecordHeader* header,
                                               std::span<const std::byte> payload, Room room) {
  const ToWrite counted(*lanes_[lane], RecordPages(header->payload_bytes) * kPageBytes);
  co_return co_await AppendOn(lanes_[lane].get(), header, payload, room, nullptr);
}

bool SegmentLog::HasRoom(const Lane& lane, std::uint64_t pages, Room room) const noexcept {
  const bool kept = lane.preparing && room == Room::kWait;
  return lane.next_page + pages <= (kept ? segment_pages_ / 4 * 3 : segment_pages_);
}

Task<Status> SegmentLog::WaitForRoom(Lane* lane, std::uint64_t pages, Room room) {
  while (!HasRoom(*lane, pages, room)) {
    if (!lane->online || closing_) {
      co_return Status(StatusCode::kIo, "device " + lane->device.name() + " is offline");
    }
    if (lane->next_ready && room == Room::kWait) {
      lane->current = (lane->current + 1) % options_.segments;
      lane->next_page = 1;  // behind the header
      lane->next_ready = false;
      CrashHere(CrashPoint::kSegmentTurned);
      continue;
    }
    StartPreparing(*lane);
    if (room == Room::kWhatIsLeft) {
      co_return Status(StatusCode::kRetry, "the current segment is full");
    }
    Event ready;
    lane->wait_for_room.push_back(&ready);
    (void)co_await ready.Wait();
  }
  co_return Status::Ok();
}

Task<Result<RecordPlace>> SegmentLog::AppendOn(Lane* lane, RecordHeader* header,
                                               std::span<const std::byte> payload, Room room,
                                               const std::function<bool()>* wanted) {
  StartWatching();
  const std::uint64_t pages = RecordPages(header->payload_bytes);
  TERRACE_CHECK(payload.size() == (pages - 1) * kPageBytes && pages < segment_pages_);
  // Again after the wait: others that waited may have been quicker.
  while (!HasRoom(*lane, pages, room)) {
    Status status = co_await WaitForRoom(lane, pages, room);
    if (!status.ok()) co_return status;
  }
  // No wait from here to the write: place and sequence are given in one order (G3), and what was
  // forgotten before is not written: its removal has a lower sequence.
  if (wanted != nullptr && !(*wanted)()) {
    co_return Status(StatusCode::kMiss, "nobody wants the record any more");
  }
  const std::uint32_t segment = lane->current;
  const auto page = static_cast<std::uint32_t>(lane->next_page);
  lane->next_page += pages;
  ++lane->writing[segment];
  header->device = lane->number;
  header->slice = options_.slice;
  header->segment = segment;
  header->page = page;
  header->generation = lane->generations[segment];
  if (header->sequence == 0) header->sequence = TakeSequence();
  Seal(*header, options_.salt);
  const RecordPlace place{.segment_plus_one = lane->number * options_.segments + segment + 1,
                          .page = page,
                          .generation = header->generation};
  if (lane->next_page > segment_pages_ / 2) StartPreparing(*lane);
  if (CanaryIs(Canary::kPublishBeforeWrite)) {
    const std::uint64_t offset = segment * options_.segment_bytes + page * kPageBytes;
    background_.Spawn(WriteLater(&lane->device, offset, *header, {payload.begin(), payload.end()}));
    --lane->writing[segment];
    co_return place;
  }
  const Status written = co_await WriteAt(lane, segment, page, header, payload);
  --lane->writing[segment];
  if (!written.ok()) co_return written;
  Count(counters_.records_written);
  co_return place;
}

bool SegmentLog::MayWrite(const Lane& lane, std::uint64_t bytes) const noexcept {
  if (lane.bytes_reading >= kReadsBusyBytes) {
    return lane.bytes_writing == 0 && scheduler_.Now() >= lane.next_write_at;
  }
  // One write always may, however large.
  const std::uint64_t most = lane.bytes_reading == 0 ? kWritesAloneBytes : kWritesBesideReadsBytes;
  return lane.bytes_writing == 0 || lane.bytes_writing + bytes <= most;
}

Task<void> SegmentLog::AcquireWrite(Lane* lane, std::uint64_t bytes) {
  while (lane->online && !MayWrite(*lane, bytes)) {
    Event woken;
    lane->wait_to_write.push_back(&woken);
    const bool paced = lane->bytes_writing == 0;
    if (!co_await woken.WaitUntil(paced ? lane->next_write_at : kForever)) {
      std::erase(lane->wait_to_write, &woken);
    }
  }
  lane->bytes_writing += bytes;
}

void SegmentLog::ReleaseWrite(Lane& lane, std::uint64_t bytes, Nanos took) {
  lane.bytes_writing -= bytes;
  const auto pause = static_cast<Nanos>(static_cast<double>(took) * (1 / options_.write_share - 1));
  lane.next_write_at = scheduler_.Now() + pause;
  // All of them look again: several may go, and paced ones must set their timers.
  WakeAll(lane.wait_to_write);
}

Task<Status> SegmentLog::WriteAt(Lane* lane, std::uint32_t segment, std::uint64_t page,
                                 const RecordHeader* header, std::span<const std::byte> payload) {
  const std::uint64_t bytes = kPageBytes + payload.size();
  co_await AcquireWrite(lane, bytes);
  Status status(StatusCode::kIo, "device " + lane->device.name() + " is offline");
  const Nanos started = scheduler_.Now();
  const bool asked = lane->online;
  if (asked) {
    const InFlight counted(*lane, started);
    status = co_await lane->device.Write(segment * options_.segment_bytes + page * kPageBytes,
                                         std::as_bytes(std::span(header, 1)), payload);
  }
  ReleaseWrite(*lane, bytes, scheduler_.Now() - started);
  if (!asked) co_return status;  // the device failed nothing
  if (status.ok()) {
    Count(counters_.bytes_written, bytes);
  } else {
    Count(counters_.write_errors);
    NoteError(*lane, status);
  }
  co_return status;
}

SegmentLog::ReadSlot SegmentLog::TakeReadSlot(Lane& lane, std::uint64_t bytes) const noexcept {
  if (options_.read_bytes_per_s == 0) return {};
  const double took = static_cast<double>(bytes) / static_cast<double>(options_.read_bytes_per_s);
  const Nanos begin = std::max(scheduler_.Now(), lane.next_read_at);
  lane.next_read_at = begin + static_cast<Nanos>(took * static_cast<double>(kSecond));
  return {.begin = begin, .end = lane.next_read_at};
}

Task<Status> SegmentLog::ReadOnce(Lane* lane, RecordPlace place, RecordHeader* header,
                                  std::span<std::byte> payload, bool limited) {
  const std::uint64_t segment = place.segment() % options_.segments;
  const std::uint64_t bytes = kPageBytes + payload.size();
  const ReadSlot slot = limited ? TakeReadSlot(*lane, bytes) : ReadSlot{};
  // Close ends these waits.
  if (slot.begin > scheduler_.Now()) co_await Pause(slot.begin);
  if (!Current(place)) co_return Status(StatusCode::kExpired, "reused while the read waited");
  if (!lane->online) {
    co_return Status(StatusCode::kIo, "device " + lane->device.name() + " is offline");
  }
  lane->bytes_reading += bytes;
  Status status;
  {
    const InFlight counted(*lane, scheduler_.Now());
    status = co_await lane->device.Read(segment * options_.segment_bytes + place.page * kPageBytes,
                                        BytesOf(header), payload);
  }
  lane->bytes_reading -= bytes;
  if (CanaryIs(Canary::kAcceptShortRead)) status = Status::Ok();
  if (lane->bytes_reading < kReadsBusyBytes) {
    WakeAll(lane->wait_to_write);
  }
  if (!status.ok()) {
    Count(counters_.read_errors);
    NoteError(*lane, status);
    co_return status;
  }
  Count(counters_.bytes_read, bytes);
  if (slot.end > scheduler_.Now()) co_await Pause(slot.end);
  co_return status;
}

Status SegmentLog::CheckRead(const RecordPlace& place, const RecordHeader& header,
                             std::span<const std::byte> payload) {
  const auto corrupt = [&place](const char* what) {
    return Status(StatusCode::kCorrupt, "record at segment " + std::to_string(place.segment()) +
                                            ", page " + std::to_string(place.page) + ": " + what);
  };
  // In this order: nothing in the header is believed before its checksum, and no length before it
  // is known to be of this record.
  if (!IsSealed(header, options_.salt) && !CanaryIs(Canary::kDropHeaderCheck)) {
    Count(counters_.bad_headers);
    return corrupt("the header's checksum is wrong");
  }
  const bool generation =
      header.generation == place.generation || CanaryIs(Canary::kIgnoreGeneration);
  const bool stands = header.kind == RecordKind::kBlock && header.device == LaneOf(place) &&
                      header.slice == options_.slice &&
                      header.segment == place.segment() % options_.segments &&
                      header.page == place.page && generation &&
                      (RecordPages(header.payload_bytes) - 1) * kPageBytes == payload.size();
  if (!stands && !CanaryIs(Canary::kDropHeaderCheck)) {
    Count(counters_.bad_headers);
    return corrupt("another record stands there");
  }
  if (CanaryIs(Canary::kSkipPayloadCheck)) return {};
  if (!VerifyBlock(payload.first(header.payload_bytes), header.Checksums())) {
    Count(counters_.bad_payloads);
    return corrupt("the payload's checksum is wrong");
  }
  return {};
}

Nanos SegmentLog::ReadBegins(const RecordPlace& place) const noexcept {
  return std::max(scheduler_.Now(), lanes_[LaneOf(place)]->next_read_at);
}

Task<Status> SegmentLog::Read(RecordPlace place, RecordHeader* header, std::span<std::byte> payload,
                              bool limited) {
  const Status expired(StatusCode::kExpired, "the record's segment was reused");
  if (!Current(place)) co_return expired;
  if (place.page + payload.size() / kPageBytes >= segment_pages_) {
    co_return Status(StatusCode::kCorrupt, "a record would reach beyond its segment");
  }
  StartWatching();
  Lane* const lane = lanes_[LaneOf(place)].get();
  for (int attempt = 0;; ++attempt) {
    if (!lane->online) {
      co_return Status(StatusCode::kIo, "device " + lane->device.name() + " is offline");
    }
    Status status = co_await ReadOnce(lane, place, header, payload, limited);
    if (status.ok()) {
      co_await LongWork{.bytes = payload.size()};
      status = CheckRead(place, *header, payload);
    }
    if (!Current(place)) {
      Count(counters_.expired);
      co_return expired;
    }
    // Bits can flip on the way from a healthy medium: once more, then it is the medium's.
    if (status.code() == StatusCode::kCorrupt && attempt == 0) {
      Count(counters_.reread);
      continue;
    }
    if (status.ok()) Count(counters_.records_read);
    co_return status;
  }
}

Task<Status> SegmentLog::SyncRecord(RecordPlace place) {
  Status status = co_await Sync(LaneOf(place));
  if (!status.ok()) co_return status;
  if (Doubtful(place)) {
    co_return Status(StatusCode::kIo, "device " + NameOf(LaneOf(place)) +
                                          ": a sync failed after the record was written");
  }
  co_return Status::Ok();
}

bool SegmentLog::Doubtful(const RecordPlace& place) const noexcept {
  return place.page < lanes_[LaneOf(place)]->doubtful[place.segment() % options_.segments];
}

Task<Status> SegmentLog::Sync(std::uint32_t number) {
  Lane* const lane = lanes_[number].get();
  if (CanaryIs(Canary::kAcknowledgeBeforeSync)) co_return Status::Ok();
  if (!lane->online) {
    co_return Status(StatusCode::kIo, "device " + lane->device.name() + " is offline");
  }
  // A sync that runs already may have begun before our writes ended: only the next one counts.
  if (lane->syncing) {
    Event done;
    Status outcome;
    lane->wait_for_next_sync.emplace_back(&done, &outcome);
    (void)co_await done.Wait();
    co_return outcome;
  }
  lane->syncing = true;
  Status own;
  for (bool first = true;; first = false) {
    const auto waiting = std::exchange(lane->wait_for_next_sync, {});
    if (!first && waiting.empty()) break;
    Status status;
    {
      const InFlight counted(*lane, scheduler_.Now());
      status = co_await lane->device.Sync();
    }
    Count(counters_.syncs);
    if (!status.ok()) {
      Count(counters_.sync_errors);
      std::fill(lane->doubtful.begin(), lane->doubtful.end(), segment_pages_);
      lane->doubtful[lane->current] = lane->next_page;
      // Nothing was written to the one that is ready to follow.
      if (lane->next_ready) lane->doubtful[(lane->current + 1) % options_.segments] = 0;
      NoteError(*lane, status);
    }
    if (first) own = status;
    for (const auto& [done, outcome] : waiting) {
      *outcome = status;
      done->Set();
    }
  }
  lane->syncing = false;
  co_return own;
}

}  // namespace terrace::nvme
