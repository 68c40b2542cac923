#include "tiers/nvme/nvme_tier.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"

namespace terrace::nvme {

namespace {

Hash128 ToHash(const std::array<std::uint64_t, 2>& words) noexcept {
  return {.low = words[0], .high = words[1]};
}

IndexedBlock EntryOf(const RecordHeader& header, const RecordPlace& place) {
  return {.namespace_id = header.namespace_id,
          .hash = ToHash(header.hash),
          .place = place,
          .sequence = header.sequence,
          .block_bytes = static_cast<std::uint32_t>(header.payload_bytes),
          .position = header.position,
          .valid_tokens = header.valid_tokens,
          .parent = ToHash(header.parent)};
}

IndexJournal::Changes One(IndexStore::Change::Kind kind, std::string key, std::string value) {
  IndexJournal::Changes changes;
  changes.push_back({.kind = kind, .key = std::move(key), .value = std::move(value)});
  return changes;
}

}  // namespace

namespace {
std::uint32_t UnreadableIn(const std::vector<LaneStart>& lanes) {
  std::uint32_t unreadable = 0;
  for (const LaneStart& lane : lanes) unreadable += lane.unreadable_headers;
  return unreadable;
}
}  // namespace

NvmeTier::NvmeTier(const NvmeTierOptions& options, std::vector<LaneStart> lanes,
                   SegmentLog::Owner& owner, IndexJournal& journal, Scheduler& scheduler)
    : options_(options),
      unreadable_headers_(UnreadableIn(lanes)),
      journal_(journal),
      scheduler_(scheduler),
      log_(options.log, std::move(lanes), owner, scheduler),
      budget_(options.write_bytes_per_day, scheduler.clock()) {
  NoteBudget();
}

void NvmeTier::NoteBudget() noexcept {
  counters_.budget_left.store(static_cast<std::int64_t>(budget_.Left()), std::memory_order_relaxed);
}

std::uint64_t NvmeTier::CapacityBytes() const noexcept {
  return static_cast<std::uint64_t>(log_.segments()) * log_.PagesOfSegment() * kPageBytes;
}

void NvmeTier::CountDeclined(NotDurable reason) noexcept {
  Count(counters_.declined[static_cast<std::size_t>(reason)]);
}

NotDurable NvmeTier::Admit(std::uint64_t block_bytes) {
  NoteBudget();  // it fills while nothing is written
  NotDurable reason = NotDurable::kNone;
  if (block_bytes > options_.block_bytes_max) {
    reason = NotDurable::kTooLarge;
  } else if (!log_.AnyOnline() || !journal_.Healthy()) {
    reason = NotDurable::kOffline;
  } else if (!budget_.Allows()) {
    reason = NotDurable::kWriteBudget;
  }
  return reason;
}

Task<NvmeTier::Written> NvmeTier::Write(WriteRequest request) {
  StartMarking();
  request.header->kind = RecordKind::kBlock;
  Written written = co_await WriteRecord(&request);
  // Without a sequence it never had a place. The entry has been handed over, or never will be.
  const std::uint64_t sequence = request.header->sequence;
  if (sequence == 0 || log_.open().End(sequence) || !written.place.exists()) co_return written;
  ++debts_;
  if (request.durable && !(co_await PayDebts()).ok()) {
    written.not_durable = NotDurable::kWriteFailed;
  }
  co_return written;
}

Task<NvmeTier::Written> NvmeTier::WriteRecord(const WriteRequest* request) {
  RecordHeader& header = *request->header;
  const Result<RecordPlace> place =
      co_await log_.Append(&header, request->payload, request->room, &request->still_wanted);
  if (!place.ok()) {
    const bool gone = place.code() == StatusCode::kMiss;
    co_return Written{.place = {},
                      .not_durable = gone ? NotDurable::kGone : NotDurable::kWriteFailed};
  }
  const bool moves = request->room == SegmentLog::Room::kWhatIsLeft;
  CrashHere(moves ? CrashPoint::kMoveWritten : CrashPoint::kRecordWritten);
  budget_.Spend(RecordPages(header.payload_bytes) * kPageBytes);
  NoteBudget();
  if (moves) {
    Count(counters_.blocks_reinserted);
  } else {
    Count(counters_.blocks_put);
    Count(counters_.bytes_put, header.payload_bytes);
  }
  // Whether a record is there is unknown when its sync has failed: then it is none. One that moves
  // may have been promised: the entry of its old place must not give way to one of a record that
  // power loss can take.
  if ((request->durable || moves) && !(co_await log_.SyncRecord(*place)).ok()) {
    co_return Written{.place = {}, .not_durable = NotDurable::kWriteFailed};
  }
  if (moves) CrashHere(CrashPoint::kMoveSynced);
  if (request->durable) CrashHere(CrashPoint::kRecordSynced);
  // Forgotten since it had its place: its removal has a higher sequence (G3). What the index says
  // of the block is somebody else's by now.
  if (!request->still_wanted()) {
    CrashHere(CrashPoint::kRecordUnwanted);
    co_return Written{.place = {}, .not_durable = NotDurable::kGone};
  }
  const bool entered =
      journal_.Enqueue(One(IndexStore::Change::Kind::kPut,
                           BlockKey(options_.log.slice, header.namespace_id, ToHash(header.hash)),
                           BlockValue(EntryOf(header, *place))));
  // Once the marker has passed it no start would find it.
  if (!entered) co_return Written{.place = {}, .not_durable = NotDurable::kQueueFull};
  co_return Written{.place = *place};
}

Task<NotDurable> NvmeTier::SyncRecord(RecordPlace place) {
  Status status = co_await log_.SyncRecord(place);
  if (status.ok()) status = co_await PayDebts();
  co_return status.ok() ? NotDurable::kNone : NotDurable::kWriteFailed;
}

Task<Status> NvmeTier::PayDebts() {
  const std::uint64_t debts = debts_;
  if (debts_paid_ >= debts) co_return Status::Ok();
  // Without changes of its own: everything before it in the queue becomes durable.
  Status status = co_await journal_.Write({}, true);
  if (status.ok()) debts_paid_ = std::max(debts_paid_, debts);
  co_return status;
}

void NvmeTier::StartMarking() {
  if (marking_) return;
  marking_ = true;
  background_.Spawn(KeepMarking());
}

Task<void> NvmeTier::KeepMarking() {
  while (!closing_) {
    Event closed;
    sleeper_ = &closed;
    (void)co_await closed.WaitUntil(scheduler_.Now() + options_.marker_period);
    sleeper_ = nullptr;
    log_.open().ReleaseOlder(scheduler_.Now() - options_.marker_patience);
    if (!closing_ && log_.Settled() != marked_) (void)co_await Mark(false);
  }
}

/// Makes everything durable that was handed over before it, in passing.
Task<Status> NvmeTier::Mark(bool final) {
  const std::uint64_t settled = log_.Settled();
  if (marker_stays_) co_return Status::Ok();
  if (!journal_.Healthy()) co_return Status(StatusCode::kIo, "the index store fails");
  const std::uint64_t debts = debts_;
  Status status =
      co_await journal_.Write(One(IndexStore::Change::Kind::kPut, MarkerKey(options_.log.slice),
                                  MarkerValue({.sequence = settled, .final = final})),
                              true);
  if (status.ok()) {
    CrashHere(CrashPoint::kMarkerWritten);
    marked_ = std::max(marked_, settled);
    TellMarker();
    debts_paid_ = std::max(debts_paid_, debts);
  }
  co_return status;
}

void NvmeTier::TellMarker() const noexcept {
  LiveGenerations* const told = options_.log.generations;
  if (told != nullptr) told->SetMarker(options_.log.slice, marked_);
}

Task<Status> NvmeTier::RemoveOn(std::uint32_t lane, Removal removal) {
  const PagePool::Page page = pages_.Take();
  RecordHeader& header = page.Make<RecordHeader>();
  header.kind = removal.kind;
  header.sequence = removal.sequence;
  header.namespace_id = removal.namespace_id;
  if (removal.kind == RecordKind::kRemoval) {
    header.hash = {removal.hash.low, removal.hash.high};
    header.group = removal.group;
    header.shard = removal.shard;
    header.key_bytes = static_cast<std::uint8_t>(removal.key.size());
    std::copy(removal.key.begin(), removal.key.end(), header.key.begin());
  }
  const Result<RecordPlace> place =
      co_await log_.AppendTo(lane, &header, {}, SegmentLog::Room::kWait);
  if (!place.ok()) co_return place.status();
  budget_.Spend(kPageBytes);
  co_return Status::Ok();
}

Task<Status> NvmeTier::LogRemoval(Removal removal) {
  Status status;
  for (std::uint32_t lane = 0; lane < log_.lanes(); ++lane) {
    if (!log_.Online(lane)) continue;
    const Status logged = co_await RemoveOn(lane, removal);
    if (status.ok()) status = logged;
  }
  co_return status;
}

IndexJournal::Changes NvmeTier::ChangeOf(const Removal& removal) const {
  const std::uint32_t slice = options_.log.slice;
  const bool one = removal.kind == RecordKind::kRemoval;
  return One(IndexStore::Change::Kind::kPut,
             one ? BlockKey(slice, removal.namespace_id, removal.hash)
                 : ClearedKey(slice, removal.namespace_id),
             one ? RemovedValue(removal.sequence) : ClearedValue(removal.sequence));
}

NvmeTier::Removal NvmeTier::BeginRemoval(Removal removal) {
  StartMarking();
  removal.sequence = log_.TakeSequence();
  // At once: what is put from now on has its entry behind it.
  removal.handed_over = journal_.Enqueue(ChangeOf(removal));
  if (removal.handed_over) (void)log_.open().End(removal.sequence);
  return removal;
}

Task<Status> NvmeTier::Remove(Removal removal) {
  // In the index store first: it is what a start after kill -9 goes by. One that was refused, as
  // too much waited, is tried once more; `removal` says kIo if it finds no room now either.
  IndexJournal::Changes changes;
  if (!removal.handed_over) changes = ChangeOf(removal);
  const Status indexed = co_await journal_.Write(std::move(changes), false);
  if (!removal.handed_over) (void)log_.open().End(removal.sequence);
  const bool clears = removal.kind == RecordKind::kClear;
  CrashHere(clears ? CrashPoint::kClearIndexed : CrashPoint::kRemoveIndexed);
  const Status logged = co_await LogRemoval(removal);
  CrashHere(clears ? CrashPoint::kClearLogged : CrashPoint::kRemoveLogged);
  co_return indexed.ok() ? logged : indexed;
}

void NvmeTier::DropEntry(std::uint32_t namespace_id, const Hash128& hash) {
  (void)journal_.Enqueue(
      One(IndexStore::Change::Kind::kDelete, BlockKey(options_.log.slice, namespace_id, hash), {}));
}

Task<void> NvmeTier::Close() {
  closing_ = true;
  if (sleeper_ != nullptr) sleeper_->Set();
  for (std::uint32_t lane = 0; lane < log_.lanes(); ++lane) {
    if (log_.Online(lane)) (void)co_await log_.Sync(lane);
  }
  CrashHere(CrashPoint::kStopLogSynced);
  co_await log_.Close();
  co_await background_.Join();
  // Final when nothing is under way any more: the next start then looks at no record.
  (void)co_await Mark(log_.open().Lowest(0) == 0);
}

}  // namespace terrace::nvme
