// ClientCore: the loop of a Client, the thread that keeps it, and the door to it.
//
// Callers hand over requests through an inbox. The loop keeps a session with the daemon, forever:
// connect, serve, notice that it is lost, wait (50 ms doubling to 1 s, with jitter), connect again.
// A request belongs to the session (epoch) that it was made for and is refused with kPeerDead by
// every other.
//
// Who runs the loop: a caller that waits drives it (base/shared_loop.h), one that submits runs what
// is in the inbox, and the library thread runs the rest, that is all of it while nobody calls.
// "The library thread's" means below and in the files beside this: only in a turn of the loop.
//
//   C1. Region and request commands reach the session in the order in which they were submitted.
//   C2. What was accepted before Stop is finished by Stop.
//
// Owned by shared_ptr: a caller inside a call, and a library thread that did not end in time, keep
// it alive. Any thread, where nothing else is said.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/reactor.h"
#include "base/result.h"
#include "base/shared_loop.h"
#include "base/signal.h"
#include "base/task.h"
#include "client/calls/registrar.h"
#include "client/regions/lent_gpus.h"
#include "client/regions/region_table.h"
#include "client/request/call_limit.h"
#include "client/request/completion_queue.h"
#include "client/request/namespace_table.h"
#include "client/request/request.h"
#include "client/session/request_builder.h"
#include "client/session/request_flow.h"
#include "client/session/session.h"
#include "client/terrace.hpp"

namespace terrace {

class ClientCore : public std::enable_shared_from_this<ClientCore> {
 public:
  /// Starts the library thread and waits until it has a session or connect_timeout passed.
  /// `options` were validated. Status as Client::Connect says.
  static Result<std::shared_ptr<ClientCore>> Start(const ClientOptions& options);
  ~ClientCore();
  ClientCore(const ClientCore&) = delete;
  ClientCore& operator=(const ClientCore&) = delete;

  /// Ends every call with kCancelled and waits at most 1 s for the library thread. Once.
  void Stop();

  /// The session that new requests are made for.
  [[nodiscard]] SessionView View() const;
  /// Sends a request, or leaves it to who runs the loop now; it is finished by its deadline (and
  /// kQuietGrace). Never waits. kRetry when kCallsMax calls are in flight, kCancelled after Stop;
  /// the request is then void.
  /// kAwait: it is left to the Await that this thread calls next.
  enum class WhoRuns : std::uint8_t { kSubmit, kAwait };
  Status Submit(const RequestRef& request, WhoRuns who_runs = WhoRuns::kSubmit);
  /// Drives the loop until `finished` is set (true) or `deadline` comes (false). Once for a signal.
  [[nodiscard]] bool Await(Signal& finished, Nanos deadline) {
    return loop_->DriveUntil(finished, deadline);
  }
  /// The same until there is a completion to take.
  [[nodiscard]] bool AwaitCompletion(Nanos deadline);
  /// Gives up, or waits for, the calls that `query` names, of those submitted before: ok once they
  /// are over as `watch`, a new one, says; kTimeout at `deadline`; kCancelled after Stop. With a
  /// deadline that has passed it gives up and looks, and never waits.
  [[nodiscard]] Status AwaitCalls(CallQuery query, const std::shared_ptr<CallWatch>& watch,
                                  Nanos deadline);
  /// Tells the daemon of a region, before any request that is submitted later.
  void AddRegion(const RegionTable::Region& region);
  /// Returns when no transport knows the region any more; false when the library thread did not
  /// answer within 1 s.
  [[nodiscard]] bool RemoveRegion(std::uint32_t region);

  /// Tells the reactors that a lease is over; nobody waits for them.
  void PostLeaseReleases(const LeaseBook::Entry& lease);

  [[nodiscard]] Clock& clock() noexcept { return clock_; }
  [[nodiscard]] RegionTable& regions() noexcept { return regions_; }
  [[nodiscard]] Registrar& registrar() noexcept { return registrar_; }
  /// A region to be made on the registrar's thread: its own memory, or `length` bytes of ours.
  Result<Ticket> SubmitRegion(std::span<std::byte> memory, std::uint64_t length);
  [[nodiscard]] NamespaceTable& namespaces() noexcept { return namespaces_; }
  [[nodiscard]] LeaseBook& leases() noexcept { return leases_; }
  [[nodiscard]] LentGpus& lent_gpus() const noexcept { return *lent_gpus_; }
  [[nodiscard]] CompletionQueue& completions() noexcept { return *completions_; }
  [[nodiscard]] std::atomic<std::uint64_t>& request_ids() noexcept { return request_ids_; }
  [[nodiscard]] std::uint64_t incarnation() const noexcept { return channel_options_.incarnation; }
  [[nodiscard]] Ticket NextTicket() noexcept { return next_ticket_.fetch_add(1); }
  /// True for a number that NextTicket has given out.
  [[nodiscard]] bool KnowsTicket(Ticket ticket) const noexcept {
    return ticket >= first_ticket_ && ticket < next_ticket_.load();
  }
  [[nodiscard]] std::uint64_t Reconnects() const noexcept { return reconnects_.load(); }
  [[nodiscard]] LinkKind Link() const;

 private:
  /// What callers ask of the library thread.
  struct Command {
    enum class Kind : std::uint8_t {
      kStart,
      kAddRegion,
      kRemoveRegion,
      kReleaseLease,
      kWatch,
      kDone
    };
    Kind kind = Kind::kStart;
    RequestRef request;                // kStart
    RegionTable::Region region;        // of those about regions
    LeaseBook::Entry lease;            // kReleaseLease
    std::shared_ptr<Signal> finished;  // kRemoveRegion
    CallQuery query;                   // kWatch
    std::shared_ptr<CallWatch> watch;  // kWatch
    /// kDone: a completion that was not made on the loop, where those are that wait for it.
    std::shared_ptr<std::pair<Completion, CallSlot>> done;
  };

  ClientCore(const ClientOptions& options, std::unique_ptr<CompletionQueue> completions);

  [[nodiscard]] bool Push(Command command, WhoRuns who_runs = WhoRuns::kSubmit);

  // The library thread.
  void ThreadMain();
  /// Makes what the thread needs and runs the loop until Stop.
  Status RunLoop();
  /// Tells Start how the first attempt ended; later calls do nothing.
  void ReportStart(const Status& status);
  void DrainInbox();
  /// The next few commands; true when there are more.
  bool RunCommands();
  void Execute(Command& command);
  void Post(std::uint64_t epoch, std::uint32_t shard, std::vector<std::byte> message);
  void BeginStop();
  Task<void> KeepSession();
  Task<void> EndEverything();
  void Publish();
  void Unpublish();
  /// Ends session_; connections with memory that is not quiet go to retired_.
  void RetireSession(const Status& reason);
  void SweepRetired();

  SteadyClock clock_;
  SystemRandom random_;
  const std::shared_ptr<LentGpus> lent_gpus_ = std::make_shared<LentGpus>();
  ChannelOptions channel_options_;
  const Nanos connect_timeout_;
  const Nanos spin_;
  RegionTable regions_;
  Registrar registrar_;
  NamespaceTable namespaces_;
  LeaseBook leases_{random_.Next()};
  const std::unique_ptr<CompletionQueue> completions_;
  CallLimit limit_;
  std::atomic<std::uint64_t> request_ids_{1};
  const Ticket first_ticket_;  // no other Client of the process has tickets near it
  std::atomic<Ticket> next_ticket_{first_ticket_};
  std::atomic<std::uint64_t> reconnects_{0};

  mutable std::mutex view_mutex_;
  SessionView view_;                 // guarded by view_mutex_
  LinkKind link_ = LinkKind::kNone;  // guarded by view_mutex_

  std::mutex inbox_mutex_;
  // A list, that nothing is allocated under the mutex: who submits must not wait for the heap of a
  // thread that has lost the processor, and the loop takes all there is at once.
  std::list<Command> inbox_;   // guarded by inbox_mutex_
  bool inbox_posted_ = false;  // guarded by inbox_mutex_
  bool inbox_closed_ = true;   // guarded by inbox_mutex_
  bool loop_runs_ = false;     // guarded by inbox_mutex_; reactor_ can be posted to
  bool stop_asked_ = false;    // guarded by inbox_mutex_

  Signal started_;       // the first attempt has ended; its status is:
  Status first_status_;  // written before started_ is set
  Signal thread_ended_;
  std::thread thread_;

  // Made by the library thread before it runs. Both live as long as the core, because a caller may
  // still be inside while the thread ends.
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<SharedLoop> loop_;

  // The library thread's from here on.
  std::list<Command> taken_;  // from the inbox, oldest first; not run yet
  std::unique_ptr<ChannelFactory> factory_;
  std::unique_ptr<RequestFlow> flow_;
  std::unique_ptr<TaskScope> scope_;
  std::unique_ptr<Session> session_;                       // also while it is being opened
  bool serving_ = false;                                   // session_ is open
  std::vector<std::unique_ptr<ShardConnection>> retired_;  // oldest first
  std::optional<Scheduler::TimerId> sweep_timer_;
  bool start_reported_ = false;
  std::uint64_t epoch_ = 0;
  std::unique_ptr<Event> stop_event_;
  bool stopping_ = false;
};

}  // namespace terrace
