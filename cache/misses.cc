// Why blocks are missed, what the curve is shown, and what people are told of a block.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "base/counter.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"
#include "cache/nvme_side.h"

namespace terrace {

namespace {
constexpr Nanos kMinute = 60 * kSecond;

}  // namespace

void Cache::Impl::MakeCurve() {
  const std::uint64_t dram_bytes = arena->Stats().capacity_bytes;
  const bool below = nvme != nullptr;
  curve = std::make_unique<MissRatioCurve>(
      MissRatioCurve::Options{.dram_bytes = dram_bytes,
                              .nvme_bytes = below ? nvme->tier.CapacityBytes() : 0,
                              .hbm_bytes = counters.hbm_capacity_bytes.load(),
                              .nvme_segments = below ? nvme->tier.log().segments() : 0,
                              .policy = *FindPolicy(options.policy),
                              .memory_bytes = MissRatioCurve::BytesFor(dram_bytes)},
      clock);
}

void Cache::Impl::ShowCurve(CurveUse use, const ChainSlice& chain, std::uint64_t block_bytes,
                            std::span<const WantedBlock> wanted, std::span<const BlockId> found,
                            const RequestFacts& facts, std::span<const BlockPlace> places) {
  const Namespace* const space = registry.Find(chain.namespace_id);
  const std::uint32_t full = space != nullptr ? space->spec.block_tokens : 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const WantedBlock& block = wanted[i];
    const bool goes_on = i > 0 && wanted[i - 1].position + 1 == block.position;
    if (!goes_on) {
      if (i > 0) curve->End();
      std::optional<Hash128> parent;
      const KeyView key = ParentKeyOf(chain, block);
      if (!key.empty()) parent = HashLocator(options.locator_hash, chain.group, chain.shard, key);
      curve->Begin(use, chain.namespace_id, block_bytes, parent, facts);
    }
    const BlockId id = found.empty() ? FindBlock(chain, block.hash, block.key).id : found[i];
    const std::uint32_t tokens = places.empty() ? 0 : places[block.index].valid_tokens;
    curve->Add(block.hash, id != kNoBlock, block.position,
               static_cast<std::uint32_t>(wanted.size() - 1 - i), tokens > 0 && tokens < full);
  }
  if (!wanted.empty()) curve->End();
}

std::uint16_t Cache::Impl::Minute() const {
  return static_cast<std::uint16_t>(clock.Now() / kMinute);
}

DepartedBlocks::Departure Cache::Impl::WhyMissing(const Locator& locator) const {
  // What has its place was not found under its key.
  if (index->Find(locator) != kNoBlock) return {.reason = MissReason::kKeyMismatch};
  return departed.Find(locator, clock.Now());
}

MissReason Cache::Impl::WhyNotReady(BlockId id, const Locator& locator) const {
  if (id == kNoBlock) return WhyMissing(locator).reason;
  const bool published = (*index)[id].state == BlockState::kPublished;
  return published ? MissReason::kDevice : MissReason::kPending;
}

void Cache::Impl::CountMatchMiss(MissReason reason, std::uint64_t blocks) noexcept {
  Count(counters.match_missed[static_cast<std::size_t>(reason)], blocks);
}

void Cache::Impl::CountGetMiss(const Locator& locator, MissReason reason) {
  Count(counters.get_missed[static_cast<std::size_t>(reason)]);
  if (index->Find(locator) != kNoBlock) return;
  const DepartedBlocks::Departure left = departed.Find(locator, clock.Now());
  if (left.reason != reason || reason == MissReason::kNeverSeen) return;
  std::size_t bucket = 0;
  for (Nanos most = kSecond; bucket + 1 < kMissAges && left.age > most; most *= 4) ++bucket;
  Count(counters.miss_ages[bucket]);
  Count(counters.miss_age_ms, static_cast<std::uint64_t>(left.age / kMillisecond));
}

void Cache::Impl::CountNoSpace(const Locator& locator) {
  Count(counters.put_no_space);
  departed.Note(locator, MissReason::kPutRefused, clock.Now());
}

BlockStory Cache::Impl::Explain(std::uint32_t namespace_id, std::uint32_t group,
                                std::uint32_t shard, KeyView key) const {
  const Locator locator{.namespace_id = namespace_id,
                        .hash = HashLocator(options.locator_hash, group, shard, key)};
  BlockStory story;
  const BlockId id = index->Find(locator);
  if (id == kNoBlock) {
    const DepartedBlocks::Departure left = departed.Find(locator, clock.Now());
    story.reason = left.reason;
    story.age = left.age;
    return story;
  }
  const ChainSlice chain{.namespace_id = namespace_id, .group = group, .shard = shard, .runs = {}};
  const BlockEntry& entry = (*index)[id];
  if (!Holds(id, chain, key)) {
    story.reason = MissReason::kKeyMismatch;
    return story;
  }
  story.published = entry.state == BlockState::kPublished;
  story.position = entry.position;
  story.block_bytes = entry.block_bytes;
  story.gets = entry.gets;
  story.kept = policy->Keeps(id);
  story.leased = leases.Marks(id) || (entry.InDram() && IsLeased(id));
  if (entry.InDram()) story.pins = arena->Header(entry.frame).pins;
  story.loading = loads->Loads(id);
  if (nvme != nullptr) story.writing = nvme->Waits(id);
  if (!story.published) {
    story.reason = MissReason::kPending;
    return story;
  }
  story.valid_tokens = entry.valid_tokens;
  story.age = static_cast<Nanos>(static_cast<std::uint16_t>(Minute() - entry.minute)) * kMinute;
  if (entry.InDram()) story.tiers |= kTierSetDram;
  story.tiers |= TiersBeside(id);
  if (TierOf(id) == TierKind::kNone) story.reason = MissReason::kDevice;
  return story;
}

Status Cache::Impl::ValidateMisses() const {
  std::uint64_t gets = 0;
  std::uint64_t matches = 0;
  for (std::size_t reason = 0; reason < kMissReasonCount; ++reason) {
    gets += counters.get_missed[reason];
    matches += counters.match_missed[reason];
  }
  const auto differ = [](const char* what, std::uint64_t reasons, std::uint64_t misses) {
    return Status::Internal(std::string(what) + ": " + std::to_string(reasons) + " reasons for " +
                            std::to_string(misses) + " misses");
  };
  const std::uint64_t missed = counters.get_misses + counters.get_failures;
  if (flows == 0 && gets != missed) return differ("gets", gets, missed);
  // Under way, blocks are counted before they are looked at, and misses before their reasons.
  const std::uint64_t unmatched = counters.match_blocks - counters.match_hits;
  if (flows == 0 && matches != unmatched) return differ("matches", matches, unmatched);
  return curve->Validate();
}

}  // namespace terrace
