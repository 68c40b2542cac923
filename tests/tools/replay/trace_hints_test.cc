// What is said of a trace's requests, against the definition taken literally.
#include "tools/replay/trace/trace_hints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/limits.h"
#include "base/random.h"

namespace terrace::replay {
namespace {

/// Conversations that share a beginning, some of them told as sessions and categories.
Trace DrawTrace(std::uint64_t seed) {
  SeededRandom random(seed);
  Trace trace;
  const bool told = random.Chance(0.7);
  for (std::uint64_t i = 0; i < random.Between(1, 60); ++i) {
    std::vector<std::uint64_t> ids;
    const std::uint64_t blocks = random.Between(1, 6);
    for (std::uint64_t block = 0; block < blocks; ++block) ids.push_back(random.Below(3));
    // The last block is full, or it is not.
    const std::uint64_t tokens = trace.block_tokens * blocks - (random.Chance(0.5) ? 0 : 100);
    EXPECT_TRUE(trace.Append(i, tokens, 1, ids).ok());
    if (!told) continue;
    trace.requests.back().session = static_cast<std::uint32_t>(random.Below(5));
    trace.requests.back().category =
        trace.CategoryIndex(random.Chance(0.5) ? "chat" : "code").value();
  }
  trace.NumberSessions();
  return trace;
}

/// True when a later request begins with the ids of the first `count` blocks of `request`, all of
/// them full.
bool Returns(const Trace& trace, std::size_t request, std::size_t count) {
  const std::size_t full = trace.requests[request].input_tokens / trace.block_tokens;
  if (count == 0 || count > full) return false;
  const auto prefix = trace.BlocksOf(request).first(count);
  for (std::size_t later = request + 1; later < trace.requests.size(); ++later) {
    const auto ids = trace.BlocksOf(later);
    if (ids.size() >= count && std::ranges::equal(ids.first(count), prefix)) return true;
  }
  return false;
}

/// All of it is used again, none but its head is, or something between the two.
Continuation Literally(const Trace& trace, std::size_t request) {
  const std::size_t full = trace.requests[request].input_tokens / trace.block_tokens;
  if (Returns(trace, request, full)) return Continuation::kWillContinue;
  return Returns(trace, request, 2) ? Continuation::kUnknown : Continuation::kDone;
}

TEST(TraceHintsTest, TheTruthIsWhatLaterRequestsHaveOfIt) {
  int partly = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const Trace trace = DrawTrace(seed);
    const BlockNumbers blocks = NumberBlocks(trace);
    const std::vector<TraceHint> hints = HintsOf(trace, blocks, HintSetting::kTruthful);
    ASSERT_EQ(hints.size(), trace.requests.size());
    for (std::size_t i = 0; i < hints.size(); ++i) {
      const TraceRequest& request = trace.requests[i];
      ASSERT_EQ(hints[i].continuation, Literally(trace, i)) << "seed " << seed << ", request " << i;
      partly += hints[i].continuation == Continuation::kUnknown ? 1 : 0;
      const bool told = request.session != kNoSession;
      EXPECT_EQ(hints[i].session, told ? request.session + 1 : 0);
      EXPECT_EQ(hints[i].turn, told ? request.turn + 1 : 0);
      EXPECT_EQ(hints[i].category, trace.categories.empty() ? 0 : request.category + 1);
    }
  }
  EXPECT_GT(partly, 100);
}

TEST(TraceHintsTest, NothingIsSaidWhereNothingShallBe) {
  const Trace trace = DrawTrace(3);
  EXPECT_TRUE(HintsOf(trace, NumberBlocks(trace), HintSetting::kNone).empty());
  EXPECT_EQ(ToRequestHints({}), RequestHints{});
}

TEST(TraceHintsTest, RequestsWithoutACategoryHaveNoneAmongOthersThatDo) {
  Trace trace;
  const std::vector<std::uint64_t> ids = {1};
  ASSERT_TRUE(trace.Append(0, 512, 1, ids).ok());
  ASSERT_TRUE(trace.Append(1, 512, 1, ids).ok());
  trace.requests.back().category = trace.CategoryIndex("chat").value();
  const std::vector<TraceHint> hints = HintsOf(trace, NumberBlocks(trace), HintSetting::kTruthful);
  EXPECT_EQ(hints[0].category, 0U);
  EXPECT_EQ(hints[1].category, 2U);
}

TEST(TraceHintsTest, WhatIsWrongIsWrongInTheWayThatItSays) {
  std::size_t absent = 0;
  std::size_t all = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const Trace trace = DrawTrace(seed);
    const BlockNumbers blocks = NumberBlocks(trace);
    const std::vector<TraceHint> truth = HintsOf(trace, blocks, HintSetting::kTruthful);
    const std::vector<TraceHint> half = HintsOf(trace, blocks, HintSetting::kAbsentHalf, seed);
    const std::vector<TraceHint> inverted = HintsOf(trace, blocks, HintSetting::kInverted);
    const std::vector<TraceHint> random = HintsOf(trace, blocks, HintSetting::kRandom, seed);
    EXPECT_EQ(random, HintsOf(trace, blocks, HintSetting::kRandom, seed)) << "the same again";
    for (std::size_t i = 0; i < truth.size(); ++i) {
      EXPECT_TRUE(half[i] == truth[i] || half[i] == TraceHint{});
      absent += half[i] == TraceHint{} ? 1 : 0;
      ++all;
      TraceHint turned = inverted[i];
      // Where nothing is said there is nothing to turn round.
      const bool said = truth[i].continuation != Continuation::kUnknown;
      EXPECT_EQ(turned.continuation != truth[i].continuation, said);
      EXPECT_EQ(turned.continuation != Continuation::kUnknown, said);
      turned.continuation = truth[i].continuation;
      EXPECT_EQ(turned, truth[i]);
      EXPECT_LE(random[i].continuation, Continuation::kDone);
    }
  }
  EXPECT_GT(absent, all / 3);
  EXPECT_LT(absent, all * 2 / 3);
}

TEST(TraceHintsTest, AClientTakesAllOfThem) {
  const TraceHint most{.session = 0xffffffff,
                       .category = 0xffffffff,
                       .turn = 0xffff,
                       .continuation = Continuation::kDone};
  const RequestHints said = ToRequestHints(most);
  EXPECT_LE(said.session.size(), kHintBytesMax);
  EXPECT_LE(said.category.size(), kHintBytesMax);
  EXPECT_LE(said.turn, kHintTurnMax);
  EXPECT_NE(said.session, ToRequestHints({.session = 1}).session);
}

TEST(TraceHintsTest, NamesOfSettingsAreReadBackAndOthersAreRefusedWithTheList) {
  std::set<std::string> names;
  for (const HintSetting setting :
       {HintSetting::kNone, HintSetting::kTruthful, HintSetting::kAbsentHalf,
        HintSetting::kInverted, HintSetting::kRandom}) {
    const std::string name(HintSettingName(setting));
    EXPECT_TRUE(names.insert(name).second);
    const Result<HintSetting> read = ParseHintSetting(name);
    ASSERT_TRUE(read.ok()) << name;
    EXPECT_EQ(*read, setting);
  }
  const Result<HintSetting> none = ParseHintSetting("honest");
  EXPECT_EQ(none.code(), StatusCode::kInvalid);
  EXPECT_THAT(none.status().message(),
              testing::HasSubstr("'honest' is none of none, truthful, absent-half"));
}

}  // namespace
}  // namespace terrace::replay
