#include "tools/terracectl/store_check.h"

#include <map>
#include <unordered_map>
#include <utility>

#include "cache/locator.h"
#include "tiers/nvme/index_entry.h"
#include "tiers/nvme/live_records.h"
#include "tiers/nvme/log_scan.h"
#include "tiers/nvme/page_buffer.h"

namespace terrace {

using nvme::IndexedBlock;
using nvme::IndexedNamespace;
using nvme::RecordHeader;
using nvme::RecordKind;
using nvme::RecordPlace;
using nvme::ScannedRecord;
using nvme::SegmentHeader;

namespace {

/// What the index says of one slice.
struct SliceIndex {
  struct Entry {
    IndexedBlock block;
    bool found = false;  ///< a record stands there
  };
  std::unordered_map<std::uint64_t, Entry> by_place;
  std::map<std::uint32_t, std::uint64_t> clears;  ///< namespace: sequence

  static std::uint64_t KeyOf(const RecordPlace& place) {
    return std::uint64_t{place.segment_plus_one} << 32 | place.page;
  }
  [[nodiscard]] bool Cleared(const IndexedBlock& block) const {
    const auto at = clears.find(block.namespace_id);
    return at != clears.end() && block.sequence < at->second;
  }
};

std::string BlockText(const IndexedBlock& block) {
  return "block " + ToHex(block.hash) + " of namespace " + std::to_string(block.namespace_id);
}

Hash128 HashOf(const RecordHeader& header) { return {header.hash[0], header.hash[1]}; }

/// What differs between a record and the entry that names it; empty: nothing.
std::string Difference(const RecordHeader& header, const IndexedBlock& block) {
  if (header.kind != RecordKind::kBlock) return "a removal or clear";
  if (HashOf(header) != block.hash || header.namespace_id != block.namespace_id) {
    return "a record of another block";
  }
  if (header.sequence != block.sequence) return "a record of another sequence";
  const Hash128 parent{header.parent[0], header.parent[1]};
  if (header.payload_bytes != block.block_bytes || header.position != block.position ||
      header.valid_tokens != block.valid_tokens || parent != block.parent) {
    return "a record of other length, position, tokens or parent";
  }
  return {};
}

/// [device][segment] of one slice.
using Headers = std::vector<std::vector<SegmentHeader>>;

class StoreCheck {
 public:
  StoreCheck(const nvme::OpenedStore& store, IndexStore* index,
             const std::function<void(std::uint64_t)>& passed)
      : store_(store), index_(index), passed_(passed), geometry_(GeometryOf(store.superblock)) {
    report_.devices = geometry_.devices;
    report_.geometry = geometry_;
  }

  Result<StoreReport> Run() {
    for (const std::string& warning : store_.warnings) report_.AddDamage(warning);
    if (index_ != nullptr) CheckIndexOwner();
    for (std::uint32_t slice = 0; slice < geometry_.slices; ++slice) {
      Status checked = CheckSlice(slice);
      if (!checked.ok()) return checked;
    }
    if (report_.unreadable_pages != 0) {
      report_.AddDamage(std::to_string(report_.unreadable_pages) +
                        " pages where headers may stand cannot be read");
    }
    return std::move(report_);
  }

 private:
  /// Visits entries; what of the index cannot be read is damage.
  void ScanIndex(std::string_view prefix,
                 const std::function<bool(std::string_view, std::string_view)>& read) {
    const Status scanned = index_->Scan(prefix, [&](std::string_view key, std::string_view value) {
      if (!read(key, value)) {
        report_.AddDamage("index: an entry of " + std::to_string(value.size()) +
                          " bytes is not of this format");
      }
      return true;
    });
    if (!scanned.ok()) report_.AddDamage(scanned.ToString());
  }

  void CheckIndexOwner() {
    bool found = false;
    ScanIndex(nvme::kStoreKey, [&](std::string_view /*key*/, std::string_view value) {
      const auto owner = nvme::ReadStore(value);
      found = true;
      if (!owner.has_value()) return false;
      const Hash128 store_id{store_.superblock.store_id[0], store_.superblock.store_id[1]};
      if (owner->store_id != store_id || owner->version != store_.superblock.version ||
          owner->slices != geometry_.slices) {
        report_.AddDamage("index: belongs to another store");
      }
      return true;
    });
    if (!found) report_.AddDamage("index: does not say whose it is; it is empty or half made");
    ScanIndex(nvme::kNamespacePrefix, [&](std::string_view key, std::string_view value) {
      auto space = nvme::ReadNamespace(key, value);
      if (space.has_value()) spaces_.emplace(space->id, std::move(*space));
      return space.has_value();
    });
  }

  /// Entries whose segment was reused are counted and left out: they may name the same place as
  /// one that is right.
  SliceIndex ReadIndex(std::uint32_t slice, const Headers& headers) {
    SliceIndex entries;
    if (index_ == nullptr) return entries;
    ScanIndex(nvme::ClearedPrefix(slice), [&](std::string_view key, std::string_view value) {
      const auto cleared = nvme::ReadCleared(key, value);
      if (cleared.has_value()) entries.clears[cleared->namespace_id] = cleared->sequence;
      return cleared.has_value();
    });
    ScanIndex(nvme::BlockPrefix(slice), [&](std::string_view key, std::string_view value) {
      if (nvme::ReadRemoved(key, value).has_value()) return true;
      const auto block = nvme::ReadBlock(key, value);
      if (!block.has_value()) return false;
      ++report_.index_entries;
      const RecordPlace& place = block->place;
      if (place.segment() >= geometry_.store_segments() || place.page == 0 ||
          place.page >= geometry_.segment_pages()) {
        report_.AddDamage("index: " + BlockText(*block) + " is named outside of the devices");
      } else if (place.generation < HeaderOf(headers, place).generation) {
        ++report_.index_reused;
      } else if (!entries.by_place.try_emplace(SliceIndex::KeyOf(place), *block).second) {
        report_.AddDamage(At(slice, place) + ": the index names two blocks there");
      }
      return true;
    });
    return entries;
  }

  [[nodiscard]] const SegmentHeader& HeaderOf(const Headers& headers,
                                              const RecordPlace& place) const {
    return headers[geometry_.DeviceOf(place.segment())][geometry_.SegmentOnDevice(place.segment())];
  }

  Status CheckSlice(std::uint32_t slice) {
    Headers headers(geometry_.devices);
    for (std::uint32_t device = 0; device < geometry_.devices; ++device) {
      Status read = ReadSegmentHeaders(store_.files[device], store_.superblock, device, slice,
                                       headers[device]);
      if (!read.ok()) return read;
    }
    SliceIndex entries = ReadIndex(slice, headers);
    nvme::LiveRecords records;
    const auto scanned = ScanSlice(
        store_.files, store_.superblock, slice, {.verify_payloads = true, .passed = passed_},
        [&](const ScannedRecord& record) { Take(slice, record, entries, records); });
    if (!scanned.ok()) return scanned.status();
    report_.segments_used += scanned->segments;
    report_.bytes_read += scanned->bytes_read;
    report_.unreadable_pages += scanned->unreadable_pages;
    std::uint64_t live = 0;
    records.Visit([&](const IndexedBlock& block) {
      ++live;
      report_.live_bytes += block.block_bytes;
      const auto at = entries.by_place.find(SliceIndex::KeyOf(block.place));
      if (index_ != nullptr && (at == entries.by_place.end() || !at->second.found)) {
        ++report_.not_indexed;
      }
    });
    report_.live += live;
    report_.stale = report_.blocks - report_.live;
    CheckEntries(slice, headers, entries, records);
    return {};
  }

  void Take(std::uint32_t slice, const ScannedRecord& record, SliceIndex& entries,
            nvme::LiveRecords& records) {
    const RecordHeader& header = record.header;
    ++report_.records;
    const auto at = entries.by_place.find(SliceIndex::KeyOf(record.place));
    const bool named =
        at != entries.by_place.end() && at->second.block.place.generation == header.generation;
    if (named) {
      at->second.found = true;
      CheckNamed(slice, record, at->second.block);
    }
    if (!record.payload.ok()) {
      if (!named) ++report_.unfinished;
      return;
    }
    const bool block = header.kind == RecordKind::kBlock;
    if (block) CheckBlock(slice, record);
    report_.blocks += block ? 1 : 0;
    records.Add(header, record.place);
  }

  /// What a block has to be, named or not.
  void CheckBlock(std::uint32_t slice, const ScannedRecord& record) {
    const RecordHeader& header = record.header;
    if (HashLocator(&HashBytes128, header.group, header.shard, header.Key()) != HashOf(header)) {
      report_.AddDamage(At(slice, record.place) + ": its hash is not that of its key");
    }
    if (!owners_.Add(header)) {
      report_.AddDamage(At(slice, record.place) + ": namespace " +
                        std::to_string(header.namespace_id) + " is another one elsewhere");
    }
  }

  void CheckNamed(std::uint32_t slice, const ScannedRecord& record, const IndexedBlock& block) {
    const RecordHeader& header = record.header;
    const std::string difference = Difference(header, block);
    if (!difference.empty()) {
      report_.AddDamage(At(slice, record.place) + ": " + difference + ", where the index names " +
                        BlockText(block));
      return;
    }
    if (!record.payload.ok()) {
      report_.AddDamage(At(slice, record.place) + ": " + BlockText(block) + ": " +
                        record.payload.message());
    }
    const auto space = spaces_.find(header.namespace_id);
    if (space == spaces_.end() || space->second.tenant != header.Tenant() ||
        space->second.name != header.Name() ||
        space->second.fingerprint != Hash128{header.fingerprint[0], header.fingerprint[1]}) {
      report_.AddDamage(At(slice, record.place) + ": namespace " +
                        std::to_string(header.namespace_id) +
                        " is missing in the index, or another one");
    }
  }

  /// The entries where no record was found, and those that something newer has ended.
  void CheckEntries(std::uint32_t slice, const Headers& headers, const SliceIndex& entries,
                    const nvme::LiveRecords& records) {
    for (const auto& [key, entry] : entries.by_place) {
      const RecordPlace& place = entry.block.place;
      const bool ended =
          entries.Cleared(entry.block) ||
          !records.IsLive(entry.block.namespace_id, entry.block.hash, entry.block.sequence);
      if (entry.found) {
        report_.index_outdated += ended ? 1 : 0;
      } else {
        report_.AddDamage(At(slice, place) + ": " + BlockText(entry.block) + ": " +
                          WhyNot(slice, HeaderOf(headers, place), place));
      }
    }
  }

  /// Why no record was found where the index names one.
  std::string WhyNot(std::uint32_t slice, const SegmentHeader& segment, const RecordPlace& place) {
    if (segment.generation == 0) return "the header of its segment is damaged or missing";
    if (place.generation > segment.generation) return "its segment is of an earlier generation";
    nvme::PageBuffer page(nvme::kPageBytes);
    const std::uint32_t device = geometry_.DeviceOf(place.segment());
    const std::uint64_t offset = Offset(slice, place);
    const Status read = store_.files[device].ReadNow(offset, page.bytes());
    if (!read.ok()) return read.message();
    const auto header = nvme::HeaderIn<RecordHeader>(page.bytes());
    if (header.magic != nvme::kRecordMagic) return "no record header stands there";
    if (!IsSealed(header, store_.superblock.salt)) {
      return "the record header does not match its checksum";
    }
    if (!IsRecordAt(header, store_.superblock, segment, place.page)) {
      return "the record header is of another place, generation or sequence";
    }
    return "the record header stands inside of another record";
  }

  [[nodiscard]] std::uint64_t Offset(std::uint32_t slice, const RecordPlace& place) const {
    return geometry_.SegmentOffset(slice, geometry_.SegmentOnDevice(place.segment())) +
           std::uint64_t{place.page} * nvme::kPageBytes;
  }
  [[nodiscard]] std::string At(std::uint32_t slice, const RecordPlace& place) const {
    return PlaceText(store_, slice, place);
  }

  const nvme::OpenedStore& store_;
  IndexStore* index_;
  const std::function<void(std::uint64_t)>& passed_;
  nvme::StoreGeometry geometry_;
  std::map<std::uint32_t, IndexedNamespace> spaces_;  ///< as the index has them
  nvme::NamespaceTable owners_;                       ///< as the records have them
  StoreReport report_;
};

}  // namespace

void StoreReport::AddDamage(std::string line) {
  ++damaged;
  if (damage.size() < kDamageLinesMax) damage.push_back(std::move(line));
}

Result<StoreReport> CheckStore(const nvme::OpenedStore& store, IndexStore* index,
                               const std::function<void(std::uint64_t bytes)>& passed) {
  return StoreCheck(store, index, passed).Run();
}

std::string PlaceText(const nvme::OpenedStore& store, std::uint32_t slice,
                      const nvme::RecordPlace& place) {
  const nvme::StoreGeometry geometry = GeometryOf(store.superblock);
  const std::uint32_t device = geometry.DeviceOf(place.segment());
  const std::uint32_t segment = geometry.SegmentOnDevice(place.segment());
  return "device " + std::to_string(device) + " (" + store.files[device].name() + ") slice " +
         std::to_string(slice) + " segment " + std::to_string(segment) + " page " +
         std::to_string(place.page) + " (byte " +
         std::to_string(geometry.SegmentOffset(slice, segment) +
                        std::uint64_t{place.page} * nvme::kPageBytes) +
         ")";
}

}  // namespace terrace
