#include "tests/crash/plan.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/random.h"

namespace terrace::crash {

namespace {

constexpr std::uint64_t kMebibyte = 1 << 20;

/// Numbers of their own for each thing that is drawn.
SeededRandom RandomFor(std::uint64_t seed, std::uint64_t kind, std::uint64_t number) {
  return SeededRandom(seed * 0x9e3779b97f4a7c15U + (number << 3) + kind);
}

template <typename Value, std::size_t kCount>
Value OneOf(Random& random, const Value (&values)[kCount]) {
  return values[random.Below(kCount)];
}

bool Begins(std::string_view name, std::string_view what) { return name.starts_with(what); }

/// How a crash point is reached: by a start on a new store, by any start, by one that rebuilds the
/// index, by a clean stop, or by a load.
enum class Kind : std::uint8_t { kNewStore, kStart, kRebuild, kStop, kLoad };

Kind KindOf(std::string_view name) {
  if (Begins(name, "store.") || name == "start.index_empty" || name == "start.index_noted") {
    return Kind::kNewStore;
  }
  if (Begins(name, "start.") || Begins(name, "recover.")) return Kind::kStart;
  if (Begins(name, "rebuild.")) return Kind::kRebuild;
  if (Begins(name, "stop.")) return Kind::kStop;
  return Kind::kLoad;
}

Focus FocusOf(std::string_view name) {
  if (Begins(name, "reclaim.") || Begins(name, "move.") || Begins(name, "segment.")) {
    return Focus::kLaps;
  }
  if (Begins(name, "remove.") || name == "record.unwanted") return Focus::kRemovals;
  if (Begins(name, "clear.")) return Focus::kClears;
  if (Begins(name, "namespace.")) return Focus::kSpaces;
  if (name == "put.durable" || name == "put.answered" || name == "record.synced") {
    return Focus::kDurable;
  }
  return Focus::kNone;
}

/// At most so many passes before the point strikes; small where few happen in a cycle.
std::uint32_t TimesMax(std::string_view name) {
  if (name == "record.synced" || name == "put.durable") return 30;
  if (name == "put.answered") return 5;
  if (Begins(name, "put.") || name == "record.written" || name == "entry.queued") return 300;
  if (name == "recover.entry" || name == "load.read" || name == "block.evicted") return 100;
  if (name == "index.written") return 100;
  if (name == "index.durable") return 20;
  if (Begins(name, "remove.")) return 40;
  if (Begins(name, "move.")) return 4;
  if (Begins(name, "segment.") || Begins(name, "reclaim.")) return 4;
  if (Begins(name, "clear.") || Begins(name, "namespace.")) return 2;
  return 1;
}

std::vector<CrashPointInfo> PointsOf(std::span<const Kind> kinds) {
  std::vector<CrashPointInfo> points;
  for (const CrashPointInfo& info : CrashPoints()) {
    if (std::find(kinds.begin(), kinds.end(), KindOf(info.name)) != kinds.end()) {
      points.push_back(info);
    }
  }
  return points;
}

ArmedPoint Arm(Random& random, const CrashPointInfo& info) {
  // Small numbers are as likely as all large ones together.
  const std::uint32_t most =
      random.Chance(0.4) ? std::min(3U, TimesMax(info.name)) : TimesMax(info.name);
  return {.point = info.point,
          .name = info.name,
          .times = static_cast<std::uint32_t>(random.Between(1, most))};
}

void PlanDaemon(Random& random, CyclePlan& plan) {
  plan.dram_bytes = OneOf(random, {4U, 8U, 16U, 32U}) * kMebibyte;
  plan.sync_ms = OneOf(random, {10U, 50U, 200U, 1000U});
  plan.write_share_percent = OneOf(random, {5U, 20U, 50U, 100U});
  if (random.Chance(0.05)) plan.write_bytes_per_day = OneOf(random, {8U, 64U, 1024U}) * kMebibyte;
  plan.io_uring = !random.Chance(0.25);
  plan.same_host = !random.Chance(0.2);
}

void PlanNewStore(Random& random, CyclePlan& plan) {
  if (!random.Chance(0.75)) return;
  constexpr Kind kKinds[] = {Kind::kNewStore, Kind::kNewStore};
  const std::vector<CrashPointInfo> points = PointsOf(kKinds);
  plan.kill_start = true;
  plan.start_point = Arm(random, points[random.Below(points.size())]);
}

/// A point for the daemon of this cycle.
void PlanPoint(Random& random, CyclePlan& plan) {
  constexpr Kind kKinds[] = {Kind::kStart, Kind::kRebuild, Kind::kStop, Kind::kLoad, Kind::kLoad};
  const std::vector<CrashPointInfo> points = PointsOf(kKinds);
  const CrashPointInfo& info = points[random.Below(points.size())];
  switch (KindOf(info.name)) {
    case Kind::kRebuild: plan.lose_index = true; [[fallthrough]];
    case Kind::kStart:
      plan.kill_start = true;
      plan.start_point = Arm(random, info);
      break;
    case Kind::kStop:
      plan.point = Arm(random, info);
      plan.ending = random.Chance(0.5) ? Ending::kStop : Ending::kStopBusy;
      break;
    case Kind::kLoad:
      plan.point = Arm(random, info);
      plan.focus = FocusOf(info.name);
      // Where little is evicted, little is written again when its segment is reused.
      if (plan.focus == Focus::kLaps || info.point == CrashPoint::kBlockEvicted) {
        plan.dram_bytes = 4 * kMebibyte;
      }
      plan.load_ms = static_cast<std::uint32_t>(random.Between(600, 900));
      break;
    case Kind::kNewStore: break;
  }
}

const char* NameOf(Focus focus) {
  switch (focus) {
    case Focus::kNone: return "none";
    case Focus::kLaps: return "laps";
    case Focus::kRemovals: return "removals";
    case Focus::kClears: return "clears";
    case Focus::kSpaces: return "namespaces";
    case Focus::kDurable: return "durable";
  }
  return "?";
}

const char* NameOf(Ending ending) {
  switch (ending) {
    case Ending::kKill: return "kill -9";
    case Ending::kStop: return "clean stop";
    case Ending::kStopBusy: return "clean stop under load";
  }
  return "?";
}

}  // namespace

StorePlan PlanStore(std::uint64_t seed, std::uint32_t store, std::uint32_t reactors) {
  SeededRandom random = RandomFor(seed, 1, store);
  StorePlan plan;
  plan.id = random.Next();
  plan.reactors = static_cast<std::uint32_t>(random.Between(1, 2));
  if (reactors != 0) plan.reactors = reactors;
  plan.devices = random.Chance(0.2) ? 2 : 1;
  plan.capacity_bytes = OneOf(random, {20U, 24U, 48U, 128U}) * plan.devices * kMebibyte;
  plan.evicts = random.Chance(0.1);
  plan.blocks_max = plan.evicts ? 600 : 60'000;
  const std::uint64_t sizes[] = {4096, 8192, 20480, 65536};
  for (int space = 0; space < 3; ++space) {
    plan.spaces.push_back({.chains = static_cast<std::uint32_t>(random.Between(4, 10)),
                           .length = static_cast<std::uint32_t>(random.Between(8, 40)),
                           .shared = static_cast<std::uint32_t>(random.Between(0, 2)),
                           .block_bytes = OneOf(random, sizes)});
  }
  // One chain that spans two runs, so that its blocks lie on two reactors.
  plan.spaces.push_back({.chains = 2, .length = 90, .shared = 1, .block_bytes = 8192});
  return plan;
}

CyclePlan PlanCycle(std::uint64_t seed, std::uint32_t cycle) {
  SeededRandom random = RandomFor(seed, 2, cycle);
  CyclePlan plan;
  plan.load_seed = random.Next();
  plan.new_store = cycle % kCyclesPerStore == 0;
  plan.last_of_store = cycle % kCyclesPerStore == kCyclesPerStore - 1;
  plan.fsck = random.Chance(0.12);
  plan.writers = static_cast<std::uint32_t>(random.Between(1, 3));
  plan.readers = static_cast<std::uint32_t>(random.Between(1, 2));
  // Short lives are as likely as long ones: 5 ms to 1.5 s, half of them below 400 ms.
  const double length = random.Unit();
  plan.load_ms = static_cast<std::uint32_t>(5 + length * length * 1495);
  plan.focus = random.Chance(0.3) ? Focus::kLaps : Focus::kNone;
  PlanDaemon(random, plan);
  if (plan.new_store) PlanNewStore(random, plan);
  if (!plan.new_store && random.Chance(0.7)) PlanPoint(random, plan);
  if (!plan.new_store && random.Chance(0.05)) plan.lose_index = true;
  if (!plan.kill_start && random.Chance(0.08)) {
    plan.kill_start = true;
    plan.kill_start_ms = static_cast<std::uint32_t>(random.Between(0, 150));
  }
  if (!plan.point && random.Chance(0.15)) {
    plan.ending = random.Chance(0.5) ? Ending::kStop : Ending::kStopBusy;
  }
  // The last life of a store ends when its clients have left: what leaks is counted then.
  if (plan.last_of_store) {
    plan.ending = Ending::kStop;
    plan.point.reset();
  }
  return plan;
}

SpacePlan ExtraSpace() { return {.chains = 2, .length = 12, .shared = 0, .block_bytes = 4096}; }

std::string Describe(const CyclePlan& plan) {
  const auto point = [](const std::optional<ArmedPoint>& armed) {
    return armed ? std::string(armed->name) + ":" + std::to_string(armed->times) : "-";
  };
  std::string text = std::string(NameOf(plan.ending)) + " after " + std::to_string(plan.load_ms) +
                     " ms, point " + point(plan.point) + ", focus " + NameOf(plan.focus) + ", " +
                     std::to_string(plan.writers) + " writers, " + std::to_string(plan.readers) +
                     " readers, dram " + std::to_string(plan.dram_bytes / kMebibyte) +
                     " MiB, sync_ms " + std::to_string(plan.sync_ms) + ", write_share " +
                     std::to_string(plan.write_share_percent) + " %, budget " +
                     std::to_string(plan.write_bytes_per_day) + ", io_uring " +
                     (plan.io_uring ? "yes" : "no") + ", copies " + (plan.same_host ? "yes" : "no");
  if (plan.kill_start) {
    text += ", a start killed at " + point(plan.start_point) + " or after " +
            std::to_string(plan.kill_start_ms) + " ms";
  }
  if (plan.lose_index) text += ", index deleted";
  if (plan.fsck) text += ", fsck";
  return text;
}

std::string Describe(const StorePlan& plan) {
  std::string text = std::to_string(plan.reactors) + " reactors, " + std::to_string(plan.devices) +
                     " devices of " + std::to_string(plan.capacity_bytes / kMebibyte) +
                     " MiB in all, index of " + std::to_string(plan.blocks_max) + " blocks";
  for (const SpacePlan& space : plan.spaces) {
    text += ", namespace of " + std::to_string(space.chains) + " x " +
            std::to_string(space.length) + " blocks of " + std::to_string(space.block_bytes);
  }
  return text;
}

}  // namespace terrace::crash
