// What is remembered of the ends of lists must not outlive what it was true of: it decides who
// leaves.
#include "cache/policy/list_ends.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "base/random.h"
#include "cache/policy/kind_lists.h"
#include "cache/policy/learned_reuse.h"

namespace terrace {
namespace {

constexpr std::size_t kBlocks = 64;

/// Lists that change at random, and a time that goes on, now and then by much.
class ChangingLists {
 public:
  explicit ChangingLists(std::uint64_t seed) : random_(seed), lists_(kBlocks), learned_(kBlocks) {
    kinds_ = learned_.kinds().size();
    put_off_ = learned_.kinds().OfPutOff();
    lists_.Resize(kinds_);
    // Of a few kinds and classes, so that lists are long enough to have two ends.
    for (std::uint16_t kind = 0; kind < 4; ++kind) {
      for (const int cost_class : {-8, 0, 4}) {
        numbers_.push_back(lists_.ListOf(kind, static_cast<std::int8_t>(cost_class)));
      }
    }
    numbers_.push_back(static_cast<std::uint16_t>(put_off_));
    remembering_.emplace(lists_, learned_, put_off_).Reset();
  }

  void Step() {
    const std::uint64_t uses = random_.Chance(0.02) ? random_.Below(2000) : random_.Below(4);
    for (std::uint64_t i = 0; i < uses; ++i) {
      learned_.Used(static_cast<std::uint32_t>(random_.Below(500)), KindAtRandom(), 1,
                    learned_.Now());
    }
    const auto block = static_cast<BlockId>(random_.Below(kBlocks));
    if (lists_.Linked(block)) {
      lists_.Unlink(block);
    } else {
      lists_[block] = {.when = learned_.Now() - static_cast<std::uint32_t>(random_.Below(3))};
      lists_[block].list = numbers_[random_.Below(numbers_.size())];
      lists_.Append(block);
    }
    if (random_.Chance(0.3)) open_ = learned_.Now() - static_cast<std::uint32_t>(random_.Below(3));
  }

  void Compare() {
    const ListEnds::Least told = remembering_->Find(open_);
    ListEnds anew(lists_, learned_, put_off_);
    anew.Reset();
    const ListEnds::Least is = anew.Find(open_);
    ASSERT_EQ(told.block, is.block);
    ASSERT_EQ(told.list, is.list);
    ASSERT_EQ(told.old, is.old);
    ASSERT_EQ(told.bound, is.bound);
    ASSERT_EQ(told.oldest_list, is.oldest_list);
    found_ += is.block != kNoBlock ? 1 : 0;
  }
  [[nodiscard]] int found() const { return found_; }

 private:
  /// Of a few, so that lists are long enough to have two ends.
  std::uint16_t KindAtRandom() {
    return static_cast<std::uint16_t>(random_.Chance(0.1) ? put_off_ : random_.Below(6));
  }

  SeededRandom random_;
  KindLists lists_;
  LearnedReuse learned_;
  std::size_t kinds_ = 0;
  std::vector<std::uint16_t> numbers_;
  std::size_t put_off_ = 0;
  std::uint32_t open_ = 0;
  std::optional<ListEnds> remembering_;
  int found_ = 0;
};

TEST(ListEndsTest, WhatIsRememberedIsWhatALookWouldFind) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    ChangingLists lists(seed);
    for (int i = 0; i < 2000; ++i) {
      lists.Step();
      ASSERT_NO_FATAL_FAILURE(lists.Compare());
    }
    EXPECT_GT(lists.found(), 1000);
  }
}

TEST(ListEndsTest, OfEqualsTheOldestOfTheFirstListLeavesAndTheOtherIsNextBest) {
  KindLists lists(kBlocks);
  LearnedReuse learned(kBlocks);
  const std::size_t kinds = learned.kinds().size();
  lists.Resize(kinds);
  ListEnds ends(lists, learned, learned.kinds().OfPutOff());
  ends.Reset();
  EXPECT_EQ(ends.Find(0).block, kNoBlock) << "nothing is there";
  for (const BlockId block : {1U, 2U}) {
    lists[block] = {};
    lists[block].list = lists.ListOf(static_cast<std::uint16_t>(block), 0);
    lists.Append(block);
  }
  EXPECT_EQ(ends.Find(0).block, kNoBlock) << "both are of the request under way";
  const ListEnds::Least least = ends.Find(7);
  EXPECT_EQ(least.block, 1U);
  EXPECT_EQ(least.list, 1U);
  EXPECT_TRUE(least.old);
  EXPECT_EQ(least.bound, learned.ValueOf(1, 0));
}

}  // namespace
}  // namespace terrace
