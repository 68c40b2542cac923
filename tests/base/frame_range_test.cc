// Ranges of frames against an oracle that marks bytes: a range that was let through and reaches
// beyond its frame would read other tenants' blocks.
#include "base/frame_range.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"

namespace terrace {
namespace {

TEST(FrameRangeTest, AllOfABlockIsThatHoweverItIsSaid) {
  EXPECT_TRUE(FrameRange{}.IsWhole(4096));
  EXPECT_TRUE((FrameRange{.offset = 0, .bytes = 4096}).IsWhole(4096)) << "its length is told";
  EXPECT_FALSE((FrameRange{.offset = 0, .bytes = 4095}).IsWhole(4096));
  EXPECT_FALSE((FrameRange{.offset = 1, .bytes = 0}).IsWhole(4096));
  EXPECT_FALSE((FrameRange{.offset = 0, .bytes = 2048, .stride = 2048, .count = 2}).IsWhole(4096));
}

TEST(FrameRangeTest, WhatReachesBeyondTheBlockIsRefusedByName) {
  constexpr std::uint64_t kMax = ~std::uint64_t{0};
  const struct {
    FrameRange range;
    const char* field;  // null: it is fine
  } cases[] = {
      {{}, nullptr},
      {{.offset = 4095, .bytes = 1}, nullptr},
      {{.offset = 4096}, "range.offset"},
      {{.offset = kMax, .bytes = 2}, "range.offset"},
      {{.offset = 1, .bytes = 4096}, "range.bytes"},
      {{.offset = 1, .bytes = kMax}, "range.bytes"},
      {{.count = 0}, "range.count"},
      {{.count = 2}, "range.bytes"},
      {{.bytes = 1, .stride = 1, .count = 65'537}, "range.count"},
      {{.bytes = 8, .stride = 7, .count = 2}, "range.stride"},
      {{.bytes = 8, .stride = 0, .count = 2}, "range.stride"},
      {{.bytes = 8, .stride = 8, .count = 512}, nullptr},
      {{.bytes = 8, .stride = 8, .count = 513}, "range.count"},
      {{.offset = 1, .bytes = 8, .stride = 8, .count = 512}, "range.count"},
      {{.bytes = 1, .stride = 4095, .count = 2}, nullptr},
      {{.bytes = 1, .stride = 4096, .count = 2}, "range.count"},
      {{.bytes = 1, .stride = kMax, .count = 2}, "range.count"},
      {{.bytes = 1, .stride = kMax / 2 + 1, .count = 3}, "range.count"},
  };
  for (const auto& [range, field] : cases) {
    const Status status = CheckFrameRange(range, 4096);
    if (field == nullptr) {
      EXPECT_EQ(status.ToString(), "ok");
    } else {
      EXPECT_EQ(status.code(), StatusCode::kInvalid) << field;
      EXPECT_NE(status.message().find(field), std::string::npos) << status.ToString();
    }
  }
}

/// The bytes of a range, one by one.
std::vector<std::size_t> PlacesOf(const FrameRange& range, std::size_t frame) {
  std::vector<std::size_t> places;
  const std::size_t bytes = range.bytes == 0 ? frame - range.offset : range.bytes;
  for (std::uint32_t i = 0; i < range.count; ++i) {
    for (std::size_t j = 0; j < bytes; ++j) places.push_back(range.offset + i * range.stride + j);
  }
  return places;
}

TEST(FrameRangeTest, RandomRangesAreTheBytesThatAnOracleMarks) {
  SeededRandom random(5);
  constexpr std::size_t kFrame = 700'000;
  std::vector<std::byte> frame(kFrame);
  for (std::byte& byte : frame) byte = static_cast<std::byte>(random.Next());
  int fine = 0;
  for (int round = 0; round < 400; ++round) {
    FrameRange range{.offset = random.Below(kFrame + 10), .bytes = random.Below(5000)};
    if (random.Chance(0.2)) range.bytes = random.Below(kFrame);
    if (random.Chance(0.7)) {
      range.count = static_cast<std::uint32_t>(random.Below(40));
      range.stride = range.bytes + random.Below(40'000) - random.Below(2);
    }
    const bool inside = range.offset < kFrame && range.count > 0 &&
                        (range.count == 1 || (range.bytes > 0 && range.stride >= range.bytes)) &&
                        range.offset + (range.count - 1) * range.stride + range.bytes <= kFrame;
    ASSERT_EQ(CheckFrameRange(range, kFrame).ok(), inside) << round;
    if (!inside) continue;
    ++fine;
    const std::vector<std::size_t> places = PlacesOf(range, kFrame);
    const RangeView view(frame, range);
    ASSERT_EQ(view.size(), places.size());
    std::vector<std::byte> bytes;
    for (std::uint64_t at = 0; at < view.size();) {
      const auto part = view.From(at);
      bytes.insert(bytes.end(), part.begin(), part.end());
      at += part.size();
    }
    ASSERT_EQ(bytes.size(), places.size());
    for (std::size_t i = 0; i < places.size(); ++i) ASSERT_EQ(bytes[i], frame[places[i]]);
    EXPECT_EQ(view.Checksum(0, view.size()), Checksum64(bytes));
    for (int probe = 0; probe < 20; ++probe) {
      const std::size_t begin = random.Below(kFrame);
      const std::size_t end = begin + 1 + random.Below(std::min<std::size_t>(kFrame - begin, 9000));
      const auto first = std::lower_bound(places.begin(), places.end(), begin);
      EXPECT_EQ(view.Touches(begin, end), first != places.end() && *first < end);
    }
  }
  EXPECT_GT(fine, 100);
}

TEST(ChecksumStreamTest, PartsGiveTheSumOfTheWhole) {
  SeededRandom random(6);
  std::vector<std::byte> bytes(300'000);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Next());
  for (int round = 0; round < 50; ++round) {
    ChecksumStream stream;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t length = std::min<std::size_t>(bytes.size() - at, random.Below(20'000));
      stream.Update(std::span(bytes).subspan(at, length));
      at += length;
    }
    EXPECT_EQ(stream.Digest(), Checksum64(bytes));
  }
  EXPECT_EQ(ChecksumStream().Digest(), Checksum64({}));
}

}  // namespace
}  // namespace terrace
