// What every DeviceMemory promises: run on the double everywhere, and on CUDA where there is a GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/tiers/hbm/device_memory_fixture.h"

namespace terrace {
namespace {

constexpr std::byte kGuard{0xa5};
constexpr std::size_t kGuardBytes = 64;
constexpr CopyUrgency kDemand = CopyUrgency::kDemand;
constexpr CopyUrgency kBackground = CopyUrgency::kBackground;

bool AllGuard(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == kGuard; });
}

/// In and out again at a place with guards before and behind it, on both sides.
Task<void> ThereAndBack(DeviceMemory* memory, DeviceAddress pool, std::span<std::byte> host,
                        std::size_t bytes, std::size_t shift) {
  const std::size_t around = bytes + 2 * kGuardBytes + shift;
  const auto source = host.first(bytes);
  const auto poison = host.subspan(bytes + 64, around);
  const auto back = host.subspan(bytes + 64 + around, around);
  FillRandom(source, bytes);
  std::ranges::fill(poison, kGuard);
  std::ranges::fill(back, kGuard);
  EXPECT_TRUE((co_await memory->CopyIn(pool, poison, {}, kBackground)).ok());
  const DeviceAddress place = pool + kGuardBytes + shift;
  std::vector<std::uint64_t> checksums(ChecksumPieceCount(bytes));
  Status status = co_await memory->CopyIn(place, source, checksums, kDemand);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(checksums, HostChecksums(source)) << "in: " << bytes << " bytes at " << shift;
  std::ranges::fill(checksums, 0);
  const auto inner = back.subspan(kGuardBytes + shift, bytes);
  status = co_await memory->CopyOut(inner, place, checksums, kDemand);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(checksums, HostChecksums(source)) << "out: " << bytes << " bytes at " << shift;
  EXPECT_TRUE(std::ranges::equal(inner, source)) << bytes << " bytes at " << shift;
  EXPECT_TRUE(AllGuard(back.first(kGuardBytes + shift))) << bytes << " bytes at " << shift;
  EXPECT_TRUE(AllGuard(back.last(kGuardBytes))) << bytes << " bytes at " << shift;
  status = co_await memory->CopyOut(back, pool, {}, kBackground);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(std::ranges::equal(inner, source)) << bytes << " bytes at " << shift;
  EXPECT_TRUE(AllGuard(back.first(kGuardBytes + shift))) << "on the device, before " << bytes;
  EXPECT_TRUE(AllGuard(back.last(kGuardBytes))) << "on the device, behind " << bytes;
}

Task<void> ThereAndBackInSizes(DeviceMemory* memory, DeviceAddress pool,
                               std::span<std::byte> host) {
  for (const std::size_t bytes :
       {0UL, 1UL, 15UL, 16UL, 240UL, 241UL, 1024UL, 4097UL, 65536UL, (256UL << 10) - 1, 256UL << 10,
        (256UL << 10) + 1, (1UL << 20) + 3, 5UL << 20}) {
    for (const std::size_t shift : {0UL, 1UL, 16UL}) {
      co_await ThereAndBack(memory, pool, host, bytes, shift);
    }
  }
}

TEST_P(DeviceMemoryTest, WhatComesBackIsNotOtherBytesAndNothingBesideItChanges) {
  Run(ThereAndBackInSizes(memory_.get(), pool_, host_.all()));
}

TEST_P(DeviceMemoryTest, ALoopThatSleepsAtOnceIsNotLeftSleeping) {
  for (const bool uring : {true, false}) {
    Run(ThereAndBackInSizes(memory_.get(), pool_, host_.all()),
        {.spin_expecting = 0, .use_io_uring = uring});
  }
}

Task<void> HashOne(DeviceMemory* memory, DeviceAddress from, std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> checksums(ChecksumPieceCount(bytes.size()));
  const Status status = co_await memory->Checksum(from, bytes.size(), checksums, kDemand);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(checksums, HostChecksums(bytes)) << bytes.size() << " bytes";
}

Task<void> HashEveryLength(DeviceMemory* memory, DeviceAddress pool, std::span<std::byte> host) {
  constexpr std::size_t kBytes = 2 << 20;
  FillRandom(host.first(kBytes), 5);
  EXPECT_TRUE((co_await memory->CopyIn(pool, host.first(kBytes), {}, kDemand)).ok());
  TaskScope scope;
  for (std::size_t bytes = 0; bytes <= 2200; ++bytes) {
    const std::size_t at = bytes * 48;
    scope.Spawn(HashOne(memory, pool + at, host.subspan(at, bytes)));
    scope.Spawn(HashOne(memory, pool + at + 5, host.subspan(at + 5, bytes)));
  }
  SeededRandom random(6);
  for (int round = 0; round < 400; ++round) {
    const std::size_t bytes = random.Below(600 << 10);
    const std::size_t at = random.Below(kBytes - bytes) / 16 * 16;
    scope.Spawn(HashOne(memory, pool + at, host.subspan(at, bytes)));
  }
  for (std::size_t tail = 0; tail < 200; ++tail) {  // ends around 1 KiB and a whole piece
    for (const std::size_t near : {kChecksumPieceBytes, std::size_t{32} << 10}) {
      scope.Spawn(HashOne(memory, pool, host.first(near - 100 + tail)));
    }
  }
  co_await scope.Join();
}

TEST_P(DeviceMemoryTest, NoLengthHasAnotherChecksumThanOnTheHost) {
  Run(HashEveryLength(memory_.get(), pool_, host_.all()));
}

Task<void> CopyOneWithin(DeviceMemory* memory, DeviceAddress to, DeviceAddress from,
                         std::span<const std::byte> expected, std::span<std::byte> back,
                         bool hashed) {
  std::vector<std::uint64_t> checksums(hashed ? ChecksumPieceCount(expected.size()) : 0);
  Status status = co_await memory->CopyWithin(to, from, expected.size(), checksums, kBackground);
  EXPECT_TRUE(status.ok()) << status.ToString();
  if (hashed) EXPECT_EQ(checksums, HostChecksums(expected));
  status = co_await memory->CopyOut(back, to, {}, kDemand);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(std::ranges::equal(back, expected)) << expected.size() << " bytes";
}

Task<void> CopyWithinSizes(DeviceMemory* memory, DeviceAddress pool, std::span<std::byte> host) {
  constexpr std::size_t kHalf = 8 << 20;
  const auto source = host.first(kHalf);
  FillRandom(source, 7);
  const auto poison = host.subspan(kHalf, kHalf);
  std::ranges::fill(poison, kGuard);
  EXPECT_TRUE((co_await memory->CopyIn(pool, source, {}, kDemand)).ok());
  EXPECT_TRUE((co_await memory->CopyIn(pool + kHalf, poison, {}, kDemand)).ok());
  const auto back = host.subspan(2 * kHalf, kHalf);
  TaskScope scope;
  std::size_t at = 0;
  std::vector<std::pair<std::size_t, std::size_t>> gaps;
  const auto start = [&](std::size_t bytes, std::size_t shift, bool hashed) {
    scope.Spawn(CopyOneWithin(memory, pool + kHalf + at + shift, pool + at,
                              source.subspan(at, bytes), back.subspan(at + shift, bytes), hashed));
    gaps.emplace_back(at + shift + bytes, 16);
    at += (bytes + shift + 16 + 15) / 16 * 16;
  };
  for (const std::size_t bytes : {1UL, 15UL, 16UL, 63UL, 64UL, 65UL, 240UL, 241UL, 256UL, 1023UL,
                                  1024UL, 1025UL, 8191UL, 33000UL, 262144UL, 262145UL, 700001UL}) {
    for (const bool hashed : {true, false}) {
      for (const std::size_t shift : {0UL, 3UL}) start(bytes, shift, hashed);
    }
  }
  co_await scope.Join();
  EXPECT_TRUE((co_await memory->CopyOut(back, pool + kHalf, {}, kDemand)).ok());
  for (const auto& [from, bytes] : gaps) {
    EXPECT_TRUE(AllGuard(back.subspan(from, bytes))) << "written behind its end, at " << from;
  }
}

TEST_P(DeviceMemoryTest, ACopyWithinTheDeviceIsNeitherWrongNorLongerThanAsked) {
  Run(CopyWithinSizes(memory_.get(), pool_, host_.all()));
}

/// One block's story among many: in, elsewhere, out, each time verified.
Task<void> OneOfMany(DeviceMemory* memory, DeviceAddress place, DeviceAddress other,
                     std::span<std::byte> source, std::span<std::byte> back, std::size_t number,
                     int rounds) {
  const CopyUrgency urgency = number % 2 == 0 ? kDemand : kBackground;
  std::vector<std::uint64_t> checksums(ChecksumPieceCount(source.size()));
  for (int round = 0; round < rounds; ++round) {
    FillRandom(source, number * 100 + static_cast<std::size_t>(round));
    const auto expected = HostChecksums(source);
    Status status = co_await memory->CopyIn(place, source, checksums, urgency);
    EXPECT_TRUE(status.ok() && checksums == expected) << status.ToString();
    status = co_await memory->CopyWithin(other, place, source.size(), checksums, urgency);
    EXPECT_TRUE(status.ok() && checksums == expected) << status.ToString();
    std::ranges::fill(back, kGuard);
    status = co_await memory->CopyOut(back, other, checksums, urgency);
    EXPECT_TRUE(status.ok() && checksums == expected) << status.ToString();
    EXPECT_TRUE(std::ranges::equal(source, back)) << "block " << number << " round " << round;
  }
}

Task<void> ManyAtOnce(DeviceMemory* memory, DeviceAddress pool, std::span<std::byte> host) {
  constexpr std::size_t kCount = 80;  // more than batches in flight hold
  constexpr std::size_t kStride = 150 << 10;
  TaskScope scope;
  for (std::size_t i = 0; i < kCount; ++i) {
    const std::size_t bytes = kStride - 64 - i * 1000;
    scope.Spawn(OneOfMany(memory, pool + i * kStride, pool + (kCount + i) * kStride,
                          host.subspan(i * kStride, bytes),
                          host.subspan((kCount + i) * kStride, bytes), i, 3));
  }
  co_await scope.Join();
  // Nobody wrote between the blocks.
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto gap = host.subspan(i * kStride + kStride - 64, 64);
    std::ranges::fill(gap, std::byte{});
    EXPECT_TRUE(
        (co_await memory->CopyOut(gap, pool + i * kStride + kStride - 64, {}, kDemand)).ok());
    EXPECT_TRUE(AllGuard(gap)) << "behind block " << i;
  }
}

Task<void> ManyInGuards(DeviceMemory* memory, DeviceAddress pool, std::span<std::byte> host,
                        std::size_t pool_bytes) {
  const auto poison = host.first(pool_bytes);
  std::ranges::fill(poison, kGuard);
  EXPECT_TRUE((co_await memory->CopyIn(pool, poison, {}, kDemand)).ok());
  co_await ManyAtOnce(memory, pool, host);
}

TEST_P(DeviceMemoryTest, CopiesAllWaysAtOnceDoNotMixUpTheirBytesOrChecksums) {
  Run(ManyInGuards(memory_.get(), pool_, host_.all(), kPoolBytes));
}

Task<void> SpoilOnePiece(DeviceMemory* memory, DeviceAddress pool, std::span<std::byte> host) {
  constexpr std::size_t kBytes = 4 * kChecksumPieceBytes;
  const auto block = host.first(kBytes);
  FillRandom(block, 9);
  std::vector<std::uint64_t> stored(4);
  EXPECT_TRUE((co_await memory->CopyIn(pool, block, stored, kDemand)).ok());
  const auto flipped = host.subspan(kBytes, 1);
  flipped[0] = block[2 * kChecksumPieceBytes + 777] ^ std::byte{1};
  EXPECT_TRUE(
      (co_await memory->CopyIn(pool + 2 * kChecksumPieceBytes + 777, flipped, {}, kDemand)).ok());
  std::vector<std::uint64_t> now(4);
  EXPECT_TRUE((co_await memory->Checksum(pool, kBytes, now, kDemand)).ok());
  for (const std::size_t piece : {0UL, 1UL, 3UL}) EXPECT_EQ(now[piece], stored[piece]);
  EXPECT_NE(now[2], stored[2]);
}

TEST_P(DeviceMemoryTest, OneWrongBitDoesNotGoUnseen) {
  Run(SpoilOnePiece(memory_.get(), pool_, host_.all()));
}

TEST_P(DeviceMemoryTest, AskingForMoreThanThereIsSaysHowMuchIsFree) {
  const auto refused = memory_->Allocate(memory_->total_bytes() * 2);
  EXPECT_EQ(refused.code(), StatusCode::kRetry);
  EXPECT_THAT(refused.status().message(), testing::HasSubstr("free"));
  EXPECT_THAT(refused.status().message(), testing::HasSubstr(memory_->name()));
  EXPECT_EQ(memory_->Allocate(0).code(), StatusCode::kInvalid);
  EXPECT_TRUE(memory_->State().ok()) << "no memory is not the end of the device";
  const auto small = memory_->Allocate(4096);
  ASSERT_TRUE(small.ok()) << small.status().ToString();
  memory_->Free(small.value());
}

Task<void> WrongCounts(DeviceMemory* memory, DeviceAddress pool, std::span<std::byte> host) {
  std::vector<std::uint64_t> checksums(3);
  const auto block = host.first(2 * kChecksumPieceBytes);
  EXPECT_EQ((co_await memory->CopyIn(pool, block, checksums, kDemand)).code(),
            StatusCode::kInvalid);
  EXPECT_EQ((co_await memory->CopyOut(block, pool, checksums, kDemand)).code(),
            StatusCode::kInvalid);
}

TEST_P(DeviceMemoryTest, AWrongNumberOfChecksumsIsNotWrittenPastTheirEnd) {
  Run(WrongCounts(memory_.get(), pool_, host_.all()));
}

Task<void> FromAnyMemory(DeviceMemory* memory, DeviceAddress pool) {
  std::vector<std::byte> source(300000);
  FillRandom(source, 10);
  std::vector<std::byte> back(source.size());
  std::vector<std::uint64_t> checksums(2);
  EXPECT_TRUE((co_await memory->CopyIn(pool, source, checksums, kDemand)).ok());
  EXPECT_EQ(checksums, HostChecksums(source));
  EXPECT_TRUE((co_await memory->CopyOut(back, pool, {}, kDemand)).ok());
  EXPECT_EQ(source, back);
}

TEST_P(DeviceMemoryTest, HostMemoryThatNobodyPinnedIsCopiedToo) {
  Run(FromAnyMemory(memory_.get(), pool_));
}

TEST_P(DeviceMemoryTest, HostMemoryIsNotPinnedTwice) {
  const HostPages more(1 << 20);
  ASSERT_TRUE(memory_->RegisterHost(more.all()).ok());
  const Status overlapping = memory_->RegisterHost(more.part(4096, 8192));
  EXPECT_EQ(overlapping.code(), StatusCode::kInvalid) << overlapping.ToString();
  memory_->DeregisterHost(more.all());
  ASSERT_TRUE(memory_->RegisterHost(more.all()).ok()) << "and again after it was let go";
  memory_->DeregisterHost(more.all());
}

TEST_P(DeviceMemoryTest, NothingUnderWayCostsNoTurns) {
  EXPECT_FALSE(memory_->poller().Expecting());
  EXPECT_TRUE(memory_->poller().Arm());
  EXPECT_EQ(memory_->poller().Poll(), 0U);
  Run(FromAnyMemory(memory_.get(), pool_));
  EXPECT_FALSE(memory_->poller().Expecting());
  EXPECT_TRUE(memory_->poller().Arm());
}

}  // namespace
}  // namespace terrace
