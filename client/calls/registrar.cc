#include "client/calls/registrar.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/signal.h"
#include "base/signals_blocked.h"

namespace terrace {
namespace {

Status Cancelled() { return {StatusCode::kCancelled, "cancelled by the caller"}; }

Completion CancelledJob(Ticket ticket) {
  Completion completion;
  completion.ticket = ticket;
  completion.status = Cancelled();
  return completion;
}

}  // namespace

struct Registrar::State {
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex.
  Shared shared;
  std::deque<Job> waiting;
  Ticket newest = 0;   // of the jobs taken
  Ticket current = 0;  // of the job that is being done
  bool stopping = false;
  std::thread thread;

  std::atomic<bool> give_up{false};  // the job that is being done
  Signal thread_ended;

  /// A job of that ticket or an earlier one has not ended. Under the mutex.
  [[nodiscard]] bool HasUpTo(Ticket ticket) const {
    return (current != 0 && current <= ticket) ||
           std::any_of(waiting.begin(), waiting.end(),
                       [ticket](const Job& job) { return job.ticket <= ticket; });
  }
};

Registrar::Registrar() : state_(std::make_shared<State>()) {}

Status Registrar::Submit(Job job, const Shared& shared) {
  std::unique_lock lock(state_->mutex);
  if (state_->stopping) return {StatusCode::kCancelled, "the client is being destroyed"};
  if (!state_->thread.joinable()) {
    const SignalsBlocked blocked;
    try {
      state_->thread = std::thread([state = state_] { Run(state); });
    } catch (const std::system_error& error) {
      return {StatusCode::kRetry, std::string("no thread to register on: ") + error.what()};
    }
    state_->shared = shared;
  }
  const Ticket ticket = job.ticket;
  state_->waiting.push_back(std::move(job));
  state_->newest = std::max(state_->newest, ticket);
  lock.unlock();  // who is woken would wait for it
  state_->changed.notify_all();
  return {};
}

bool Registrar::Cancel(Ticket ticket, Nanos deadline) {
  std::unique_lock lock(state_->mutex);
  const auto found = std::find_if(state_->waiting.begin(), state_->waiting.end(),
                                  [ticket](const Job& job) { return job.ticket == ticket; });
  if (found != state_->waiting.end()) {
    Job job = std::move(*found);
    state_->waiting.erase(found);
    const auto done = state_->shared.done;
    state_->changed.notify_all();
    lock.unlock();
    done(CancelledJob(ticket), std::move(job.slot));
    return true;
  }
  if (state_->current != ticket) return true;
  state_->give_up = true;
  return WaitUntilReached(state_->changed, lock, deadline,
                          [&] { return state_->current != ticket; });
}

bool Registrar::Drain(Nanos deadline) {
  std::unique_lock lock(state_->mutex);
  const Ticket newest = state_->newest;
  return WaitUntilReached(state_->changed, lock, deadline,
                          [&] { return state_->stopping || !state_->HasUpTo(newest); });
}

void Registrar::BeginStop() {
  const std::lock_guard lock(state_->mutex);
  state_->stopping = true;
  state_->give_up = true;
  state_->changed.notify_all();
}

void Registrar::Stop(Nanos deadline) {
  BeginStop();
  std::thread thread;
  {
    const std::lock_guard lock(state_->mutex);
    thread.swap(state_->thread);  // none is started any more
  }
  if (!thread.joinable()) return;
  if (state_->thread_ended.WaitUntil(deadline)) {
    thread.join();
  } else {
    thread.detach();  // it holds the state
  }
}

void Registrar::Run(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  while (true) {
    state->changed.wait(lock, [&] { return state->stopping || !state->waiting.empty(); });
    if (state->stopping) break;
    Job job = std::move(state->waiting.front());
    state->waiting.pop_front();
    state->current = job.ticket;
    state->give_up = false;
    lock.unlock();
    Completion completion = Do(*state, job);
    // Before it counts as ended: who has drained finds it.
    state->shared.done(std::move(completion), std::move(job.slot));
    lock.lock();
    state->current = 0;
    state->changed.notify_all();
  }
  // Both may hold what holds this.
  std::deque<Job> dropped = std::exchange(state->waiting, {});
  const Shared shared = std::exchange(state->shared, {});
  lock.unlock();
  for (Job& job : dropped) shared.done(CancelledJob(job.ticket), std::move(job.slot));
  state->thread_ended.Set();
}

Completion Registrar::Do(State& state, Job& job) {
  Completion completion;
  completion.ticket = job.ticket;
  RegionMemory memory;
  if (job.memory.empty()) {
    Result<RegionMemory> mapped = RegionMemory::Map(job.length);
    completion.status = mapped.status();
    if (!mapped.ok()) return completion;
    memory = std::move(mapped.value());
    constexpr std::uint64_t kStep = RegionMemory::kStepBytes;
    for (std::uint64_t at = 0; at < job.length && completion.status.ok(); at += kStep) {
      completion.status = state.give_up ? Cancelled() : memory.Touch(at, kStep);
    }
  }
  if (completion.status.ok() && state.give_up) completion.status = Cancelled();
  if (!completion.status.ok()) return completion;
  const Result<RegionTable::Region> region = state.shared.registered(job, std::move(memory));
  completion.status = region.status();
  if (region.ok()) completion.region = RegionId{region->id};
  return completion;
}

}  // namespace terrace
