// RequestFlow: carries requests from the session to their answer.
//
//   start -> send each part -> reply, deadline, lost connection or cancel -> withdraw the memory
//         -> (quiet within the grace?) -> answer
//
//   F1. Every request that was started is finished exactly once: when all its parts are quiet, or
//       when the grace after its deadline is over.
//   F2. A request that ends while the daemon may still touch its memory leaves its regions in doubt
//       until the last such part is quiet.
//   F3. The grace begins at the latest at the deadline and lasts kQuietGrace.
//   F4. A request is live from its start until it has ended and its memory is quiet; whoever
//   watches
//       it is told then, after its answer was delivered.
//
// Thread: the library's.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/scheduler.h"
#include "client/request/completion_queue.h"
#include "client/request/lease_book.h"
#include "client/request/namespace_table.h"
#include "client/request/request.h"
#include "client/session/shard_connection.h"

namespace terrace {

/// Calls that one turn looks into, and gives up, for a query: some 0.1 ms.
inline constexpr std::size_t kWatchedAtOnce = 128;

/// How long a call waits after its deadline for the daemon to let go of its memory.
inline constexpr Nanos kQuietGrace = kSecond;

class RequestFlow final : public ShardEvents {
 public:
  struct Shared {
    Scheduler& scheduler;
    CompletionQueue& completions;
    NamespaceTable& namespaces;
    std::atomic<std::uint64_t>& ids;  ///< request numbers
    std::uint64_t incarnation;
    LeaseBook& leases;
    /// Sends a message to a reactor of the session `epoch`, if that is still there; its answer is
    /// of no interest.
    std::function<void(std::uint64_t epoch, std::uint32_t shard, std::vector<std::byte> message)>
        post;
  };
  /// Everything in `shared` outlives the flow.
  explicit RequestFlow(const Shared& shared) : shared_(shared) {}
  RequestFlow(const RequestFlow&) = delete;
  RequestFlow& operator=(const RequestFlow&) = delete;

  /// Sends the parts of a request to `connections`, indexed by shard.
  void Start(const RequestRef& request,
             const std::vector<std::unique_ptr<ShardConnection>>& connections);
  /// Answers a request that was never sent.
  void Refuse(const RequestRef& request, Status status);
  /// Ends every part that waits on `connection` with `status`; parts whose memory is not quiet yet
  /// stay there.
  void Abandon(ShardConnection& connection, const Status& status);

  /// The calls that `query` names are given up if it says so, and `watch` is told when they are
  /// over: now, when there are none. More than kWatchedAtOnce calls are looked into in later turns,
  /// because a scheduler thread may be in this one.
  void Watch(CallQuery query, const std::shared_ptr<CallWatch>& watch);
  /// Looks into all that are left. For the end, when no turn may come any more.
  void FinishWatching();
  /// For the end, before the connections are closed by force: what a daemon that stands still may
  /// yet write to stays in doubt, and its blocks say so.
  void DoubtTheRest();

  /// A call under way, with what tells most apart that a query does not mean: there may be
  /// thousands, and to look into each takes longer than a scheduler thread has.
  struct Live {
    RequestRef request;
    std::uint64_t ticket = 0;
    const std::byte* lowest = nullptr;  ///< of its memory, [lowest, highest)
    const std::byte* highest = nullptr;
    bool given_up = false;  ///< or soon, by one who only looks
  };

  /// Requests started and not finished.
  [[nodiscard]] std::uint64_t active() const noexcept { return active_; }
  [[nodiscard]] MessageHead NextHead();

 private:
  void OnReply(const RequestRef& request, std::uint32_t part, const wire::Message& message,
               const ArrivalCheck& arrivals) override;
  void OnPartQuiet(const RequestRef& request, std::uint32_t part) override;
  void OnPartLost(const RequestRef& request, std::uint32_t part, const Status& reason) override;

  void OnTimer(const RequestRef& request);
  void OnGraceOver(const RequestRef& request);
  /// A part has its outcome: takes its memory back, or begins to wait for that.
  void EndPart(Request& request, RequestPart& part);
  void StopPart(Request& request, RequestPart& part, const Status& status);
  void Settle(RequestPart& part);
  /// Once one reactor had events, the others are asked to answer what they have.
  void Hurry(Request& request);
  /// Finishes the request, or starts the grace, when it is time to.
  void Advance(const RequestRef& request);
  void SetTimer(const RequestRef& request, Nanos time);
  void StopTimer(Request& request);
  void Finish(const RequestRef& request);
  /// From here on the request is under way.
  void Enlist(const RequestRef& request);
  /// The request is over: nothing touches its memory any more (F4).
  void Retire(Request& request);
  /// Tells those that wait for the end, or for all that they wait for.
  static void Tell(Request& request, bool quiet);
  /// Ends every part that waits for its answer.
  void GiveUp(const RequestRef& request, const Status& status);
  /// A query whose calls have not all been looked into.
  struct Watching {
    CallQuery query;
    std::shared_ptr<CallWatch> watch;
    std::vector<RequestRef> calls;  // which may be meant, and had begun before it
    std::size_t next = 0;           // among `calls`
  };
  [[nodiscard]] bool AnyMeant(const CallQuery& query) const;
  /// The next few calls; true when there are more.
  bool WatchSome(Watching& watching);
  /// Later, the next few of all queries.
  void WatchLater();
  /// Of a match that ends: what it took, against what others did.
  void NoteRoundTrip(Request& request);
  void FinishMatchGroups(Request& request);
  void FinishRenewLease(const Request& request);
  void Deliver(const RequestRef& request);

  const Shared shared_;
  std::uint64_t active_ = 0;
  Nanos round_trip_ = 0;           // of matches; 0 before the first
  std::vector<Live> live_;         // F4, in no order; each knows its place
  std::deque<Watching> watching_;  // the oldest first; a timer is set while there are any
};

}  // namespace terrace
