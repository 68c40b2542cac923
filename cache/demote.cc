// Which blocks of DRAM go to NVMe when only those are written that are worth it (write_price.h):
// published -> looked at when it comes close to eviction -> queued with its ancestors, or refused.
//
// Without that, or where the policy knows nothing of a block, it is queued when it is published.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/counter.h"
#include "cache/nvme_side.h"

namespace terrace {

namespace {
/// Ancestors that are written with a block at once; those above have been there for longer, and are
/// looked at in their turn.
constexpr std::size_t kAncestorsMax = 1024;
}  // namespace

void NvmeSide::OnPublished(BlockId id, KeyView placement, bool durable) {
  NotDurable declined = NotDurable::kNone;
  if (price) {
    price->Came((*cache.index)[id].block_bytes, true);
    placements.Keep(id, cache.index->ParentOf(id), placement);
    NoteUse(id);
    if (!durable && !closing && !WritePrice::Unknown(ValueOf(id))) return;
  }
  (void)Queue(id, placement, durable, &declined);
  // A put that asked for DURABLE asks again when it waits for it, and hears of a refusal then.
  if (declined != NotDurable::kNone && !durable) tier.CountDeclined(declined);
}

double NvmeSide::ValueOf(BlockId id) const {
  const double reuse = cache.policy->ReuseWithin(id, price->Horizon());
  if (WritePrice::Unknown(reuse)) return reuse;
  const BlockEntry& entry = (*cache.index)[id];
  const Namespace* space = cache.registry.Find(entry.namespace_id);
  if (space == nullptr || space->spec.block_tokens == 0) return reuse;
  return reuse * entry.valid_tokens / space->spec.block_tokens;
}

void NvmeSide::NoteUse(BlockId id) {
  if (!price) return;
  cache.index->SetValue(id, WritePrice::ToByte(ValueOf(id)));
  cache.index->SetRefused(id, false);
}

void NvmeSide::OnPromoted(BlockId id, KeyView placement) {
  if (!price) return;
  price->Came((*cache.index)[id].block_bytes, false);
  placements.Keep(id, cache.index->ParentOf(id), placement);
  NoteUse(id);
}

void NvmeSide::OnEvict(BlockId id) {
  if (!price) return;
  if (!Waits(id) && (MayBeWritten(id) || (*cache.index)[id].refused)) {
    Count(cache.counters.nvme_refused_blocks);
    Count(cache.counters.nvme_refused_bytes, (*cache.index)[id].block_bytes);
  }
  cache.index->SetValue(id, WritePrice::ToByte(ValueOf(id)));
  placements.Drop(id);
}

bool NvmeSide::MayBeWritten(BlockId id) const {
  if (Waits(id)) return true;
  const BlockEntry& entry = (*cache.index)[id];
  return price && !entry.refused && !entry.record.exists() && placements.Has(id);
}

void NvmeSide::LookAhead(bool no_room) {
  if (!price || closing) return;
  const std::uint64_t blocks = cache.index->in_dram();
  const std::uint64_t window = DemotionWindow(blocks);
  const ArenaStats arena = cache.arena->Stats();
  const bool near = blocks == 0 || (arena.capacity_bytes - arena.used_bytes) / window <
                                       arena.used_bytes / std::max<std::uint64_t>(blocks, 1);
  if (!no_room && !near) return;
  if (++since_looked_ahead < window / 2) return;
  since_looked_ahead = 0;
  BlockId id = cache.policy->First();
  for (std::uint64_t looked = 0; looked < window && id != kNoBlock; ++looked) {
    Demote(id);
    id = cache.policy->After(id);
  }
  cache.counters.nvme_price_ppm.store(static_cast<std::uint64_t>(price->price() * 1e6),
                                      std::memory_order_relaxed);
}

void NvmeSide::Demote(BlockId id) {
  const BlockEntry& entry = (*cache.index)[id];
  if (entry.state != BlockState::kPublished || Waits(id) || !MayBeWritten(id)) return;
  if (!price->Offer(ValueOf(id), entry.block_bytes) || !QueueChain(id)) {
    cache.index->SetRefused(id, true);
  }
}

bool NvmeSide::QueueChain(BlockId id) {
  std::vector<BlockId> chain;
  for (BlockId next = id; next != kNoBlock && chain.size() < kAncestorsMax;
       next = cache.index->ParentOf(next)) {
    const BlockEntry& entry = (*cache.index)[next];
    const bool missing = entry.state == BlockState::kPublished && entry.InDram() &&
                         !entry.record.exists() && !Waits(next) && placements.Has(next);
    if (!missing) break;
    chain.push_back(next);
  }
  // The parent of the first was known and is on no tier any more: nobody will find these.
  if (!chain.empty() && (*cache.index)[chain.back()].parent != kNoBlock &&
      cache.index->ParentOf(chain.back()) == kNoBlock) {
    return false;
  }
  // Those before it first: without them it is of no use.
  for (; !chain.empty(); chain.pop_back()) {
    NotDurable declined = NotDurable::kNone;
    const auto write = Queue(chain.back(), placements.Of(chain.back()), false, &declined);
    if (write == nullptr) {
      tier.CountDeclined(declined);
      return false;
    }
    write->reason = WriteReason::kDemoted;
  }
  return true;
}

void NvmeSide::QueueWhatIsWorthIt() {
  if (!price) return;
  std::vector<std::pair<double, BlockId>> worth;
  for (BlockId id = cache.policy->First(); id != kNoBlock; id = cache.policy->After(id)) {
    const BlockEntry& entry = (*cache.index)[id];
    if (entry.state != BlockState::kPublished || entry.record.exists() || Waits(id)) continue;
    if (!placements.Has(id)) continue;
    const double value = ValueOf(id);
    if (value >= price->price()) worth.emplace_back(value, id);
  }
  std::ranges::sort(worth, std::greater<>());
  for (const auto& [value, id] : worth) {
    if (!Waits(id)) (void)QueueChain(id);
  }
}

bool NvmeSide::WorthKeeping(BlockId id) const {
  const BlockEntry& entry = (*cache.index)[id];
  if (cache.policy->Keeps(id) || cache.leases.Marks(id)) return true;
  const double value = WritePrice::FromByte(entry.value);
  if (!price || WritePrice::Unknown(value)) return entry.gets >= kReinsertGets;
  return entry.gets >= kReinsertGetsKnown && price->Pays(value);
}

}  // namespace terrace
