// A producer and a receiver, real clients of two real reactors, for tests of hand-off. A block's
// layers are 4 stretches of 4 tokens each.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/terrace.hpp"
#include "tests/tools/pieces_engine.h"
#include "tests/tools/shards_host.h"

namespace terrace::testing {

using namespace std::chrono_literals;

inline constexpr std::uint32_t kLayers = 4;
inline constexpr std::uint64_t kLayerBytes = kBlockBytes / kLayers;
/// What "at once" may take on a machine that others use.
inline constexpr auto kAtOnce = 10s;

inline const Way kHandoffWays[] = {{LinkChoice::kAuto, Memory::kAllocated, "shm_mapped"},
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
      const auto found = decode_.Destination().subspan(i * kBlockBytes + begin, kLayerBytes);
      ASSERT_TRUE(Engine::Holds(found, i, begin)) << "block " << i;
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

inline std::string NameOfWay(const ::testing::TestParamInfo<Way>& info) { return info.param.name; }

}  // namespace terrace::testing
