// LeaseBoard: the frames that one client holds lent, on the daemon's side of a SharedPage.
//
//   L1. The generation of a slot rises before the Hold of its frame goes (shared_page.h, P2).
//   L2. A lease ends when the client releases it, when it is too old, or with the board. Releases
//       are looked for when the client asks for more, and at least every kCollectPeriod while it
//       has any.
//   L3. Slots and bytes are bounded: of one client, and of all clients of the reactor together;
//       bytes of the host and of GPUs each by themselves.
//
// Thread: the reactor's.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/link.h"
#include "base/scheduler.h"
#include "transport/shm/shared_page.h"

namespace terrace {

/// Of all clients of a reactor. Single writer (the reactor), readable from any thread.
struct LeaseCounters {
  std::atomic<std::uint64_t> granted{0}, released{0};
  std::atomic<std::uint64_t> expired{0};  ///< ended by the daemon: too old, or the client is gone
  std::atomic<std::uint64_t> refused{0};  ///< for want of slots or bytes
  std::atomic<std::uint64_t> now{0}, bytes_now{0};
};

/// Of all clients of a reactor, of one kind of memory. The counters outlive the board.
struct LeaseBudget {
  LeaseCounters& counters;
  std::uint64_t bytes_max = 0;  ///< of all clients; one may have half of it; 0: nothing is lent
};

class LeaseBoard {
 public:
  static constexpr Nanos kCollectPeriod = 20 * kMillisecond;

  /// `scheduler` outlives the board. `host` and `device`: for extents of memory of the host and of
  /// GPUs. `first_generation`: of every slot.
  LeaseBoard(std::shared_ptr<SharedPage> page, Scheduler& scheduler, LeaseBudget host,
             LeaseBudget device, std::uint32_t first_generation = 1);
  /// Ends every lease.
  ~LeaseBoard();
  LeaseBoard(const LeaseBoard&) = delete;
  LeaseBoard& operator=(const LeaseBoard&) = delete;

  /// kRetry for want of slots or bytes, which counts as refused; kUnsupported where nothing of that
  /// memory is lent.
  [[nodiscard]] Status CanLend(const LentPlace& place, std::uint64_t bytes);
  /// As CanLend; else slot and generation of the Loan.
  Result<Loan> Lend(Hold frame, const LentPlace& place, Nanos until);
  /// Takes back what the client has released or had for too long.
  void Collect();
  /// Ends the leases of frames in the extents [first, last], or of the one frame at `place` alone:
  /// they are of no use any more.
  void EndIn(std::uint32_t first, std::uint32_t last);
  void EndAt(const LentPlace& place);
  [[nodiscard]] std::uint64_t leases() const noexcept { return leases_; }

 private:
  struct Lease {
    Hold frame;
    std::uint32_t generation = 1;  // the truth; the page has a copy; the highest is nobody's
    std::multimap<Nanos, std::uint32_t>::iterator until;
    LentPlace place;
  };
  /// One of the two kinds of memory.
  struct Kind {
    LeaseBudget budget;
    std::uint64_t bytes = 0;  ///< of this client
  };
  [[nodiscard]] Kind& KindOf(const LentPlace& place) noexcept {
    return place.extent < kDeviceExtentFirst ? host_ : device_;
  }
  void End(std::uint32_t slot);
  void Expire(std::uint32_t slot);
  template <typename Which>
  void EndThose(const Which& which);
  void SetTimer();

  const std::shared_ptr<SharedPage> page_;
  Scheduler& scheduler_;
  Kind host_;
  Kind device_;
  const std::uint32_t first_generation_;
  std::vector<Lease> slots_;         // grows as they are needed
  std::vector<std::uint32_t> free_;  // of slots_
  std::multimap<Nanos, std::uint32_t> by_end_;
  std::uint64_t leases_ = 0;
  std::optional<Scheduler::TimerId> timer_;
};

}  // namespace terrace
