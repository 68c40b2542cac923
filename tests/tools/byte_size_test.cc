#include "tools/common/byte_size.h"

#include <gtest/gtest.h>

namespace terrace {
namespace {

std::uint64_t Parsed(std::string_view text) {
  const Result<std::uint64_t> bytes = ParseByteSize(text);
  EXPECT_TRUE(bytes.ok()) << bytes.status().ToString();
  return bytes.ok() ? *bytes : 0;
}

TEST(ByteSize, BinaryAndDecimalUnitsAreNotConfused) {
  EXPECT_EQ(Parsed("1GiB"), 1ULL << 30);
  EXPECT_EQ(Parsed("1GB"), 1'000'000'000U);
  EXPECT_EQ(Parsed("3 MiB"), 3ULL << 20);
  EXPECT_EQ(Parsed("3mb"), 3'000'000U);
  EXPECT_EQ(Parsed("2TiB"), 2ULL << 40);
  EXPECT_EQ(Parsed("7 KB"), 7000U);
  EXPECT_EQ(Parsed(" 12 "), 12U);
  EXPECT_EQ(Parsed("12B"), 12U);
  EXPECT_EQ(Parsed("1.5GiB"), 3ULL << 29);
  EXPECT_EQ(Parsed("0"), 0U);
}

TEST(ByteSize, WholeNumbersStayExactWhereADoubleWouldRound) {
  EXPECT_EQ(Parsed("9007199254740993"), 9007199254740993U);  // 2^53 + 1
  EXPECT_EQ(Parsed("9007199254740993B"), 9007199254740993U);
}

TEST(ByteSize, RubbishIsRefusedWithTheReason) {
  for (const char* text :
       {"", " ", "-1", "GiB", "1XiB", "1.5", "1.5B", "nan", "inf", "0x10", "1GiB 2", "8EiB",
        "99999999999999999999999", "1e3", "+5", "1 G B", "9223372036854775808", "50%"}) {
    const Result<std::uint64_t> bytes = ParseByteSize(text);
    EXPECT_EQ(bytes.code(), StatusCode::kInvalid) << text;
    if (!bytes.ok()) EXPECT_FALSE(bytes.status().message().empty());
  }
  EXPECT_NE(ParseByteSize("1XiB").status().message().find("unknown unit"), std::string::npos);
}

TEST(ByteSize, PercentagesAreOfTheWholeAndInRange) {
  const Result<ByteAmount> quarter = ParseByteAmount("25%");
  ASSERT_TRUE(quarter.ok());
  EXPECT_TRUE(quarter->is_percent);
  EXPECT_EQ(quarter->Of(1000), 250U);
  EXPECT_EQ(ParseByteAmount("2.5 %")->Of(1000), 25U);
  EXPECT_EQ(ParseByteAmount("100%")->Of(~0ULL >> 1), ~0ULL >> 1);
  EXPECT_EQ(ParseByteAmount("64MiB")->Of(5), 64ULL << 20);
  for (const char* text : {"0%", "100.1%", "-5%", "%", "5%%"}) {
    EXPECT_FALSE(ParseByteAmount(text).ok()) << text;
  }
}

TEST(ByteSize, ShownSizesAreShortAndNeverAThousandOfASmallerUnit) {
  EXPECT_EQ(FormatByteSize(0), "0 B");
  EXPECT_EQ(FormatByteSize(1023), "1023 B");
  EXPECT_EQ(FormatByteSize(1024), "1 KiB");
  EXPECT_EQ(FormatByteSize((1 << 20) - 1), "1.00 MiB");
  EXPECT_EQ(FormatByteSize(3ULL << 29), "1.50 GiB");
  EXPECT_EQ(FormatByteSize(12ULL << 30), "12 GiB");
  EXPECT_EQ(FormatByteSize((12ULL << 30) + (300ULL << 20)), "12.3 GiB");
  EXPECT_EQ(FormatByteSize(~0ULL), "16 EiB");
}

TEST(ByteSize, ExactSizesParseBackToTheSameNumber) {
  for (const std::uint64_t bytes :
       {0ULL, 1ULL, 4097ULL, 1024ULL, 3ULL << 29, 1ULL << 40, (1ULL << 40) + 1024, 123456789ULL}) {
    EXPECT_EQ(Parsed(ExactByteSize(bytes)), bytes) << ExactByteSize(bytes);
  }
  EXPECT_EQ(ExactByteSize(3ULL << 29), "1536MiB");
}

}  // namespace
}  // namespace terrace
