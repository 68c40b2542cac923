// Lookup in steps over a batch, so that the cache misses of its keys overlap: slots, entries, frame
// headers, comparison of keys. One after the other they would cost three misses a key.
#include <algorithm>
#include <cstring>

#include "base/canary.h"
#include "base/check.h"
#include "base/counter.h"
#include "cache/cache_impl.h"

namespace terrace {

namespace {
/// Lines in flight: more than a core's line fill buffers (10 to 16), fewer than L1 holds.
constexpr std::size_t kBatch = 32;
}  // namespace

bool Cache::Impl::Holds(BlockId id, const ChainSlice& chain, KeyView key) const {
  const BlockEntry& entry = (*index)[id];
  // On NVMe only: the key stands in the record, and is compared when that is read (C6).
  if (!entry.InDram()) return true;
  return KeyIs(arena->Header(entry.frame), chain, key);
}

bool Cache::Impl::KeyIs(const FrameHeader& header, const ChainSlice& chain, KeyView key) {
  if (CanaryIs(Canary::kCompareNoKey)) return true;
  return header.namespace_id == chain.namespace_id && header.group == chain.group &&
         header.shard == chain.shard && header.key_bytes == key.size() &&
         std::memcmp(header.key, key.data(), key.size()) == 0;
}

void Cache::Impl::FindBatch(const ChainSlice& chain, std::span<const WantedBlock> wanted,
                            std::span<BlockId> found) {
  TERRACE_CHECK(wanted.size() == found.size());
  std::uint64_t mismatches = 0;
  while (!wanted.empty()) {
    const std::size_t count = std::min(kBatch, wanted.size());
    const auto locator = [&](std::size_t i) {
      return Locator{.namespace_id = chain.namespace_id, .hash = wanted[i].hash};
    };
    for (std::size_t i = 0; i < count; ++i) index->PrefetchSlots(locator(i));
    for (std::size_t i = 0; i < count; ++i) index->PrefetchEntry(locator(i));
    for (std::size_t i = 0; i < count; ++i) {
      found[i] = index->Find(locator(i));
      if (found[i] == kNoBlock) continue;
      const BlockEntry& entry = (*index)[found[i]];
      if (entry.InDram()) arena->PrefetchHeader(entry.frame);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (found[i] == kNoBlock || Holds(found[i], chain, wanted[i].key)) continue;
      found[i] = kNoBlock;
      ++mismatches;
    }
    wanted = wanted.subspan(count);
    found = found.subspan(count);
  }
  if (mismatches != 0) Count(counters.key_mismatches, mismatches);
}

Lookup Cache::Impl::FindBlock(const ChainSlice& chain, const Hash128& hash, KeyView key) {
  const BlockId id = index->Find({.namespace_id = chain.namespace_id, .hash = hash});
  if (id == kNoBlock) return {};
  if (Holds(id, chain, key)) return {.id = id};
  Count(counters.key_mismatches);
  return {.collided = true};
}

}  // namespace terrace
