// Campaign: round after round in which a client process dies at a named point, or is stopped there
// and goes on later, while bystanders work.
//
// Model. One daemon serves all rounds. In a round a victim (victim.h) comes to its point; then,
//   P1. within kSlack the daemon has no connection, frame in quarantine, lease, descriptor or
//       thread more than before it came, while it is dead or still stopped;
//   P2. once every namespace is cleared no frame of DRAM is left: nothing is pinned;
//   P3. a victim that goes on gets statuses, connects again by itself and sees no wrong byte;
//       What it held lent when it was stopped it is told not to use: EXPIRED, for every block;
//   P4. no call of a bystander fails, and no byte is wrong.
// The points come in random order, each before any comes again.
//
// Thread: the main thread's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/common/daemon_process.h"
#include "tests/peers/bystander.h"
#include "tests/peers/child.h"
#include "tests/peers/daemon_view.h"
#include "tests/peers/pause_watch.h"

namespace terrace::peers {

/// What docs/fault-model.md promises; a failure is what takes ten times as long.
inline constexpr std::chrono::seconds kPromised{5};
inline constexpr std::chrono::seconds kSlack{50};

struct CampaignOptions {
  std::uint64_t seed = 1;
  std::uint32_t rounds = 20;
  bool kill = true;
  bool stop = true;
  std::string only;      ///< one point, to look at it again; empty: all
  std::string data;      ///< folder, made when missing
  std::string programs;  ///< folder of terraced and peer_faults
};

/// What was found, told at once on standard error.
struct Totals {
  std::uint32_t rounds = 0;
  std::set<std::string> points;  ///< reached, with their link
  std::uint64_t wrong = 0;       ///< bytes
  std::uint64_t leaked = 0;      ///< rounds after which something stayed
  std::uint64_t harmed = 0;      ///< calls of bystanders
  std::uint64_t failed = 0;      ///< rounds that could not be run, daemons that ended, hangs
  std::uint64_t expired = 0;     ///< lent blocks that a woken reader was told not to use
  std::uint64_t retries = 0;     ///< of bystanders: no room for a moment
  std::uint32_t paused = 0;      ///< rounds that are not in the next, because nothing ran meanwhile
  double slowest_s = 0;          ///< until nothing was left of a victim
  double slowest_call_s = 0;     ///< of a bystander
  [[nodiscard]] bool Good() const { return wrong + leaked + harmed + failed == 0; }
};

class Campaign {
 public:
  explicit Campaign(CampaignOptions options);
  ~Campaign();
  const Totals& Run(const std::function<void(std::uint32_t)>& progress);

 private:
  struct Round;
  Status Begin();
  /// So that the thread that does it exists.
  Status MoveAnExtent();
  Round Draw();
  Status RunRound(const Round& round);
  /// The victim comes to its point.
  Status Strike(const Round& round, Child& child);
  Status AwaitBaseline(const std::string& who);
  Status CheckPins(const std::string& who);
  void NoteTime(std::chrono::nanoseconds took, std::chrono::nanoseconds paused_before,
                const std::string& what);
  /// After SIGCONT.
  Status GoOn(Child& child);
  void JudgeBystanders();

  const CampaignOptions options_;
  SeededRandom random_;
  crash::DaemonProcess daemon_;
  std::unique_ptr<PeerLoad> observer_;
  PauseWatch pauses_;
  std::unique_ptr<DaemonView> view_;
  std::unique_ptr<PeerLoad> hungry_;  // of another tenant, whose puts need the others' extents
  std::vector<std::unique_ptr<Bystander>> bystanders_;
  Traces baseline_;
  std::vector<Round> bag_;
  Totals totals_;
};

}  // namespace terrace::peers
