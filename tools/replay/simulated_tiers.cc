#include "tools/replay/simulated_tiers.h"

#include <algorithm>

#include "base/check.h"

namespace terrace::replay {
namespace {

/// As in cache/evict.cc.
constexpr int kCandidatesMax = 64;

}  // namespace

SimulatedTiers::SimulatedTiers(const SimulatedTiersOptions& options)
    : run_blocks_(options.run_blocks),
      slot_of_(options.distinct_blocks, kNoBlock),
      guarded_(options.distinct_blocks, 0) {
  TERRACE_CHECK(options.slices >= 1 && options.run_blocks >= 1);
  // More room than there are blocks changes nothing, and would only cost memory.
  const std::uint64_t blocks =
      std::min<std::uint64_t>(options.dram_blocks / options.slices, options.distinct_blocks);
  for (std::uint32_t index = 0; index < options.slices; ++index) {
    Slice& slice = slices_.emplace_back();
    slice.policy = MakeLruPolicy(std::max<std::uint64_t>(blocks, 1));
    slice.block_of.assign(blocks, 0);
    for (std::uint64_t slot = blocks; slot > 0; --slot) {
      slice.free.push_back(static_cast<BlockId>(slot - 1));
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
      std::ranges::find(chain, kNoBlock, [this](std::uint32_t block) { return slot_of_[block]; });
  return static_cast<std::uint32_t>(absent - chain.begin());
}

void SimulatedTiers::Split(std::span<const std::uint32_t> chain, std::uint32_t first,
                           std::uint32_t count) {
  for (Slice& slice : slices_) {
    slice.positions.clear();
    slice.present.clear();
  }
  for (std::uint32_t position = first; position < first + count; ++position) {
    Slice& slice = slices_[SliceOf(chain, position)];
    slice.positions.push_back(position);
    const BlockId slot = slot_of_[chain[position]];
    if (slot != kNoBlock) slice.present.push_back(slot);
  }
}

std::uint32_t SimulatedTiers::Get(std::span<const std::uint32_t> chain, std::uint32_t first,
                                  std::uint32_t count) {
  Split(chain, first, count);
  std::size_t found = 0;
  for (Slice& slice : slices_) {
    slice.policy->Touch(slice.present);
    found += slice.present.size();
  }
  return static_cast<std::uint32_t>(found);
}

std::uint32_t SimulatedTiers::Put(std::span<const std::uint32_t> chain, std::uint32_t first,
                                  std::uint32_t count) {
  ++put_number_;
  Split(chain, first, count);
  for (Slice& slice : slices_) {
    if (!slice.positions.empty()) PutSlice(slice, chain);
  }
  return std::min(Match(chain.subspan(first)), count);
}

void SimulatedTiers::PutSlice(Slice& slice, std::span<const std::uint32_t> chain) {
  slice.policy->Touch(slice.present);
  for (const BlockId slot : slice.present) guarded_[slice.block_of[slot]] = put_number_;
  for (const std::uint32_t position : slice.positions) {
    if (position > 0) guarded_[chain[position - 1]] = put_number_;
  }
  for (const std::uint32_t position : slice.positions) {
    // A block that was there may have made room for an earlier one of this request meanwhile.
    if (slot_of_[chain[position]] != kNoBlock) continue;
    if (!Insert(slice, chain, position)) return;
  }
}

bool SimulatedTiers::Insert(Slice& slice, std::span<const std::uint32_t> chain,
                            std::uint32_t position) {
  if (slice.free.empty() && !Evict(slice)) return false;
  const BlockId slot = slice.free.back();
  slice.free.pop_back();
  BlockId parent = kNoBlock;
  if (position > 0 && &slices_[SliceOf(chain, position - 1)] == &slice) {
    parent = slot_of_[chain[position - 1]];
  }
  slice.policy->Insert(slot, parent);
  slice.block_of[slot] = chain[position];
  slot_of_[chain[position]] = slot;
  guarded_[chain[position]] = put_number_;
  ++stored_;
  return true;
}

bool SimulatedTiers::Evict(Slice& slice) {
  BlockId victim = slice.policy->First();
  for (int looked = 0; looked < kCandidatesMax && victim != kNoBlock; ++looked) {
    const std::uint32_t block = slice.block_of[victim];
    if (guarded_[block] != put_number_) {
      slice.policy->Remove(victim);
      slot_of_[block] = kNoBlock;
      slice.free.push_back(victim);
      ++evictions_;
      --stored_;
      return true;
    }
    victim = slice.policy->After(victim);
  }
  return false;
}

}  // namespace terrace::replay
