// What a client tells of the cost of computing comes from outside: what cannot be must not count.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tools/terraced/service/request_decoder.h"
#include "transport/codec.h"

namespace terrace {
namespace {

class PrefillCostTest : public testing::Test {
 protected:
  PrefillCost Decoded(const PrefillCost& told) {
    const std::vector<std::byte> bytes =
        BuildMessage<wire::OpenNamespace>({.request_id = 1}, [&](auto& builder) {
          wire::OpenNamespaceBuilder open(builder);
          open.add_first_token_s(told.first_token_s);
          open.add_per_context_s(told.per_context_s);
          return open.Finish();
        });
    const Result<const wire::Message*> message = VerifyMessage(bytes);
    return DecodePrefillCost(*(*message)->body_as_OpenNamespace(), counters_);
  }
  [[nodiscard]] std::uint64_t taken() const {
    return counters_.taken[static_cast<std::size_t>(HintKind::kPrefillRate)];
  }
  [[nodiscard]] std::uint64_t ignored() const {
    return counters_.ignored[static_cast<std::size_t>(HintFault::kPrefillRate)];
  }

  HintCounters counters_;
};

TEST_F(PrefillCostTest, WhatCanBeIsTakenAndCounted) {
  const PrefillCost cost = Decoded({.first_token_s = 1e-4, .per_context_s = 1e-9});
  EXPECT_EQ(cost.first_token_s, 1e-4);
  EXPECT_EQ(cost.per_context_s, 1e-9);
  for (const double edge : {PrefillCost::kSecondsMin, PrefillCost::kSecondsMax}) {
    EXPECT_TRUE(Decoded({.first_token_s = edge}).told()) << edge;
  }
  EXPECT_EQ(taken(), 3U);
  EXPECT_EQ(ignored(), 0U);
}

TEST_F(PrefillCostTest, WhatIsNotToldIsNotCounted) {
  EXPECT_FALSE(Decoded({}).told());
  EXPECT_EQ(taken() + ignored(), 0U);
}

TEST_F(PrefillCostTest, WhatCannotBeIsLeftOutAndCounted) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const PrefillCost absurd[] = {{kNone, 0}, {kInfinite, 0}, {-1, 0},    {2000, 0},     {1e-300, 0},
                                {0, 1},     {1, kNone},     {1, -1e-9}, {1, kInfinite}};
  for (const PrefillCost& cost : absurd) {
    EXPECT_FALSE(Decoded(cost).told()) << cost.first_token_s << ' ' << cost.per_context_s;
  }
  EXPECT_EQ(taken(), 0U);
  EXPECT_EQ(ignored(), std::size(absurd));
}

}  // namespace
}  // namespace terrace
