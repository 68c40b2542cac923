// Matches over groups and their leases, from the real client over the real transport to the caches
// of a daemon of two reactors, whose arenas are small enough to be full at once.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/terrace.hpp"
#include "tests/tools/shards_host.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t kBlockBytes = 64 << 10;
constexpr std::uint64_t kMiB = 1 << 20;

Deadline Soon() { return In(30s); }

DaemonConfig ImpatientConfig() {
  DaemonConfig config;
  config.cache.policy = "leaf-lru";  // what leaves when is told by the order of uses
  config.server.client_timeout_ms = 2000;
  config.server.heartbeat_idle_ms = 600;
  config.server.heartbeat_ms = 300;
  return config;
}

/// A daemon of two shards.
class Host final : public testing::ShardsHost {
 public:
  explicit Host(std::uint64_t dram_bytes = 32 * kMiB)
      : ShardsHost(2, dram_bytes, ImpatientConfig()) {}
  /// Over both reactors.
  [[nodiscard]] std::uint64_t Sum(std::atomic<std::uint64_t> MatchLeaseCounters::* counter) const {
    return SumOf(
        [counter](const CacheCounters& counters) { return (counters.leases.*counter).load(); });
  }
  [[nodiscard]] bool EachHasLeases() const {
    const auto each =
        Each([](const CacheCounters& counters) { return counters.leases.now.load(); });
    return std::ranges::find(each, 0U) == each.end();
  }
  [[nodiscard]] bool AwaitBlocks(std::uint64_t blocks) const {
    return Await([&] { return Sum(&MatchLeaseCounters::blocks_now) == blocks; });
  }
};

/// A client with one namespace of two groups and two shards, runs of 2 blocks.
class Engine {
 public:
  explicit Engine(const std::string& address, const std::string& tenant = "default") {
    auto client = Client::Connect(
        {.address = address, .tenant = tenant, .name = "engine", .connect_timeout = 20s});
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    client_ = std::move(client.value());
    NamespaceDescriptor descriptor;
    descriptor.name = "leases";
    descriptor.model = "test";
    descriptor.block_tokens = 16;
    descriptor.shard_count = 2;
    descriptor.run_blocks = 2;
    descriptor.groups = {{.id = 3, .attention = "full", .block_bytes = kBlockBytes},
                         {.id = 5, .attention = "window:2", .block_bytes = kBlockBytes}};
    space_ = client_->OpenNamespace(descriptor, Soon()).value();
    region_ = client_->AllocateRegion(kBlocks * kBlockBytes).value();
  }
  static constexpr std::uint32_t kBlocks = 16;
  static Chain ChainOf(const std::string& name) {
    Chain chain;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      EXPECT_TRUE(chain.Append(name + "/" + std::to_string(i)).ok());
    }
    return chain;
  }
  /// Blocks [first, first + count) of one kind; returns how many are stored now.
  std::uint32_t Put(const std::string& name, BlockKind kind, std::uint32_t first = 0,
                    std::uint32_t count = kBlocks) {
    const auto results =
        client_->Put(space_, ChainOf(name), Buffers(name, first, count), kind, Soon());
    EXPECT_TRUE(results.ok()) << results.status().ToString();
    std::uint32_t stored = 0;
    for (const BlockResult& result : *results) stored += result.status == StatusCode::kOk ? 1 : 0;
    return stored;
  }
  /// How many of [first, first + count) are got, whole and right.
  std::uint32_t Got(const std::string& name, BlockKind kind, std::uint32_t first,
                    std::uint32_t count) {
    const std::vector<BlockBuffer> blocks = Buffers(name + "!", first, count);
    const auto results = client_->Get(space_, ChainOf(name), blocks, kind, Soon());
    EXPECT_TRUE(results.ok()) << results.status().ToString();
    std::uint32_t got = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if ((*results)[i].status != StatusCode::kOk) continue;
      const std::span<const std::byte> bytes =
          client_->RegionMemory(region_).subspan(blocks[i].offset, kBlockBytes);
      for (const std::byte byte : bytes) {
        if (byte != ByteOf(name, blocks[i].position)) {
          ADD_FAILURE() << "wrong bytes of " << name << "/" << blocks[i].position;
          return got;
        }
      }
      ++got;
    }
    return got;
  }
  PrefixMatch Match(const std::string& name, const MatchQuery& query) {
    auto match = client_->MatchGroups(space_, ChainOf(name), query, Soon());
    EXPECT_TRUE(match.ok()) << match.status().ToString();
    return match.ok() ? std::move(*match) : PrefixMatch{};
  }
  void Churn() {
    for (int i = 0; i < 40; ++i) Put("churn" + std::to_string(churned_++), {.group = 3});
  }
  Client& client() { return *client_; }
  NamespaceId space() const { return space_; }

 private:
  static std::byte ByteOf(const std::string& name, std::uint32_t position) {
    return static_cast<std::byte>(std::hash<std::string>()(name) + position);
  }
  std::vector<BlockBuffer> Buffers(const std::string& name, std::uint32_t first,
                                   std::uint32_t count) {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t offset = i * kBlockBytes;
      std::memset(client_->RegionMemory(region_).data() + offset,
                  std::to_integer<int>(ByteOf(name, first + i)), kBlockBytes);
      blocks.push_back({.position = first + i, .region = region_, .offset = offset});
    }
    return blocks;
  }
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
  int churned_ = 0;
};

MatchQuery FullAndWindow(MatchMode mode, std::chrono::milliseconds lease = {}) {
  return {.groups = {{.group = 3}, {.group = 5, .policy = StopPolicy::kTrailing, .blocks = 2}},
          .shards = {},
          .mode = mode,
          .lease = lease};
}

/// A chain of 16: group 3 has the first 12 on both shards, group 5 has 8 to 12.
void PutPrompt(Engine& engine, const std::string& name) {
  for (const std::uint32_t shard : {0U, 1U}) {
    EXPECT_EQ(engine.Put(name, {.group = 3, .shard = shard}, 0, 12), 12u);
    EXPECT_EQ(engine.Put(name, {.group = 5, .shard = shard}, 8, 4), 4u);
  }
}

TEST(MatchLease, OneCallAnswersForAllGroupsShardsRunsAndReactors) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kProbe));
  ASSERT_EQ(match.found.size(), 4u);
  for (const GroupPresence& pair : match.found) {
    const std::uint32_t from = pair.group == 3 ? 0 : 8;
    EXPECT_EQ(pair.consecutive, pair.group == 3 ? 12u : 0u);
    for (std::uint32_t i = 0; i < Engine::kBlocks; ++i) {
      const bool stored = i >= from && i < 12;
      EXPECT_EQ(pair.blocks[i], stored ? Presence::kReady : Presence::kMiss) << i;
      EXPECT_EQ(pair.tiers[i], stored ? Tier::kDram : Tier::kNone) << i;
    }
  }
  EXPECT_EQ(match.found[1].group, 3u);
  EXPECT_EQ(match.found[1].shard, 1u);
  EXPECT_EQ(match.stops, (std::vector<std::uint32_t>{10, 11, 12}));
  EXPECT_EQ(match.longest, 12u);
  EXPECT_EQ(match.lease.value, 0u);
  EXPECT_EQ(host.Sum(&MatchLeaseCounters::granted), 0u);
}

TEST(MatchLease, TheLeaseIsTrimmedToWhatIsNeededAndKeepsItUntilItIsReleased) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease, 60s));
  EXPECT_EQ(match.lease_status, StatusCode::kOk);
  ASSERT_NE(match.lease.value, 0u);
  // Of group 5 the window alone: 2 of the 4 that are ready.
  EXPECT_TRUE(host.AwaitBlocks(2 * (12 + 2)));
  EXPECT_TRUE(host.EachHasLeases()) << "runs of both reactors";
  engine.Churn();
  for (const std::uint32_t shard : {0U, 1U}) {
    EXPECT_EQ(engine.Got("prompt", {.group = 3, .shard = shard}, 0, 12), 12u);
    EXPECT_EQ(engine.Got("prompt", {.group = 5, .shard = shard}, 10, 2), 2u);
  }
  EXPECT_TRUE(engine.client().RenewLease(match.lease, 60s, Soon()).ok());
  EXPECT_TRUE(engine.client().ReleaseLease(match.lease).ok());
  EXPECT_TRUE(host.AwaitBlocks(0));
  EXPECT_TRUE(engine.client().ReleaseLease(match.lease).ok()) << "also when it has ended";
  EXPECT_EQ(engine.client().RenewLease(match.lease, {}, Soon()).code(), StatusCode::kExpired);
  engine.Churn();
  EXPECT_EQ(engine.Got("prompt", {.group = 3}, 0, 12), 0u);
}

TEST(MatchLease, ASubmittedMatchCompletesWithItsAnswerAndItsLease) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  const auto ticket = engine.client().SubmitMatchGroups(engine.space(), Engine::ChainOf("prompt"),
                                                        FullAndWindow(MatchMode::kLease), Soon());
  ASSERT_TRUE(ticket.ok()) << ticket.status().ToString();
  ASSERT_TRUE(engine.client().WaitForCompletion(Soon()).ok());
  const std::vector<Completion> done = engine.client().Poll();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].ticket, *ticket);
  EXPECT_EQ(done[0].prefix.longest, 12u);
  EXPECT_TRUE(engine.client().ReleaseLease(done[0].prefix.lease).ok());
  EXPECT_TRUE(host.AwaitBlocks(0));
}

TEST(MatchLease, NothingIsLeftLeasedWithoutAStopPoint) {
  const Host host;
  Engine engine(host.address());
  engine.Put("prompt", {.group = 3, .shard = 0}, 0, 12);
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease));
  EXPECT_EQ(match.longest, 0u);
  EXPECT_EQ(match.lease_status, StatusCode::kMiss);
  EXPECT_EQ(match.lease.value, 0u);
  EXPECT_GT(host.Sum(&MatchLeaseCounters::granted), 0u);
  EXPECT_TRUE(host.AwaitBlocks(0));
}

TEST(MatchLease, WhoWouldHoldTooMuchIsToldAndHoldsNothing) {
  const Host host(16 * kMiB);  // of each reactor's 8 MiB one client may lease 1: 16 blocks
  Engine engine(host.address());
  for (const std::uint32_t shard : {0U, 1U}) engine.Put("a", {.group = 3, .shard = shard});
  engine.Put("b", {.group = 3, .shard = 0});
  const MatchQuery all{.groups = {{.group = 3}}, .shards = {}, .mode = MatchMode::kLease};
  const MatchQuery first{.groups = {{.group = 3}}, .shards = {0}, .mode = MatchMode::kLease};
  std::vector<LeaseId> leases;
  PrefixMatch match;
  for (int i = 0; i < 4; ++i) {
    match = engine.Match("a", all);
    if (match.lease_status != StatusCode::kOk) break;
    leases.push_back(match.lease);
  }
  EXPECT_EQ(match.lease_status, StatusCode::kRetry);
  EXPECT_EQ(match.lease.value, 0u);
  EXPECT_EQ(match.longest, 16u) << "the answer is not refused";
  EXPECT_TRUE(host.AwaitBlocks(32 * leases.size()));
  for (const LeaseId lease : leases) EXPECT_TRUE(engine.client().ReleaseLease(lease).ok());
  EXPECT_TRUE(host.AwaitBlocks(0));
  EXPECT_EQ(engine.Match("b", first).lease_status, StatusCode::kOk);
}

TEST(MatchLease, ALeaseOfAnotherClientAndOneThatNeverWasAreRefusedByName) {
  const Host host;
  Engine engine(host.address());
  Engine other(host.address());
  PutPrompt(engine, "prompt");
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease, 60s));
  for (const LeaseId lease : {match.lease, LeaseId{}, LeaseId{77}}) {
    for (const Status& status :
         {other.client().RenewLease(lease, {}, Soon()), other.client().ReleaseLease(lease)}) {
      EXPECT_EQ(status.code(), StatusCode::kInvalid);
      EXPECT_NE(status.message().find("lease: "), std::string::npos) << status.message();
    }
  }
  EXPECT_EQ(engine.client().RenewLease(match.lease, 61s, Soon()).code(), StatusCode::kInvalid);
  EXPECT_TRUE(engine.client().RenewLease(match.lease, {}, Soon()).ok());
}

TEST(MatchLease, ARenewalAfterItsTimeSaysThatItHasEnded) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease, 100ms));
  ASSERT_NE(match.lease.value, 0u);
  EXPECT_TRUE(host.AwaitBlocks(0));
  EXPECT_EQ(engine.client().RenewLease(match.lease, {}, Soon()).code(), StatusCode::kExpired);
  EXPECT_GT(host.Sum(&MatchLeaseCounters::expired), 0u);
}

/// The status that the submitted call ends with.
StatusCode EndOf(Client& client, const Result<Ticket>& ticket) {
  EXPECT_TRUE(ticket.ok()) << ticket.status().ToString();
  EXPECT_TRUE(client.WaitForCompletion(Soon()).ok());
  const std::vector<Completion> done = client.Poll();
  EXPECT_EQ(done.size(), 1U);
  if (!ticket.ok() || done.size() != 1 || done[0].ticket != *ticket) return StatusCode::kInternal;
  return done[0].status.code();
}

TEST(MatchLease, ASubmittedRenewalMovesTheEndOfItsLease) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease, 2s));
  ASSERT_NE(match.lease.value, 0u);
  Client& client = engine.client();
  EXPECT_EQ(EndOf(client, client.SubmitRenewLease(match.lease, 60s, Soon())), StatusCode::kOk);
  std::this_thread::sleep_for(3s);  // the client's book knows of the later end, as the reactors do
  EXPECT_EQ(host.Sum(&MatchLeaseCounters::blocks_now), 28U);
  EXPECT_EQ(EndOf(client, client.SubmitRenewLease(match.lease, {}, Soon())), StatusCode::kOk);
  EXPECT_TRUE(client.ReleaseLease(match.lease).ok());
  EXPECT_TRUE(host.AwaitBlocks(0));
  EXPECT_EQ(client.SubmitRenewLease(match.lease, {}, Soon()).code(), StatusCode::kExpired);
  EXPECT_EQ(client.SubmitRenewLease({77}, {}, Soon()).code(), StatusCode::kInvalid);
}

TEST(MatchLease, ASubmittedRenewalAfterABlockWasRemovedReleasesEveryReactor) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease, 60s));
  EXPECT_TRUE(host.AwaitBlocks(28));
  Client& client = engine.client();
  ASSERT_TRUE(
      client.Remove(engine.space(), Engine::ChainOf("prompt"), 0, 1, {.group = 3}, Soon()).ok());
  EXPECT_EQ(EndOf(client, client.SubmitRenewLease(match.lease, {}, Soon())), StatusCode::kExpired);
  EXPECT_TRUE(host.AwaitBlocks(0));
}

TEST(MatchLease, ARenewalAfterABlockWasRemovedReleasesEveryReactor) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease, 60s));
  EXPECT_TRUE(host.AwaitBlocks(28));
  ASSERT_TRUE(engine.client()
                  .Remove(engine.space(), Engine::ChainOf("prompt"), 0, 1, {.group = 3}, Soon())
                  .ok());
  EXPECT_EQ(engine.client().RenewLease(match.lease, {}, Soon()).code(), StatusCode::kExpired);
  EXPECT_TRUE(host.AwaitBlocks(0));
}

TEST(MatchLease, LeasesEndWithTheirClient) {
  const Host host;
  Engine stays(host.address());
  PutPrompt(stays, "prompt");
  {
    Engine leaves(host.address());
    leaves.Match("prompt", FullAndWindow(MatchMode::kLease, 60s));
    EXPECT_TRUE(host.AwaitBlocks(28));
  }
  EXPECT_TRUE(host.AwaitBlocks(0));
  EXPECT_EQ(host.Sum(&MatchLeaseCounters::now), 0u);
}

TEST(MatchLease, AnotherTenantSeesAndLeasesNothing) {
  const Host host;
  Engine engine(host.address());
  Engine stranger(host.address(), "stranger");
  PutPrompt(engine, "prompt");
  const PrefixMatch match = stranger.Match("prompt", FullAndWindow(MatchMode::kLease));
  EXPECT_EQ(match.longest, 0u);
  EXPECT_EQ(match.lease_status, StatusCode::kMiss);
  EXPECT_EQ(host.Sum(&MatchLeaseCounters::granted), 0u);
}

TEST(MatchLease, BadArgumentsAreNamed) {
  const Host host;
  Engine engine(host.address());
  const auto why = [&](const MatchQuery& query) {
    return engine.client()
        .MatchGroups(engine.space(), Engine::ChainOf("c"), query, Soon())
        .status()
        .message();
  };
  EXPECT_NE(why({}).find("query.groups"), std::string::npos);
  EXPECT_NE(why({.groups = {{.group = 4}}}).find("query.groups[0].group"), std::string::npos);
  EXPECT_NE(why({.groups = {{.group = 3}}, .shards = {2}}).find("query.shards[0]"),
            std::string::npos);
  EXPECT_NE(
      why({.groups = {{.group = 3, .policy = StopPolicy::kExact}}}).find("query.groups[0].blocks"),
      std::string::npos);
  EXPECT_EQ(
      engine.client()
          .MatchGroups({.value = 99}, Engine::ChainOf("c"), {.groups = {{.group = 3}}}, Soon())
          .status()
          .code(),
      StatusCode::kInvalid);
  EXPECT_EQ(engine.client()
                .MatchGroups(engine.space(), Chain(), {.groups = {{.group = 3}}}, Soon())
                .status()
                .message(),
            "chain is empty");
}

TEST(MatchLease, AForkedChildIsToldToConnectAnewAndTheParentsLeaseStays) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease, 60s));
  EXPECT_TRUE(host.AwaitBlocks(28));
  const pid_t child = ::fork();
  if (child == 0) {
    const bool refused =
        engine.client()
                .MatchGroups(engine.space(), Chain(), FullAndWindow(MatchMode::kProbe), Soon())
                .code() == StatusCode::kInvalid &&
        engine.client().RenewLease(match.lease, {}, Soon()).code() == StatusCode::kInvalid &&
        engine.client().ReleaseLease(match.lease).code() == StatusCode::kInvalid;
    ::_exit(refused ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(engine.client().RenewLease(match.lease, {}, Soon()).ok());
}

TEST(MatchLease, ManyThreadsMatchRenewAndReleaseAtOnce) {
  const Host host(64 * kMiB);
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  std::vector<std::thread> threads;
  std::atomic<int> leased{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease));
        EXPECT_EQ(match.longest, 12u);
        if (match.lease_status != StatusCode::kOk) continue;
        ++leased;
        EXPECT_TRUE(engine.client().RenewLease(match.lease, {}, Soon()).ok());
        EXPECT_TRUE(engine.client().ReleaseLease(match.lease).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(leased.load(), 0);
  EXPECT_TRUE(host.AwaitBlocks(0));
}

/// A process that leases when it is told where, and then never does anything again.
class LeaseProcess : public ::testing::TestWithParam<int> {
 protected:
  LeaseProcess() {
    EXPECT_EQ(::pipe(to_child_), 0);
    EXPECT_EQ(::pipe(from_child_), 0);
    pid_ = ::fork();  // before this process has threads
    if (pid_ == 0) Run();
  }
  ~LeaseProcess() override {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    for (const int end : {to_child_[0], to_child_[1], from_child_[0], from_child_[1]}) ::close(end);
  }
  bool LeaseAt(const std::string& address) {
    char said = '?';
    return ::write(to_child_[1], address.c_str(), address.size() + 1) ==
               static_cast<ssize_t>(address.size() + 1) &&
           ::read(from_child_[0], &said, 1) == 1 && said == 'l';
  }

  pid_t pid_ = -1;

 private:
  [[noreturn]] void Run() {
    char address[64] = {};
    for (char* at = address; ::read(to_child_[0], at, 1) == 1 && *at != 0;) ++at;
    Engine engine(address);
    const PrefixMatch match = engine.Match("prompt", FullAndWindow(MatchMode::kLease, 60s));
    (void)!::write(from_child_[1], match.lease_status == StatusCode::kOk ? "l" : "x", 1);
    for (;;) ::pause();
  }
  int to_child_[2] = {-1, -1};
  int from_child_[2] = {-1, -1};
};

TEST_P(LeaseProcess, LeavesNoLeaseBehindWhenItIsKilledOrStopped) {
  const Host host;
  Engine engine(host.address());
  PutPrompt(engine, "prompt");
  ASSERT_TRUE(LeaseAt(host.address()));
  EXPECT_TRUE(host.AwaitBlocks(28));
  ::kill(pid_, GetParam());
  EXPECT_TRUE(host.AwaitBlocks(0));
  EXPECT_EQ(host.Sum(&MatchLeaseCounters::now), 0u);
}

INSTANTIATE_TEST_SUITE_P(Ways, LeaseProcess, ::testing::Values(SIGKILL, SIGSTOP));

}  // namespace
}  // namespace terrace
