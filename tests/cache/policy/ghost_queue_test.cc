// The queue of those that left, against a plain list of tags.
#include "cache/policy/ghost_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "base/random.h"

namespace terrace {
namespace {

TEST(GhostQueueTest, KnowsTheNewestAndNoOthers) {
  GhostQueue ghosts(3);
  EXPECT_FALSE(ghosts.Take(1));
  for (std::uint32_t tag = 1; tag <= 4; ++tag) ghosts.Push(tag, 3);
  EXPECT_FALSE(ghosts.Take(1)) << "the oldest of four";
  EXPECT_TRUE(ghosts.Take(3));
  EXPECT_FALSE(ghosts.Take(3)) << "taken once";
  ghosts.Push(5, 1);
  EXPECT_EQ(ghosts.size(), 1u);
  EXPECT_FALSE(ghosts.Take(4));
  EXPECT_TRUE(ghosts.Take(5));
}

// A search of an open-addressed table that ends too early would forget what is there, one that
// never ends would hang the reactor.
TEST(GhostQueueTest, AgreesWithAPlainListWhateverCollides) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SeededRandom random(seed);
    const std::size_t length = 1 + random.Below(20);
    GhostQueue ghosts(length);
    std::deque<std::uint32_t> plain;
    for (int step = 0; step < 3000; ++step) {
      // Few tags, whose homes in the table are few.
      const auto tag = static_cast<std::uint32_t>(random.Below(40) * 8);
      const auto found = std::ranges::find(plain, tag);
      if (random.Chance(0.6)) {
        const std::size_t keep = 1 + random.Below(length);
        if (found != plain.end()) plain.erase(found);
        while (plain.size() >= keep) plain.pop_front();
        plain.push_back(tag);
        ghosts.Push(tag, keep);
      } else {
        ASSERT_EQ(ghosts.Take(tag), found != plain.end()) << "seed " << seed << " step " << step;
        if (found != plain.end()) plain.erase(found);
      }
      ASSERT_EQ(ghosts.size(), plain.size()) << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace terrace
