// What a start finds: the entries of the index store, and what the log has beyond them.
//
// The log's headers are read from the marker on, and believed before the entries: what a record
// below the marker changed in the index is there, what one above it changed may be lost. Only where
// two whole headers claim to be the newest record of one block its payload is read too: power loss
// can leave a header without its payload, and then the record before it is the block still (T1).
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/counter.h"
#include "base/crash_point.h"
#include "tiers/nvme/live_records.h"
#include "tiers/nvme/nvme_tier.h"

namespace terrace::nvme {

namespace {

/// Changes in a batch, about 350 KB: batches large enough to be fast, small beside RocksDB's write
/// buffer.
constexpr std::size_t kChangesPerBatch = 4096;

}  // namespace

/// Lives in Recover.
struct NvmeTier::Recovery {
  explicit Recovery(const Finder& the_finder) : finder(the_finder) {}
  const Finder& finder;
  Superblock superblock;                            // what a scan must know of the store
  std::vector<std::vector<SegmentHeader>> headers;  // of each lane
  IndexMarker marker;
  std::map<std::uint32_t, std::uint64_t> cleared;  // namespaces, by index and tail
  NamespaceTable owners;                           // of the tail's namespaces
  std::set<std::uint32_t> known;                   // of them, those that the finder knows as such
  LiveRecords tail{LiveRecords::Older::kKeep};
  std::uint64_t tail_blocks = 0;  // that count
  std::vector<IndexStore::Change> changes;
  bool incomplete = false;  // something could not be read or written

  void Put(std::string key, std::string value) {
    changes.push_back({IndexStore::Change::Kind::kPut, std::move(key), std::move(value)});
  }
  void Delete(std::string key) {
    changes.push_back({IndexStore::Change::Kind::kDelete, std::move(key), {}});
  }
  [[nodiscard]] bool HasHeader(const RecordPlace& place) const {
    const std::uint32_t segments = superblock.segments;
    const std::uint32_t lane = place.segment() / segments;
    return lane < headers.size() && headers[lane][place.segment() % segments].generation != 0;
  }
  [[nodiscard]] bool Cleared(const IndexedBlock& block) const {
    const auto at = cleared.find(block.namespace_id);
    return at != cleared.end() && block.sequence < at->second;
  }
  void Write(IndexStore& store) {
    for (std::size_t first = 0; first < changes.size(); first += kChangesPerBatch) {
      const std::size_t count = std::min(kChangesPerBatch, changes.size() - first);
      incomplete |= !store.Write(std::span(changes).subspan(first, count), false).ok();
    }
  }
};

Status NvmeTier::Recover(IndexStore& store, const ReadSlice& read, const Finder& finder) {
  Recovery recovery(finder);
  const SegmentLogOptions& log = options_.log;
  recovery.superblock.store_id = log.store_id;
  recovery.superblock.salt = log.salt;
  recovery.superblock.devices = log_.lanes();
  recovery.superblock.segments = log.segments;
  recovery.superblock.segment_bytes = log.segment_bytes;
  for (std::uint32_t lane = 0; lane < log_.lanes(); ++lane) {
    recovery.headers.push_back(log_.HeadersOf(lane));
  }
  // Without a marker nothing of the index is certain: every header of the log is read.
  Status status =
      store.Scan(MarkerKey(log.slice), [&](std::string_view /*key*/, std::string_view value) {
        recovery.marker = ReadMarker(value).value_or(IndexMarker());
        return false;
      });
  if (!status.ok()) return status;
  log_.RaiseSequence(recovery.marker.sequence);
  ReadTail(recovery, read);
  status = KnowNamespaces(recovery, store);
  if (status.ok()) status = ReadEntries(recovery, store);
  AdoptTail(recovery, read);
  recovery.incomplete |= !status.ok() || unreadable_headers_ > 0;
  CrashHere(CrashPoint::kRecoverRead);
  recovery.Write(store);
  CrashHere(CrashPoint::kRecoverDone);
  marked_ = recovery.marker.sequence;
  TellMarker();
  marker_stays_ = recovery.incomplete;
  return status;
}

void NvmeTier::ReadTail(Recovery& recovery, const ReadSlice& read) {
  const std::uint64_t from = recovery.marker.sequence;
  const bool none = std::ranges::all_of(recovery.headers, [from](const auto& headers) {
    return std::ranges::all_of(
        headers, [from](const SegmentHeader& header) { return header.sequence < from; });
  });
  // A run begins with new segments: where there is none, nothing was written since.
  if (recovery.marker.final && none) return;
  const ScanTotals totals =
      ScanTail(read, recovery.superblock, recovery.headers, from, [&](const ScannedRecord& record) {
        const RecordHeader& header = record.header;
        Count(counters_.tail_records);
        log_.RaiseSequence(header.sequence + 1);
        // One whose namespace is another's is nobody's.
        if (header.kind == RecordKind::kBlock && !recovery.owners.Add(header)) return;
        recovery.tail.Add(header, record.place);
      });
  Count(counters_.tail_unreadable, totals.unreadable_pages);
  recovery.incomplete = totals.unreadable_pages != 0;
  recovery.tail_blocks = recovery.tail.CountLive();
}

Status NvmeTier::KnowNamespaces(Recovery& recovery, IndexStore& store) {
  std::set<std::uint32_t> indexed;
  Status status = store.Scan(kNamespacePrefix, [&](std::string_view key, std::string_view value) {
    if (const auto space = ReadNamespace(key, value)) indexed.insert(space->id);
    return true;
  });
  // A namespace's own entry may be lost with those of its blocks: their records name it.
  for (const auto& [id, space] : recovery.owners.all()) {
    if (!recovery.finder.know(space)) continue;
    recovery.known.insert(id);
    if (!indexed.contains(id)) recovery.Put(NamespaceKey(id), NamespaceValue(space));
  }
  return status;
}

Status NvmeTier::ReadEntries(Recovery& recovery, IndexStore& store) {
  const std::uint32_t slice = options_.log.slice;
  Status status =
      store.Scan(ClearedPrefix(slice), [&](std::string_view key, std::string_view value) {
        if (const auto entry = ReadCleared(key, value)) {
          recovery.cleared[entry->namespace_id] = entry->sequence;
          log_.RaiseSequence(entry->sequence);
        }
        return true;
      });
  if (!status.ok()) return status;
  for (const auto& [id, sequence] : recovery.tail.clears()) {
    std::uint64_t& cleared = recovery.cleared[id];
    if (cleared >= sequence) continue;
    cleared = sequence;
    recovery.Put(ClearedKey(slice, id), ClearedValue(sequence));
  }
  return store.Scan(BlockPrefix(slice), [&](std::string_view key, std::string_view value) {
    CrashHere(CrashPoint::kRecoverEntry);
    const auto entry = ReadBlock(key, value);
    if (const auto removed = ReadRemoved(key, value)) {
      log_.RaiseSequence(removed->sequence);
      recovery.tail.EndNamed(removed->namespace_id, removed->hash, removed->sequence);
      // As long as the log from the marker on is looked at, it may name what was removed.
      if (removed->sequence >= recovery.marker.sequence) return true;
    } else if (!entry) {
      Count(counters_.bad_entries);
    } else {
      log_.RaiseSequence(entry->sequence + 1);
      const bool ended = recovery.Cleared(*entry) ||
                         recovery.tail.Ends(entry->namespace_id, entry->hash, entry->sequence);
      if (!ended && log_.Current(entry->place)) {
        if (recovery.tail.AddNamed(*entry)) return true;  // AdoptTail's
        if (recovery.finder.adopt(*entry, recovery.tail_blocks)) {
          Count(counters_.recovered);
          return true;
        }
      }
      if (!ended && !recovery.HasHeader(entry->place)) {
        Count(counters_.unheaded);
        // One that could not be read may be there the next time: its blocks are not lost yet.
        if (unreadable_headers_ > 0) return true;
      } else {
        Count(counters_.stale);
      }
    }
    // So that they do not pile up over many starts.
    recovery.Delete(std::string(key));
    return true;
  });
}

void NvmeTier::AdoptTail(Recovery& recovery, const ReadSlice& read) {
  const auto whole = [&](const IndexedBlock& record) {
    const SegmentHeader& segment =
        recovery.headers[log_.LaneOf(record.place)][record.place.segment() % options_.log.segments];
    const Status status = CheckBlockAt(read, recovery.superblock, segment, record.place.page);
    recovery.incomplete |= status.code() == StatusCode::kIo;
    return status.ok();
  };
  recovery.tail.VisitAll([&](std::span<const IndexedBlock> records) {
    while (records.size() > 1 && !whole(records.front())) records = records.subspan(1);
    const IndexedBlock& block = records.front();
    const std::string key = BlockKey(options_.log.slice, block.namespace_id, block.hash);
    // Newest first: what a clear of the index ends, it ends with all that are older.
    if (recovery.known.contains(block.namespace_id) && !recovery.Cleared(block) &&
        recovery.finder.adopt(block, 0)) {
      Count(counters_.recovered);
      Count(counters_.tail_blocks);
      recovery.Put(key, BlockValue(block));
    } else {
      recovery.Delete(key);
    }
  });
}

}  // namespace terrace::nvme
