// Hand-offs in one reactor's cache, in simulated time: whose blocks they are, what they may hold,
// and what their end leaves.
#include "cache/handoffs.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "tests/cache/cache_fixture.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using testing::MakeChain;
using testing::SliceOf;
using testing::StatusText;

constexpr std::uint64_t kAda = 1;  // clients
constexpr std::uint64_t kBob = 2;
constexpr HandoffNumber kFirst{.high = 0, .low = 1};
constexpr HandoffNumber kSecondOne{.high = 0, .low = 2};

Hash128 Constant(std::span<const std::byte>) noexcept { return {.low = 7, .high = 7}; }

class HandoffsTest : public CacheTest {
 protected:
  void SetUp() override { Begin({}); }
  void TearDown() override {
    time_.Run(cache_->Close());
    EXPECT_EQ(cache_->Counters().handoffs, 0u);
    EXPECT_EQ(cache_->Counters().handoff_bytes, 0u);
    CacheTest::TearDown();
  }
  void Begin(const CacheOptions& options) {
    cache_.reset();
    MakeCache(16 << 20, options);
    cache_->NameReservations(random_, 9, 0);
    space_ = Open("acme", "a");
    chain_ = MakeChain("c", 200);
  }
  HandoffRequest Request(HandoffNumber number, std::size_t first, std::size_t count,
                         std::uint32_t receivers = 1) {
    return {.number = number,
            .chain = SliceOf(*space_, chain_, first, count),
            .valid_tokens = {},
            .patience = 10 * kSecond,
            .keep = 30 * kSecond,
            .receivers = receivers};
  }
  BatchAnswer OpenHandoff(HandoffNumber number, std::size_t first, std::size_t count) {
    const HandoffRequest request = Request(number, first, count);
    return time_.Run(cache_->OpenHandoff(link_, kAda, "acme", request));
  }
  /// Sends whole blocks.
  std::string Send(HandoffNumber number, const ChainKeys& chain, std::size_t first,
                   std::size_t count) {
    ClientCall call = Call(space_, chain, first, count);
    FillSources(call, memory_);
    call.request.handoff = number;
    return StatusText(time_.Run(cache_->Send(link_, kAda, "acme", call.request)));
  }
  std::string Receive(HandoffNumber number, const ChainKeys& chain, std::size_t first,
                      std::size_t count) {
    ClientCall call = Call(space_, chain, first, count);
    call.request.handoff = number;
    call.request.waits = true;
    return StatusText(time_.Run(cache_->Get(link_, call.request)));
  }

  const Namespace* space_ = nullptr;
  ChainKeys chain_;
};

TEST_F(HandoffsTest, AnotherKeyOfTheSameLocatorIsNotOfTheHandoff) {
  CacheOptions options;
  options.locator_hash = Constant;
  Begin(options);
  EXPECT_EQ(StatusText(OpenHandoff(kFirst, 0, 1)), "ok");
  const ChainKeys other = MakeChain("other", 1);
  EXPECT_EQ(Receive(kFirst, other, 0, 1), "invalid");
  EXPECT_EQ(Send(kFirst, other, 0, 1), "invalid");
  EXPECT_EQ(Send(kFirst, chain_, 0, 1), "ok");
  EXPECT_EQ(StatusText(Get(space_, chain_, 0, 1)), "ok");
  EXPECT_GE(cache_->Counters().key_mismatches, 2u);
}

TEST_F(HandoffsTest, AClientHasAQuarterOfTheArenaAndTheRestIsTold) {
  const BatchAnswer answer = OpenHandoff(kFirst, 0, 100);
  const auto reserved = std::ranges::count(answer.blocks, StatusCode::kOk, &BlockAnswer::status);
  EXPECT_EQ(static_cast<std::uint64_t>(reserved) * kBlockBytes, 4u << 20);
  EXPECT_EQ(answer.blocks.back().status, StatusCode::kRetry);
  EXPECT_EQ(cache_->Counters().handoff_bytes, 4u << 20);
}

TEST_F(HandoffsTest, BlocksOfHandoffsThatAreOpeningCount) {
  // Each is refused or charged before it takes its first turn.
  constexpr std::size_t kMost = 6;
  const ChainKeys large = MakeChain("large", 60'000);
  std::vector<HandoffRequest> requests;
  std::vector<std::optional<BatchAnswer>> answers(kMost);
  requests.reserve(kMost);
  TaskScope flows;
  const auto open = [&](std::size_t which) -> Task<void> {
    answers[which] = co_await cache_->OpenHandoff(link_, kAda, "acme", requests[which]);
  };
  for (std::size_t i = 0; i < kMost; ++i) {
    requests.push_back({.number = {.high = 1, .low = i},
                        .chain = SliceOf(*space_, large, 0, large.size()),
                        .valid_tokens = {},
                        .patience = kSecond,
                        .keep = kSecond,
                        .receivers = 1});
    flows.Spawn(open(i));
  }
  time_.Run([&]() -> Task<void> { co_await flows.Join(); }());
  const auto refused = std::ranges::count_if(
      answers, [](const auto& answer) { return answer->status.code() == StatusCode::kRetry; });
  EXPECT_EQ(static_cast<std::size_t>(refused), kMost - Handoffs::kBlocksMax / large.size());
}

TEST_F(HandoffsTest, BytesThatAreAllThereOutliveTheirProducer) {
  EXPECT_EQ(StatusText(OpenHandoff(kFirst, 0, 2)), "ok ok");
  ClientCall call = Call(space_, chain_, 0, 2);
  FillSources(call, memory_);
  call.request.handoff = kFirst;
  TaskScope flows;
  std::optional<BatchAnswer> sent;
  const auto send = [&]() -> Task<void> {
    sent = co_await cache_->Send(link_, kAda, "acme", call.request);
  };
  flows.Spawn(send());
  while (cache_->Counters().fragments_written < 2) time_.RunUntil(time_.Now() + kMicrosecond);
  cache_->OnClientGone(kAda);  // between the last byte and the commit, or just after it
  time_.Run([&]() -> Task<void> { co_await flows.Join(); }());
  EXPECT_EQ(StatusText(*sent), "ok ok");
  EXPECT_EQ(Receive(kFirst, chain_, 0, 2), "ok ok");
}

TEST_F(HandoffsTest, ADeathInTheMiddleTakesWhatIsNotCompleteAlong) {
  EXPECT_EQ(StatusText(OpenHandoff(kFirst, 0, 2)), "ok ok");
  EXPECT_EQ(Send(kFirst, chain_, 0, 1), "ok");
  cache_->OnClientGone(kBob);
  EXPECT_EQ(Receive(kFirst, chain_, 0, 1), "ok");
  cache_->OnClientGone(kAda);
  EXPECT_EQ(Receive(kFirst, chain_, 0, 2), "ok peer_dead");
  EXPECT_EQ(OpenHandoff(kFirst, 0, 2).status.code(), StatusCode::kInvalid) << "its number is used";
  EXPECT_EQ(StatusText(OpenHandoff(kSecondOne, 0, 2)), "exists ok");
}

TEST_F(HandoffsTest, PartsMoveThePatienceAndItsEndIsTold) {
  EXPECT_EQ(StatusText(OpenHandoff(kFirst, 0, 3)), "ok ok ok");
  for (std::size_t i = 0; i < 2; ++i) {
    time_.RunUntil(time_.Now() + 8 * kSecond);
    EXPECT_EQ(Send(kFirst, chain_, i, 1), "ok");
  }
  time_.RunUntil(time_.Now() + 12 * kSecond);
  EXPECT_EQ(Receive(kFirst, chain_, 0, 3), "ok ok expired");
  EXPECT_EQ(cache_->Counters().handoff_bytes, 0u);
}

}  // namespace
}  // namespace terrace
