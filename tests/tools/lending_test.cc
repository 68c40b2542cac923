// Lent frames, from the cache of a real shard to the real client and back: what a reader is told
// must be true whatever it, other clients, other tenants and the daemon do meanwhile.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/checksum.h"
#include "client/terrace.hpp"
#include "tools/terraced/shard.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t kBlockBytes = 64 << 10;
constexpr std::uint64_t kMiB = 1 << 20;

Deadline Soon() { return In(30s); }

struct HostOptions {
  std::uint64_t dram_bytes = 64 * kMiB;
  std::uint32_t lend_percent = 50;
  std::uint32_t client_timeout_ms = 5000;
};

/// A daemon of one shard in this process.
class Host {
 public:
  explicit Host(const HostOptions& options = {}) {
    config_.server.listen = {"127.0.0.1", 0};
    config_.server.client_timeout_ms = options.client_timeout_ms;
    config_.server.heartbeat_idle_ms = options.client_timeout_ms / 3;
    config_.server.heartbeat_ms = options.client_timeout_ms / 6;
    config_.dram.capacity_bytes = options.dram_bytes;
    config_.dram.lend_percent = options.lend_percent;
    auto shard = Shard::Create(
        {.config = config_, .registry = registry_, .clock = clock_, .random = random_}, {});
    EXPECT_TRUE(shard.ok()) << shard.status().ToString();
    shard_ = std::move(shard.value());
    shard_->SetShards({{.host = "127.0.0.1", .port = shard_->server().port()}}, 1);
    shard_->Start();
  }
  ~Host() {
    shard_->BeginStop();
    while (!shard_->Stopped()) std::this_thread::sleep_for(1ms);
    shard_->Join();
  }
  [[nodiscard]] std::string address() const {
    return "127.0.0.1:" + std::to_string(shard_->server().port());
  }
  [[nodiscard]] const LeaseCounters& leases() const { return shard_->server().Counters().leases; }
  [[nodiscard]] ArenaStats arena() const { return shard_->cache().arena().Stats(); }
  /// False when it did not become true within 20 s.
  template <typename Condition>
  [[nodiscard]] bool Await(Condition condition) const {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }

 private:
  DaemonConfig config_;
  NamespaceRegistry registry_{kMiB};
  SteadyClock clock_;
  SystemRandom random_;
  std::unique_ptr<Shard> shard_;
};

/// A client of a tenant, with one namespace, and blocks whose bytes say who they are.
class Engine {
 public:
  explicit Engine(const std::string& address, const std::string& tenant = "default",
                  LinkChoice link = LinkChoice::kAuto) {
    auto client = Client::Connect({.address = address,
                                   .tenant = tenant,
                                   .name = "engine",
                                   .link = link,
                                   .connect_timeout = 20s});
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    client_ = std::move(client.value());
    NamespaceDescriptor descriptor;
    descriptor.name = "lending";
    descriptor.model = "test";
    descriptor.block_tokens = 16;
    descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
    space_ = client_->OpenNamespace(descriptor, Soon()).value();
    region_ = client_->AllocateRegion(kRegionBlocks * kBlockBytes).value();
  }

  static constexpr std::uint32_t kRegionBlocks = 16;
  static Chain ChainOf(const std::string& name, std::uint32_t keys) {
    Chain chain;
    for (std::uint32_t i = 0; i < keys; ++i) {
      EXPECT_TRUE(chain.Append(name + "/" + std::to_string(i)).ok());
    }
    return chain;
  }
  static std::byte ByteOf(const std::string& name, std::uint32_t position) {
    return static_cast<std::byte>(SeededHash64(std::as_bytes(std::span(name)), position));
  }
  static bool IsBlock(std::span<const std::byte> bytes, const std::string& name,
                      std::uint32_t position) {
    if (bytes.size() != kBlockBytes) return false;
    return bytes.front() == ByteOf(name, position) &&
           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
  }

  /// Puts blocks [0, count) of a chain; returns how many are stored.
  std::uint32_t Put(const std::string& name, std::uint32_t count) {
    const Chain chain = ChainOf(name, count);
    std::uint32_t stored = 0;
    for (std::uint32_t first = 0; first < count; first += kRegionBlocks) {
      std::vector<BlockBuffer> blocks;
      for (std::uint32_t i = first; i < std::min(count, first + kRegionBlocks); ++i) {
        const std::uint64_t offset = (i - first) * kBlockBytes;
        std::memset(client_->RegionMemory(region_).data() + offset,
                    std::to_integer<int>(ByteOf(name, i)), kBlockBytes);
        blocks.push_back({.position = i, .region = region_, .offset = offset});
      }
      const auto results = client_->Put(space_, chain, blocks, {}, Soon());
      EXPECT_TRUE(results.ok()) << results.status().ToString();
      for (const BlockResult& result : *results) stored += result.status == StatusCode::kOk ? 1 : 0;
    }
    return stored;
  }
  std::vector<LentBlock> Lend(const std::string& name, std::uint32_t count,
                              std::chrono::milliseconds lease = {}) {
    const Chain chain = ChainOf(name, count);
    std::vector<std::uint32_t> positions(count);
    for (std::uint32_t i = 0; i < count; ++i) positions[i] = i;
    auto lent = client_->Lend(space_, chain, positions, {}, Soon(), lease);
    EXPECT_TRUE(lent.ok()) << lent.status().ToString();
    return lent.ok() ? std::move(lent.value()) : std::vector<LentBlock>();
  }
  [[nodiscard]] Client& client() { return *client_; }
  [[nodiscard]] NamespaceId space() const { return space_; }
  void Disconnect() { client_.reset(); }

 private:
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
};

TEST(LendingTest, LentBlocksAreTheBlocksThatWerePut) {
  Host host;
  Engine engine(host.address());
  ASSERT_EQ(engine.Put("a", 40), 40u);
  for (int round = 0; round < 20; ++round) {
    std::vector<LentBlock> lent = engine.Lend("a", 40);
    ASSERT_EQ(lent.size(), 40u);
    for (std::uint32_t i = 0; i < lent.size(); ++i) {
      ASSERT_EQ(lent[i].status, StatusCode::kOk) << i;
      EXPECT_EQ(lent[i].tier, Tier::kDram);
      EXPECT_EQ(lent[i].valid_tokens, 16u);
      EXPECT_TRUE(Engine::IsBlock(lent[i].bytes(), "a", i)) << i;
      EXPECT_TRUE(lent[i].Intact());
      EXPECT_EQ(lent[i].Release(), StatusCode::kOk);
      EXPECT_EQ(lent[i].Release(), StatusCode::kInvalid) << "twice";
      EXPECT_TRUE(lent[i].bytes().empty());
    }
  }
  EXPECT_TRUE(host.Await([&] { return host.leases().now == 0; }));
  EXPECT_EQ(host.leases().granted, 800u);
  EXPECT_EQ(host.leases().released, 800u);
}

TEST(LendingTest, BlocksOfManyExtentsComeInOneAnswer) {
  Host host({.dram_bytes = 64 * kMiB});  // extents of 4 MiB
  for (int client = 0; client < 5; ++client) {
    Engine engine(host.address());
    engine.Put("a", 300);
    const std::vector<LentBlock> lent = engine.Lend("a", 250);
    for (std::uint32_t i = 0; i < lent.size(); ++i) {
      ASSERT_EQ(lent[i].status, StatusCode::kOk) << i;
      EXPECT_TRUE(Engine::IsBlock(lent[i].bytes(), "a", i)) << i;
    }
  }
}

TEST(LendingTest, AMissIsAMissAndTheOthersAreLent) {
  Host host;
  Engine engine(host.address());
  engine.Put("a", 2);
  const std::vector<LentBlock> lent = engine.Lend("a", 4);
  ASSERT_EQ(lent.size(), 4u);
  EXPECT_EQ(lent[1].status, StatusCode::kOk);
  EXPECT_EQ(lent[2].status, StatusCode::kMiss);
  EXPECT_TRUE(lent[3].bytes().empty());
  EXPECT_FALSE(lent[3].Intact());
}

TEST(LendingTest, BadArgumentsAreNamed) {
  Host host;
  Engine engine(host.address());
  const Chain chain = Engine::ChainOf("a", 2);
  const auto fails = [&](std::vector<std::uint32_t> positions, std::chrono::milliseconds lease) {
    return engine.client().Lend(engine.space(), chain, positions, {}, Soon(), lease).status();
  };
  EXPECT_EQ(fails({}, 0ms).ToString(), "invalid: the number of positions is 0, not 1 to 65536");
  EXPECT_EQ(fails({0, 2}, 0ms).ToString(), "invalid: positions[1] is 2, the chain has 2 keys");
  EXPECT_EQ(fails({1, 1}, 0ms).ToString(), "invalid: positions[1] 1 was named before");
  EXPECT_EQ(fails({1}, -1ms).ToString(), "invalid: lease is -1 ms, not 0 to 60000");
  EXPECT_EQ(fails({1}, 60'001ms).ToString(), "invalid: lease is 60001 ms, not 0 to 60000");
}

TEST(LendingTest, WhereNothingCanBeLentEachBlockSaysSo) {
  Host host;
  Engine far(host.address(), "default", LinkChoice::kTcp);
  far.Put("a", 2);
  for (const LentBlock& block : far.Lend("a", 2)) {
    EXPECT_EQ(block.status, StatusCode::kUnsupported);
  }
  Host stingy({.lend_percent = 0});
  Engine engine(stingy.address());
  engine.Put("a", 1);
  EXPECT_EQ(engine.Lend("a", 1).at(0).status, StatusCode::kUnsupported);
}

TEST(LendingTest, SubmittedCallsBringTheirBlocksWithTheCompletion) {
  Host host;
  Engine engine(host.address());
  engine.Put("a", 8);
  const Chain chain = Engine::ChainOf("a", 8);
  for (std::uint32_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(
        engine.client().SubmitLend(engine.space(), chain, std::span(&i, 1), {}, Soon()).ok());
  }
  std::size_t got = 0;
  while (got < 8 && engine.client().WaitForCompletion(Soon()).ok()) {
    for (Completion& completion : engine.client().Poll()) {
      ASSERT_EQ(completion.lent.size(), 1u);
      EXPECT_EQ(completion.lent[0].status, StatusCode::kOk);
      EXPECT_EQ(completion.lent[0].bytes().size(), kBlockBytes);
      ++got;
    }
  }
  EXPECT_EQ(got, 8u);
  EXPECT_TRUE(host.Await([&] { return host.leases().now == 0; })) << "destroyed is released";
}

TEST(LendingTest, ABlockThatIsRemovedStaysWhatItWasForItsReader) {
  Host host;
  Engine engine(host.address());
  engine.Put("a", 4);
  std::vector<LentBlock> lent = engine.Lend("a", 4);
  ASSERT_TRUE(
      engine.client().Remove(engine.space(), Engine::ChainOf("a", 4), 0, 4, {}, Soon()).ok());
  engine.Put("b", 300);  // whoever needs frames does not get those
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(Engine::IsBlock(lent[i].bytes(), "a", i));
    EXPECT_EQ(lent[i].Release(), StatusCode::kOk);
  }
}

TEST(LendingTest, EvictionPassesOverWhatIsLent) {
  Host host({.dram_bytes = 16 * kMiB});  // 256 blocks
  Engine engine(host.address());
  engine.Put("a", 20);
  std::vector<LentBlock> lent = engine.Lend("a", 20, 60s);
  for (int round = 0; round < 5; ++round) engine.Put("b" + std::to_string(round), 200);
  for (std::uint32_t i = 0; i < lent.size(); ++i) {
    EXPECT_TRUE(Engine::IsBlock(lent[i].bytes(), "a", i)) << i;
    EXPECT_EQ(lent[i].Release(), StatusCode::kOk) << i;
  }
}

TEST(LendingTest, AClientThatKeepsEverythingIsToldToRetryAndOthersGoOn) {
  Host host({.dram_bytes = 16 * kMiB, .lend_percent = 40});
  Engine greedy(host.address());
  Engine modest(host.address());
  greedy.Put("a", 200);
  const std::vector<LentBlock> lent = greedy.Lend("a", 200);
  std::size_t retry = 0;
  std::size_t ok = 0;
  for (const LentBlock& block : lent) {
    ok += block.status == StatusCode::kOk ? 1 : 0;
    retry += block.status == StatusCode::kRetry ? 1 : 0;
  }
  EXPECT_EQ(ok, 16 * kMiB * 4 / 10 / 2 / kBlockBytes) << "half of what may be lent";
  EXPECT_EQ(ok + retry, 200u);
  EXPECT_EQ(modest.Lend("a", 1).at(0).status, StatusCode::kOk);
  EXPECT_EQ(modest.Put("c", 100), 100u);
}

TEST(LendingTest, AReaderThatIsTooSlowIsToldThatItsBlockExpired) {
  Host host({.dram_bytes = 16 * kMiB});
  Engine engine(host.address());
  engine.Put("a", 8);
  std::vector<LentBlock> lent = engine.Lend("a", 8, 100ms);
  ASSERT_TRUE(host.Await([&] { return host.leases().now == 0; }));
  for (int round = 0; round < 5; ++round) engine.Put("b" + std::to_string(round), 200);
  for (LentBlock& block : lent) {
    EXPECT_EQ(block.bytes().size(), kBlockBytes) << "readable, though of no use";
    EXPECT_FALSE(block.Intact());
    EXPECT_EQ(block.Release(), StatusCode::kExpired);
  }
  EXPECT_EQ(host.leases().expired, 8u);
}

TEST(LendingTest, BytesStayReadableWhenClientAndDaemonAreGone) {
  std::vector<LentBlock> lent;
  {
    Host host;
    Engine engine(host.address());
    engine.Put("a", 4);
    lent = engine.Lend("a", 4);
    engine.Disconnect();
    EXPECT_TRUE(host.Await([&] { return host.leases().now == 0; })) << "a client that is gone";
    EXPECT_EQ(host.leases().expired, 4u);
  }
  for (LentBlock& block : lent) {
    EXPECT_EQ(block.bytes().size(), kBlockBytes);
    (void)Checksum64(block.bytes());
    EXPECT_EQ(block.Release(), StatusCode::kExpired);
  }
}

TEST(LendingTest, TenantsGiveWayToEachOtherThoughTheyMappedTheMemory) {
  Host host({.dram_bytes = 32 * kMiB});
  Engine first(host.address(), "first");
  Engine second(host.address(), "second");
  for (int round = 0; round < 3; ++round) {
    const std::string name = "r" + std::to_string(round);
    for (Engine* engine : {&first, &second}) {
      // Puts that find no room while an extent gets new memory are told so, and come again.
      ASSERT_TRUE(host.Await([&] { return engine->Put(name, 400) > 0; }));
      ASSERT_TRUE(host.Await([&] {
        engine->Put(name, 100);
        const std::vector<LentBlock> lent = engine->Lend(name, 100);
        std::uint32_t right = 0;
        for (std::uint32_t i = 0; i < lent.size(); ++i) {
          EXPECT_NE(lent[i].status, StatusCode::kInternal) << "an extent that nobody offered";
          if (lent[i].status != StatusCode::kOk) continue;
          EXPECT_TRUE(Engine::IsBlock(lent[i].bytes(), name, i));
          ++right;
        }
        return right == 100;
      }));
    }
  }
  EXPECT_GT(host.arena().extents_replaced, 0u);
  EXPECT_EQ(host.arena().extents_not_let_go, 0u) << "clients let go when they are asked to";
}

/// A client in a process of its own that lends blocks, says so, and stops.
class OtherProcess {
 public:
  /// To be made before this process has threads.
  OtherProcess() {
    EXPECT_EQ(::pipe(to_child_), 0);
    EXPECT_EQ(::pipe(from_child_), 0);
    pid_ = ::fork();
    if (pid_ == 0) Run();
  }
  ~OtherProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void Start(const std::string& address) {
    EXPECT_EQ(::write(to_child_[1], address.c_str(), address.size() + 1),
              static_cast<ssize_t>(address.size() + 1));
  }
  /// The next thing that it says.
  char Hear() {
    char said = '?';
    EXPECT_EQ(::read(from_child_[0], &said, 1), 1);
    return said;
  }
  void Go() { EXPECT_EQ(::write(to_child_[1], "g", 1), 1); }
  void Signal(int number) const { ::kill(pid_, number); }

 private:
  [[noreturn]] void Run() {
    char address[64] = {};
    for (char* at = address; ::read(to_child_[0], at, 1) == 1 && *at != 0;) ++at;
    Engine engine(address);
    std::vector<LentBlock> lent = engine.Lend("a", 8, 60s);
    bool good = lent.size() == 8;
    for (std::uint32_t i = 0; i < lent.size(); ++i) {
      good = good && Engine::IsBlock(lent[i].bytes(), "a", i);
    }
    Say(good ? 'l' : 'x');  // lent
    char go = 0;
    (void)!::read(to_child_[0], &go, 1);
    // 'o': the bytes are still the blocks, and it was told so. 'e': told that they are not.
    char verdict = 'e';
    for (std::uint32_t i = 0; i < lent.size(); ++i) {
      const bool right = Engine::IsBlock(lent[i].bytes(), "a", i);
      if (lent[i].Release() == StatusCode::kOk) verdict = right ? 'o' : 'w';
      if (verdict == 'w') break;
    }
    Say(verdict);
    ::pause();
    ::_exit(0);
  }
  void Say(char what) { (void)!::write(from_child_[1], &what, 1); }

  int to_child_[2] = {-1, -1};
  int from_child_[2] = {-1, -1};
  pid_t pid_ = -1;
};

/// A reader in another process that has been lent eight blocks.
class LendingProcessTest : public testing::Test {
 protected:
  void StartReader(HostOptions options = {}) {
    options.dram_bytes = 16 * kMiB;
    host_ = std::make_unique<Host>(options);
    engine_ = std::make_unique<Engine>(host_->address());
    engine_->Put("a", 8);
    reader_.Start(host_->address());
    ASSERT_EQ(reader_.Hear(), 'l');
  }
  void PutManyOthers() {
    for (int round = 0; round < 5; ++round) engine_->Put("b" + std::to_string(round), 200);
  }
  /// What the reader, which was stopped, is told when it goes on.
  char GoOn() {
    reader_.Go();
    reader_.Signal(SIGCONT);
    return reader_.Hear();
  }

  OtherProcess reader_;  // first: made before there are threads
  std::unique_ptr<Host> host_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(LendingProcessTest, AStoppedReaderWakesToExpired) {
  StartReader({.client_timeout_ms = 3000});
  reader_.Signal(SIGSTOP);
  ASSERT_TRUE(host_->Await([&] { return host_->leases().now == 0; })) << "it is taken for dead";
  PutManyOthers();
  EXPECT_EQ(GoOn(), 'e');
}

TEST_F(LendingProcessTest, AReaderThatWasStoppedForAMomentStillHasItsBlocks) {
  StartReader();
  reader_.Signal(SIGSTOP);
  PutManyOthers();
  EXPECT_EQ(GoOn(), 'o');
}

TEST_F(LendingProcessTest, AKilledReaderLeavesNothingBehind) {
  StartReader();
  EXPECT_EQ(host_->leases().now, 8u);
  reader_.Signal(SIGKILL);
  EXPECT_TRUE(host_->Await([&] { return host_->leases().now == 0; }));
  EXPECT_EQ(engine_->Put("b", 200), 200u);
}

}  // namespace
}  // namespace terrace
