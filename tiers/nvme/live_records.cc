#include "tiers/nvme/live_records.h"

#include <algorithm>

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

void LiveRecords::Add(const RecordHeader& header, const RecordPlace& place) {
  if (header.kind == RecordKind::kClear) {
    std::uint64_t& sequence = clears_[header.namespace_id];
    sequence = std::max(sequence, header.sequence);
    return;
  }
  Last& last = last_[{header.namespace_id, {.low = header.hash[0], .high = header.hash[1]}}];
  if (header.sequence <= last.sequence) return;
  last.sequence = header.sequence;
  last.place = header.kind == RecordKind::kBlock ? place : RecordPlace();
  last.block_bytes = static_cast<std::uint32_t>(header.payload_bytes);
  last.position = header.position;
  last.valid_tokens = header.valid_tokens;
  last.parent = {.low = header.parent[0], .high = header.parent[1]};
}

bool LiveRecords::Cleared(std::uint32_t namespace_id, std::uint64_t sequence) const {
  const auto at = clears_.find(namespace_id);
  return at != clears_.end() && sequence < at->second;
}

bool LiveRecords::IsLive(std::uint32_t namespace_id, const Hash128& hash,
                         std::uint64_t sequence) const {
  if (Cleared(namespace_id, sequence)) return false;
  const auto at = last_.find({namespace_id, hash});
  return at == last_.end() || sequence >= at->second.sequence;
}

void LiveRecords::Visit(const std::function<void(const IndexedBlock& block)>& visit) const {
  for (const auto& [name, last] : last_) {
    if (!last.place.exists() || Cleared(name.namespace_id, last.sequence)) continue;
    visit({.namespace_id = name.namespace_id,
           .hash = name.hash,
           .place = last.place,
           .sequence = last.sequence,
           .block_bytes = last.block_bytes,
           .position = last.position,
           .valid_tokens = last.valid_tokens,
           .parent = last.parent});
  }
}

std::uint64_t LiveRecords::CountLive() const {
  std::uint64_t count = 0;
  Visit([&count](const IndexedBlock& /*block*/) { ++count; });
  return count;
}

}  // namespace terrace::nvme
