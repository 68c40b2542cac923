// A block's record into the frame of its load: read -> verify -> compare -> fill in the header.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/counter.h"
#include "base/crash_point.h"
#include "cache/block_loads.h"
#include "cache/nvme_side.h"

namespace terrace {

bool NvmeSide::Describes(const nvme::RecordHeader& header, BlockId id) const {
  const BlockEntry& entry = (*cache.index)[id];
  const Namespace* space = cache.registry.Find(entry.namespace_id);
  if (space == nullptr || header.namespace_id != entry.namespace_id ||
      header.payload_bytes != entry.block_bytes || header.position != entry.position) {
    return false;
  }
  const Hash128 hash =
      HashLocator(cache.options.locator_hash, header.group, header.shard, header.Key());
  return hash == entry.hash && header.Tenant() == space->spec.tenant &&
         header.Name() == space->spec.name && header.fingerprint[0] == space->fingerprint.low &&
         header.fingerprint[1] == space->fingerprint.high;
}

void NvmeSide::FillFrame(const BlockLoads::Load& load, const nvme::RecordHeader& header,
                         TenantId tenant) {
  FrameHeader& frame = cache.arena->Header(load.frame);
  frame.namespace_id = header.namespace_id;
  frame.group = header.group;
  frame.shard = header.shard;
  frame.position = header.position;
  frame.valid_tokens = header.valid_tokens;
  frame.tenant = tenant;
  frame.key_bytes = header.key_bytes;
  std::memcpy(frame.key, header.key.data(), header.key_bytes);
  const std::span<const std::uint64_t> sums = header.Checksums();
  std::copy(sums.begin(), sums.end(), cache.arena->Checksums(load.frame).begin());
}

StatusCode NvmeSide::FinishLoad(BlockLoads::Load& load, const Status& status,
                                const nvme::RecordHeader& header) {
  CacheCounters& counters = cache.counters;
  if (load.abandoned) return StatusCode::kMiss;
  const BlockEntry& entry = (*cache.index)[load.id];
  const bool elsewhere = !(entry.record == load.place);
  if (status.code() == StatusCode::kExpired || (elsewhere && !status.ok())) {
    Count(counters.load_expired);
    return StatusCode::kPending;  // look again: it was moved, or lost its record
  }
  if (status.code() == StatusCode::kIo) {
    Count(counters.load_io_errors);
    return StatusCode::kMiss;
  }
  if (!status.ok() || !Describes(header, load.id)) {
    Count(status.ok() ? counters.load_mismatched : counters.load_corrupt);
    tier.DropEntry(entry.namespace_id, entry.hash);
    cache.Forget(load.id, EventCause::kCorrupt);
    return StatusCode::kMiss;
  }
  Count(counters.loads);
  FillFrame(load, header, cache.registry.Find(entry.namespace_id)->tenant_id);
  cache.loads->Keep(load, std::span(header.placement).first(header.placement_bytes));
  return StatusCode::kOk;
}

Task<StatusCode> NvmeSide::LoadRecord(std::shared_ptr<BlockLoads::Load> load) {
  const nvme::PagePool::Page page = tier.pages().Take();
  auto& header = page.Make<nvme::RecordHeader>();
  const std::uint32_t device = tier.log().LaneOf(load->place);
  const std::uint64_t bytes = cache.arena->Payload(load->frame).size();
  cache.estimate.BeginRead(device, bytes);
  const Status status =
      co_await tier.Read(load->place, &header, cache.arena->PayloadPages(load->frame));
  cache.estimate.EndRead(device, bytes, status.ok());
  CrashHere(CrashPoint::kLoadRead);
  co_return FinishLoad(*load, status, header);
}

}  // namespace terrace
