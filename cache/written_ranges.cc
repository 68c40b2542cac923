#include "cache/written_ranges.h"

#include <iterator>
#include <utility>

#include "base/check.h"

namespace terrace {

StatusCode WrittenRanges::Take(std::uint64_t offset, std::uint64_t length) {
  if (length == 0 || offset >= bytes_ || length > bytes_ - offset) return StatusCode::kInvalid;
  const auto after = fragments_.lower_bound(offset);
  if (after != fragments_.end() && after->first < offset + length) return StatusCode::kInvalid;
  if (after != fragments_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second.length > offset) return StatusCode::kInvalid;
  }
  if (fragments_.size() >= kFragmentsMax) return StatusCode::kRetry;
  fragments_.emplace_hint(after, offset, Fragment{.length = length, .written = false});
  return StatusCode::kOk;
}

void WrittenRanges::Finish(std::uint64_t offset, std::vector<std::uint64_t> sums) {
  const auto found = fragments_.find(offset);
  TERRACE_CHECK(found != fragments_.end() && !found->second.written);
  found->second.written = true;
  found->second.sums = std::move(sums);
  written_bytes_ += found->second.length;
}

void WrittenRanges::Free(std::uint64_t offset) {
  const auto found = fragments_.find(offset);
  TERRACE_CHECK(found != fragments_.end() && !found->second.written);
  fragments_.erase(found);
}

WrittenRanges::Found WrittenRanges::Written(std::uint64_t begin, std::uint64_t end) const noexcept {
  const auto after = fragments_.upper_bound(begin);
  if (after == fragments_.begin()) return {};
  const auto& [offset, fragment] = *std::prev(after);
  if (!fragment.written || end > offset + fragment.length) return {};
  return {.offset = offset, .fragment = &fragment};
}

WrittenRanges::Gap WrittenRanges::FirstGap() const noexcept {
  std::uint64_t next = 0;
  for (const auto& [offset, fragment] : fragments_) {
    if (offset != next) break;
    if (!fragment.written) return {.byte = offset, .taken = true};
    next = offset + fragment.length;
  }
  return {.byte = next, .taken = false};
}

}  // namespace terrace
