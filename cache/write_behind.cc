// From DRAM to NVMe: blocks that demote.cc chose are written in the order in which they were
// queued; by default every one is, soon after it is COMMITTED, so that DRAM can drop it without a
// write.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"
#include "cache/nvme_side.h"

namespace terrace {

namespace {
/// Blocks being written at once: those that are durable wait for a sync here, which they share.
constexpr std::size_t kWritersMax = 64;
/// Share of the arena that may wait to be written: it cannot be evicted well meanwhile.
constexpr std::uint64_t kQueueShare = 2;
/// Patience at the end for what waits to be written.
constexpr Nanos kCloseWait = 5 * kSecond;
constexpr Nanos kClosePoll = 5 * kMillisecond;
}  // namespace

NvmeSide::NvmeSide(Cache::Impl& the_cache, const nvme::NvmeTierOptions& options,
                   std::vector<nvme::LaneStart> lanes, nvme::IndexJournal& journal,
                   Scheduler& the_scheduler)
    : cache(the_cache),
      scheduler(the_scheduler),
      tier(options, std::move(lanes), *this, journal, the_scheduler),
      segments(tier.log().segments()),
      placements(the_cache.options.nvme_write_share > 0 ? the_cache.index->capacity() : 0) {
  cache.estimate.AddDevices(tier.log().lanes(), options.log.read_bytes_per_s);
  if (cache.options.nvme_write_share <= 0) return;
  cache.counters.nvme_share_ppm.store(
      static_cast<std::uint64_t>(cache.options.nvme_write_share * 1e6), std::memory_order_relaxed);
  price.emplace(cache.options.nvme_write_share, std::max<std::uint64_t>(tier.CapacityBytes(), 1));
}

void NvmeSide::CountWritten(WriteReason reason, std::uint64_t bytes) {
  Count(cache.counters.nvme_written_bytes[static_cast<std::size_t>(reason)], bytes);
}

bool NvmeSide::StillWanted(const Write& write) const {
  const auto found = pending.find(write.id);
  if (found == pending.end() || found->second.get() != &write) return false;
  return StillIs(write.id, write.locator) && (*cache.index)[write.id].InDram();
}

bool NvmeSide::StillIs(BlockId id, const Locator& locator) const {
  const BlockEntry& entry = (*cache.index)[id];
  return entry.state == BlockState::kPublished && entry.locator() == locator;
}

std::shared_ptr<NvmeSide::Write> NvmeSide::Queue(BlockId id, KeyView placement, bool durable,
                                                 NotDurable* declined) {
  const BlockEntry& entry = (*cache.index)[id];
  *declined = closing ? NotDurable::kOffline : tier.Admit(entry.block_bytes);
  if (*declined != NotDurable::kNone) return nullptr;
  if (queue_bytes + entry.block_bytes > cache.options.arena.capacity_bytes / kQueueShare) {
    *declined = NotDurable::kQueueFull;
    return nullptr;
  }
  auto write = std::make_shared<Write>();
  write->id = id;
  write->locator = entry.locator();
  write->bytes = entry.block_bytes;
  write->durable = durable;
  if (durable) write->reason = WriteReason::kDurable;
  if (price) price->Wrote(write->bytes);
  write->placement_bytes = static_cast<std::uint8_t>(placement.size());
  std::copy(placement.begin(), placement.end(), write->placement.begin());
  queue_bytes += write->bytes;
  cache.counters.write_queue_bytes.store(queue_bytes, std::memory_order_relaxed);
  pending[id] = write;
  queue.push_back(write);
  CrashHere(CrashPoint::kPutQueued);
  if (writers < kWritersMax) {
    ++writers;
    background.Spawn(WriteWorker());
  }
  return write;
}

Task<NotDurable> NvmeSide::MakeDurable(BlockId id, Locator locator, KeyView placement,
                                       Nanos deadline) {
  if (!StillIs(id, locator)) co_return NotDurable::kGone;
  std::shared_ptr<Write> write;
  if (const auto found = pending.find(id); found != pending.end()) {
    write = found->second;
  } else if (!(*cache.index)[id].record.exists()) {
    NotDurable declined = NotDurable::kNone;
    write = Queue(id, placement, true, &declined);
    if (write == nullptr) co_return declined;
  }
  if (write != nullptr) {
    const bool counted = !write->begun || write->durable;
    write->durable = write->durable || !write->begun;
    Event ended;
    if (!write->ended) {
      write->waiters.push_back(&ended);
      const bool in_time = co_await ended.WaitUntil(deadline);
      std::erase(write->waiters, &ended);
      if (!in_time) co_return NotDurable::kTimeout;
    }
    if (counted || write->outcome != NotDurable::kNone) co_return write->outcome;
  }
  // Written without durability: sync its device.
  const BlockEntry& entry = (*cache.index)[id];
  if (!StillIs(id, locator) || !entry.record.exists()) co_return NotDurable::kGone;
  const auto synced = std::make_shared<Synced>();
  background.Spawn(SyncOne(synced, entry.record));
  const nvme::RecordPlace place = entry.record;
  const bool in_time = co_await synced->done.WaitUntil(deadline);
  const NotDurable outcome = in_time ? synced->outcome : NotDurable::kTimeout;
  if (outcome == NotDurable::kWriteFailed && StillIs(id, locator) && entry.record == place &&
      entry.InDram()) {
    // The record may have been lost with a sync that failed: write the block once more.
    cache.leases.PinMarked(id);
    cache.index->SetRecord(id, {});
    cache.TellMoved(id);
    cache.CountBlocks();
    co_return co_await MakeDurable(id, locator, placement, deadline);
  }
  co_return outcome;
}

Task<void> NvmeSide::SyncOne(std::shared_ptr<Synced> synced, nvme::RecordPlace place) {
  synced->outcome = co_await tier.SyncRecord(place);
  synced->done.Set();
}

Task<void> NvmeSide::WriteWorker() {
  while (!queue.empty()) {
    const std::shared_ptr<Write> write = queue.front();
    queue.pop_front();
    co_await WriteOne(write);
  }
  --writers;
}

Task<void> NvmeSide::WriteOne(std::shared_ptr<Write> write) {
  write->begun = true;
  if (!StillWanted(*write)) {
    End(*write, NotDurable::kGone);
    co_return;
  }
  const FrameId frame = (*cache.index)[write->id].frame;
  const FrameHeader& block = cache.arena->Header(frame);
  const Namespace* space = cache.registry.Find(block.namespace_id);
  TERRACE_CHECK(space != nullptr);
  const Hold pin = cache.arena->Pin(frame);
  const nvme::PagePool::Page page = tier.pages().Take();
  auto& header = page.Make<nvme::RecordHeader>();
  header.namespace_id = block.namespace_id;
  header.payload_bytes = block.block_bytes;
  header.group = block.group;
  header.shard = block.shard;
  header.position = block.position;
  header.valid_tokens = block.valid_tokens;
  header.fingerprint = {space->fingerprint.low, space->fingerprint.high};
  header.hash = {write->locator.hash.low, write->locator.hash.high};
  if (const BlockId parent = cache.index->ParentOf(write->id); parent != kNoBlock) {
    const Hash128& hash = (*cache.index)[parent].hash;
    header.parent = {hash.low, hash.high};
  }
  header.key_bytes = block.key_bytes;
  std::memcpy(header.key.data(), block.key, block.key_bytes);
  header.placement_bytes = write->placement_bytes;
  header.placement = write->placement;
  header.tenant_bytes = static_cast<std::uint8_t>(space->spec.tenant.size());
  std::memcpy(header.tenant.data(), space->spec.tenant.data(), space->spec.tenant.size());
  header.name_bytes = static_cast<std::uint8_t>(space->spec.name.size());
  std::memcpy(header.name.data(), space->spec.name.data(), space->spec.name.size());
  const std::span<const std::uint64_t> sums = cache.arena->Checksums(frame);
  std::copy(sums.begin(), sums.end(), header.checksums.begin());

  nvme::NvmeTier::WriteRequest request;
  request.header = &header;
  request.payload = cache.arena->PayloadPages(frame);
  request.durable = write->durable;
  request.still_wanted = [this, &write] { return StillWanted(*write); };
  const nvme::NvmeTier::Written written = co_await tier.Write(std::move(request));
  NotDurable outcome = written.not_durable;
  if (written.place.exists()) {
    // While it was synced and indexed the ring may have come round to its segment.
    if (StillWanted(*write) && tier.log().Lasts(written.place)) {
      SetRecord(write->id, written.place);
      CountWritten(write->reason, write->bytes);
      if (write->reason == WriteReason::kDemoted) cache.index->ForgetGets(write->id);
    } else {
      outcome = NotDurable::kGone;
    }
  }
  // Else whoever asked for DURABLE hears of it, or has it written again, and counts what it
  // answers.
  if (outcome != NotDurable::kNone && !write->durable) tier.CountDeclined(outcome);
  End(*write, outcome);
}

void NvmeSide::End(Write& write, NotDurable outcome) {
  const auto found = pending.find(write.id);
  if (found != pending.end() && found->second.get() == &write) pending.erase(found);
  queue_bytes -= write.bytes;
  if (write.reason == WriteReason::kDemoted) --demoting;
  if (price && outcome != NotDurable::kNone) price->Unwrote(write.bytes);
  cache.counters.write_queue_bytes.store(queue_bytes, std::memory_order_relaxed);
  write.ended = true;
  write.outcome = outcome;
  for (Event* waiter : std::exchange(write.waiters, {})) waiter->Set();
}

void NvmeSide::OnForget(BlockId id) {
  pending.erase(id);
  if (price) placements.Drop(id);
}

Task<void> NvmeSide::Close() {
  QueueWhatIsWorthIt();
  closing = true;
  const Nanos end = scheduler.Now() + kCloseWait;
  while ((!queue.empty() || writers > 0) && scheduler.Now() < end) {
    co_await SleepUntil{scheduler.Now() + kClosePoll};
  }
  CrashHere(CrashPoint::kStopDrained);
  for (const std::shared_ptr<Write>& write : std::exchange(queue, {})) {
    if (!write->durable) tier.CountDeclined(NotDurable::kTimeout);
    End(*write, NotDurable::kTimeout);
  }
  co_await tier.Close();
  co_await background.Join();
}

}  // namespace terrace
