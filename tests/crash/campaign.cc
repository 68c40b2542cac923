#include "tests/crash/campaign.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "tests/crash/load.h"
#include "tests/crash/verify.h"

namespace terrace::crash {

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// Limits with room for a busy machine: a start takes 0.1 s, a clean stop at most 10 s.
constexpr auto kReadyMax = 60s;
constexpr auto kStopMax = 30s;
/// For a crash point on the way of a start, which passes it or not.
constexpr auto kStartPointMax = 10s;
/// A connection may be lost on a busy machine while the daemon lives.
constexpr auto kEndWait = 500ms;
constexpr int kVerifyTriesMax = 5;

Status NotAsPlanned(const std::string& what) { return {StatusCode::kInternal, what}; }

}  // namespace

/// A store and all that is known of it.
struct Campaign::Store {
  Store(const std::string& programs, std::string the_folder, const StorePlan& the_plan)
      : folder(std::move(the_folder)),
        plan(the_plan),
        daemon(programs + "/terraced", folder),
        oracle({.one_device = the_plan.devices == 1, .evicts = the_plan.evicts}),
        spaces(the_plan.spaces) {
    for (const SpacePlan& space : spaces) {
      oracle.AddSpace(space.chains, space.length, space.shared);
    }
  }
  const std::string folder;
  const StorePlan plan;
  CrashDaemon daemon;
  Oracle oracle;
  std::vector<SpacePlan> spaces;
  std::vector<LogMark> marks{LogMark()};  ///< [life]: when it began
  bool failed = false;
};

Campaign::Campaign(CampaignOptions options, Findings& findings)
    : options_(std::move(options)), findings_(findings) {
  for (const CrashPointInfo& info : CrashPoints()) points_[info.point] = {};
}

Campaign::~Campaign() = default;

Status Campaign::NewStore(std::uint32_t number, std::uint32_t cycle) {
  const std::string folder = options_.data + "/store-of-cycle-" + std::to_string(cycle);
  std::error_code error;
  fs::remove_all(folder, error);
  fs::create_directories(folder, error);
  if (error) return {StatusCode::kIo, folder + ": " + error.message()};
  store_ = std::make_unique<Store>(options_.programs, folder,
                                   PlanStore(options_.seed, number, options_.reactors));
  return {};
}

void Campaign::EndStore() {
  if (store_ == nullptr) return;
  const Oracle::Totals totals = store_->oracle.totals();
  totals_.stored += totals.stored;
  totals_.durable += totals.durable;
  totals_.removed += totals.removed;
  totals_.clears += totals.clears;
  totals_.right += totals.right;
  store_->daemon.Kill();
  const std::string folder = store_->folder;
  const bool failed = store_->failed;
  store_.reset();
  std::error_code error;
  if (!failed) fs::remove_all(folder, error);
}

std::uint32_t Campaign::Run(const std::function<bool(std::uint32_t)>& progress) {
  const std::uint32_t first = options_.first / kCyclesPerStore * kCyclesPerStore;
  std::uint32_t run = 0;
  for (std::uint32_t cycle = first; cycle < first + options_.cycles; ++cycle) {
    const CyclePlan plan = PlanCycle(options_.seed, cycle);
    const std::uint32_t number = cycle / kCyclesPerStore;
    Status status;
    if (plan.new_store || store_ == nullptr || store_->failed) {
      EndStore();
      status = NewStore(number, cycle);
      if (!status.ok()) {
        findings_.Report(Finding::kNotRun, status.message());
        break;
      }
    }
    findings_.SetContext(
        "seed " + std::to_string(options_.seed) + ", cycle " + std::to_string(cycle) + ": " +
        Describe(plan) + "\n  store: " + Describe(store_->plan) + "\n  kept in " + store_->folder +
        "\n  again: crash_loop --seed " + std::to_string(options_.seed) + " --first " +
        std::to_string(cycle) + " --cycles " + std::to_string(cycle % kCyclesPerStore + 1) +
        (options_.reactors != 0 ? " --reactors " + std::to_string(options_.reactors) : ""));
    std::ofstream(store_->folder + "/daemon.log", std::ios::app)
        << "---- cycle " << cycle << ": " << Describe(plan) << '\n';
    const std::uint64_t before = findings_.counts().All();
    status = RunCycle(plan);
    if (!status.ok()) findings_.Report(Finding::kNotRun, status.message());
    store_->failed = findings_.counts().All() != before;
    if (status.ok()) ++run;
    if (!progress(cycle)) break;
  }
  EndStore();
  return run;
}

Status Campaign::RunCycle(const CyclePlan& plan) {
  Status status = Prepare(plan);
  if (status.ok() && plan.kill_start) status = KillStart(plan);
  if (!status.ok()) return status;
  const Result<bool> serves = StartAndVerify(plan);
  if (!serves.ok()) return serves.status();
  if (*serves) status = LoadAndEnd(plan);
  if (!status.ok()) return status;
  return EndLife();
}

Status Campaign::Prepare(const CyclePlan& plan) {
  const std::string folder = store_->daemon.StoreFolder();
  std::error_code error;
  if (!fs::exists(folder, error)) return {};
  if (plan.lose_index) {
    fs::remove_all(folder + "/index", error);
    return {};
  }
  // A start that was killed may have left no store yet, or no index: those are the daemon's.
  if (!plan.fsck || !fs::exists(folder + "/index/CURRENT", error)) return {};
  if (store_->marks.back().begun.empty()) return {};
  std::vector<std::string> command = {options_.programs + "/terracectl", "fsck", folder};
  std::string files;
  for (const std::string& file : store_->daemon.LogFiles(store_->plan)) {
    files += (files.empty() ? "" : ",") + file;
  }
  if (!files.empty()) command.insert(command.end(), {"--files", files});
  const Result<ProcessEnd> end = RunProgram(command, store_->folder + "/fsck.log");
  if (!end.ok()) return end.status();
  if (end->Clean()) return {};
  return NotAsPlanned("terracectl fsck: " + end->ToString() + ", see fsck.log there");
}

Status Campaign::NoteEnd(const std::optional<ArmedPoint>& point, const std::string& when) {
  const ProcessEnd& end = store_->daemon.end();
  if (point && end.Killed()) {
    ++points_[point->point].fired;
    return {};
  }
  return NotAsPlanned("the daemon ended " + when + " with " + end.ToString() +
                      ", see daemon.log and daemon.err there");
}

Status Campaign::KillStart(const CyclePlan& plan) {
  CrashDaemon& daemon = store_->daemon;
  const std::optional<ArmedPoint>& point = plan.start_point;
  if (point) ++points_[point->point].armed;
  Status started = daemon.Start(store_->plan, plan, point ? &*point : nullptr);
  if (!started.ok()) return started;
  bool ended = false;
  if (point) {
    // Some points come after the ports were written.
    ended = daemon.WaitUntilReady(kStartPointMax) == CrashDaemon::Ready::kEnded ||
            daemon.WaitForEnd(20ms);
  } else {
    ended = daemon.WaitForEnd(std::chrono::milliseconds(plan.kill_start_ms));
  }
  if (ended) return NoteEnd(point, "while it started");
  daemon.Kill();
  return {};
}

Result<bool> Campaign::StartAndVerify(const CyclePlan& plan) {
  CrashDaemon& daemon = store_->daemon;
  if (plan.point) ++points_[plan.point->point].armed;
  Status status = daemon.Start(store_->plan, plan, plan.point ? &*plan.point : nullptr);
  if (!status.ok()) return status;
  const CrashDaemon::Ready ready = daemon.WaitUntilReady(kReadyMax);
  if (ready == CrashDaemon::Ready::kNot) return NotAsPlanned("the daemon did not start in time");
  for (int attempt = 0; ready == CrashDaemon::Ready::kReady && attempt < kVerifyTriesMax;
       ++attempt) {
    auto client = BlockClient::Connect({.address = daemon.address(),
                                        .name = "verifier",
                                        .link = LinkChoice::kAuto,
                                        .store_id = store_->plan.id},
                                       store_->oracle, findings_);
    status = client.status();
    if (client.ok()) {
      status = VerifyStore(
          **client, store_->spaces, store_->oracle,
          [this](std::uint32_t life) { return CameRoundSince(life); }, findings_);
      if (status.ok()) status = CheckFrames((*client)->client(), false, findings_);
    }
    if (status.ok()) return true;
    if (daemon.WaitForEnd(kEndWait)) break;
    if (status.code() != StatusCode::kPeerDead) return status;
  }
  if (daemon.running()) return NotAsPlanned("its clients lose a daemon that runs");
  status = NoteEnd(plan.point, "while its blocks were verified");
  if (!status.ok()) return status;
  return false;
}

Status Campaign::LoadAndEnd(const CyclePlan& plan) {
  CrashDaemon& daemon = store_->daemon;
  Load load(daemon.address(), store_->plan, plan, store_->spaces, store_->oracle, findings_);
  const bool ended = daemon.WaitForEnd(std::chrono::milliseconds(plan.load_ms));
  if (ended) {
    load.Stop();
    return NoteEnd(plan.point, "under load");
  }
  switch (plan.ending) {
    case Ending::kKill:
      daemon.Kill();
      load.Stop();
      return {};
    case Ending::kStopBusy: {
      daemon.Signal(SIGTERM);
      Status status = EndAfterSignal(plan);
      load.Stop();
      return status;
    }
    case Ending::kStop: load.Stop(); return StopIdle(plan);
  }
  return {};
}

Status Campaign::StopIdle(const CyclePlan& plan) {
  CrashDaemon& daemon = store_->daemon;
  {
    auto client = BlockClient::Connect({.address = daemon.address(),
                                        .name = "verifier",
                                        .link = LinkChoice::kAuto,
                                        .store_id = store_->plan.id},
                                       store_->oracle, findings_);
    Status status = client.status();
    if (client.ok()) status = CheckFrames((*client)->client(), false, findings_);
    if (status.ok() && plan.last_of_store) {
      // A frame that is still pinned belongs to a block as long as the block is there.
      for (std::uint32_t space = 0; space < store_->spaces.size(); ++space) {
        (void)(*client)->Clear(space);
      }
      status = CheckFrames((*client)->client(), true, findings_);
    }
    if (!status.ok()) return status;
  }
  daemon.Signal(SIGTERM);
  return EndAfterSignal(plan);
}

Status Campaign::EndAfterSignal(const CyclePlan& plan) {
  CrashDaemon& daemon = store_->daemon;
  if (!daemon.WaitForEnd(kStopMax)) return NotAsPlanned("the daemon did not stop in time");
  if (daemon.end().Clean()) return {};
  return NoteEnd(plan.point, "on its way to a clean stop");
}

Status Campaign::EndLife() {
  const std::vector<Oracle::Suspect> suspects = store_->oracle.EndLife();
  Result<LogMark> mark =
      ReadLogMark(store_->daemon.StoreFolder(), store_->daemon.LogFiles(store_->plan));
  if (!mark.ok()) return mark.status();
  store_->marks.push_back(std::move(mark).value());
  for (const Oracle::Suspect& suspect : suspects) {
    if (CameRoundSince(suspect.life)) continue;
    findings_.Report(Finding::kLost, suspect.what + ", durable since life " +
                                         std::to_string(suspect.life) + ": " +
                                         store_->oracle.Describe(suspect.place));
  }
  return {};
}

bool Campaign::CameRoundSince(std::uint32_t life) const {
  return CameRound(store_->marks[life], store_->marks.back());
}

}  // namespace terrace::crash
