// Merged blocks must share exactly what their tokens share, whatever the ids of a format name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/random.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/block_merger.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<std::uint64_t>;
using Tokens = std::vector<int>;

/// How a format names blocks: by all that stands before them too, or by what is in them alone.
enum class Naming : std::uint8_t { kPrefix, kContent };

/// Names the blocks of `tokens` tokens of a prompt as a trace of such a format does.
class Namer {
 public:
  Namer(Naming naming, std::uint32_t block_tokens) : naming_(naming), block_tokens_(block_tokens) {}
  Ids Of(const Tokens& prompt) {
    Ids ids;
    for (std::size_t begin = 0; begin < prompt.size(); begin += block_tokens_) {
      const auto end = static_cast<std::ptrdiff_t>(std::min(begin + block_tokens_, prompt.size()));
      const auto from = naming_ == Naming::kPrefix ? 0 : static_cast<std::ptrdiff_t>(begin);
      const Tokens name(prompt.begin() + from, prompt.begin() + end);
      ids.push_back(names_.try_emplace(name, names_.size()).first->second);
    }
    return ids;
  }

 private:
  Naming naming_;
  std::uint32_t block_tokens_;
  std::map<Tokens, std::uint64_t> names_;
};

/// Prompts over an alphabet of two tokens, so that blocks are the same in one place and another;
/// many extend or cut an earlier one.
std::vector<Tokens> Prompts(Random& random) {
  std::vector<Tokens> prompts;
  for (int count = 0; count < 40; ++count) {
    Tokens prompt;
    if (!prompts.empty() && random.Below(4) != 0) {
      prompt = prompts[random.Below(prompts.size())];
      prompt.resize(random.Between(1, prompt.size()));
    }
    const std::uint64_t more = random.Between(prompt.empty() ? 1 : 0, 20);
    for (std::uint64_t token = 0; token < more; ++token) {
      prompt.push_back(static_cast<int>(random.Below(2)));
    }
    prompts.push_back(prompt);
  }
  return prompts;
}

/// Leading blocks of `tokens` tokens that two prompts share: all tokens up to the same end.
std::size_t SharedBlocks(const Tokens& left, const Tokens& right, std::size_t tokens) {
  const auto same = static_cast<std::size_t>(std::ranges::mismatch(left, right).in1 - left.begin());
  if (left.size() == right.size() && same == left.size()) return (same + tokens - 1) / tokens;
  // Blocks that end within what is the same, and are cut by the end of neither.
  return std::min({same, left.size(), right.size()}) / tokens;
}

class BlockMergerTest : public ::testing::TestWithParam<Naming> {};

TEST_P(BlockMergerTest, ContiguousPrefixesAreSharedAsTheirTokensAre) {
  constexpr std::uint32_t kSmall = 2;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const auto large = static_cast<std::uint32_t>(kSmall * random.Between(1, 5));
    const std::vector<Tokens> prompts = Prompts(random);
    Namer namer(GetParam(), kSmall);
    BlockMerger merger(large);
    Trace trace;
    trace.block_tokens = kSmall;
    for (const Tokens& prompt : prompts) {
      ASSERT_TRUE(trace.Append(0, prompt.size(), 1, namer.Of(prompt)).ok());
      merger.MergeLast(trace);
    }
    merger.Finish(trace);
    ASSERT_EQ(trace.block_tokens, large);
    const BlockNumbers blocks = NumberBlocks(trace);
    for (std::size_t left = 0; left < prompts.size(); ++left) {
      ASSERT_EQ(trace.requests[left].block_count, (prompts[left].size() + large - 1) / large);
      for (std::size_t right = 0; right < left; ++right) {
        const auto ours = blocks.Of(trace.requests[left]);
        const auto theirs = blocks.Of(trace.requests[right]);
        const auto shared = std::ranges::mismatch(ours, theirs).in1 - ours.begin();
        ASSERT_EQ(static_cast<std::size_t>(shared),
                  SharedBlocks(prompts[left], prompts[right], large))
            << left << " and " << right;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Namings, BlockMergerTest,
                         ::testing::Values(Naming::kPrefix, Naming::kContent),
                         [](const auto& parameter) {
                           return parameter.param == Naming::kPrefix ? "Prefix" : "Content";
                         });

TEST(BlockMergerFactsTest, PartialGroupNeverPassesForAFullOne) {
  // The ids say the same, but the last block of the second holds one token less.
  BlockMerger merger(32);
  Trace trace;
  trace.block_tokens = 16;
  ASSERT_TRUE(trace.Append(0, 32, 1, Ids{1, 2}).ok());
  merger.MergeLast(trace);
  ASSERT_TRUE(trace.Append(0, 31, 1, Ids{1, 2}).ok());
  merger.MergeLast(trace);
  ASSERT_TRUE(trace.Append(0, 16, 1, Ids{1}).ok());
  merger.MergeLast(trace);
  ASSERT_TRUE(trace.Append(0, 32, 1, Ids{1, 2}).ok());
  merger.MergeLast(trace);
  EXPECT_EQ(trace.hash_ids, (Ids{0, 1, 2, 0}));
}

TEST(BlockMergerFactsTest, SizesThatDoNotFitAreNamed) {
  EXPECT_TRUE(CheckMerging(16, 0).ok());
  EXPECT_TRUE(CheckMerging(16, 512).ok());
  EXPECT_THAT(CheckMerging(16, 24).message(),
              HasSubstr("--block-tokens is 24, must be a multiple of the trace's 16 tokens"));
  EXPECT_FALSE(CheckMerging(512, 256).ok());
  EXPECT_FALSE(CheckMerging(16, kBlockTokensMax * 2).ok());
}

}  // namespace
}  // namespace terrace::replay
