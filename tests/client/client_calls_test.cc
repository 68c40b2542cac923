// The synchronous calls, against a daemon of two reactors over the real transport.
#include <gtest/gtest.h>

#include "client/calls/client_impl.h"
#include "tests/client/client_fixture.h"

namespace terrace {
namespace {

class ClientCallsTest : public ::testing::Test {
 protected:
  ClientCallsTest() : client_(ConnectTo(daemon_.address())) {
    if (client_ != nullptr) {
      const auto space = client_->OpenNamespace(SpaceNamed("space"), Soon());
      EXPECT_TRUE(space.ok()) << space.status().ToString();
      if (space.ok()) space_ = space.value();
    }
  }
  void SetUp() override { ASSERT_NE(client_, nullptr); }

  FakeDaemon daemon_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
};

TEST_F(ClientCallsTest, WhatWasPutComesBackFromSeveralReactors) {
  const Chain chain = ChainNamed("roundtrip", 40);
  BlockMemory memory(*client_, 40);
  memory.Fill(1);
  EXPECT_EQ(client_->Match(space_, chain, {}, Soon())->matched, 0U);
  ExpectCodes(client_->Put(space_, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  for (const std::size_t blocks : daemon_.BlocksByReactor()) EXPECT_GT(blocks, 0U);
  const auto match = client_->Match(space_, chain, {}, Soon());
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->matched, 40U);
  EXPECT_EQ(match->tiers, std::vector<Tier>(40, Tier::kDram));
  memory.Poison();
  ExpectCodes(client_->Get(space_, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  for (std::uint32_t i = 0; i < 40; ++i) EXPECT_TRUE(memory.Holds(1, i)) << i;
  ExpectCodes(client_->Put(space_, chain, memory.All(), {}, Soon()), StatusCode::kExists);
  EXPECT_EQ(client_->Match(space_, chain, {.group = 0, .shard = 1}, Soon())->matched, 0U)
      << "another shard is another block";
}

TEST_F(ClientCallsTest, StatusIsPerBlockWhenSomeAreMissing) {
  const Chain chain = ChainNamed("partial", 12);
  BlockMemory memory(*client_, 12);
  memory.Fill(2);
  std::vector<BlockBuffer> even;
  for (std::uint32_t i = 0; i < 12; i += 2) even.push_back(memory.At(i));
  ExpectCodes(client_->Put(space_, chain, even, {}, Soon()), StatusCode::kOk);
  memory.Poison();
  std::vector<BlockBuffer> backwards = memory.All();
  std::reverse(backwards.begin(), backwards.end());
  const auto got = client_->Get(space_, chain, backwards, {}, Soon());
  ASSERT_TRUE(got.ok());
  for (std::size_t i = 0; i < backwards.size(); ++i) {
    const std::uint32_t position = backwards[i].position;
    const bool stored = position % 2 == 0;
    EXPECT_EQ(got.value()[i].status, stored ? StatusCode::kOk : StatusCode::kMiss) << position;
    if (stored) EXPECT_TRUE(memory.Holds(2, position)) << position;
    EXPECT_EQ(got.value()[i].valid_tokens, stored ? 16U : 0U);
  }
  EXPECT_EQ(client_->Match(space_, chain, {}, Soon())->matched, 1U);
}

TEST_F(ClientCallsTest, PutSaysOfEachBlockWhetherItIsDurable) {
  const Chain chain = ChainNamed("durable", 12);
  BlockMemory memory(*client_, 12);
  const auto put = [&](Ack ack) {
    return client_->Put(space_, chain, memory.All(), {}, Soon(), ack);
  };
  const auto expect = [](const Result<std::vector<BlockResult>>& result, StatusCode code, Ack ack,
                         NotDurable reason) {
    ExpectCodes(result, code);
    for (const BlockResult& block : result.value()) {
      EXPECT_EQ(block.ack, ack);
      EXPECT_EQ(block.not_durable, reason) << NotDurableName(block.not_durable);
    }
  };
  daemon_.behaviour().not_durable = static_cast<int>(NotDurable::kWriteBudget);
  expect(put(Ack::kDurable), StatusCode::kOk, Ack::kCommitted, NotDurable::kWriteBudget);
  expect(put(Ack::kCommitted), StatusCode::kExists, Ack::kCommitted, NotDurable::kNone);
  daemon_.behaviour().not_durable = 0;
  expect(put(Ack::kDurable), StatusCode::kExists, Ack::kDurable, NotDurable::kNone);
}

TEST_F(ClientCallsTest, RemovedBlocksAreMissedAndCountedOnce) {
  const Chain chain = ChainNamed("remove", 10);
  BlockMemory memory(*client_, 10);
  ExpectCodes(client_->Put(space_, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  ExpectCodes(client_->Remove(space_, chain, 3, 4, {}, Soon()), StatusCode::kOk);
  ExpectCodes(client_->Remove(space_, chain, 3, 4, {}, Soon()), StatusCode::kMiss);
  EXPECT_EQ(client_->Match(space_, chain, {}, Soon())->matched, 3U);
}

TEST_F(ClientCallsTest, OperatorsCallsAreSummedOverTheReactors) {
  const Chain chain = ChainNamed("operator", 30);
  BlockMemory memory(*client_, 30);
  ExpectCodes(client_->Put(space_, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  EXPECT_TRUE(client_->Ping(Soon()).ok());
  const auto stat = client_->Stat(Soon());
  ASSERT_TRUE(stat.ok());
  ASSERT_EQ(stat->size(), 1U);
  EXPECT_EQ(stat.value()[0].value, 30);
  const auto names = client_->ListNamespaces(Soon());
  ASSERT_TRUE(names.ok());
  ASSERT_EQ(names->size(), 1U);
  EXPECT_EQ(names.value()[0].blocks, 30U);
  EXPECT_EQ(client_->ClearNamespace("space", Soon()).value(), 30U);
  EXPECT_EQ(client_->ClearNamespace("nobody's", Soon()).code(), StatusCode::kMiss);
  EXPECT_EQ(client_->Match(space_, chain, {}, Soon())->matched, 0U);
}

TEST_F(ClientCallsTest, BadArgumentsAreNamedAndReachNobody) {
  const Chain chain = ChainNamed("bad", 4);
  BlockMemory memory(*client_, 4);
  const auto expect = [](const Status& status, const std::string& named) {
    EXPECT_EQ(status.code(), StatusCode::kInvalid) << named;
    EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
  };
  const auto get = [&](std::vector<BlockBuffer> blocks, BlockKind kind = {}) {
    return client_->Get(space_, chain, blocks, kind, Soon()).status();
  };
  expect(client_->Match(space_, Chain(), {}, Soon()).status(), "chain is empty");
  expect(client_->Match({99}, chain, {}, Soon()).status(), "namespace 99");
  expect(client_->Match(space_, chain, {.group = 5, .shard = 0}, Soon()).status(), "kind.group");
  expect(client_->Match(space_, chain, {.group = 0, .shard = 2}, Soon()).status(), "kind.shard");
  expect(get({}), "number of blocks");
  expect(get({memory.At(4)}), "blocks[0].position is 4");
  expect(get({memory.At(1), memory.At(1)}), "blocks[1].position 1 was named before");
  expect(get({{.position = 0, .region = {77}, .offset = 0, .valid_tokens = 0}}), "region 77");
  // Both would be called good, and one of them holds the other's bytes.
  BlockBuffer same = memory.At(2);
  same.offset = memory.At(0).offset;
  expect(get({memory.At(0), memory.At(1), same}), "blocks[2] overlaps that of blocks[0]");
  same.offset = memory.At(3).offset - 1;
  expect(get({memory.At(3), same}), "blocks[1] overlaps that of blocks[0]");
  const std::span<std::byte> twice = client_->RegionMemory(memory.region());
  const auto alias = client_->RegisterMemory(twice.data(), twice.size());
  ASSERT_TRUE(alias.ok());
  same = {.position = 0, .region = *alias, .offset = memory.At(1).offset};
  expect(get({memory.At(1), same}), "blocks[1] overlaps that of blocks[0]");
  EXPECT_TRUE(client_->DeregisterMemory(*alias).ok());
  BlockBuffer outside = memory.At(3);
  outside.offset += 1;
  expect(get({outside}), "blocks[0]: offset");
  outside.offset = ~std::uint64_t{0};
  expect(get({outside}), "blocks[0]: offset");
  BlockBuffer tokens = memory.At(0);
  tokens.valid_tokens = 17;
  expect(client_->Put(space_, chain, std::vector{tokens}, {}, Soon()).status(), "valid_tokens");
  expect(client_->Put(space_, chain, memory.All(), {}, Soon(), static_cast<Ack>(9)).status(),
         "ack is 9");
  expect(client_->Remove(space_, chain, 4, 1, {}, Soon()).status(), "first 4");
  expect(client_->Remove(space_, chain, 0, 0, {}, Soon()).status(), "count");
  expect(client_->OpenNamespace({}, Soon()).status(), "name");
  NamespaceDescriptor absurd = SpaceNamed("absurd");
  absurd.prefill_rate = {{.context = 0, .tokens_per_s = 1e4}, {.context = 0, .tokens_per_s = 1e3}};
  expect(client_->OpenNamespace(absurd, Soon()).status(), "prefill_rate[1].context is 0");
  absurd.prefill_rate = {{.context = 0, .tokens_per_s = -1}};
  expect(client_->OpenNamespace(absurd, Soon()).status(), "prefill_rate[0].tokens_per_s is -1");
  expect(client_->RegisterMemory(nullptr, 1).status(), "base");
  expect(client_->AllocateRegion(0).status(), "length");
  expect(client_->DeregisterMemory({1234}), "region 1234");
  expect(client_->ClearNamespace("", Soon()).status(), "name");
  expect(Client::Connect({.address = "no port"}).status(), "no port");
  EXPECT_EQ(daemon_.behaviour().gets, 0U);
  EXPECT_TRUE(client_->DeregisterMemory(memory.region()).ok()) << "no use was left behind";
}

TEST_F(ClientCallsTest, DeadlineEndsACallThatTheDaemonForgets) {
  const Chain chain = ChainNamed("slow", 8);
  BlockMemory memory(*client_, 8);
  daemon_.behaviour().drop = true;
  EXPECT_EQ(client_->Match(space_, chain, {}, In(50ms)).code(), StatusCode::kTimeout);
  const auto got = client_->Get(space_, chain, memory.All(), {}, In(50ms));
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  for (const BlockResult& block : got.value()) EXPECT_EQ(block.status, StatusCode::kTimeout);
  EXPECT_EQ(client_->Match(space_, chain, {}, In(-1s)).code(), StatusCode::kTimeout);
  EXPECT_TRUE(client_->Quiesce(memory.region(), Soon()).ok());
  EXPECT_TRUE(client_->DeregisterMemory(memory.region()).ok());
  daemon_.behaviour().drop = false;
  EXPECT_TRUE(client_->Match(space_, chain, {}, Soon()).ok());
}

TEST_F(ClientCallsTest, DaemonsRefusalReachesTheCallerWithItsWords) {
  const Chain chain = ChainNamed("refused", 2);
  BlockMemory memory(*client_, 2);
  daemon_.behaviour().refuse = static_cast<int>(StatusCode::kRetry);
  const auto got = client_->Get(space_, chain, memory.All(), {}, Soon());
  EXPECT_EQ(got.code(), StatusCode::kRetry);
  EXPECT_EQ(got.status().message(), "told to refuse");
}

TEST_F(ClientCallsTest, RegionsComeAndGo) {
  const Chain chain = ChainNamed("regions", 3);
  const auto region = client_->AllocateRegion(3 * kBlockBytes);
  ASSERT_TRUE(region.ok());
  const std::span<std::byte> memory = client_->RegionMemory(region.value());
  ASSERT_EQ(memory.size(), 3 * kBlockBytes);
  memory[kBlockBytes] = std::byte{7};
  std::vector<BlockBuffer> blocks;
  for (std::uint32_t i = 0; i < 3; ++i) {
    blocks.push_back(
        {.position = i, .region = region.value(), .offset = i * kBlockBytes, .valid_tokens = 0});
  }
  ExpectCodes(client_->Put(space_, chain, blocks, {}, Soon()), StatusCode::kOk);
  memory[kBlockBytes] = std::byte{0};
  ExpectCodes(client_->Get(space_, chain, blocks, {}, Soon()), StatusCode::kOk);
  EXPECT_EQ(memory[kBlockBytes], std::byte{7});
  EXPECT_TRUE(client_->DeregisterMemory(region.value()).ok());
  EXPECT_TRUE(client_->RegionMemory(region.value()).empty());
  EXPECT_EQ(client_->Get(space_, chain, blocks, {}, Soon()).code(), StatusCode::kInvalid);
}

TEST_F(ClientCallsTest, OpeningANamespaceAgainGivesTheSameId) {
  EXPECT_EQ(client_->OpenNamespace(SpaceNamed("space"), Soon())->value, space_.value);
  EXPECT_NE(client_->OpenNamespace(SpaceNamed("other"), Soon())->value, space_.value);
  daemon_.behaviour().refuse_names = true;
  const auto refused = client_->OpenNamespace(SpaceNamed("space"), Soon());
  EXPECT_EQ(refused.code(), StatusCode::kIncompatible);
  EXPECT_TRUE(client_->Match(space_, ChainNamed("x", 1), {}, Soon()).ok())
      << "who opened it before goes on";
}

TEST(ClientConnect, NobodyThereIsPeerDeadByTheTimeout) {
  // A port that was somebody's a moment ago.
  std::string address;
  {
    const FakeDaemon daemon;
    address = daemon.address();
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto client = Client::Connect({.address = address, .connect_timeout = 200ms});
  EXPECT_EQ(client.code(), StatusCode::kPeerDead) << client.status().ToString();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST(ClientConnect, TcpWhenAskedForAndOtherwiseTheFastest) {
  FakeDaemon daemon;
  ClientOptions options;
  options.address = daemon.address();
  options.link = LinkChoice::kTcp;
  const auto tcp = Client::Connect(options);
  ASSERT_TRUE(tcp.ok()) << tcp.status().ToString();
  EXPECT_EQ(tcp.value()->LinkName(), "tcp");
  const auto space = tcp.value()->OpenNamespace(SpaceNamed("space"), Soon());
  ASSERT_TRUE(space.ok());
  BlockMemory memory(*tcp.value(), 9);
  memory.Fill(3);
  const Chain chain = ChainNamed("tcp", 9);
  ExpectCodes(tcp.value()->Put(*space, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  memory.Poison();
  ExpectCodes(tcp.value()->Get(*space, chain, memory.All(), {}, Soon()), StatusCode::kOk);
  for (std::uint32_t i = 0; i < 9; ++i) EXPECT_TRUE(memory.Holds(3, i));
}

}  // namespace
}  // namespace terrace
