// Events of the cache: everything that happens to a block is told, once and in order, and a walk
// with the events since its begin is what the index holds.
#include <map>
#include <set>
#include <utility>

#include "tests/cache/cache_nvme_fixture.h"

namespace terrace {
namespace {

using testing::AsKey;
using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

/// A reader's picture of the cache. It is built as docs/events.md tells readers to.
class Picture {
 public:
  using Block = std::pair<std::uint32_t, std::pair<std::uint64_t, std::uint64_t>>;
  using Blocks = std::map<Block, TierSet>;

  void Apply(const BlockEvent& event) {
    const Block block = BlockOf(event);
    switch (event.kind) {
      case EventKind::kCommitted: blocks_[block] = event.tiers; break;
      case EventKind::kMoved:
        if (const auto found = blocks_.find(block); found != blocks_.end()) {
          found->second = event.tiers;
        }
        break;
      case EventKind::kRemoved: blocks_.erase(block); break;
      case EventKind::kCleared:
        std::erase_if(blocks_,
                      [&](const auto& entry) { return entry.first.first == event.namespace_id; });
    }
  }
  static Block BlockOf(const BlockEvent& event) {
    return {event.namespace_id, {event.identity.high, event.identity.low}};
  }
  [[nodiscard]] const Blocks& blocks() const { return blocks_; }

 private:
  Blocks blocks_;
};

class CacheEventsTest : public CacheNvmeTest {
 protected:
  /// Everything that is published now, in one go.
  Picture::Blocks Walk() {
    Picture picture;
    const BlockId end = cache_->WalkBlocks(0, ~0U, [&picture](const BlockEvent& event) {
      EXPECT_EQ(event.kind, EventKind::kCommitted);
      EXPECT_NE(event.tiers, 0);
      const auto before = picture.blocks().size();
      picture.Apply(event);
      EXPECT_EQ(picture.blocks().size(), before + 1) << "a block was shown twice";
      return true;
    });
    EXPECT_EQ(end, cache_->WalkEnd());
    return picture.blocks();
  }
  /// "committed dram, moved dram+nvme, ..." of all events from `from` on.
  std::string Told(std::uint64_t from = 1) {
    std::string text;
    for (; from < cache_->events().next(); ++from) {
      const BlockEvent event = cache_->events().At(from);
      if (!text.empty()) text += ", ";
      text += EventKindName(event.kind);
      if (event.cause != EventCause::kNone) text += " " + std::string(EventCauseName(event.cause));
      if ((event.tiers & kTierSetDram) != 0) text += " dram";
      if ((event.tiers & kTierSetNvme) != 0) text += " nvme";
    }
    return text;
  }
  std::uint64_t Next() { return cache_->events().next(); }
};

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(CacheEventsTest, ACommitTellsAllThatARouterNeeds) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 12);  // runs of 8
  ClientCall call = Call(space, chain, 7, 3);
  FillSources(call, memory_);
  const std::uint32_t ids[] = {5, 6, 7};
  call.request.places[1].tokens = std::as_bytes(std::span(ids));
  call.request.places[1].valid_tokens = 3;
  EXPECT_EQ(StatusText(time_.Run(cache_->Put(link_, call.request))), "ok ok ok");
  ASSERT_GE(Next(), 4u);
  const char* const parents[] = {"c/6", "c/7", "c/8"};
  const char* const placements[] = {"c/0", "c/8", "c/8"};
  for (std::uint64_t at = 1; at <= 3; ++at) {
    const BlockEvent event = cache_->events().At(at);
    const std::uint32_t i = event.position - 7;  // they are committed as their bytes come
    ASSERT_LT(i, 3u);
    EXPECT_EQ(event.kind, EventKind::kCommitted);
    EXPECT_EQ(event.namespace_id, space->id);
    EXPECT_EQ(event.tiers, kTierSetDram);
    EXPECT_EQ(Text(event.key), chain[7 + i]);
    EXPECT_EQ(Text(event.parent), parents[i]);
    EXPECT_EQ(Text(event.placement), placements[i]);
    EXPECT_EQ(event.valid_tokens, i == 1 ? 3u : 16u);
    EXPECT_EQ(event.identity, HashLocator(HashBytes128, 0, 0, event.key));
    ASSERT_EQ(event.tokens.size(), i == 1 ? sizeof ids : 0);
    if (i == 1) EXPECT_EQ(std::memcmp(event.tokens.data(), ids, sizeof ids), 0);
  }
}

// A router files each block under its parent: one of another chain would be a wrong prefix.
TEST_F(CacheEventsTest, BlocksOfManyRunsOverTheSamePositionsKeepTheirOwnParents) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chains[] = {MakeChain("c", 12), MakeChain("d", 12)};
  ClientCall call = Call(space, chains[0], 0, 12);
  call.request.chain.runs.clear();
  call.request.places.resize(24);
  for (const ChainKeys& chain : chains) {  // a run for each block, all in one request
    for (std::uint32_t i = 0; i < 12; ++i) {
      call.request.chain.runs.push_back({.placement = AsKey(chain[i - i % 8]),
                                         .first_position = i,
                                         .parent = i > 0 ? AsKey(chain[i - 1]) : KeyView(),
                                         .keys = {AsKey(chain[i])}});
    }
  }
  for (std::size_t i = 12; i < 24; ++i) call.request.places[i] = call.request.places[i - 12];
  const BatchAnswer answer = time_.Run(cache_->Put(link_, call.request));
  ASSERT_EQ(answer.blocks.size(), 24u) << answer.status.ToString();
  std::size_t told = 0;
  for (std::uint64_t at = 1; at < Next(); ++at) {
    const BlockEvent event = cache_->events().At(at);
    if (event.kind != EventKind::kCommitted) continue;
    ++told;
    const std::string key = Text(event.key);
    const std::string name = key.substr(0, 2);
    const std::uint32_t i = event.position;
    EXPECT_EQ(key, name + std::to_string(i));
    EXPECT_EQ(Text(event.parent), i == 0 ? "" : name + std::to_string(i - 1)) << key;
    EXPECT_EQ(Text(event.placement), name + (i < 8 ? "0" : "8")) << key;
  }
  EXPECT_EQ(told, 24u);
}

TEST_F(CacheEventsTest, EachChangeOfTiersIsToldOnce) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 1);
  Put(space, chain, 0, 1);
  Settle();
  EXPECT_EQ(Told(), "committed dram, moved dram nvme");
  const auto only = Walk();
  ASSERT_EQ(only.size(), 1u);
  PushOut(space, chain);
  const auto told_of_it = [&](std::uint64_t from) {
    std::string text;
    for (; from < Next(); ++from) {
      if (Picture::BlockOf(cache_->events().At(from)) != only.begin()->first) continue;
      const BlockEvent event = cache_->events().At(from);
      text += std::string(EventKindName(event.kind)) + std::to_string(event.tiers) + " ";
    }
    return text;
  };
  EXPECT_EQ(told_of_it(3), "moved8 ");
  const std::uint64_t before_get = Next();
  EXPECT_EQ(Got(space, chain), "ok");
  EXPECT_EQ(told_of_it(before_get), "moved12 ");
  const std::uint64_t before_remove = Next();
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space, chain, 0, 1)))), "ok");
  EXPECT_EQ(Told(before_remove), "removed requested");
}

TEST_F(CacheEventsTest, AClearIsOneEvent) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const Namespace* other = Open("acme", "b");
  Put(space, MakeChain("c", 20), 0, 20);
  Put(other, MakeChain("c", 5), 0, 5);
  Settle();
  const std::uint64_t before = Next();
  EXPECT_EQ(time_.Run(cache_->Clear(space->id)), 20u);
  EXPECT_EQ(Told(before), "cleared cleared");
  EXPECT_EQ(cache_->events().At(before).namespace_id, space->id);
  EXPECT_EQ(Walk().size(), 5u);
  EXPECT_EQ(time_.Run(cache_->Clear(space->id)), 0u);
  EXPECT_EQ(Next(), before + 1) << "there was nothing to clear";
}

TEST_F(CacheEventsTest, APutThatFailsTellsNothing) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 4);
  const ClientCall call = Call(space, chain, 0, 4, 0);  // its deadline has passed
  const BatchAnswer answer = time_.Run(cache_->Put(link_, call.request));
  EXPECT_EQ(StatusText(answer), "timeout timeout timeout timeout");
  EXPECT_EQ(Told(), "");
}

TEST_F(CacheEventsTest, EvictionUnderLoadLosesNoEvent) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  // 20 times the arena: everything is evicted from DRAM, and most of it from NVMe.
  Picture picture;
  std::uint64_t at = 1;
  for (int round = 0; round < 20; ++round) {
    Put(space, MakeChain("c" + std::to_string(round), 64), 0, 64);
    ASSERT_GE(at, cache_->events().first());
    for (; at < Next(); ++at) picture.Apply(cache_->events().At(at));
    EXPECT_EQ(picture.blocks(), Walk());
  }
  Settle();
  for (; at < Next(); ++at) picture.Apply(cache_->events().At(at));
  EXPECT_EQ(picture.blocks(), Walk());
  EXPECT_GT(cache_->Counters().evictions, 0u);
  EXPECT_GT(cache_->Counters().nvme_evictions, 0u);
  const EventCounters& told = cache_->events().Counters();
  EXPECT_EQ(told.committed - told.removed, picture.blocks().size());
}

/// A snapshot in chunks, while others put, get, remove, evict and clear between its chunks; then
/// the events since its begin.
class SnapshotTest : public CacheEventsTest {
 protected:
  void RandomStep() {
    const Namespace* space = spaces_[random_.Below(spaces_.size())];
    const ChainKeys chain = MakeChain("c" + std::to_string(random_.Below(24)), 12);
    const std::uint64_t first = random_.Below(12);
    const std::uint64_t count = 1 + random_.Below(12 - first);
    switch (random_.Below(20)) {
      case 0: (void)time_.Run(cache_->Clear(space->id)); break;
      case 1:
      case 2: (void)time_.Run(cache_->Remove(SliceOf(*space, chain, first, count))); break;
      case 3: {
        const PrefixRequest request{.chain = SliceOf(*space, chain, first, count),
                                    .deadline = time_.Now() + kSecond};
        (void)time_.Run(cache_->RemovePrefix(request));
        break;
      }
      case 4:
      case 5:
      case 6: Get(space, chain, first, count); break;
      case 7: time_.RunUntil(time_.Now() + 20 * kMillisecond); break;
      default: Put(space, chain, first, count);
    }
  }

  std::vector<const Namespace*> spaces_;
};

TEST_F(SnapshotTest, ASnapshotAndTheEventsSinceItsBeginAreWhatTheIndexHolds) {
  MakeMedia();
  spaces_ = {Open("acme", "a"), Open("acme", "b"), Open("other", "a")};
  std::size_t most = 0;
  for (int round = 0; round < 60; ++round) {
    for (int step = 0; step < 20; ++step) RandomStep();
    const std::uint64_t begin = Next();
    Picture picture;
    for (BlockId at = 0; at < cache_->WalkEnd();) {
      std::size_t room = 1 + random_.Below(16);
      at = cache_->WalkBlocks(at, static_cast<std::uint32_t>(1 + random_.Below(64)),
                              [&](const BlockEvent& event) {
                                if (room == 0) return false;
                                --room;
                                picture.Apply(event);
                                return true;
                              });
      RandomStep();
    }
    ASSERT_GE(begin, cache_->events().first());
    for (std::uint64_t at = begin; at < Next(); ++at) picture.Apply(cache_->events().At(at));
    ASSERT_EQ(picture.blocks(), Walk()) << "round " << round;
    most = std::max(most, picture.blocks().size());
  }
  EXPECT_GT(most, 100u);
  EXPECT_GT(cache_->Counters().nvme_evictions, 0u);
}

TEST_F(SnapshotTest, AnEntryNeverTellsLessThanItsEventDid) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  Put(space, MakeChain("c", 10), 0, 10);
  std::set<std::string> parents;
  cache_->WalkBlocks(0, ~0U, [&](const BlockEvent& event) {
    EXPECT_EQ(event.identity, HashLocator(HashBytes128, event.group, event.shard, event.key));
    if (event.position > 0) {
      EXPECT_EQ(event.parent_identity, HashLocator(HashBytes128, 0, 0, event.parent));
      parents.insert(Text(event.parent));
    }
    return true;
  });
  EXPECT_EQ(parents.size(), 9u);
}

TEST_F(CacheEventsTest, WhatAStartFindsIsInTheWalkAndNoEvent) {
  MakeMedia();
  const Namespace* space = Open("acme", "a");
  Put(space, MakeChain("c", 10), 0, 10);
  Settle();
  const auto before = Walk();
  Restart();
  EXPECT_EQ(Next(), 1u);
  const auto after = Walk();
  ASSERT_EQ(after.size(), before.size());
  for (const auto& [block, tiers] : after) {
    EXPECT_TRUE(before.contains(block));
    EXPECT_EQ(tiers, kTierSetNvme);
  }
}

}  // namespace
}  // namespace terrace
