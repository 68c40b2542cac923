// What is wrong with a match over groups, by name.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "client/calls/validation.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;

NamespaceDescriptor Space() {
  NamespaceDescriptor descriptor;
  descriptor.name = "space";
  descriptor.block_tokens = 16;
  descriptor.shard_count = 3;
  descriptor.groups = {{.id = 4, .block_bytes = 4096}, {.id = 9, .block_bytes = 4096}};
  return descriptor;
}

MatchQuery Good() {
  return {.groups = {{.group = 4}, {.group = 9, .policy = StopPolicy::kTrailing, .blocks = 2}},
          .shards = {0, 2},
          .mode = MatchMode::kLease,
          .lease = 60s};
}

TEST(ValidateQuery, WhatIsWrongIsNamed) {
  Chain chain;
  ASSERT_TRUE(chain.Append("key").ok());
  ASSERT_TRUE(ValidateQuery(Space(), chain, Good()).ok());
  ASSERT_TRUE(ValidateQuery(Space(), chain, {.groups = {{.group = 4}}}).ok());
  const struct {
    const char* named;
    std::function<void(MatchQuery&)> spoil;
  } cases[] = {
      {"query.groups is empty", [](auto& it) { it.groups.clear(); }},
      {"query.groups[1].group is 5", [](auto& it) { it.groups[1].group = 5; }},
      {"query.groups[1].group is 4, named before", [](auto& it) { it.groups[1].group = 4; }},
      {"query.groups[0].policy is 4",
       [](auto& it) { it.groups[0].policy = static_cast<StopPolicy>(4); }},
      {"query.groups[0].blocks is 1", [](auto& it) { it.groups[0].blocks = 1; }},
      {"query.groups[1].blocks is 0: a window", [](auto& it) { it.groups[1].blocks = 0; }},
      {"query.groups[1].blocks is 0: a boundary",
       [](auto& it) { it.groups[1] = {.group = 9, .policy = StopPolicy::kExact, .blocks = 0}; }},
      {"query.shards[1] is 3", [](auto& it) { it.shards[1] = 3; }},
      {"query.shards[1] is 0, named before", [](auto& it) { it.shards[1] = 0; }},
      {"query.mode is 7", [](auto& it) { it.mode = static_cast<MatchMode>(7); }},
      {"query.lease is 60001 ms", [](auto& it) { it.lease = 60001ms; }},
      {"query.lease is -1 ms", [](auto& it) { it.lease = -1ms; }},
  };
  for (const auto& [named, spoil] : cases) {
    MatchQuery query = Good();
    spoil(query);
    const Status status = ValidateQuery(Space(), chain, query);
    EXPECT_EQ(status.code(), StatusCode::kInvalid);
    EXPECT_NE(status.message().find(named), std::string::npos)
        << "wanted: " << named << "; got: " << status.message();
  }
  EXPECT_EQ(ValidateQuery(Space(), Chain(), Good()).message(), "chain is empty");
  EXPECT_TRUE(ValidateRenewal(0ms).ok());
  EXPECT_NE(ValidateRenewal(60001ms).message().find("time is 60001"), std::string::npos);
}

TEST(ValidateQuery, MoreBlocksThanTheLimitAreRefusedBeforeAnythingIsSent) {
  NamespaceDescriptor space = Space();
  space.shard_count = 4096;
  Chain chain;
  for (int i = 0; i < 257; ++i) ASSERT_TRUE(chain.Append(std::to_string(i)).ok());
  const Status status = ValidateQuery(space, chain, {.groups = {{.group = 4}}});
  EXPECT_EQ(status.code(), StatusCode::kInvalid);
  EXPECT_NE(status.message().find("query.groups x query.shards x chain"), std::string::npos);
  EXPECT_TRUE(ValidateQuery(space, chain, {.groups = {{.group = 4}}, .shards = {1, 2}}).ok());
}

}  // namespace
}  // namespace terrace
