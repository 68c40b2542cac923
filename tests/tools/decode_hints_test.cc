// DecodeHints: the policy knows sessions and categories by numbers that are a tenant's own.
#include <gtest/gtest.h>

#include <string_view>

#include "tools/terraced/service/request_decoder.h"
#include "transport/codec.h"

namespace terrace {
namespace {

TEST(DecodeHints, NamesOfTwoTenantsHaveNothingInCommon) {
  HintCounters counters;
  const auto decode = [&counters](const RequestHints& hints, std::string_view tenant) {
    const auto bytes = BuildMessage<wire::Ping>({.hints = &hints});
    return DecodeHints((*VerifyMessage(bytes))->hints(), tenant, counters);
  };
  const RequestHints hints{.session = "one", .category = "two", .turn = 7};
  const RequestFacts here = decode(hints, "a");
  const RequestFacts again = decode(hints, "a");
  const RequestFacts there = decode(hints, "b");
  EXPECT_EQ(here.session, again.session);
  EXPECT_EQ(here.category, again.category);
  EXPECT_NE(here.session, there.session);
  EXPECT_NE(here.category, there.category);
  EXPECT_NE(here.session, here.category);
  EXPECT_EQ(here.turn, 7U);
  EXPECT_EQ(here.tenant, 0U) << "the cache's to say";
  EXPECT_NE(here.session, 0U);
  EXPECT_EQ(decode({.turn = 1}, "a").session, 0U);
  EXPECT_EQ(DecodeHints(nullptr, "a", counters).turn, 0U);
}

}  // namespace
}  // namespace terrace
