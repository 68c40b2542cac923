// What is drawn for each store and each cycle of a campaign. Everything follows from the seed and
// the cycle's number, so that a store's cycles can be run again without those before it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/crash_point.h"

namespace terrace::crash {

/// Cycles on one store before the next gets a new one.
inline constexpr std::uint32_t kCyclesPerStore = 12;

/// A namespace of the store, as the load uses it.
struct SpacePlan {
  std::uint32_t chains = 0;
  std::uint32_t length = 0;  ///< blocks of a chain
  std::uint32_t shared = 0;  ///< chains that all writers put (oracle.h)
  std::uint64_t block_bytes = 0;
};

struct StorePlan {
  std::uint64_t id = 0;  ///< in the bytes of its blocks
  std::uint32_t reactors = 1;
  std::uint32_t devices = 1;
  std::uint64_t capacity_bytes = 0;
  std::uint32_t blocks_max = 0;  ///< of the index
  bool evicts = false;           ///< blocks_max is less than the load puts
  std::vector<SpacePlan> spaces;
};

/// What a cycle's load does more of, so that its crash point is reached.
enum class Focus : std::uint8_t { kNone, kLaps, kRemovals, kClears, kSpaces, kDurable };

enum class Ending : std::uint8_t {
  kKill,      ///< SIGKILL at a random moment, or by a crash point
  kStop,      ///< SIGTERM when the clients have left
  kStopBusy,  ///< SIGTERM while they work
};

struct ArmedPoint {
  CrashPoint point = CrashPoint::kNone;
  std::string_view name;
  std::uint32_t times = 1;
};

struct CyclePlan {
  bool new_store = false;  ///< the first of its store
  bool last_of_store = false;
  bool lose_index = false;  ///< its folder is deleted before the start
  bool fsck = false;
  /// A start before the one that serves is killed: at its point, or after kill_start_ms.
  bool kill_start = false;
  std::uint32_t kill_start_ms = 0;
  std::optional<ArmedPoint> start_point;
  std::optional<ArmedPoint> point;  ///< of the daemon that serves
  Ending ending = Ending::kKill;
  std::uint32_t load_ms = 0;  ///< then the end, at the latest
  Focus focus = Focus::kNone;
  std::uint32_t writers = 1;
  std::uint32_t readers = 1;
  // Settings of the daemon.
  std::uint64_t dram_bytes = 0;
  std::uint32_t sync_ms = 1000;
  std::uint32_t write_share_percent = 20;
  std::uint64_t write_bytes_per_day = 0;  ///< 0: no budget
  bool io_uring = true;
  bool same_host = true;
  std::uint64_t load_seed = 0;
};

/// `reactors` 0: 1 or 2 is drawn.
StorePlan PlanStore(std::uint64_t seed, std::uint32_t store, std::uint32_t reactors);
CyclePlan PlanCycle(std::uint64_t seed, std::uint32_t cycle);

/// The namespace that a load makes for itself.
SpacePlan ExtraSpace();

/// One line: what is drawn for a cycle, to be read beside a finding.
std::string Describe(const CyclePlan& plan);
std::string Describe(const StorePlan& plan);

}  // namespace terrace::crash
