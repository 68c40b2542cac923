// Lists of pieces, parts of blocks and blocks from several writers: the real client against real
// reactors, byte for byte.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "client/terrace.hpp"
#include "tests/client/c_story.h"
#include "tests/tools/frame_spoiler.h"
#include "tests/tools/pieces_engine.h"
#include "tests/tools/shards_host.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::ShardsHost;

using testing::Engine;
using testing::kBlockBytes;
using testing::kBlocks;
using testing::kRegionBytes;
using testing::kTokenBytes;
using testing::kTokens;
using testing::Memory;
using testing::Soon;
using testing::Way;

const Way kWays[] = {{LinkChoice::kAuto, Memory::kAllocated, "shm_mapped"},
                     {LinkChoice::kAuto, Memory::kRegistered, "shm_copied"},
                     {LinkChoice::kTcp, Memory::kRegistered, "tcp"}};

class PiecesTest : public ::testing::TestWithParam<Way> {
 protected:
  ShardsHost host_{2};
  Engine engine_{host_.address(), GetParam().link, GetParam().memory};
};
std::string NameOf(const ::testing::TestParamInfo<Way>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(All, PiecesTest, ::testing::ValuesIn(kWays), NameOf);

TEST_P(PiecesTest, RandomPiecesOfRandomPartsAreTheRightBytes) {
  engine_.PutAll();
  ASSERT_GT(host_.shard(0).cache().Counters().blocks.load(), 0u);
  ASSERT_GT(host_.shard(1).cache().Counters().blocks.load(), 0u);
  SeededRandom random(4);
  for (int round = 0; round < 12; ++round) {
    std::vector<BlockRange> ranges(kBlocks);
    std::vector<std::uint64_t> sizes(kBlocks, kBlockBytes);
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      if (random.Chance(0.3)) continue;
      BlockRange& range = ranges[i];
      range.offset = random.Below(10'000);
      range.bytes = 1 + random.Below(5000);
      range.count = static_cast<std::uint32_t>(1 + random.Below(40));
      range.stride = range.bytes + random.Below(7000);
      if (random.Chance(0.2)) range = {.offset = random.Below(kBlockBytes)};
      sizes[i] = range.bytes == 0 ? kBlockBytes - range.offset : range.bytes * range.count;
    }
    // Pieces of all blocks together, laid out in random order with gaps.
    std::vector<std::vector<MemoryPiece>> lists(kBlocks);
    std::vector<std::pair<std::uint32_t, std::uint32_t>> order;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      for (std::uint64_t left = sizes[i]; left > 0;) {
        const std::uint64_t length =
            std::min(left, 1 + random.Below(random.Chance(0.3) ? 10 : 90'000));
        order.emplace_back(i, static_cast<std::uint32_t>(lists[i].size()));
        lists[i].push_back(engine_.InDestination(0, length));
        left -= length;
      }
    }
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
    std::uint64_t at = kBlocks * kBlockBytes;
    for (const auto& [block, piece] : order) {
      lists[block][piece].offset = at;
      at += lists[block][piece].length;
    }
    ASSERT_LE(at, kRegionBytes);
    std::vector<BlockPieces> blocks;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      blocks.push_back({.position = i, .pieces = lists[i], .range = ranges[i], .valid_tokens = 0});
    }
    engine_.FillDestination(std::byte{0xcc});
    const auto got = engine_.client_->GetPieces(engine_.space_, engine_.chain_, blocks, {}, Soon());
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      ASSERT_EQ((*got)[i].status, StatusCode::kOk) << i;
      EXPECT_EQ((*got)[i].valid_tokens, kTokens);
      const BlockRange& range = ranges[i];
      const std::uint64_t bytes = range.bytes == 0 ? kBlockBytes : range.bytes;
      std::uint64_t byte = 0;  // of the range
      for (const MemoryPiece& piece : lists[i]) {
        for (std::uint64_t j = 0; j < piece.length; ++j, ++byte) {
          const std::uint64_t of_block = range.offset + byte / bytes * range.stride + byte % bytes;
          if (engine_.memory_[piece.offset + j] != Engine::BytesOf(i)[of_block]) {
            FAIL() << "round " << round << " block " << i << " byte " << byte;
          }
        }
      }
    }
    const auto beside = engine_.memory_.subspan(at);
    if (beside.empty()) continue;
    EXPECT_EQ(beside.front(), std::byte{0xcc});
    EXPECT_EQ(std::memcmp(beside.data(), beside.data() + 1, beside.size() - 1), 0);
  }
}

TEST_P(PiecesTest, AHeadRangeAndALayerRangeOfABlock) {
  engine_.PutAll();
  constexpr std::uint64_t kHead = kTokenBytes / 8;
  // Heads 2 and 3 of every token; tokens 4 to 7, all heads.
  const std::array heads{engine_.InDestination(0, 2 * kHead * kTokens)};
  const std::array layers{engine_.InDestination(kBlockBytes, 4 * kTokenBytes)};
  const std::array<BlockPieces, 2> blocks{
      BlockPieces{.position = 5,
                  .pieces = heads,
                  .range = {.offset = 2 * kHead,
                            .bytes = 2 * kHead,
                            .count = kTokens,
                            .stride = kTokenBytes},
                  .valid_tokens = 0},
      BlockPieces{.position = 7,
                  .pieces = layers,
                  .range = {.offset = 4 * kTokenBytes, .bytes = 4 * kTokenBytes},
                  .valid_tokens = 0}};
  const auto ticket =
      engine_.client_->SubmitGetPieces(engine_.space_, engine_.chain_, blocks, {}, Soon());
  ASSERT_TRUE(ticket.ok()) << ticket.status().ToString();
  ASSERT_TRUE(engine_.client_->WaitForCompletion(Soon()).ok());
  const auto done = engine_.client_->Poll();
  ASSERT_EQ(done.size(), 1u);
  ASSERT_TRUE(done[0].status.ok());
  for (const BlockResult& result : done[0].blocks) ASSERT_EQ(result.status, StatusCode::kOk);
  const std::span<std::byte> found = engine_.Destination();
  for (std::uint64_t token = 0; token < kTokens; ++token) {
    ASSERT_TRUE(Engine::Holds(found.subspan(token * 2 * kHead, 2 * kHead), 5,
                              token * kTokenBytes + 2 * kHead));
  }
  ASSERT_TRUE(Engine::Holds(found.subspan(kBlockBytes, 4 * kTokenBytes), 7, 4 * kTokenBytes));
}

TEST_P(PiecesTest, APutGathersPiecesAndIsSkippedWhereItIsStored) {
  std::vector<std::vector<MemoryPiece>> lists(kBlocks);
  std::vector<BlockPieces> blocks;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    const std::uint64_t start = i * kBlockBytes;
    // Block i's bytes, told as three pieces, one of 1 byte.
    lists[i] = {engine_.At(start, 70'000), engine_.At(start + 70'000, 1),
                engine_.At(start + 70'001, kBlockBytes - 70'001)};
    // Not neighbours: the first is a copy elsewhere.
    std::memcpy(engine_.Destination().data() + start, engine_.memory_.data() + start, 70'000);
    lists[i][0] = engine_.InDestination(start, 70'000);
    blocks.push_back({.position = i, .pieces = lists[i], .range = {}, .valid_tokens = 9});
  }
  auto put = engine_.client_->PutPieces(engine_.space_, engine_.chain_, blocks, {}, Soon());
  ASSERT_TRUE(put.ok()) << put.status().ToString();
  for (const BlockResult& result : *put) EXPECT_EQ(result.status, StatusCode::kOk);
  put = engine_.client_->PutPieces(engine_.space_, engine_.chain_, blocks, {}, Soon());
  ASSERT_TRUE(put.ok()) << put.status().ToString();
  for (const BlockResult& result : *put) EXPECT_EQ(result.status, StatusCode::kExists);
  for (std::uint32_t i = 0; i < kBlocks; ++i) engine_.ExpectStored(i);
}

TEST_P(PiecesTest, ThousandsOfPiecesOfOneCallAndOneByteEach) {
  engine_.PutAll();
  constexpr std::uint32_t kPieces = 60'000;
  std::vector<MemoryPiece> pieces;
  for (std::uint32_t i = 0; i < kPieces; ++i) {
    pieces.push_back(engine_.InDestination(2 * (kPieces - 1 - i), 1));  // backwards, with gaps
  }
  const BlockPieces block{.position = 3,
                          .pieces = pieces,
                          .range = {.offset = 11, .bytes = kPieces},
                          .valid_tokens = 0};
  const auto got =
      engine_.client_->GetPieces(engine_.space_, engine_.chain_, {&block, 1}, {}, Soon());
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  ASSERT_EQ(got->front().status, StatusCode::kOk);
  for (std::uint32_t i = 0; i < kPieces; ++i) {
    ASSERT_EQ(engine_.memory_[pieces[i].offset], Engine::ByteOf(3, 11 + i)) << i;
  }
}

TEST_P(PiecesTest, WhatIsWrongIsNamedWithItsIndexAndMovesNothing) {
  engine_.PutAll();
  engine_.FillDestination(std::byte{1});
  const auto get = [this](const std::vector<MemoryPiece>& first,
                          const std::vector<MemoryPiece>& second, BlockRange range = {}) {
    const std::array<BlockPieces, 2> blocks{
        BlockPieces{.position = 0, .pieces = first, .range = {}, .valid_tokens = 0},
        BlockPieces{.position = 1, .pieces = second, .range = range, .valid_tokens = 0}};
    return engine_.client_->GetPieces(engine_.space_, engine_.chain_, blocks, {}, Soon())
        .status()
        .ToString();
  };
  const std::vector<MemoryPiece> fine{engine_.InDestination(0, kBlockBytes)};
  const auto begins = [](const std::string& text, const std::string& wanted) {
    EXPECT_EQ(text.substr(0, wanted.size()), wanted) << text;
  };
  begins(get(fine, {}), "invalid: blocks[1].pieces is empty");
  begins(get(fine, {engine_.InDestination(kBlockBytes - 1, kBlockBytes)}),
         "invalid: blocks[1].pieces[0] overlaps blocks[0].pieces[0]");
  begins(get(fine, {engine_.At(kRegionBytes - 5, kBlockBytes)}), "invalid: blocks[1].pieces[0]: ");
  begins(get(fine, {{RegionId{999}, 0, kBlockBytes}}), "invalid: blocks[1].pieces[0].region");
  begins(get(fine, {engine_.InDestination(kBlockBytes, 5)}), "invalid: blocks[1].pieces have 5");
  begins(get(fine, {engine_.InDestination(kBlockBytes, 5)}, {.offset = kBlockBytes}),
         "invalid: blocks[1].range.offset");
  EXPECT_TRUE(std::ranges::all_of(engine_.Destination(),
                                  [](std::byte byte) { return byte == std::byte{1}; }));
  // A region that was taken out, and a process that was forked.
  std::vector<std::byte> gone(kBlockBytes);
  const RegionId closed = engine_.client_->RegisterMemory(gone.data(), gone.size()).value();
  ASSERT_TRUE(engine_.client_->DeregisterMemory(closed).ok());
  begins(get({{closed, 0, kBlockBytes}}, fine), "invalid: blocks[0].pieces[0].region: region");
  const pid_t child = ::fork();
  if (child == 0) {
    const BlockPieces block{.position = 0, .pieces = fine, .range = {}, .valid_tokens = 0};
    const bool refused =
        engine_.client_->GetPieces(engine_.space_, engine_.chain_, {&block, 1}, {}, Soon())
                .status()
                .code() == StatusCode::kInvalid &&
        engine_.client_->Commit({}, Soon()).status().code() == StatusCode::kInvalid;
    ::_exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_P(PiecesTest, TwoClientsWriteOneBlockThatIsSeenWhenItIsCommitted) {
  Engine other(host_.address(), GetParam().link, GetParam().memory);
  for (std::uint32_t block = 0; block < kBlocks; ++block) {
    const auto reserved =
        engine_.client_->Reserve(engine_.space_, engine_.chain_, block, {}, Soon(), 7);
    ASSERT_TRUE(reserved.ok()) << reserved.status().ToString();
    ASSERT_EQ(reserved->status, StatusCode::kOk);
    EXPECT_EQ(other.client_->Reserve(other.space_, other.chain_, block, {}, Soon())->status,
              StatusCode::kPending);
    // One writes the even heads, the other the odd ones: strides of both, in one call each.
    constexpr std::uint64_t kHead = kTokenBytes / 8;
    for (Engine* const writer : {&engine_, &other}) {
      std::vector<std::vector<MemoryPiece>> pieces;
      std::vector<BlockFragment> fragments;
      pieces.reserve(8 * kTokens);
      for (std::uint64_t head = writer == &other ? 1 : 0; head < 8 * kTokens; head += 2) {
        const std::uint64_t at = block * kBlockBytes + head * kHead;
        pieces.push_back({writer->At(at, 100), writer->At(at + 100, kHead - 100)});
        fragments.push_back({.offset = head * kHead, .pieces = pieces.back()});
      }
      const auto wrote = writer->client_->Write(reserved->token, fragments, Soon());
      ASSERT_TRUE(wrote.ok()) << wrote.status().ToString();
      for (const BlockResult& result : *wrote) ASSERT_EQ(result.status, StatusCode::kOk);
      const auto committed = engine_.client_->Commit(reserved->token, Soon());
      if (writer == &engine_) {
        EXPECT_EQ(committed.status().ToString(),
                  "invalid: byte " + std::to_string(kHead) + " of the block was not written");
        EXPECT_EQ(other.client_->Match(other.space_, other.chain_, {}, Soon())->matched, block);
      } else {
        ASSERT_TRUE(committed.ok()) << committed.status().ToString();
        EXPECT_EQ(committed->status, StatusCode::kOk);
        EXPECT_EQ(committed->valid_tokens, 7u);
      }
    }
    other.ExpectStored(block);
    EXPECT_EQ(other.client_->Match(other.space_, other.chain_, {}, Soon())->matched, block + 1);
  }
  EXPECT_EQ(host_.Sum(&CacheCounters::reservations_committed), kBlocks);
  EXPECT_EQ(host_.Sum(&CacheCounters::reservations), 0u);
}

TEST_P(PiecesTest, AWriterThatDiesPassesTheReservationOnAndTheLastOneEndsIt) {
  auto first = std::make_unique<Engine>(host_.address(), GetParam().link, GetParam().memory);
  const auto reserved =
      first->client_->Reserve(first->space_, first->chain_, 4, {}, Soon(), 0, 60s);
  const auto doomed = first->client_->Reserve(first->space_, first->chain_, 6, {}, Soon(), 0, 60s);
  ASSERT_TRUE(reserved.ok() && doomed.ok());
  const std::array front{engine_.At(4 * kBlockBytes, 1000)};
  const std::array back{engine_.At(4 * kBlockBytes + 1000, kBlockBytes - 1000)};
  const BlockFragment head{.offset = 0, .pieces = front};
  const BlockFragment tail{.offset = 1000, .pieces = back};
  ASSERT_EQ(engine_.client_->Write(reserved->token, {&head, 1}, Soon())->front().status,
            StatusCode::kOk);
  first.reset();  // of reservation 6 the last one
  ASSERT_TRUE(host_.Await([&] { return host_.Sum(&CacheCounters::reservations_abandoned) == 1; }));
  EXPECT_EQ(engine_.client_->Write(doomed->token, {&head, 1}, Soon()).status().code(),
            StatusCode::kExpired);
  ASSERT_EQ(engine_.client_->Write(reserved->token, {&tail, 1}, Soon())->front().status,
            StatusCode::kOk);
  ASSERT_EQ(engine_.client_->Commit(reserved->token, Soon())->status, StatusCode::kOk);
  engine_.ExpectStored(4);
}

TEST_P(PiecesTest, TokensOfOthersAbortsAndSubmittedCalls) {
  Client& client = *engine_.client_;
  Engine stranger(host_.address(), GetParam().link, GetParam().memory, "another");
  ASSERT_TRUE(client.SubmitReserve(engine_.space_, engine_.chain_, 2, {}, Soon()).ok());
  ASSERT_TRUE(client.WaitForCompletion(Soon()).ok());
  const Completion reserved = std::move(client.Poll().front());
  ASSERT_TRUE(reserved.status.ok()) << reserved.status.ToString();
  ASSERT_EQ(reserved.reservation.status, StatusCode::kOk);
  const PutToken token = reserved.reservation.token;

  const std::array pieces{stranger.At(2 * kBlockBytes, kBlockBytes)};
  const BlockFragment all{.offset = 0, .pieces = pieces};
  EXPECT_EQ(stranger.client_->Write(token, {&all, 1}, Soon()).status().code(),
            StatusCode::kExpired);
  EXPECT_TRUE(stranger.client_->Abort(token, Soon()).ok());
  EXPECT_EQ(stranger.client_->Commit({}, Soon()).status().ToString(),
            "invalid: token is of version 0, not 1");
  PutToken forged = token;
  forged.bytes[31] ^= std::byte{1};
  EXPECT_EQ(client.Commit(forged, Soon()).status().code(), StatusCode::kExpired);
  forged = token;
  forged.bytes[0] ^= std::byte{1};  // the incarnation
  EXPECT_EQ(client.Commit(forged, Soon()).status().ToString(),
            "expired: token is of another daemon, or of an earlier run of this one");
  forged = token;
  forged.bytes[10] = std::byte{9};
  EXPECT_EQ(client.Commit(forged, Soon()).status().ToString(),
            "invalid: token names reactor 9, the daemon has 2");

  const std::array own{engine_.At(2 * kBlockBytes, kBlockBytes)};
  const BlockFragment mine{.offset = 0, .pieces = own};
  ASSERT_TRUE(client.SubmitWrite(token, {&mine, 1}, Soon()).ok());
  ASSERT_TRUE(client.WaitForCompletion(Soon()).ok());
  ASSERT_EQ(client.Poll().front().blocks.front().status, StatusCode::kOk);
  ASSERT_TRUE(client.SubmitCommit(token, Soon(), Ack::kDurable).ok());
  ASSERT_TRUE(client.WaitForCompletion(Soon()).ok());
  const Completion committed = std::move(client.Poll().front());
  ASSERT_EQ(committed.blocks.front().status, StatusCode::kOk);
  EXPECT_EQ(committed.blocks.front().not_durable, NotDurable::kNoTier);
  engine_.ExpectStored(2);
  EXPECT_EQ(client.Abort(token, Soon()).code(), StatusCode::kExists);

  const auto again = client.Reserve(engine_.space_, engine_.chain_, 3, {}, Soon());
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(client.Abort(again->token, Soon()).ok());
  EXPECT_TRUE(client.Abort(again->token, Soon()).ok());
  EXPECT_EQ(client.Reserve(engine_.space_, engine_.chain_, 3, {}, Soon())->status, StatusCode::kOk);
}

TEST_P(PiecesTest, AReservationWhosePatiencePassedIsFreedForOthers) {
  const auto reserved =
      engine_.client_->Reserve(engine_.space_, engine_.chain_, 1, {}, Soon(), 0, 50ms);
  ASSERT_TRUE(reserved.ok());
  ASSERT_TRUE(host_.Await([&] { return host_.Sum(&CacheCounters::reservations_expired) == 1; }));
  EXPECT_EQ(engine_.client_->Commit(reserved->token, Soon()).status().code(), StatusCode::kExpired);
  EXPECT_EQ(engine_.client_->Reserve(engine_.space_, engine_.chain_, 1, {}, Soon())->status,
            StatusCode::kOk);
}

TEST_P(PiecesTest, AFrameThatHasChangedIsNotSentInPartsOverANetwork) {
  if (GetParam().link != LinkChoice::kTcp) GTEST_SKIP() << "same-host copies are not verified";
  engine_.PutAll();
  testing::FrameSpoiler spoiler;
  GetRequest request;
  const auto key = engine_.chain_.key(0);
  request.chain.namespace_id = host_.NamespaceId("default", "pieces");
  request.chain.runs = {{.placement = key, .first_position = 0, .parent = {}, .keys = {key}}};
  request.places = {{.pieces = {{.region = 1, .offset = 0, .length = kBlockBytes}}}};
  request.deadline = SteadyClock().Now() + 10 * kSecond;
  for (std::uint32_t i = 0; i < 2; ++i) testing::SpoilFrame(host_.shard(i), request, spoiler);
  ASSERT_EQ(spoiler.spoilt, 1);
  const auto get = [this](std::uint64_t offset) {
    const std::array pieces{engine_.InDestination(0, 10)};
    const BlockPieces block{.position = 0,
                            .pieces = pieces,
                            .range = {.offset = offset, .bytes = 10},
                            .valid_tokens = 0};
    const auto got =
        engine_.client_->GetPieces(engine_.space_, engine_.chain_, {&block, 1}, {}, Soon());
    EXPECT_TRUE(got.ok()) << got.status().ToString();
    return got->front().status;
  };
  EXPECT_EQ(get(300'000), StatusCode::kOk) << "another 256 KiB of the block";
  EXPECT_EQ(get(99'995), StatusCode::kCorrupt);
  EXPECT_EQ(get(300'000), StatusCode::kMiss) << "a frame that has changed is forgotten";
}

TEST(PiecesInCTest, AProgramInC11ScattersGathersAndWritesABlockInFragments) {
  ShardsHost host(2);
  terrace_error error{};
  EXPECT_EQ(CPiecesStory(host.address().c_str(), &error), TERRACE_OK)
      << error.status << ' ' << error.message;
}

}  // namespace
}  // namespace terrace
