// Kept blocks against a plain list: a wrong order takes the newest of what a label keeps.
#include "cache/policy/kept_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "base/random.h"

namespace terrace {
namespace {

std::vector<BlockId> Order(const KeptBlocks& kept) {
  std::vector<BlockId> order;
  for (BlockId block = kept.First(); block != kNoBlock; block = kept.After(block)) {
    order.push_back(block);
  }
  return order;
}

TEST(KeptBlocksTest, HoldsNoneAtFirstAndAfterTheLastLeft) {
  KeptBlocks kept;
  EXPECT_EQ(kept.First(), kNoBlock);
  EXPECT_FALSE(kept.Holds(0));
  kept.Touch({});
  kept.Insert(7, kNoBlock);
  EXPECT_TRUE(kept.Holds(7));
  EXPECT_EQ(kept.After(7), kNoBlock);
  kept.Remove(7);
  EXPECT_EQ(kept.First(), kNoBlock);
  EXPECT_FALSE(kept.Holds(7));
}

TEST(KeptBlocksTest, AParentThatIsElsewhereIsNoPlace) {
  KeptBlocks kept;
  kept.Insert(1, kNoBlock);
  kept.Insert(2, 900'000);
  kept.Insert(3, 1);
  EXPECT_EQ(Order(kept), (std::vector<BlockId>{3, 1, 2}));
}

TEST(KeptBlocksTest, RandomUseMatchesAPlainList) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SeededRandom random(seed);
    KeptBlocks kept;
    std::vector<BlockId> plain;
    for (int step = 0; step < 1000; ++step) {
      const auto block = static_cast<BlockId>(random.Below(30));
      const auto found = std::ranges::find(plain, block);
      if (found == plain.end()) {
        const auto parent = random.Chance(0.3) ? kNoBlock : static_cast<BlockId>((block + 1) % 30);
        kept.Insert(block, parent);
        plain.insert(std::ranges::find(plain, parent), block);
      } else if (random.Chance(0.4)) {
        kept.Remove(block);
        plain.erase(found);
      } else {
        std::vector<BlockId> chain = plain;
        std::ranges::sort(chain, std::greater{});
        chain.resize(1 + random.Below(chain.size()));
        kept.Touch(chain);
        for (std::size_t i = chain.size(); i-- > 0;) {
          std::erase(plain, chain[i]);
          plain.push_back(chain[i]);
        }
      }
      ASSERT_EQ(Order(kept), plain) << "seed " << seed << " step " << step;
    }
  }
}

TEST(KeptBlocksDeathTest, MisuseAborts) {
  KeptBlocks kept;
  kept.Insert(1, kNoBlock);
  EXPECT_DEATH(kept.Insert(1, kNoBlock), "invariant failed");
  EXPECT_DEATH(kept.Remove(2), "invariant failed");
}

}  // namespace
}  // namespace terrace
