// The simulation must do what the cache's rules say: compared with a naive model of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <set>
#include <vector>

#include "base/random.h"
#include "tools/replay/simulate/request_hits.h"
#include "tools/replay/simulate/simulated_tiers.h"

namespace terrace::replay {
namespace {

using Chain = std::vector<std::uint32_t>;

/// One slice, as plainly as possible: a list from the most to the least recently used block, and a
/// list of records for each segment.
class NaiveTiers {
 public:
  NaiveTiers(std::size_t capacity, std::size_t segments, std::size_t records)
      : capacity_(capacity), records_(records), segments_(segments) {}

  [[nodiscard]] bool InDram(std::uint32_t block) const {
    return std::ranges::find(blocks_, block) != blocks_.end();
  }
  [[nodiscard]] bool HasRecord(std::uint32_t block) const { return used_.contains(block); }
  [[nodiscard]] bool Has(std::uint32_t block) const { return InDram(block) || HasRecord(block); }
  [[nodiscard]] std::uint32_t Match(const Chain& chain) const {
    std::uint32_t count = 0;
    while (count < chain.size() && Has(chain[count])) ++count;
    return count;
  }
  SimulatedHits Get(const Chain& chain, std::uint32_t first, std::uint32_t count) {
    Touch(chain, first, count);
    SimulatedHits hits;
    std::set<std::uint32_t> kept;
    bool missed = false;
    for (std::uint32_t position = first; position < first + count; ++position) {
      if (position > 0) kept.insert(chain[position - 1]);
      const std::uint32_t block = chain[position];
      missed = missed || !Has(block);
      if (!missed) ++hits.leading;
      if (InDram(block)) {
        ++hits.dram;
      } else if (HasRecord(block)) {
        ++hits.nvme;
        Insert(chain, position, kept);
      }
      if (HasRecord(block)) ++used_[block];
    }
    return hits;
  }
  void Put(const Chain& chain, std::uint32_t first, std::uint32_t count) {
    Touch(chain, first, count);
    std::set<std::uint32_t> kept;
    if (first > 0) kept.insert(chain[first - 1]);
    for (std::uint32_t position = first; position < first + count; ++position) {
      if (InDram(chain[position])) kept.insert(chain[position]);
    }
    for (std::uint32_t position = first; position < first + count; ++position) {
      if (position > first) kept.insert(chain[position - 1]);
      if (Has(chain[position])) continue;
      if (!Insert(chain, position, kept)) return;
      kept.insert(chain[position]);
      if (!segments_.empty()) Append(chain[position]);
    }
  }

 private:
  void Touch(const Chain& chain, std::uint32_t first, std::uint32_t count) {
    for (std::uint32_t position = first + count; position-- > first;) {
      if (!InDram(chain[position])) continue;
      blocks_.remove(chain[position]);
      blocks_.push_front(chain[position]);
    }
  }
  bool Insert(const Chain& chain, std::uint32_t position, const std::set<std::uint32_t>& kept) {
    std::set<std::uint32_t> in_transfer;
    for (std::uint32_t i = position > 3 ? position - 3 : 0; i < position; ++i) {
      in_transfer.insert(chain[i]);
    }
    if (blocks_.size() == capacity_ && !EvictOne(kept, in_transfer) && !EvictOne(kept, {})) {
      return false;
    }
    auto place = blocks_.begin();
    if (position > 0 && InDram(chain[position - 1])) {
      place = std::next(std::ranges::find(blocks_, chain[position - 1]));
    }
    blocks_.insert(place, chain[position]);
    return true;
  }
  bool EvictOne(const std::set<std::uint32_t>& kept, const std::set<std::uint32_t>& in_transfer) {
    int looked = 0;
    for (auto block = blocks_.rbegin(); block != blocks_.rend() && looked < 64; ++block) {
      ++looked;
      const bool may_go = HasRecord(*block) && !in_transfer.contains(*block);
      if (kept.contains(*block) && !may_go) continue;
      blocks_.erase(std::next(block).base());
      return true;
    }
    return false;
  }
  void Append(std::uint32_t block) {
    // The front is the current segment, the back the one that was written longest ago.
    if (segments_.front().size() == records_) {
      std::ranges::rotate(segments_, segments_.end() - 1);
      reclaimed_ = false;
    }
    segments_.front().push_back(block);
    used_[block] = 0;
    if (reclaimed_ || 2 * segments_.front().size() <= records_) return;
    reclaimed_ = true;
    std::size_t again = 0;
    for (const std::uint32_t old : segments_.back()) {
      if (used_[old] >= 2 && again < records_ / 4) {
        ++again;
        segments_.front().push_back(old);
        used_[old] = 0;
      } else {
        used_.erase(old);
      }
    }
    segments_.back().clear();
  }

  std::size_t capacity_;
  std::size_t records_;
  std::vector<std::vector<std::uint32_t>> segments_;
  bool reclaimed_ = false;
  std::list<std::uint32_t> blocks_;
  std::map<std::uint32_t, int> used_;  // gets, of the blocks with a record
};

/// Chains through a random tree, so that prefixes are shared.
Chain RandomChain(Random& random, std::uint32_t nodes) {
  Chain chain;
  std::uint32_t node = 0;
  const std::uint64_t length = random.Between(1, 12);
  for (std::uint64_t step = 0; step < length; ++step) {
    const std::uint32_t child = node * 3 + 1 + static_cast<std::uint32_t>(random.Below(3));
    if (child >= nodes) break;
    chain.push_back(child);
    node = child;
  }
  return chain;
}

/// Compares 2000 random operations. segments 0: without NVMe.
void CompareWithNaive(std::uint64_t seed, std::uint32_t segments) {
  constexpr std::uint32_t kNodes = 3000;
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  const std::size_t capacity = random.Between(1, 60);
  const std::uint64_t records = random.Between(1, 30);
  NaiveTiers naive(capacity, segments, records);
  SimulatedTiers tiers({.dram_blocks = capacity,
                        .distinct_blocks = kNodes,
                        .slices = 1,
                        .run_blocks = 4,
                        .nvme_segments = segments,
                        .nvme_records_per_segment = records,
                        .policy = *FindPolicy("leaf-lru")});
  for (int step = 0; step < 2000; ++step) {
    const Chain chain = RandomChain(random, kNodes);
    const auto size = static_cast<std::uint32_t>(chain.size());
    const auto first = static_cast<std::uint32_t>(random.Below(size));
    const auto count = static_cast<std::uint32_t>(random.Between(1, size - first));
    ASSERT_EQ(tiers.Match(chain), naive.Match(chain)) << "step " << step;
    if (random.Chance(0.4)) {
      const SimulatedHits expected = naive.Get(chain, first, count);
      const SimulatedHits hits = tiers.Get(chain, first, count);
      ASSERT_EQ(hits.dram, expected.dram) << "step " << step;
      ASSERT_EQ(hits.nvme, expected.nvme) << "step " << step;
      ASSERT_EQ(hits.leading, expected.leading) << "step " << step;
    } else {
      naive.Put(chain, first, count);
      tiers.Put(chain, first, count);
    }
    ASSERT_LE(tiers.in_dram(), capacity);
  }
  std::uint64_t stored = 0;
  for (std::uint32_t node = 1; node < kNodes; ++node) {
    ASSERT_EQ(tiers.InDram(node), naive.InDram(node)) << "block " << node;
    ASSERT_EQ(tiers.HasRecord(node), naive.HasRecord(node)) << "block " << node;
    if (naive.Has(node)) ++stored;
  }
  EXPECT_EQ(tiers.stored(), stored);
  if (segments == 0) {
    EXPECT_EQ(tiers.blocks_written(), 0U);
    EXPECT_EQ(tiers.evictions(), tiers.gone());
  }
}

TEST(SimulatedTiersTest, AgreesWithTheNaiveModelOnRandomOperations) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) CompareWithNaive(seed, 0);
}

TEST(SimulatedTiersTest, AgreesWithTheNaiveModelOfBothTiersOnRandomOperations) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CompareWithNaive(seed, static_cast<std::uint32_t>(2 + seed % 9));
  }
}

TEST(SimulatedTiersTest, ChainThatDoesNotFitKeepsItsPrefix) {
  SimulatedTiers tiers({.dram_blocks = 3, .distinct_blocks = 10});
  const Chain chain = {1, 2, 3, 4, 5};
  EXPECT_EQ(tiers.Put(chain, 0, 5), 3U);
  EXPECT_EQ(tiers.Match(chain), 3U);
  EXPECT_EQ(tiers.evictions(), 0U);
}

TEST(SimulatedTiersTest, MatchDoesNotKeepABlockAlive) {
  SimulatedTiers tiers({.dram_blocks = 2, .distinct_blocks = 10});
  tiers.Put(Chain{1}, 0, 1);
  tiers.Put(Chain{2}, 0, 1);
  EXPECT_EQ(tiers.Match(Chain{1}), 1U);
  tiers.Put(Chain{3}, 0, 1);
  EXPECT_EQ(tiers.Match(Chain{1}), 0U);
  EXPECT_EQ(tiers.Match(Chain{2}), 1U);
}

TEST(SimulatedTiersTest, SlicesShareTheCapacityAndRunsStayTogether) {
  SimulatedTiers tiers(
      {.dram_blocks = 4000, .distinct_blocks = 4000, .slices = 4, .run_blocks = 8});
  std::uint32_t stored = 0;
  for (std::uint32_t first = 0; first < 3200; first += 8) {
    Chain chain(8);
    for (std::uint32_t position = 0; position < 8; ++position) chain[position] = first + position;
    stored += tiers.Put(chain, 0, 8);
    EXPECT_EQ(tiers.Match(chain), 8U);
  }
  EXPECT_EQ(stored, 3200U);
  EXPECT_LE(tiers.stored(), 4000U);
}

TEST(SimulatedTiersTest, NoCapacityIsNoHit) {
  SimulatedTiers tiers({.dram_blocks = 0, .distinct_blocks = 4});
  EXPECT_EQ(tiers.Put(Chain{1, 2}, 0, 2), 0U);
  EXPECT_EQ(tiers.Match(Chain{1, 2}), 0U);
}

/// DRAM for `dram_blocks` and a ring of two segments of four records: the next is reclaimed at the
/// third, and one record of it may be written again.
SimulatedTiers TwoSegments(std::uint64_t dram_blocks) {
  return SimulatedTiers({.dram_blocks = dram_blocks,
                         .distinct_blocks = 20,
                         .nvme_segments = 2,
                         .nvme_records_per_segment = 4,
                         .policy = *FindPolicy("leaf-lru")});
}

/// Puts blocks [first, last], each a chain of its own.
void PutEach(SimulatedTiers& tiers, std::uint32_t first, std::uint32_t last) {
  for (std::uint32_t block = first; block <= last; ++block) tiers.Put(Chain{block}, 0, 1);
}

TEST(SimulatedTiersTest, BlockThatLeftDramIsFoundOnNvmeAndComesBack) {
  SimulatedTiers tiers = TwoSegments(2);
  PutEach(tiers, 1, 3);
  EXPECT_FALSE(tiers.InDram(1));
  EXPECT_EQ(tiers.Match(Chain{1}), 1U);
  EXPECT_EQ(tiers.evictions(), 1U);
  EXPECT_EQ(tiers.gone(), 0U);
  const SimulatedHits hits = tiers.Get(Chain{1}, 0, 1);
  EXPECT_EQ(hits.nvme, 1U);
  EXPECT_EQ(hits.dram, 0U);
  EXPECT_EQ(hits.leading, 1U);
  EXPECT_TRUE(tiers.InDram(1));
  EXPECT_FALSE(tiers.InDram(2));
  EXPECT_EQ(tiers.evictions(), 2U);
  EXPECT_EQ(tiers.Get(Chain{1}, 0, 1).dram, 1U);
  EXPECT_EQ(tiers.stored(), 3U);
  EXPECT_EQ(tiers.blocks_written(), 3U);
}

TEST(SimulatedTiersTest, PutOfABlockThatIsOnlyOnNvmeStoresNothing) {
  SimulatedTiers tiers = TwoSegments(1);
  PutEach(tiers, 1, 2);
  EXPECT_EQ(tiers.Put(Chain{1}, 0, 1), 1U);
  EXPECT_FALSE(tiers.InDram(1));
  EXPECT_TRUE(tiers.InDram(2));
  EXPECT_EQ(tiers.blocks_written(), 2U);
}

TEST(SimulatedTiersTest, PromotedBlockStandsBehindItsParent) {
  SimulatedTiers tiers = TwoSegments(3);
  const Chain chain = {1, 2};
  tiers.Put(chain, 0, 2);
  PutEach(tiers, 7, 8);  // 8 7 1, the coldest last
  ASSERT_FALSE(tiers.InDram(2));
  EXPECT_EQ(tiers.Get(chain, 0, 2).nvme, 1U);  // 1 2 8
  PutEach(tiers, 9, 9);                        // 9 1 2
  EXPECT_TRUE(tiers.InDram(2));
  PutEach(tiers, 10, 10);  // 10 9 1
  EXPECT_FALSE(tiers.InDram(2));
  EXPECT_TRUE(tiers.InDram(1));
}

TEST(SimulatedTiersTest, APromptLongerThanDramIsServedFromNvmeAllTheSame) {
  SimulatedTiers tiers = TwoSegments(2);
  const Chain chain = {1, 2, 3};
  EXPECT_EQ(tiers.Put(chain, 0, 3), 3U);  // the deepest makes room, since it has a record
  EXPECT_EQ(tiers.in_dram(), 2U);
  const SimulatedHits hits = tiers.Get(chain, 0, 3);
  EXPECT_EQ(hits.Found(), 3U);
  EXPECT_EQ(hits.leading, 3U);
  EXPECT_GE(hits.nvme, 1U);
  EXPECT_EQ(tiers.in_dram(), 2U);
  EXPECT_EQ(tiers.gone(), 0U);
}

TEST(SimulatedTiersTest, ReclaimedSegmentsBlocksAreGoneAndTheRingWraps) {
  SimulatedTiers tiers = TwoSegments(1);
  PutEach(tiers, 1, 6);
  EXPECT_EQ(tiers.gone(), 0U);
  PutEach(tiers, 7, 7);  // the third record of the second segment reclaims the first
  EXPECT_EQ(tiers.gone(), 4U);
  EXPECT_EQ(tiers.Match(Chain{4}), 0U);
  EXPECT_EQ(tiers.Match(Chain{5}), 1U);
  PutEach(tiers, 8, 10);  // 9 and 10 lie in the first again
  EXPECT_EQ(tiers.gone(), 4U);
  PutEach(tiers, 11, 11);
  EXPECT_EQ(tiers.gone(), 8U);
  EXPECT_EQ(tiers.Match(Chain{8}), 0U);
  EXPECT_EQ(tiers.Match(Chain{9}), 1U);
  EXPECT_EQ(tiers.stored(), 3U);
  EXPECT_EQ(tiers.blocks_written(), 11U);
  EXPECT_EQ(tiers.blocks_reinserted(), 0U);
}

TEST(SimulatedTiersTest, BlockThatLostItsRecordLivesOnInDram) {
  SimulatedTiers tiers = TwoSegments(7);
  PutEach(tiers, 1, 7);  // 1 to 4 lose their record
  EXPECT_FALSE(tiers.HasRecord(1));
  EXPECT_EQ(tiers.Match(Chain{1}), 1U);
  EXPECT_EQ(tiers.gone(), 0U);
  PutEach(tiers, 8, 8);
  EXPECT_EQ(tiers.Match(Chain{1}), 0U);
  EXPECT_EQ(tiers.gone(), 1U);
  EXPECT_EQ(tiers.stored(), 7U);
}

TEST(SimulatedTiersTest, UsedBlocksAreWrittenAgainUpToAQuarterOfASegment) {
  SimulatedTiers tiers = TwoSegments(1);
  PutEach(tiers, 1, 4);
  for (int get = 0; get < 2; ++get) {
    tiers.Get(Chain{3}, 0, 1);
    tiers.Get(Chain{2}, 0, 1);
  }
  tiers.Get(Chain{1}, 0, 1);  // one get is the reader that it was put for
  PutEach(tiers, 5, 7);       // of 2 and 3, in record order, the first is kept
  EXPECT_TRUE(tiers.HasRecord(2));
  EXPECT_EQ(tiers.Match(Chain{3}), 0U);
  EXPECT_EQ(tiers.gone(), 3U);
  EXPECT_EQ(tiers.blocks_written(), 8U);
  EXPECT_EQ(tiers.blocks_reinserted(), 1U);
  PutEach(tiers, 8, 10);  // not used since it was written again
  EXPECT_EQ(tiers.Match(Chain{2}), 0U);
  EXPECT_EQ(tiers.blocks_reinserted(), 1U);
}

TEST(SimulatedTiersTest, GetFromDramCountsAsUseOfTheRecordAndMatchDoesNot) {
  SimulatedTiers tiers = TwoSegments(20);
  PutEach(tiers, 1, 4);
  EXPECT_EQ(tiers.Match(Chain{1}), 1U);
  EXPECT_EQ(tiers.Match(Chain{1}), 1U);
  EXPECT_EQ(tiers.Get(Chain{4}, 0, 1).dram, 1U);
  EXPECT_EQ(tiers.Get(Chain{4}, 0, 1).dram, 1U);
  PutEach(tiers, 5, 7);
  EXPECT_FALSE(tiers.HasRecord(1));
  EXPECT_TRUE(tiers.HasRecord(4));
}

TEST(SimulatedTiersTest, SegmentsTooSmallForAQuarterKeepNothing) {
  SimulatedTiers tiers(
      {.dram_blocks = 1, .distinct_blocks = 10, .nvme_segments = 2, .nvme_records_per_segment = 1});
  PutEach(tiers, 1, 1);
  tiers.Get(Chain{1}, 0, 1);
  tiers.Get(Chain{1}, 0, 1);
  PutEach(tiers, 2, 2);
  EXPECT_EQ(tiers.Match(Chain{1}), 0U);
  EXPECT_EQ(tiers.Match(Chain{2}), 1U);
}

TEST(SimulateRunTest, LockstepRunCountsWhatARealRunCounts) {
  Trace trace;
  using Ids = std::vector<std::uint64_t>;
  ASSERT_TRUE(trace.Append(0, 1536, 1, Ids{1, 2, 3}).ok());
  ASSERT_TRUE(trace.Append(1, 1536, 1, Ids{1, 2, 4}).ok());
  ASSERT_TRUE(trace.Append(2, 512, 1, Ids{9}).ok());
  ASSERT_TRUE(trace.Append(3, 1536, 1, Ids{1, 2, 3}).ok());
  const BlockNumbers blocks = NumberBlocks(trace);
  const SimulatedRun large =
      SimulateRequests(trace, blocks, {.dram_blocks = 100, .distinct_blocks = 5},
                       {.batch_blocks = 2, .decodes = true})
          .run;
  EXPECT_EQ(large.blocks_looked_up, 10U);
  EXPECT_EQ(large.blocks_hit, 5U);
  EXPECT_EQ(large.decode_blocks_missing, 0U);
  EXPECT_EQ(large.evictions, 0U);
  const SimulatedRun tiny =
      SimulateRequests(trace, blocks, {.dram_blocks = 2, .distinct_blocks = 5},
                       {.batch_blocks = 2, .decodes = true})
          .run;
  EXPECT_GT(tiny.decode_blocks_missing, 0U);
  EXPECT_LT(tiny.blocks_hit, large.blocks_hit);
}

TEST(SimulateRunTest, WhatIsStoredMeanwhileIsNoHitOfARequestThatLookedBefore) {
  Trace trace;
  using Ids = std::vector<std::uint64_t>;
  ASSERT_TRUE(trace.Append(0, 1024, 1, Ids{1, 2}).ok());
  ASSERT_TRUE(trace.Append(0, 1024, 1, Ids{1, 2}).ok());
  const BlockNumbers blocks = NumberBlocks(trace);
  const auto run = [&](std::vector<Operation> order) {
    return SimulateRun(trace, blocks, order, 64, {.dram_blocks = 100, .distinct_blocks = 2});
  };
  using enum OperationKind;
  EXPECT_EQ(run({{kLookUp, 0}, {kStore, 0}, {kLookUp, 1}, {kStore, 1}}).blocks_hit, 2U);
  EXPECT_EQ(run({{kLookUp, 0}, {kLookUp, 1}, {kStore, 0}, {kStore, 1}}).blocks_hit, 0U);
  EXPECT_EQ(run({{kLookUp, 0}, {kLookUp, 1}, {kStore, 0}, {kStore, 1}}).blocks_put, 2U);
}

TEST(SimulateRunTest, NvmeGivesBackWhatDramHasNoRoomFor) {
  Trace trace;
  using Ids = std::vector<std::uint64_t>;
  ASSERT_TRUE(trace.Append(0, 1024, 1, Ids{1, 2}).ok());
  ASSERT_TRUE(trace.Append(1, 1024, 1, Ids{8, 9}).ok());
  ASSERT_TRUE(trace.Append(2, 1024, 1, Ids{1, 2}).ok());
  const BlockNumbers blocks = NumberBlocks(trace);
  const SimulatedRun run = SimulateRequests(trace, blocks,
                                            {.dram_blocks = 2,
                                             .distinct_blocks = 4,
                                             .nvme_segments = 8,
                                             .nvme_records_per_segment = 100},
                                            {.batch_blocks = 64, .decodes = true})
                               .run;
  EXPECT_EQ(run.blocks_hit, 2U);
  EXPECT_EQ(run.hits_nvme, 2U);
  EXPECT_EQ(run.hits_dram, 0U);
  EXPECT_EQ(run.decode_blocks_missing, 0U);
  EXPECT_EQ(run.evictions, 4U);
  EXPECT_EQ(run.blocks_gone, 0U);
  EXPECT_EQ(run.nvme_blocks_written, 4U);
}

}  // namespace
}  // namespace terrace::replay
