#include "tools/replay/simulate/simulated_tiers.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"

namespace terrace::replay {
namespace {

/// As in cache/evict.cc: what may leave is passed over for no other reason here.
constexpr int kGuardedMax = 1024 + 64;
/// Blocks of a request in transfer at once, which are pinned: cache.window_per_request.
constexpr std::uint32_t kWindow = 4;

}  // namespace

SimulatedTiers::SimulatedTiers(const SimulatedTiersOptions& options)
    : curve_(options.curve),
      block_units_(options.block_units),
      run_blocks_(options.run_blocks),
      records_per_segment_(options.nvme_records_per_segment),
      places_(options.distinct_blocks),
      has_record_(options.distinct_blocks, false),
      gets_(options.distinct_blocks, 0) {
  TERRACE_CHECK(options.slices >= 1 && options.run_blocks >= 1);
  TERRACE_CHECK(options.nvme_segments == 0 ||
                (options.nvme_segments >= 2 && options.nvme_records_per_segment >= 1));
  TERRACE_CHECK(options.block_units.empty() ||
                (options.nvme_segments == 0 && options.curve == nullptr));
  if (options.nvme_write_share > 0) {
    parent_of_.assign(options.distinct_blocks, kNoBlock);
    value_.assign(options.distinct_blocks, 0);
    partial_.assign(options.distinct_blocks, false);
  }
  // More room than there are blocks changes nothing, and would only cost memory.
  const std::uint64_t blocks =
      std::min<std::uint64_t>(options.dram_blocks / options.slices, options.distinct_blocks);
  for (std::uint32_t index = 0; index < options.slices; ++index) {
    Slice& slice = slices_.emplace_back();
    slice.policy = options.policy->make(std::max<std::uint64_t>(blocks, 1));
    slice.block_of.assign(blocks, 0);
    slice.free_units = options.block_units.empty() ? blocks : options.dram_blocks / options.slices;
    for (std::uint64_t slot = blocks; slot > 0; --slot) {
      slice.free.push_back(static_cast<BlockId>(slot - 1));
    }
    slice.segments.resize(options.nvme_segments);
    if (options.nvme_write_share > 0 && options.nvme_segments > 0) {
      slice.price.emplace(options.nvme_write_share,
                          options.nvme_segments * options.nvme_records_per_segment);
    }
  }
}

SimulatedTiers::~SimulatedTiers() = default;

std::size_t SimulatedTiers::SliceOf(std::span<const std::uint32_t> chain,
                                    std::uint32_t position) const {
  // As good a spread as the daemon's hash of the placement key, though not the same one.
  constexpr std::uint64_t kSpread = 0x9e3779b97f4a7c15;
  const std::uint64_t placement = chain[position - position % run_blocks_];
  return ((placement + 1) * kSpread >> 32) % slices_.size();
}

std::uint32_t SimulatedTiers::Match(std::span<const std::uint32_t> chain) const {
  const auto absent =
      std::ranges::find(chain, false, [this](std::uint32_t block) { return Stored(block); });
  return static_cast<std::uint32_t>(absent - chain.begin());
}

bool SimulatedTiers::EndsPartial(std::span<const std::uint32_t> chain, std::uint32_t position,
                                 const RequestOrigin& origin) {
  return origin.ends_partial && position + 1 == chain.size();
}

void SimulatedTiers::ShowCurve(CurveUse use, std::span<const std::uint32_t> chain,
                               std::uint32_t first, std::uint32_t count,
                               const RequestOrigin& origin) {
  if (curve_ == nullptr || count == 0) return;
  const auto hash_of = [](std::uint32_t block) {
    return HashBytes128(std::as_bytes(std::span(&block, 1)));
  };
  std::optional<Hash128> parent;
  if (first > 0) parent = hash_of(chain[first - 1]);
  curve_->Begin(use, 1, kSimulatedBlockBytes, parent, origin.facts);
  for (std::uint32_t position = first; position < first + count; ++position) {
    curve_->Add(hash_of(chain[position]), Stored(chain[position]), position,
                first + count - 1 - position,
                use == CurveUse::kPut && EndsPartial(chain, position, origin));
  }
  curve_->End();
}

void SimulatedTiers::Split(std::span<const std::uint32_t> chain, std::uint32_t first,
                           std::uint32_t count) {
  for (Slice& slice : slices_) {
    slice.positions.clear();
    slice.present.clear();
    slice.extends = false;
  }
  for (std::uint32_t position = first; position < first + count; ++position) {
    Slice& slice = slices_[SliceOf(chain, position)];
    slice.positions.push_back(position);
    const BlockId slot = places_[chain[position]].slot;
    if (slot != kNoBlock) slice.present.push_back(slot);
  }
}

SimulatedHits SimulatedTiers::Get(std::span<const std::uint32_t> chain, std::uint32_t first,
                                  std::uint32_t count, const RequestOrigin& origin) {
  ShowCurve(CurveUse::kGet, chain, first, count, origin);
  ++request_number_;
  Split(chain, first, count);
  for (Slice& slice : slices_) slice.policy->Touch(slice.present, origin.facts);
  SimulatedHits hits;
  for (std::uint32_t position = first; position < first + count; ++position) {
    const std::uint32_t block = chain[position];
    if (position > 0) places_[chain[position - 1]].guarded = request_number_;
    // Looked up at its turn: the promotion of an earlier block may have taken its slot.
    if (!Stored(block)) continue;
    if (InDram(block)) {
      ++hits.dram;
    } else {
      ++hits.nvme;
      // Without room: no matter.
      Slice& slice = slices_[SliceOf(chain, position)];
      NewBlock back{
          .identity = block, .position = position, .returns = true, .request = origin.facts};
      if (Insert(slice, chain, back) && slice.price) slice.price->Came(1, false);
    }
    if (gets_[block] < kReinsertGets) ++gets_[block];
    NoteUse(slices_[SliceOf(chain, position)], block);
    if (hits.leading == position - first) ++hits.leading;
  }
  return hits;
}

std::uint32_t SimulatedTiers::Put(std::span<const std::uint32_t> chain, std::uint32_t first,
                                  std::uint32_t count, const RequestOrigin& origin) {
  ShowCurve(CurveUse::kPut, chain, first, count, origin);
  ++request_number_;
  Split(chain, first, count);
  for (Slice& slice : slices_) {
    if (!slice.positions.empty()) PutSlice(slice, chain, origin);
  }
  return std::min(Match(chain.subspan(first)), count);
}

void SimulatedTiers::PutSlice(Slice& slice, std::span<const std::uint32_t> chain,
                              const RequestOrigin& origin) {
  slice.policy->Touch(slice.present, origin.facts);
  for (const BlockId slot : slice.present) {
    places_[slice.block_of[slot]].guarded = request_number_;
    NoteUse(slice, slice.block_of[slot]);
  }
  for (const std::uint32_t position : slice.positions) {
    if (position > 0) places_[chain[position - 1]].guarded = request_number_;
  }
  for (const std::uint32_t position : slice.positions) {
    // Looked up at its turn: a block that was there may have made room for an earlier one of this
    // request meanwhile.
    const std::uint32_t block = chain[position];
    if (Stored(block)) continue;
    NewBlock as_new{.identity = block,
                    .position = position,
                    .behind = slice.positions.back() - position,
                    .partial = EndsPartial(chain, position, origin),
                    .request = origin.facts};
    if (!Insert(slice, chain, as_new)) return;
    ++stored_;
    ++blocks_put_;
    if (!slice.price) {
      Append(slice, block);
      continue;
    }
    slice.price->Came(1, true);
    partial_[block] = as_new.partial;
    parent_of_[block] = position > 0 && &slices_[SliceOf(chain, position - 1)] == &slice
                            ? chain[position - 1]
                            : kNoBlock;
    NoteUse(slice, block);
    if (WritePrice::Unknown(value_[block])) Append(slice, block);
  }
}

bool SimulatedTiers::Insert(Slice& slice, std::span<const std::uint32_t> chain, NewBlock& block) {
  const std::uint32_t position = block.position;
  while (slice.free.empty() || slice.free_units < UnitsOf(chain[position])) {
    if (!Evict(slice, chain, position)) return false;
  }
  const BlockId slot = slice.free.back();
  slice.free.pop_back();
  slice.free_units -= UnitsOf(chain[position]);
  block.block = slot;
  if (position > 0 && &slices_[SliceOf(chain, position - 1)] == &slice) {
    block.parent = places_[chain[position - 1]].slot;
  }
  if (!block.returns && !slice.extends) {
    identities_.clear();
    for (const std::uint32_t at : slice.positions) {
      if (at >= position) identities_.push_back(chain[at]);
    }
    slice.facts = slice.policy->Extend({.parent = block.parent,
                                        .position = position,
                                        .blocks = static_cast<std::uint32_t>(identities_.size()),
                                        .identities = identities_,
                                        .request = block.request});
    slice.extends = true;
  }
  if (!block.returns) block.request = slice.facts;
  slice.policy->Insert(block);
  slice.block_of[slot] = chain[position];
  places_[chain[position]].slot = slot;
  places_[chain[position]].guarded = request_number_;
  ++in_dram_;
  return true;
}

BlockId SimulatedTiers::FindVictim(Slice& slice, std::span<const std::uint32_t> in_transfer) const {
  BlockId victim = slice.policy->First();
  for (int looked = 0; looked < kGuardedMax && victim != kNoBlock; ++looked) {
    const std::uint32_t block = slice.block_of[victim];
    if (places_[block].guarded != request_number_) return victim;
    const bool pinned = std::ranges::find(in_transfer, block) != in_transfer.end();
    if (HasRecord(block) && !pinned) return victim;
    victim = slice.policy->After(victim);
  }
  return kNoBlock;
}

bool SimulatedTiers::Evict(Slice& slice, std::span<const std::uint32_t> chain,
                           std::uint32_t position) {
  const std::uint32_t before = std::min(position, kWindow - 1);
  BlockId victim = FindVictim(slice, chain.subspan(position - before, before));
  // Transfers end, and then their blocks may go.
  if (victim == kNoBlock) victim = FindVictim(slice, {});
  if (victim == kNoBlock) return false;
  const std::uint32_t block = slice.block_of[victim];
  if (slice.price) Offer(slice, victim);
  if (slice.price) value_[block] = static_cast<float>(ValueOf(slice, victim));
  slice.policy->Evict(victim);
  places_[block].slot = kNoBlock;
  slice.free.push_back(victim);
  slice.free_units += UnitsOf(block);
  ++evictions_;
  --in_dram_;
  if (!HasRecord(block)) CountGone();
  return true;
}

double SimulatedTiers::ValueOf(const Slice& slice, BlockId slot) const {
  const double reuse = slice.policy->ReuseWithin(slot, slice.price->Horizon());
  if (WritePrice::Unknown(reuse)) return reuse;
  const double saved = reuse * slice.policy->CostFactor(slot);
  return WritePrice::Known(partial_[slice.block_of[slot]] ? saved / 2 : saved);
}

void SimulatedTiers::NoteUse(Slice& slice, std::uint32_t block) {
  if (!slice.price || !InDram(block)) return;
  value_[block] = static_cast<float>(ValueOf(slice, places_[block].slot));
}

void SimulatedTiers::Offer(Slice& slice, BlockId slot) {
  std::vector<std::uint32_t> chain;
  for (std::uint32_t next = slice.block_of[slot];
       next != kNoBlock && !HasRecord(next) && InDram(next); next = parent_of_[next]) {
    chain.push_back(next);
  }
  if (chain.empty()) return;  // it has a record
  const std::uint32_t parent = parent_of_[chain.back()];
  const bool orphan = parent != kNoBlock && !Stored(parent);
  if (!slice.price->Offer(ValueOf(slice, slot), 1) || orphan) {
    ++blocks_refused_;
    return;
  }
  // Those before it first: without them it is of no use.
  for (; !chain.empty(); chain.pop_back()) Append(slice, chain.back());
}

bool SimulatedTiers::WorthKeeping(const Slice& slice, std::uint32_t block) const {
  if (!slice.price || WritePrice::Unknown(value_[block])) return gets_[block] >= kReinsertGets;
  return gets_[block] >= kReinsertGetsKnown && slice.price->Pays(value_[block]);
}

void SimulatedTiers::CountGone() {
  ++gone_;
  --stored_;
}

void SimulatedTiers::Append(Slice& slice, std::uint32_t block) {
  if (slice.segments.empty()) return;
  if (slice.segments[slice.current].size() == records_per_segment_) {
    TERRACE_CHECK(slice.next_is_reclaimed);
    slice.current = (slice.current + 1) % slice.segments.size();
    slice.next_is_reclaimed = false;
  }
  Write(slice, block);
  const std::uint64_t records = slice.segments[slice.current].size();
  if (!slice.next_is_reclaimed && 2 * records > records_per_segment_) Reclaim(slice);
}

void SimulatedTiers::Write(Slice& slice, std::uint32_t block) {
  slice.segments[slice.current].push_back(block);
  has_record_[block] = true;
  gets_[block] = 0;
  if (slice.price) slice.price->Wrote(1);
  ++blocks_written_;
}

void SimulatedTiers::Reclaim(Slice& slice) {
  slice.next_is_reclaimed = true;
  const std::vector<std::uint32_t> blocks =
      std::exchange(slice.segments[(slice.current + 1) % slice.segments.size()], {});
  std::uint64_t budget = records_per_segment_ / 4;
  for (const std::uint32_t block : blocks) {
    const bool room = slice.segments[slice.current].size() < records_per_segment_;
    if (WorthKeeping(slice, block) && budget > 0 && room) {
      --budget;
      Write(slice, block);
      ++blocks_reinserted_;
    } else {
      has_record_[block] = false;
      if (!InDram(block)) CountGone();
    }
  }
}

}  // namespace terrace::replay
