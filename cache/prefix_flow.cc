// remove a prefix: find the blocks of the chain in every group and shard -> find what continues
// them
// -> forget, a slice at a time, and tell NVMe.
#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/counter.h"
#include "base/crash_point.h"
#include "base/wait.h"
#include "cache/cache_impl.h"
#include "cache/flat_array.h"
#include "cache/nvme_side.h"

namespace terrace {

namespace {
/// Blocks looked at, or forgotten, before others run.
constexpr std::size_t kSlice = 1024;
/// Removals told to NVMe at once.
constexpr std::size_t kRemovalsAtOnce = 16;

/// What is known of a block; all zero bytes: nothing.
enum class Descent : std::uint8_t { kUnknown = 0, kNo, kYes };
}  // namespace

/// Lives in the frame of RemovePrefix. Others run between its steps, so a number counts only while
/// it is still the block that was found (`locator`).
struct Cache::Impl::PrefixState {
  const PrefixRequest& request;
  std::unordered_map<BlockId, Locator> found;
  std::vector<BlockId> order;  ///< of `found`
  FlatArray<Descent> descent;
  std::size_t steps = 0;
  std::vector<nvme::NvmeTier::Removal> to_tell;
  std::size_t next = 0;
  std::uint64_t not_told = 0;
};

bool Cache::Impl::FindsPublished(const Locator& locator, BlockId id) const {
  return (*index)[id].state == BlockState::kPublished && (*index)[id].locator() == locator;
}

Task<Result<std::uint64_t>> Cache::Impl::RemovePrefix(const PrefixRequest& request) {
  const FlowCount counted(*this);
  const Namespace* space = registry.Find(request.chain.namespace_id);
  ChainSlice chain = request.chain;
  if (space != nullptr && !space->dormant()) chain.group = space->spec.groups.front().id;
  const Result<CheckedChain> checked = CheckChain(registry, chain, ChainOrder::kAny);
  if (!checked.ok()) co_return checked.status();
  PrefixState state{.request = request,
                    .found = {},
                    .order = {},
                    .descent = {},
                    .steps = 0,
                    .to_tell = {},
                    .next = 0,
                    .not_told = 0};
  for (const NamespaceGroup& group : space->spec.groups) {
    for (std::uint32_t shard = 0; shard < space->spec.shard_count; ++shard) {
      if (clock.Now() >= request.deadline) break;
      chain.group = group.id;
      chain.shard = shard;
      co_await FindNamed(state, chain, checked->keys);
    }
  }
  if (!state.found.empty()) {
    // Not touched before it is used: an index of millions of blocks holds up nobody.
    auto descent = FlatArray<Descent>::Create(index->high_water());
    if (!descent.ok()) co_return Status(StatusCode::kRetry, descent.status().message());
    state.descent = std::move(descent).value();
    co_await FindDescendants(state);
  }
  const std::uint64_t removed = co_await ForgetFound(state);
  if (clock.Now() >= request.deadline) {
    co_return Status(StatusCode::kTimeout, "only " + std::to_string(removed) +
                                               " blocks were removed before the deadline");
  }
  if (state.not_told > 0) {
    co_return Status(StatusCode::kIo, std::to_string(removed) +
                                          " blocks were removed; NVMe could " + "not be told of " +
                                          std::to_string(state.not_told) +
                                          ", which may come back after a restart");
  }
  co_return removed;
}

Task<void> Cache::Impl::FindNamed(PrefixState& state, const ChainSlice& chain, std::size_t keys) {
  for (const WantedBlock& wanted : WantedBlocks(chain, keys, options.locator_hash)) {
    if (++state.steps % kSlice == 0) co_await Yield{};
    if (clock.Now() >= state.request.deadline) co_return;
    const BlockId id = FindBlock(chain, wanted.hash, wanted.key).id;
    if (id == kNoBlock || (*index)[id].state != BlockState::kPublished) continue;
    if (state.found.try_emplace(id, (*index)[id].locator()).second) state.order.push_back(id);
  }
}

/// Each block is classed once; the way up from it ends at one that is classed, or has no parent.
Task<void> Cache::Impl::FindDescendants(PrefixState& state) {
  std::vector<BlockId> way;
  for (BlockId id = 0; id < state.descent.size(); ++id) {
    if (++state.steps % kSlice == 0) co_await Yield{};
    if (clock.Now() >= state.request.deadline) co_return;
    const BlockEntry& entry = (*index)[id];
    if (entry.state != BlockState::kPublished ||
        entry.namespace_id != state.request.chain.namespace_id) {
      continue;
    }
    // Without a wait from here on: the way is of one moment.
    way.clear();
    Descent descent = Descent::kNo;
    for (BlockId at = id; at != kNoBlock && at < state.descent.size(); at = index->ParentOf(at)) {
      const auto found = state.found.find(at);
      if (found != state.found.end() && FindsPublished(found->second, at)) {
        descent = Descent::kYes;
        break;
      }
      if (state.descent[at] == Descent::kNo) break;
      way.push_back(at);
      ++state.steps;
    }
    for (const BlockId at : way) {
      state.descent[at] = descent;
      if (descent != Descent::kYes || (*index)[at].state != BlockState::kPublished) continue;
      if (state.found.try_emplace(at, (*index)[at].locator()).second) state.order.push_back(at);
    }
  }
}

Task<std::uint64_t> Cache::Impl::ForgetFound(PrefixState& state) {
  std::uint64_t removed = 0;
  std::size_t at = 0;
  while (at < state.order.size() && clock.Now() < state.request.deadline) {
    state.to_tell.clear();
    state.next = 0;
    const std::size_t end = std::min(at + kSlice, state.order.size());
    const std::uint64_t before = removed;
    for (; at < end; ++at) {
      const BlockId id = state.order[at];
      const Locator locator = state.found.at(id);
      if (!FindsPublished(locator, id)) continue;
      if (nvme != nullptr) {
        state.to_tell.push_back(nvme->tier.BeginRemoval({.kind = nvme::RecordKind::kRemoval,
                                                         .namespace_id = locator.namespace_id,
                                                         .hash = locator.hash,
                                                         .key = {}}));
      }
      Forget(id, EventCause::kRequested);
      ++removed;
    }
    Count(counters.removed, removed - before);
    if (removed > before) CrashHere(CrashPoint::kRemoveForgotten);
    TaskScope workers;
    const std::size_t window = std::min(kRemovalsAtOnce, state.to_tell.size());
    for (std::size_t worker = 0; worker < window; ++worker) workers.Spawn(TellRemovals(state));
    co_await workers.Join();
    co_await Yield{};
  }
  co_return removed;
}

Task<void> Cache::Impl::TellRemovals(PrefixState& state) {
  while (state.next < state.to_tell.size()) {
    const nvme::NvmeTier::Removal removal = state.to_tell[state.next++];
    const Status status = co_await nvme->tier.Remove(removal);
    if (status.ok()) continue;
    ++state.not_told;
    Count(counters.removals_not_logged);
  }
}

}  // namespace terrace
