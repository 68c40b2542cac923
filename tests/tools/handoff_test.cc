// Hand-off: how layers come, to whom, and what is refused.
#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "tests/common/samples.h"
#include "tests/tools/handoff_fixture.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using namespace terrace::testing;  // NOLINT: the fixture and its words

INSTANTIATE_TEST_SUITE_P(All, HandoffTest, ::testing::ValuesIn(kHandoffWays), NameOfWay);

TEST_P(HandoffTest, ALayerIsReceivedWhileTheNextIsStillComputed) {
  std::vector<Ticket> layers;
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) layers.push_back(Await(layer));
  ExpectOpen();
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_FALSE(HasCome(layers[layer]));
    EXPECT_EQ(Visible(), 0u) << "nobody else sees what is not complete";
    ExpectSent(layer);
    ExpectLayer(layers[layer], layer);
  }
  EXPECT_EQ(Visible(), kBlocks);
  // Of the last layer some find their block complete already.
  EXPECT_GE(Gauge(&CacheCounters::fragments_received), kBlocks * (kLayers - 1));
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), kBlocks * kBlockBytes) << "pinned";
  EXPECT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok());
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), 0u);
  EXPECT_EQ(Gauge(&CacheCounters::handoffs), 0u);
  for (std::uint32_t i = 0; i < kBlocks; ++i) decode_.ExpectStored(i);
  // Who comes late finds the blocks, while they are stored.
  ExpectLayer(Await(2), 2);
}

TEST_P(HandoffTest, WhatIsStoredOrBroughtByOthersIsReceivedAllTheSame) {
  const BlockBuffer stored{.position = 0, .region = prefill_->region_};
  ASSERT_TRUE(
      prefill_->client_->Put(prefill_->space_, prefill_->chain_, {&stored, 1}, {}, Soon()).ok());
  const auto other = prefill_->client_->Reserve(prefill_->space_, prefill_->chain_, 1, {}, Soon());
  ASSERT_EQ(other->status, StatusCode::kOk);
  const auto opened = Open();
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ((*opened)[0].status, StatusCode::kExists);
  EXPECT_EQ((*opened)[1].status, StatusCode::kPending);
  const Ticket last = Await(kLayers - 1);
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
    const auto sent = Send(layer);
    EXPECT_EQ((*sent)[0].status, StatusCode::kExists);
    EXPECT_EQ((*sent)[1].status, StatusCode::kExists);
  }
  EXPECT_FALSE(HasCome(last)) << "block 1 is not there yet";
  const std::array whole{prefill_->At(kBlockBytes, kBlockBytes)};
  const BlockFragment fragment{.offset = 0, .pieces = whole};
  ASSERT_TRUE(prefill_->client_->Write(other->token, {&fragment, 1}, Soon()).ok());
  ASSERT_EQ(prefill_->client_->Commit(other->token, Soon())->status, StatusCode::kOk);
  ExpectLayer(last, kLayers - 1);
}

TEST_P(HandoffTest, ARangeAcrossLayersComesWithTheWholeBlock) {
  ExpectOpen();
  Parts parts;
  const BlockRange range{.offset = kLayerBytes - 100, .bytes = 200};
  parts.Add(3, decode_.InDestination(3 * kBlockBytes + range.offset, range.bytes), range);
  const Ticket across =
      decode_.client_
          ->SubmitReceive(token_, decode_.space_, decode_.chain_, parts.blocks, {}, Soon())
          .value();
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_FALSE(HasCome(across));
    ExpectSent(layer);
  }
  const Completion done = Take(across);
  ASSERT_EQ(done.blocks[0].status, StatusCode::kOk);
  const auto found = decode_.Destination().subspan(3 * kBlockBytes + range.offset, range.bytes);
  ASSERT_TRUE(Engine::Holds(found, 3, range.offset));
}

TEST_P(HandoffTest, HeadsOfALayerAreReceivedAsSoonAsTheLayer) {
  ExpectOpen();
  constexpr std::uint64_t kHead = kTokenBytes / 8;
  constexpr std::uint64_t kLayerTokens = kTokens / kLayers;
  const BlockRange heads{.offset = 2 * kLayerBytes + 3 * kHead,
                         .bytes = 2 * kHead,
                         .count = kLayerTokens,
                         .stride = kTokenBytes};
  Parts parts;
  parts.Add(7, decode_.InDestination(0, 2 * kHead * kLayerTokens), heads);
  const Ticket ticket =
      decode_.client_
          ->SubmitReceive(token_, decode_.space_, decode_.chain_, parts.blocks, {}, Soon())
          .value();
  ExpectSent(2);
  const Completion done = Take(ticket);
  ASSERT_EQ(done.blocks[0].status, StatusCode::kOk);
  for (std::uint64_t token = 0; token < kLayerTokens; ++token) {
    const auto found = decode_.Destination().subspan(token * 2 * kHead, 2 * kHead);
    ASSERT_TRUE(Engine::Holds(found, 7, heads.offset + token * kTokenBytes)) << token;
  }
}

TEST_P(HandoffTest, BlocksThatAnybodyPutsArrive) {
  Parts parts;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    parts.Add(i, decode_.InDestination(i * kBlockBytes, kBlockBytes), {});
  }
  const Ticket all =
      decode_.client_->SubmitGetArriving(decode_.space_, decode_.chain_, parts.blocks, {}, Soon())
          .value();
  EXPECT_FALSE(HasCome(all));
  prefill_->PutAll();
  const Completion done = Take(all);
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    ASSERT_EQ(done.blocks[i].status, StatusCode::kOk);
    const auto found = decode_.Destination().subspan(i * kBlockBytes, kBlockBytes);
    ASSERT_TRUE(Engine::Holds(found, i, 0)) << i;
  }
}

TEST_P(HandoffTest, WhatIsWrongIsNamed) {
  ExpectOpen();
  const auto again = Open();
  EXPECT_EQ(again.status().code(), StatusCode::kInvalid) << again.status().ToString();
  ExpectSent(0);
  const auto twice = Send(0);
  ASSERT_TRUE(twice.ok());
  EXPECT_EQ((*twice)[0].status, StatusCode::kInvalid) << "bytes that were sent";
  Client& client = *prefill_->client_;
  Parts strided;
  strided.Add(0, prefill_->At(0, 200), {.offset = 0, .bytes = 100, .count = 2, .stride = 300});
  const auto stretches =
      client.Send(token_, prefill_->space_, prefill_->chain_, strided.blocks, {}, Soon());
  EXPECT_NE(stretches.status().message().find("count"), std::string::npos);
  // Another chain of the same positions.
  Chain other;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    ASSERT_TRUE(other.Append("other/" + std::to_string(i)).ok());
  }
  const Parts layer = LayerOf(*prefill_, 1, true);
  const auto strange = client.Send(token_, prefill_->space_, other, layer.blocks, {}, Soon());
  ASSERT_TRUE(strange.ok()) << strange.status().ToString();
  EXPECT_EQ((*strange)[0].status, StatusCode::kInvalid);
  EXPECT_EQ(client.AckHandoff(HandoffToken{}, Soon()).code(), StatusCode::kInvalid);
  HandoffOptions options{.receivers = 0};
  const HandoffToken fresh = client.NewHandoff().value();
  const auto nobody = client.OpenHandoff(fresh, prefill_->space_, prefill_->chain_, 0, kBlocks, {},
                                         options, Soon());
  EXPECT_NE(nobody.status().message().find("receivers"), std::string::npos);
  options = {.last_valid_tokens = kTokens + 1};
  const auto tokens = client.OpenHandoff(fresh, prefill_->space_, prefill_->chain_, 0, kBlocks, {},
                                         options, Soon());
  EXPECT_NE(tokens.status().message().find("last_valid_tokens"), std::string::npos);
  const auto unknown =
      client.Send(fresh, prefill_->space_, prefill_->chain_, layer.blocks, {}, Soon());
  EXPECT_EQ(unknown.status().code(), StatusCode::kExpired);
}

TEST_P(HandoffTest, AnotherTenantHasNoPartInIt) {
  ExpectOpen();
  ExpectSent(0);
  Engine stranger(host_->address(), GetParam().link, GetParam().memory, "stranger");
  Parts parts;
  parts.Add(0, stranger.InDestination(0, kLayerBytes), Layer(0));
  const auto got = stranger.client_->Receive(token_, stranger.space_, stranger.chain_, parts.blocks,
                                             {}, In(300ms));
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ((*got)[0].status, StatusCode::kTimeout) << "as one that nobody opened";
  EXPECT_TRUE(stranger.client_->AbortHandoff(token_, Soon()).ok());
  ExpectLayer(Await(0), 0);  // not aborted
}

TEST_P(HandoffTest, RandomPartsFromTwoWritersReachTheReceiverWhole) {
  Engine second(host_->address(), GetParam().link, GetParam().memory);
  const std::uint64_t seeds = testing::RunsWhole() ? 6 : 2;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRandom random(seed);
    Chain chain;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      ASSERT_TRUE(chain.Append("storm/" + std::to_string(seed) + "/" + std::to_string(i)).ok());
    }
    token_ = prefill_->client_->NewHandoff().value();
    ASSERT_TRUE(
        prefill_->client_->OpenHandoff(token_, prefill_->space_, chain, 0, kBlocks, {}, {}, Soon())
            .ok());
    // Each block in stretches of its own, in any order.
    struct Part {
      std::uint32_t block;
      BlockRange range;
    };
    std::vector<Part> parts;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      for (std::uint64_t at = 0; at < kBlockBytes;) {
        const std::uint64_t bytes = std::min(kBlockBytes - at, 1 + random.Below(300'000));
        parts.push_back({i, {.offset = at, .bytes = bytes}});
        at += bytes;
      }
    }
    for (std::size_t i = parts.size(); i > 1; --i) std::swap(parts[i - 1], parts[random.Below(i)]);
    decode_.FillDestination(std::byte{0});
    std::vector<Ticket> tickets;
    for (const Part& part : parts) {
      Parts one;
      one.Add(part.block,
              decode_.InDestination(part.block * kBlockBytes + part.range.offset, part.range.bytes),
              part.range);
      tickets.push_back(
          decode_.client_->SubmitReceive(token_, decode_.space_, chain, one.blocks, {}, Soon())
              .value());
    }
    const auto send = [&](Engine& engine, std::size_t begin) {
      for (std::size_t i = begin; i < parts.size(); i += 2) {
        Parts one;
        one.Add(
            parts[i].block,
            engine.At(parts[i].block * kBlockBytes + parts[i].range.offset, parts[i].range.bytes),
            parts[i].range);
        const auto sent =
            engine.client_->Send(token_, engine.space_, chain, one.blocks, {}, Soon());
        ASSERT_TRUE(sent.ok()) << sent.status().ToString();
        ASSERT_EQ(sent->front().status, StatusCode::kOk);
      }
    };
    std::thread other([&] { send(second, 1); });
    send(*prefill_, 0);
    other.join();
    for (const Ticket ticket : tickets) {
      ASSERT_EQ(Take(ticket).blocks.front().status, StatusCode::kOk);
    }
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      const auto found = decode_.Destination().subspan(i * kBlockBytes, kBlockBytes);
      ASSERT_TRUE(Engine::Holds(found, i, 0)) << i;
    }
    ASSERT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok());
  }
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), 0u);
}

}  // namespace
}  // namespace terrace
