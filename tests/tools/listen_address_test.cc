#include "tools/common/listen_address.h"

#include <gtest/gtest.h>

namespace terrace {
namespace {

TEST(ListenAddress, BothFamiliesParseAndPrintBack) {
  for (const char* text : {"127.0.0.1:7420", "0.0.0.0:0", "[::1]:7420", "[fe80::1]:65535"}) {
    const Result<ListenAddress> address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << address.status().ToString();
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(ListenAddress, WhatIsNotANumericAddressIsRefused) {
  for (const char* text :
       {"", "7420", "127.0.0.1", "localhost:7420", "127.0.0.1:", ":7420", "127.0.0.1:65536",
        "127.0.0.1:-1", "::1:7420", "[127.0.0.1]:1", "[::1]", "127.0.0.1:7x", "127.1:80"}) {
    const Result<ListenAddress> address = ParseListenAddress(text);
    EXPECT_EQ(address.code(), StatusCode::kInvalid) << text;
  }
}

TEST(ListenAddress, WhatFollowsANulByteIsNotPassedOver) {
  EXPECT_EQ(ParseListenAddress(std::string("127.0.0.1\0x:7420", 16)).code(), StatusCode::kInvalid);
  EXPECT_EQ(ParseListenAddress(std::string("[::1\0x]:7420", 12)).code(), StatusCode::kInvalid);
}

TEST(ListenAddress, OnlyThisHostIsLoopback) {
  EXPECT_TRUE((ListenAddress{"127.0.0.1", 1}.IsLoopback()));
  EXPECT_TRUE((ListenAddress{"127.9.9.9", 1}.IsLoopback()));
  EXPECT_TRUE((ListenAddress{"::1", 1}.IsLoopback()));
  // An IPv4 address written as IPv6 listens on IPv4: treated as reachable, the safe side.
  for (const char* host : {"0.0.0.0", "10.0.0.1", "::", "128.0.0.1", "::ffff:127.0.0.1"}) {
    EXPECT_FALSE((ListenAddress{host, 1}.IsLoopback())) << host;
  }
  EXPECT_TRUE((ListenAddress{"::", 1}.IsAnyAddress()));
  EXPECT_TRUE((ListenAddress{"0.0.0.0", 1}.IsAnyAddress()));
}

}  // namespace
}  // namespace terrace
