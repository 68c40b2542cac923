#include "cache/policy/list_ends.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <utility>

namespace terrace {
namespace {

/// What is put off is not offered for so many ticks, an eighth of the capacity, while others are.
constexpr std::uint32_t kPutOffTicks = LearnedReuse::kTicksPerCapacity / 8;
/// For ever, as far as ticks can be told apart.
constexpr std::uint32_t kLong = 1U << 30;

std::int32_t LeastOf(std::span<const std::int32_t> values, std::int32_t most) {
  std::int32_t least = most;
  for (const std::int32_t value : values) least = std::min(least, value);
  return least;
}

std::size_t WhereIs(std::int32_t value, std::span<const std::int32_t> values) {
  return static_cast<std::size_t>(std::ranges::find(values, value) - values.begin());
}

bool Reached(std::uint32_t now, std::uint32_t when) {
  return static_cast<std::int32_t>(now - when) >= 0;
}

}  // namespace

void ListEnds::Reset() {
  const std::size_t lists = lists_.size();
  old_values_.assign(lists, kNoValue);
  young_values_.assign(lists, kNoValue);
  old_.assign(lists, kNoBlock);
  young_.assign(lists, kNoBlock);
  first_whens_.assign(lists, 0);
  last_whens_.assign(lists, 0);
  until_.assign(lists, learned_.Now());
}

BlockId ListEnds::EndOf(std::size_t list, bool old, std::uint32_t open) {
  const BlockId oldest = lists_.Oldest(list);
  if (oldest == kNoBlock) return kNoBlock;
  const std::uint32_t when = lists_[oldest].when;
  if (list == put_off_) {
    return old && Reached(learned_.Now(), when + kPutOffTicks) ? oldest : kNoBlock;
  }
  if (when == open) return kNoBlock;
  return old ? oldest : lists_.Youngest(list, open);
}

std::int32_t ListEnds::ValueAt(std::size_t list, BlockId block, std::uint32_t& until) {
  if (block == kNoBlock) return kNoValue;
  const std::uint32_t when = lists_[block].when;
  const std::size_t step = AgeStep(learned_.Now() - when);
  if (step + 1 < kReuseAges) {
    const std::uint32_t next = when + AgeOfStep(step + 1);
    if (!Reached(next, until)) until = next;
  }
  return std::bit_cast<std::int32_t>(learned_.ValueOf(lists_.KindOf(list), step) *
                                     lists_.FactorOf(list));
}

void ListEnds::LookAt(std::size_t list, std::uint32_t open) {
  std::uint32_t until = learned_.Now() + kLong;
  old_[list] = EndOf(list, true, open);
  young_[list] = EndOf(list, false, open);
  if (const BlockId front = lists_.Oldest(list); front != kNoBlock) {
    first_whens_[list] = lists_[front].when;
    last_whens_[list] = lists_[lists_.Newest(list)].when;
    if (list == put_off_ && old_[list] == kNoBlock) until = first_whens_[list] + kPutOffTicks;
  }
  old_values_[list] = ValueAt(list, old_[list], until);
  young_values_[list] = ValueAt(list, young_[list], until);
  until_[list] = until;
}

void ListEnds::LookAgain(std::uint32_t open) {
  // First which, without a branch; then those one by one.
  const std::span<std::uint8_t> changed = lists_.changed();
  const auto mark = [&changed](std::size_t list, bool change) {
    changed[list] |= static_cast<std::uint8_t>(change);
  };
  const std::size_t lists = until_.size();
  if (const std::uint32_t was = std::exchange(open_, open); was != open) {
    for (std::size_t list = 0; list < lists; ++list) {
      mark(list, first_whens_[list] == open);
      mark(list, last_whens_[list] == open);
      mark(list, first_whens_[list] == was);
      mark(list, last_whens_[list] == was);
    }
  }
  const std::uint32_t now = learned_.Now();
  for (std::size_t list = 0; list < lists; ++list) mark(list, Reached(now, until_[list]));
  for (std::size_t list = 0; list < lists; ++list) {
    const void* const found = std::memchr(&changed[list], 1, lists - list);
    if (found == nullptr) return;
    list = static_cast<std::size_t>(static_cast<const std::uint8_t*>(found) - changed.data());
    changed[list] = 0;
    LookAt(list, open);
  }
}

ListEnds::Least ListEnds::Find(std::uint32_t open) {
  LookAgain(open);
  const std::int32_t old = LeastOf(old_values_, kNoValue);
  const std::int32_t young = LeastOf(young_values_, kNoValue);
  if (old == kNoValue) return {};
  const std::size_t oldest_list = WhereIs(old, old_values_);
  // Of equals the one of the first list, there the oldest.
  const std::size_t young_list = young <= old ? WhereIs(young, young_values_) : 0;
  const bool is_old = old < young || (old == young && oldest_list <= young_list);
  const std::size_t list = is_old ? oldest_list : young_list;
  // The next best is the best when this one is not there.
  std::int32_t& best = (is_old ? old_values_ : young_values_)[list];
  const std::int32_t value = std::exchange(best, kNoValue);
  const std::int32_t bound = LeastOf(is_old ? old_values_ : young_values_, is_old ? young : old);
  best = value;
  return {.block = (is_old ? old_ : young_)[list],
          .list = list,
          .old = is_old,
          .bound = std::bit_cast<float>(bound),
          .oldest_list = oldest_list};
}

}  // namespace terrace
