#include "client/request/shard_plan.h"

#include <algorithm>
#include <numeric>

#include "transport/server.h"

namespace terrace {
namespace {

constexpr std::uint32_t kNoPlan = 0xffffffff;

/// Collects stretches by reactor.
class Planner {
 public:
  Planner(const Chain& chain, const Placement& placement)
      : chain_(chain), placement_(placement), plan_of_shard_(placement.shards, kNoPlan) {}

  /// REQUIRES: [first, first + count) lies in one run. Returns the plan's index.
  std::uint32_t Add(std::uint32_t first, std::uint32_t count) {
    const std::uint32_t shard =
        placement_.shards == 1
            ? 0
            : ShardOf(placement_.daemon_namespace, PlacementKey(chain_, placement_, first),
                      placement_.shards);
    std::uint32_t& plan = plan_of_shard_[shard];
    if (plan == kNoPlan) {
      plan = static_cast<std::uint32_t>(plans_.size());
      plans_.emplace_back().shard = shard;
    }
    plans_[plan].stretches.push_back({first, count});
    return plan;
  }
  ShardPlan& plan(std::uint32_t index) { return plans_[index]; }
  std::vector<ShardPlan> Take() { return std::move(plans_); }

 private:
  const Chain& chain_;
  const Placement& placement_;
  std::vector<std::uint32_t> plan_of_shard_;
  std::vector<ShardPlan> plans_;
};

}  // namespace

std::span<const std::byte> PlacementKey(const Chain& chain, const Placement& placement,
                                        std::uint32_t position) noexcept {
  return chain.key(position / placement.run_blocks * placement.run_blocks);
}

std::vector<ShardPlan> PlanRange(const Chain& chain, const Placement& placement,
                                 std::uint32_t first, std::uint32_t count,
                                 std::vector<MatchStep>* steps) {
  Planner planner(chain, placement);
  const std::uint32_t end = first + count;
  for (std::uint32_t position = first; position < end;) {
    const std::uint32_t in_run = placement.run_blocks - position % placement.run_blocks;
    const std::uint32_t length = std::min(in_run, end - position);
    const std::uint32_t plan = planner.Add(position, length);
    if (steps != nullptr) steps->push_back({plan, length});
    std::vector<std::uint32_t>& blocks = planner.plan(plan).blocks;
    for (std::uint32_t i = 0; i < length; ++i) blocks.push_back(position - first + i);
    position += length;
  }
  return planner.Take();
}

std::vector<ShardPlan> PlanBlocks(const Chain& chain, const Placement& placement,
                                  std::span<const BlockBuffer> blocks) {
  std::vector<std::uint32_t> order(blocks.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto before = [blocks](std::uint32_t left, std::uint32_t right) {
    return blocks[left].position < blocks[right].position;
  };
  // Callers nearly always ask in chain order.
  if (!std::is_sorted(order.begin(), order.end(), before)) {
    std::sort(order.begin(), order.end(), before);
  }
  Planner planner(chain, placement);
  for (std::size_t i = 0; i < order.size();) {
    const std::uint32_t first = blocks[order[i]].position;
    const std::uint32_t in_run = placement.run_blocks - first % placement.run_blocks;
    std::uint32_t length = 1;
    while (length < in_run && i + length < order.size() &&
           blocks[order[i + length]].position == first + length) {
      ++length;
    }
    ShardPlan& plan = planner.plan(planner.Add(first, length));
    plan.blocks.insert(plan.blocks.end(), order.begin() + static_cast<std::ptrdiff_t>(i),
                       order.begin() + static_cast<std::ptrdiff_t>(i + length));
    i += length;
  }
  return planner.Take();
}

}  // namespace terrace
