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

TEST(Chain, HintsOutOfBoundsAreRefusedByNameAndChangeNothing) {
  Chain chain;
  ASSERT_TRUE(chain.Append("key").ok());
  RequestHints hints{.session = std::string(kHintBytesMax, 's'),
                     .category = std::string(kHintBytesMax, 'c'),
                     .turn = kHintTurnMax,
                     .continuation = Continuation::kDone};
  ASSERT_TRUE(chain.SetHints(hints).ok());
  EXPECT_EQ(chain.hints(), hints);
  const auto refused = [&](const RequestHints& wrong, const std::string& text) {
    const Status status = chain.SetHints(wrong);
    EXPECT_EQ(status.code(), StatusCode::kInvalid) << text;
    EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
    EXPECT_EQ(chain.hints(), hints);
  };
  refused({.session = std::string(65, 's'), .category = ""}, "hints.session is 65, at most 64");
  refused({.session = "", .category = std::string(99, 'c')}, "hints.category is 99");
  refused({.session = "", .category = "", .turn = 65536}, "hints.turn is 65536, not 0 to 65535");
  refused({.session = "", .category = "", .turn = 1, .continuation = static_cast<Continuation>(3)},
          "hints.continuation is 3");
  EXPECT_EQ(chain.size(), 1U);
  const Chain copy = chain;
  EXPECT_EQ(copy.hints(), hints) << "they are of the request, as the keys are";
  chain.clear();
  EXPECT_EQ(chain.hints(), RequestHints{}) << "the next prompt is another request's";
}

}  // namespace
}  // namespace terrace
