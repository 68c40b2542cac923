// WrittenRanges against a bitmap: a byte that two writers believe is theirs is a wrong byte.
#include "cache/written_ranges.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.h"

namespace terrace {
namespace {

TEST(WrittenRangesTest, RandomFragmentsAgreeWithABitmap) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SeededRandom random(seed);
    const std::uint64_t bytes = 1 + random.Below(300);
    WrittenRanges ranges(bytes);
    enum class State { kFree, kTaken, kWritten };
    std::vector<State> oracle(bytes, State::kFree);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
    const auto mark = [&](std::pair<std::uint64_t, std::uint64_t> fragment, State state) {
      std::fill_n(oracle.begin() + static_cast<std::ptrdiff_t>(fragment.first), fragment.second,
                  state);
    };
    for (int step = 0; step < 400; ++step) {
      if (random.Chance(0.6)) {
        const std::uint64_t offset = random.Below(bytes + 5);
        const std::uint64_t length = random.Below(random.Chance(0.8) ? 12 : bytes + 5);
        const bool inside = length > 0 && offset + length <= bytes;
        const bool may =
            inside && std::all_of(oracle.begin() + static_cast<std::ptrdiff_t>(offset),
                                  oracle.begin() + static_cast<std::ptrdiff_t>(offset + length),
                                  [](State state) { return state == State::kFree; });
        ASSERT_EQ(ranges.Take(offset, length), may ? StatusCode::kOk : StatusCode::kInvalid)
            << "seed " << seed << " step " << step;
        if (!may) continue;
        taken.emplace_back(offset, length);
        mark(taken.back(), State::kTaken);
      } else if (!taken.empty()) {
        std::swap(taken[random.Below(taken.size())], taken.back());
        const auto fragment = taken.back();
        taken.pop_back();
        const bool written = random.Chance(0.6);
        mark(fragment, written ? State::kWritten : State::kFree);
        if (written) {
          ranges.Finish(fragment.first, {random.Next()});
        } else {
          ranges.Free(fragment.first);
        }
      }
      const auto first = std::find_if(oracle.begin(), oracle.end(),
                                      [](State state) { return state != State::kWritten; });
      ASSERT_EQ(ranges.Complete(), first == oracle.end()) << "seed " << seed;
      if (first == oracle.end()) break;
      const WrittenRanges::Gap gap = ranges.FirstGap();
      ASSERT_EQ(gap.byte, static_cast<std::uint64_t>(first - oracle.begin())) << "seed " << seed;
      ASSERT_EQ(gap.taken, *first == State::kTaken) << "seed " << seed;
    }
  }
}

TEST(WrittenRangesTest, NumbersThatOverflowAreOutside) {
  WrittenRanges ranges(4096);
  constexpr std::uint64_t kMax = ~std::uint64_t{0};
  EXPECT_EQ(ranges.Take(kMax, 1), StatusCode::kInvalid);
  EXPECT_EQ(ranges.Take(1, kMax), StatusCode::kInvalid);
  EXPECT_EQ(ranges.Take(4096, 1), StatusCode::kInvalid);
  EXPECT_EQ(ranges.Take(0, 0), StatusCode::kInvalid);
  EXPECT_EQ(ranges.Take(0, 4096), StatusCode::kOk);
}

TEST(WrittenRangesTest, FragmentsHaveALimit) {
  WrittenRanges ranges(2 * WrittenRanges::kFragmentsMax);
  for (std::uint64_t i = 0; i < WrittenRanges::kFragmentsMax; ++i) {
    ASSERT_EQ(ranges.Take(2 * i, 1), StatusCode::kOk);
  }
  EXPECT_EQ(ranges.Take(1, 1), StatusCode::kRetry);
  ranges.Free(0);
  EXPECT_EQ(ranges.Take(1, 1), StatusCode::kOk);
}

}  // namespace
}  // namespace terrace
