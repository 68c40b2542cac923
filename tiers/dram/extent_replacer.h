// ExtentReplacer: gives an extent fresh memory, off the reactor.
//
// Model. One extent at a time, in this order:
//
//   R1. Wait until no other process can read the old memory (ArenaMemory::LentOut), for at most
//       `patience`. Else the extent stays as it is, and is not fresh.
//   R2. Let the old memory go, then touch the new: never more memory in use than the arena's. Who
//       has pinned it (ExtentMemoryUser) lets go of it before, and pins the new before anybody
//       has it.
//   R3. What cannot be had is tried again every `patience` / 10, until it can or this object goes.
//
// Thread: Start, Take and Idle on the owning reactor's; the work on a thread of its own
// (extent_thread.h). Counters from any. Lifetime: the memory outlives it; its destruction waits for
// an extent being touched.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/clock.h"
#include "base/result.h"
#include "tiers/dram/arena_memory.h"
#include "tiers/dram/extent_thread.h"

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
  /// kIo when there is no thread to be had.
  static Result<std::unique_ptr<ExtentReplacer>> Create(ArenaMemory& memory, Nanos patience,
                                                        ExtentMemoryUser* user);
  ExtentReplacer(const ExtentReplacer&) = delete;
  ExtentReplacer& operator=(const ExtentReplacer&) = delete;

  /// Whether Start may be called: nothing is being done or waits to be taken.
  [[nodiscard]] bool Idle() const noexcept { return thread_.Idle(); }
  /// Ends its thread, and waits for an extent being touched; an extent that was under way stays
  /// taken. No Start after it.
  void Stop();
  /// REQUIRES: Idle(); nobody uses it until Take names it.
  void Start(std::uint32_t extent) { thread_.Start(extent); }
  /// What ended since it was last asked. One load when nothing did.
  std::optional<ExtentThread::Done> Take() { return thread_.Take(); }

  /// Tries to get memory that failed.
  [[nodiscard]] std::uint64_t failures() const noexcept { return failures_.load(); }

 private:
  ExtentReplacer(ArenaMemory& memory, Nanos patience, ExtentMemoryUser* user)
      : memory_(memory),
        user_(user),
        thread_(patience, [this](std::uint32_t extent) { return Replace(extent); }) {}
  std::optional<bool> Replace(std::uint32_t extent);

  ArenaMemory& memory_;
  ExtentMemoryUser* const user_;  ///< or null
  std::atomic<std::uint64_t> failures_ = 0;
  ExtentThread thread_;  ///< last: it ends before what it works with
};

}  // namespace terrace
