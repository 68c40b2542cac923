// SharedLoop: a reactor's loop that is run by the threads that wait for it.
//
// A thread that hands work to another thread's loop and sleeps until it is done costs two wake-ups
// of sleeping threads, of 10 to 100 us each. Here it runs the loop itself until its own work is
// done. Three kinds of thread:
//
//   keeper    the one in Run. Runs the loop while nobody drives it, so that timers and what arrives
//             unasked are served at once. While somebody drives it sleeps.
//   driver    the one thread that is past the line in DriveUntil: it sleeps in the reactor's epoll
//             set and runs every turn, its own work's and everybody else's.
//   follower  others in DriveUntil: each sleeps until its own signal is set. When the driver leaves
//             it makes the first of them the driver; when there is none the keeper takes over.
//
//   L1. A turn, and any look at what a reactor owns, is under turn_mutex_. Nobody sleeps under it.
//   L2. There is always one thread that answers for the loop: the driver, or else one that is on
//       its way to be it, or else the keeper. It is asleep, with Reactor::sleeping_ set and a
//       descriptor that wakes it, or it runs a turn before it sleeps. So nothing is left lying.
//   L3. Whoever has touched the loop while that thread is asleep (RunPosted, a driver that leaves
//       it to the keeper) wakes it when there is more to do, or to do earlier, than it knows of.
//   L4. The keeper sleeps at a *gate*, an epoll set that holds the reactor's. It is shut while a
//       driver sleeps in the set inside, and opened when it leaves: two epoll_ctl, where stirring
//       the keeper would be a wake-up. The gate is open, or somebody drives, or is about to.
//   L5. After Stop nobody but the keeper touches the loop; signals are then waited for as they are.
//
// What makes it slow, not wrong: a driver that does not get the processor holds up everybody. It
// answers for the loop until it leaves, as a reactor's own thread would.
//
// Thread: any, where nothing else is said.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "base/reactor.h"
#include "base/result.h"
#include "base/signal.h"

namespace terrace {

class SharedLoop {
 public:
  /// `reactor` was made with `shared`, and outlives the loop. A driver polls for `driver_spin`
  /// after anything happened before it sleeps; the keeper for ReactorOptions::spin. kIo when there
  /// is no descriptor left.
  static Result<std::unique_ptr<SharedLoop>> Create(Reactor& reactor, Nanos driver_spin = 0);
  /// REQUIRES: nobody is inside.
  ~SharedLoop();
  SharedLoop(const SharedLoop&) = delete;
  SharedLoop& operator=(const SharedLoop&) = delete;

  /// The keeper's: returns after Reactor::Stop, when nobody else is in a turn or will be again.
  /// What the loop's callbacks use may be destroyed then, by the keeper. Once.
  void Run();
  /// Runs the loop, or lets another thread run it, until `until` is set (true) or `deadline` on
  /// SteadyClock has come (false). `until` is set on the loop. Ends when it is set however much
  /// else there is to do; at the deadline it may be late by one turn and 1 ms. Once for a signal.
  /// REQUIRES: not on the loop.
  bool DriveUntil(Signal& until, Nanos deadline);

  /// As Reactor::Post, but the function need not run before RunPosted or DriveUntil was called, by
  /// whomever.
  void Enqueue(std::function<void()> function) { reactor_.Enqueue(std::move(function)); }
  /// Runs what is posted on this thread, or lets the thread do it that is in a turn. Runs nothing
  /// else: no timer, no coroutine, nothing that has arrived. Never waits.
  /// REQUIRES: not on the loop.
  void RunPosted();

 private:
  SharedLoop(Reactor& reactor, Nanos driver_spin, int gate_fd);

  [[nodiscard]] bool Stopped() const noexcept;
  void SleepAtGate(std::unique_lock<std::mutex>& turn);
  /// True: the caller is the driver. False: it follows.
  bool BeginDrivingOrFollow(Signal& until);
  /// False: the caller was made the driver meanwhile.
  bool StopFollowing(Signal& until);
  void Drive(Signal& until, Nanos deadline);
  void SleepInside(std::unique_lock<std::mutex>& turn, Nanos deadline);
  /// The driver's last step: another one, or the keeper.
  void Leave();
  /// True when one was made the driver.
  bool CallFollower();
  /// L3. `wakes`: when the thread that sleeps does so by itself.
  [[nodiscard]] bool MoreToDoThanKnown(Nanos wakes) const;
  void SetGate(bool open);

  Reactor& reactor_;
  const Nanos driver_spin_;
  const int gate_fd_;

  std::mutex turn_mutex_;
  Signal* driver_ = nullptr;  // guarded by turn_mutex_; what the driver waits for
  Nanos driver_wakes_ = 0;    // guarded by turn_mutex_; while it sleeps
  bool at_gate_ = false;      // guarded by turn_mutex_; the keeper sleeps
  Nanos keeper_wakes_ = 0;    // guarded by turn_mutex_; while it sleeps
  bool gate_open_ = true;     // guarded by turn_mutex_

  std::mutex roles_mutex_;           // taken under turn_mutex_, or alone
  std::vector<Signal*> followers_;   // guarded by roles_mutex_; the longest waiting first
  std::atomic<bool> driven_{false};  // written under roles_mutex_; somebody drives, or will
};

}  // namespace terrace
