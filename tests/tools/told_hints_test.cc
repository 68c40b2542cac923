// What a client says of its requests, from the real client to a real daemon: every call that names
// a chain carries it, and it changes no answer.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/terrace.hpp"
#include "tests/tools/shards_host.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::ShardsHost;
constexpr std::uint64_t kBlockBytes = 64 << 10;
constexpr std::uint32_t kBlocks = 4;

Deadline Soon() { return In(30s); }

class ToldHintsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto client =
        Client::Connect({.address = host_.address(), .name = "engine", .connect_timeout = 20s});
    ASSERT_TRUE(client.ok()) << client.status().ToString();
    client_ = std::move(*client);
    region_ = client_->AllocateRegion(kBlocks * kBlockBytes).value();
    NamespaceDescriptor descriptor;
    descriptor.name = "space";
    descriptor.block_tokens = 16;
    descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
    space_ = client_->OpenNamespace(descriptor, Soon()).value();
    chain_ = ChainOf("stored");
    ASSERT_TRUE(client_->Put(space_, chain_, Blocks(), {}, Soon()).ok());
  }

  static Chain ChainOf(const std::string& name) {
    Chain chain;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      EXPECT_TRUE(chain.Append(name + std::to_string(i)).ok());
    }
    EXPECT_TRUE(chain.SetHints(kAll).ok());
    return chain;
  }
  std::vector<BlockBuffer> Blocks() const {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      blocks.push_back({.position = i, .region = region_, .offset = i * kBlockBytes});
    }
    return blocks;
  }
  std::vector<BlockPieces> Pieces() {
    std::vector<BlockPieces> blocks;
    pieces_.clear();
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      pieces_.push_back({.region = region_, .offset = i * kBlockBytes, .length = kBlockBytes});
    }
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      blocks.push_back({.position = i, .pieces = std::span(pieces_).subspan(i, 1), .range = {}});
    }
    return blocks;
  }
  std::uint64_t Taken(HintKind kind) const {
    return host_.shard(0).service().Hints().taken[static_cast<std::size_t>(kind)];
  }

  inline static const RequestHints kAll{
      .session = "s1", .category = "chat", .turn = 3, .continuation = Continuation::kWillContinue};
  ShardsHost host_{1, 16 << 20};
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
  Chain chain_;
  std::vector<MemoryPiece> pieces_;
};

TEST_F(ToldHintsTest, EveryCallThatNamesAChainCarriesThem) {
  Client& client = *client_;
  const MatchQuery query{.groups = {{.group = 0}}, .mode = MatchMode::kLease};
  const HandoffToken token = client.NewHandoff().value();
  const Chain sent = ChainOf("sent");
  const std::array<std::uint32_t, 2> positions = {0, 1};
  const std::vector<std::pair<std::string, std::function<bool()>>> calls = {
      {"Match", [&] { return client.Match(space_, chain_, {}, Soon())->matched == kBlocks; }},
      {"MatchGroups",
       [&] { return client.MatchGroups(space_, chain_, query, Soon())->longest == kBlocks; }},
      {"Get", [&] { return client.Get(space_, chain_, Blocks(), {}, Soon()).ok(); }},
      {"GetPieces", [&] { return client.GetPieces(space_, chain_, Pieces(), {}, Soon()).ok(); }},
      {"GetArriving",
       [&] { return client.GetArriving(space_, chain_, Pieces(), {}, Soon()).ok(); }},
      {"Lend", [&] { return client.Lend(space_, chain_, positions, {}, Soon()).ok(); }},
      {"Put", [&] { return client.Put(space_, ChainOf("put"), Blocks(), {}, Soon()).ok(); }},
      {"PutPieces",
       [&] { return client.PutPieces(space_, ChainOf("pieces"), Pieces(), {}, Soon()).ok(); }},
      {"Reserve", [&] { return client.Reserve(space_, ChainOf("reserved"), 0, {}, Soon()).ok(); }},
      {"OpenHandoff",
       [&] { return client.OpenHandoff(token, space_, sent, 0, kBlocks, {}, {}, Soon()).ok(); }},
      {"Send", [&] { return client.Send(token, space_, sent, Pieces(), {}, Soon()).ok(); }},
      {"Receive", [&] { return client.Receive(token, space_, sent, Pieces(), {}, Soon()).ok(); }},
      {"Prefetch",
       [&] { return client.Prefetch(space_, chain_, 0, kBlocks, {}, {}, Soon()).ok(); }},
      {"Touch", [&] { return client.Touch(space_, chain_, 0, kBlocks, {}, Soon()).ok(); }},
      {"Retain",
       [&] { return client.Retain(space_, chain_, 0, 1, {}, {.label = "l"}, Soon()).ok(); }},
  };
  for (const auto& [name, call] : calls) {
    const std::uint64_t before = Taken(HintKind::kSession);
    EXPECT_TRUE(call()) << name;
    EXPECT_EQ(Taken(HintKind::kSession), before + 1) << name;
    EXPECT_EQ(Taken(HintKind::kCategory), before + 1) << name;
    EXPECT_EQ(Taken(HintKind::kTurn), before + 1) << name;
    EXPECT_EQ(Taken(HintKind::kWillContinue), before + 1) << name;
  }
  EXPECT_EQ(Taken(HintKind::kDone), 0U);
  for (const auto& ignored : host_.shard(0).service().Hints().ignored) EXPECT_EQ(ignored, 0U);
}

TEST_F(ToldHintsTest, ANamespaceCarriesWhatComputingCosts) {
  EXPECT_EQ(Taken(HintKind::kPrefillRate), 0U) << "nothing was said of the first";
  NamespaceDescriptor descriptor;
  descriptor.name = "dear";
  descriptor.block_tokens = 16;
  descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
  const NamespaceId silent = client_->OpenNamespace(descriptor, Soon()).value();
  descriptor.prefill_rate = {{.context = 0, .tokens_per_s = 10'000},
                             {.context = 100'000, .tokens_per_s = 2'000}};
  const Result<NamespaceId> told = client_->OpenNamespace(descriptor, Soon());
  ASSERT_TRUE(told.ok()) << told.status().ToString();
  EXPECT_EQ(told->value, silent.value) << "it is not of the fingerprint";
  EXPECT_EQ(Taken(HintKind::kPrefillRate), 1U);
}

TEST_F(ToldHintsTest, TheyAreOfTheCallsThatComeAfterAndNoLonger) {
  ASSERT_TRUE(client_->Touch(space_, chain_, 0, 1, {}, Soon()).ok());
  const std::uint64_t before = Taken(HintKind::kSession);
  ASSERT_TRUE(chain_.SetHints({.continuation = Continuation::kDone}).ok());
  ASSERT_TRUE(client_->Touch(space_, chain_, 0, 1, {}, Soon()).ok());
  ASSERT_TRUE(chain_.SetHints({}).ok());
  ASSERT_TRUE(client_->Touch(space_, chain_, 0, 1, {}, Soon()).ok());
  ASSERT_TRUE(client_->Ping(Soon()).ok());
  EXPECT_EQ(Taken(HintKind::kSession), before);
  EXPECT_EQ(Taken(HintKind::kDone), 1U);
}

}  // namespace
}  // namespace terrace
