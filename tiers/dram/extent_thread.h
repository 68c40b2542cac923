// ExtentThread: gives extents other memory, one at a time, on a thread of its own, for an owner on
// a reactor.
//
// Model. The owner starts an extent when nothing is being done, and takes what came of it. The work
// is the owner's: it waits until nobody has the old memory (AwaitLetGo), and tries again what
// cannot be had (Wait(RetryPause())). An extent whose work was cut short by Stop stays taken, or,
// while somebody has its memory, counts as kept.
//
// Thread: Begin, Idle, Start and Take on the owning reactor's; Stop and Join from any; what the
// work calls, on this object's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/status.h"

namespace terrace {

class ExtentThread {
 public:
  struct Done {
    std::uint32_t extent = 0;
    bool fresh = false;  ///< other memory; else what it was, because somebody kept it
  };
  /// Whether the extent has other memory now; nothing: it was cut short.
  using Work = std::function<std::optional<bool>(std::uint32_t extent)>;

  /// `patience`: with who keeps the old memory.
  ExtentThread(Nanos patience, Work work) : patience_(patience), work_(std::move(work)) {}
  /// Stop and Join.
  ~ExtentThread();
  ExtentThread(const ExtentThread&) = delete;
  ExtentThread& operator=(const ExtentThread&) = delete;

  /// Has a thread from now on: kIo when there is none to be had, kCancelled after Stop.
  Status Begin();
  /// Nothing is being done or waits to be taken.
  [[nodiscard]] bool Idle() const noexcept { return !working_ && !done_; }
  /// REQUIRES: Begin was ok, Idle, no Stop yet; nobody uses the extent until Take names it.
  void Start(std::uint32_t extent);
  /// What ended since it was last asked. One load when nothing did.
  std::optional<Done> Take();
  /// Nothing is started from now on, and the work is to end. Does not wait.
  void Stop();
  /// Waits for the thread. After Stop.
  void Join();

  // For the work.
  /// Until `let_go` says true; false: not within the patience, or Stop.
  [[nodiscard]] bool AwaitLetGo(const std::function<bool()>& let_go);
  /// Between two tries of what cannot be had: a tenth of the patience, 1 ms at least.
  [[nodiscard]] Nanos RetryPause() const noexcept;
  /// False: Stop.
  bool Wait(Nanos time);

 private:
  void Run();

  const Nanos patience_;
  const Work work_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;                     ///< under mutex_
  std::optional<std::uint32_t> started_;  ///< under mutex_
  Done last_;                             ///< written before done_ is set, read after
  std::atomic<bool> done_ = false;
  std::atomic<bool> working_ = false;
  std::thread thread_;
};

}  // namespace terrace
