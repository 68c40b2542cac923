// Hints from the real client to the caches of real shards: labels, prefixes and tenants that lie on
// several reactors, and what a restart leaves of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/terrace.hpp"
#include "tests/common/wait_until_connected.h"
#include "tests/tools/shards_host.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t kBlockBytes = 64 << 10;
constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint32_t kRunBlocks = 4;

Deadline Soon() { return In(30s); }

/// A daemon of some shards, of 16 MiB each.
class Host final : public testing::ShardsHost {
 public:
  explicit Host(std::uint32_t shards, std::uint16_t port = 0)
      : ShardsHost(shards, 16 * kMiB * shards, {}, port) {}
  /// A counter of the caches, of each reactor.
  [[nodiscard]] std::vector<std::uint64_t> Each(
      std::atomic<std::uint64_t> CacheCounters::* counter) const {
    return ShardsHost::Each(
        [counter](const CacheCounters& counters) { return (counters.*counter).load(); });
  }
};

/// A client of a tenant, with memory of 40 blocks.
class Engine {
 public:
  static constexpr std::uint32_t kBlocks = 40;

  explicit Engine(std::uint16_t port, const std::string& tenant = "default") {
    auto client = Client::Connect({.address = "127.0.0.1:" + std::to_string(port),
                                   .tenant = tenant,
                                   .name = "engine",
                                   .connect_timeout = 20s});
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    client_ = std::move(client.value());
    region_ = client_->AllocateRegion(kBlocks * kBlockBytes).value();
    space_ = Open("space");
  }
  NamespaceId Open(const std::string& name) {
    NamespaceDescriptor descriptor;
    descriptor.name = name;
    descriptor.model = "test";
    descriptor.block_tokens = 16;
    descriptor.run_blocks = kRunBlocks;
    descriptor.shard_count = 2;
    descriptor.groups = {{.id = 3, .attention = "full", .block_bytes = kBlockBytes},
                         {.id = 5, .attention = "window", .block_bytes = kBlockBytes}};
    return client_->OpenNamespace(descriptor, Soon()).value();
  }
  static Chain ChainOf(const std::string& name, std::uint32_t keys) {
    Chain chain;
    for (std::uint32_t i = 0; i < keys; ++i) {
      EXPECT_TRUE(chain.Append(name + "/" + std::to_string(i)).ok());
    }
    return chain;
  }
  void Put(NamespaceId space, const std::string& name, std::uint32_t count, BlockKind kind) {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < count; ++i) {
      blocks.push_back({.position = i, .region = region_, .offset = i * kBlockBytes});
    }
    const auto results = client_->Put(space, ChainOf(name, count), blocks, kind, Soon());
    ASSERT_TRUE(results.ok()) << results.status().ToString();
    for (const BlockResult& result : *results) ASSERT_EQ(result.status, StatusCode::kOk);
  }
  std::uint32_t Matched(NamespaceId space, const std::string& name, std::uint32_t count,
                        BlockKind kind) {
    return client_->Match(space, ChainOf(name, count), kind, Soon())->matched;
  }
  Client& operator*() { return *client_; }
  Client* operator->() { return client_.get(); }
  [[nodiscard]] NamespaceId space() const { return space_; }

 private:
  std::unique_ptr<Client> client_;
  RegionId region_;
  NamespaceId space_;
};

constexpr BlockKind kKind{.group = 3, .shard = 1};

std::size_t Count(const Result<std::vector<BlockResult>>& result, StatusCode code) {
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  if (!result.ok()) return 0;
  return static_cast<std::size_t>(
      std::count_if(result->begin(), result->end(),
                    [code](const BlockResult& block) { return block.status == code; }));
}

std::uint64_t Sum(const std::vector<std::uint64_t>& values) {
  std::uint64_t sum = 0;
  for (const std::uint64_t value : values) sum += value;
  return sum;
}

TEST(Hints, ALabelOnSeveralReactorsIsReleasedByAnybodyOfTheTenant) {
  const Host host(2);
  Engine stranger(host.port(), "stranger");
  {
    Engine first(host.port());
    first.Put(first.space(), "c", 40, kKind);
    const Chain chain = Engine::ChainOf("c", 44);
    const auto kept =
        first->Retain(first.space(), chain, 0, 44, kKind, {.label = "session"}, Soon());
    EXPECT_EQ(Count(kept, StatusCode::kOk), 40U);
    EXPECT_EQ(Count(kept, StatusCode::kMiss), 4U);
    const auto touched = first->Touch(first.space(), chain, 38, 6, kKind, Soon());
    EXPECT_EQ(Count(touched, StatusCode::kOk), 2U);
    const auto fetched = first->Prefetch(first.space(), chain, 38, 6, kKind, {}, Soon());
    EXPECT_EQ(Count(fetched, StatusCode::kOk), 2U) << "they are in DRAM";
    EXPECT_EQ(Count(fetched, StatusCode::kMiss), 4U);
    EXPECT_EQ(fetched.value()[0].tier, Tier::kDram);
  }
  const auto each = host.Each(&CacheCounters::retained_blocks);
  EXPECT_EQ(Sum(each), 40U) << "without its client";
  EXPECT_GT(*std::min_element(each.begin(), each.end()), 0U) << "this test needs both reactors";
  EXPECT_EQ(*stranger->ReleaseRetained("session", Soon()), 0U);
  Engine second(host.port());
  EXPECT_EQ(*second->ReleaseRetained("session", Soon()), 40U);
  EXPECT_EQ(*second->ReleaseRetained("session", Soon()), 0U);
  EXPECT_EQ(Sum(host.Each(&CacheCounters::retained_blocks)), 0U);
}

TEST(Hints, PrefixGoesOnEveryReactorInEveryGroupAndShard) {
  const Host host(2);
  Engine engine(host.port());
  const NamespaceId other = engine.Open("other");
  for (const BlockKind kind : {BlockKind{3, 0}, BlockKind{3, 1}, BlockKind{5, 1}}) {
    engine.Put(engine.space(), "c", 40, kind);
  }
  engine.Put(other, "c", 8, kKind);
  // Positions 10 and 11 are in the run that the chain ends in, and are found; the runs behind it
  // are found where they lie on the reactor of the run before.
  const Result<std::uint64_t> removed =
      engine->RemovePrefix(engine.space(), Engine::ChainOf("c", 10), 9, Soon());
  ASSERT_TRUE(removed.ok()) << removed.status().ToString();
  EXPECT_GE(*removed, 3 * 3U);
  for (const BlockKind kind : {BlockKind{3, 0}, BlockKind{3, 1}, BlockKind{5, 1}}) {
    EXPECT_EQ(engine.Matched(engine.space(), "c", 40, kind), 9U);
  }
  EXPECT_EQ(engine.Matched(other, "c", 8, kKind), 8U);
  // Named as a whole, all of it goes wherever it lies.
  const Result<std::uint64_t> rest =
      engine->RemovePrefix(engine.space(), Engine::ChainOf("c", 40), 0, Soon());
  ASSERT_TRUE(rest.ok());
  EXPECT_EQ(*removed + *rest, 3 * 40U);
}

TEST(Hints, OneReactorFindsAllThatContinuesAPrefix) {
  const Host host(1);
  Engine engine(host.port());
  engine.Put(engine.space(), "c", 40, kKind);
  EXPECT_EQ(*engine->RemovePrefix(engine.space(), Engine::ChainOf("c", 2), 1, Soon()), 39U);
}

TEST(Hints, ATenantIsClearedAndNoOther) {
  const Host host(2);
  Engine engine(host.port());
  Engine stranger(host.port(), "stranger");
  const NamespaceId other = engine.Open("other");
  engine.Put(engine.space(), "c", 20, kKind);
  engine.Put(other, "c", 12, kKind);
  stranger.Put(stranger.space(), "c", 8, kKind);
  EXPECT_EQ(*engine->ClearTenant(Soon()), 32U);
  EXPECT_EQ(engine.Matched(other, "c", 12, kKind), 0U);
  EXPECT_EQ(stranger.Matched(stranger.space(), "c", 8, kKind), 8U);
  EXPECT_EQ(*engine->ClearTenant(Soon()), 0U);
}

TEST(Hints, SubmittedPrefetchComesBackOnceAndMayBeCancelled) {
  const Host host(1);
  Engine engine(host.port());
  engine.Put(engine.space(), "c", 4, kKind);
  const Chain chain = Engine::ChainOf("c", 4);
  const Ticket ticket =
      engine->SubmitPrefetch(engine.space(), chain, 0, 4, kKind, {.priority = 7}, Soon()).value();
  EXPECT_TRUE(engine->Cancel(ticket, Soon()).ok());
  ASSERT_TRUE(engine->WaitForCompletion(Soon()).ok());
  const auto done = engine->Poll();
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].ticket, ticket);
  for (const BlockResult& block : done[0].blocks) {
    EXPECT_TRUE(block.status == StatusCode::kOk || block.status == StatusCode::kCancelled);
  }
}

TEST(Hints, AfterARestartHandlesGoOnAndLabelsAreGone) {
  auto host = std::make_unique<Host>(1);
  const std::uint16_t port = host->port();
  Engine engine(port);
  engine.Put(engine.space(), "c", 8, kKind);
  const Chain chain = Engine::ChainOf("c", 8);
  const RetainOptions label{.label = "session"};
  EXPECT_EQ(
      Count(engine->Retain(engine.space(), chain, 0, 8, kKind, label, Soon()), StatusCode::kOk),
      8U);
  host.reset();
  ASSERT_TRUE(testing::WaitUntilConnected(*engine, false));
  EXPECT_EQ(engine->Retain(engine.space(), chain, 0, 8, kKind, label, Soon()).code(),
            StatusCode::kPeerDead);
  EXPECT_EQ(engine->SubmitPrefetch(engine.space(), chain, 0, 8, kKind, {}, Soon()).code(),
            StatusCode::kPeerDead);
  host = std::make_unique<Host>(1, port);
  ASSERT_TRUE(testing::WaitUntilConnected(*engine, true));
  EXPECT_EQ(*engine->ReleaseRetained("session", Soon()), 0U)
      << "a label does not outlive its daemon";
  EXPECT_EQ(
      Count(engine->Retain(engine.space(), chain, 0, 8, kKind, label, Soon()), StatusCode::kMiss),
      8U);
  engine.Put(engine.space(), "c", 8, kKind);
  EXPECT_EQ(
      Count(engine->Retain(engine.space(), chain, 0, 8, kKind, label, Soon()), StatusCode::kOk),
      8U);
  EXPECT_EQ(
      Count(engine->Prefetch(engine.space(), chain, 0, 8, kKind, {}, Soon()), StatusCode::kOk), 8U);
  EXPECT_EQ(*engine->ReleaseRetained("session", Soon()), 8U);
}

}  // namespace
}  // namespace terrace
