// Cancel, fence and drain over a channel made of paper, on a ManualClock.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "tests/client/paper_client.h"

namespace terrace {
namespace {

class RequestWatchTest : public ::testing::Test {
 protected:
  RequestWatchTest() { client_.OpenWithNamespace(); }
  std::shared_ptr<CallWatch> Watch(CallQuery query, bool until_quiet) {
    auto watch = std::make_shared<CallWatch>(until_quiet);
    client_.flow_.Watch(query, watch);
    return watch;
  }
  /// Blocks [first, first + count) of the memory that MakeGet uses.
  CallQuery MemoryOf(std::size_t first, std::size_t bytes, bool gives_up = true) {
    return {.which = CallQuery::Which::kMemory,
            .memory = {std::span<const std::byte>(client_.memory_).subspan(first, bytes)},
            .gives_up = gives_up};
  }
  void LetGo(const RequestRef& request) {
    for (const RequestPart& part : request->parts) {
      client_.log(part.shard).handler->OnQuiet(part.request_id);
    }
  }
  void DaemonHoldsOn() { client_.log(0).quiet_at_once = client_.log(1).quiet_at_once = false; }

  PaperClient client_{2};
};

TEST_F(RequestWatchTest, CancelledCallIsQuietOnlyWhenTheDaemonHasLetGo) {
  DaemonHoldsOn();
  const RequestRef get = client_.MakeGet(10 * kSecond);
  get->ticket = 7;
  client_.session_->Start(get);
  const auto watch =
      Watch({.which = CallQuery::Which::kTicket, .ticket = 7, .gives_up = true}, true);
  client_.Pass(100 * kMillisecond);
  EXPECT_FALSE(watch->reached.IsSet());
  EXPECT_TRUE(client_.completions_->Take(1).empty());
  EXPECT_EQ(client_.log(0).OfKind(wire::Body_Cancel).size(), 1U);
  const auto twice =
      Watch({.which = CallQuery::Which::kTicket, .ticket = 7, .gives_up = true}, true);
  EXPECT_EQ(client_.log(0).OfKind(wire::Body_Cancel).size(), 1U) << "told once";
  LetGo(get);
  EXPECT_TRUE(watch->reached.IsSet());
  EXPECT_TRUE(twice->reached.IsSet());
  const auto done = client_.completions_->Take(2);
  ASSERT_EQ(done.size(), 1U);
  EXPECT_TRUE(done[0].status.ok());
  for (const BlockResult& block : done[0].blocks) EXPECT_EQ(block.status, StatusCode::kCancelled);
  const auto late =
      Watch({.which = CallQuery::Which::kTicket, .ticket = 7, .gives_up = true}, true);
  EXPECT_TRUE(late->reached.IsSet()) << "it had ended";
}

TEST_F(RequestWatchTest, AskingAgainAndAgainWhileTheDaemonStandsStillTakesNoMemory) {
  DaemonHoldsOn();
  const RequestRef get = client_.MakeGet(10 * kSecond);
  get->ticket = 7;
  client_.session_->Start(get);
  const auto waits = Watch({.which = CallQuery::Which::kTicket, .ticket = 7}, true);
  for (int i = 0; i < 5000; ++i) {
    const auto poll =
        Watch({.which = CallQuery::Which::kTicket, .ticket = 7, .gives_up = true}, true);
    EXPECT_FALSE(poll->reached.IsSet());
    poll->abandoned = true;
  }
  EXPECT_LE(get->watches.size(), 16U);
  EXPECT_FALSE(waits->reached.IsSet());
  LetGo(get);
  EXPECT_TRUE(waits->reached.IsSet()) << "who still waits is told";
}

TEST_F(RequestWatchTest, FenceMeetsEveryPieceOfABlockAndNothingBetweenThem) {
  const RequestRef get = client_.MakeGet(10 * kSecond);
  const std::span<std::byte> memory(client_.memory_);
  for (RequestPart& part : get->parts) {
    PieceMemory pieces;
    for (std::size_t block = 0; block < part.blocks.size(); ++block) {
      pieces.BeginBlock();
      pieces.Add(memory.subspan(0, 16));
      pieces.Add(memory.subspan(64, 16));
    }
    part.memory = std::move(pieces);
  }
  client_.session_->Start(get);
  EXPECT_TRUE(Watch(MemoryOf(16, 48), true)->reached.IsSet());
  EXPECT_FALSE(PaperClient::Finished(get)) << "nothing of it lies there";
  EXPECT_TRUE(Watch(MemoryOf(79, 1), true)->reached.IsSet());
  EXPECT_TRUE(PaperClient::Finished(get)) << "the last byte of a second piece";
}

TEST_F(RequestWatchTest, FenceOfThousandsOfCallsIsNotTheWorkOfOneTurn) {
  // Whose turn it is may be a scheduler thread, which has 1 ms.
  std::vector<RequestRef> gets;
  for (std::size_t i = 0; i < 3 * kWatchedAtOnce; ++i) {
    gets.push_back(client_.MakeGet(10 * kSecond));
    client_.session_->Start(gets.back());
  }
  const auto finished = [&gets] {
    return static_cast<std::size_t>(std::count_if(gets.begin(), gets.end(), PaperClient::Finished));
  };
  const auto watch = Watch(MemoryOf(0, 1), true);
  EXPECT_EQ(finished(), kWatchedAtOnce);
  EXPECT_FALSE(watch->reached.IsSet());
  const RequestRef later = client_.MakeGet(10 * kSecond);
  client_.session_->Start(later);
  const auto other = Watch(MemoryOf(0, 1), true);
  client_.Turn();
  EXPECT_EQ(finished(), gets.size());
  EXPECT_TRUE(watch->reached.IsSet());
  EXPECT_TRUE(PaperClient::Finished(later)) << "meant by the second fence";
  EXPECT_TRUE(other->reached.IsSet());
}

TEST_F(RequestWatchTest, FenceOfManyCallsIsOverWhenTheClientEndsInTheMiddle) {
  for (std::size_t i = 0; i < 2 * kWatchedAtOnce; ++i) {
    client_.session_->Start(client_.MakeGet(10 * kSecond));
  }
  const auto watch = Watch(MemoryOf(0, 1), true);
  EXPECT_FALSE(watch->reached.IsSet());
  client_.flow_.FinishWatching();
  EXPECT_TRUE(watch->reached.IsSet());
}

TEST_F(RequestWatchTest, DrainThatOnlyLooksLeavesNothingAtThousandsOfCalls) {
  const RequestRef get = client_.MakeGet(kSecond);
  get->ticket = 3;
  client_.session_->Start(get);
  const CallQuery look{.which = CallQuery::Which::kSubmitted, .only_looks = true};
  EXPECT_FALSE(Watch(look, false)->reached.IsSet());
  EXPECT_TRUE(get->watches.empty());
  client_.Pass(2 * kSecond);
  EXPECT_TRUE(Watch(look, false)->reached.IsSet());
}

TEST_F(RequestWatchTest, FenceThatOnlyLooksAgainAndAgainGivesUpEachCallOnce) {
  DaemonHoldsOn();
  std::vector<RequestRef> gets;
  for (std::size_t i = 0; i < 3 * kWatchedAtOnce; ++i) {
    gets.push_back(client_.MakeGet(10 * kSecond));
    client_.session_->Start(gets.back());
  }
  CallQuery look = MemoryOf(0, 1);
  look.only_looks = true;
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(Watch(look, true)->reached.IsSet());
  client_.Turn();
  EXPECT_EQ(client_.log(0).OfKind(wire::Body_Cancel).size(), gets.size());
  EXPECT_FALSE(Watch(look, true)->reached.IsSet()) << "the daemon has not let go";
  for (const RequestRef& get : gets) {
    EXPECT_TRUE(get->watches.empty());
    LetGo(get);
  }
  EXPECT_TRUE(Watch(look, true)->reached.IsSet());
}

TEST_F(RequestWatchTest, CancelledCallKeepsWhatHadArrived) {
  const RequestRef get = client_.MakeGet(10 * kSecond);
  get->ticket = 7;
  client_.session_->Start(get);
  client_.AnswerBlocks(get, 0, StatusCode::kOk);
  const auto watch =
      Watch({.which = CallQuery::Which::kTicket, .ticket = 7, .gives_up = true}, true);
  EXPECT_TRUE(watch->reached.IsSet());
  const auto done = client_.completions_->Take(1);
  ASSERT_EQ(done.size(), 1U);
  for (std::size_t part = 0; part < 2; ++part) {
    for (const std::uint32_t index : get->parts[part].blocks) {
      EXPECT_EQ(done[0].blocks[index].status, part == 0 ? StatusCode::kOk : StatusCode::kCancelled);
    }
  }
}

TEST_F(RequestWatchTest, FenceMeetsEveryCallOfItsBytesAndNoOther) {
  constexpr std::size_t kBlock = PaperClient::kBlockBytes;
  const RequestRef get = client_.MakeGet(10 * kSecond);
  client_.session_->Start(get);
  EXPECT_TRUE(Watch(MemoryOf(8 * kBlock, kBlock), true)->reached.IsSet()) << "just behind it";
  EXPECT_FALSE(PaperClient::Finished(get));
  const auto watch = Watch(MemoryOf(8 * kBlock - 1, 1), true);
  EXPECT_TRUE(watch->reached.IsSet());
  ASSERT_TRUE(PaperClient::Finished(get)) << "its last byte";
  EXPECT_EQ(get->blocks[7].status, StatusCode::kCancelled);
}

TEST_F(RequestWatchTest, StretchesInAnyOrderAndOneOverTheOtherAreTheSameBytes) {
  std::vector<std::byte> bytes(100);
  const auto at = [&bytes](std::size_t first, std::size_t count) {
    return std::span<const std::byte>(bytes).subspan(first, count);
  };
  const auto apart = Apart({at(50, 10), at(0, 5), at(52, 2), at(58, 12), at(5, 1), at(90, 10)});
  ASSERT_EQ(apart.size(), 3U);
  EXPECT_EQ(apart[0].data(), bytes.data());
  EXPECT_EQ(apart[0].size(), 6U) << "side by side they are one";
  EXPECT_EQ(apart[1].data(), bytes.data() + 50);
  EXPECT_EQ(apart[1].size(), 20U);
  EXPECT_EQ(apart[2].size(), 10U);
  EXPECT_TRUE(Apart({}).empty());
}

TEST_F(RequestWatchTest, FenceWaitsForCallsThatAreInDoubt) {
  DaemonHoldsOn();
  const RequestRef get = client_.MakeGet(100 * kMillisecond);
  client_.session_->Start(get);
  client_.Pass(100 * kMillisecond + kQuietGrace);
  ASSERT_TRUE(PaperClient::Finished(get));
  EXPECT_EQ(get->blocks[0].status, StatusCode::kInDoubt);
  const auto watch = Watch(MemoryOf(0, 1), true);
  const auto drained = Watch({.which = CallQuery::Which::kSubmitted}, false);
  EXPECT_TRUE(drained->reached.IsSet()) << "it has been answered";
  EXPECT_FALSE(watch->reached.IsSet());
  LetGo(get);
  EXPECT_TRUE(watch->reached.IsSet());
}

TEST_F(RequestWatchTest, FenceOfADaemonThatIsGoneIsOver) {
  DaemonHoldsOn();
  const RequestRef get = client_.MakeGet(10 * kSecond);
  client_.session_->Start(get);
  const auto watch = Watch(MemoryOf(0, 1), true);
  client_.Pass(2 * kQuietGrace);
  EXPECT_FALSE(watch->reached.IsSet()) << "a daemon that only stands still may still write";
  client_.log(0).End("killed");
  client_.log(1).End("killed");
  client_.Turn();
  EXPECT_TRUE(watch->reached.IsSet());
}

TEST_F(RequestWatchTest, DrainWaitsForSubmittedCallsOnlyAndCancelsNone) {
  const RequestRef waited = client_.MakeMatch(10 * kSecond);
  client_.session_->Start(waited);
  EXPECT_TRUE(Watch({.which = CallQuery::Which::kSubmitted}, false)->reached.IsSet());
  const RequestRef get = client_.MakeGet(kSecond);
  get->ticket = 3;
  client_.session_->Start(get);
  const auto watch = Watch({.which = CallQuery::Which::kSubmitted}, false);
  client_.Pass(900 * kMillisecond);
  EXPECT_FALSE(watch->reached.IsSet());
  const RequestRef later = client_.MakeGet(10 * kSecond);
  later->ticket = 4;
  client_.session_->Start(later);
  client_.AnswerBlocks(get, 0, StatusCode::kOk);
  client_.AnswerBlocks(get, 1, StatusCode::kOk);
  EXPECT_TRUE(watch->reached.IsSet()) << "what came after it does not count";
  EXPECT_EQ(client_.completions_->Take(5).size(), 1U);
  client_.Pass(20 * kSecond);  // so that all have ended
}

}  // namespace
}  // namespace terrace
