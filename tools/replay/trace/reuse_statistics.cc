#include "tools/replay/trace/reuse_statistics.h"

#include <algorithm>
#include <numeric>

namespace terrace::replay {

Distribution Summarize(std::vector<std::uint64_t> values) {
  Distribution result;
  if (values.empty()) return result;
  std::ranges::sort(values);
  const auto percentile = [&](std::size_t percent) {
    return values[(values.size() * percent + 99) / 100 - 1];
  };
  result.count = values.size();
  double sum = 0;
  for (const std::uint64_t value : values) sum += static_cast<double>(value);
  result.mean = sum / static_cast<double>(values.size());
  result.p10 = percentile(10);
  result.p50 = percentile(50);
  result.p90 = percentile(90);
  result.p99 = percentile(99);
  result.max = values.back();
  return result;
}

StackDistances::StackDistances(std::uint32_t distinct) : place_of_(distinct) {
  // Twice as many places as blocks: a renumbering then pays for at least as many uses as it costs.
  const std::size_t places = std::size_t{distinct} * 2 + 64;
  block_at_.resize(places);
  tree_.resize(places);
}

void StackDistances::Add(std::uint32_t place, std::int32_t change) {
  for (std::size_t at = place; at < tree_.size(); at += at & (~at + 1)) {
    tree_[at] += static_cast<std::uint32_t>(change);
  }
}

std::uint32_t StackDistances::UsedUpTo(std::uint32_t place) const {
  std::uint32_t sum = 0;
  for (std::size_t at = place; at > 0; at &= at - 1) sum += tree_[at];
  return sum;
}

void StackDistances::Renumber() {
  std::uint32_t kept = 1;
  for (std::uint32_t place = 1; place < next_; ++place) {
    const std::uint32_t block = block_at_[place];
    if (place_of_[block] != place) continue;
    block_at_[kept] = block;
    place_of_[block] = kept++;
  }
  next_ = kept;
  std::ranges::fill(tree_, 0U);
  for (std::size_t at = 1; at < tree_.size(); ++at) {
    if (at < kept) ++tree_[at];
    const std::size_t above = at + (at & (~at + 1));
    if (above < tree_.size()) tree_[above] += tree_[at];
  }
}

std::optional<std::uint32_t> StackDistances::Use(std::uint32_t block) {
  if (next_ == block_at_.size()) Renumber();
  std::optional<std::uint32_t> distance;
  const std::uint32_t last = place_of_[block];
  if (last != 0) {
    distance = used_ - UsedUpTo(last);
    Add(last, -1);
  } else {
    ++used_;
  }
  place_of_[block] = next_;
  block_at_[next_] = block;
  Add(next_++, 1);
  return distance;
}

ReuseGaps MeasureReuse(const Trace& trace, const BlockNumbers& blocks) {
  std::vector<std::uint64_t> last_ms(blocks.distinct);
  std::vector<std::uint64_t> gaps_ms;
  std::vector<std::uint64_t> gaps_blocks;
  gaps_ms.reserve(blocks.numbers.size() - blocks.distinct);
  gaps_blocks.reserve(blocks.numbers.size() - blocks.distinct);
  StackDistances distances(blocks.distinct);
  for (const TraceRequest& request : trace.requests) {
    for (const std::uint32_t block : blocks.Of(request)) {
      const std::optional<std::uint32_t> distance = distances.Use(block);
      if (distance.has_value()) {
        gaps_blocks.push_back(*distance);
        gaps_ms.push_back(request.timestamp_ms - last_ms[block]);
      }
      last_ms[block] = request.timestamp_ms;
    }
  }
  return {.ms = Summarize(std::move(gaps_ms)), .blocks = Summarize(std::move(gaps_blocks))};
}

}  // namespace terrace::replay
