// EventService: readers of events and snapshots (docs/events.md); beside RequestService, one per
// reactor.
//
//   - A reader pulls: between two requests of it there is nothing of it here, and one that hangs
//     holds up nobody.
//   - Tenants: only events of namespaces of the peer's tenant are shown. The numbers in between are
//     other tenants' events; that there were some is all that can be seen of them.
//   - A ReadEvents that finds nothing is answered at the next event for it, after its wait_ms,
//   after
//     kHeartbeat, or just before its deadline; a Cancel makes it answer at once with what there is.
//   - At most kReadsPerPeerMax of these requests of one peer are under way; more are told kRetry.
//   - Between two turns of the loop at most kLooksAtOnce events or blocks are looked at.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/task.h"
#include "base/wait.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "transport/codec.h"
#include "transport/server.h"

namespace terrace {

class EventService {
 public:
  static constexpr std::size_t kReadsPerPeerMax = 16;
  static constexpr std::uint32_t kLooksAtOnce = 1024;
  static constexpr Nanos kHeartbeat = kSecond;

  /// `cache` and `registry` outlive it.
  EventService(Cache& cache, NamespaceRegistry& registry) : cache_(cache), registry_(registry) {}

  /// Whose sequences these are, before the first request: this run of the daemon.
  void Name(std::uint64_t incarnation) noexcept { incarnation_ = incarnation; }
  /// True for the requests that are answered here.
  [[nodiscard]] static bool Serves(wire::Body body) noexcept;
  /// REQUIRES: Serves(message.body_type()); the peer is connected.
  void Start(const PeerRef& peer, const wire::Message& message, Nanos deadline);
  void OnCancel(const PeerRef& peer, std::uint64_t request_id);
  void OnDisconnect(const PeerRef& peer);
  /// Waits until nothing runs any more.
  Task<void> Drain() { co_await flows_.Join(); }

 private:
  /// One request under way; owned by its coroutine.
  struct Flow {
    std::uint64_t request_id = 0;
    std::uint64_t incarnation = 0;
    std::uint64_t from = 0;  // a sequence, or a block's number
    std::uint32_t most = 0;
    std::string space;
    Nanos until = 0;
    bool stop = false;  // cancelled, or its peer went
    Event news;
  };
  using FlowPtr = std::unique_ptr<Flow>;

  Status Decode(const wire::Message& message, Nanos deadline, Flow& flow) const;
  Task<void> ReadEvents(PeerRef peer, FlowPtr flow);
  Task<void> ReadSnapshot(PeerRef peer, FlowPtr flow);
  void Ended(const PeerRef& peer, std::uint64_t request_id);

  Cache& cache_;
  NamespaceRegistry& registry_;
  std::uint64_t incarnation_ = 0;
  std::unordered_map<std::uint64_t, std::unordered_map<std::uint64_t, Flow*>> in_progress_;
  TaskScope flows_;
};

}  // namespace terrace
