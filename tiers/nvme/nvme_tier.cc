#include "tiers/nvme/nvme_tier.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/check.h"

namespace terrace::nvme {

namespace {

/// Entries deleted in one batch while a start reads the index.
constexpr std::size_t kDeletesPerBatch = 4096;

void Count(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

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

NvmeTier::NvmeTier(const NvmeTierOptions& options, std::vector<LaneStart> lanes,
                   SegmentLog::Owner& owner, IndexJournal& journal, Scheduler& scheduler)
    : options_(options),
      journal_(journal),
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

Status NvmeTier::Recover(IndexStore& store, const std::function<bool(const IndexedBlock&)>& adopt) {
  const std::uint32_t slice = options_.log.slice;
  std::map<std::uint32_t, std::uint64_t> cleared;
  Status status =
      store.Scan(ClearedPrefix(slice), [&](std::string_view key, std::string_view value) {
        if (const auto entry = ReadCleared(key, value)) {
          cleared[entry->namespace_id] = entry->sequence;
          log_.RaiseSequence(entry->sequence);
        }
        return true;
      });
  if (!status.ok()) return status;

  std::vector<IndexStore::Change> useless;
  const auto visit = [&](std::string_view key, std::string_view value) {
    const auto entry = ReadBlock(key, value);
    if (!entry) {
      Count(counters_.bad_entries);
    } else {
      log_.RaiseSequence(entry->sequence + 1);  // SegmentLog::RemovalSequenceOf
      const auto clear = cleared.find(entry->namespace_id);
      const bool dead = clear != cleared.end() && entry->sequence < clear->second;
      if (!dead && log_.Current(entry->place) && adopt(*entry)) {
        Count(counters_.recovered);
        return true;
      }
      Count(counters_.stale);
    }
    useless.push_back(
        {.kind = IndexStore::Change::Kind::kDelete, .key = std::string(key), .value = {}});
    return true;
  };
  status = store.Scan(BlockPrefix(slice), visit);
  // Deleted, so that they do not pile up over many starts. A failure costs no more than that.
  for (std::size_t first = 0; first < useless.size(); first += kDeletesPerBatch) {
    const std::size_t count = std::min(kDeletesPerBatch, useless.size() - first);
    (void)store.Write(std::span(useless).subspan(first, count), false);
  }
  return status;
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
  if (reason != NotDurable::kNone) CountDeclined(reason);
  return reason;
}

Task<NvmeTier::Written> NvmeTier::Write(WriteRequest request) {
  RecordHeader& header = *request.header;
  header.kind = RecordKind::kBlock;
  const Result<RecordPlace> place =
      co_await log_.Append(request.header, request.payload, request.room);
  if (!place.ok()) {
    co_return Written{.place = {}, .not_durable = NotDurable::kWriteFailed};
  }
  budget_.Spend(RecordPages(header.payload_bytes) * kPageBytes);
  NoteBudget();
  if (request.room == SegmentLog::Room::kWait) {
    Count(counters_.blocks_put);
    Count(counters_.bytes_put, header.payload_bytes);
  } else {
    Count(counters_.blocks_reinserted);
  }
  // A record that moves may be one that was promised: the entry of its old place must not give way
  // to one of a record that power loss can take.
  const bool moves = request.room == SegmentLog::Room::kWhatIsLeft;
  if (moves && !(co_await log_.SyncRecord(*place)).ok()) {
    co_return Written{.place = {}, .not_durable = NotDurable::kWriteFailed};
  }
  if (!request.still_wanted()) {
    // Removed while it was written: the removal may have a lower sequence than the record. The
    // index never heard of this record; what it says of the block is somebody else's by now.
    const Removal removal{.namespace_id = header.namespace_id,
                          .hash = ToHash(header.hash),
                          .group = header.group,
                          .shard = header.shard,
                          .key = header.Key(),
                          .sequence = SegmentLog::RemovalSequenceOf(header)};
    (void)co_await LogRemoval(removal, request.room);
    co_return Written{.place = {}, .not_durable = NotDurable::kGone};
  }
  auto changes = One(IndexStore::Change::Kind::kPut,
                     BlockKey(options_.log.slice, header.namespace_id, ToHash(header.hash)),
                     BlockValue(EntryOf(header, *place)));
  // Without an entry no start finds the record, and no sync makes it durable; whether a record is
  // there is unknown when its sync has failed. Either way it is no record.
  if (!request.durable) {
    if (journal_.Enqueue(std::move(changes))) co_return Written{.place = *place};
    co_return Written{.place = {}, .not_durable = NotDurable::kQueueFull};
  }
  // Both at once: if only the entry survives a power loss it names a record that does not verify.
  bool synced = false;
  TaskScope syncing;
  syncing.Spawn(SyncInLog(*place, &synced));
  const Status indexed = co_await journal_.Write(std::move(changes), true);
  co_await syncing.Join();
  if (indexed.code() == StatusCode::kRetry) {
    co_return Written{.place = {}, .not_durable = NotDurable::kQueueFull};
  }
  if (!synced || !indexed.ok()) {
    co_return Written{.place = {}, .not_durable = NotDurable::kWriteFailed};
  }
  co_return Written{.place = *place};
}

Task<void> NvmeTier::SyncInLog(RecordPlace place, bool* synced) {
  *synced = (co_await log_.SyncRecord(place)).ok();
}

Task<NotDurable> NvmeTier::SyncRecord(RecordPlace place) {
  Status status = co_await log_.SyncRecord(place);
  if (status.ok()) status = co_await SyncEntries();
  co_return status.ok() ? NotDurable::kNone : NotDurable::kWriteFailed;
}

Task<Status> NvmeTier::SyncEntries() {
  // Without changes of its own: everything before it in the queue becomes durable.
  co_return co_await journal_.Write({}, true);
}

Task<Status> NvmeTier::RemoveOn(std::uint32_t lane, Removal removal, SegmentLog::Room room) {
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
  const Result<RecordPlace> place = co_await log_.AppendTo(lane, &header, {}, room);
  if (!place.ok()) co_return place.status();
  budget_.Spend(kPageBytes);
  co_return Status::Ok();
}

Task<Status> NvmeTier::LogRemoval(Removal removal, SegmentLog::Room room) {
  Status status;
  for (std::uint32_t lane = 0; lane < log_.lanes(); ++lane) {
    if (!log_.Online(lane)) continue;
    const Status logged = co_await RemoveOn(lane, removal, room);
    if (status.ok()) status = logged;
  }
  co_return status;
}

Task<Status> NvmeTier::Remove(Removal removal) {
  // The entry first: it is what a start after kill -9 goes by. The views of `removal` stay.
  const std::uint32_t slice = options_.log.slice;
  auto changes = removal.kind == RecordKind::kRemoval
                     ? One(IndexStore::Change::Kind::kDelete,
                           BlockKey(slice, removal.namespace_id, removal.hash), {})
                     : One(IndexStore::Change::Kind::kPut, ClearedKey(slice, removal.namespace_id),
                           ClearedValue(removal.sequence));
  const Status indexed = co_await journal_.Write(std::move(changes), false);
  const Status logged = co_await LogRemoval(removal, SegmentLog::Room::kWait);
  co_return indexed.ok() ? logged : indexed;
}

void NvmeTier::DropEntry(std::uint32_t namespace_id, const Hash128& hash) {
  (void)journal_.Enqueue(
      One(IndexStore::Change::Kind::kDelete, BlockKey(options_.log.slice, namespace_id, hash), {}));
}

Task<void> NvmeTier::Close() {
  for (std::uint32_t lane = 0; lane < log_.lanes(); ++lane) {
    if (log_.Online(lane)) (void)co_await log_.Sync(lane);
  }
  co_await log_.Close();
}

}  // namespace terrace::nvme
