// Stories of blocks from real reactors to the real client, and what absurd questions are told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/limits.h"
#include "client/terrace.hpp"
#include "tests/tools/shards_host.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
constexpr std::uint64_t kBlockBytes = 4096;
constexpr BlockKind kKind{.group = 3, .shard = 1};

Deadline Soon() { return In(30s); }

class ExplainTest : public ::testing::Test {
 protected:
  ExplainTest() : host_(2, 8 << 20) {
    client_ = Connect("default");
    region_ = client_->AllocateRegion(64 * kBlockBytes).value();
    NamespaceDescriptor descriptor;
    descriptor.name = "space";
    descriptor.model = "test";
    descriptor.block_tokens = 16;
    descriptor.run_blocks = 4;
    descriptor.shard_count = 2;
    descriptor.groups = {{.id = 3, .attention = "full", .block_bytes = kBlockBytes}};
    space_ = client_->OpenNamespace(descriptor, Soon()).value();
    for (int i = 0; i < 32; ++i) {
      texts_.push_back("chain/" + std::to_string(i));
      EXPECT_TRUE(chain_.Append(texts_.back()).ok());
    }
    for (const std::string& text : texts_) keys_.push_back(std::as_bytes(std::span(text)));
  }
  std::unique_ptr<Client> Connect(const std::string& tenant) {
    auto client = Client::Connect({.address = host_.address(),
                                   .tenant = tenant,
                                   .name = "test",
                                   .link = LinkChoice::kTcp,
                                   .connect_timeout = 20s});
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    return std::move(client).value();
  }
  void Put(std::uint32_t count) {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < count; ++i) {
      blocks.push_back({.position = i, .region = region_, .offset = i * kBlockBytes});
    }
    ASSERT_TRUE(client_->Put(space_, chain_, blocks, kKind, Soon()).ok());
  }
  Result<std::vector<BlockStoryInfo>> Explain(ExplainQuery query) {
    return client_->Explain(query, Soon());
  }
  ExplainQuery Question() { return {.space = "space", .block = kKind, .keys = keys_}; }

  testing::ShardsHost host_;
  std::unique_ptr<Client> client_;
  RegionId region_;
  NamespaceId space_;
  Chain chain_;
  std::vector<std::string> texts_;
  std::vector<std::span<const std::byte>> keys_;
};

TEST_F(ExplainTest, EachBlockIsToldByTheReactorThatHasIt) {
  Put(24);
  const auto stories = Explain(Question());
  ASSERT_TRUE(stories.ok()) << stories.status().ToString();
  ASSERT_EQ(stories->size(), 32u);
  bool second = false;
  for (std::size_t i = 0; i < 32; ++i) {
    const BlockStoryInfo& story = (*stories)[i];
    EXPECT_EQ(story.published, i < 24);
    EXPECT_EQ(story.reason, i < 24 ? MissReason::kNone : MissReason::kNeverSeen) << i;
    if (i >= 24) continue;
    EXPECT_EQ(story.position, i);
    EXPECT_EQ(story.tiers, kTierSetDram);
    EXPECT_EQ(story.block_bytes, kBlockBytes);
    second = second || story.reactor == 1;
  }
  EXPECT_TRUE(second) << "no run lies on the second reactor";
}

TEST_F(ExplainTest, WhatWasClearedIsToldSo) {
  Put(8);
  ASSERT_EQ(client_->ClearNamespace("space", Soon()).value(), 8u);
  const auto stories = Explain(Question());
  ASSERT_TRUE(stories.ok());
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ((*stories)[i].reason, MissReason::kCleared);
    EXPECT_LT((*stories)[i].age, 60s);
  }
}

TEST_F(ExplainTest, AnotherTenantLearnsNothing) {
  Put(4);
  const auto stranger = Connect("stranger");
  EXPECT_EQ(stranger->Explain(Question(), Soon()).code(), StatusCode::kMiss);
}

TEST_F(ExplainTest, AbsurdQuestionsAreToldWhatIsWrong) {
  ExplainQuery query = Question();
  query.space = "nobody";
  EXPECT_EQ(Explain(query).code(), StatusCode::kMiss);
  query.space = "";
  EXPECT_THAT(Explain(query).status().message(), HasSubstr("query.space"));
  query = Question();
  query.block.group = 77;
  EXPECT_THAT(Explain(query).status().message(), HasSubstr("group 77"));
  query = Question();
  query.block.shard = 2;
  EXPECT_THAT(Explain(query).status().message(), HasSubstr("shard is 2"));
  query = Question();
  query.keys = {};
  EXPECT_THAT(Explain(query).status().message(), HasSubstr("query.keys has 0"));
  const std::string long_key(kKeyBytesMax + 1, 'x');
  const std::vector<std::span<const std::byte>> longer = {std::as_bytes(std::span(long_key))};
  query.keys = longer;
  EXPECT_THAT(Explain(query).status().message(), HasSubstr("query.keys[0] has 65 bytes"));
  const std::vector<std::span<const std::byte>> many(kExplainKeysMax + 1, keys_[0]);
  query.keys = many;
  EXPECT_THAT(Explain(query).status().message(), HasSubstr("4097"));
}

}  // namespace
}  // namespace terrace
