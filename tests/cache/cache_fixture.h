// A cache of a few MiB with one client over a SimLink without faults.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "base/limits.h"
#include "tests/cache/cache_harness.h"

namespace terrace::testing {

class CacheTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kBlockBytes = 64 << 10;

  void MakeCache(std::uint64_t arena_bytes, CacheOptions options = {}) {
    options.arena.capacity_bytes = arena_bytes;
    options.arena.huge_pages = false;
    auto made = Cache::Create(options, *registry_, time_.clock());
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    cache_ = std::move(made).value();
  }

  const Namespace* Open(const std::string& tenant, const std::string& name,
                        std::uint64_t block_bytes = kBlockBytes) {
    NamespaceSpec spec;
    spec.tenant = tenant;
    spec.name = name;
    spec.block_tokens = 16;
    spec.shard_count = 4;
    spec.run_blocks = 8;
    spec.groups = {{.id = 0, .attention = "full", .block_bytes = block_bytes},
                   {.id = 1, .attention = "window", .block_bytes = 8192}};
    const auto opened = registry_->Open(spec);
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    return *opened;
  }

  ClientCall Call(const Namespace* space, const ChainKeys& chain, std::size_t first,
                  std::size_t count, Nanos timeout = kSecond, std::size_t pieces = 1) {
    return MakeCall(*space, memory_, SliceOf(*space, chain, first, count), time_.Now() + timeout, 0,
                    pieces);
  }
  BatchAnswer Put(const Namespace* space, const ChainKeys& chain, std::size_t first,
                  std::size_t count, std::size_t pieces = 1) {
    const ClientCall call = Call(space, chain, first, count, kSecond, pieces);
    FillSources(call, memory_);
    return time_.Run(cache_->Put(link_, call.request));
  }
  /// Gets, and fails the test when a byte is wrong.
  BatchAnswer Get(const Namespace* space, const ChainKeys& chain, std::size_t first,
                  std::size_t count, std::size_t pieces = 1) {
    const ClientCall call = Call(space, chain, first, count, kSecond, pieces);
    PoisonDestinations(call, memory_);
    BatchAnswer answer = time_.Run(cache_->Get(link_, call.request));
    EXPECT_EQ(WrongBlocks(call, memory_, answer), 0u);
    return answer;
  }
  std::size_t Matched(const Namespace* space, const ChainKeys& chain) {
    const MatchAnswer answer = cache_->Match(SliceOf(*space, chain, 0, chain.size()));
    EXPECT_TRUE(answer.status.ok()) << answer.status.ToString();
    return answer.tiers.size();
  }
  void ExpectValid() {
    const Status valid = cache_->Validate();
    EXPECT_TRUE(valid.ok()) << valid.ToString();
  }
  void TearDown() override {
    if (cache_ == nullptr) return;
    time_.RunUntil(time_.Now() + kSecond);  // quarantines end
    EXPECT_EQ(cache_->FlowsInProgress(), 0u);
    EXPECT_EQ(link_.late_changes(), 0u);
    ExpectValid();
  }

  SimulatedTime time_;
  SeededRandom random_{1};
  std::unique_ptr<NamespaceRegistry> registry_ =
      std::make_unique<NamespaceRegistry>(kBlockBytesMax);
  ClientMemory memory_{256, kBlockBytes};
  std::unique_ptr<Cache> cache_;
  SimLink link_{time_.scheduler(), random_, memory_.memory(), {}};
};

}  // namespace terrace::testing
