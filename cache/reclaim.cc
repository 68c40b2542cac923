// When the log reuses a segment, and when a start finds what an earlier run left.
#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "base/canary.h"
#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"
#include "base/wait.h"
#include "cache/hbm_side.h"
#include "cache/nvme_side.h"

namespace terrace {

namespace {
/// Of a segment, at most this share is written again: the rest must become free.
constexpr std::uint64_t kReinsertShare = 4;
/// Blocks moved at once: enough to share the sync that each waits for, and bytes of them: enough to
/// keep the device busy, few enough that a get beside them waits for little.
constexpr std::uint64_t kReinsertsAtOnceMax = 32;
constexpr std::uint64_t kReinsertBytesAtOnce = 2 << 20;
/// Blocks looked at for one that is on NVMe only, when the index is full.
constexpr std::size_t kForgetLooksMax = 4096;
/// Blocks handled without a wait before others run.
constexpr std::size_t kYieldEvery = 1024;
}  // namespace

void NvmeSide::SetRecord(BlockId id, const nvme::RecordPlace& place) {
  const bool new_to_nvme = !(*cache.index)[id].record.exists();
  cache.index->SetRecord(id, place);
  cache.index->SetRefused(id, false);
  if (new_to_nvme) cache.TellMoved(id);
  segments[place.segment()].push_back(id);
  cache.CountBlocks();
}

void NvmeSide::DropRecord(BlockId id) {
  const BlockEntry& entry = (*cache.index)[id];
  if (entry.InDram() || (cache.hbm != nullptr && cache.hbm->Holds(id))) {
    if (entry.InDram()) cache.leases.PinMarked(id);
    cache.index->SetRecord(id, {});
    cache.TellMoved(id);
    cache.CountBlocks();
    return;
  }
  Count(cache.counters.nvme_evictions);
  cache.Forget(id, EventCause::kEvicted, MissReason::kNvmeReused);
}

bool NvmeSide::LiesIn(BlockId id, std::uint32_t segment) const {
  const BlockEntry& entry = (*cache.index)[id];
  return entry.state == BlockState::kPublished && entry.record.exists() &&
         entry.record.segment() == segment;
}

Task<bool> NvmeSide::Reinsert(BlockId id) {
  const BlockEntry& entry = (*cache.index)[id];
  const nvme::RecordPlace place = entry.record;
  const Locator locator = entry.locator();
  const auto names = [this, id, &place, &locator] {
    if (CanaryIs(Canary::kMoveStaleRecord)) return true;
    return StillIs(id, locator) && (*cache.index)[id].record == place;
  };
  const std::uint64_t bytes = (nvme::RecordPages(entry.block_bytes) - 1) * nvme::kPageBytes;
  const nvme::Pages moving = nvme::AllocatePages(bytes);
  const std::span<std::byte> payload(moving.get(), bytes);
  const nvme::PagePool::Page page = tier.pages().Take();
  auto& header = page.Make<nvme::RecordHeader>();
  // The log waits for it: it must not stand behind what clients read.
  const Status read = co_await tier.Read(place, &header, payload, false);
  if (!read.ok() || !names() || !Describes(header, id)) co_return false;
  header.sequence = 0;
  nvme::NvmeTier::WriteRequest request;
  request.header = &header;
  request.payload = payload;
  request.room = nvme::SegmentLog::Room::kWhatIsLeft;
  request.still_wanted = names;
  const nvme::NvmeTier::Written written = co_await tier.Write(std::move(request));
  if (!written.place.exists() || !names() || !tier.log().Lasts(written.place)) co_return false;
  SetRecord(id, written.place);
  if (price) price->Wrote((*cache.index)[id].block_bytes);
  CountWritten(WriteReason::kReinserted, (*cache.index)[id].block_bytes);
  cache.index->ForgetGets(id);
  co_return true;
}

/// Lives in the frame of Reclaim.
struct NvmeSide::ReclaimState {
  std::uint32_t segment = 0;
  std::vector<BlockId> blocks;
  std::size_t next = 0;
  std::uint64_t pages_left = 0;  ///< of those that may be written again
};

Task<void> NvmeSide::Reclaim(std::uint32_t segment) {
  CrashHere(CrashPoint::kReclaimBegun);
  ReclaimState state{.segment = segment,
                     .blocks = std::exchange(segments[segment], {}),
                     .next = 0,
                     .pages_left = tier.log().PagesOfSegment() / kReinsertShare};
  // What is leased first: it may be more than is written again. Else in their order on the device.
  std::vector<BlockId> leased;
  std::ranges::copy_if(state.blocks, std::back_inserter(leased),
                       [this](BlockId id) { return cache.leases.Marks(id); });
  std::erase_if(state.blocks, [this](BlockId id) { return cache.leases.Marks(id); });
  state.blocks.insert(state.blocks.begin(), leased.begin(), leased.end());
  std::uint64_t largest = 1;
  for (const BlockId id : state.blocks) {
    largest = std::max<std::uint64_t>(largest, (*cache.index)[id].block_bytes);
  }
  const std::uint64_t at_once =
      std::clamp<std::uint64_t>(kReinsertBytesAtOnce / largest, 1, kReinsertsAtOnceMax);
  TaskScope workers;
  for (std::uint64_t worker = 0; worker < at_once; ++worker) workers.Spawn(ReclaimWorker(state));
  co_await workers.Join();
  // What was DURABLE in its old place is so in the new one already (nvme_tier.h, T1).
  CrashHere(CrashPoint::kReclaimMoved);
}

Task<void> NvmeSide::ReclaimWorker(ReclaimState& state) {
  while (state.next < state.blocks.size()) {
    if (state.next % kYieldEvery == kYieldEvery - 1) co_await Yield{};
    if (state.next == state.blocks.size()) break;
    const BlockId id = state.blocks[state.next++];
    if (!LiesIn(id, state.segment)) continue;
    const BlockEntry& entry = (*cache.index)[id];
    const std::uint64_t pages = nvme::RecordPages(entry.block_bytes);
    if (WorthKeeping(id) && pages <= state.pages_left) {
      const NotDurable declined = tier.Admit(entry.block_bytes);
      if (declined != NotDurable::kNone) {
        tier.CountDeclined(declined);
      } else {
        state.pages_left -= pages;
        if (co_await Reinsert(id) || !LiesIn(id, state.segment)) continue;
      }
    }
    DropRecord(id);
  }
}

void NvmeSide::OnLane(std::uint32_t lane, bool online, const std::string& why) {
  if (on_device) on_device(tier.log().NameOf(lane), online, why);
}

bool NvmeSide::ForgetOldest() {
  std::size_t looked = 0;
  for (std::uint32_t lane = 0; lane < tier.log().lanes(); ++lane) {
    const std::uint32_t ring = tier.log().segments() / tier.log().lanes();
    const std::uint32_t first = tier.log().OldestSegment(lane) % ring;
    for (std::uint32_t step = 0; step < ring; ++step) {
      const std::uint32_t segment = lane * ring + (first + step) % ring;
      std::vector<BlockId>& blocks = segments[segment];
      for (std::size_t i = blocks.size(); i-- > 0;) {
        if (++looked > kForgetLooksMax) return false;
        const BlockId id = blocks[i];
        const BlockEntry& entry = (*cache.index)[id];
        const bool here = LiesIn(id, segment);
        // One that is in DRAM as well keeps both: it may have been promised, and is worth more. Nor
        // does a block go that is leased, or that a label keeps.
        if (here && (entry.InDram() || cache.leases.Marks(id) || cache.policy->Keeps(id))) continue;
        blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(i));
        if (!here) continue;
        Count(cache.counters.index_evictions);
        tier.DropEntry(entry.namespace_id, entry.hash);
        Count(cache.counters.nvme_evictions);
        cache.Forget(id, EventCause::kEvicted, MissReason::kIndexFull);
        return true;
      }
    }
  }
  return false;
}

bool NvmeSide::Know(const nvme::IndexedNamespace& found) {
  const Namespace* space = cache.registry.Find(found.id);
  if (space == nullptr) {
    return cache.registry.Adopt(found.id, found.tenant, found.name, found.fingerprint).ok();
  }
  return space->spec.tenant == found.tenant && space->spec.name == found.name &&
         space->fingerprint == found.fingerprint;
}

bool NvmeSide::Adopt(const nvme::IndexedBlock& found, std::uint64_t leave) {
  const Namespace* space = cache.registry.Find(found.namespace_id);
  const Locator locator{.namespace_id = found.namespace_id, .hash = found.hash};
  if (cache.index->Full()) {
    Count(cache.counters.index_evictions);
    cache.departed.Note(locator, MissReason::kIndexFull, cache.clock.Now());
  }
  if (space == nullptr || found.block_bytes < kBlockBytesMin ||
      found.block_bytes > kBlockBytesMax ||
      cache.index->used() + leave >= cache.index->capacity() ||
      cache.index->Find(locator) != kNoBlock) {
    return false;
  }
  const BlockId id =
      cache.index->Reserve(locator, kNoFrame, found.position, found.block_bytes, kNoBlock);
  cache.index->SetRecord(id, found.place);
  cache.index->Publish(id, found.valid_tokens, cache.Minute());
  segments[found.place.segment()].push_back(id);
  if (found.parent.low != 0 || found.parent.high != 0) parents.emplace_back(id, found.parent);
  return true;
}

Status NvmeSide::Recover(IndexStore& store, const nvme::ReadSlice& read) {
  const Status status =
      tier.Recover(store, read,
                   {.know = [this](const nvme::IndexedNamespace& found) { return Know(found); },
                    .adopt = [this](const nvme::IndexedBlock& found,
                                    std::uint64_t leave) { return Adopt(found, leave); }});
  for (const auto& [id, hash] : std::exchange(parents, {})) {
    const Locator locator{.namespace_id = (*cache.index)[id].namespace_id, .hash = hash};
    cache.index->SetParent(id, cache.index->Find(locator));
  }
  // In the order in which they were written: the first come first at the next Reclaim.
  for (std::vector<BlockId>& blocks : segments) {
    std::sort(blocks.begin(), blocks.end(), [this](BlockId left, BlockId right) {
      return (*cache.index)[left].record.page < (*cache.index)[right].record.page;
    });
  }
  cache.CountBlocks();
  return status;
}

}  // namespace terrace
