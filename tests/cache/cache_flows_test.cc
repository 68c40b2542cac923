// Match, get and put when nothing fails.
#include <algorithm>
#include <limits>

#include "tests/cache/cache_fixture.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using ::testing::HasSubstr;
using testing::MakeCall;
using testing::MakeChain;
using testing::SimulatedTime;
using testing::SliceOf;
using testing::StatusText;

class CacheFlowsTest : public CacheTest {
 protected:
  void SetUp() override { MakeCache(16 << 20); }
};

TEST_F(CacheFlowsTest, WhatWasPutComesBackByteForByte) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 20);  // three runs of 8
  const BatchAnswer put = Put(space, chain, 0, 20);
  EXPECT_EQ(std::ranges::count(put.blocks, StatusCode::kOk, &BlockAnswer::status), 20);
  EXPECT_EQ(put.blocks[0].tier, TierKind::kDram);
  EXPECT_EQ(Matched(space, chain), 20u);
  const BatchAnswer got = Get(space, chain, 0, 20);
  EXPECT_EQ(std::ranges::count(got.blocks, StatusCode::kOk, &BlockAnswer::status), 20);
  EXPECT_EQ(got.blocks[7].tier, TierKind::kDram);
  EXPECT_EQ(got.blocks[7].valid_tokens, 16u);

  const CacheCounters& counters = cache_->Counters();
  EXPECT_EQ(counters.put_blocks, 20u);
  EXPECT_EQ(counters.put_stored, 20u);
  EXPECT_EQ(counters.bytes_put, 20 * kBlockBytes);
  EXPECT_EQ(counters.match_hits, 20u);
  EXPECT_EQ(counters.get_hits_dram, 20u);
  EXPECT_EQ(counters.bytes_got, 20 * kBlockBytes);
  EXPECT_EQ(counters.blocks, 20u);
  EXPECT_EQ(cache_->UsageOf(space->id).bytes, 20 * kBlockBytes);
}

TEST_F(CacheFlowsTest, BlocksScatteredInPiecesComeBackInOrder) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 3);
  EXPECT_EQ(StatusText(Put(space, chain, 0, 3, 5)), "ok ok ok");
  EXPECT_EQ(StatusText(Get(space, chain, 0, 3, 7)), "ok ok ok");
}

TEST_F(CacheFlowsTest, PartialTailKeepsItsValidTokens) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  ClientCall call = Call(space, chain, 0, 2);
  call.request.places[1].valid_tokens = 3;
  FillSources(call, memory_);
  const BatchAnswer put = time_.Run(cache_->Put(link_, call.request));
  EXPECT_EQ(put.blocks[1].valid_tokens, 3u);
  const BatchAnswer got = Get(space, chain, 0, 2);
  EXPECT_EQ(got.blocks[0].valid_tokens, 16u);
  EXPECT_EQ(got.blocks[1].valid_tokens, 3u);
}

TEST_F(CacheFlowsTest, MatchStopsAtTheFirstBlockThatIsMissing) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 150);  // more than one batch of lookups
  EXPECT_EQ(Matched(space, chain), 0u);
  Put(space, chain, 0, 100);
  EXPECT_EQ(Matched(space, chain), 100u);
  Put(space, chain, 101, 49);
  EXPECT_EQ(Matched(space, chain), 100u);
  Put(space, chain, 100, 1);
  EXPECT_EQ(Matched(space, chain), 150u);
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space, chain, 70, 2)))), "ok ok");
  EXPECT_EQ(Matched(space, chain), 70u);
}

TEST_F(CacheFlowsTest, GroupsShardsAndNamespacesDoNotMix) {
  const Namespace* first = Open("acme", "a");
  const Namespace* second = Open("globex", "a");
  const ChainKeys chain = MakeChain("c", 1);
  EXPECT_EQ(StatusText(Put(first, chain, 0, 1)), "ok");
  EXPECT_EQ(StatusText(Get(second, chain, 0, 1)), "miss");
  for (const auto& [group, shard] : {std::pair(1u, 0u), std::pair(0u, 1u)}) {
    const ClientCall call = MakeCall(*first, memory_, SliceOf(*first, chain, 0, 1, group, shard),
                                     time_.Now() + kSecond);
    EXPECT_EQ(StatusText(time_.Run(cache_->Get(link_, call.request))), "miss");
    FillSources(call, memory_);
    EXPECT_EQ(StatusText(time_.Run(cache_->Put(link_, call.request))), "ok");
  }
  EXPECT_EQ(StatusText(Get(first, chain, 0, 1)), "ok");
  EXPECT_EQ(cache_->UsageOf(first->id).bytes, 2 * kBlockBytes + 8192);
  EXPECT_EQ(cache_->UsageOf(second->id).blocks, 0u);
}

TEST_F(CacheFlowsTest, SecondPutOfAStoredBlockMovesNoBytes) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 3);
  Put(space, chain, 0, 2);
  EXPECT_EQ(StatusText(Put(space, chain, 0, 3)), "exists exists ok");
  EXPECT_EQ(cache_->Counters().bytes_put, 3 * kBlockBytes);
  EXPECT_EQ(cache_->Counters().put_exists, 2u);
}

TEST_F(CacheFlowsTest, TwoPutsOfOneBlockAtOnceWriteItOnce) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 2);
  const ClientCall first = Call(space, chain, 0, 2);
  FillSources(first, memory_);
  std::optional<BatchAnswer> first_answer;
  TaskScope scope;
  scope.Spawn(SimulatedTime::Store(cache_->Put(link_, first.request), &first_answer));
  time_.RunReady();
  EXPECT_EQ(Matched(space, chain), 0u) << "C1: not visible before all its bytes are there";
  EXPECT_EQ(StatusText(Get(space, chain, 0, 0)), "");
  const ClientCall second = Call(space, chain, 0, 2);
  EXPECT_EQ(StatusText(time_.Run(cache_->Put(link_, second.request))), "pending pending");
  EXPECT_EQ(StatusText(time_.Run(cache_->Get(link_, second.request))), "pending pending");
  while (!first_answer) time_.Step();
  EXPECT_EQ(StatusText(*first_answer), "ok ok");
  EXPECT_EQ(StatusText(Get(space, chain, 0, 2)), "ok ok");
  EXPECT_EQ(cache_->Counters().put_pending, 2u);
}

TEST_F(CacheFlowsTest, AKeyTwiceInOneRequestIsStoredOnce) {
  const Namespace* space = Open("acme", "a");
  ChainKeys chain = MakeChain("c", 4);
  chain[2] = chain[0];
  EXPECT_EQ(StatusText(Put(space, chain, 0, 4)), "ok ok exists ok");
  EXPECT_EQ(cache_->Counters().put_stored, 3u);
  EXPECT_EQ(StatusText(Get(space, chain, 0, 4)), "ok ok ok ok");
  EXPECT_EQ(StatusText(time_.Run(cache_->Remove(SliceOf(*space, chain, 0, 4)))), "ok ok miss ok");
}

TEST_F(CacheFlowsTest, PositionsInAnyOrderAreAnsweredInTheOrderAsked) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 30);
  ChainSlice slice = SliceOf(*space, chain, 0, 30);
  std::ranges::reverse(slice.runs);
  const ClientCall call = MakeCall(*space, memory_, slice, time_.Now() + kSecond);
  FillSources(call, memory_);
  time_.Run(cache_->Put(link_, call.request));
  EXPECT_EQ(Matched(space, chain), 30u);
  time_.Run(cache_->Remove(SliceOf(*space, chain, 29, 1)));
  const BatchAnswer got = time_.Run(cache_->Get(link_, call.request));
  EXPECT_EQ(testing::WrongBlocks(call, memory_, got), 0u);
  EXPECT_EQ(got.blocks[5].status, StatusCode::kMiss) << "position 29 is asked for sixth";
  EXPECT_EQ(std::ranges::count(got.blocks, StatusCode::kOk, &BlockAnswer::status), 29);
  EXPECT_EQ(cache_->Match(slice).status.code(), StatusCode::kInvalid);
}

TEST_F(CacheFlowsTest, AnEmptyChainIsAnsweredWithNothing) {
  const Namespace* space = Open("acme", "a");
  const ClientCall call = Call(space, {}, 0, 0);
  EXPECT_EQ(StatusText(time_.Run(cache_->Get(link_, call.request))), "");
  EXPECT_EQ(StatusText(time_.Run(cache_->Put(link_, call.request))), "");
  EXPECT_TRUE(cache_->Match(call.request.chain).status.ok());
}

TEST_F(CacheFlowsTest, WindowBoundsTheTransfersOfARequest) {
  CacheOptions options;
  options.window_per_request = 3;
  cache_.reset();
  MakeCache(16 << 20, options);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 30);
  Put(space, chain, 0, 30);
  EXPECT_EQ(link_.in_flight_most(), 3u);
  Get(space, chain, 0, 30);
  EXPECT_EQ(link_.in_flight_most(), 3u);
}

TEST_F(CacheFlowsTest, SlotsBoundTheTransfersOfAllClients) {
  CacheOptions options;
  options.transfers_max = 8;
  cache_.reset();
  MakeCache(16 << 20, options);
  const Namespace* space = Open("acme", "a");
  const ChainKeys chains[] = {MakeChain("d", 10), MakeChain("e", 10), MakeChain("f", 10)};
  std::vector<ClientCall> calls;
  std::optional<BatchAnswer> answers[3];
  TaskScope scope;
  calls.reserve(3);
  for (std::size_t i = 0; i < 3; ++i) {
    calls.push_back(MakeCall(*space, memory_, SliceOf(*space, chains[i], 0, 10),
                             time_.Now() + kSecond, 10 * i));
    FillSources(calls[i], memory_);
    scope.Spawn(SimulatedTime::Store(cache_->Put(link_, calls[i].request), &answers[i]));
  }
  while (scope.live() > 0) time_.Step();
  EXPECT_EQ(link_.in_flight_most(), 2u) << "a quarter for one client";
  for (const ChainKeys& chain : chains) EXPECT_EQ(Matched(space, chain), 10u);
}

TEST_F(CacheFlowsTest, ClearForgetsOneNamespaceOnly) {
  const Namespace* first = Open("acme", "a");
  const Namespace* second = Open("acme", "b");
  const ChainKeys chain = MakeChain("c", 10);
  Put(first, chain, 0, 10);
  Put(second, chain, 0, 10);
  EXPECT_EQ(time_.Run(cache_->Clear(first->id)), 10u);
  EXPECT_EQ(time_.Run(cache_->Clear(first->id)), 0u);
  EXPECT_EQ(time_.Run(cache_->Clear(12345)), 0u);
  EXPECT_EQ(Matched(first, chain), 0u);
  EXPECT_EQ(Matched(second, chain), 10u);
  EXPECT_EQ(cache_->Counters().cleared, 10u);
}

TEST_F(CacheFlowsTest, BadRequestsAreRefusedAndNameTheArgument) {
  const Namespace* space = Open("acme", "a");
  const ChainKeys chain = MakeChain("c", 8);
  const std::string long_key(65, 'k');
  struct Case {
    std::string message;
    void (*spoil)(ClientCall&, const std::string&);
  };
  const std::vector<Case> cases = {
      {"namespace_id: 99", [](ClientCall& call, auto&) { call.request.chain.namespace_id = 99; }},
      {"group: namespace 'a' has no group 5",
       [](ClientCall& call, auto&) { call.request.chain.group = 5; }},
      {"shard: 4", [](ClientCall& call, auto&) { call.request.chain.shard = 4; }},
      {"runs[0].keys[3] has 0 bytes",
       [](ClientCall& call, auto&) { call.request.chain.runs[0].keys[3] = {}; }},
      {"runs[0].keys[2] has 65 bytes",
       [](ClientCall& call, const std::string& key) {
         call.request.chain.runs[0].keys[2] = testing::AsKey(key);
       }},
      {"runs[0].placement has 0 bytes",
       [](ClientCall& call, auto&) { call.request.chain.runs[0].placement = {}; }},
      {"runs[0].parent has 65 bytes",
       [](ClientCall& call, const std::string& key) {
         call.request.chain.runs[0].parent = testing::AsKey(key);
       }},
      {"runs[0].parent is set",
       [](ClientCall& call, auto&) {
         call.request.chain.runs[0].parent = call.request.chain.runs[0].keys[1];
       }},
      {"runs[0].keys is empty",
       [](ClientCall& call, auto&) { call.request.chain.runs[0].keys.clear(); }},
      {"do not lie in one run of 8",
       [](ClientCall& call, auto&) { call.request.chain.runs[0].first_position = 1; }},
      {"a chain has at most 65536",
       [](ClientCall& call, auto&) { call.request.chain.runs[0].first_position = 0xfffffff8; }},
      {"places: 7 for 8 keys", [](ClientCall& call, auto&) { call.request.places.pop_back(); }},
      {"places[3].pieces have 65535 bytes together",
       [](ClientCall& call, auto&) { --call.request.places[3].pieces[0].length; }},
      {"places[3].pieces[0] has 65537 bytes",
       [](ClientCall& call, auto&) { ++call.request.places[3].pieces[0].length; }},
      {"places[0].pieces[1] has 18446744073709551615 bytes",
       [](ClientCall& call, auto&) {
         call.request.places[0].pieces[0].length = 1;
         call.request.places[0].pieces.push_back(
             {.region = 1, .length = std::numeric_limits<std::uint64_t>::max()});
       }},
      {"places[0].pieces[1] has 0 bytes",
       [](ClientCall& call, auto&) { call.request.places[0].pieces.push_back({.region = 1}); }},
      {"places[1].valid_tokens is 17",
       [](ClientCall& call, auto&) { call.request.places[1].valid_tokens = 17; }},
  };
  for (const Case& bad : cases) {
    ClientCall call = Call(space, chain, 0, 8);
    bad.spoil(call, long_key);
    const BatchAnswer put = time_.Run(cache_->Put(link_, call.request));
    EXPECT_EQ(put.status.code(), StatusCode::kInvalid) << bad.message;
    EXPECT_THAT(put.status.message(), HasSubstr(bad.message));
    EXPECT_TRUE(put.blocks.empty());
    const BatchAnswer get = time_.Run(cache_->Get(link_, call.request));
    EXPECT_EQ(get.status.message(), put.status.message());
    if (bad.message.starts_with("places")) continue;
    EXPECT_EQ(cache_->Match(call.request.chain).status.message(), put.status.message());
    EXPECT_EQ(time_.Run(cache_->Remove(call.request.chain)).status.message(), put.status.message());
  }
  EXPECT_EQ(cache_->Counters().blocks, 0u);
  EXPECT_EQ(cache_->arena().Stats().frames, 0u);
}

}  // namespace
}  // namespace terrace
