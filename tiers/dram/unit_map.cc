#include "tiers/dram/unit_map.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace terrace {

UnitMap::UnitMap(std::uint32_t units)
    : units_(units), free_units_(units), longest_run_(units), free_((units + 63) / 64) {
  for (std::uint32_t unit = 0; unit < units; ++unit) free_[unit / 64] |= 1ULL << (unit % 64);
}

std::uint32_t UnitMap::NextFree(std::uint32_t from) const noexcept {
  while (from < units_) {
    const std::uint64_t word = free_[from / 64] >> (from % 64);
    if (word != 0) return from + static_cast<std::uint32_t>(std::countr_zero(word));
    from = (from / 64 + 1) * 64;
  }
  return units_;
}

std::uint32_t UnitMap::NextTaken(std::uint32_t from) const noexcept {
  while (from < units_) {
    // Zeros shifted in at the top only mean "look at the next word".
    const std::uint64_t word = ~free_[from / 64] >> (from % 64);
    if (word != 0) {
      return std::min(units_, from + static_cast<std::uint32_t>(std::countr_zero(word)));
    }
    from = (from / 64 + 1) * 64;
  }
  return units_;
}

std::uint32_t UnitMap::FindRun(std::uint32_t count) const noexcept {
  if (count > longest_run_) return kNoUnit;
  for (std::uint32_t first = NextFree(0); first < units_;) {
    const std::uint32_t end = NextTaken(first);
    if (end - first >= count) return first;
    first = NextFree(end);
  }
  return kNoUnit;
}

void UnitMap::MeasureLongestRun() noexcept {
  longest_run_ = 0;
  for (std::uint32_t first = NextFree(0); first < units_;) {
    const std::uint32_t end = NextTaken(first);
    longest_run_ = std::max(longest_run_, end - first);
    first = NextFree(end);
  }
}

void UnitMap::Take(std::uint32_t first, std::uint32_t count) {
  TERRACE_CHECK(count > 0 && first + count <= units_);
  for (std::uint32_t unit = first; unit < first + count; ++unit) {
    const std::uint64_t bit = 1ULL << (unit % 64);
    TERRACE_CHECK((free_[unit / 64] & bit) != 0);
    free_[unit / 64] &= ~bit;
  }
  free_units_ -= count;
  MeasureLongestRun();
}

void UnitMap::Give(std::uint32_t first, std::uint32_t count) {
  TERRACE_CHECK(count > 0 && first + count <= units_);
  for (std::uint32_t unit = first; unit < first + count; ++unit) {
    const std::uint64_t bit = 1ULL << (unit % 64);
    TERRACE_CHECK((free_[unit / 64] & bit) == 0);
    free_[unit / 64] |= bit;
  }
  free_units_ += count;
  MeasureLongestRun();
}

}  // namespace terrace
