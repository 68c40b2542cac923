// Client: what of a match to load and what to compute (client/plan).
#include <algorithm>
#include <array>
#include <cstdint>
#include <new>

#include "client/calls/client_impl.h"
#include "client/plan/block_sources.h"
#include "client/plan/load_planner.h"
#include "client/terrace.hpp"

namespace terrace {

Result<LoadPlan> Client::Plan(const PrefixMatch& match, const PlanRequest& request) {
  try {
    return PlanLoad(match, request);
  } catch (const std::bad_alloc&) {
    return Impl::OutOfMemory();
  }
}

Result<LoadPlan> Client::Plan(const MatchResult& match, const PlanRequest& request) {
  try {
    return PlanLoad(AsPrefixMatch(match), request);
  } catch (const std::bad_alloc&) {
    return Impl::OutOfMemory();
  }
}

std::array<BlockSpan, 2> Client::BlocksToLoad(const LoadPlan& plan, const GroupPolicy& policy) {
  const BlockSpan front = BlocksNeeded(policy, plan.front);
  const BlockSpan needed = BlocksNeeded(policy, plan.stop);
  const std::uint32_t back = std::max(needed.first, plan.back);
  return {front, BlockSpan{.first = back, .count = plan.stop - std::min(back, plan.stop)}};
}

}  // namespace terrace
