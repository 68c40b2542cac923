// Reactor: one thread that joins coroutines, timers, UCX, io_uring and messages from other threads.
//
// Model. Everything a reactor owns is touched by its thread alone, except Post, Wake and the
// counters. The loop sleeps in the *ring*, not in epoll (a DEFER_TASKRUN ring announces nothing to
// epoll): one-shot polls on the watched descriptors, then io_uring_submit_and_wait_timeout. Where
// io_uring is refused the loop sleeps in epoll and devices run on threads; sleeps_in() says which.
//
// A reactor made with `shared` has no thread of its own: a SharedLoop (shared_loop.h) has its turns
// run by one thread or another, never by two at once. "On the reactor's thread" then means by
// whichever runs the turn.
//
// The numbered order of a turn, and the reason for it, stands at Reactor::Turn.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/scheduler.h"
#include "base/task.h"

struct epoll_event;
struct io_uring;

namespace terrace {

/// A source of events that must be polled and can be slept on, e.g. a UCX worker.
class Poller {
 public:
  virtual ~Poller() = default;
  /// Does what can be done without blocking; returns how many events it handled.
  virtual unsigned Poll() = 0;
  /// Becomes readable when Poll has work, once Arm returned true.
  [[nodiscard]] virtual int Fd() const noexcept = 0;
  /// Called before sleeping, and of a shared loop also while a thread sleeps on Fd already.
  /// False: there is work already, poll again instead of sleeping.
  virtual bool Arm() = 0;
  /// Called when a thread begins to poll that found the loop asleep: Poll need not wait for Fd.
  virtual void Disarm() {}
  /// True while an event is due within microseconds, e.g. the rest of a transfer: the loop then
  /// polls for ReactorOptions::spin_expecting before it sleeps.
  [[nodiscard]] virtual bool Expecting() const noexcept { return false; }
};

/// Receives the result of one submitted io_uring operation, on the reactor's thread. Callbacks
/// only record and enqueue.
class RingCompletion {
 public:
  virtual void OnComplete(std::int32_t result) noexcept = 0;

 protected:
  ~RingCompletion() = default;
};

struct ReactorOptions {
  std::string name = "reactor";  ///< thread name, at most 15 bytes are shown
  Nanos spin = 0;                ///< how long to poll before sleeping; 0 on shared machines
  /// The same while a poller is Expecting. Waking costs 50 to 150 us on a virtual machine, as long
  /// as 512 KiB take over TCP; a transfer that does not move for longer lets the loop sleep.
  Nanos spin_expecting = 200 * kMicrosecond;
  Nanos stall_limit = 50 * kMillisecond;  ///< a turn longer than this is counted and logged
  bool use_io_uring = true;               ///< false: epoll (also taken when the kernel refuses)
  bool shared = false;  ///< run by a SharedLoop; in epoll, because a ring belongs to one thread
  unsigned ring_entries = 256;
};

/// Counters of a reactor; readable from any thread.
struct ReactorCounters {
  std::atomic<std::uint64_t> turns{0};
  std::atomic<std::uint64_t> sleeps{0};
  std::atomic<std::uint64_t> posts{0};
  std::atomic<std::uint64_t> stalls{0};
  std::atomic<std::int64_t> stall_max_ns{0};
};

class Reactor {
 public:
  /// Makes the ring and the wake-up descriptor. kIo when not even epoll can be had.
  static Result<std::unique_ptr<Reactor>> Create(ReactorOptions options, Clock& clock);
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  /// Runs `function` on the reactor's thread, in order of the calls. Any thread.
  void Post(std::function<void()> function);
  /// Asks Run to return after the current turn. Any thread.
  void Stop();
  /// Runs the loop on the calling thread until Stop. Coroutines may be spawned before.
  void Run();
  /// Starts Run on a thread of its own; Join waits for it after Stop.
  void Start();
  void Join();

  [[nodiscard]] Scheduler& scheduler() noexcept { return scheduler_; }
  /// The poller is polled on every turn until removed. On the reactor's thread, or before Run.
  void AddPoller(Poller& poller);
  void RemovePoller(Poller& poller);
  /// Calls `ready` whenever `fd` is readable or hung up, until Unwatch; once in a while also when
  /// it no longer is. `ready` reads until EAGAIN or unwatches. On the reactor's thread, or before
  /// Run.
  void Watch(int fd, std::function<void()> ready);
  void Unwatch(int fd);

  /// The io_uring to queue operations on, or null when the loop sleeps in epoll. An operation's
  /// user data is a RingCompletion*. On the reactor's thread.
  [[nodiscard]] io_uring* ring() noexcept;
  /// To be called after an SQE was prepared, so that the loop submits it this turn.
  void RingSubmitted() noexcept { ++ring_inflight_; }
  /// "io_uring" or "epoll".
  [[nodiscard]] std::string_view sleeps_in() const noexcept;
  /// Its turns are run by several threads, one after the other.
  [[nodiscard]] bool shared() const noexcept { return options_.shared; }
  [[nodiscard]] const ReactorCounters& counters() const noexcept { return counters_; }

 private:
  struct Sleeper;
  struct FdWatch;
  static constexpr Nanos kSleepMax = 250 * kMillisecond;  // a lost wake-up costs at most this much
  static constexpr std::size_t kEpollEvents = 64;         // taken at once
  Reactor(ReactorOptions options, Clock& clock, std::unique_ptr<Sleeper> sleeper, int wake_fd);

  friend class SharedLoop;  // runs the parts of the loop below, one thread at a time

  void Enqueue(std::function<void()> function);
  void WakeIfSleeping();
  void Wake() const;
  void NameThread() const;
  bool Turn();
  /// One turn. False: it is time to sleep. `idle_since`: 0, or since when turns found nothing.
  /// `spin_least`: how long it polls at least before that.
  bool KeepTurning(Nanos& idle_since, Nanos spin_least = 0);
  bool DrainInbox();
  bool PollPollers();
  [[nodiscard]] Nanos SpinTime() const;
  bool ArmWatches(bool sleeping);
  bool ReapRing();
  unsigned TakeCompletions();
  bool PeekEpoll();
  void PeekEpollNow();
  /// Waits on a set for at most `wait`; what came, in `room`.
  static std::span<const epoll_event> WaitEpoll(int epoll_fd, std::span<epoll_event> room,
                                                Nanos wait);
  [[nodiscard]] int epoll_fd() const noexcept;
  void MarkFired(std::span<const epoll_event> events);
  bool RunFired();
  void Sleep();
  /// From here on Post wakes the sleeper. False: there is work, so it must not sleep. Either way
  /// EndSleep follows.
  bool BeginSleep();
  void DisarmPollers() {
    for (Poller* poller : pollers_) poller->Disarm();
  }
  void EndSleep() noexcept { sleeping_.store(false, std::memory_order_seq_cst); }
  /// How long there is nothing to do, as far as the timers know.
  [[nodiscard]] Nanos SleepTime() const;
  void NoteTurn(Nanos started);
  void AddWatch(int fd, bool sleep_only, std::function<void()> ready);

  const ReactorOptions options_;
  Scheduler scheduler_;
  std::unique_ptr<Sleeper> sleeper_;
  int wake_fd_;
  std::vector<Poller*> pollers_;
  std::vector<std::unique_ptr<FdWatch>> watches_;
  std::uint64_t next_watch_ = 1;
  bool removed_watches_ = false;
  std::uint64_t ring_inflight_ = 0;
  Nanos looked_at_clock_ = 0;  // in the last turn
  ReactorCounters counters_;

  std::mutex inbox_mutex_;
  std::vector<std::function<void()>> inbox_;  // guarded by inbox_mutex_
  std::atomic<bool> inbox_filled_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace terrace
