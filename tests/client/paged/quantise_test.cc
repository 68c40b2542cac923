// The numbers of quantised blocks: every element of 16 bits beside many amax, against the bound
// that the header promises; and the same bits from every width of vectors.
#include "client/paged/quantise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "client/paged/cpu_pages.h"
#include "client/paged/make_map.h"
#include "tests/client/paged/paper_cache.h"

namespace terrace::paged {
namespace {

TEST(Quantise, EveryHalfSurvivesAFloat) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const bool nan = (bits & 0x7fff) > 0x7c00;
    EXPECT_EQ(ToFp16(FromFp16(half)), nan ? 0x7e00 : half);
    const bool bf16_nan = (bits & 0x7fff) > 0x7f80;
    EXPECT_EQ(ToBf16(FromBf16(half)), bf16_nan ? 0x7fc0 : half);
  }
}

#if defined(__FLT16_MANT_DIG__)
TEST(Quantise, HalvesAreThoseOfTheCompiler) {
  SeededRandom random(5);
  for (int i = 0; i < 2'000'000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random.Next());
    // Half of them where halves are: the others are mostly beyond them.
    const float value = FloatOf(i % 2 == 0 ? bits : (bits & 0x8fffffff) | 0x30000000);
    if (std::isnan(value)) continue;
    const auto wanted = std::bit_cast<std::uint16_t>(static_cast<_Float16>(value));
    ASSERT_EQ(ToFp16(value), wanted) << value;
  }
}
#endif

TEST(Quantise, E4m3RoundsToTheNearestOfItsNumbers) {
  for (int bits = 0; bits < 256; ++bits) {
    const auto byte = static_cast<std::uint8_t>(bits);
    if ((bits & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(FromE4m3(byte)));
      continue;
    }
    const float value = FromE4m3(byte);
    EXPECT_EQ(ToE4m3(value), byte);
    if ((bits & 0x7f) == 0x7e) continue;
    const float next = FromE4m3(static_cast<std::uint8_t>(bits + 1));
    const float middle = (value + next) / 2;  // exact
    const auto even = static_cast<std::uint8_t>(bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(ToE4m3(middle), even);
    EXPECT_EQ(ToE4m3(std::nextafter(middle, value)), byte);
    EXPECT_EQ(ToE4m3(std::nextafter(middle, next)), byte + 1);
  }
  EXPECT_EQ(FromE4m3(0x01), 0x1p-9F);
  EXPECT_EQ(FromE4m3(0x08), 0x1p-6F);
  EXPECT_EQ(FromE4m3(0x7e), 448.0F);
  EXPECT_EQ(ToE4m3(1e30F), 0x7e);
  EXPECT_EQ(ToE4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(ToE4m3(std::numeric_limits<float>::quiet_NaN()), 0x7f);
}

TEST(Quantise, Int8RoundsToEvenAndStopsAt127) {
  for (int value = -127; value <= 127; ++value) {
    EXPECT_EQ(ToInt8(static_cast<float>(value)), value);
    EXPECT_EQ(FromInt8(static_cast<std::int8_t>(value)), static_cast<float>(value));
  }
  EXPECT_EQ(ToInt8(0.5F), 0);
  EXPECT_EQ(ToInt8(1.5F), 2);
  EXPECT_EQ(ToInt8(-2.5F), -2);
  EXPECT_EQ(ToInt8(127.5F), 127);
  EXPECT_EQ(ToInt8(-1e30F), -127);
}

// Of an element type: its float, its rounding, and r of the header.
struct Bf16 {
  static float From(std::uint16_t bits) { return FromBf16(bits); }
  static std::uint16_t To(float value) { return ToBf16(value); }
  static double Rounding(double value) { return std::abs(value) * 0x1p-8; }
};
struct Fp16 {
  static float From(std::uint16_t bits) { return FromFp16(bits); }
  static std::uint16_t To(float value) { return ToFp16(value); }
  static double Rounding(double value) { return std::max(std::abs(value) * 0x1p-11, 0x1p-25); }
};

/// All elements up to amax against the bound. @return how many were looked at.
template <typename Element>
std::uint64_t CheckBound(std::uint16_t amax_element) {
  const float amax = Element::From(amax_element);
  const GroupScale fp8 = ScaleOf(BitsOf(amax), kE4m3Max);
  const GroupScale int8 = ScaleOf(BitsOf(amax), kInt8Max);
  std::uint64_t looked_at = 0;
  for (std::uint32_t bits = 0; bits <= amax_element; ++bits) {
    for (const std::uint32_t sign : {0U, 0x8000U}) {
      const float x = Element::From(static_cast<std::uint16_t>(bits | sign));
      const double size = std::abs(static_cast<double>(x));
      const float eight =
          Element::From(Element::To(Dequantise(FromE4m3(QuantiseE4m3(x, fp8.inverse)), fp8.scale)));
      const double most =
          (1 + 0x1p-17) * std::max(size / 16, amax / 448.0 / 1024) + Element::Rounding(eight);
      const float whole = Element::From(
          Element::To(Dequantise(FromInt8(QuantiseInt8(x, int8.inverse)), int8.scale)));
      const double most_int8 = (1 + 0x1p-13) * amax / 254.0 + Element::Rounding(whole);
      if (std::abs(static_cast<double>(eight) - x) > most ||
          std::abs(static_cast<double>(whole) - x) > most_int8) {
        ADD_FAILURE() << x << " beside " << amax << " became " << eight << " and " << whole;
        return looked_at;
      }
      ++looked_at;
    }
  }
  return looked_at;
}

TEST(Quantise, NoElementOf16BitsIsFurtherOffThanTheBound) {
  std::uint64_t looked_at = 0;
  // Every amax of one binade near 1, and steps through all others.
  for (std::uint32_t bits = 0x3f80; bits < 0x4000; bits += 1) {
    looked_at += CheckBound<Bf16>(static_cast<std::uint16_t>(bits));
  }
  for (std::uint32_t bits = 27 << 7; bits < 0x7f80; bits += 131) {  // 2^-100 on
    looked_at += CheckBound<Bf16>(static_cast<std::uint16_t>(bits));
  }
  for (std::uint32_t bits = 1; bits < 0x7c00; bits += 97) {
    looked_at += CheckBound<Fp16>(static_cast<std::uint16_t>(bits));
  }
  looked_at += CheckBound<Bf16>(0x7f7f);
  looked_at += CheckBound<Fp16>(0x7bff);
  EXPECT_GT(looked_at, 10'000'000u);
}

TEST(Quantise, WhatIsNotFiniteDecodesToNanAndWhatIsTinyToZero) {
  for (const std::uint32_t bits :
       {0x7f800000U, 0x7fc00000U, 0x7fffffffU, 0x7f800001U, BitsOf(kAmaxMax) + 1}) {
    const GroupScale scale = ScaleOf(bits, kE4m3Max);
    EXPECT_EQ(BitsOf(scale.scale), kNanBits);
    EXPECT_EQ(QuantiseE4m3(1.0F, scale.inverse), 0);
    EXPECT_EQ(QuantiseInt8(FloatOf(bits), scale.inverse), 0);
    EXPECT_EQ(BitsOf(Dequantise(FromE4m3(0), scale.scale)), kNanBits);
  }
  const GroupScale tiny = ScaleOf(BitsOf(0x1.fp-101F), kInt8Max);
  EXPECT_EQ(QuantiseInt8(0x1.fp-101F, tiny.inverse), 0);
  EXPECT_EQ(Dequantise(0.0F, tiny.scale), 0.0F);
}

/// Elements of one group each: ordinary ones of very different sizes, and some that are special.
void FillWithNumbers(PaperCache& cache, SeededRandom& random) {
  cache.Fill(random);  // all bit patterns: most groups have a NaN then
  const CacheLayout& layout = cache.layout();
  for (std::uint32_t page = 0; page < layout.pages; ++page) {
    for (std::uint32_t row = 0; row < layout.layers * layout.parts * layout.heads; ++row) {
      if (random.Chance(0.1)) continue;
      const int exponent = static_cast<int>(random.Below(28)) - 14;
      for (std::uint32_t token = 0; token < layout.page_tokens; ++token) {
        std::byte* at =
            cache.Row(row / layout.heads / layout.parts, row / layout.heads % layout.parts, page,
                      token, row % layout.heads);
        for (std::uint32_t i = 0; i < layout.head_dim; ++i) {
          const auto value = static_cast<float>(std::ldexp(random.Unit() * 2 - 1, exponent));
          const std::uint16_t half =
              layout.type == ElementType::kBf16 ? ToBf16(value) : ToFp16(value);
          if (layout.type == ElementType::kFp32) {
            std::memcpy(at + std::size_t{i} * 4, &value, 4);
          } else {
            std::memcpy(at + std::size_t{i} * 2, &half, 2);
          }
        }
      }
    }
  }
}

std::uint32_t Load(const std::byte* at, ElementType type) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, at, ElementBytes(type));
  return bits;
}

float AsFloat(std::uint32_t bits, ElementType type) {
  if (type == ElementType::kFp32) return FloatOf(bits);
  const auto half = static_cast<std::uint16_t>(bits);
  return type == ElementType::kBf16 ? FromBf16(half) : FromFp16(half);
}

std::uint32_t FromFloat(float value, ElementType type) {
  if (type == ElementType::kFp32) return BitsOf(value);
  return type == ElementType::kBf16 ? ToBf16(value) : ToFp16(value);
}

struct QuantCase {
  PaperCache cache;
  StoredLayout stored;
  std::vector<std::uint32_t> pages;
};

QuantCase RandomQuantCase(SeededRandom& random) {
  constexpr std::array kTypes = {ElementType::kBf16, ElementType::kFp16, ElementType::kFp32};
  CacheLayout shape;
  shape.type = kTypes[random.Below(3)];
  shape.layers = static_cast<std::uint32_t>(random.Between(1, 3));
  shape.parts = static_cast<std::uint32_t>(random.Between(1, 2));
  shape.page_tokens = 4U << random.Below(3);
  shape.heads = static_cast<std::uint32_t>(random.Between(1, 5));
  shape.head_dim = 16 * static_cast<std::uint32_t>(random.Between(1, 10));
  StoredLayout stored;
  stored.type = random.Chance(0.5) ? StoredType::kFp8E4m3 : StoredType::kInt8;
  stored.group_tokens = random.Chance(0.5) ? 0 : shape.page_tokens >> random.Below(3);
  const std::uint32_t block_pages =
      1 + 4096 / (shape.layers * shape.parts * shape.page_tokens * shape.heads * shape.head_dim) +
      static_cast<std::uint32_t>(random.Below(2));
  stored.block_tokens = block_pages * shape.page_tokens;
  shape.pages = block_pages + 2;
  PaperCache cache = PaperCache::Random(shape, random);
  FillWithNumbers(cache, random);
  return {std::move(cache), stored, RandomPages(shape.pages, block_pages, random)};
}

/// The frame of a whole block, one element after the other, as the header's rule reads.
std::vector<std::byte> PlainFrame(QuantCase& made) {
  const CacheLayout& layout = made.cache.layout();
  const bool int8 = made.stored.type == StoredType::kInt8;
  const StoredShape shape = ShapeOf(layout, made.stored);
  const float most = int8 ? kInt8Max : kE4m3Max;
  std::vector<std::byte> frame(FrameBytes(layout, made.stored));
  for (std::uint32_t item = 0; item < layout.layers * layout.parts * layout.heads * shape.groups;
       ++item) {
    const std::uint32_t group = item % shape.groups;
    const std::uint32_t head = item / shape.groups % layout.heads;
    const std::uint32_t section = item / shape.groups / layout.heads;
    const auto row_at = [&](std::uint32_t i) {
      const std::uint32_t token = group * shape.group_tokens + i;
      return made.cache.Row(section / layout.parts, section % layout.parts,
                            made.pages[token / layout.page_tokens], token % layout.page_tokens,
                            head);
    };
    std::uint32_t amax = 0;
    const std::uint32_t step = ElementBytes(layout.type);
    for (std::uint32_t i = 0; i < shape.group_tokens * layout.head_dim; ++i) {
      const std::byte* at = row_at(i / layout.head_dim) + std::size_t{i % layout.head_dim} * step;
      amax = std::max(amax, BitsOf(AsFloat(Load(at, layout.type), layout.type)) & 0x7fffffff);
    }
    const GroupScale scale = ScaleOf(amax, most);
    std::byte* start = frame.data() + section * shape.frame_section_bytes;
    const std::uint64_t row = std::uint64_t{head} * shape.groups + group;
    std::memcpy(
        start + std::uint64_t{layout.heads} * made.stored.block_tokens * layout.head_dim + row * 4,
        &scale.scale, 4);
    for (std::uint32_t i = 0; i < shape.group_tokens * layout.head_dim; ++i) {
      const std::byte* at = row_at(i / layout.head_dim) + std::size_t{i % layout.head_dim} * step;
      const float x = AsFloat(Load(at, layout.type), layout.type);
      start[row * shape.group_tokens * layout.head_dim + i] =
          int8 ? static_cast<std::byte>(QuantiseInt8(x, scale.inverse))
               : static_cast<std::byte>(QuantiseE4m3(x, scale.inverse));
    }
  }
  return frame;
}

/// What the scatter of `frame` must leave in the cache's memory.
void PlainScatter(QuantCase& made, const std::vector<std::byte>& frame) {
  const CacheLayout& layout = made.cache.layout();
  const StoredShape shape = ShapeOf(layout, made.stored);
  const std::uint64_t tokens = made.stored.block_tokens;
  for (std::uint64_t row = 0; row < layout.layers * layout.parts * layout.heads * tokens; ++row) {
    const std::uint64_t token = row % tokens;
    const std::uint64_t head = row / tokens % layout.heads;
    const std::uint64_t section = row / tokens / layout.heads;
    const std::byte* start = frame.data() + section * shape.frame_section_bytes;
    float scale = 0;
    std::memcpy(&scale,
                start + layout.heads * tokens * layout.head_dim +
                    (head * shape.groups + token / shape.group_tokens) * 4,
                4);
    std::byte* to = made.cache.Row(
        static_cast<std::uint32_t>(section / layout.parts),
        static_cast<std::uint32_t>(section % layout.parts), made.pages[token / layout.page_tokens],
        static_cast<std::uint32_t>(token % layout.page_tokens), static_cast<std::uint32_t>(head));
    for (std::uint32_t i = 0; i < layout.head_dim; ++i) {
      const std::byte byte = start[(head * tokens + token) * layout.head_dim + i];
      const float q = made.stored.type == StoredType::kInt8
                          ? FromInt8(static_cast<std::int8_t>(byte))
                          : FromE4m3(static_cast<std::uint8_t>(byte));
      const std::uint32_t bits = FromFloat(Dequantise(q, scale), layout.type);
      std::memcpy(to + std::size_t{i} * ElementBytes(layout.type), &bits,
                  ElementBytes(layout.type));
    }
  }
}

TEST(Quantise, EveryWidthMakesTheBitsOfTheScalarRule) {
  constexpr std::uint64_t kSeed = 99;
  SeededRandom random(kSeed);
  for (int round = 0; round < 120; ++round) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + " round " + std::to_string(round));
    QuantCase made = RandomQuantCase(random);
    const QuantMap map = MakeQuantMap(made.cache.layout(), made.stored, made.cache.bases()).value();
    const auto bases = LayerTable(made.cache.bases(), {});
    const PageTables tables{bases.data(), made.pages.data()};
    const std::vector<std::byte> wanted = PlainFrame(made);
    const std::vector<std::byte> before = made.cache.bytes();
    PlainScatter(made, wanted);
    const std::vector<std::byte> after = made.cache.bytes();
    for (int width = 0; width <= static_cast<int>(WidthOfCpu()); ++width) {
      std::copy(before.begin(), before.end(), made.cache.bytes().begin());
      std::vector<std::byte> frame(wanted.size(), std::byte{0xee});
      GatherQuantised(map, tables, frame.data(), static_cast<CpuWidth>(width));
      ASSERT_EQ(frame, wanted) << "width " << width;
      ScatterQuantised(map, tables, frame.data(), static_cast<CpuWidth>(width));
      ASSERT_EQ(made.cache.bytes(), after) << "width " << width;
    }
  }
}

}  // namespace
}  // namespace terrace::paged
