// What the ranking of copies in HBM by the cache's policy is worth beside recency alone: the same
// conversations against caches that differ in nothing else.
#include <cstdio>
#include <string>
#include <vector>

#include "cache/policy/policies.h"
#include "tests/cache/cache_hbm_fixture.h"
#include "tests/common/samples.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::MakeChain;
using testing::SliceOf;

constexpr PolicyKind kLru = {"lru", "least recently used", MakeLruPolicy};

/// A conversation: its blocks so far, and turns to come.
struct Conversation {
  std::string name;
  std::size_t blocks = 0;
  std::uint64_t turns_left = 0;
  std::uint64_t next = 0;  ///< request at which it comes back
};

class CacheHbmPolicyTest : public testing::OverHbm<CacheTest> {
 protected:
  static constexpr std::uint64_t kSmallBytes = 8192;

  /// Blocks hit of those asked for, by a cache whose copies are ranked so.
  double HitRatio(const PolicyKind* ranking, std::uint64_t pool_bytes, std::uint64_t seed) {
    CacheOptions options;
    options.policy = "terrace";
    options.hbm_policy_kind = ranking;
    options.hbm_block_bytes_min = kSmallBytes;
    options.blocks_max = 2048;
    options.event_bytes = 0;
    MakeCache(2 << 20, options);
    AddGpus(1, pool_bytes);
    const Namespace* space = Open("acme", "a", kSmallBytes);
    const double ratio = Converse(space, seed);
    time_.Run(cache_->Close());
    EndHbm();
    devices_.clear();
    return ratio;
  }

 private:
  /// Most conversations end after their first turn; the others come back after a usual pause.
  double Converse(const Namespace* space, std::uint64_t seed) {
    SeededRandom random(seed);
    std::vector<Conversation> waiting;
    std::uint64_t asked = 0;
    std::uint64_t hit = 0;
    const std::uint64_t requests = testing::RunsWhole() ? 4000 : 1200;
    for (std::uint64_t request = 0; request < requests; ++request) {
      Conversation now = Next(random, waiting, request);
      const ChainKeys chain = MakeChain(now.name, now.blocks);
      const std::size_t matched = Matched(space, chain);
      if (request >= 1000) {
        asked += now.blocks;
        hit += matched;
      }
      if (matched > 0) Get(space, chain, 0, matched);
      if (matched < now.blocks) Put(space, chain, matched, now.blocks - matched);
      time_.RunUntil(time_.Now() + kMillisecond);
      if (now.turns_left == 0) continue;
      --now.turns_left;
      now.next = request + random.Between(60, 120);
      waiting.push_back(std::move(now));
    }
    ExpectValid();
    return static_cast<double>(hit) / static_cast<double>(asked);
  }
  static Conversation Next(SeededRandom& random, std::vector<Conversation>& waiting,
                           std::uint64_t request) {
    for (auto due = waiting.begin(); due != waiting.end(); ++due) {
      if (due->next > request) continue;
      Conversation now = std::move(*due);
      waiting.erase(due);
      now.blocks += random.Between(1, 4);
      return now;
    }
    return {.name = "s" + std::to_string(request),
            .blocks = random.Between(4, 16),
            .turns_left = random.Chance(0.7) ? 0 : random.Between(3, 8)};
  }
};

TEST_F(CacheHbmPolicyTest, TheCachesPolicyHitsNoLessThanRecency) {
  for (const std::uint64_t pool_bytes : {2ULL << 20, 4ULL << 20}) {
    double sum_of_own = 0;
    double sum_of_lru = 0;
    const std::uint64_t seeds = testing::RunsWhole() ? 3 : 1;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      const double own = HitRatio(nullptr, pool_bytes, seed);
      const double lru = HitRatio(&kLru, pool_bytes, seed);
      std::printf("pool of %llu MiB, seed %llu: %.4f by the cache's policy, %.4f by recency\n",
                  static_cast<unsigned long long>(pool_bytes >> 20),
                  static_cast<unsigned long long>(seed), own, lru);
      sum_of_own += own;
      sum_of_lru += lru;
    }
    if (testing::RunsWhole()) EXPECT_GE(sum_of_own, sum_of_lru);
  }
}

}  // namespace
}  // namespace terrace
