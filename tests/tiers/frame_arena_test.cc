// The arena with its memory: bytes, headers, pins, limits.
#include "tiers/dram/frame_arena.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"

namespace terrace {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

std::unique_ptr<FrameArena> MakeArena(std::uint64_t capacity, bool huge_pages = true) {
  auto arena =
      FrameArena::Create({.capacity_bytes = capacity, .huge_pages = huge_pages, .name = "test"});
  EXPECT_TRUE(arena.ok()) << arena.status().ToString();
  return arena.ok() ? std::move(arena).value() : nullptr;
}

void Fill(std::span<std::byte> bytes, std::uint64_t seed) {
  SeededRandom random(seed);
  // First, last and a few words between: enough to see any overlap of frames, and quick.
  for (std::size_t at = 0; at + 8 < bytes.size(); at += 1016) {
    const std::uint64_t word = random.Next();
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
  bytes.back() = static_cast<std::byte>(random.Next());
}

bool Holds(std::span<const std::byte> bytes, std::uint64_t seed) {
  SeededRandom random(seed);
  for (std::size_t at = 0; at + 8 < bytes.size(); at += 1016) {
    const std::uint64_t word = random.Next();
    if (std::memcmp(bytes.data() + at, &word, sizeof word) != 0) return false;
  }
  return bytes.back() == static_cast<std::byte>(random.Next());
}

TEST(FrameArenaTest, CapacityIsRoundedDownTo2MiBAndRefusedBelow) {
  EXPECT_EQ(FrameArena::Create({.capacity_bytes = 2 * kMiB - 1}).code(), StatusCode::kInvalid);
  EXPECT_EQ(FrameArena::Create({.capacity_bytes = 0}).code(), StatusCode::kInvalid);
  EXPECT_EQ(FrameArena::Create({.capacity_bytes = ~0ULL}).code(), StatusCode::kInvalid);
  const auto arena = MakeArena(5 * kMiB);
  EXPECT_EQ(arena->Stats().capacity_bytes, 4 * kMiB);
  EXPECT_EQ(arena->BlockBytesMax(), 2 * kMiB);
}

TEST(FrameArenaTest, MoreMemoryThanThereIsIsRefusedNotKilled) {
  const auto arena = FrameArena::Create({.capacity_bytes = 1ULL << 40, .name = "huge"});
  ASSERT_FALSE(arena.ok());
  EXPECT_EQ(arena.code(), StatusCode::kIo);
  EXPECT_NE(arena.status().message().find("available"), std::string::npos);
}

TEST(FrameArenaTest, MissingDescriptorsAreNamed) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 12;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto arena = FrameArena::Create({.capacity_bytes = 64 * kMiB});
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(arena.ok());
  EXPECT_EQ(arena.code(), StatusCode::kIo);
  EXPECT_NE(arena.status().message().find("memfd_create"), std::string::npos);
}

TEST(FrameArenaTest, BlocksTooLargeOrEmptyAreInvalid) {
  const auto arena = MakeArena(64 * kMiB);
  EXPECT_EQ(arena->BlockBytesMax(), 4 * kMiB);
  EXPECT_EQ(arena->Allocate(1, 0).code(), StatusCode::kInvalid);
  EXPECT_EQ(arena->Allocate(1, 4 * kMiB + 1).code(), StatusCode::kInvalid);
  EXPECT_TRUE(arena->Allocate(1, 4 * kMiB).ok());
  EXPECT_TRUE(arena->Allocate(1, 1).ok());
}

TEST(FrameArenaTest, FreshFrameHasACleanHeaderEvenWhenUsedBefore) {
  const auto arena = MakeArena(2 * kMiB);
  const FrameId frame = arena->Allocate(3, 100'000).value();
  FrameHeader& header = arena->Header(frame);
  header.namespace_id = 9;
  header.key_bytes = 64;
  std::fill(std::begin(header.key), std::end(header.key), std::byte{0xff});
  EXPECT_EQ(arena->Payload(frame).size(), 100'000U);
  EXPECT_EQ(arena->Checksums(frame).size(), 1U);
  arena->Free(frame);
  const FrameId again = arena->Allocate(4, 99'000).value();
  EXPECT_EQ(again, frame);
  EXPECT_EQ(arena->Header(again).namespace_id, 0U);
  EXPECT_EQ(arena->Header(again).key_bytes, 0U);
  EXPECT_EQ(arena->Header(again).key[63], std::byte{0});
  EXPECT_EQ(arena->Header(again).tenant, 4U);
  EXPECT_EQ(arena->Header(again).block_bytes, 99'000U);
  EXPECT_EQ(arena->Header(again).pins, 0U);
}

struct Held {
  TenantId tenant;
  std::uint64_t bytes;
  std::uint64_t seed;
};

void CheckAndFree(FrameArena& arena, std::map<FrameId, Held>& held, FrameId frame) {
  const auto at = held.find(frame);
  ASSERT_NE(at, held.end());
  const Held& expected = at->second;
  ASSERT_TRUE(Holds(arena.Payload(frame), expected.seed)) << "payload of frame " << frame;
  ASSERT_EQ(arena.Header(frame).block_bytes, expected.bytes);
  ASSERT_EQ(arena.Header(frame).tenant, expected.tenant);
  ASSERT_EQ(arena.Header(frame).block_id, frame ^ expected.tenant);
  for (const std::uint64_t checksum : arena.Checksums(frame)) ASSERT_EQ(checksum, expected.seed);
  arena.Free(frame);
  held.erase(at);
}

TEST(FrameArenaTest, BytesHeadersAndChecksumsStayIntactUnderRandomUse) {
  for (const bool huge_pages : {true, false}) {
    const std::uint64_t seed = huge_pages ? 11 : 12;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    const auto arena = MakeArena(66 * kMiB, huge_pages);
    std::map<FrameId, Held> held;
    const std::vector<std::uint64_t> sizes = {4096,    5000,        65536,       131072,
                                              300'000, kMiB + 4096, 3 * kMiB + 1};
    for (int step = 0; step < 4000; ++step) {
      const Held wanted = {static_cast<TenantId>(random.Between(1, 3)),
                           sizes[random.Below(sizes.size())], random.Next()};
      auto frame = arena->Allocate(wanted.tenant, wanted.bytes);
      for (int tries = 0; frame.code() == StatusCode::kRetry; ++tries) {
        ASSERT_LT(tries, 100);
        auto victim = held.lower_bound(static_cast<FrameId>(random.Below(66 * 256)));
        if (victim == held.end()) victim = held.begin();
        for (const FrameId other :
             arena->FramesInTheWay(victim->first, wanted.tenant, wanted.bytes)) {
          ASSERT_NO_FATAL_FAILURE(CheckAndFree(*arena, held, other));
        }
        frame = arena->Allocate(wanted.tenant, wanted.bytes);
      }
      ASSERT_TRUE(frame.ok()) << frame.status().ToString();
      Fill(arena->Payload(*frame), wanted.seed);
      arena->Header(*frame).block_id = *frame ^ wanted.tenant;
      for (std::uint64_t& checksum : arena->Checksums(*frame)) checksum = wanted.seed;
      arena->PrefetchHeader(*frame);
      held[*frame] = wanted;
    }
    std::uint64_t payload = 0;
    for (const auto& [frame, block] : held) payload += block.bytes;
    EXPECT_EQ(arena->Stats().payload_bytes, payload);
    EXPECT_EQ(arena->Stats().frames, held.size());
    EXPECT_GE(arena->Stats().used_bytes, payload);
    while (!held.empty()) {
      ASSERT_NO_FATAL_FAILURE(CheckAndFree(*arena, held, held.begin()->first));
    }
    EXPECT_EQ(arena->Stats().used_bytes, 0U);
    EXPECT_EQ(arena->Stats().extents_free, arena->Stats().extents);
  }
}

TEST(FrameArenaTest, PinsKeepTheFrameAndTheLastOneTellsTheOwner) {
  const auto arena = MakeArena(2 * kMiB);
  std::vector<FrameId> unpinned;
  arena->OnUnpinned([&](FrameId frame) { unpinned.push_back(frame); });
  const FrameId frame = arena->Allocate(1, 65536).value();
  Hold first = arena->Pin(frame);
  EXPECT_EQ(first.bytes().data(), arena->Payload(frame).data());
  {
    const Hold second = arena->Pin(frame);
    const Hold moved = std::move(first);
    EXPECT_EQ(arena->Header(frame).pins, 2U);
    EXPECT_TRUE(unpinned.empty());
  }
  EXPECT_EQ(arena->Header(frame).pins, 0U);
  EXPECT_EQ(unpinned, std::vector<FrameId>{frame});
  first = Hold();
  EXPECT_EQ(unpinned.size(), 1U);
}

TEST(FrameArenaTest, OwnerMayFreeADoomedFrameWhenItsLastPinGoes) {
  const auto arena = MakeArena(2 * kMiB);
  FrameArena* const raw = arena.get();
  arena->OnUnpinned([raw](FrameId frame) { raw->Free(frame); });
  {
    const Hold hold = arena->Pin(arena->Allocate(1, 65536).value());
  }
  EXPECT_EQ(arena->Stats().frames, 0U);
}

TEST(FrameArenaDeathTest, FreeingAPinnedFrameAborts) {
  const auto arena = MakeArena(2 * kMiB);
  const FrameId frame = arena->Allocate(1, 65536).value();
  const Hold hold = arena->Pin(frame);
  EXPECT_DEATH(arena->Free(frame), "pins == 0");
}

TEST(FrameArenaTest, TinyArenaHoldsItsCapacityInBlocks) {
  const auto arena = MakeArena(2 * kMiB);
  int blocks = 0;
  while (arena->Allocate(1, 65536).ok()) ++blocks;
  EXPECT_EQ(blocks, 32);
  EXPECT_EQ(arena->Allocate(1, 65536).code(), StatusCode::kRetry);
}

TEST(FrameArenaTest, LargestBlocksFitWhereExtentsAreLargeEnough) {
  const auto arena = MakeArena(256 * kMiB);  // extents of 16 MiB
  EXPECT_EQ(arena->BlockBytesMax(), 16 * kMiB);
  int blocks = 0;
  while (arena->Allocate(1, 16 * kMiB).ok()) ++blocks;
  EXPECT_EQ(blocks, 16);
}

TEST(FrameArenaTest, StatsMayBeReadByAnotherThread) {
  const auto arena = MakeArena(4 * kMiB);
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) EXPECT_LE(arena->Stats().used_bytes, 4 * kMiB);
  });
  for (int i = 0; i < 2000; ++i) {
    const FrameId frame = arena->Allocate(1, 65536).value();
    arena->Free(frame);
  }
  arena->MeasureHugePages();
  stop = true;
  reader.join();
}

TEST(FrameArenaTest, MeasuresMemoryOfThisArena) {
  const auto arena = MakeArena(32 * kMiB);
  arena->MeasureHugePages();
  const ArenaStats stats = arena->Stats();
  EXPECT_LE(stats.huge_bytes, stats.capacity_bytes);
  EXPECT_GE(stats.header_bytes, 4096U);
  EXPECT_LE(stats.header_bytes, stats.capacity_bytes / 32);
}

}  // namespace
}  // namespace terrace
