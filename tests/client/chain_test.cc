#include <gtest/gtest.h>

#include <string>

#include "base/limits.h"
#include "client/terrace.hpp"

namespace terrace {
namespace {

TEST(Chain, KeepsKeysOfDifferentLengthsApart) {
  Chain chain;
  ASSERT_TRUE(chain.Append("a").ok());
  ASSERT_TRUE(chain.Append(std::string(64, 'b')).ok());
  ASSERT_TRUE(chain.Append(std::string_view("\0x", 2)).ok());
  ASSERT_EQ(chain.size(), 3U);
  EXPECT_EQ(chain.key(0).size(), 1U);
  EXPECT_EQ(chain.key(1).size(), 64U);
  EXPECT_EQ(chain.key(2).size(), 2U);
  EXPECT_EQ(chain.key(2)[0], std::byte{0});
  chain.clear();
  EXPECT_EQ(chain.size(), 0U);
}

TEST(Chain, RefusesKeysOfAWrongLengthAndStaysAsItWas) {
  Chain chain;
  ASSERT_TRUE(chain.Append("first").ok());
  const Status empty = chain.Append("");
  EXPECT_EQ(empty.code(), StatusCode::kInvalid);
  EXPECT_NE(empty.message().find("key 1 has 0 bytes"), std::string::npos) << empty.message();
  const Status longer = chain.Append(std::string(65, 'x'));
  EXPECT_EQ(longer.code(), StatusCode::kInvalid);
  EXPECT_NE(longer.message().find("65"), std::string::npos);
  EXPECT_EQ(chain.size(), 1U);
}

TEST(Chain, IsFullAtItsLimit) {
  Chain chain;
  for (std::uint32_t i = 0; i < kChainBlocksMax; ++i) ASSERT_TRUE(chain.Append("key").ok());
  const Status full = chain.Append("key");
  EXPECT_EQ(full.code(), StatusCode::kInvalid);
  EXPECT_NE(full.message().find("65536"), std::string::npos) << full.message();
  EXPECT_EQ(chain.size(), kChainBlocksMax);
}

}  // namespace
}  // namespace terrace
