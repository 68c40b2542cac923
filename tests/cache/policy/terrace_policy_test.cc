// The policy terrace: it must learn what comes back.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "base/random.h"
#include "cache/policy/block_kinds.h"
#include "cache/policy/policies.h"
#include "cache/policy/retaining_policy.h"

namespace terrace {
namespace {

std::vector<BlockId> Order(EvictionPolicy& policy, std::size_t most) {
  std::vector<BlockId> order;
  for (BlockId block = policy.First(); block != kNoBlock; block = policy.After(block)) {
    order.push_back(block);
    if (order.size() > most) break;  // it goes round in circles
  }
  return order;
}

TEST(TerracePolicyTest, IsTheDefaultAndFitsBesideTheIndex) {
  constexpr std::size_t kIndexBytes = 76;  // a block (block_index_test measures it)
  const RetainingPolicy policy(MakeTerracePolicy(1000), 1000);
  EXPECT_EQ(policy.name(), kDefaultPolicy);
  EXPECT_LE(policy.BytesPerBlock() + kIndexBytes, 96U);
}

using Chain = std::vector<std::uint64_t>;  // names of blocks

/// Blocks of one conversation or document, that no other has.
Chain ChainOf(std::uint64_t owner, std::size_t blocks) {
  Chain chain;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    chain.push_back((owner << 16 | i) * 0x9e3779b97f4a7c15U);
  }
  return chain;
}

/// One tier: a request uses what is there of its chain and brings the rest.
class Tier {
 public:
  Tier(std::unique_ptr<EvictionPolicy> policy, std::size_t capacity)
      : policy_(std::move(policy)), name_of_(capacity) {
    for (std::size_t i = capacity; i-- > 0;) free_.push_back(static_cast<BlockId>(i));
  }

  /// @return blocks that were there.
  std::size_t Request(const Chain& chain, const RequestFacts& said = {}) {
    std::vector<BlockId> found;
    while (found.size() < chain.size() && Holds(chain[found.size()])) {
      found.push_back(blocks_.at(chain[found.size()]));
    }
    policy_->Touch(found, said);
    if (found.size() == chain.size()) return found.size();
    const std::size_t hits = found.size();
    BlockId parent = found.empty() ? kNoBlock : found.back();
    facts_ = policy_->Extend({.parent = parent,
                              .position = static_cast<std::uint32_t>(hits),
                              .blocks = static_cast<std::uint32_t>(chain.size() - hits),
                              .identities = std::span(chain).subspan(hits),
                              .request = said});
    for (std::size_t i = hits; i < chain.size(); ++i) {
      if (Holds(chain[i])) {  // behind a hole
        parent = blocks_.at(chain[i]);
        continue;
      }
      if (free_.empty()) {
        const BlockId victim = VictimBut(parent);
        if (victim == kNoBlock) break;
        Evict(victim);
      }
      const BlockId block = free_.back();
      free_.pop_back();
      policy_->Insert({.block = block,
                       .parent = parent,
                       .identity = chain[i],
                       .position = static_cast<std::uint32_t>(i),
                       .behind = static_cast<std::uint32_t>(chain.size() - i - 1),
                       .request = facts_});
      blocks_[chain[i]] = block;
      name_of_[block] = chain[i];
      parent = block;
    }
    return hits;
  }
  /// The next one goes. @return its name; none when all are gone.
  std::optional<std::uint64_t> EvictOne() {
    const BlockId victim = policy_->First();
    if (victim == kNoBlock) return std::nullopt;
    const std::uint64_t name = name_of_[victim];
    Evict(victim);
    return name;
  }
  /// Names of the first `count` in the order of First and After.
  Chain Coming(std::size_t count) {
    Chain coming;
    for (BlockId block = policy_->First(); block != kNoBlock && coming.size() < count;
         block = policy_->After(block)) {
      coming.push_back(name_of_[block]);
    }
    return coming;
  }
  [[nodiscard]] bool Holds(std::uint64_t name) const { return blocks_.contains(name); }
  [[nodiscard]] std::size_t Held(const Chain& chain) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(chain, [this](std::uint64_t name) { return Holds(name); }));
  }
  [[nodiscard]] std::size_t size() const { return blocks_.size(); }
  /// Of the last request that brought blocks.
  [[nodiscard]] const RequestFacts& facts() const { return facts_; }

 private:
  BlockId VictimBut(BlockId pinned) {
    BlockId victim = policy_->First();
    if (victim == pinned && victim != kNoBlock) victim = policy_->After(victim);
    return victim;
  }
  void Evict(BlockId block) {
    policy_->Evict(block);
    blocks_.erase(name_of_[block]);
    free_.push_back(block);
  }

  std::unique_ptr<EvictionPolicy> policy_;
  std::map<std::uint64_t, BlockId> blocks_;  // by name
  std::vector<std::uint64_t> name_of_;
  std::vector<BlockId> free_;
  RequestFacts facts_{};
};

// A block whose prefix is gone is of no use, so it must not outlive it.
TEST(TerracePolicyTest, WithinARequestASuffixGoesBeforeItsPrefix) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRandom random(seed);
    const std::size_t capacity = 50 + random.Below(200);
    Tier tier(MakeTerracePolicy(capacity), capacity);
    std::map<std::uint64_t, std::size_t> lengths;
    std::map<std::uint64_t, std::pair<std::uint64_t, std::size_t>> places;  // session, position
    for (int step = 0; step < 400; ++step) {
      const std::uint64_t session = 1 + random.Below(60);
      lengths[session] = std::min<std::size_t>(lengths[session] + random.Below(5), 40);
      if (lengths[session] == 0) continue;
      tier.Request(ChainOf(session, lengths[session]));
    }
    for (const auto& [session, length] : lengths) {
      const Chain chain = ChainOf(session, length);
      for (std::size_t i = 0; i < length; ++i) places[chain[i]] = {session, i};
    }
    while (const auto gone = tier.EvictOne()) {
      const auto [session, position] = places.at(*gone);
      const Chain chain = ChainOf(session, lengths[session]);
      if (position + 1 == chain.size()) continue;
      ASSERT_FALSE(tier.Holds(chain[position + 1]))
          << "seed " << seed << ": block " << position << " of " << chain.size();
    }
  }
}

TEST(TerracePolicyTest, ARequestUnderWayDoesNotMakeRoomForItselfByItself) {
  constexpr std::size_t kBlocks = 12;
  Tier tier(MakeTerracePolicy(kBlocks), kBlocks);
  for (std::uint64_t i = 0; i < 4; ++i) tier.Request(ChainOf(i, 3));
  tier.Request(ChainOf(9, kBlocks));
  EXPECT_EQ(tier.Held(ChainOf(9, kBlocks)), kBlocks);
  tier.Request(ChainOf(10, 5));
  EXPECT_EQ(tier.Held(ChainOf(10, 5)), 5U);
  EXPECT_EQ(tier.Held(ChainOf(9, 7)), 7U) << "its end goes first";
  tier.Request(ChainOf(11, 3 * kBlocks));
  EXPECT_EQ(tier.size(), kBlocks) << "one that is too large takes what there is and ends";
}

// What waits to be written is passed over: what is taken in its place must be what would have left
// after it, not the oldest block of some other list.
TEST(TerracePolicyTest, BehindTheFirstComesWhatLeavesNext) {
  constexpr std::size_t kBlocks = 2048;
  constexpr int kAtOnce = 4;  // of the 8 that leave without another search
  int compared = 0;
  int equal = 0;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SeededRandom random(seed);
    Tier tier(MakeTerracePolicy(kBlocks), kBlocks);
    std::map<std::uint64_t, std::size_t> lengths;
    for (int step = 0; step < 4000; ++step) {
      const std::uint64_t session = random.Chance(0.5) ? random.Below(40) : 40 + random.Below(4000);
      lengths[session] = std::min<std::size_t>(lengths[session] + 1 + random.Below(8), 60);
      tier.Request(ChainOf(session, lengths[session]));
      if (step < 2000 || step % 20 != 0) continue;
      const Chain expected = tier.Coming(kAtOnce);
      for (const std::uint64_t name : expected) {
        ++compared;
        equal += tier.EvictOne() == name ? 1 : 0;
      }
    }
  }
  EXPECT_GT(compared, 1000);
  EXPECT_GT(equal, compared * 3 / 4) << compared;
}

// Leased blocks that the young end of a list named again and again made puts fail.
TEST(TerracePolicyTest, WhatIsPutOffIsOfferedAfterOthersAndStillGoesLater) {
  constexpr std::size_t kBlocks = 512;
  const auto policy = MakeTerracePolicy(kBlocks);
  std::uint64_t name = 0;
  const auto bring = [&](BlockId block) {
    policy->Insert({.block = block, .identity = ++name * 0x9e3779b97f4a7c15U});
  };
  for (BlockId block = 0; block < kBlocks; ++block) bring(block);
  std::set<BlockId> leased;
  for (BlockId block = 0; block < 100; ++block) leased.insert(block);
  for (int i = 0; i < 20'000; ++i) {
    int put_off = 0;
    BlockId victim = policy->First();
    for (; leased.contains(victim); victim = policy->First()) {
      policy->PutOff({.block = victim});
      ASSERT_LE(++put_off, 100) << "the same ones again, at " << i;
    }
    policy->Evict(victim);
    bring(victim);
  }
  std::set<BlockId> stay = leased;  // the leases have ended
  for (int i = 0; i < 100'000 && !stay.empty(); ++i) {
    const BlockId victim = policy->First();
    stay.erase(victim);
    policy->Evict(victim);
    bring(victim);
  }
  EXPECT_TRUE(stay.empty()) << stay.size() << " stay for ever";
}

TEST(TerracePolicyTest, WhenAllArePutOffTheyAreOfferedAllTheSame) {
  const auto policy = MakeTerracePolicy(3);
  for (BlockId block = 0; block < 3; ++block) policy->Insert({.block = block, .identity = block});
  for (BlockId block = 0; block < 3; ++block) policy->PutOff({.block = block});
  EXPECT_EQ(Order(*policy, 3), (std::vector<BlockId>{0, 1, 2}));
  policy->Touch(std::vector<BlockId>{0}, {});
  EXPECT_EQ(Order(*policy, 3).size(), 3U);
}

/// Conversations of six turns that each add two blocks, `share` of the requests, and documents of
/// 30 blocks that are read once.
class Mix {
 public:
  Mix(std::uint64_t seed, double share) : random_(seed), share_(share) {}

  struct Next {
    Chain chain;
    bool scan = false;
    std::uint32_t turn = 0;
  };
  Next Draw() {
    if (!random_.Chance(share_)) return {.chain = ChainOf(++last_, 30), .scan = true};
    const std::size_t place = random_.Below(kActive);
    Session& session = sessions_[place];
    if (session.turn == kTurns) session = {};
    if (session.turn == 0) session.owner = ++last_;
    ++session.turn;
    return {.chain = ChainOf(session.owner, 4 + 2 * session.turn), .turn = session.turn};
  }

 private:
  static constexpr std::size_t kActive = 20;
  static constexpr std::uint32_t kTurns = 6;
  struct Session {
    std::uint64_t owner = 0;
    std::uint32_t turn = 0;
  };
  SeededRandom random_;
  const double share_;
  std::uint64_t last_ = 0;
  std::vector<Session> sessions_{kActive};
};

std::size_t HitsOf(Tier& tier, Mix& mix, int requests) {
  std::size_t hits = 0;
  for (int i = 0; i < requests; ++i) hits += tier.Request(mix.Draw().chain);
  return hits;
}

TEST(TerracePolicyTest, LearnsThatConversationsComeBackAndScansDoNot) {
  constexpr std::size_t kBlocks = 300;
  Tier terrace(MakeTerracePolicy(kBlocks), kBlocks);
  Tier leaf_lru(MakeLeafLruPolicy(kBlocks), kBlocks);
  Mix mix(1, 0.3);
  Mix same(1, 0.3);
  HitsOf(terrace, mix, 3000);
  HitsOf(leaf_lru, same, 3000);
  const std::size_t learned = HitsOf(terrace, mix, 3000);
  const std::size_t recent = HitsOf(leaf_lru, same, 3000);
  EXPECT_GT(learned, recent * 3 / 2) << "leaf-lru: " << recent;
  // Two conversations and a scan after them: the scan goes first.
  const Chain talk = ChainOf(1U << 20, 6);
  const Chain scan = ChainOf((1U << 20) + 1, 30);
  terrace.Request(talk);
  terrace.Request(scan);
  terrace.Request(ChainOf((1U << 20) + 2, 6));
  while (terrace.Held(scan) > 0) terrace.EvictOne();
  EXPECT_EQ(terrace.Held(talk), talk.size());
}

// An index has room for blocks of 4 KiB; a cache of larger ones is full with far fewer, and an age
// counted by the room would be too coarse to tell a request from the next.
TEST(TerracePolicyTest, LearnsAsMuchWhereTheIndexHasRoomForManyMore) {
  constexpr std::size_t kBlocks = 300;
  Tier fits(MakeTerracePolicy(kBlocks), kBlocks);
  Tier larger(MakeTerracePolicy(256 * kBlocks), kBlocks);
  Mix mix(1, 0.3);
  Mix same(1, 0.3);
  HitsOf(fits, mix, 3000);
  HitsOf(larger, same, 3000);
  const std::size_t expected = HitsOf(fits, mix, 3000);
  EXPECT_GT(HitsOf(larger, same, 3000), expected * 9 / 10) << "of " << expected;
}

// Small caches of the same requests see too little to learn from it.
TEST(TerracePolicyTest, AFollowerKnowsWhatItsTeacherLearned) {
  constexpr std::size_t kBlocks = 300;
  auto teacher = MakeTerracePolicy(kBlocks);
  Tier follows(teacher->Follower(kBlocks), kBlocks);
  Tier teaches(std::move(teacher), kBlocks);
  Mix mix(1, 0.3);
  Mix same(1, 0.3);
  std::size_t hits = 0;
  std::size_t taught = 0;
  for (int i = 0; i < 6000; ++i) {
    hits += follows.Request(mix.Draw().chain);
    taught += teaches.Request(same.Draw().chain);
  }
  EXPECT_GT(hits, taught * 9 / 10);
  EXPECT_LT(hits, taught * 11 / 10);
  EXPECT_EQ(MakeLeafLruPolicy(kBlocks)->Follower(kBlocks), nullptr) << "it learns nothing";
}

// A conversation that left must not start anew when it returns: its later turns are what stays.
TEST(TerracePolicyTest, AChainThatWasEvictedAndComesBackIsKnownAgain) {
  constexpr std::size_t kBlocks = 64;
  ReuseHistory history(kBlocks);
  BlockKinds kinds(history);  // numbers its kinds as the policy does
  Tier tier(MakeTerracePolicy(kBlocks), kBlocks);
  tier.Request(ChainOf(1, 10));
  EXPECT_EQ(tier.facts().kind, kinds.OfTurn(1, 10, 10, {}));
  while (tier.EvictOne()) {
  }
  tier.Request(ChainOf(1, 14));
  EXPECT_EQ(tier.facts().kind, kinds.OfTurn(2, 14, 4, {})) << "four of its blocks are new";
  while (tier.EvictOne()) {
  }
  tier.Request(ChainOf(1, 30));
  EXPECT_EQ(tier.facts().kind, kinds.OfTurn(3, 30, 16, {}));
  tier.Request(ChainOf(2, 10));
  EXPECT_EQ(tier.facts().kind, kinds.OfTurn(1, 10, 10, {})) << "another one is new";
}

/// Tenant 1 talks and scans; tenant 2 does, and may lie of it.
struct TwoTenants {
  enum class Second : std::uint8_t { kSilent, kLies };

  explicit TwoTenants(Second second) : tier(MakeTerracePolicy(kBlocks), kBlocks) {
    Mix mixes[] = {{11, 0.3}, {12, 0.3}};
    SeededRandom lies(13);
    for (int i = 0; i < 8000; ++i) {
      const std::uint32_t tenant = i % 2 == 0 ? 1 : 2;
      Mix::Next next = mixes[tenant - 1].Draw();
      for (std::uint64_t& name : next.chain) name ^= std::uint64_t{tenant} << 60;
      RequestFacts said{.tenant = tenant};
      if (tenant == 2 && second == Second::kLies) {
        said.turn = static_cast<std::uint16_t>(lies.Below(65536));
        said.category = next.scan ? 1 : 2 + static_cast<std::uint32_t>(lies.Below(3));
        said.continuation = next.scan ? Continuation::kWillContinue : Continuation::kDone;
      }
      const std::size_t hits = tier.Request(next.chain, said);
      if (tenant == 1 && i > 4000) hits_of_first += hits;
    }
  }
  /// Both of the first tenant's, told apart by what it says, nothing.
  [[nodiscard]] bool ScanGoesFirst() {
    const Chain talk = ChainOf(1U << 20, 6);
    const Chain scan = ChainOf((1U << 20) + 1, 30);
    for (const Chain& chain : {talk, scan, ChainOf((1U << 20) + 2, 6)}) {
      tier.Request(chain, {.tenant = 1});
    }
    while (tier.Held(scan) > 0) tier.EvictOne();
    return tier.Held(talk) == talk.size();
  }

  static constexpr std::size_t kBlocks = 600;
  Tier tier;
  std::size_t hits_of_first = 0;
};

TEST(TerracePolicyTest, ATenantThatLiesDoesNotChangeWhatIsMadeOfAnother) {
  TwoTenants silent(TwoTenants::Second::kSilent);
  TwoTenants lies(TwoTenants::Second::kLies);
  EXPECT_GT(lies.hits_of_first, silent.hits_of_first * 9 / 10) << silent.hits_of_first;
  EXPECT_TRUE(silent.ScanGoesFirst());
  EXPECT_TRUE(lies.ScanGoesFirst());
}

TEST(TerracePolicyDeathTest, MisuseAborts) {
  const auto policy = MakeTerracePolicy(4);
  policy->Insert({.block = 1});
  EXPECT_DEATH(policy->Insert({.block = 1}), "invariant failed");
  EXPECT_DEATH(policy->Insert({.block = 2, .parent = 3}), "invariant failed");
  EXPECT_DEATH((void)policy->Extend({.parent = 3, .identities = {}}), "invariant failed");
  EXPECT_DEATH(policy->Remove(2), "invariant failed");
  EXPECT_DEATH(policy->Evict(2), "invariant failed");
  EXPECT_DEATH(policy->Touch(std::vector<BlockId>{1, 2}, {}), "invariant failed");
}

TEST(TerracePolicyTest, WhatCostsMoreForItsBytesStaysLongerAndGoesSuffixFirst) {
  constexpr std::size_t kBlocks = 64;
  const auto facts = [](std::uint32_t space, float cost) {
    return RequestFacts{
        .tenant = 1, .space = space, .cost_per_byte = cost, .block_bytes = 1U << 20};
  };
  Tier tier(MakeTerracePolicy(kBlocks), kBlocks);
  // Both alike but for what they cost; the dear ones were used first.
  for (std::uint64_t i = 0; i < 400; ++i) {
    tier.Request(ChainOf(1000 + 2 * i, 4), facts(1, 8));
    tier.Request(ChainOf(1001 + 2 * i, 4), facts(2, 1));
  }
  std::size_t dear = 0;
  std::size_t cheap = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    dear += tier.Held(ChainOf(1000 + 2 * i, 4));
    cheap += tier.Held(ChainOf(1001 + 2 * i, 4));
  }
  EXPECT_GT(dear, 4 * cheap);
  for (std::uint64_t i = 0; i < 400; ++i) {
    const Chain chain = ChainOf(1000 + 2 * i, 4);
    for (std::size_t block = 1; block < 4; ++block) {
      EXPECT_TRUE(!tier.Holds(chain[block]) || tier.Holds(chain[block - 1])) << i;
    }
  }
}

}  // namespace
}  // namespace terrace
