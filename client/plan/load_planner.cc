#include "client/plan/load_planner.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/load_time.h"
#include "client/plan/block_sources.h"
#include "client/plan/compute_time.h"
#include "client/terrace.hpp"

namespace terrace {

namespace {

constexpr double kLoadMargin = 1.05;
constexpr std::uint64_t kTokensMax = 1ULL << 40;
constexpr std::size_t kTurnsMax = 8;  // of tiers, as candidates for the ends
constexpr std::size_t kGridMax = 64;  // stops that are tried as prefixes

/// A split, and what it takes.
struct Split {
  std::uint32_t front = 0;
  std::uint32_t back = 0;
  std::uint32_t stop = 0;
  double weighed = 0;  // what is compared
  double seconds = 0;
  double load = 0;  // of its loads alone

  [[nodiscard]] bool Better(const Split& other) const noexcept { return weighed < other.weighed; }
};

class Planner {
 public:
  Planner(const PrefixMatch& match, const PlanRequest& request)
      : match_(match), request_(request), compute_(request.rate) {
    for (const GroupPresence& pair : match.found) {
      pairs_.emplace_back(pair.policy, pair.block_bytes, pair.sources, match.load_from.size());
      largest_ = std::max(largest_, pair.block_bytes);
    }
    bytes_.resize(match.load_from.size());
    FindTurns();
  }

  [[nodiscard]] LoadPlan Run() {
    Split best = Prefix(0);
    const auto keep = [&best](const Split& split) {
      if (split.Better(best)) best = split;
    };
    const std::size_t step = std::max<std::size_t>(1, match_.stops.size() / kGridMax);
    for (std::size_t i = 0; i < match_.stops.size(); i += step) keep(Prefix(match_.stops[i]));
    for (const std::uint32_t stop : turns_) keep(Prefix(stop));
    best = MovePrefix(best, step);
    if (request_.overlap && !match_.stops.empty()) {
      keep(BestFrom(0));
      for (const std::uint32_t front : turns_) keep(BestFrom(front));
      best = MoveEnds(best);
    }
    return PlanOf(best);
  }

 private:
  /// Stops at which the tier changes, and the longest.
  void FindTurns() {
    if (match_.stops.empty()) return;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> found;  // length before it, position
    for (const BlockSources& pair : pairs_) {
      std::uint32_t since = 0;
      for (std::size_t i = 1; i < pair.stretches().size(); ++i) {
        if (TierOf(pair.SourceOfStretch(i)) == TierOf(pair.SourceOfStretch(i - 1))) continue;
        const std::uint32_t turn = pair.stretches()[i];
        if (turn >= match_.longest) break;
        found.emplace_back(turn - since, StopAtMost(turn));
        since = turn;
      }
    }
    // The longest first; most are never looked at.
    std::ranges::make_heap(found);
    while (!found.empty() && turns_.size() < kTurnsMax) {
      std::ranges::pop_heap(found);
      const std::uint32_t stop = found.back().second;
      found.pop_back();
      if (stop > 0 && std::ranges::find(turns_, stop) == turns_.end()) turns_.push_back(stop);
    }
    turns_.push_back(match_.longest);
  }
  [[nodiscard]] TierKind TierOf(std::uint16_t source) const {
    return source == kNoSource ? TierKind::kNone : match_.load_from[source].tier;
  }
  /// The last stop up to `position`; 0 when there is none.
  [[nodiscard]] std::uint32_t StopAtMost(std::uint32_t position) const {
    const auto after = std::ranges::upper_bound(match_.stops, position);
    return after == match_.stops.begin() ? 0 : *std::prev(after);
  }

  [[nodiscard]] std::uint64_t TokensOf(std::uint32_t blocks) const {
    return std::min(std::uint64_t{blocks} * match_.block_tokens, request_.tokens);
  }
  [[nodiscard]] double Computing(std::uint32_t from, std::uint32_t to) const {
    return compute_.Between(TokensOf(from), TokensOf(to));
  }
  /// What [0, front) and [back, stop) take to load.
  [[nodiscard]] double Loading(std::uint32_t front, std::uint32_t back, std::uint32_t stop) {
    std::ranges::fill(bytes_, 0);
    for (const BlockSources& pair : pairs_) {
      const BlockSpan first = BlocksNeeded(pair.policy(), front);
      pair.AddBytes(first.first, front, bytes_);
      const BlockSpan last = BlocksNeeded(pair.policy(), stop);
      pair.AddBytes(std::max(last.first, back), stop, bytes_);
    }
    return LoadSeconds(match_.load_from, bytes_, largest_);
  }

  Split Prefix(std::uint32_t stop) {
    Split split{.front = stop, .back = stop, .stop = stop};
    split.load = Loading(stop, stop, stop);
    const double rest = compute_.Between(TokensOf(stop), request_.tokens);
    split.seconds = split.load + rest;
    split.weighed = split.load * kLoadMargin + rest;
    return split;
  }
  Split Overlapped(std::uint32_t front, std::uint32_t back, std::uint32_t stop, double first) {
    Split split{.front = front, .back = back, .stop = stop};
    split.load = Loading(front, back, stop);
    const double meanwhile = Computing(front, back);
    const double rest = compute_.Between(TokensOf(stop), request_.tokens);
    split.seconds = std::max(first + meanwhile, split.load) + rest;
    split.weighed = std::max(first * kLoadMargin + meanwhile, split.load * kLoadMargin) + rest;
    return split;
  }
  /// The best `back` between two ends. REQUIRES: front < stop.
  Split BestBack(std::uint32_t front, std::uint32_t stop) {
    const double first = Loading(front, front, front);
    const auto computes_longer = [&](std::uint32_t back) {
      return first * kLoadMargin + Computing(front, back) >=
             Loading(front, back, stop) * kLoadMargin;
    };
    // The lowest at which computing takes as long as loading; at `stop` nothing is loaded behind.
    std::uint32_t low = front;
    std::uint32_t high = stop;
    while (low < high) {
      const std::uint32_t middle = low + (high - low) / 2;
      if (computes_longer(middle)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    Split best = Prefix(front);
    for (const std::uint32_t back : {low, low - 1}) {
      if (back <= front || back >= stop) continue;
      const Split split = Overlapped(front, back, stop, first);
      if (split.Better(best)) best = split;
    }
    return best;
  }

  /// Tries stops beside the best prefix, ever nearer. `step`: between those that were tried.
  Split MovePrefix(Split best, std::size_t step) {
    if (match_.stops.empty()) return best;
    const auto last = static_cast<std::ptrdiff_t>(match_.stops.size()) - 1;
    for (; step > 0; step /= 2) {
      const auto at = std::ranges::lower_bound(match_.stops, best.stop) - match_.stops.begin();
      for (const std::ptrdiff_t by :
           {-static_cast<std::ptrdiff_t>(step), static_cast<std::ptrdiff_t>(step)}) {
        const Split split = Prefix(
            match_.stops[static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(at + by, 0, last))]);
        if (split.Better(best)) best = split;
      }
    }
    return best;
  }
  /// The best plan that loads [0, front) first: of the stops where the tier changes, then of those
  /// beside it, ever nearer.
  Split BestFrom(std::uint32_t front) {
    Split best = Prefix(front);
    const auto take = [&](std::uint32_t stop) {
      if (front >= stop) return;
      const Split split = BestBack(front, stop);
      if (split.Better(best)) best = split;
    };
    for (const std::uint32_t stop : turns_) take(stop);
    for (std::uint32_t step = (match_.longest - front) / 2; step > 0; step /= 2) {
      const std::uint32_t from = std::max(best.stop, front);
      take(StopAtMost(from - std::min(step, from)));
      take(StopAtMost(std::min(from + step, match_.longest)));
    }
    return best;
  }
  /// The same for both ends of a plan that overlaps.
  Split MoveEnds(Split best) {
    for (std::uint32_t step = match_.longest / 2; step > 0; step /= 2) {
      const Split from = best;
      const std::uint32_t less_front = StopAtMost(from.front - std::min(step, from.front));
      const std::uint32_t more_front = StopAtMost(std::min(from.front + step, match_.longest));
      const std::uint32_t less_stop = StopAtMost(from.stop - std::min(step, from.stop));
      const std::uint32_t more_stop = StopAtMost(std::min(from.stop + step, match_.longest));
      const std::pair<std::uint32_t, std::uint32_t> tries[] = {{less_front, from.stop},
                                                               {more_front, from.stop},
                                                               {from.front, less_stop},
                                                               {from.front, more_stop}};
      for (const auto& [front, stop] : tries) {
        if (front >= stop) continue;
        const Split split = BestBack(front, stop);
        if (split.Better(best)) best = split;
      }
    }
    return best;
  }

  [[nodiscard]] LoadPlan PlanOf(const Split& split) {
    LoadPlan plan{.front = split.front, .back = split.back, .stop = split.stop};
    const auto span = [](std::uint64_t from, std::uint64_t to) {
      return TokenSpan{.first = from, .count = to - from};
    };
    plan.compute = {span(TokensOf(split.front), TokensOf(split.back)),
                    span(TokensOf(split.stop), request_.tokens)};
    plan.seconds = split.seconds;
    plan.load_seconds = split.load;
    plan.load_all_seconds = Prefix(match_.longest).seconds;
    plan.compute_all_seconds = Prefix(0).seconds;
    return plan;
  }

  const PrefixMatch& match_;
  const PlanRequest& request_;
  const ComputeTime compute_;
  std::vector<BlockSources> pairs_;
  std::vector<std::uint32_t> turns_;
  std::vector<std::uint64_t> bytes_;  // per source, of the set that is looked at
  std::uint64_t largest_ = 0;
};

Status CheckMatch(const PrefixMatch& match) {
  if (match.longest == 0) return {};
  if (match.load_from.empty()) {
    return {StatusCode::kUnsupported,
            "match says nothing of times: the daemon is older than its planner"};
  }
  const auto is_sparse = [](const GroupPresence& pair) {
    return pair.policy.policy == StopPolicy::kSparse;
  };
  if (!match.found.empty() && std::ranges::all_of(match.found, is_sparse)) {
    return {StatusCode::kUnsupported,
            "match.found: sparse groups alone have no prefix to plan for"};
  }
  for (const GroupPresence& pair : match.found) {
    for (std::size_t i = 0; i < std::min<std::size_t>(match.longest, pair.sources.size()); ++i) {
      const bool ready = i >= pair.blocks.size() || pair.blocks[i] == Presence::kReady;
      if (ready && pair.sources[i] == kNoSource) {
        return {StatusCode::kUnsupported,
                "match says nothing of the time that block " + std::to_string(i) + " takes"};
      }
    }
    const bool known = std::ranges::all_of(pair.sources, [&match](std::uint16_t source) {
      return source == kNoSource || source < match.load_from.size();
    });
    if (!known || pair.sources.size() < match.longest) {
      return Status::Invalid("match.found: its sources are not those of the match");
    }
  }
  const bool whole = std::ranges::is_sorted(match.stops) && !match.stops.empty() &&
                     match.stops.back() == match.longest && match.block_tokens > 0;
  if (!whole || match.load_from.front().tier != TierKind::kDram ||
      std::ranges::any_of(match.load_from,
                          [](const LoadSource& s) { return s.bytes_per_s == 0; })) {
    return Status::Invalid("match: it is none that a client answered");
  }
  return {};
}

Status CheckTokens(const PrefixMatch& match, std::uint64_t tokens) {
  if (tokens == 0 || tokens > kTokensMax) {
    return Status::Invalid("tokens is " + std::to_string(tokens) + ", must be 1 to 2^40 (" +
                           std::to_string(kTokensMax) + ")");
  }
  if (match.longest > 0 && tokens <= std::uint64_t{match.longest - 1} * match.block_tokens) {
    return Status::Invalid("tokens is " + std::to_string(tokens) + ", the match reaches over " +
                           std::to_string(match.longest) + " blocks of " +
                           std::to_string(match.block_tokens));
  }
  return {};
}

}  // namespace

Result<LoadPlan> PlanLoad(const PrefixMatch& match, const PlanRequest& request) {
  if (Status status = CheckRate(request.rate); !status.ok()) return status;
  if (Status status = CheckTokens(match, request.tokens); !status.ok()) return status;
  if (Status status = CheckMatch(match); !status.ok()) return status;
  return Planner(match, request).Run();
}

PrefixMatch AsPrefixMatch(const MatchResult& match) {
  PrefixMatch prefix;
  prefix.longest = match.matched;
  prefix.stops.resize(match.matched);
  for (std::uint32_t i = 0; i < match.matched; ++i) prefix.stops[i] = i + 1;
  GroupPresence& pair = prefix.found.emplace_back();
  pair.sources = match.sources;
  pair.block_bytes = match.block_bytes;
  prefix.load_from = match.load_from;
  prefix.block_tokens = match.block_tokens;
  return prefix;
}

}  // namespace terrace
