// ExtentReplacer: gives an extent fresh memory, off the reactor.
//
// Model. One extent at a time, in this order:
//
//   R1. Wait until no other process can read the old memory (ArenaMemory::LentOut), for at most
//       `patience`. Else the extent stays as it is (kKept).
//   R2. Let the old memory go, then touch the new: never more memory in use than the arena's. Who
//       has pinned it (ExtentMemoryUser) lets go of it before, and pins the new before anybody
//       has it.
//   R3. What cannot be had is tried again every `patience` / 10, until it can or this object goes.
//
// Thread: Start, Take and Idle on the owning reactor's; the work on a thread of its own. Counters
// from any. Lifetime: the memory outlives it; its destruction waits for an extent being touched.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

#include "base/clock.h"
#include "base/result.h"
#include "tiers/dram/arena_memory.h"

namespace terrace {

/// Whoever depends on the very pages of an arena, such as GPUs that copy from and to it.
class ExtentMemoryUser {
 public:
  virtual ~ExtentMemoryUser() = default;
  /// Nobody has frames there; its pages go when this returns. On the replacer's thread, as below.
  virtual void BeforeReplaced(std::span<std::byte> memory) = 0;
  /// Other pages are there, and nobody has them yet.
  virtual void AfterReplaced(std::span<std::byte> memory) = 0;
};

class ExtentReplacer {
 public:
  enum class Outcome : std::uint8_t { kFresh, kKept };
  struct Done {
    std::uint32_t extent = 0;
    Outcome outcome = Outcome::kFresh;
  };

  /// kIo when there is no thread to be had.
  static Result<std::unique_ptr<ExtentReplacer>> Create(ArenaMemory& memory, Nanos patience,
                                                        ExtentMemoryUser* user);
  ~ExtentReplacer();
  ExtentReplacer(const ExtentReplacer&) = delete;
  ExtentReplacer& operator=(const ExtentReplacer&) = delete;

  /// Whether Start may be called: nothing is being done or waits to be taken.
  [[nodiscard]] bool Idle() const noexcept { return !working_ && !done_; }
  /// Ends its thread, and waits for an extent being touched; an extent that was under way stays
  /// taken. No Start after it.
  void Stop();
  /// REQUIRES: Idle(); nobody uses it until Take names it.
  void Start(std::uint32_t extent);
  /// What ended since it was last asked. One load when nothing did.
  std::optional<Done> Take();

  /// Tries to get memory that failed.
  [[nodiscard]] std::uint64_t failures() const noexcept { return failures_.load(); }

 private:
  ExtentReplacer(ArenaMemory& memory, Nanos patience, ExtentMemoryUser* user)
      : memory_(memory), patience_(patience), user_(user) {}
  void Work();
  void Replace(std::uint32_t extent);
  void Finish(std::uint32_t extent, Outcome outcome);
  /// False when this object goes.
  bool Wait(Nanos time);
  [[nodiscard]] bool AwaitLetGo(std::uint32_t extent);

  ArenaMemory& memory_;
  const Nanos patience_;
  ExtentMemoryUser* const user_;  ///< or null
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;                     ///< under mutex_
  std::optional<std::uint32_t> started_;  ///< under mutex_
  Done last_;                             ///< written before done_ is set, read after
  std::atomic<bool> done_ = false;
  std::atomic<bool> working_ = false;
  std::atomic<std::uint64_t> failures_ = 0;
  std::thread thread_;
};

}  // namespace terrace
