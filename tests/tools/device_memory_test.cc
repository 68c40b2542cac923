// Memory of GPUs (doubles) that a client registers: real reactors and the real client. What comes
// must be right, and what is not to be touched any more must not be, whoever dies or gives up.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "client/terrace.h"
#include "tests/tools/device_engine.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::GpuEngine;
using testing::GpuHost;
using testing::kDeviceBlockBytes;

constexpr std::uint32_t kBlocks = 8;

TEST(DeviceMemory, BlocksGoStraightFromAndToIt) {
  const GpuHost host({});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  EXPECT_EQ(host.Mapped(), 2U) << "each reactor maps for itself";
  EXPECT_EQ(engine.Put("a", kBlocks), kBlocks);
  EXPECT_EQ(engine.GetRight("a", kBlocks), kBlocks);
  EXPECT_EQ(host.Served(&ServerCounters::bytes_of_devices), 2 * kBlocks * kDeviceBlockBytes);
  // What was put from a GPU is a block as any other.
  const auto region = engine->AllocateRegion(kBlocks * kDeviceBlockBytes);
  ASSERT_TRUE(region.ok());
  std::vector<BlockBuffer> blocks = engine.Blocks(kBlocks);
  for (BlockBuffer& block : blocks) block.region = *region;
  const auto got =
      engine->Get(engine.space(), GpuEngine::ChainOf("a", kBlocks), blocks, {}, GpuEngine::Soon());
  ASSERT_EQ(GpuEngine::Oks(got), kBlocks);
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    const std::vector<std::byte> right = GpuEngine::Bytes("a", i);
    EXPECT_EQ(std::memcmp(engine->RegionMemory(*region).data() + i * kDeviceBlockBytes,
                          right.data(), right.size()),
              0);
  }
}

TEST(DeviceMemory, ABlockWithACopyOnTheGpuComesFromThere) {
  const GpuHost host({});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", kBlocks), kBlocks);
  ASSERT_TRUE(host.Await([&] {
    EXPECT_EQ(engine.GetRight("a", kBlocks), kBlocks);
    return host.Cached(&CacheCounters::blocks_hbm) == kBlocks;
  }));
  const std::uint64_t before = host.Cached(&CacheCounters::get_hits_hbm);
  EXPECT_EQ(engine.GetRight("a", kBlocks), kBlocks);
  EXPECT_EQ(host.Cached(&CacheCounters::get_hits_hbm) - before, kBlocks);
  const auto results = engine.Get("a", kBlocks);
  ASSERT_EQ(GpuEngine::Oks(results), kBlocks);
  for (const BlockResult& block : *results) EXPECT_EQ(block.tier, TierKind::kHbm);
  // A copy that rotted is noticed where it arrived, and the block comes from DRAM.
  for (HostDeviceMemory* gpu : host.gpus()) gpu->CorruptBatches(1);
  EXPECT_EQ(engine.GetRight("a", kBlocks), kBlocks);
  EXPECT_GT(host.Cached(&CacheCounters::hbm_failures), 0U);
}

TEST(DeviceMemory, WhatArrivedWrongIsNotOk) {
  const GpuHost host({.reactors = 1});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", 1), 1U);
  host.gpus()[0]->CorruptBatches(1);
  const auto got = engine.Get("a", 1);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ((*got)[0].status, StatusCode::kCorrupt);
  EXPECT_EQ(engine.GetRight("a", 1), 1U) << "the block is as it was";
  host.gpus()[0]->CorruptBatches(1);
  engine.Fill(0, GpuEngine::Bytes("b", 0));
  const auto put = engine->Put(engine.space(), GpuEngine::ChainOf("b", 1), engine.Blocks(1), {},
                               GpuEngine::Soon());
  ASSERT_TRUE(put.ok());
  EXPECT_EQ((*put)[0].status, StatusCode::kCorrupt);
}

/// Cuts [0, bytes) of the memory into pieces of odd lengths at odd places, none over another.
std::vector<MemoryPiece> OddPieces(SeededRandom& random, RegionId region, std::uint64_t from,
                                   std::uint64_t bytes) {
  std::vector<MemoryPiece> pieces;
  std::uint64_t at = from;
  while (bytes > 0) {
    const std::uint64_t most = random.Chance(0.3) ? 300 : random.Chance(0.5) ? 70'000 : 400'000;
    const std::uint64_t length = std::min(bytes, 1 + random.Below(most));
    if (!random.Chance(0.4)) at += random.Below(random.Chance(0.5) ? 16 : 3000);
    pieces.push_back({.region = region, .offset = at, .length = length});
    at += length;
    bytes -= length;
  }
  return pieces;
}

TEST(DeviceMemory, PiecesMayLieAnywhere) {
  const GpuHost host({.reactors = 1});
  GpuEngine engine(host.port(), 4);
  ASSERT_TRUE(engine.Register().ok());
  SeededRandom random(17);
  const Chain chain = GpuEngine::ChainOf("odd", 1);
  const std::vector<std::byte> right = GpuEngine::Bytes("odd", 0);
  for (int round = 0; round < 30; ++round) {
    const std::vector<MemoryPiece> from = OddPieces(random, engine.region(), 0, kDeviceBlockBytes);
    std::uint64_t done = 0;
    for (const MemoryPiece& piece : from) {
      std::memcpy(engine.memory().data() + piece.offset, &right[done], piece.length);
      done += piece.length;
    }
    const BlockPieces put{.position = 0, .pieces = from, .range = {}};
    const auto stored = engine->PutPieces(engine.space(), chain, {&put, 1}, {}, GpuEngine::Soon());
    ASSERT_EQ(GpuEngine::Oks(stored), 1U);
    for (int get = 0; get < 3; ++get) {
      const std::vector<MemoryPiece> to = OddPieces(random, engine.region(), 0, kDeviceBlockBytes);
      std::memset(engine.memory().data(), 0x5a, engine.memory().size());
      std::vector<std::byte> expected(engine.memory().begin(), engine.memory().end());
      done = 0;
      for (const MemoryPiece& piece : to) {
        std::memcpy(&expected[piece.offset], &right[done], piece.length);
        done += piece.length;
      }
      const BlockPieces wanted{.position = 0, .pieces = to, .range = {}};
      const auto got =
          engine->GetPieces(engine.space(), chain, {&wanted, 1}, {}, GpuEngine::Soon());
      ASSERT_EQ(GpuEngine::Oks(got), 1U);
      ASSERT_TRUE(std::ranges::equal(engine.memory(), expected)) << "round " << round;
    }
    ASSERT_TRUE(engine->Remove(engine.space(), chain, 0, 1, {}, GpuEngine::Soon()).ok());
  }
}

TEST(DeviceMemory, PartsOfABlockComeAlone) {
  const GpuHost host({.reactors = 1});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", 1), 1U);
  const std::vector<std::byte> right = GpuEngine::Bytes("a", 0);
  const std::vector<BlockRange> ranges = {
      {.offset = 0, .bytes = 256 << 10},
      {.offset = 4096, .bytes = 300'000},
      {.offset = 128, .bytes = 1000, .count = 150, .stride = 5000},
      {.offset = 256 << 10, .bytes = 0}};
  for (const BlockRange& range : ranges) {
    std::vector<std::byte> expected;
    const std::uint64_t stretch = range.bytes == 0 ? right.size() - range.offset : range.bytes;
    for (std::uint32_t i = 0; i < range.count; ++i) {
      const auto begin =
          right.begin() + static_cast<std::ptrdiff_t>(range.offset + i * range.stride);
      expected.insert(expected.end(), begin, begin + static_cast<std::ptrdiff_t>(stretch));
    }
    std::memset(engine.memory().data(), 0, engine.memory().size());
    const MemoryPiece place{.region = engine.region(), .offset = 64, .length = expected.size()};
    const BlockPieces wanted{.position = 0, .pieces = {&place, 1}, .range = range};
    const auto got = engine->GetPieces(engine.space(), GpuEngine::ChainOf("a", 1), {&wanted, 1}, {},
                                       GpuEngine::Soon());
    ASSERT_EQ(GpuEngine::Oks(got), 1U);
    EXPECT_EQ(std::memcmp(engine.memory().data() + 64, expected.data(), expected.size()), 0);
  }
}

TEST(DeviceMemory, ABlockInBothKindsOfMemoryIsRefusedByName) {
  const GpuHost host({.reactors = 1});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", 1), 1U);
  const auto other = engine->AllocateRegion(kDeviceBlockBytes);
  ASSERT_TRUE(other.ok());
  const std::vector<MemoryPiece> pieces = {
      {.region = engine.region(), .offset = 0, .length = kDeviceBlockBytes / 2},
      {.region = *other, .offset = 0, .length = kDeviceBlockBytes / 2}};
  const BlockPieces wanted{.position = 0, .pieces = pieces, .range = {}};
  const auto got = engine->GetPieces(engine.space(), GpuEngine::ChainOf("a", 1), {&wanted, 1}, {},
                                     GpuEngine::Soon());
  ASSERT_TRUE(got.ok());
  EXPECT_EQ((*got)[0].status, StatusCode::kInvalid);
}

TEST(DeviceMemory, WhereItCannotBeTheReasonIsTold) {
  const auto refusal = [](GpuEngine& engine) { return engine.Register().status(); };
  {
    const GpuHost host({.hbm = false});
    GpuEngine engine(host.port());
    const Status status = refusal(engine);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_NE(status.message().find("DOUBLE-0 (config hbm.gpus)"), std::string::npos)
        << status.message();
  }
  const GpuHost host({});
  {
    GpuEngine engine(host.port(), 16, {.link = LinkChoice::kTcp});
    EXPECT_EQ(refusal(engine).code(), StatusCode::kUnsupported);
  }
  GpuEngine engine(host.port());
  SetDeviceExporterForTest([&](std::span<std::byte> memory) {
    auto exported = engine.gpu().Export(memory);
    exported->gpu = "GPU-of-another-host";
    return exported;
  });
  EXPECT_EQ(refusal(engine).code(), StatusCode::kUnsupported);
  EXPECT_NE(refusal(engine).message().find("GPU-of-another-host"), std::string::npos);
  SetDeviceExporterForTest([&](std::span<std::byte> memory) {
    auto exported = engine.gpu().Export(memory);
    exported->bytes += 4096;
    return exported;
  });
  EXPECT_EQ(refusal(engine).code(), StatusCode::kInvalid);
  EXPECT_NE(refusal(engine).message().find("length"), std::string::npos);
  EXPECT_EQ(engine->RegisterDeviceMemory(nullptr, 4096, GpuEngine::Soon()).code(),
            StatusCode::kInvalid);
  EXPECT_EQ(host.Mapped(), 0U);
  // Nothing of that stands against the next try.
  SetDeviceExporterForTest(
      [&](std::span<std::byte> memory) { return engine.gpu().Export(memory); });
  ASSERT_TRUE(engine.Register().ok());
  EXPECT_EQ(engine.Put("a", 1), 1U);
}

TEST(DeviceMemory, ADeregisteredRegionIsNotMappedAnyMore) {
  const GpuHost host({});
  GpuEngine engine(host.port());
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(engine.Register().ok());
    ASSERT_EQ(host.Mapped(), 2U);
    ASSERT_EQ(engine.Put("a" + std::to_string(round), 2), 2U);
    const Status gone = engine->DeregisterMemory(engine.region());
    ASSERT_TRUE(gone.ok()) << gone.ToString();
    ASSERT_EQ(host.Mapped(), 0U) << "its memory must not be freed yet";
    EXPECT_EQ(engine->DeregisterMemory(engine.region()).code(), StatusCode::kInvalid);
  }
}

TEST(DeviceMemory, AClosedClientIsNotToldThatItsMemoryMayBeFreed) {
  const GpuHost host({.reactors = 1});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", 1), 1U);
  host.gpus()[0]->Hang(true);
  const std::uint64_t before = host.Submitted();
  const auto ticket = engine->SubmitGet(engine.space(), GpuEngine::ChainOf("a", 1),
                                        engine.Blocks(1), {}, GpuEngine::Soon());
  ASSERT_TRUE(ticket.ok());
  ASSERT_TRUE(host.Await([&] { return host.Submitted() > before; }));
  engine->Close();
  // Nobody asks the daemon any more, and its GPU is at work.
  EXPECT_EQ(host.Mapped(), 1U);
  const Status status = engine->DeregisterMemory(engine.region());
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.code(), StatusCode::kInvalid) << status.ToString();
  host.gpus()[0]->Hang(false);
  EXPECT_TRUE(host.Await([&] { return host.Mapped() == 0; }));
}

TEST(DeviceMemory, AClientHasSoManyRegionsAndNoMore) {
  const GpuHost host({.reactors = 1});
  GpuEngine engine(host.port());
  std::vector<RegionId> regions;
  for (;;) {
    std::byte* const at = engine.memory().data() + regions.size() * 4096;
    const auto region = engine->RegisterDeviceMemory(at, 4096, GpuEngine::Soon());
    if (!region.ok()) {
      EXPECT_NE(region.status().message().find("at most 256"), std::string::npos);
      break;
    }
    regions.push_back(*region);
    ASSERT_LE(regions.size(), 256U);
  }
  EXPECT_EQ(regions.size(), 256U);
  EXPECT_EQ(host.Mapped(), 1U) << "one allocation is one mapping";
  ASSERT_TRUE(engine->DeregisterMemory(regions.back()).ok());
  ASSERT_TRUE(engine.Register().ok()) << "there is room again";
}

TEST(DeviceMemory, ArrivalsAreNotLookedAtByAClientThatVerifies) {
  const GpuHost host({});
  GpuEngine engine(host.port(), 16, {.verify_same_host = true});
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", kBlocks), kBlocks);
  EXPECT_EQ(engine.GetRight("a", kBlocks), kBlocks);
}

TEST(DeviceMemory, WhatWasFencedIsNotTouchedAgain) {
  const GpuHost host({.latency = 300 * kMicrosecond, .bytes_per_microsecond = 10'000});
  GpuEngine engine(host.port(), kBlocks);
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", kBlocks), kBlocks);
  const Chain chain = GpuEngine::ChainOf("a", kBlocks);
  SeededRandom random(3);
  std::uint32_t cut_short = 0;
  for (int round = 0; round < 400; ++round) {
    const bool put = round % 4 == 3;
    const std::uint32_t count = 1 + static_cast<std::uint32_t>(random.Below(kBlocks));
    const auto ticket =
        put ? engine->SubmitPut(engine.space(),
                                GpuEngine::ChainOf("p" + std::to_string(round), count),
                                engine.Blocks(count), {}, GpuEngine::Soon())
            : engine->SubmitGet(engine.space(), chain, engine.Blocks(count), {}, GpuEngine::Soon());
    ASSERT_TRUE(ticket.ok()) << ticket.status().ToString();
    std::this_thread::sleep_for(std::chrono::microseconds(random.Below(1500)));
    ASSERT_NO_FATAL_FAILURE(engine.StopBy(round % 2 == 0, *ticket));
    std::memset(engine.memory().data(), round & 0xff, engine.memory().size());
    ASSERT_TRUE(engine->WaitForCompletion(GpuEngine::Soon()).ok());
    const auto ended = engine->Poll();
    for (const Completion& completion : ended) {
      for (const BlockResult& block : completion.blocks) {
        if (block.status == StatusCode::kCancelled) ++cut_short;
      }
    }
    if (round % 8 == 0) std::this_thread::sleep_for(2ms);
    // All are as the first: with a look at each byte the sanitizers take minutes.
    const std::span<const std::byte> now = engine.memory();
    ASSERT_TRUE(now.front() == static_cast<std::byte>(round & 0xff) &&
                std::memcmp(now.data(), now.data() + 1, now.size() - 1) == 0)
        << "written after the fence, round " << round;
  }
  EXPECT_GT(cut_short, 0U);
  EXPECT_TRUE(host.Await([&] { return host.Served(&ServerCounters::quarantined) == 0; }));
  EXPECT_EQ(engine.GetRight("a", kBlocks), kBlocks);
}

TEST(DeviceMemory, AGpuThatHangsLeavesDoubtAndNoFenceIsOkBefore) {
  const GpuHost host({.reactors = 1});
  GpuEngine engine(host.port());
  ASSERT_TRUE(engine.Register().ok());
  ASSERT_EQ(engine.Put("a", 2), 2U);
  host.gpus()[0]->Hang(true);
  const auto results =
      engine->Get(engine.space(), GpuEngine::ChainOf("a", 2), engine.Blocks(2), {}, In(2s));
  ASSERT_TRUE(results.ok());
  for (const BlockResult& block : *results) EXPECT_EQ(block.status, StatusCode::kInDoubt);
  const MemoryPiece all{.region = engine.region(), .offset = 0, .length = engine.memory().size()};
  EXPECT_EQ(engine->Fence({&all, 1}, In(50ms)).code(), StatusCode::kTimeout);
  EXPECT_EQ(engine->DeregisterMemory(engine.region()).code(), StatusCode::kRetry);
  EXPECT_GT(host.Served(&ServerCounters::quarantined), 0U);
  host.gpus()[0]->Hang(false);
  EXPECT_TRUE(engine->Fence({&all, 1}, GpuEngine::Soon()).ok());
  EXPECT_TRUE(engine->Quiesce(engine.region(), GpuEngine::Soon()).ok());
  EXPECT_EQ(engine.GetRight("a", 2), 2U);
}

TEST(DeviceMemory, CHasTheSameCall) {
  const GpuHost host({});
  GpuEngine engine(host.port());
  const std::string address = "127.0.0.1:" + std::to_string(host.port());
  terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
  options.address = address.c_str();
  terrace_client client = 0;
  terrace_error error;
  ASSERT_EQ(terrace_connect(&options, &client, &error), TERRACE_OK) << error.message;
  terrace_region region = 0;
  EXPECT_EQ(terrace_register_device_memory(client, engine.memory().data(), engine.memory().size(),
                                           terrace_in_ms(20'000), nullptr, &error),
            TERRACE_INVALID);
  ASSERT_EQ(terrace_register_device_memory(client, engine.memory().data(), engine.memory().size(),
                                           terrace_in_ms(20'000), &region, &error),
            TERRACE_OK)
      << error.message;
  EXPECT_EQ(host.Mapped(), 2U);
  EXPECT_EQ(terrace_deregister_memory(client, region, &error), TERRACE_OK) << error.message;
  EXPECT_EQ(host.Mapped(), 0U);
  EXPECT_EQ(terrace_close(client, &error), TERRACE_OK);
}

TEST(DeviceMemory, MemoryOfADeadClientStaysMappedWhileAGpuThatHangsMayWriteIt) {
  const GpuHost host({.reactors = 1});
  {
    GpuEngine engine(host.port());
    ASSERT_TRUE(engine.Register().ok());
    ASSERT_EQ(engine.Put("a", 1), 1U);
    host.gpus()[0]->Hang(true);
    const std::uint64_t before = host.Submitted();
    ASSERT_TRUE(engine
                    ->SubmitGet(engine.space(), GpuEngine::ChainOf("a", 1), engine.Blocks(1), {},
                                GpuEngine::Soon())
                    .ok());
    ASSERT_TRUE(host.Await([&] { return host.Submitted() > before; }));
  }
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(host.Mapped(), 1U);
  host.gpus()[0]->Hang(false);
  EXPECT_TRUE(host.Await([&] { return host.Mapped() == 0; }));
}

}  // namespace
}  // namespace terrace
