// The arithmetic of the GPU's kernel on the host, against the checksum that every tier stores.
#include "tiers/hbm/xxh3_lanes.h"

#include <gtest/gtest.h>

#include <array>
#include <span>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"

namespace terrace {
namespace {

std::uint64_t WordAt(const std::byte* stripe, std::uint32_t lane) {
  return xxh3::Load(stripe + 8 * lane, 8);
}

/// As the kernel does it: the rows' sums first, each by itself, then the scrambles.
std::uint64_t ByRows(std::span<const std::byte> bytes) {
  const auto length = static_cast<std::uint32_t>(bytes.size());
  if (length <= xxh3::kShortBytes) return xxh3::Short(bytes.data(), length);
  const std::uint32_t rows = xxh3::FullRows(length);
  std::vector<std::array<std::uint64_t, xxh3::kLanes>> sums(rows + 1);
  for (std::uint32_t row = 0; row <= rows; ++row) {
    const std::uint32_t stripes = row < rows ? xxh3::kRowStripes : xxh3::RestStripes(length);
    for (std::uint32_t stripe = 0; stripe < stripes; ++stripe) {
      const std::byte* at = &bytes[row * xxh3::kRowBytes + stripe * xxh3::kStripeBytes];
      for (std::uint32_t lane = 0; lane < xxh3::kLanes; ++lane) {
        sums[row][lane] +=
            xxh3::LaneGain(WordAt(at, lane), WordAt(at, lane ^ 1), xxh3::SecretWord(stripe + lane));
      }
    }
  }
  std::array<std::uint64_t, xxh3::kLanes> lanes{};
  for (std::uint32_t lane = 0; lane < xxh3::kLanes; ++lane) {
    std::uint64_t value = xxh3::LaneStart(lane);
    for (std::uint32_t row = 0; row < rows; ++row) {
      value = xxh3::Scramble(value + sums[row][lane], xxh3::SecretWord(16 + lane));
    }
    lanes[lane] =
        value + sums[rows][lane] + xxh3::LastGain(&bytes[length - xxh3::kStripeBytes], lane);
  }
  return xxh3::Merge(lanes.data(), length);
}

TEST(Xxh3LanesTest, AGpusChecksumIsTheOneThatIsStoredAtEveryLength) {
  SeededRandom random(10);
  std::vector<std::byte> bytes(kChecksumPieceBytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Next());
  std::vector<std::size_t> lengths;
  for (std::size_t length = 0; length <= 3200; ++length) lengths.push_back(length);
  for (const std::size_t back : {0UL, 1UL, 63UL, 64UL, 65UL, 1023UL, 1024UL, 1025UL}) {
    lengths.push_back(kChecksumPieceBytes - back);
  }
  for (int i = 0; i < 50; ++i) lengths.push_back(random.Below(kChecksumPieceBytes));
  for (const std::size_t length : lengths) {
    const std::span<const std::byte> part(bytes.data(), length);
    ASSERT_EQ(ByRows(part), Checksum64(part)) << length << " bytes";
  }
}

}  // namespace
}  // namespace terrace
