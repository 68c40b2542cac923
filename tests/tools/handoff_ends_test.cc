// Hand-off: how it ends, and that everybody who waits is told.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/handoff_token.h"
#include "tests/tools/frame_spoiler.h"
#include "tests/tools/handoff_fixture.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using namespace terrace::testing;  // NOLINT: the fixture and its words

class HandoffEndsTest : public HandoffTest {};
INSTANTIATE_TEST_SUITE_P(All, HandoffEndsTest, ::testing::ValuesIn(kHandoffWays), NameOfWay);

TEST_P(HandoffEndsTest, AProducerThatDiesIsToldAtOnce) {
  ExpectOpen();
  ExpectSent(0);
  ExpectLayer(Await(0), 0);
  const Ticket one = Await(1);
  const Ticket two = Await(2);
  prefill_.reset();
  ExpectAll(one, StatusCode::kPeerDead);
  ExpectAll(two, StatusCode::kPeerDead);
  ExpectAll(Await(0), StatusCode::kPeerDead);  // who comes later
  EXPECT_EQ(Visible(), 0u);
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), 0u);
}

TEST_P(HandoffEndsTest, WhatWasCompleteOutlivesItsProducer) {
  ExpectOpen();
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) ExpectSent(layer);
  prefill_.reset();
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) ExpectLayer(Await(layer), layer);
}

TEST_P(HandoffEndsTest, AnAbortIsToldAtOnce) {
  ExpectOpen();
  ExpectSent(0);
  const Ticket one = Await(1);
  EXPECT_TRUE(prefill_->client_->AbortHandoff(token_, Soon()).ok());
  ExpectAll(one, StatusCode::kCancelled);
  ExpectAll(Await(0), StatusCode::kCancelled);
  const auto sent = Send(1);
  EXPECT_EQ(sent.status().code(), StatusCode::kCancelled) << sent.status().ToString();
  EXPECT_EQ(Visible(), 0u);
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), 0u);
  EXPECT_TRUE(prefill_->client_->AbortHandoff(token_, Soon()).ok()) << "again";
}

TEST_P(HandoffEndsTest, AProducerThatStandsStillRunsOutOfPatience) {
  ExpectOpen({.patience = 2s});
  ExpectSent(0);
  ExpectAll(Await(1), StatusCode::kExpired);
  EXPECT_EQ(Gauge(&CacheCounters::handoffs), 0u);
}

TEST_P(HandoffEndsTest, EveryReceiverHasToSayThatItIsDone) {
  ExpectOpen({.receivers = 2});
  EXPECT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok()) << "early: it will not come again";
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) ExpectSent(layer);
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), kBlocks * kBlockBytes);
  EXPECT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok());
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), 0u);
  EXPECT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok()) << "it has ended";
}

TEST_P(HandoffEndsTest, AReceiverThatNeverComesHoldsNothingForLong) {
  ExpectOpen({.keep = 200ms});
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) ExpectSent(layer);
  EXPECT_TRUE(host_->Await([&] { return Gauge(&CacheCounters::handoff_bytes) == 0; }));
  EXPECT_EQ(Visible(), kBlocks) << "stored like any other block";
}

TEST_P(HandoffEndsTest, AtTheDeadlineWhatHasComeIsTold) {
  ExpectOpen();
  ExpectSent(0);
  Parts parts;
  parts.Add(0, decode_.InDestination(0, kLayerBytes), Layer(0));
  parts.Add(1, decode_.InDestination(kLayerBytes, kLayerBytes), Layer(1));
  const auto got =
      decode_.client_->Receive(token_, decode_.space_, decode_.chain_, parts.blocks, {}, In(3s));
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ((*got)[0].status, StatusCode::kOk);
  EXPECT_EQ((*got)[1].status, StatusCode::kTimeout);
  EXPECT_EQ(decode_.Destination()[100], Engine::ByteOf(0, 100));
}

TEST_P(HandoffEndsTest, ACancelledReceiveTouchesItsMemoryNoMore) {
  ExpectOpen();
  const Ticket one = Await(1);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(decode_.client_->Cancel(one, Soon()).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kAtOnce);
  ExpectAll(one, StatusCode::kCancelled);
  std::ranges::fill(decode_.memory_, std::byte{0xcc});
  ExpectSent(1);
  EXPECT_TRUE(
      std::ranges::all_of(decode_.memory_, [](auto byte) { return byte == std::byte{0xcc}; }));
}

TEST_P(HandoffEndsTest, AClearedNamespaceEndsTheWait) {
  ExpectOpen();
  ExpectSent(0);
  const Ticket one = Await(1);
  ASSERT_TRUE(prefill_->client_->ClearNamespace("pieces", Soon()).ok());
  ExpectAll(one, StatusCode::kMiss);
  EXPECT_TRUE(host_->Await([&] { return Gauge(&CacheCounters::handoff_bytes) == 0; }));
}

TEST_P(HandoffEndsTest, ADaemonThatStopsIsToldAndATokenOfAnEarlierOneIsOld) {
  ExpectOpen();
  HandoffTokenParts parts = UnpackHandoffToken(token_.bytes);
  ++parts.incarnation;
  token_ = {PackHandoffToken(parts)};
  ExpectAll(Await(1), StatusCode::kExpired);
  --parts.incarnation;
  token_ = {PackHandoffToken(parts)};
  const Ticket one = Await(1);
  host_.reset();
  ExpectAll(one, StatusCode::kPeerDead);
}

TEST_P(HandoffEndsTest, ALayerThatHasChangedInMemoryReachesNobody) {
  ExpectOpen();
  ExpectSent(0);
  GetRequest request;
  const auto key = prefill_->chain_.key(0);
  request.chain.namespace_id = host_->NamespaceId("default", "pieces");
  request.chain.runs = {{.placement = key, .first_position = 0, .parent = {}, .keys = {key}}};
  request.places = {{.pieces = {{.region = 1, .offset = 0, .length = kLayerBytes}},
                     .range = {.offset = 0, .bytes = kLayerBytes}}};
  request.deadline = SteadyClock().Now() + kSecond / 2;
  request.waits = true;
  request.handoff = UnpackHandoffToken(token_.bytes).number;
  testing::FrameSpoiler spoiler;
  for (std::uint32_t i = 0; i < 2; ++i) SpoilFrame(host_->shard(i), request, spoiler);
  ASSERT_EQ(spoiler.spoilt, 1);
  if (GetParam().link == LinkChoice::kTcp) {  // same-host copies are not verified
    const Completion done = Take(Await(0));
    EXPECT_EQ(done.blocks[0].status, StatusCode::kCorrupt);
    EXPECT_EQ(done.blocks[1].status, StatusCode::kOk);
  }
  ExpectSent(1);
  ExpectSent(2);
  const auto last = Send(3);
  ASSERT_TRUE(last.ok());
  EXPECT_EQ((*last)[0].status, StatusCode::kCorrupt) << "it must not become visible";
  EXPECT_EQ((*last)[1].status, StatusCode::kOk);
  EXPECT_EQ(Visible(), 0u);
  const Completion late = Take(Await(3));
  EXPECT_EQ(late.blocks[0].status, StatusCode::kCorrupt);
  EXPECT_EQ(late.blocks[1].status, StatusCode::kOk);
}

TEST_P(HandoffEndsTest, ManyHandoffsHoldTheirMemoryBound) {
  // A quarter of 128 MiB over two reactors is 15 blocks each of 528 KiB.
  std::uint64_t reserved = 0;
  for (int i = 0; i < 8; ++i) {
    Chain chain;
    for (std::uint32_t k = 0; k < kBlocks; ++k) {
      ASSERT_TRUE(chain.Append("many/" + std::to_string(i) + "/" + std::to_string(k)).ok());
    }
    const HandoffToken token = prefill_->client_->NewHandoff().value();
    const auto opened =
        prefill_->client_->OpenHandoff(token, prefill_->space_, chain, 0, kBlocks, {}, {}, Soon());
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    for (const BlockResult& block : *opened) {
      if (block.status == StatusCode::kOk) {
        ++reserved;
      } else {
        EXPECT_EQ(block.status, StatusCode::kRetry);
      }
    }
  }
  EXPECT_GT(reserved, 2u * kBlocks);
  EXPECT_LE(reserved * kBlockBytes, 32u << 20);
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), reserved * kBlockBytes);
}

}  // namespace
}  // namespace terrace
