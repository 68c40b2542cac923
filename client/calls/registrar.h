// Registrar: makes regions on a thread of its own, for callers that must not wait.
//
// Model. Jobs are done one after the other. Memory that is allocated is touched step by step
// (RegionMemory::kStepBytes), and between two of them the thread looks whether the job was
// cancelled or the Client is going. Each job that was taken ends with one completion, also when the
// Client goes. The thread starts with the first job.
//
// Thread: any. Lifetime: Stop comes before the destructor when a job was ever taken. A thread that
// does not end in time keeps what it uses alive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/clock.h"
#include "base/result.h"
#include "client/regions/region_memory.h"
#include "client/regions/region_table.h"
#include "client/request/call_limit.h"
#include "client/request/completion_queue.h"

namespace terrace {

class Registrar {
 public:
  struct Job {
    Ticket ticket = 0;
    CallSlot slot;
    std::span<std::byte> memory;  ///< the caller's; empty: to be allocated
    std::uint64_t length = 0;     ///< bytes, then
  };
  /// `registered` is called, on the thread, with memory that is ready to be told of: it puts it
  /// into the table. It and `done` must be usable until the thread has ended, so they hold
  /// on to what they need.
  struct Shared {
    std::function<Result<RegionTable::Region>(const Job&, RegionMemory)> registered;
    std::function<void(Completion, CallSlot)> done;
  };
  Registrar();
  ~Registrar() = default;
  Registrar(const Registrar&) = delete;
  Registrar& operator=(const Registrar&) = delete;

  /// Takes a job. `shared` is kept by the thread from the first job on. kRetry when no thread can
  /// be had, kCancelled after Stop.
  Status Submit(Job job, const Shared& shared);
  /// The job of that ticket is given up: true once it has ended, also when there is none. False at
  /// `deadline`; with one that has passed it never waits.
  [[nodiscard]] bool Cancel(Ticket ticket, Nanos deadline);
  /// True once every job taken before has ended.
  [[nodiscard]] bool Drain(Nanos deadline);
  /// From now on no job is taken or begun, and the one under way ends with its chunk.
  void BeginStop();
  /// BeginStop, and waits for the thread, at most until `deadline`. Once; later calls do nothing.
  void Stop(Nanos deadline);

 private:
  struct State;
  static void Run(const std::shared_ptr<State>& state);
  static Completion Do(State& state, Job& job);

  std::shared_ptr<State> state_;
};

}  // namespace terrace
