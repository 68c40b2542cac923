// PlanLoad: what of a match to load and what to compute. Pure; any thread.
//
// Model. With F the loading of [0, front), L that of everything, C computing:
//
//   time = max(F + C(front, back), L) + C(stop, tokens)
//
// F and L are base/load_time.h over the sources of the match; what is loaded is counted 5 % longer
// while plans are compared, because to expect too little of loading costs half as much as to expect
// too much. A plan without an overlap has front = back = stop.
//
// The search is not over all splits. For given ends, `back` is found by bisection: computing grows
// with it, loading shrinks. Candidates of the ends are where the tier changes (the eight longest
// stretches), the longest stop, and a grid of stops; the best is then moved by ever smaller steps.
// A test compares it with all splits.
#pragma once

#include "base/result.h"
#include "client/types.hpp"

namespace terrace {

/// As Client::Plan.
Result<LoadPlan> PlanLoad(const PrefixMatch& match, const PlanRequest& request);
/// Of a match of one group as one over groups, all of whose blocks are needed.
PrefixMatch AsPrefixMatch(const MatchResult& match);

}  // namespace terrace
