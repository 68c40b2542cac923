// Campaign: cycle after cycle of a daemon that works, dies, is started again and must have kept its
// promises.
//
// Model. A store lives for kCyclesPerStore cycles. A cycle: perhaps the index is deleted and the
// store checked by terracectl fsck; perhaps a start is killed; the daemon starts, every block is
// verified and its frames are counted; clients load it; it is killed, kills itself at a crash
// point, or is stopped. After a finding the store's folder is kept and the next store begins.
//
// Thread: the main thread's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/crash/crash_daemon.h"
#include "tests/crash/findings.h"
#include "tests/crash/log_marks.h"
#include "tests/crash/oracle.h"
#include "tests/crash/plan.h"

namespace terrace::crash {

struct CampaignOptions {
  std::uint64_t seed = 1;
  std::uint32_t first = 0;  ///< cycle to begin with, rounded down to the first of its store
  std::uint32_t cycles = 25;
  std::uint32_t reactors = 0;  ///< 1 or 2; 0: drawn for each store
  std::string data;            ///< folder for the stores, made when missing
  std::string programs;        ///< folder of terraced and terracectl
};

class Campaign {
 public:
  Campaign(CampaignOptions options, Findings& findings);
  ~Campaign();
  /// Runs all cycles; `progress` is called after each with its number and may end the campaign by
  /// answering false. The number of cycles that were run.
  std::uint32_t Run(const std::function<bool(std::uint32_t)>& progress);

  struct PointCount {
    std::uint32_t armed = 0;
    std::uint32_t fired = 0;
  };
  /// By name, in the order of CrashPoints().
  [[nodiscard]] const std::map<CrashPoint, PointCount>& points() const noexcept { return points_; }
  /// Over all stores.
  [[nodiscard]] const Oracle::Totals& totals() const noexcept { return totals_; }

 private:
  struct Store;
  /// `cycle`: its first.
  Status NewStore(std::uint32_t number, std::uint32_t cycle);
  void EndStore();
  Status RunCycle(const CyclePlan& plan);
  Status Prepare(const CyclePlan& plan);
  Status KillStart(const CyclePlan& plan);
  /// False: the daemon has ended, as planned.
  Result<bool> StartAndVerify(const CyclePlan& plan);
  Status LoadAndEnd(const CyclePlan& plan);
  Status StopIdle(const CyclePlan& plan);
  Status EndAfterSignal(const CyclePlan& plan);
  Status EndLife();
  /// The daemon has ended by itself: at its point, or there is something wrong.
  Status NoteEnd(const std::optional<ArmedPoint>& point, const std::string& when);
  [[nodiscard]] bool CameRoundSince(std::uint32_t life) const;

  const CampaignOptions options_;
  Findings& findings_;
  std::unique_ptr<Store> store_;
  std::map<CrashPoint, PointCount> points_;
  Oracle::Totals totals_;
};

}  // namespace terrace::crash
