// What a client said of a request reaches the policy with whatever the request does.
#include <vector>

#include "tests/cache/cache_nvme_fixture.h"
#include "tests/cache/listening_policy.h"

namespace terrace {
namespace {

using testing::CacheNvmeTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using testing::Heard;
using testing::HeardFacts;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

constexpr RequestFacts kSaid{.tenant = 99,  // not the client's to say
                             .session = 11,
                             .category = 12,
                             .turn = 13,
                             .continuation = Continuation::kWillContinue};

class CacheFactsTest : public CacheNvmeTest {
 protected:
  void SetUp() override {
    cache_options_.policy_kind = &testing::kListeningPolicy;
    MakeMedia();
    cache_->NameReservations(random_, 9, 0);
    space_ = Open("acme", "a");
    HeardFacts().clear();
  }
  ClientCall Told(const ChainKeys& chain, std::size_t first, std::size_t count) {
    ClientCall call = Call(space_, chain, first, count);
    call.request.facts = kSaid;
    return call;
  }
  std::string PutTold(const ChainKeys& chain, std::size_t first, std::size_t count) {
    const ClientCall call = Told(chain, first, count);
    FillSources(call, memory_);
    return StatusText(time_.Run(cache_->Put(link_, call.request)));
  }
  /// What was heard since the last time: the calls in their order, each with these facts.
  std::vector<std::string> HeardWithThem() {
    std::vector<std::string> calls;
    for (const Heard& heard : HeardFacts()) {
      calls.push_back(heard.call);
      EXPECT_EQ(heard.facts.tenant, space_->tenant_id) << heard.call;
      EXPECT_EQ(heard.facts.session, 11U) << heard.call;
      EXPECT_EQ(heard.facts.category, 12U) << heard.call;
      EXPECT_EQ(heard.facts.turn, 13U) << heard.call;
      EXPECT_EQ(heard.facts.continuation, Continuation::kWillContinue) << heard.call;
    }
    HeardFacts().clear();
    return calls;
  }

  using Calls = std::vector<std::string>;
  const Namespace* space_ = nullptr;
};

TEST_F(CacheFactsTest, OfAPutAndAGet) {
  const ChainKeys chain = MakeChain("c", 3);
  EXPECT_EQ(PutTold(chain, 0, 2), "ok ok");
  EXPECT_EQ(HeardWithThem(), (Calls{"extend", "insert", "insert"}));
  EXPECT_EQ(PutTold(chain, 0, 3), "exists exists ok");
  EXPECT_EQ(HeardWithThem(), (Calls{"touch", "extend", "insert"}));
  const ClientCall get = Told(chain, 0, 3);
  EXPECT_EQ(StatusText(time_.Run(cache_->Get(link_, get.request))), "ok ok ok");
  EXPECT_EQ(HeardWithThem(), Calls{"touch"});
}

TEST_F(CacheFactsTest, WhatComputingCostsGoesWithEveryRequest) {
  space_->cost.Set({.first_token_s = 0.5, .per_context_s = 0.25});
  const ChainKeys chain = MakeChain("c", 3);
  EXPECT_EQ(PutTold(chain, 0, 3), "ok ok ok");
  const ClientCall get = Told(chain, 0, 2);
  EXPECT_EQ(StatusText(time_.Run(cache_->Get(link_, get.request))), "ok ok");
  EXPECT_EQ(StatusText(cache_->Touch(SliceOf(*space_, chain, 0, 2), kSaid)), "ok ok");
  ASSERT_EQ(HeardFacts().size(), 6U);
  for (std::size_t i = 0; i < 6; ++i) {
    const RequestFacts& facts = HeardFacts()[i].facts;
    EXPECT_EQ(facts.space, space_->id);
    EXPECT_EQ(facts.block_bytes, space_->spec.groups.front().block_bytes);
    EXPECT_EQ(facts.cost_per_byte, space_->CostPerByte(i < 4 ? 3 : 2)) << i;
  }
  EXPECT_GT(space_->CostPerByte(3), space_->CostPerByte(2));
  HeardFacts().clear();
}

TEST_F(CacheFactsTest, OfATouch) {
  const ChainKeys chain = MakeChain("c", 2);
  Put(space_, chain, 0, 2);
  HeardFacts().clear();
  EXPECT_EQ(StatusText(cache_->Touch(SliceOf(*space_, chain, 0, 2), kSaid)), "ok ok");
  EXPECT_EQ(HeardWithThem(), Calls{"touch"});
}

TEST_F(CacheFactsTest, OfAReservation) {
  const ChainKeys chain = MakeChain("c", 1);
  const ReserveRequest request{
      .chain = SliceOf(*space_, chain, 0, 1), .patience = kSecond, .facts = kSaid};
  const ReserveAnswer answer = cache_->Reserve(link_, 1, request);
  EXPECT_EQ(answer.outcome, StatusCode::kOk);
  EXPECT_EQ(HeardWithThem(), (Calls{"extend", "insert"}));
}

TEST_F(CacheFactsTest, OfAHandoff) {
  const ChainKeys chain = MakeChain("c", 2);
  const HandoffRequest request{.number = {.high = 0, .low = 1},
                               .chain = SliceOf(*space_, chain, 0, 2),
                               .valid_tokens = {},
                               .patience = kSecond,
                               .keep = kSecond,
                               .receivers = 1,
                               .facts = kSaid};
  const BatchAnswer answer = time_.Run(cache_->OpenHandoff(link_, 1, "acme", request));
  EXPECT_EQ(StatusText(answer), "ok ok");
  EXPECT_EQ(HeardWithThem(), (Calls{"extend", "insert", "insert"}));
}

TEST_F(CacheFactsTest, OfWhatComesBackFromNvme) {
  const ChainKeys got = MakeChain("got", 2);
  const ChainKeys fetched = MakeChain("fetched", 2);
  Put(space_, got, 0, 2);
  Put(space_, fetched, 0, 2);
  PushOut(space_, got);
  PushOut(space_, fetched);
  HeardFacts().clear();
  const ClientCall get = Told(got, 0, 2);
  EXPECT_EQ(StatusText(time_.Run(cache_->Get(link_, get.request))), "ok ok");
  EXPECT_EQ(HeardWithThem(), (Calls{"return", "return"}));
  const PrefetchRequest prefetch{
      .chain = SliceOf(*space_, fetched, 0, 2), .deadline = time_.Now() + kSecond, .facts = kSaid};
  EXPECT_EQ(StatusText(time_.Run(cache_->Prefetch(prefetch))), "ok ok");
  EXPECT_EQ(HeardWithThem(), (Calls{"return", "return"}));
}

}  // namespace
}  // namespace terrace
