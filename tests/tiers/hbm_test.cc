// What every DeviceMemory keeps, on the double everywhere and on GPU 0 where there is one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"
#include "tests/base/simulated_time.h"
#include "tiers/hbm/copy_engine.h"
#include "tiers/hbm/gpu.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace {
namespace {

constexpr std::size_t kHostBytes = 16 << 20;
constexpr std::size_t kPoolBytes = 16 << 20;

enum class Kind { kDouble, kGpu };

class DeviceMemoryTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() == Kind::kDouble) {
      device_ = std::make_unique<HostDeviceMemory>();
    } else {
      auto gpu = OpenGpu(0);
      if (gpu.code() == StatusCode::kUnsupported) GTEST_SKIP() << gpu.status().ToString();
      ASSERT_TRUE(gpu.ok()) << gpu.status().ToString();
      device_ = std::move(*gpu);
    }
    // Whole pages, as an arena has them.
    host_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, kHostBytes)));
    ASSERT_NE(host_, nullptr);
    SeededRandom random(7);
    for (std::size_t i = 0; i < kHostBytes; i += 8) {
      const std::uint64_t word = random.Next();
      std::memcpy(&host_.get()[i], &word, 8);
    }
    ASSERT_TRUE(device_->PinHost(Host()).ok());
    auto pool = device_->Allocate(kPoolBytes);
    ASSERT_TRUE(pool.ok()) << pool.status().ToString();
    pool_ = *pool;
    engine_ = std::make_unique<CopyEngine>(*device_);
  }

  void TearDown() override {
    if (engine_ == nullptr) return;
    time_.Run(engine_->Drain());
    engine_.reset();
    EXPECT_TRUE(device_->Free(pool_).ok());
    EXPECT_TRUE(device_->UnpinHost(Host()).ok());
  }

  [[nodiscard]] std::span<std::byte> Host() const { return {host_.get(), kHostBytes}; }
  Status Run(const CopyRequest& request) { return time_.Run(engine_->Run(request)); }
  Status CopyOne(CopyDirection direction, std::byte* to, const std::byte* from, std::size_t bytes) {
    const DeviceCopy copy = {.to = to, .from = from, .bytes = bytes};
    return Run({.direction = direction,
                .urgency = CopyUrgency::kDemand,
                .copies = {&copy, 1},
                .pieces = {},
                .checksums = {}});
  }

  struct FreeHost {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  testing::SimulatedTime time_;
  std::unique_ptr<DeviceMemory> device_;
  std::unique_ptr<std::byte, FreeHost> host_;
  std::byte* pool_ = nullptr;
  std::unique_ptr<CopyEngine> engine_;
};

TEST_P(DeviceMemoryTest, BytesThatWentInAndAcrossComeOutAsTheyWere) {
  for (const std::size_t bytes : {1UL, 4096UL, 100'001UL, 4UL << 20}) {
    std::byte* const back = &host_.get()[8 << 20];
    std::fill_n(back, bytes, std::byte{0});
    ASSERT_TRUE(CopyOne(CopyDirection::kIn, pool_, host_.get(), bytes).ok());
    ASSERT_TRUE(CopyOne(CopyDirection::kWithin, pool_ + (8 << 20), pool_, bytes).ok());
    ASSERT_TRUE(CopyOne(CopyDirection::kOut, back, pool_ + (8 << 20), bytes).ok());
    ASSERT_TRUE(std::equal(back, back + bytes, host_.get())) << bytes << " bytes";
  }
}

TEST_P(DeviceMemoryTest, AChecksumOfTheDeviceIsTheHostsAtEveryLength) {
  ASSERT_TRUE(CopyOne(CopyDirection::kIn, pool_, host_.get(), kPoolBytes).ok());
  std::vector<DevicePiece> pieces;
  const auto add = [&](std::size_t offset, std::size_t bytes) {
    pieces.push_back({.at = pool_ + offset, .bytes = static_cast<std::uint32_t>(bytes)});
  };
  for (std::size_t bytes = 0; bytes <= 3200; ++bytes) add(16 * bytes, bytes);
  for (std::size_t back = 0; back <= 1100; back += 31) add(1 << 20, kChecksumPieceBytes - back);
  SeededRandom random(11);
  for (int i = 0; i < 200; ++i) {
    add(16 * random.Below(1 << 16), random.Below(kChecksumPieceBytes + 1));
  }
  std::vector<std::uint64_t> checksums(pieces.size());
  for (std::size_t first = 0; first < pieces.size(); first += CopyRequest::kPiecesMax) {
    const std::size_t count = std::min(CopyRequest::kPiecesMax, pieces.size() - first);
    const Status status = Run({.direction = CopyDirection::kWithin,
                               .urgency = CopyUrgency::kDemand,
                               .copies = {},
                               .pieces = std::span(pieces).subspan(first, count),
                               .checksums = std::span(checksums).subspan(first, count)});
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto offset = static_cast<std::size_t>(pieces[i].at - pool_);
    ASSERT_EQ(checksums[i], Checksum64(Host().subspan(offset, pieces[i].bytes)))
        << pieces[i].bytes << " bytes at " << offset;
  }
}

TEST_P(DeviceMemoryTest, CopiesWithinThatAreSummedCopyEveryByteAndNoMore) {
  // Those of one kernel: a copy's pieces are all that it writes.
  constexpr std::size_t kTo = 8 << 20;
  std::byte* const back = &host_.get()[kTo];
  ASSERT_TRUE(CopyOne(CopyDirection::kIn, pool_, host_.get(), kTo).ok());
  for (const std::size_t bytes :
       {1UL, 240UL, 241UL, 1025UL, 33'000UL, kChecksumPieceBytes, 300'001UL, 4UL << 20}) {
    std::fill_n(back, bytes + 1, std::byte{0});
    ASSERT_TRUE(CopyOne(CopyDirection::kIn, pool_ + kTo, back, bytes + 1).ok());
    const DeviceCopy copy = {.to = pool_ + kTo, .from = pool_ + 4096, .bytes = bytes};
    std::vector<DevicePiece> pieces;
    for (std::size_t at = 0; at < bytes; at += kChecksumPieceBytes) {
      pieces.push_back(
          {.at = copy.to + at,
           .bytes = static_cast<std::uint32_t>(std::min(kChecksumPieceBytes, bytes - at))});
    }
    std::vector<std::uint64_t> checksums(pieces.size());
    ASSERT_TRUE(Run({.direction = CopyDirection::kWithin,
                     .urgency = CopyUrgency::kDemand,
                     .copies = {&copy, 1},
                     .pieces = pieces,
                     .checksums = checksums})
                    .ok());
    ASSERT_TRUE(CopyOne(CopyDirection::kOut, back, pool_ + kTo, bytes + 1).ok());
    EXPECT_TRUE(VerifyBlock({back, bytes}, checksums)) << bytes << " bytes";
    EXPECT_TRUE(std::equal(back, back + bytes, host_.get() + 4096)) << bytes << " bytes";
    EXPECT_EQ(back[bytes], std::byte{0}) << "behind " << bytes << " bytes";
  }
}

TEST_P(DeviceMemoryTest, AShortPieceIsSummedWhereverItLies) {
  ASSERT_TRUE(CopyOne(CopyDirection::kIn, pool_, host_.get(), 1 << 20).ok());
  std::vector<DevicePiece> pieces;
  for (std::uint32_t at = 1; at < 200; ++at) pieces.push_back({.at = pool_ + at, .bytes = at});
  std::vector<std::uint64_t> checksums(pieces.size());
  const Status status = Run({.direction = CopyDirection::kWithin,
                             .urgency = CopyUrgency::kDemand,
                             .copies = {},
                             .pieces = pieces,
                             .checksums = checksums});
  ASSERT_TRUE(status.ok()) << status.ToString();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    ASSERT_EQ(checksums[i], Checksum64(Host().subspan(i + 1, i + 1))) << i + 1;
  }
}

Task<void> MoveBlock(CopyEngine* engine, std::byte* to, const std::byte* from, std::size_t bytes,
                     CopyDirection direction, CopyUrgency urgency, std::size_t* wrong) {
  const DeviceCopy copy = {.to = to, .from = from, .bytes = bytes};
  std::byte* const device = direction == CopyDirection::kIn ? to : const_cast<std::byte*>(from);
  std::byte* const host = direction == CopyDirection::kIn ? const_cast<std::byte*>(from) : to;
  std::vector<DevicePiece> pieces;
  for (std::size_t at = 0; at < bytes; at += kChecksumPieceBytes) {
    pieces.push_back(
        {.at = device + at,
         .bytes = static_cast<std::uint32_t>(std::min(kChecksumPieceBytes, bytes - at))});
  }
  std::vector<std::uint64_t> checksums(pieces.size());
  const Status status = co_await engine->Run({.direction = direction,
                                              .urgency = urgency,
                                              .copies = {&copy, 1},
                                              .pieces = pieces,
                                              .checksums = checksums});
  if (!status.ok() || !VerifyBlock({host, bytes}, checksums)) ++*wrong;
}

TEST_P(DeviceMemoryTest, ManyBlocksAtOnceInBothDirectionsKeepTheirChecksums) {
  // The first half of the pool is filled while the second, filled before, is read back.
  constexpr std::size_t kBlock = 300'032;  // two pieces, the second short
  constexpr std::size_t kHalf = kPoolBytes / 2;
  ASSERT_TRUE(CopyOne(CopyDirection::kIn, pool_ + kHalf, host_.get(), kHalf).ok());
  std::size_t wrong = 0;
  std::size_t blocks = 0;
  TaskScope scope;
  for (std::size_t at = 0; at + kBlock <= kHalf; at += kBlock, ++blocks) {
    const auto urgency = blocks % 3 == 0 ? CopyUrgency::kDemand : CopyUrgency::kBackground;
    scope.Spawn(MoveBlock(engine_.get(), pool_ + at, &host_.get()[at], kBlock, CopyDirection::kIn,
                          urgency, &wrong));
    scope.Spawn(MoveBlock(engine_.get(), &host_.get()[kHalf + at], pool_ + kHalf + at, kBlock,
                          CopyDirection::kOut, urgency, &wrong));
  }
  time_.Run([](TaskScope* all) -> Task<void> { co_await all->Join(); }(&scope));
  EXPECT_EQ(wrong, 0U);
  EXPECT_TRUE(std::equal(host_.get(), &host_.get()[blocks * kBlock], &host_.get()[kHalf]));
  EXPECT_LT(engine_->counters().batches, 1 + 2 * blocks) << "no two copies shared a batch";
}

TEST_P(DeviceMemoryTest, OutOfMemoryIsAnAnswerAndTheDeviceGoesOn) {
  const auto space = device_->Space();
  ASSERT_TRUE(space.ok());
  EXPECT_LE(space->free_bytes, space->total_bytes);
  const auto memory = device_->Allocate(space->total_bytes + (1 << 20));
  EXPECT_EQ(memory.code(), StatusCode::kRetry) << memory.status().ToString();
  EXPECT_NE(memory.status().message().find(device_->name()), std::string::npos);
  EXPECT_TRUE(device_->health().ok());
  EXPECT_TRUE(CopyOne(CopyDirection::kIn, pool_, host_.get(), 4096).ok());
}

TEST_P(DeviceMemoryTest, PinningTwiceIsAnErrorAndTheDeviceGoesOn) {
  EXPECT_EQ(device_->PinHost(Host()).code(), StatusCode::kInvalid);
  EXPECT_TRUE(device_->health().ok());
  EXPECT_TRUE(CopyOne(CopyDirection::kIn, pool_, host_.get(), 4096).ok());
}

INSTANTIATE_TEST_SUITE_P(Double, DeviceMemoryTest, ::testing::Values(Kind::kDouble));
INSTANTIATE_TEST_SUITE_P(Gpu, DeviceMemoryTest, ::testing::Values(Kind::kGpu));

TEST(GpuTest, AGpuThatIsNotThereIsNamed) {
  const Result<int> count = CountGpus();
  const auto gpu = OpenGpu(99);
  ASSERT_FALSE(gpu.ok());
  if (count.ok()) {
    EXPECT_EQ(gpu.code(), StatusCode::kInvalid);
    EXPECT_NE(gpu.status().message().find("99"), std::string::npos) << gpu.status().message();
  } else {
    EXPECT_EQ(gpu.code(), StatusCode::kUnsupported);
    EXPECT_FALSE(gpu.status().message().empty());
  }
}

/// Reads where the device has no memory, which costs the process its context; ends the process: 0
/// when everything after it is an error and nothing waits.
[[noreturn]] void LoseTheContext() {
  testing::SimulatedTime time;
  auto gpu = OpenGpu(0);
  if (!gpu.ok()) std::_Exit(2);
  CopyEngine engine(**gpu);
  const DevicePiece nowhere = {.at = reinterpret_cast<const std::byte*>(4096), .bytes = 4096};
  std::uint64_t checksum = 0;
  const CopyRequest request = {.direction = CopyDirection::kWithin,
                               .urgency = CopyUrgency::kDemand,
                               .copies = {},
                               .pieces = {&nowhere, 1},
                               .checksums = {&checksum, 1}};
  const Status first = time.Run(engine.Run(request));
  const Status second = time.Run(engine.Run(request));
  const bool kept = first.code() == StatusCode::kIo && second.code() == StatusCode::kIo &&
                    !engine.health().ok() && !(*gpu)->Allocate(4096).ok();
  std::fprintf(stderr, "%s\n", first.ToString().c_str());
  std::_Exit(kept ? 0 : 1);
}

TEST(GpuDeathTest, ALostContextIsAnAnswerAndStaysOne) {
  if (const Result<int> count = CountGpus(); !count.ok()) {
    GTEST_SKIP() << count.status().ToString();
  }
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a driver does not survive a fork
  EXPECT_EXIT(LoseTheContext(), ::testing::ExitedWithCode(0), "gpu 0");
}

}  // namespace
}  // namespace terrace
