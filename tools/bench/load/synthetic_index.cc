#include "tools/bench/load/synthetic_index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "cache/locator.h"
#include "cache/namespace_registry.h"
#include "tiers/nvme/format.h"
#include "tiers/nvme/index_entry.h"
#include "tiers/nvme/rocksdb_index_store.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/load/log_records.h"

namespace terrace::bench {

namespace {

constexpr std::uint32_t kNamespace = 1;   // the first id that a daemon gives
constexpr std::uint32_t kGeneration = 1;  // of every segment that entries name
constexpr std::size_t kBatchEntries = 1000;
constexpr std::uint64_t kRecordPages = nvme::RecordPages(kSyntheticBlockBytes);

using Change = IndexStore::Change;

NamespaceSpec SpecOf(const NamespaceDescriptor& descriptor) {
  NamespaceSpec spec;
  spec.tenant = ClientOptions{}.tenant;
  spec.name = descriptor.name;
  spec.model = descriptor.model;
  spec.weights = descriptor.weights;
  spec.kv_dtype = descriptor.kv_dtype;
  spec.layout = descriptor.layout;
  spec.hash_algorithm = descriptor.hash_algorithm;
  spec.hash_seed = descriptor.hash_seed;
  spec.block_tokens = descriptor.block_tokens;
  spec.shard_count = descriptor.shard_count;
  spec.run_blocks = descriptor.run_blocks;
  for (const GroupSpec& group : descriptor.groups) {
    spec.groups.push_back(
        {.id = group.id, .attention = group.attention, .block_bytes = group.block_bytes});
  }
  return spec;
}

std::uint64_t RecordsPerSegment(const nvme::Superblock& superblock) {
  return (superblock.segment_bytes / nvme::kPageBytes - 1) / kRecordPages;
}

/// Every segment that blocks will be said to lie in, as the first of its generation.
Status WriteSegments(const std::string& path, const nvme::Superblock& superblock,
                     std::uint64_t segments) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool written = file >= 0;
  for (std::uint32_t segment = 0; written && segment < segments; ++segment) {
    nvme::SegmentHeader header;
    header.store_id = superblock.store_id;
    header.segment = segment;
    header.generation = kGeneration;
    header.sequence = segment * RecordsPerSegment(superblock);
    nvme::Seal(header, superblock.salt);
    written = ::pwrite(file, &header, sizeof header,
                       static_cast<off_t>(SegmentOffset(superblock, 0, segment))) == sizeof header;
  }
  // The daemon reads past the page cache.
  written = written && ::fdatasync(file) == 0;
  const int error = errno;
  if (file >= 0) ::close(file);
  if (written) return {};
  return {StatusCode::kIo, "segment headers of " + path + ": " + std::strerror(error)};
}

/// The entries of one chain; `first` is its first block.
void AppendChain(std::uint64_t first, std::uint64_t count, const nvme::Superblock& superblock,
                 std::vector<Change>& changes) {
  const Chain chain = SyntheticChain(first / kSyntheticChainBlocks);
  const std::uint32_t tokens = SyntheticNamespace().block_tokens;
  Hash128 parent;
  for (std::uint32_t position = 0; position < count; ++position) {
    const std::uint64_t block = first + position;
    const std::uint64_t segment = block / RecordsPerSegment(superblock);
    const std::uint64_t record = block % RecordsPerSegment(superblock);
    nvme::IndexedBlock entry;
    entry.namespace_id = kNamespace;
    entry.hash = HashLocator(HashBytes128, 0, 0, chain.key(position));
    entry.place = {.segment_plus_one = static_cast<std::uint32_t>(segment + 1),
                   .page = static_cast<std::uint32_t>(1 + record * kRecordPages),
                   .generation = kGeneration};
    entry.sequence = block + 1;
    entry.block_bytes = kSyntheticBlockBytes;
    entry.position = position;
    entry.valid_tokens = tokens;
    entry.parent = std::exchange(parent, entry.hash);
    changes.push_back({.kind = Change::Kind::kPut,
                       .key = nvme::BlockKey(0, kNamespace, entry.hash),
                       .value = nvme::BlockValue(entry)});
  }
}

Status WriteEntries(IndexStore& index, const nvme::Superblock& superblock, std::uint64_t entries) {
  const NamespaceSpec spec = SpecOf(SyntheticNamespace());
  const nvme::IndexedNamespace space{.id = kNamespace,
                                     .tenant = spec.tenant,
                                     .name = spec.name,
                                     .fingerprint = NamespaceFingerprint(spec)};
  std::vector<Change> changes = {{.kind = Change::Kind::kPut,
                                  .key = nvme::NamespaceKey(kNamespace),
                                  .value = nvme::NamespaceValue(space)}};
  for (std::uint64_t first = 0; first < entries; first += kSyntheticChainBlocks) {
    const std::uint64_t count = std::min<std::uint64_t>(kSyntheticChainBlocks, entries - first);
    AppendChain(first, count, superblock, changes);
    if (changes.size() < kBatchEntries && first + count < entries) continue;
    if (Status status = index.Write(changes, false); !status.ok()) return status;
    changes.clear();
  }
  return index.Sync();
}

}  // namespace

NamespaceDescriptor SyntheticNamespace() {
  NamespaceDescriptor descriptor = BenchNamespace(kSyntheticBlockBytes);
  descriptor.name = "synthetic";
  return descriptor;
}

Chain SyntheticChain(std::uint64_t number) { return BenchChain(kSyntheticChainBlocks, number + 1); }

std::uint64_t SyntheticLogBytes(std::uint64_t entries) noexcept {
  constexpr std::uint64_t kGranule = 256 << 20;
  const std::uint64_t used = entries * kRecordPages * nvme::kPageBytes;
  return (used + used / 4 + kGranule - 1) / kGranule * kGranule;
}

Status WriteSyntheticIndex(const std::string& folder, std::uint64_t entries) {
  const std::string log = folder + "/" + kLogName;
  const Result<nvme::Superblock> superblock = ReadSuperblock(log);
  if (!superblock.ok()) return superblock.status();
  const std::uint64_t per_segment = RecordsPerSegment(*superblock);
  const std::uint64_t segments = (entries + per_segment - 1) / per_segment;
  if (superblock->devices != 1 || superblock->slices != 1 || segments >= superblock->segments) {
    return Status::Invalid(log + " has " + std::to_string(superblock->devices) + " devices, " +
                           std::to_string(superblock->slices) + " slices and " +
                           std::to_string(superblock->segments) +
                           " segments; wanted are 1, 1 and more than " + std::to_string(segments));
  }
  if (Status status = WriteSegments(log, *superblock, segments); !status.ok()) return status;
  RocksDbIndexStoreOptions options;
  options.path = folder + "/" + kIndexName;
  const Result<std::unique_ptr<RocksDbIndexStore>> index = RocksDbIndexStore::Open(options);
  if (!index.ok()) return index.status();
  return WriteEntries(**index, *superblock, entries);
}

}  // namespace terrace::bench
