// Which blocks of DRAM go to NVMe when only those are written that are worth it (write_price.h):
// published -> offered when it is its turn to leave -> queued with its ancestors and passed over
// until it is written, or refused and gone.
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
/// Blocks that are passed over until they are written: an eighth of those in DRAM, within these.
/// When so many wait, the devices do not keep up.
constexpr std::uint64_t kDemotingShare = 8;
constexpr std::uint64_t kDemotingLeast = 64;
constexpr std::uint64_t kDemotingMost = 1024;
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
  const double saved = reuse * cache.policy->CostFactor(id);
  if (space == nullptr || space->spec.block_tokens == 0) return WritePrice::Known(saved);
  return WritePrice::Known(saved * entry.valid_tokens / space->spec.block_tokens);
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
  if ((*cache.index)[id].refused && !(*cache.index)[id].record.exists()) {
    Count(cache.counters.nvme_refused_blocks);
    Count(cache.counters.nvme_refused_bytes, (*cache.index)[id].block_bytes);
  }
  cache.index->SetValue(id, WritePrice::ToByte(ValueOf(id)));
  placements.Drop(id);
}

bool NvmeSide::Demoting(BlockId id) const {
  const auto write = pending.find(id);
  return write != pending.end() && write->second->reason == WriteReason::kDemoted;
}

bool NvmeSide::LetGo(BlockId id) {
  if (Waits(id)) return false;
  const BlockEntry& entry = (*cache.index)[id];
  if (!price || entry.refused || entry.record.exists() || !placements.Has(id)) return true;
  const std::uint64_t most =
      std::clamp(cache.index->in_dram() / kDemotingShare, kDemotingLeast, kDemotingMost);
  if (demoting >= most) {
    tier.CountDeclined(NotDurable::kQueueFull);
    return true;
  }
  const bool pays = price->Offer(ValueOf(id), entry.block_bytes);
  cache.counters.nvme_price_ppm.store(static_cast<std::uint64_t>(price->price() * 1e6),
                                      std::memory_order_relaxed);
  const NotDurable declined = pays ? QueueChain(id) : NotDurable::kNone;
  // What is declined now may be written when it is its turn again.
  if (!pays || declined == NotDurable::kGone) cache.index->SetRefused(id, true);
  return !pays || declined != NotDurable::kNone;
}

NotDurable NvmeSide::QueueChain(BlockId id) {
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
    return NotDurable::kGone;
  }
  // Those before it first: without them it is of no use.
  for (; !chain.empty(); chain.pop_back()) {
    NotDurable declined = NotDurable::kNone;
    const auto write = Queue(chain.back(), placements.Of(chain.back()), false, &declined);
    if (write == nullptr) {
      tier.CountDeclined(declined);
      return declined;
    }
    write->reason = WriteReason::kDemoted;
    ++demoting;
  }
  return NotDurable::kNone;
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
    const NotDurable declined = Waits(id) ? NotDurable::kNone : QueueChain(id);
    if (declined != NotDurable::kNone && declined != NotDurable::kGone) return;
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
