// The checksum kernel's own code, run by threads of the host, against the checksum of every tier.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"
// Last, and in this order: the kernel's code needs the words of CUDA.
// clang-format off
#include "tests/tiers/cuda_threads.h"
#include "tiers/hbm/cuda/piece_work.cuh"
// clang-format on

namespace terrace {
namespace {

constexpr std::byte kUntouched{0xa5};

class PieceWorkTest : public ::testing::Test {
 protected:
  PieceWorkTest() : from_(kChecksumPieceBytes), to_(kChecksumPieceBytes + 64) {
    SeededRandom random(12);
    for (std::byte& byte : from_) byte = static_cast<std::byte>(random.Next());
  }

  /// The checksum of the first `bytes` of from_, which are copied to to_ if that is asked for.
  template <bool kCopies>
  std::uint64_t Work(std::uint32_t bytes) {
    std::ranges::fill(to_, kUntouched);
    const KernelPiece piece = {
        .at = from_.data(), .to = kCopies ? to_.data() : nullptr, .bytes = bytes};
    std::vector<std::uint64_t> sums(kPieceRowsMax * xxh3::kLanes);
    const auto rows = reinterpret_cast<RowSums>(sums.data());
    std::uint64_t result = 0;
    testing::ThreadBlock::Run(kPieceThreads, [&](std::uint32_t thread) {
      WorkOnPiece<kCopies>(piece, thread, rows, &result);
    });
    return result;
  }

  [[nodiscard]] std::uint64_t Expected(std::uint32_t bytes) const {
    return Checksum64(std::span(from_).first(bytes));
  }

  alignas(16) std::vector<std::byte> from_;
  std::vector<std::byte> to_;
};

// Around what the code tells apart: short pieces, stripes, rows, a warp's rows, a round.
constexpr std::uint32_t kLengths[] = {0,
                                      1,
                                      16,
                                      17,
                                      239,
                                      240,
                                      241,
                                      255,
                                      256,
                                      257,
                                      1023,
                                      1024,
                                      1025,
                                      1088,
                                      1089,
                                      4096,
                                      4097,
                                      5000,
                                      (32 << 10) - 1,
                                      32 << 10,
                                      (32 << 10) + 1,
                                      33'000,
                                      (37 << 10) + 65,
                                      100'003};

TEST_F(PieceWorkTest, ThreadsTogetherSumAsOneDoes) {
  for (const std::uint32_t bytes : kLengths) {
    EXPECT_EQ(Work<false>(bytes), Expected(bytes)) << bytes << " bytes";
  }
}

TEST_F(PieceWorkTest, WhatIsCopiedIsThatAndNoByteMore) {
  for (const std::uint32_t bytes : kLengths) {
    EXPECT_EQ(Work<true>(bytes), Expected(bytes)) << bytes << " bytes";
    EXPECT_TRUE(std::equal(to_.begin(), to_.begin() + bytes, from_.begin())) << bytes << " bytes";
    EXPECT_TRUE(std::all_of(to_.begin() + bytes, to_.end(),
                            [](std::byte byte) { return byte == kUntouched; }))
        << "behind " << bytes << " bytes";
  }
}

TEST_F(PieceWorkTest, AWholePieceUsesEveryRoundAndItsLastRow) {
  for (const std::uint32_t back : {0U, 1U, 1024U}) {
    const auto bytes = static_cast<std::uint32_t>(kChecksumPieceBytes) - back;
    EXPECT_EQ(Work<true>(bytes), Expected(bytes)) << bytes << " bytes";
    EXPECT_TRUE(std::equal(to_.begin(), to_.begin() + bytes, from_.begin())) << bytes << " bytes";
  }
}

}  // namespace
}  // namespace terrace
