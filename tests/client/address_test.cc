#include "client/session/address.h"

#include <gtest/gtest.h>

namespace terrace {
namespace {

TEST(Address, ReadsNamesAndBothKindsOfNumbers) {
  const auto plain = ParseAddress("127.0.0.1:7420");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->host, "127.0.0.1");
  EXPECT_EQ(plain->port, 7420);
  const auto six = ParseAddress("[::1]:65535");
  ASSERT_TRUE(six.ok());
  EXPECT_EQ(six->host, "::1");
  EXPECT_EQ(six->port, 65535);
  EXPECT_EQ(ParseAddress("cache.example:1")->host, "cache.example");
}

TEST(Address, AHostIsNotCutShortAtANulByte) {
  const std::string text("good.example\0.evil.example:7420", 31);
  EXPECT_EQ(ParseAddress(text).code(), StatusCode::kInvalid);
}

TEST(Address, QuotesWhatItCannotRead) {
  for (const char* text :
       {"", "host", "host:", ":7420", "host:0", "host:65536", "host:-1", "host:12x", "::1:7420",
        "[::1", "[::1]", "[::1]7420", "[]:1", "host: 1"}) {
    const auto address = ParseAddress(text);
    ASSERT_EQ(address.code(), StatusCode::kInvalid) << text;
    EXPECT_NE(address.status().message().find("\"" + std::string(text) + "\""), std::string::npos)
        << address.status().message();
  }
}

}  // namespace
}  // namespace terrace
