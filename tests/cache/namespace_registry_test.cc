#include "cache/namespace_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <thread>

#include "base/limits.h"

namespace terrace {
namespace {

using ::testing::HasSubstr;

NamespaceSpec GoodSpec() {
  return {.tenant = "acme",
          .name = "llama",
          .model = "meta-llama/Meta-Llama-3-8B",
          .weights = "rev1",
          .kv_dtype = "bf16",
          .layout = "L2TH",
          .hash_algorithm = "sha256",
          .hash_seed = "0",
          .block_tokens = 16,
          .shard_count = 2,
          .run_blocks = 64,
          .groups = {{.id = 0, .attention = "full", .block_bytes = 65536},
                     {.id = 7, .attention = "window:4096", .block_bytes = 8192}}};
}

TEST(NamespaceRegistryTest, OpeningTwiceGivesTheSameNamespace) {
  NamespaceRegistry registry(kBlockBytesMax);
  const auto first = registry.Open(GoodSpec());
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  NamespaceSpec reordered = GoodSpec();
  std::swap(reordered.groups[0], reordered.groups[1]);
  const auto second = registry.Open(reordered);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ(*first, *second);
  EXPECT_EQ((*first)->id, 1u);
  EXPECT_EQ((*first)->BlockBytes(7), 8192u);
  EXPECT_EQ((*first)->BlockBytes(1), 0u);
  EXPECT_EQ(registry.Find(1), *first);
  EXPECT_EQ(registry.Find(0), nullptr);
  EXPECT_EQ(registry.Find(2), nullptr);
  EXPECT_EQ(registry.FindByName("acme", "llama"), *first);
  EXPECT_EQ(registry.FindByName("other", "llama"), nullptr);
}

TEST(NamespaceRegistryTest, TenantsShareNothingButMayUseTheSameName) {
  NamespaceRegistry registry(kBlockBytesMax);
  const auto first = registry.Open(GoodSpec());
  NamespaceSpec other = GoodSpec();
  other.tenant = "globex";
  const auto second = registry.Open(other);
  NamespaceSpec third_spec = GoodSpec();
  third_spec.name = "qwen";
  const auto third = registry.Open(third_spec);
  ASSERT_TRUE(first.ok() && second.ok() && third.ok());
  EXPECT_NE((*first)->id, (*second)->id);
  EXPECT_NE((*first)->tenant_id, (*second)->tenant_id);
  EXPECT_EQ((*first)->tenant_id, (*third)->tenant_id);
  EXPECT_EQ((*first)->fingerprint, (*second)->fingerprint);
  EXPECT_EQ(registry.All().size(), 3u);
}

TEST(NamespaceRegistryTest, EveryFieldThatChangesBytesChangesTheFingerprint) {
  const std::vector<std::pair<std::string, std::function<void(NamespaceSpec&)>>> changes = {
      {"model", [](NamespaceSpec& spec) { spec.model += "x"; }},
      {"weights", [](NamespaceSpec& spec) { spec.weights += "x"; }},
      {"kv_dtype", [](NamespaceSpec& spec) { spec.kv_dtype = "fp8"; }},
      {"layout", [](NamespaceSpec& spec) { spec.layout = ""; }},
      {"hash_algorithm", [](NamespaceSpec& spec) { spec.hash_algorithm = "xxh3"; }},
      {"hash_seed", [](NamespaceSpec& spec) { spec.hash_seed = "1"; }},
      {"block_tokens", [](NamespaceSpec& spec) { spec.block_tokens = 32; }},
      {"shard_count", [](NamespaceSpec& spec) { spec.shard_count = 4; }},
      {"run_blocks", [](NamespaceSpec& spec) { spec.run_blocks = 32; }},
      {"groups", [](NamespaceSpec& spec) { spec.groups[1].block_bytes = 4096; }},
      {"groups", [](NamespaceSpec& spec) { spec.groups[1].attention = "state"; }},
      {"groups", [](NamespaceSpec& spec) { spec.groups[1].id = 8; }},
      {"groups", [](NamespaceSpec& spec) { spec.groups.pop_back(); }},
  };
  NamespaceRegistry registry(kBlockBytesMax);
  ASSERT_TRUE(registry.Open(GoodSpec()).ok());
  std::set<std::string> fingerprints = {ToHex(NamespaceFingerprint(GoodSpec()))};
  for (const auto& [field, change] : changes) {
    NamespaceSpec spec = GoodSpec();
    change(spec);
    EXPECT_TRUE(fingerprints.insert(ToHex(NamespaceFingerprint(spec))).second) << field;
    const auto opened = registry.Open(spec);
    EXPECT_EQ(opened.code(), StatusCode::kIncompatible) << field;
    EXPECT_THAT(opened.status().message(), HasSubstr("differ: " + field));
    EXPECT_THAT(opened.status().message(), HasSubstr(ToHex(NamespaceFingerprint(spec))));
  }
}

TEST(NamespaceRegistryTest, FieldsDoNotRunIntoEachOtherInTheFingerprint) {
  NamespaceSpec left = GoodSpec();
  left.model = "ab";
  left.weights = "c";
  NamespaceSpec right = GoodSpec();
  right.model = "a";
  right.weights = "bc";
  EXPECT_FALSE(NamespaceFingerprint(left) == NamespaceFingerprint(right));
}

TEST(NamespaceRegistryTest, FingerprintDoesNotChangeBetweenVersions) {
  // Computed once by hand from the canonical bytes by a program of its own; daemons and clients of
  // other versions rely on it.
  EXPECT_EQ(ToHex(NamespaceFingerprint(GoodSpec())), "bd0708b36cb433e2d5418eeead017e2e");
}

TEST(NamespaceRegistryTest, RefusalsNameTheField) {
  const std::vector<std::pair<std::string, std::function<void(NamespaceSpec&)>>> breakers = {
      {"tenant: has 0 bytes", [](NamespaceSpec& spec) { spec.tenant.clear(); }},
      {"tenant: has 129 bytes", [](NamespaceSpec& spec) { spec.tenant.assign(129, 'a'); }},
      {"name: has 0 bytes", [](NamespaceSpec& spec) { spec.name.clear(); }},
      {"name: control character 10 at byte 1", [](NamespaceSpec& spec) { spec.name = "a\nb"; }},
      {"model: control character 127", [](NamespaceSpec& spec) { spec.model = "\x7f"; }},
      {"layout: has 1025 bytes", [](NamespaceSpec& spec) { spec.layout.assign(1025, 'a'); }},
      {"block_tokens: is 0", [](NamespaceSpec& spec) { spec.block_tokens = 0; }},
      {"shard_count: is 0", [](NamespaceSpec& spec) { spec.shard_count = 0; }},
      {"shard_count: is 4097", [](NamespaceSpec& spec) { spec.shard_count = 4097; }},
      {"run_blocks: is 0", [](NamespaceSpec& spec) { spec.run_blocks = 0; }},
      {"run_blocks: is 4097", [](NamespaceSpec& spec) { spec.run_blocks = 4097; }},
      {"groups: their number: is 0", [](NamespaceSpec& spec) { spec.groups.clear(); }},
      {"groups: their number: is 65", [](NamespaceSpec& spec) { spec.groups.resize(65); }},
      {"groups[1].id: 0 is also the id of groups[0]",
       [](NamespaceSpec& spec) { spec.groups[1].id = 0; }},
      {"groups[1].block_bytes: is 4095",
       [](NamespaceSpec& spec) { spec.groups[1].block_bytes = 4095; }},
      {"groups[0].block_bytes: is 1048577, must be 4096 to 1048576",
       [](NamespaceSpec& spec) { spec.groups[0].block_bytes = 1048577; }},
      {"groups[0].attention: control character 0",
       [](NamespaceSpec& spec) { spec.groups[0].attention = std::string(1, '\0'); }},
  };
  NamespaceRegistry registry(1 << 20);
  for (const auto& [message, breaker] : breakers) {
    NamespaceSpec spec = GoodSpec();
    breaker(spec);
    const auto opened = registry.Open(spec);
    EXPECT_EQ(opened.code(), StatusCode::kInvalid) << message;
    EXPECT_THAT(opened.status().message(), HasSubstr(message));
  }
  EXPECT_TRUE(registry.All().empty()) << "a refused namespace must leave nothing behind";
}

TEST(NamespaceRegistryTest, ThreadsThatOpenTheSameNameAgree) {
  NamespaceRegistry registry(kBlockBytesMax);
  std::vector<const Namespace*> opened(4, nullptr);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < opened.size(); ++i) {
    threads.emplace_back([&registry, &opened, i] {
      for (int round = 0; round < 50; ++round) {
        NamespaceSpec spec = GoodSpec();
        spec.name = "round" + std::to_string(round);
        opened[i] = registry.Open(spec).value();
        if (registry.Find(opened[i]->id) != opened[i]) opened[i] = nullptr;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Namespace* space : opened) EXPECT_EQ(space, opened[0]);
  EXPECT_EQ(registry.All().size(), 50u);
}

TEST(NamespaceRegistryTest, WhatComputingCostsIsSharedByTheBytesOfAllGroupsAndShards) {
  NamespaceRegistry registry(kBlockBytesMax);
  const Namespace* space = registry.Open(GoodSpec()).value();
  EXPECT_EQ(space->CostPerByte(100), 0) << "nobody told";
  space->cost.Set({.first_token_s = 1e-3, .per_context_s = 2e-6});
  // 16 tokens in 2 shards of 65,536 + 8,192 bytes; behind 50 blocks, 800 tokens, on average.
  const double token_s = 1e-3 + 2e-6 * 800;
  EXPECT_NEAR(space->CostPerByte(100), token_s * 16 / 147'456, 1e-12);
  EXPECT_EQ(registry.Open(GoodSpec()).value(), space) << "it is not of the fingerprint";
  EXPECT_GT(space->CostPerByte(100), 0) << "who does not tell changes nothing";
}

}  // namespace
}  // namespace terrace
