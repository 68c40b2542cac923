// LMCache's calls to a native plugin, replayed against a real daemon: every operation ends once,
// with a bit per key, whoever submits it and whatever becomes of the daemon.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "client/terrace.hpp"
#include "tests/common/daemon_process.h"
#include "tests/contract/lmcache_engine.h"

namespace terrace::contract {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using crash::DaemonProcess;
using Engine = LmcacheEngine;
constexpr std::uint32_t kChain = 1;

class LmcacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder = ::testing::TempDir() + "lmcache-contract-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    daemon_.emplace(TERRACED_PROGRAM, folder_);
    Start("127.0.0.1:0");
  }
  void TearDown() override {
    daemon_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Start(const std::string& listen) {
    std::filesystem::remove(daemon_->PortFile());
    const Status started = daemon_->Start("[server]\nlisten = \"" + listen + "\"\nport_file = \"" +
                                          daemon_->PortFile() +
                                          "\"\n[dram]\ncapacity = \"64MiB\"\n"
                                          "[cache]\npolicy = \"leaf-lru\"\n"
                                          "[metrics]\nenabled = false\n");
    ASSERT_TRUE(started.ok()) << started.ToString();
    ASSERT_EQ(daemon_->WaitUntilReady(60s), DaemonProcess::Ready::kReady);
  }
  void StartAgain() { Start(std::string(daemon_->address())); }
  /// Returns when every thread of the daemon stands still.
  void Freeze() const {
    ::kill(daemon_->pid(), SIGSTOP);
    const auto still = [this] {
      const std::string tasks = "/proc/" + std::to_string(daemon_->pid()) + "/task";
      for (const auto& task : std::filesystem::directory_iterator(tasks)) {
        std::ifstream file(task.path() / "stat");
        std::string stat;
        std::getline(file, stat);
        if (stat.substr(stat.rfind(')') + 2, 1) != "T") return false;
      }
      return true;
    };
    ASSERT_TRUE(Until(still));
  }
  void Thaw() const { ::kill(daemon_->pid(), SIGCONT); }
  template <typename Condition>
  static bool Until(const Condition& condition) {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(2ms);
    }
    return true;
  }
  /// So many blocks of a chain, stored; views [0, count) are poisoned again.
  static void Store(Engine& engine, std::uint32_t chain, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) engine.Fill(i, chain, i);
    const lmc_completion set = engine.Wait(engine.Set(chain, 0, Engine::Range(0, count)));
    ASSERT_EQ(Bits(set), std::string(count, '1')) << set.error;
    for (std::uint32_t i = 0; i < count; ++i) engine.Poison(i);
  }
  /// Puts so much that whatever is not locked has to go.
  void EvictAll() const {
    auto client = Client::Connect({.address = daemon_->address(), .connect_timeout = 60s});
    ASSERT_TRUE(client.ok());
    NamespaceDescriptor descriptor;
    descriptor.name = "pressure";
    descriptor.block_tokens = 16;
    descriptor.groups = {{.id = 0, .block_bytes = Engine::kBlockBytes}};
    const auto space = (*client)->OpenNamespace(descriptor, In(60s));
    const auto region = (*client)->AllocateRegion(Engine::kBlockBytes);
    ASSERT_TRUE(space.ok() && region.ok());
    constexpr std::uint32_t kBatch = 256;
    for (std::uint64_t put = 0; put < (80 << 20) / Engine::kBlockBytes; put += kBatch) {
      Chain chain;
      std::vector<BlockBuffer> blocks;
      for (std::uint32_t i = 0; i < kBatch; ++i) {
        const std::string key = "pressure " + std::to_string(put + i);
        ASSERT_TRUE(chain.Append(std::as_bytes(std::span(key))).ok());
        blocks.push_back({.position = i, .region = *region, .offset = 0});
      }
      ASSERT_TRUE((*client)->Put(*space, chain, blocks, {}, In(60s)).ok());
    }
  }

  std::string folder_;
  std::optional<DaemonProcess> daemon_;
};

TEST_F(LmcacheTest, ABitPerKeyNamesWhatCameAndNoOtherViewIsTouched) {
  Engine engine({.address = daemon_->address()});
  ASSERT_TRUE(engine.valid()) << engine.error();
  Store(engine, kChain, 16);
  EXPECT_EQ(Bits(engine.Wait(engine.Delete(kChain, 5, 2))), "11");
  EXPECT_EQ(Bits(engine.Wait(engine.Delete(kChain, 5, 3))), "001");
  EXPECT_EQ(Bits(engine.Wait(engine.Exists(kChain, 0, 18))), "111110001111111100");
  // Keys that are not the chain's first ones are found as well: each is placed by itself.
  EXPECT_EQ(Bits(engine.Wait(engine.Exists(kChain, 7, 4))), "0111");
  const lmc_completion got = engine.Wait(engine.Get(kChain, 3, Engine::Range(100, 8)));
  EXPECT_TRUE(got.ok) << got.error;
  EXPECT_EQ(Bits(got), "11000111");
  for (std::uint32_t i = 0; i < 8; ++i) {
    if (got.bits[i] != 0) EXPECT_TRUE(engine.Holds(100 + i, kChain, 3 + i)) << i;
  }
  EXPECT_TRUE(engine.Poisoned(99) && engine.Poisoned(108));
  EXPECT_TRUE(engine.GuardsHold());
}

TEST_F(LmcacheTest, ArgumentsThatAreWrongAreRefusedAndCompleteNothing) {
  Engine engine({.address = daemon_->address(), .views = 4});
  ASSERT_TRUE(engine.valid()) << engine.error();
  const std::string text(65, 'k');
  const lmc_key long_key{text.data(), 65};
  const lmc_key key{text.data(), 64};
  int elsewhere = 0;
  void* const view = &elsewhere;
  EXPECT_EQ(lmc_submit_batch_exists(engine.plugin(), &long_key, 1), 0u);
  EXPECT_EQ(lmc_submit_batch_exists(engine.plugin(), &key, 0), 0u);
  EXPECT_EQ(lmc_submit_batch_get(engine.plugin(), &key, &view, 1), 0u);
  EXPECT_FALSE(engine.Readable(0ms));
}

TEST_F(LmcacheTest, ManyThreadsSubmitAndEveryOperationComesBackOnce) {
  constexpr std::uint32_t kThreads = 8;
  constexpr std::uint32_t kRounds = 40;
  constexpr std::uint32_t kKeys = 8;
  Engine engine({.address = daemon_->address(), .views = 2UL * kThreads * kKeys});
  ASSERT_TRUE(engine.valid()) << engine.error();
  std::atomic<std::uint32_t> refused = 0;
  std::vector<std::jthread> threads;
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&engine, &refused, thread] {
      // Its own views, written once: an operation may read them as long as it likes.
      const std::size_t first = 2UL * thread * kKeys;
      for (std::uint32_t i = 0; i < kKeys; ++i) engine.Fill(first + i, thread, i);
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        const bool all = engine.Set(thread, 0, Engine::Range(first, kKeys)) != 0 &&
                         engine.Exists((thread + round) % kThreads, 0, kKeys) != 0 &&
                         engine.Delete(kThreads + thread, 0, kKeys) != 0;
        if (!all) ++refused;
      }
    });
  }
  std::size_t drained = 0;
  while (drained < 3UL * kThreads * kRounds && engine.Readable(60'000ms)) drained += engine.Drain();
  threads.clear();
  EXPECT_TRUE(engine.WaitForAll());
  EXPECT_EQ(refused, 0u);
  EXPECT_EQ(drained, 3UL * kThreads * kRounds);
  EXPECT_FALSE(engine.Readable(0ms));
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    const std::size_t target = (2UL * thread + 1) * kKeys;
    const lmc_completion got = engine.Wait(engine.Get(thread, 0, Engine::Range(target, kKeys)));
    EXPECT_EQ(Bits(got), std::string(kKeys, '1'));
    for (std::uint32_t i = 0; i < kKeys; ++i) EXPECT_TRUE(engine.Holds(target + i, thread, i));
  }
  EXPECT_TRUE(engine.GuardsHold());
}

TEST_F(LmcacheTest, TwoEnginesThatStoreTheSameKeysBothCountThemAsStored) {
  Engine one({.address = daemon_->address()});
  Engine other({.address = daemon_->address()});
  ASSERT_TRUE(one.valid() && other.valid());
  for (std::uint32_t i = 0; i < 64; ++i) {
    one.Fill(i, kChain, i);
    other.Fill(i, kChain, i);
  }
  const std::uint64_t first = one.Set(kChain, 0, Engine::Range(0, 64));
  const std::uint64_t second = other.Set(kChain, 0, Engine::Range(0, 64));
  EXPECT_EQ(Bits(one.Wait(first)), std::string(64, '1'));
  EXPECT_EQ(Bits(other.Wait(second)), std::string(64, '1'));
  EXPECT_EQ(Bits(one.Wait(one.Get(kChain, 0, Engine::Range(100, 64)))), std::string(64, '1'));
  for (std::uint32_t i = 0; i < 64; ++i) EXPECT_TRUE(one.Holds(100 + i, kChain, i)) << i;
}

TEST_F(LmcacheTest, WhatALookupLockedOutlivesEvictionUntilItIsUnlocked) {
  Engine engine({.address = daemon_->address()});
  ASSERT_TRUE(engine.valid()) << engine.error();
  Store(engine, kChain, 32);
  Store(engine, kChain + 1, 32);
  const lmc_completion found = engine.Wait(engine.Lookup(kChain, 40, LMC_TRIM_PREFIX, 60s));
  EXPECT_EQ(Bits(found), std::string(32, '1') + std::string(8, '0'));
  EXPECT_EQ(found.lock_status, 0);
  ASSERT_NE(found.lock, 0u);
  EvictAll();
  EXPECT_EQ(Bits(engine.Wait(engine.Exists(kChain + 1, 0, 32))), std::string(32, '0'));
  EXPECT_EQ(Bits(engine.Wait(engine.Get(kChain, 0, Engine::Range(0, 32)))), std::string(32, '1'));
  for (std::uint32_t i = 0; i < 32; ++i) EXPECT_TRUE(engine.Holds(i, kChain, i)) << i;
  EXPECT_EQ(lmc_renew(engine.plugin(), found.lock, 60'000), 1);
  lmc_unlock(engine.plugin(), found.lock);
  lmc_unlock(engine.plugin(), found.lock);  // engines do
  EXPECT_EQ(lmc_renew(engine.plugin(), found.lock, 60'000), 0);
  EvictAll();
  EXPECT_EQ(Bits(engine.Wait(engine.Exists(kChain, 0, 32))), std::string(32, '0'));
}

TEST_F(LmcacheTest, AnExpiredLockCostsTheKeysThatWentAndNoOthers) {
  Engine engine({.address = daemon_->address()});
  ASSERT_TRUE(engine.valid()) << engine.error();
  Store(engine, kChain, 16);
  const lmc_completion found = engine.Wait(engine.Lookup(kChain, 16, LMC_TRIM_PREFIX, 50ms));
  ASSERT_NE(found.lock, 0u);
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(lmc_renew(engine.plugin(), found.lock, 60'000), 0);
  EvictAll();
  // Half of it comes back before the load: the load brings that half, and says so.
  for (std::uint32_t i = 8; i < 16; ++i) engine.Fill(i, kChain, i);
  EXPECT_EQ(Bits(engine.Wait(engine.Set(kChain, 8, Engine::Range(8, 8)))), "11111111");
  const lmc_completion got = engine.Wait(engine.Get(kChain, 0, Engine::Range(32, 16)));
  EXPECT_TRUE(got.ok) << got.error;
  EXPECT_EQ(Bits(got), "0000000011111111");
  for (std::uint32_t i = 8; i < 16; ++i) EXPECT_TRUE(engine.Holds(32 + i, kChain, i)) << i;
  lmc_unlock(engine.plugin(), found.lock);
}

TEST_F(LmcacheTest, ASparseLookupLocksWhatLiesBehindAHoleToo) {
  Engine engine({.address = daemon_->address()});
  ASSERT_TRUE(engine.valid()) << engine.error();
  Store(engine, kChain, 12);
  EXPECT_EQ(Bits(engine.Wait(engine.Delete(kChain, 4, 1))), "1");
  const lmc_completion prefix = engine.Wait(engine.Lookup(kChain, 12, LMC_TRIM_PREFIX, 60s));
  EXPECT_EQ(Bits(prefix), "111100000000");
  lmc_unlock(engine.plugin(), prefix.lock);
  const lmc_completion sparse = engine.Wait(engine.Lookup(kChain, 12, LMC_TRIM_SPARSE, 60s));
  EXPECT_EQ(Bits(sparse), "111101111111");
  ASSERT_NE(sparse.lock, 0u);
  EvictAll();
  EXPECT_EQ(Bits(engine.Wait(engine.Get(kChain, 0, Engine::Range(0, 12)))), "111101111111");
  for (std::uint32_t i = 0; i < 12; ++i) {
    if (i != 4) EXPECT_TRUE(engine.Holds(i, kChain, i)) << i;
  }
  lmc_unlock(engine.plugin(), sparse.lock);
}

TEST_F(LmcacheTest, ADaemonThatIsKilledEndsEveryOperationAndServesAgain) {
  Engine engine({.address = daemon_->address()});
  ASSERT_TRUE(engine.valid()) << engine.error();
  Store(engine, kChain, 32);
  Freeze();
  std::vector<std::uint64_t> ids;
  for (std::uint32_t i = 0; i < 16; ++i) {
    ids.push_back(engine.Get(kChain, 0, Engine::Range(8 * std::size_t{i}, 8)));
    ids.push_back(engine.Exists(kChain, 0, 32));
  }
  EXPECT_FALSE(engine.Readable(0ms));
  daemon_->Kill();
  for (const std::uint64_t id : ids) {
    const lmc_completion ended = engine.Wait(id);
    EXPECT_EQ(ended.id, id) << ended.error;
    EXPECT_EQ(Bits(ended), std::string(ended.count, '0'));
  }
  EXPECT_TRUE(Until([&engine] { return lmc_quiet(engine.plugin()) == 1; }));
  // While there is none, an operation is taken, and fails through the drain as all others do.
  const lmc_completion refused = engine.Wait(engine.Exists(kChain, 0, 4));
  EXPECT_FALSE(refused.ok);
  EXPECT_STRNE(refused.error, "");
  EXPECT_FALSE(engine.Readable(0ms));

  StartAgain();
  EXPECT_TRUE(Until([&engine] { return engine.Wait(engine.Exists(kChain, 0, 1)).ok != 0; }));
  Store(engine, kChain, 32);
  EXPECT_EQ(Bits(engine.Wait(engine.Get(kChain, 0, Engine::Range(0, 32)))), std::string(32, '1'));
  EXPECT_TRUE(engine.WaitForAll());
  EXPECT_TRUE(engine.GuardsHold());
}

TEST_F(LmcacheTest, ADeadlineThatPassesEndsTheOperationAndSaysIfItsViewsAreInDoubt) {
  // Less than it takes to see that the daemon is silent: 2 s.
  Engine engine({.address = daemon_->address(), .views = 64, .operation = 500ms});
  ASSERT_TRUE(engine.valid()) << engine.error();
  {
    Engine patient({.address = daemon_->address()});
    ASSERT_TRUE(patient.valid()) << patient.error();
    Store(patient, kChain, 16);
  }
  Freeze();
  const lmc_completion got = engine.Wait(engine.Get(kChain, 0, Engine::Range(0, 16)));
  EXPECT_NE(got.id, 0u) << got.error;
  EXPECT_EQ(Bits(got), std::string(16, '0'));
  EXPECT_EQ(got.in_doubt, 1);
  EXPECT_EQ(lmc_quiet(engine.plugin()), 0) << "nobody can know whether the daemon will write there";
  Thaw();
  EXPECT_TRUE(Until([&engine] { return lmc_quiet(engine.plugin()) == 1; }));
  for (std::uint32_t i = 0; i < 16; ++i) engine.Poison(i);
  EXPECT_TRUE(Until([&engine] { return engine.Wait(engine.Exists(kChain, 0, 1)).ok != 0; }));
  for (std::uint32_t i = 0; i < 16; ++i) EXPECT_TRUE(engine.Poisoned(i)) << i;
  EXPECT_TRUE(engine.GuardsHold());
}

TEST_F(LmcacheTest, StoppingEndsWhatIsUnderWayAndItCanStillBeDrained) {
  Engine engine({.address = daemon_->address()});
  ASSERT_TRUE(engine.valid()) << engine.error();
  Store(engine, kChain, 16);
  Freeze();
  std::vector<std::uint64_t> ids;
  for (std::size_t i = 0; i < 20; ++i) {
    ids.push_back(engine.Get(kChain, 0, Engine::Range(8 * i, 8)));
    ids.push_back(engine.Lookup(kChain, 16, LMC_TRIM_PREFIX, 1s));
  }
  lmc_stop(engine.plugin());
  for (const std::uint64_t id : ids) {
    const lmc_completion ended = engine.Wait(id);
    EXPECT_EQ(ended.id, id) << ended.error;
  }
  EXPECT_TRUE(engine.WaitForAll());
  Thaw();
}

}  // namespace
}  // namespace terrace::contract
