// What is said of the requests of a trace reaches the policy of a simulation.
#include <gtest/gtest.h>

#include <vector>

#include "tests/cache/listening_policy.h"
#include "tools/replay/simulate/request_hits.h"

namespace terrace::replay {
namespace {

using testing::Heard;
using testing::HeardFacts;

TEST(SimulatedHintsTest, EveryCallOfARequestHasWhatIsSaidOfIt) {
  Trace trace;
  for (std::uint64_t i = 0; i < 40; ++i) {
    // Two blocks each, some of which come again from NVMe.
    const std::vector<std::uint64_t> ids = {i % 7, 100 + i % 7};
    ASSERT_TRUE(trace.Append(i, 1024, 1, ids).ok());
  }
  const BlockNumbers blocks = NumberBlocks(trace);
  std::vector<TraceHint> hints;
  for (std::uint32_t i = 0; i < 40; ++i) {
    hints.push_back({.session = i + 1,
                     .category = i + 2,
                     .turn = static_cast<std::uint16_t>(i + 3),
                     .continuation = Continuation::kDone});
  }
  const SimulatedTiersOptions tiers{.dram_blocks = 6,
                                    .distinct_blocks = blocks.distinct,
                                    .nvme_segments = 8,
                                    .nvme_records_per_segment = 8,
                                    .policy = &testing::kListeningPolicy};
  HeardFacts().clear();
  (void)SimulateRequests(trace, blocks, tiers,
                         {.batch_blocks = 64, .decodes = true, .hints = hints});
  std::uint32_t last = 0;
  std::size_t returned = 0;
  for (const Heard& heard : HeardFacts()) {
    ASSERT_GT(heard.facts.session, 0U) << heard.call;
    EXPECT_GE(heard.facts.session, last) << "requests come in their order";
    last = heard.facts.session;
    EXPECT_EQ(heard.facts.category, heard.facts.session + 1);
    EXPECT_EQ(heard.facts.turn, heard.facts.session + 2);
    EXPECT_EQ(heard.facts.continuation, Continuation::kDone);
    returned += heard.call == "return" ? 1 : 0;
  }
  EXPECT_EQ(last, 40U);
  EXPECT_GT(returned, 0U);
}

TEST(SimulatedHintsTest, NothingIsHeardWhereNothingIsSaid) {
  Trace trace;
  const std::vector<std::uint64_t> ids = {1, 2, 3};
  ASSERT_TRUE(trace.Append(0, 1536, 1, ids).ok());
  const BlockNumbers blocks = NumberBlocks(trace);
  HeardFacts().clear();
  (void)SimulateRequests(
      trace, blocks,
      {.dram_blocks = 6, .distinct_blocks = blocks.distinct, .policy = &testing::kListeningPolicy},
      {});
  ASSERT_FALSE(HeardFacts().empty());
  for (const Heard& heard : HeardFacts()) {
    EXPECT_EQ(heard.facts.session, 0U);
    EXPECT_EQ(heard.facts.continuation, Continuation::kUnknown);
  }
}

}  // namespace
}  // namespace terrace::replay
