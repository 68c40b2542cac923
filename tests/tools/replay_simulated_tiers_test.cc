// The simulation must do what the cache's rules say: compared with a naive model of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <set>
#include <vector>

#include "base/random.h"
#include "tools/replay/simulate_run.h"
#include "tools/replay/simulated_tiers.h"

namespace terrace::replay {
namespace {

using Chain = std::vector<std::uint32_t>;

/// One slice, as plainly as possible: a list from the most to the least recently used block.
class NaiveTier {
 public:
  explicit NaiveTier(std::size_t capacity) : capacity_(capacity) {}

  [[nodiscard]] bool Has(std::uint32_t block) const {
    return std::ranges::find(blocks_, block) != blocks_.end();
  }
  [[nodiscard]] std::uint32_t Match(const Chain& chain) const {
    std::uint32_t count = 0;
    while (count < chain.size() && Has(chain[count])) ++count;
    return count;
  }
  void Touch(const Chain& chain, std::uint32_t first, std::uint32_t count) {
    for (std::uint32_t position = first + count; position-- > first;) {
      if (!Has(chain[position])) continue;
      blocks_.remove(chain[position]);
      blocks_.push_front(chain[position]);
    }
  }
  void Put(const Chain& chain, std::uint32_t first, std::uint32_t count) {
    Touch(chain, first, count);
    std::set<std::uint32_t> kept;
    if (first > 0) kept.insert(chain[first - 1]);
    for (std::uint32_t position = first; position < first + count; ++position) {
      if (Has(chain[position])) kept.insert(chain[position]);
    }
    for (std::uint32_t position = first; position < first + count; ++position) {
      if (Has(chain[position])) continue;
      if (blocks_.size() == capacity_ && !EvictOne(kept)) return;
      auto place = blocks_.begin();
      if (position > 0 && Has(chain[position - 1])) {
        place = std::next(std::ranges::find(blocks_, chain[position - 1]));
      }
      blocks_.insert(place, chain[position]);
      kept.insert(chain[position]);
    }
  }

 private:
  bool EvictOne(const std::set<std::uint32_t>& kept) {
    int looked = 0;
    for (auto block = blocks_.rbegin(); block != blocks_.rend() && looked < 64; ++block) {
      ++looked;
      if (kept.contains(*block)) continue;
      blocks_.erase(std::next(block).base());
      return true;
    }
    return false;
  }

  std::size_t capacity_;
  std::list<std::uint32_t> blocks_;
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

TEST(SimulatedTiersTest, AgreesWithTheNaiveModelOnRandomOperations) {
  constexpr std::uint32_t kNodes = 3000;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRandom random(seed);
    const std::size_t capacity = random.Between(1, 60);
    NaiveTier naive(capacity);
    SimulatedTiers tiers(
        {.dram_blocks = capacity, .distinct_blocks = kNodes, .slices = 1, .run_blocks = 4});
    for (int step = 0; step < 2000; ++step) {
      const Chain chain = RandomChain(random, kNodes);
      const auto size = static_cast<std::uint32_t>(chain.size());
      const auto first = static_cast<std::uint32_t>(random.Below(size));
      const auto count = static_cast<std::uint32_t>(random.Between(1, size - first));
      ASSERT_EQ(tiers.Match(chain), naive.Match(chain)) << "step " << step;
      if (random.Chance(0.4)) {
        naive.Touch(chain, first, count);
        tiers.Get(chain, first, count);
      } else {
        naive.Put(chain, first, count);
        tiers.Put(chain, first, count);
      }
      ASSERT_LE(tiers.stored(), capacity);
    }
    for (std::uint32_t node = 1; node < kNodes; ++node) {
      ASSERT_EQ(tiers.Match(Chain{node}) == 1, naive.Has(node)) << "block " << node;
    }
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

TEST(SimulateRunTest, LockstepRunCountsWhatARealRunCounts) {
  Trace trace;
  using Ids = std::vector<std::uint64_t>;
  ASSERT_TRUE(trace.Append(0, 1536, 1, Ids{1, 2, 3}).ok());
  ASSERT_TRUE(trace.Append(1, 1536, 1, Ids{1, 2, 4}).ok());
  ASSERT_TRUE(trace.Append(2, 512, 1, Ids{9}).ok());
  ASSERT_TRUE(trace.Append(3, 1536, 1, Ids{1, 2, 3}).ok());
  const BlockNumbers blocks = NumberBlocks(trace);
  const SimulatedRun large =
      SimulateRun(trace, blocks, LockstepOrder(4), 2, {.dram_blocks = 100, .distinct_blocks = 5});
  EXPECT_EQ(large.blocks_looked_up, 10U);
  EXPECT_EQ(large.blocks_hit, 5U);
  EXPECT_EQ(large.decode_blocks_missing, 0U);
  EXPECT_EQ(large.evictions, 0U);
  const SimulatedRun tiny =
      SimulateRun(trace, blocks, LockstepOrder(4), 2, {.dram_blocks = 2, .distinct_blocks = 5});
  EXPECT_GT(tiny.decode_blocks_missing, 0U);
  EXPECT_LT(tiny.blocks_hit, large.blocks_hit);
}

}  // namespace
}  // namespace terrace::replay
