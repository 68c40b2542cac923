// match: find the leading blocks, a batch at a time, until one is not there.
#include <algorithm>
#include <array>

#include "base/counter.h"
#include "cache/cache_impl.h"
#include "cache/hbm_side.h"
#include "cache/nvme_side.h"

namespace terrace {

MatchAnswer Cache::Impl::Match(const ChainSlice& chain, const Link* link) {
  Count(counters.match_requests);
  MatchAnswer answer;
  const Result<CheckedChain> checked = CheckChain(registry, chain, ChainOrder::kAscending);
  if (!checked.ok()) {
    answer.status = checked.status();
    return answer;
  }
  Count(counters.match_blocks, checked->keys);
  answer.tiers.reserve(checked->keys);
  answer.sources.reserve(checked->keys);

  // Small batches: what is looked up behind the first block that is missing is looked up in vain.
  constexpr std::size_t kBatch = 64;
  std::array<WantedBlock, kBatch> wanted;
  std::array<BlockId, kBatch> found;
  std::size_t filled = 0;
  bool missing = false;
  const auto look_up = [&] {
    FindBatch(chain, std::span(wanted).first(filled), std::span(found).first(filled));
    for (std::size_t i = 0; i < filled && !missing; ++i) {
      const TierKind tier = found[i] == kNoBlock ? TierKind::kNone : TierOf(found[i]);
      missing = tier == TierKind::kNone;
      if (missing) {
        CountMatchMiss(
            WhyNotReady(found[i], {.namespace_id = chain.namespace_id, .hash = wanted[i].hash}));
        break;
      }
      answer.tiers.push_back(tier);
      answer.sources.push_back(SourceOf(found[i]));
    }
    filled = 0;
  };
  for (const RunSlice& run : chain.runs) {
    for (const KeyView key : run.keys) {
      wanted[filled].key = key;
      wanted[filled].hash = HashLocator(options.locator_hash, chain.group, chain.shard, key);
      if (++filled == kBatch) look_up();
      if (missing) break;
    }
    if (missing) break;
  }
  if (!missing && filled > 0) look_up();
  Count(counters.match_hits, answer.tiers.size());
  // All behind the first that is missing, but for itself.
  const std::uint64_t unanswered = checked->keys - answer.tiers.size();
  if (unanswered > 1) CountMatchMiss(MissReason::kBehind, unanswered - 1);
  if (link != nullptr) answer.load_from = estimate.Sources(*link);
  return answer;
}

TierKind Cache::Impl::TierOf(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  if (entry.state != BlockState::kPublished) return TierKind::kNone;
  if (entry.InDram()) return TierKind::kDram;
  if (hbm != nullptr && hbm->Holds(id)) return TierKind::kHbm;
  if (!entry.record.exists()) return TierKind::kNone;  // its GPU is offline
  return nvme->tier.log().Readable(entry.record) ? TierKind::kNvme : TierKind::kNone;
}

std::uint8_t Cache::Impl::SourceOf(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  if (entry.InDram() || (hbm != nullptr && hbm->Holds(id))) return 0;
  return LoadEstimate::SourceOfDevice(nvme->tier.log().LaneOf(entry.record));
}

}  // namespace terrace
