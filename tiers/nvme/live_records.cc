#include "tiers/nvme/live_records.h"

#include <algorithm>
#include <vector>

namespace terrace::nvme {

bool NamespaceTable::Add(const RecordHeader& header) {
  if (header.namespace_id == 0) return false;  // no namespace has it
  const auto [at, added] = spaces_.try_emplace(header.namespace_id);
  IndexedNamespace& space = at->second;
  const Hash128 fingerprint{.low = header.fingerprint[0], .high = header.fingerprint[1]};
  if (added) {
    space.id = header.namespace_id;
    space.tenant = header.Tenant();
    space.name = header.Name();
    space.fingerprint = fingerprint;
  }
  return space.tenant == header.Tenant() && space.name == header.Name() &&
         space.fingerprint == fingerprint;
}

IndexedBlock LiveRecords::BlockOf(const Name& name, const Record& record) {
  return {.namespace_id = name.namespace_id,
          .hash = name.hash,
          .place = record.place,
          .sequence = record.sequence,
          .block_bytes = record.block_bytes,
          .position = record.position,
          .valid_tokens = record.valid_tokens,
          .parent = record.parent};
}

void LiveRecords::AddRecord(const Name& name, Known& known, const Record& record) {
  const bool newer = record.sequence > known.newest.sequence;
  const Record& older = newer ? known.newest : record;
  if (older_kept_ && older.place.exists()) older_.emplace(name, older);
  if (newer) known.newest = record;
}

void LiveRecords::Add(const RecordHeader& header, const RecordPlace& place) {
  if (header.kind == RecordKind::kClear) {
    std::uint64_t& sequence = clears_[header.namespace_id];
    sequence = std::max(sequence, header.sequence);
    return;
  }
  const Name name{header.namespace_id, {.low = header.hash[0], .high = header.hash[1]}};
  Known& known = known_[name];
  if (header.kind == RecordKind::kRemoval) {
    known.removed = std::max(known.removed, header.sequence);
    return;
  }
  AddRecord(name, known,
            {.sequence = header.sequence,
             .place = place,
             .block_bytes = static_cast<std::uint32_t>(header.payload_bytes),
             .position = header.position,
             .valid_tokens = header.valid_tokens,
             .parent = {.low = header.parent[0], .high = header.parent[1]}});
}

void LiveRecords::EndNamed(std::uint32_t namespace_id, const Hash128& hash,
                           std::uint64_t sequence) {
  const auto at = known_.find({namespace_id, hash});
  if (at != known_.end()) at->second.removed = std::max(at->second.removed, sequence);
}

bool LiveRecords::AddNamed(const IndexedBlock& block) {
  const Name name{block.namespace_id, block.hash};
  const auto at = known_.find(name);
  if (at == known_.end() || !Counts(name, at->second)) return false;
  const auto [first, last] = older_.equal_range(name);
  const bool known = block.sequence == at->second.newest.sequence ||
                     std::any_of(first, last, [&block](const auto& older) {
                       return older.second.sequence == block.sequence;
                     });
  if (known) return true;
  AddRecord(name, at->second,
            {.sequence = block.sequence,
             .place = block.place,
             .block_bytes = block.block_bytes,
             .position = block.position,
             .valid_tokens = block.valid_tokens,
             .parent = block.parent});
  return true;
}

bool LiveRecords::Cleared(std::uint32_t namespace_id, std::uint64_t sequence) const {
  const auto at = clears_.find(namespace_id);
  return at != clears_.end() && sequence < at->second;
}

bool LiveRecords::Counts(const Name& name, const Known& known) const {
  return known.newest.place.exists() && known.newest.sequence > known.removed &&
         !Cleared(name.namespace_id, known.newest.sequence);
}

bool LiveRecords::Ends(std::uint32_t namespace_id, const Hash128& hash,
                       std::uint64_t sequence) const {
  if (Cleared(namespace_id, sequence)) return true;
  const auto at = known_.find({namespace_id, hash});
  return at != known_.end() && sequence < at->second.removed;
}

bool LiveRecords::IsLive(std::uint32_t namespace_id, const Hash128& hash,
                         std::uint64_t sequence) const {
  if (Ends(namespace_id, hash, sequence)) return false;
  const auto at = known_.find({namespace_id, hash});
  return at == known_.end() || sequence >= at->second.newest.sequence;
}

void LiveRecords::Visit(const std::function<void(const IndexedBlock& block)>& visit) const {
  for (const auto& [name, known] : known_) {
    if (Counts(name, known)) visit(BlockOf(name, known.newest));
  }
}

void LiveRecords::VisitAll(
    const std::function<void(std::span<const IndexedBlock> records)>& visit) const {
  std::vector<IndexedBlock> records;
  for (const auto& [name, known] : known_) {
    if (!Counts(name, known)) continue;
    records.assign(1, BlockOf(name, known.newest));
    const auto [first, last] = older_.equal_range(name);
    for (auto at = first; at != last; ++at) {
      if (Ends(name.namespace_id, name.hash, at->second.sequence)) continue;
      records.push_back(BlockOf(name, at->second));
    }
    std::sort(records.begin(), records.end(),
              [](const IndexedBlock& left, const IndexedBlock& right) {
                return left.sequence > right.sequence;
              });
    visit(records);
  }
}

std::uint64_t LiveRecords::CountLive() const {
  std::uint64_t count = 0;
  Visit([&count](const IndexedBlock& /*block*/) { ++count; });
  return count;
}

}  // namespace terrace::nvme
