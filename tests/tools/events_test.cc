// Events from real shards to the real client: what a cache-aware router builds of them, and that it
// is told when it missed something.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "client/terrace.hpp"
#include "tests/common/wait_until_connected.h"
#include "tests/tools/shards_host.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint32_t kRunBlocks = 4;

Deadline Soon() { return In(30s); }

DaemonConfig SmallLog() {
  DaemonConfig config;
  config.cache.events_bytes = kMiB;
  return config;
}

/// A daemon of some shards, of 4 MiB each, whose logs of events hold 1 MiB each.
class Host final : public testing::ShardsHost {
 public:
  explicit Host(std::uint32_t shards, std::uint16_t port = 0)
      : ShardsHost(shards, 4 * kMiB * shards, SmallLog(), port) {}
  /// Reads of events under way at the first reactor.
  [[nodiscard]] std::uint64_t Readers() const {
    return shard(0).cache().events().readers().now.load();
  }
};

class Engine {
 public:
  static constexpr std::uint32_t kBlocks = 64;

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
    descriptor.groups = {{.id = 3, .attention = "full", .block_bytes = kBlockBytes}};
    return client_->OpenNamespace(descriptor, Soon()).value();
  }
  static Chain ChainOf(const std::string& name, std::uint32_t keys) {
    Chain chain;
    for (std::uint32_t i = 0; i < keys; ++i) {
      EXPECT_TRUE(chain.Append(name + "/" + std::to_string(i)).ok());
    }
    return chain;
  }
  /// `ids`: of each block's tokens.
  void Put(const std::string& name, std::uint32_t count,
           std::span<const std::span<const std::uint32_t>> ids = {}) {
    PutTo(space_, name, count, ids);
  }
  void PutTo(NamespaceId space, const std::string& name, std::uint32_t count,
             std::span<const std::span<const std::uint32_t>> ids = {}) {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < count; ++i) {
      blocks.push_back({.position = i, .region = region_, .offset = i * kBlockBytes});
    }
    const auto results = client_->Put(space, ChainOf(name, count), blocks, kKind, Soon(),
                                      PutOptions{.token_ids = ids});
    ASSERT_TRUE(results.ok()) << results.status().ToString();
  }
  Client& client() { return *client_; }
  NamespaceId space() const { return space_; }

  static constexpr BlockKind kKind{.group = 3, .shard = 1};

 private:
  std::unique_ptr<Client> client_;
  RegionId region_;
  NamespaceId space_;
};

/// A router's table, kept as docs/events.md says.
class Router {
 public:
  /// By reactor, namespace and identity.
  using Blocks = std::map<std::tuple<std::uint32_t, std::string, BlockIdentity>, TierSet>;

  explicit Router(Client& client, EventQuery query = {})
      : client_(client), query_(std::move(query)) {}

  /// Takes a whole snapshot, from nothing.
  void TakeSnapshot() {
    blocks_.clear();
    cursor_.BeginSnapshot();
    for (bool complete = false; !complete;) {
      const auto batch = client_.ReadSnapshot(cursor_, query_, Soon());
      ASSERT_TRUE(batch.ok()) << batch.status().ToString();
      if (batch->restarted) blocks_.clear();
      Apply(*batch);
      complete = batch->complete;
    }
  }
  /// One read; the cursor moves on.
  Result<EventBatch> Read(Deadline deadline = Soon()) {
    auto batch = client_.ReadEvents(cursor_, query_, deadline);
    if (batch.ok()) Apply(*batch);
    return batch;
  }
  /// Reads until nothing is left that had happened before.
  void CatchUp() {
    query_.wait = false;
    for (std::uint64_t behind = 1; behind > 0;) {
      const auto batch = Read();
      ASSERT_TRUE(batch.ok()) << batch.status().ToString();
      ASSERT_FALSE(batch->restarted);
      ASSERT_TRUE(batch->gaps.empty());
      behind = batch->behind;
    }
    query_.wait = true;
  }
  [[nodiscard]] const Blocks& blocks() const { return blocks_; }
  [[nodiscard]] const EventCursor& cursor() const { return cursor_; }
  void Resume(EventCursor cursor) { cursor_ = std::move(cursor); }

 private:
  void Apply(const EventBatch& batch) {
    for (const BlockEventInfo& event : batch.events) {
      const std::tuple name(event.reactor, event.space, event.identity);
      switch (event.kind) {
        case EventKind::kCommitted: blocks_[name] = event.tiers; break;
        case EventKind::kMoved:
          if (const auto found = blocks_.find(name); found != blocks_.end()) {
            found->second = event.tiers;
          }
          break;
        case EventKind::kRemoved: blocks_.erase(name); break;
        case EventKind::kCleared:
          std::erase_if(blocks_, [&event](const auto& entry) {
            return std::get<0>(entry.first) == event.reactor &&
                   std::get<1>(entry.first) == event.space;
          });
      }
    }
    cursor_ = batch.cursor;
  }

  Client& client_;
  EventQuery query_;
  EventCursor cursor_;
  Blocks blocks_;
};

std::string Text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// All events from a cursor on that have happened.
std::vector<BlockEventInfo> AllFrom(Client& client, EventCursor cursor) {
  std::vector<BlockEventInfo> events;
  for (std::uint64_t behind = 1; behind > 0;) {
    auto batch = client.ReadEvents(cursor, {.wait = false}, Soon());
    EXPECT_TRUE(batch.ok()) << batch.status().ToString();
    if (!batch.ok()) return events;
    EXPECT_FALSE(batch->restarted);
    EXPECT_TRUE(batch->gaps.empty());
    events.insert(events.end(), batch->events.begin(), batch->events.end());
    cursor = batch->cursor;
    behind = batch->behind;
  }
  return events;
}

TEST(EventsTest, ARouterLearnsAllOfAPut) {
  Host host(2);
  Engine engine(host.port());
  Router router(engine.client());
  router.TakeSnapshot();
  const std::vector<std::uint32_t> own{1, 2, 0xffffffff};
  const std::span<const std::uint32_t> ids[] = {own, {}, own, {}, {}, own};
  engine.Put("c", 6, ids);
  const auto events = AllFrom(engine.client(), router.cursor());
  ASSERT_EQ(events.size(), 6u);
  for (const BlockEventInfo& event : events) {
    const std::uint32_t i = event.position;
    ASSERT_LT(i, 6u);
    const std::string key = "c/" + std::to_string(i);
    EXPECT_EQ(event.kind, EventKind::kCommitted);
    EXPECT_EQ(event.tiers, kTierSetDram);
    EXPECT_EQ(event.space, "space");
    EXPECT_EQ(event.space_number, host.NamespaceId("default", "space"));
    EXPECT_EQ(Text(event.key), key);
    EXPECT_EQ(event.block.group, 3u);
    EXPECT_EQ(event.block.shard, 1u);
    EXPECT_EQ(event.valid_tokens, 16u);
    EXPECT_EQ(event.identity, IdentityOf(Engine::kKind, event.key));
    EXPECT_EQ(Text(event.placement), i < 4 ? "c/0" : "c/4");
    EXPECT_EQ(Text(event.parent_key), i == 0 ? "" : "c/" + std::to_string(i - 1));
    if (i > 0) EXPECT_EQ(event.parent, IdentityOf(Engine::kKind, event.parent_key));
    EXPECT_EQ(event.token_ids, (std::vector<std::uint32_t>(ids[i].begin(), ids[i].end())));
    EXPECT_GT(event.sequence, 0u);
  }
}

TEST(EventsTest, ASlowReaderIsToldOfItsGap) {
  Host host(1);
  Engine engine(host.port());
  Router router(engine.client());
  router.TakeSnapshot();
  EXPECT_EQ(router.cursor().reactors.at(0).sequence, 1u);
  // 64 KiB an event: the log of 1 MiB holds the last 15 of them.
  const std::vector<std::uint32_t> many(kEventTokensMax, 7);
  const std::vector<std::span<const std::uint32_t>> ids(20, many);
  engine.Put("c", 20, ids);
  const auto batch = router.Read();
  ASSERT_TRUE(batch.ok()) << batch.status().ToString();
  ASSERT_EQ(batch->gaps.size(), 1u);
  EXPECT_FALSE(batch->restarted);
  EXPECT_EQ(batch->gaps[0].reactor, 0u);
  EXPECT_EQ(batch->gaps[0].first, 1u);
  const std::uint64_t lost = batch->gaps[0].last;
  EXPECT_GE(lost, 4u);
  EXPECT_LT(lost, 20u);
  ASSERT_FALSE(batch->events.empty());
  EXPECT_EQ(batch->events.front().sequence, lost + 1);  // it goes on behind the gap
  EXPECT_LT(router.blocks().size(), 20u);
  router.TakeSnapshot();
  EXPECT_EQ(router.blocks().size(), 20u);
  engine.Put("d", 1);
  router.CatchUp();
  EXPECT_EQ(router.blocks().size(), 21u);
}

TEST(EventsTest, ARestartChangesTheIncarnation) {
  auto host = std::make_unique<Host>(2);
  const std::uint16_t port = host->port();
  Engine engine(port);
  Router router(engine.client());
  router.TakeSnapshot();
  engine.Put("c", 8);
  router.CatchUp();
  EXPECT_EQ(router.blocks().size(), 8u);
  const EventCursor before = router.cursor();
  host.reset();
  ASSERT_TRUE(testing::WaitUntilConnected(engine.client(), false));
  host = std::make_unique<Host>(3, port);  // with another number of reactors, even
  ASSERT_TRUE(testing::WaitUntilConnected(engine.client(), true));
  const auto batch = router.Read();
  ASSERT_TRUE(batch.ok()) << batch.status().ToString();
  EXPECT_TRUE(batch->restarted);
  EXPECT_TRUE(batch->events.empty());
  EXPECT_NE(batch->cursor.incarnation, before.incarnation);
  router.TakeSnapshot();
  EXPECT_TRUE(router.blocks().empty());
  engine.Put("c", 8);
  router.CatchUp();
  EXPECT_EQ(router.blocks().size(), 8u);
}

TEST(EventsTest, ASnapshotThatADaemonsRestartCutsInTwoSaysSo) {
  auto host = std::make_unique<Host>(1);
  const std::uint16_t port = host->port();
  Engine engine(port);
  engine.Put("c", 8);
  const auto part = engine.client().ReadSnapshot({}, {.most = 3}, Soon());
  ASSERT_TRUE(part.ok()) << part.status().ToString();
  EXPECT_EQ(part->events.size(), 3u);
  EXPECT_FALSE(part->complete);
  host.reset();
  ASSERT_TRUE(testing::WaitUntilConnected(engine.client(), false));
  host = std::make_unique<Host>(1, port);
  ASSERT_TRUE(testing::WaitUntilConnected(engine.client(), true));
  const auto rest = engine.client().ReadSnapshot(part->cursor, {.most = 3}, Soon());
  ASSERT_TRUE(rest.ok()) << rest.status().ToString();
  EXPECT_TRUE(rest->restarted);
  EXPECT_FALSE(rest->complete);
  EXPECT_TRUE(rest->events.empty());
  const auto anew = engine.client().ReadSnapshot(rest->cursor, {.most = 3}, Soon());
  ASSERT_TRUE(anew.ok()) << anew.status().ToString();
  EXPECT_FALSE(anew->restarted);
  EXPECT_TRUE(anew->complete);
}

TEST(EventsTest, NothingOfAnotherTenantIsShown) {
  Host host(2);
  Engine ours(host.port(), "ours");
  Engine theirs(host.port(), "theirs");
  Router router(ours.client());
  router.TakeSnapshot();
  theirs.Put("secret", 12);
  ours.Put("c", 5);
  theirs.Put("secret2", 12);
  for (const BlockEventInfo& event : AllFrom(ours.client(), router.cursor())) {
    EXPECT_EQ(Text(event.key).substr(0, 2), "c/");
    EXPECT_EQ(event.space_number, host.NamespaceId("ours", "space"));
  }
  router.CatchUp();
  EXPECT_EQ(router.blocks().size(), 5u);
  Router other(ours.client());
  other.TakeSnapshot();
  EXPECT_EQ(other.blocks(), router.blocks());
  // A namespace of theirs is no filter that shows them, either.
  theirs.PutTo(theirs.Open("only theirs"), "secret", 3);
  Router curious(ours.client(), {.space = "only theirs"});
  curious.TakeSnapshot();
  EXPECT_TRUE(curious.blocks().empty());
}

TEST(EventsTest, AFilterShowsOneNamespace) {
  Host host(2);
  Engine engine(host.port());
  Router router(engine.client(), {.space = "second"});
  router.TakeSnapshot();
  engine.Put("c", 6);
  engine.PutTo(engine.Open("second"), "c", 2);
  router.CatchUp();
  EXPECT_EQ(router.blocks().size(), 2u);
  router.TakeSnapshot();
  EXPECT_EQ(router.blocks().size(), 2u);
}

TEST(EventsTest, AClearIsOneEventOfEachReactor) {
  Host host(2);
  Engine engine(host.port());
  engine.Put("c", 64);
  Router router(engine.client());
  router.TakeSnapshot();
  EXPECT_EQ(router.blocks().size(), 64u);
  ASSERT_EQ(engine.client().ClearNamespace("space", Soon()).value(), 64u);
  const auto events = AllFrom(engine.client(), router.cursor());
  ASSERT_EQ(events.size(), 2u);
  for (const BlockEventInfo& event : events) {
    EXPECT_EQ(event.kind, EventKind::kCleared);
    EXPECT_EQ(event.space, "space");
  }
  router.CatchUp();
  EXPECT_TRUE(router.blocks().empty());
}

TEST(EventsTest, EvictionUnderLoadLosesNoEvent) {
  Host host(2);
  Engine engine(host.port());
  Engine reader(host.port());
  Router router(reader.client());
  router.TakeSnapshot();
  std::atomic<bool> done{false};
  std::thread load([&] {
    // 16 MiB into 8.
    for (int i = 0; i < 64; ++i) engine.Put("c" + std::to_string(i), 64);
    done = true;
  });
  while (!done) {
    const auto batch = router.Read();
    ASSERT_TRUE(batch.ok()) << batch.status().ToString();
    // The log of 1 MiB has room for all events of this test.
    ASSERT_TRUE(batch->gaps.empty());
  }
  load.join();
  router.CatchUp();
  Router anew(reader.client());
  anew.TakeSnapshot();
  EXPECT_EQ(router.blocks(), anew.blocks());
  EXPECT_EQ(router.blocks().size(), host.Sum(&CacheCounters::blocks));
  EXPECT_GT(host.Sum(&CacheCounters::evictions), 0u);
}

TEST(EventsTest, AReaderThatHangsOrDiesHoldsNothing) {
  Host host(1);
  Engine engine(host.port());
  auto reader = std::make_unique<Engine>(host.port());
  Router router(reader->client());
  router.TakeSnapshot();
  // It asks and never looks at the answer; the daemon has answered after its heartbeat.
  ASSERT_TRUE(reader->client().SubmitReadEvents(router.cursor(), {}, Soon()).ok());
  ASSERT_TRUE(host.Await([&] { return host.Readers() == 1; }));
  ASSERT_TRUE(host.Await([&] { return host.Readers() == 0; }));
  // It goes while it waits.
  ASSERT_TRUE(reader->client().SubmitReadEvents(router.cursor(), {}, Soon()).ok());
  ASSERT_TRUE(host.Await([&] { return host.Readers() == 1; }));
  reader.reset();
  ASSERT_TRUE(host.Await([&] { return host.Readers() == 0; }));
  engine.Put("c", 4);
  EXPECT_EQ(host.shard(0).cache().events().Counters().committed, 4u);
}

TEST(EventsTest, NobodyHasMoreThanSixteenReadsUnderWay) {
  Host host(1);
  Engine engine(host.port());
  Router router(engine.client());
  router.TakeSnapshot();
  constexpr int kReads = 20;
  for (int i = 0; i < kReads; ++i) {
    ASSERT_TRUE(engine.client().SubmitReadEvents(router.cursor(), {}, Soon()).ok());
  }
  int refused = 0;
  int answered = 0;
  while (refused + answered < kReads) {
    ASSERT_TRUE(engine.client().WaitForCompletion(Soon()).ok());
    for (const Completion& done : engine.client().Poll()) {
      ++(done.status.code() == StatusCode::kRetry ? refused : answered);
      EXPECT_EQ(done.events != nullptr, done.status.ok());
    }
  }
  EXPECT_EQ(refused, 4);
}

TEST(EventsTest, AReadThatIsCancelledEndsAtOnce) {
  Host host(2);
  Engine engine(host.port());
  Router router(engine.client());
  router.TakeSnapshot();
  const auto ticket = engine.client().SubmitReadEvents(router.cursor(), {}, Soon());
  ASSERT_TRUE(ticket.ok());
  EXPECT_TRUE(engine.client().Cancel(*ticket, Soon()).ok());
  const auto done = engine.client().Poll();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].status.code(), StatusCode::kCancelled);
}

TEST(EventsTest, ADaemonThatKeepsNoEventsSaysSo) {
  DaemonConfig config;
  config.cache.events_bytes = 0;
  testing::ShardsHost host(1, 4 * kMiB, config);
  Engine engine(host.port());
  engine.Put("c", 4);
  EXPECT_EQ(engine.client().ReadEvents({}, {}, Soon()).status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(engine.client().ReadSnapshot({}, {}, Soon()).status().code(), StatusCode::kUnsupported);
}

TEST(EventsTest, ACursorIsTheSameAfterItWasKept) {
  EventCursor cursor;
  EXPECT_EQ(EventCursor::Parse(cursor.Serialize()).value(), cursor);
  cursor.incarnation = 0x1234'5678'9abc'def0;
  cursor.reactors = {{.sequence = 1, .from_block = 0, .walked = true},
                     {.sequence = ~0ULL, .from_block = 77, .walked = false}};
  const std::vector<std::byte> bytes = cursor.Serialize();
  EXPECT_EQ(EventCursor::Parse(bytes).value(), cursor);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_EQ(EventCursor::Parse(std::span(bytes).first(cut)).status().code(),
              StatusCode::kInvalid);
  }
  std::vector<std::byte> wrong = bytes;
  wrong[8] = std::byte{0xff};
  EXPECT_FALSE(EventCursor::Parse(wrong).ok());
}

TEST(EventsTest, ArgumentsThatMakeNoSenseAreNamed) {
  Host host(1);
  Engine engine(host.port());
  const auto refused = [&](const EventQuery& query) {
    return engine.client().ReadEvents({}, query, Soon()).status().ToString();
  };
  EXPECT_NE(refused({.most = 0}).find("query.most"), std::string::npos);
  EXPECT_NE(refused({.most = 4097}).find("query.most"), std::string::npos);
  EXPECT_NE(refused({.space = std::string(129, 'a')}).find("query.space"), std::string::npos);
  const std::vector<std::uint32_t> many(kEventTokensMax + 1);
  const std::span<const std::uint32_t> one[] = {many};
  const std::span<const std::uint32_t> two[] = {{}, {}};
  const BlockBuffer block{.position = 0, .region = {1}};
  const auto put = [&](std::span<const std::span<const std::uint32_t>> ids) {
    return engine.client()
        .Put(engine.space(), Engine::ChainOf("c", 1), {&block, 1}, Engine::kKind, Soon(),
             PutOptions{.token_ids = ids})
        .status()
        .ToString();
  };
  EXPECT_NE(put(one).find("token_ids[0]"), std::string::npos);
  EXPECT_NE(put(two).find("token_ids"), std::string::npos);
}

}  // namespace
}  // namespace terrace
