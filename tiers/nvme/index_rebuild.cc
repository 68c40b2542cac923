#include "tiers/nvme/index_rebuild.h"

#include <string>
#include <utility>
#include <vector>

#include "base/crash_point.h"
#include "tiers/nvme/index_entry.h"
#include "tiers/nvme/live_records.h"

namespace terrace::nvme {

namespace {

/// About 350 KB: batches large enough to be fast, small beside RocksDB's write buffer.
constexpr std::size_t kChangesPerBatch = 4096;

/// Collects changes into batches. After a failure it writes nothing more.
class BatchWriter {
 public:
  explicit BatchWriter(IndexStore& index) : index_(index) {}
  void Put(std::string key, std::string value) {
    batch_.push_back({IndexStore::Change::Kind::kPut, std::move(key), std::move(value)});
    if (batch_.size() >= kChangesPerBatch) Flush();
  }
  /// Everything so far is durable.
  Status Finish() {
    Flush();
    if (status_.ok()) status_ = index_.Sync();
    return status_;
  }

 private:
  void Flush() {
    if (status_.ok() && !batch_.empty()) status_ = index_.Write(batch_, false);
    batch_.clear();
    CrashHere(CrashPoint::kRebuildBatch);
  }
  IndexStore& index_;
  std::vector<IndexStore::Change> batch_;
  Status status_;
};

Status CheckEmpty(IndexStore& index) {
  bool empty = true;
  Status scanned = index.Scan("", [&empty](std::string_view /*key*/, std::string_view /*value*/) {
    empty = false;
    return false;
  });
  if (!scanned.ok()) return scanned;
  return empty ? Status::Ok() : Status::Invalid("the index to rebuild into is not empty");
}

}  // namespace

Result<RebuildTotals> RebuildIndex(std::span<const DeviceFile> files, const Superblock& superblock,
                                   IndexStore& index, ScanOptions options,
                                   const std::function<void(const ScannedRecord&)>& damaged) {
  Status empty = CheckEmpty(index);
  if (!empty.ok()) return empty;
  options.verify_payloads = true;
  RebuildTotals totals;
  NamespaceTable namespaces;
  BatchWriter writer(index);
  for (std::uint32_t slice = 0; slice < superblock.slices; ++slice) {
    LiveRecords records;
    const auto scanned =
        ScanSlice(files, superblock, slice, options, [&](const ScannedRecord& record) {
          ++totals.records;
          if (!record.payload.ok()) {
            ++totals.damaged;
            if (damaged) damaged(record);
          } else if (record.header.kind == RecordKind::kBlock && !namespaces.Add(record.header)) {
            ++totals.conflicting;
          } else {
            records.Add(record.header, record.place);
          }
        });
    if (!scanned.ok()) return scanned.status();
    totals.unreadable_pages += scanned->unreadable_pages;
    records.Visit([&](const IndexedBlock& block) {
      ++totals.blocks;
      writer.Put(BlockKey(slice, block.namespace_id, block.hash), BlockValue(block));
    });
    for (const auto& [space, sequence] : records.clears()) {
      writer.Put(ClearedKey(slice, space), ClearedValue(sequence));
    }
    // Nothing of the log is left to look at. Above the headers too: none of their segments has
    // more.
    writer.Put(MarkerKey(slice),
               MarkerValue({.sequence = scanned->sequence_max + 1, .final = true}));
  }
  for (const auto& [id, space] : namespaces.all()) {
    ++totals.namespaces;
    writer.Put(NamespaceKey(id), NamespaceValue(space));
  }
  Status written = writer.Finish();
  if (!written.ok()) return written;
  CrashHere(CrashPoint::kRebuildWritten);
  writer.Put(std::string(kStoreKey),
             StoreValue({.store_id = {superblock.store_id[0], superblock.store_id[1]},
                         .version = superblock.version,
                         .slices = superblock.slices}));
  written = writer.Finish();
  if (!written.ok()) return written;
  CrashHere(CrashPoint::kRebuildDone);
  return totals;
}

}  // namespace terrace::nvme
