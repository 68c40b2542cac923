// Blocks lent in memory of GPUs (doubles): real reactors and the real client. What a reader is told
// must be true whatever it, other clients, other tenants and the daemon do meanwhile.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/tools/device_lender.h"

namespace terrace {
namespace {

using testing::GpuEngine;
using testing::GpuHost;
using testing::kDeviceBlockBytes;
using testing::Lender;
using testing::LentMapper;

constexpr std::uint32_t kBlocks = 4;

/// Chain "a", which is got until all of it lies in HBM as well.
void StoreInHbm(const GpuHost& host, Lender& lender) {
  ASSERT_EQ(lender.Put("a", kBlocks), kBlocks);
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(lender.GetRight("a", kBlocks), kBlocks);
    return host.Cached(&CacheCounters::blocks_hbm) == kBlocks;
  }));
}

/// Lets every block that is lent go; how many readers may use what they read.
std::uint32_t ReleaseAll(std::vector<LentBlock>& lent) {
  std::uint32_t good = 0;
  for (LentBlock& block : lent) {
    if (block.Release() == StatusCode::kOk) ++good;
  }
  return good;
}

TEST(DeviceLend, ABlockIsLentWhereItLies) {
  const LentMapper mapper;
  const GpuHost host({.lend_tenants = {"lender"}});
  Lender lender(host.port());
  lender.PutOnGpu(host, "a", kBlocks);
  const std::uint64_t hits = host.Cached(&CacheCounters::get_hits_hbm);
  std::vector<LentBlock> lent = lender.Lend("a", kBlocks);
  ASSERT_EQ(lent.size(), kBlocks);
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    EXPECT_EQ(lent[i].tier, Tier::kHbm);
    EXPECT_EQ(lent[i].gpu(), "DOUBLE-0");
    EXPECT_TRUE(lent[i].bytes().empty()) << "the host must not follow these addresses";
    EXPECT_EQ(lent[i].device_bytes().size(), kDeviceBlockBytes);
    EXPECT_TRUE(Lender::Holds(lent[i], "a", i));
  }
  EXPECT_EQ(host.Lent(&LeaseCounters::now), kBlocks);
  EXPECT_EQ(host.Cached(&CacheCounters::get_hits_hbm) - hits, kBlocks);
  EXPECT_EQ(ReleaseAll(lent), kBlocks);
  EXPECT_TRUE(lent[0].device_bytes().empty());
  EXPECT_TRUE(host.Await([&] { return host.Lent(&LeaseCounters::now) == 0; }));
  EXPECT_EQ(host.Lent(&LeaseCounters::bytes_now), 0U);
  EXPECT_LE(mapper.mapped(), 2 * kBlocks) << "an extent is mapped once";
  EXPECT_TRUE(lender->DeviceLending("DOUBLE-0").ok());
}

TEST(DeviceLend, NobodyIsLentItUnlessHisTenantIsNamed) {
  const LentMapper mapper;
  const GpuHost host({.lend_tenants = {"lender"}, .dram_lend_percent = 50});
  Lender other(host.port(), "other");
  ASSERT_EQ(other.Put("a", kBlocks), kBlocks);
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(other.GetRight("a", kBlocks), kBlocks);
    return host.Cached(&CacheCounters::blocks_hbm) == kBlocks;
  }));
  std::vector<LentBlock> lent = other.Lend("a", kBlocks);
  ASSERT_EQ(lent.size(), kBlocks);
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    EXPECT_TRUE(lent[i].gpu().empty());
    EXPECT_TRUE(lent[i].device_bytes().empty());
    EXPECT_TRUE(Lender::Holds(lent[i], "a", i));
  }
  // Nor who does not ask for it.
  Lender lender(host.port());
  lender.PutOnGpu(host, "b", kBlocks);
  for (const LentBlock& block : lender.Lend("b", kBlocks, {})) EXPECT_TRUE(block.gpu().empty());
  for (const LentBlock& block : lender.Lend("b", kBlocks, {.gpu = "GPU-of-another-host"})) {
    EXPECT_TRUE(block.gpu().empty());
    EXPECT_EQ(block.status, StatusCode::kOk);
  }
}

TEST(DeviceLend, ItIsOffUnlessTheConfigurationSaysSo) {
  const LentMapper mapper;
  const GpuHost host({.dram_lend_percent = 50});
  Lender lender(host.port());
  ASSERT_NO_FATAL_FAILURE(StoreInHbm(host, lender));
  EXPECT_EQ(lender.OnGpu("a", kBlocks), 0U);
  EXPECT_EQ(mapper.mapped(), 0U);
  EXPECT_EQ(host.Lent(&LeaseCounters::granted), 0U);
}

TEST(DeviceLend, NoTenantMapsWhatAnotherHas) {
  LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"first", "second"}});
  Lender first(host.port(), "first");
  Lender second(host.port(), "second");
  Lender plain(host.port(), "plain");
  std::set<std::vector<std::byte>> foreign;  // how each page of others begins
  const auto pages_of = [&foreign](const std::string& name) {
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      const std::vector<std::byte> bytes = GpuEngine::Bytes(name, i);
      for (std::size_t at = 0; at < bytes.size(); at += 4096) {
        const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        foreign.insert({begin, begin + 64});
      }
    }
  };
  const auto strangers = [&foreign](const std::vector<std::span<std::byte>>& mapped) {
    std::size_t count = 0;
    for (const std::span<std::byte> extent : mapped) {
      for (std::size_t at = 0; at < extent.size(); at += 4096) {
        const auto begin = extent.begin() + static_cast<std::ptrdiff_t>(at);
        count += foreign.contains({begin, begin + 64}) ? 1 : 0;
      }
    }
    return count;
  };
  ASSERT_EQ(plain.Put("p", kBlocks), kBlocks);
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(plain.GetRight("p", kBlocks), kBlocks);
    return host.Cached(&CacheCounters::blocks_hbm) == kBlocks;
  }));
  pages_of("p");
  first.PutOnGpu(host, "a", kBlocks);
  const auto of_first = mapper.TakeMapped();
  ASSERT_FALSE(of_first.empty());
  EXPECT_EQ(strangers(of_first), 0U);
  pages_of("a");
  second.PutOnGpu(host, "b", kBlocks);
  const auto of_second = mapper.TakeMapped();
  ASSERT_FALSE(of_second.empty());
  EXPECT_EQ(strangers(of_second), 0U);
  foreign.clear();
  pages_of("b");
  EXPECT_EQ(strangers(of_first), 0U) << "what the first mapped is his for as long as it is mapped";
}

TEST(DeviceLend, AnExtentThatGoesToAnotherTenantIsOtherMemory) {
  LentMapper mapper;
  // Two extents of two blocks. A client may have 45 % of it, one block.
  const GpuHost host({.reactors = 1,
                      .lend_tenants = {"first", "second"},
                      .lend_percent = 90,
                      .pool_bytes = 4 << 20});
  Lender first(host.port(), "first");
  Lender second(host.port(), "second");
  ASSERT_EQ(first.Put("a", 4), 4U);
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(first.GetRight("a", 4), 4U);
    return host.Cached(&CacheCounters::blocks_hbm) == 4;
  }));
  std::vector<LentBlock> held = first.Lend("a", 1);
  ASSERT_EQ(held[0].gpu(), "DOUBLE-0");
  // The second wants both. The extent of what is lent stays, whatever he does.
  const auto replaced = [&] { return host.Cached(&CacheCounters::hbm_extents_replaced); };
  ASSERT_EQ(second.Put("b", 4), 4U);
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(second.GetRight("b", 4), 4U);
    return replaced() == 1;
  }));
  for (int use = 0; use < 50; ++use) ASSERT_EQ(second.GetRight("b", 4), 4U);
  EXPECT_EQ(replaced(), 1U);
  ASSERT_TRUE(Lender::Holds(held[0], "a", 0)) << "what is lent does not go";
  ASSERT_EQ(ReleaseAll(held), 1U);
  held.clear();
  // Now it does: the first lets go when he is asked, and the second finds nothing of his.
  EXPECT_GT(mapper.mapped(), 0U);
  (void)mapper.TakeMapped();
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(second.GetRight("b", 4), 4U);
    return replaced() == 2;
  })) << "the extent never changed its owner";
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(second.GetRight("b", 4), 4U);
    return second.OnGpu("b", 1) == 1;
  }));
  const std::vector<std::byte> of_first = GpuEngine::Bytes("a", 0);
  for (const std::span<std::byte> extent : mapper.TakeMapped()) {
    for (std::size_t at = 0; at < extent.size(); at += 4096) {
      EXPECT_NE(std::memcmp(&extent[at], of_first.data() + at % of_first.size(), 64), 0);
    }
  }
}

TEST(DeviceLend, WhatAReaderHasBrokenIsFoundByTheNext) {
  const LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"lender"}, .dram_lend_percent = 50});
  Lender lender(host.port());
  Lender witness(host.port());
  lender.PutOnGpu(host, "a", 2);
  std::vector<LentBlock> broken = lender.Lend("a", 2);
  std::vector<LentBlock> seen = witness.Lend("a", 2);
  ASSERT_EQ(seen[0].gpu(), "DOUBLE-0");
  // By a mapping of a GPU anybody who has it can.
  const_cast<std::byte*>(broken[0].device_bytes().data())[4711] ^= std::byte{1};
  const std::uint64_t failures = host.Cached(&CacheCounters::hbm_failures);
  std::vector<LentBlock> next = witness.Lend("a", 2);
  EXPECT_TRUE(next[0].gpu().empty()) << "it comes from DRAM";
  EXPECT_TRUE(Lender::Holds(next[0], "a", 0));
  EXPECT_EQ(next[1].gpu(), "DOUBLE-0") << "its neighbour is as it was";
  EXPECT_TRUE(Lender::Holds(next[1], "a", 1));
  EXPECT_GT(host.Cached(&CacheCounters::hbm_failures), failures);
  EXPECT_EQ(seen[0].Release(), StatusCode::kExpired) << "who holds it is told";
  EXPECT_EQ(seen[1].Release(), StatusCode::kOk);
  EXPECT_EQ(broken[0].Release(), StatusCode::kExpired);
}

TEST(DeviceLend, AGetIntoAnEnginesGpuFindsWhatWasBroken) {
  const LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"default"}});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", 1), 1U);
  const std::vector<std::uint32_t> first = {0};
  const auto lend = [&] {
    auto lent = engine->LendWith(engine.space(), GpuEngine::ChainOf("a", 1), first, {},
                                 GpuEngine::Soon(), {.lease = {}, .gpu = "DOUBLE-0"});
    return lent.ok() ? std::move(*lent) : std::vector<LentBlock>(1);
  };
  std::vector<LentBlock> lent;
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(engine.GetRight("a", 1), 1U);
    lent = lend();
    return lent[0].status == StatusCode::kOk && !lent[0].gpu().empty();
  }));
  std::memset(const_cast<std::byte*>(lent[0].device_bytes().data()), 0x5a, kDeviceBlockBytes);
  EXPECT_EQ(engine.GetRight("a", 1), 1U) << "from DRAM";
  EXPECT_FALSE(lent[0].Intact());
}

TEST(DeviceLend, ALeaseThatIsTooOldIsExpiredForItsReader) {
  const LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"lender"}});
  Lender lender(host.port());
  lender.PutOnGpu(host, "a", kBlocks);
  std::vector<LentBlock> lent =
      lender.Lend("a", kBlocks, {.lease = std::chrono::milliseconds(100), .gpu = "DOUBLE-0"});
  ASSERT_EQ(lent[0].gpu(), "DOUBLE-0");
  ASSERT_TRUE(host.Await([&] { return host.Lent(&LeaseCounters::now) == 0; }));
  for (LentBlock& block : lent) {
    EXPECT_FALSE(block.Intact());
    EXPECT_EQ(block.Release(), StatusCode::kExpired);
  }
}

TEST(DeviceLend, WhatIsLentStaysWhateverElseWantsTheRoom) {
  const LentMapper mapper;
  const GpuHost host(
      {.reactors = 1, .lend_tenants = {"lender"}, .lend_percent = 90, .pool_bytes = 8 << 20});
  Lender lender(host.port());
  lender.PutOnGpu(host, "a", 2);
  std::vector<LentBlock> lent = lender.Lend("a", 2);
  ASSERT_EQ(lent[1].gpu(), "DOUBLE-0");
  // Removed as well: nobody gets its frame before it is given back.
  ASSERT_TRUE(
      lender->Remove(lender.space(), GpuEngine::ChainOf("a", 2), 1, 1, {}, GpuEngine::Soon()).ok());
  const std::uint64_t gave_way = host.Cached(&CacheCounters::hbm_evictions);
  for (int round = 0; round < 8; ++round) {
    const std::string name = "filler" + std::to_string(round);
    ASSERT_EQ(lender.Put(name, 4), 4U);
    for (int use = 0; use < 4; ++use) ASSERT_EQ(lender.GetRight(name, 4), 4U);
    ASSERT_TRUE(Lender::Holds(lent[0], "a", 0)) << "round " << round;
    ASSERT_TRUE(Lender::Holds(lent[1], "a", 1)) << "round " << round;
  }
  EXPECT_TRUE(host.Await([&] { return host.Cached(&CacheCounters::hbm_evictions) > gave_way; }));
  EXPECT_EQ(ReleaseAll(lent), 2U);
}

TEST(DeviceLend, NoMoreIsLentOfGpusThanMayBe) {
  const LentMapper mapper;
  // A client may have half of a quarter of 32 MiB.
  const GpuHost host(
      {.reactors = 1, .lend_tenants = {"lender"}, .lend_percent = 25, .dram_lend_percent = 50});
  Lender lender(host.port());
  ASSERT_EQ(lender.Put("a", 8), 8U);
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(lender.GetRight("a", 8), 8U);
    return host.Cached(&CacheCounters::blocks_hbm) == 8;
  }));
  std::vector<LentBlock> lent = lender.Lend("a", 8);
  std::uint32_t on_gpu = 0;
  for (std::uint32_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(Lender::Holds(lent[i], "a", i)) << "the others are lent in DRAM";
    on_gpu += lent[i].gpu().empty() ? 0 : 1;
  }
  EXPECT_EQ(on_gpu, 3U) << "of 4 MiB less one percent's rounding";
  EXPECT_GT(host.Lent(&LeaseCounters::refused), 0U);
}

TEST(DeviceLend, WhatCannotBeMappedIsLentInDramAndTheReasonTold) {
  LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"lender"}, .dram_lend_percent = 50});
  Lender lender(host.port());
  ASSERT_NO_FATAL_FAILURE(StoreInHbm(host, lender));
  mapper.Fail();
  for (int round = 0; round < 2; ++round) {
    std::vector<LentBlock> lent = lender.Lend("a", kBlocks);
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      EXPECT_TRUE(lent[i].gpu().empty());
      EXPECT_TRUE(Lender::Holds(lent[i], "a", i));
    }
    EXPECT_EQ(ReleaseAll(lent), kBlocks);
  }
  const Status why = lender->DeviceLending("DOUBLE-0");
  EXPECT_EQ(why.code(), StatusCode::kUnsupported);
  EXPECT_EQ(why.message(), "as a test wants it");
  EXPECT_TRUE(lender->DeviceLending("DOUBLE-1").ok());
  EXPECT_TRUE(host.Await([&] { return host.Lent(&LeaseCounters::now) == 0; }))
      << "what could not be mapped was given back";
}

TEST(DeviceLend, AHandleOfALivingDaemonThatOpensNothingIsAskedForNoMore) {
  LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"lender"}, .dram_lend_percent = 50});
  Lender lender(host.port());
  ASSERT_NO_FATAL_FAILURE(StoreInHbm(host, lender));
  mapper.Fail(StatusCode::kPeerDead);
  std::vector<LentBlock> lent = lender.Lend("a", kBlocks);
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    EXPECT_TRUE(lent[i].gpu().empty());
    EXPECT_TRUE(Lender::Holds(lent[i], "a", i)) << "from DRAM, at the first call";
  }
  EXPECT_EQ(lender->DeviceLending("DOUBLE-0").code(), StatusCode::kPeerDead);
}

TEST(DeviceLend, AGpuThatIsLostEndsWhatIsLentOfIt) {
  const LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"lender"}});
  Lender lender(host.port());
  lender.PutOnGpu(host, "a", kBlocks);
  std::vector<LentBlock> lent = lender.Lend("a", kBlocks);
  ASSERT_EQ(lent[0].gpu(), "DOUBLE-0");
  host.shard(0).reactor().Post([&host] { host.gpus()[0]->Lose("as a test wants it"); });
  ASSERT_TRUE(host.Await([&] {
    (void)lender.Lend("a", 1);  // the tier hears of it with its next work
    return !lent[0].Intact();
  }));
  for (LentBlock& block : lent) EXPECT_EQ(block.Release(), StatusCode::kExpired);
  EXPECT_EQ(host.Cached(&CacheCounters::hbm_gpus_offline), 1U);
  EXPECT_EQ(lender.GetRight("a", kBlocks), kBlocks);
}

TEST(DeviceLend, ReadersWhoWereToldIntactHaveReadTheBlock) {
  const LentMapper mapper;
  const GpuHost host(
      {.reactors = 2, .lend_tenants = {"lender"}, .lend_percent = 90, .pool_bytes = 8 << 20});
  Lender writer(host.port());
  writer.PutOnGpu(host, "a", 1);
  const std::vector<std::byte> right = GpuEngine::Bytes("a", 0);
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> good{0};
  std::vector<std::thread> readers;
  for (int number = 0; number < 2; ++number) {
    readers.emplace_back([&, number] {
      Lender reader(host.port(), "lender", 1);
      SeededRandom random(static_cast<std::uint64_t>(number));
      while (!over) {
        const std::chrono::milliseconds lease(random.Chance(0.5) ? 1 : 5000);
        std::vector<LentBlock> lent = reader.Lend("a", 1, {.lease = lease, .gpu = "DOUBLE-0"});
        if (lent.size() != 1 || lent[0].gpu().empty()) continue;
        const bool same = std::ranges::equal(lent[0].device_bytes(), right);
        if (lent[0].Release() != StatusCode::kOk) continue;
        EXPECT_TRUE(same);
        ++good;
      }
    });
  }
  // What is lent makes room for nobody; what is not gives way, and comes again.
  for (int round = 0; round < 30 || (good < 20 && round < 300); ++round) {
    ASSERT_EQ(writer.GetRight("a", 1), 1U);
    const std::string other = "other" + std::to_string(round % 8);
    (void)writer.Put(other, 2);
    for (int use = 0; use < 3; ++use) (void)writer.GetRight(other, 2);
    const auto removed =
        writer->Remove(writer.space(), GpuEngine::ChainOf(other, 2), 0, 1, {}, GpuEngine::Soon());
    EXPECT_TRUE(removed.ok());
    if (round % 10 != 9) continue;
    const auto gone =
        writer->Remove(writer.space(), GpuEngine::ChainOf("a", 1), 0, 1, {}, GpuEngine::Soon());
    EXPECT_TRUE(gone.ok());
    ASSERT_EQ(writer.Put("a", 1), 1U);
  }
  over = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(good, 0U);
}

}  // namespace
}  // namespace terrace
