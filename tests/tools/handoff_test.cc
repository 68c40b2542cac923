// Hand-off: the real client against two real reactors, over every link. A block's layers are 4
// stretches of 4 tokens each.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/handoff_token.h"
#include "base/random.h"
#include "client/terrace.hpp"
#include "tests/tools/frame_spoiler.h"
#include "tests/tools/pieces_engine.h"
#include "tests/tools/shards_host.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::Engine;
using testing::kBlockBytes;
using testing::kBlocks;
using testing::kTokenBytes;
using testing::kTokens;
using testing::Memory;
using testing::ShardsHost;
using testing::Soon;
using testing::Way;

constexpr std::uint32_t kLayers = 4;
constexpr std::uint64_t kLayerBytes = kBlockBytes / kLayers;
/// What "at once" may take on a machine that others use.
constexpr auto kAtOnce = 10s;

const Way kWays[] = {{LinkChoice::kAuto, Memory::kAllocated, "shm_mapped"},
                     {LinkChoice::kAuto, Memory::kRegistered, "shm_copied"},
                     {LinkChoice::kTcp, Memory::kRegistered, "tcp"}};

/// BlockPieces, and the lists that they point to.
struct Parts {
  std::vector<std::array<MemoryPiece, 1>> pieces;
  std::vector<BlockPieces> blocks;

  Parts() { pieces.reserve(kBlocks); }
  void Add(std::uint32_t position, MemoryPiece piece, BlockRange range) {
    pieces.push_back({piece});
    blocks.push_back(
        {.position = position, .pieces = pieces.back(), .range = range, .valid_tokens = 0});
  }
};

class HandoffTest : public ::testing::TestWithParam<Way> {
 protected:
  HandoffTest() {
    std::ranges::fill(decode_.memory_, std::byte{0xcc});
    token_ = prefill_->client_->NewHandoff().value();
  }

  Result<std::vector<BlockResult>> Open(const HandoffOptions& options = {}) {
    return prefill_->client_->OpenHandoff(token_, prefill_->space_, prefill_->chain_, 0, kBlocks,
                                          {}, options, Soon());
  }
  void ExpectOpen(const HandoffOptions& options = {}) {
    const auto opened = Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    for (const BlockResult& block : *opened) ASSERT_EQ(block.status, StatusCode::kOk);
  }
  static BlockRange Layer(std::uint32_t layer) {
    return {.offset = layer * kLayerBytes, .bytes = kLayerBytes};
  }
  Parts LayerOf(const Engine& engine, std::uint32_t layer, bool source) const {
    Parts parts;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      const std::uint64_t at = i * kBlockBytes + layer * kLayerBytes;
      parts.Add(i, source ? engine.At(at, kLayerBytes) : engine.InDestination(at, kLayerBytes),
                Layer(layer));
    }
    return parts;
  }
  Result<std::vector<BlockResult>> Send(std::uint32_t layer) {
    const Parts parts = LayerOf(*prefill_, layer, true);
    return prefill_->client_->Send(token_, prefill_->space_, prefill_->chain_, parts.blocks, {},
                                   Soon());
  }
  void ExpectSent(std::uint32_t layer) {
    const auto sent = Send(layer);
    ASSERT_TRUE(sent.ok()) << sent.status().ToString();
    for (const BlockResult& block : *sent) ASSERT_EQ(block.status, StatusCode::kOk);
  }
  Ticket Await(std::uint32_t layer, Deadline deadline = Soon()) {
    const Parts parts = LayerOf(decode_, layer, false);
    const auto ticket = decode_.client_->SubmitReceive(token_, decode_.space_, decode_.chain_,
                                                       parts.blocks, {}, deadline);
    EXPECT_TRUE(ticket.ok()) << ticket.status().ToString();
    return ticket.ok() ? *ticket : 0;
  }
  /// The completion of a ticket of decode's; others stay for later.
  Completion Take(Ticket ticket) {
    const Deadline end = Soon();
    while (!done_.contains(ticket) && std::chrono::steady_clock::now() < end) {
      (void)decode_.client_->WaitForCompletion(In(100ms));
      for (Completion& completion : decode_.client_->Poll()) {
        done_[completion.ticket] = std::move(completion);
      }
    }
    EXPECT_TRUE(done_.contains(ticket));
    return std::move(done_[ticket]);
  }
  bool HasCome(Ticket ticket) {
    for (Completion& completion : decode_.client_->Poll()) {
      done_[completion.ticket] = std::move(completion);
    }
    return done_.contains(ticket);
  }
  void ExpectLayer(Ticket ticket, std::uint32_t layer) {
    const Completion done = Take(ticket);
    ASSERT_TRUE(done.status.ok()) << done.status.ToString();
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      ASSERT_EQ(done.blocks[i].status, StatusCode::kOk) << "block " << i;
      const std::uint64_t begin = layer * kLayerBytes;
      for (std::uint64_t at = begin; at < begin + kLayerBytes; ++at) {
        ASSERT_EQ(decode_.Destination()[i * kBlockBytes + at], Engine::ByteOf(i, at))
            << "block " << i << " byte " << at;
      }
    }
  }
  void ExpectAll(Ticket ticket, StatusCode code) {
    const auto begin = std::chrono::steady_clock::now();
    const Completion done = Take(ticket);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, kAtOnce);
    for (const BlockResult& block : done.blocks) EXPECT_EQ(block.status, code);
  }
  std::uint32_t Visible() {
    const auto match = decode_.client_->Match(decode_.space_, decode_.chain_, {}, Soon());
    EXPECT_TRUE(match.ok());
    return static_cast<std::uint32_t>(match->tiers.size());
  }
  std::uint64_t Gauge(std::atomic<std::uint64_t> CacheCounters::* counter) const {
    return host_->Sum(counter);
  }

  std::unique_ptr<ShardsHost> host_ = std::make_unique<ShardsHost>(2);
  std::unique_ptr<Engine> prefill_ =
      std::make_unique<Engine>(host_->address(), GetParam().link, GetParam().memory);
  Engine decode_{host_->address(), GetParam().link, GetParam().memory};
  HandoffToken token_;
  std::map<Ticket, Completion> done_;
};
std::string NameOf(const ::testing::TestParamInfo<Way>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(All, HandoffTest, ::testing::ValuesIn(kWays), NameOf);

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
  EXPECT_EQ(Gauge(&CacheCounters::fragments_received), kBlocks * kLayers);
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), kBlocks * kBlockBytes) << "pinned";
  EXPECT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok());
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), 0u);
  EXPECT_EQ(Gauge(&CacheCounters::handoffs), 0u);
  for (std::uint32_t i = 0; i < kBlocks; ++i) decode_.ExpectStored(i);
  // Who comes late finds the blocks, while they are stored.
  ExpectLayer(Await(2), 2);
}

TEST_P(HandoffTest, AProducerThatDiesIsToldAtOnce) {
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

TEST_P(HandoffTest, WhatWasCompleteOutlivesItsProducer) {
  ExpectOpen();
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) ExpectSent(layer);
  prefill_.reset();
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) ExpectLayer(Await(layer), layer);
}

TEST_P(HandoffTest, AnAbortIsToldAtOnce) {
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

TEST_P(HandoffTest, AProducerThatStandsStillRunsOutOfPatience) {
  ExpectOpen({.patience = 300ms});
  ExpectSent(0);
  ExpectAll(Await(1), StatusCode::kExpired);
  EXPECT_EQ(Gauge(&CacheCounters::handoffs), 0u);
}

TEST_P(HandoffTest, EveryReceiverHasToSayThatItIsDone) {
  ExpectOpen({.receivers = 2});
  EXPECT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok()) << "early: it will not come again";
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) ExpectSent(layer);
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), kBlocks * kBlockBytes);
  EXPECT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok());
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), 0u);
  EXPECT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok()) << "it has ended";
}

TEST_P(HandoffTest, AReceiverThatNeverComesHoldsNothingForLong) {
  ExpectOpen({.keep = 200ms});
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) ExpectSent(layer);
  EXPECT_TRUE(host_->Await([&] { return Gauge(&CacheCounters::handoff_bytes) == 0; }));
  EXPECT_EQ(Visible(), kBlocks) << "stored like any other block";
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
  for (std::uint64_t at = range.offset; at < range.offset + range.bytes; ++at) {
    ASSERT_EQ(decode_.Destination()[3 * kBlockBytes + at], Engine::ByteOf(3, at));
  }
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
    for (std::uint64_t at = 0; at < 2 * kHead; ++at) {
      ASSERT_EQ(decode_.Destination()[token * 2 * kHead + at],
                Engine::ByteOf(7, heads.offset + token * kTokenBytes + at));
    }
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
    for (std::uint64_t at = 0; at < kBlockBytes; ++at) {
      ASSERT_EQ(decode_.Destination()[i * kBlockBytes + at], Engine::ByteOf(i, at));
    }
  }
}

TEST_P(HandoffTest, AtTheDeadlineWhatHasComeIsTold) {
  ExpectOpen();
  ExpectSent(0);
  Parts parts;
  parts.Add(0, decode_.InDestination(0, kLayerBytes), Layer(0));
  parts.Add(1, decode_.InDestination(kLayerBytes, kLayerBytes), Layer(1));
  const auto got =
      decode_.client_->Receive(token_, decode_.space_, decode_.chain_, parts.blocks, {}, In(1s));
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ((*got)[0].status, StatusCode::kOk);
  EXPECT_EQ((*got)[1].status, StatusCode::kTimeout);
  EXPECT_EQ(decode_.Destination()[100], Engine::ByteOf(0, 100));
}

TEST_P(HandoffTest, ACancelledReceiveTouchesItsMemoryNoMore) {
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

TEST_P(HandoffTest, AClearedNamespaceEndsTheWait) {
  ExpectOpen();
  ExpectSent(0);
  const Ticket one = Await(1);
  ASSERT_TRUE(prefill_->client_->ClearNamespace("pieces", Soon()).ok());
  ExpectAll(one, StatusCode::kMiss);
  EXPECT_TRUE(host_->Await([&] { return Gauge(&CacheCounters::handoff_bytes) == 0; }));
}

TEST_P(HandoffTest, ADaemonThatWasRestartedKnowsThatTheTokenIsOld) {
  const std::uint16_t port = host_->port();
  ExpectOpen();
  const Ticket one = Await(1);
  host_.reset();
  ExpectAll(one, StatusCode::kPeerDead);
  host_ = std::make_unique<ShardsHost>(2, 128 << 20, DaemonConfig{}, port);
  ASSERT_TRUE(host_->Await([&] { return decode_.client_->Ping(In(1s)).ok(); }));
  ExpectAll(Await(1), StatusCode::kExpired);
}

TEST_P(HandoffTest, ALayerThatHasChangedInMemoryReachesNobody) {
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

TEST_P(HandoffTest, ManyHandoffsHoldTheirMemoryBound) {
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

TEST_P(HandoffTest, RandomPartsFromTwoWritersReachTheReceiverWhole) {
  Engine second(host_->address(), GetParam().link, GetParam().memory);
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
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
    std::ranges::fill(decode_.Destination(), std::byte{0});
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
      for (std::uint64_t at = 0; at < kBlockBytes; ++at) {
        ASSERT_EQ(decode_.Destination()[i * kBlockBytes + at], Engine::ByteOf(i, at)) << i;
      }
    }
    ASSERT_TRUE(decode_.client_->AckHandoff(token_, Soon()).ok());
  }
  EXPECT_EQ(Gauge(&CacheCounters::handoff_bytes), 0u);
}

}  // namespace
}  // namespace terrace
