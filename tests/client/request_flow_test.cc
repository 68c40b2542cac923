#include "client/session/request_flow.h"

#include <gtest/gtest.h>

#include "tests/client/paper_client.h"

namespace terrace {
namespace {

class RequestFlowTest : public ::testing::Test {
 protected:
  RequestFlowTest() { client_.OpenWithNamespace(); }
  bool InDoubt() const {
    return client_.regions_.Quiesce(client_.region_, 0).code() != StatusCode::kOk;
  }
  void ExpectAll(const RequestRef& request, StatusCode code) {
    ASSERT_TRUE(PaperClient::Finished(request));
    ASSERT_TRUE(request->status.ok()) << request->status.ToString();
    ASSERT_EQ(request->blocks.size(), 8U);
    for (const BlockResult& block : request->blocks) EXPECT_EQ(block.status, code);
  }

  mutable PaperClient client_{2};
};

TEST_F(RequestFlowTest, AnswersOfAllReactorsMakeOneAnswer) {
  const RequestRef get = client_.MakeGet(kSecond);
  ASSERT_EQ(get->parts.size(), 2U) << "the keys of this test lie on both reactors";
  client_.session_->Start(get);
  client_.AnswerBlocks(get, 1, StatusCode::kOk);
  EXPECT_FALSE(PaperClient::Finished(get));
  client_.AnswerBlocks(get, 0, StatusCode::kOk);
  ExpectAll(get, StatusCode::kOk);
  EXPECT_FALSE(InDoubt());
  EXPECT_EQ(client_.flow_.active(), 0U);
  EXPECT_EQ(client_.log(0).withdrawn.size() + client_.log(1).withdrawn.size(), 2U);
  client_.AnswerBlocks(get, 0, StatusCode::kMiss);  // twice: met by nobody
  ExpectAll(get, StatusCode::kOk);
}

TEST_F(RequestFlowTest, DeadlineEndsAMatch) {
  const RequestRef match = client_.MakeMatch(100 * kMillisecond);
  client_.session_->Start(match);
  client_.Pass(99 * kMillisecond);
  EXPECT_FALSE(PaperClient::Finished(match));
  client_.Pass(kMillisecond);
  ASSERT_TRUE(PaperClient::Finished(match));
  EXPECT_EQ(match->status.code(), StatusCode::kTimeout);
}

TEST_F(RequestFlowTest, GetThatIsQuietAtItsDeadlineTimesOutAtOnce) {
  const RequestRef get = client_.MakeGet(100 * kMillisecond);
  client_.session_->Start(get);
  client_.AnswerBlocks(get, 0, StatusCode::kOk);
  client_.Pass(100 * kMillisecond);
  ASSERT_TRUE(PaperClient::Finished(get));
  for (std::size_t part = 0; part < 2; ++part) {
    for (const std::uint32_t index : get->parts[part].blocks) {
      EXPECT_EQ(get->blocks[index].status, part == 0 ? StatusCode::kOk : StatusCode::kTimeout);
    }
  }
  const auto cancels = client_.log(get->parts[1].shard).OfKind(wire::Body_Cancel);
  ASSERT_EQ(cancels.size(), 1U) << "the daemon need not work on";
  EXPECT_EQ(cancels[0]->body_as_Cancel()->request_id(), get->parts[1].request_id);
  EXPECT_FALSE(InDoubt());
}

TEST_F(RequestFlowTest, CallWaitsForTheDaemonToLetGoOfItsMemory) {
  client_.log(0).quiet_at_once = client_.log(1).quiet_at_once = false;
  const RequestRef get = client_.MakeGet(100 * kMillisecond);
  client_.session_->Start(get);
  client_.Pass(600 * kMillisecond);
  EXPECT_FALSE(PaperClient::Finished(get)) << "the memory may still change";
  for (const RequestPart& part : get->parts) {
    client_.log(part.shard).handler->OnQuiet(part.request_id);
  }
  ExpectAll(get, StatusCode::kTimeout);
  EXPECT_FALSE(InDoubt());
}

TEST_F(RequestFlowTest, NobodyConfirmsAndTheRegionIsInDoubtUntilSomebodyDoes) {
  client_.log(0).quiet_at_once = client_.log(1).quiet_at_once = false;
  const RequestRef get = client_.MakeGet(100 * kMillisecond);
  client_.session_->Start(get);
  client_.Pass(100 * kMillisecond + kQuietGrace - 1);
  EXPECT_FALSE(PaperClient::Finished(get));
  // Heartbeats are answered meanwhile: the daemon lives, it is only slow.
  client_.Pass(1);
  ExpectAll(get, StatusCode::kInDoubt);
  EXPECT_TRUE(InDoubt());
  client_.log(0).handler->OnQuiet(get->parts[0].request_id);
  EXPECT_TRUE(InDoubt()) << "the other reactor may still write";
  client_.log(1).handler->OnQuiet(get->parts[1].request_id);
  EXPECT_FALSE(InDoubt());
}

TEST_F(RequestFlowTest, EndOfTheConnectionEndsDoubt) {
  client_.log(0).quiet_at_once = client_.log(1).quiet_at_once = false;
  const RequestRef get = client_.MakeGet(100 * kMillisecond);
  client_.session_->Start(get);
  client_.Pass(100 * kMillisecond + kQuietGrace);
  ExpectAll(get, StatusCode::kInDoubt);
  client_.log(0).End("killed");
  client_.log(1).End("killed");
  client_.Turn();
  EXPECT_FALSE(InDoubt());
}

TEST_F(RequestFlowTest, WhatADaemonMayYetWriteStaysInDoubtWhenTheClientEnds) {
  client_.log(0).quiet_at_once = client_.log(1).quiet_at_once = false;
  const RequestRef get = client_.MakeGet(10 * kSecond);
  client_.session_->Start(get);
  const auto fence = std::make_shared<CallWatch>(true);
  client_.flow_.Watch({.which = CallQuery::Which::kTicket, .ticket = get->ticket, .gives_up = true},
                      fence);
  EXPECT_FALSE(PaperClient::Finished(get)) << "cancelled, and the memory may still change";
  client_.flow_.DoubtTheRest();
  ExpectAll(get, StatusCode::kInDoubt);
  // Closed by the client: the daemon may be in the middle of a copy all the same.
  client_.log(0).End("closed");
  client_.log(1).End("closed");
  client_.Turn();
  EXPECT_TRUE(InDoubt());
  EXPECT_TRUE(fence->doubted);
}

TEST_F(RequestFlowTest, LateReplyChangesNothing) {
  client_.log(0).quiet_at_once = client_.log(1).quiet_at_once = false;
  const RequestRef get = client_.MakeGet(100 * kMillisecond);
  client_.session_->Start(get);
  client_.Pass(100 * kMillisecond);
  client_.AnswerBlocks(get, 0, StatusCode::kOk);
  client_.AnswerBlocks(get, 1, StatusCode::kOk);
  EXPECT_FALSE(PaperClient::Finished(get));
  for (const RequestPart& part : get->parts) {
    client_.log(part.shard).handler->OnQuiet(part.request_id);
  }
  ExpectAll(get, StatusCode::kTimeout);
}

TEST_F(RequestFlowTest, DeadDaemonEndsEveryWaitWithPeerDead) {
  const RequestRef get = client_.MakeGet(10 * kSecond);
  const RequestRef match = client_.MakeMatch(10 * kSecond);
  client_.session_->Start(get);
  client_.session_->Start(match);
  client_.log(1).End("connection reset");
  EXPECT_FALSE(PaperClient::Finished(match)) << "never inside a call into the channel";
  client_.Turn();
  EXPECT_TRUE(client_.session_->ended.IsSet());
  // The session ends as a whole: the other reactor's parts are abandoned by its owner.
  const auto unquiet = client_.session_->End(Status(StatusCode::kPeerDead, "reset"));
  EXPECT_TRUE(unquiet.empty());
  ExpectAll(get, StatusCode::kPeerDead);
  EXPECT_EQ(match->status.code(), StatusCode::kPeerDead);
  EXPECT_FALSE(InDoubt());
}

TEST_F(RequestFlowTest, AnswerThatComesTooLateGivesBackWhatItLends) {
  const std::vector<std::byte> late = BuildMessage<wire::BlocksReply>(
      {.request_id = 987'654}, [](flatbuffers::FlatBufferBuilder& builder) {
        const auto statuses = builder.CreateVector(std::vector<std::uint8_t>{0, 1, 0});
        const std::vector<wire::Loan> loans = {wire::Loan(0, 1, 7, 1, 0, 4096), wire::Loan(),
                                               wire::Loan(0, 1, 9, 1, 4096, 4096)};
        const auto list = builder.CreateVectorOfStructs(loans);
        return wire::CreateBlocksReply(builder, statuses, 0, 0, 0, 0, list);
      });
  client_.log(0).Deliver(late);
  EXPECT_EQ(client_.log(0).loans, (std::vector<std::uint32_t>{7, 9}));
}

TEST_F(RequestFlowTest, ChannelThatEndsInsideSendHurtsNobody) {
  client_.log(0).End("reset");  // told later: until then sends go nowhere
  const RequestRef get = client_.MakeGet(10 * kSecond);
  client_.session_->Start(get);
  client_.Turn();
  const RequestRef later = client_.MakeMatch(10 * kSecond);
  client_.session_->Start(later);
  ASSERT_TRUE(PaperClient::Finished(later)) << "a lost session takes nothing";
  EXPECT_EQ(later->status.code(), StatusCode::kPeerDead);
  EXPECT_TRUE(client_.session_->End(Status(StatusCode::kPeerDead, "reset")).empty());
  ExpectAll(get, StatusCode::kPeerDead);
}

TEST_F(RequestFlowTest, MemoryThatIsNotQuietOutlivesItsSession) {
  client_.log(1).quiet_at_once = false;
  const RequestRef get = client_.MakeGet(10 * kSecond);
  client_.session_->Start(get);
  auto unquiet = client_.session_->End(Status(StatusCode::kPeerDead, "silent"));
  ASSERT_EQ(unquiet.size(), 1U);
  EXPECT_TRUE(client_.log(0).destroyed);
  EXPECT_FALSE(PaperClient::Finished(get)) << "a stopped daemon may go on and write";
  client_.Pass(kQuietGrace);
  ASSERT_TRUE(PaperClient::Finished(get));
  for (const RequestPart& part : get->parts) {
    for (const std::uint32_t index : part.blocks) {
      EXPECT_EQ(get->blocks[index].status,
                part.shard == 0 ? StatusCode::kPeerDead : StatusCode::kInDoubt);
    }
  }
  EXPECT_TRUE(InDoubt());
  unquiet[0]->Close(Status(StatusCode::kCancelled, "given up"));
  EXPECT_TRUE(unquiet[0]->idle());
  EXPECT_FALSE(InDoubt());
}

TEST_F(RequestFlowTest, EventsOfOneReactorDoNotWaitForTheOthers) {
  const RequestRef read = client_.Builder(kSecond).ReadEvents(RequestKind::kReadEvents, {}, {});
  ASSERT_EQ(read->parts.size(), 2U);
  client_.session_->Start(read);
  const auto answer = [&](std::size_t which, bool with_event) {
    const RequestPart& part = read->parts[which];
    client_.log(part.shard)
        .Deliver(BuildMessage<wire::EventsReply>(
            {.request_id = part.request_id}, [&](flatbuffers::FlatBufferBuilder& builder) {
              std::vector<flatbuffers::Offset<wire::BlockEvent>> events;
              if (with_event) events.push_back(wire::CreateBlockEvent(builder, 7, 1, 0, 4, 31));
              const auto space = wire::CreateEventSpace(builder, 31, builder.CreateString("space"));
              const auto spaces = builder.CreateVector(&space, 1);
              return wire::CreateEventsReply(builder, 99, false, 0, 0, 8, 8,
                                             builder.CreateVector(events), spaces);
            }));
  };
  EXPECT_TRUE(client_.log(1).OfKind(wire::Body_Cancel).empty());
  answer(0, true);
  const auto hurried = client_.log(1).OfKind(wire::Body_Cancel);
  ASSERT_EQ(hurried.size(), 1U);
  EXPECT_EQ(hurried[0]->body_as_Cancel()->request_id(), read->parts[1].request_id);
  EXPECT_FALSE(PaperClient::Finished(read)) << "the other's events are to come, too";
  answer(1, true);
  ASSERT_TRUE(PaperClient::Finished(read));
  ASSERT_TRUE(read->status.ok()) << read->status.ToString();
  ASSERT_EQ(read->events.events.size(), 2U);
  EXPECT_EQ(read->events.events[1].reactor, 1U);
  EXPECT_EQ(read->events.cursor.reactors[1].sequence, 8U);
}

TEST_F(RequestFlowTest, RequestPastItsDeadlineIsNotSent) {
  const RequestRef get = client_.MakeGet(kMillisecond);
  client_.clock_.Advance(kMillisecond);
  client_.session_->Start(get);
  ASSERT_TRUE(PaperClient::Finished(get));
  EXPECT_EQ(get->status.code(), StatusCode::kTimeout);
  EXPECT_TRUE(client_.log(0).OfKind(wire::Body_Get).empty());
  EXPECT_FALSE(InDoubt());
}

}  // namespace
}  // namespace terrace
