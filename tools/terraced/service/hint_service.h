// HintService: what clients ask to keep, to fetch ahead, and to forget by prefix or tenant; beside
// RequestService, one per reactor.
//
//   - Tenants: as in request_service.h; labels are the tenant's as well.
//   - At most kRequestsPerPeerMax of these requests of one peer are under way; more are told
//   kRetry.
//   - A prefetch that is cancelled, or whose peer went, is given the deadline "now": it gives up at
//     its next step; a block that is being read comes to DRAM all the same.
//   - What was retained stays when its peer goes.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/task.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tools/terraced/service/request_decoder.h"
#include "transport/server.h"

namespace terrace {

class HintService {
 public:
  /// `cache` and `registry` outlive it.
  HintService(Cache& cache, NamespaceRegistry& registry, ShardPlace place)
      : cache_(cache), registry_(registry), place_(place) {}

  /// True for the requests that are answered here.
  [[nodiscard]] static bool Serves(wire::Body body) noexcept;
  /// REQUIRES: Serves(message.body_type()); the peer is connected.
  void Start(const PeerRef& peer, std::vector<std::byte> bytes, const wire::Message& message,
             const RequestFacts& facts, Nanos deadline);
  void OnCancel(const PeerRef& peer, std::uint64_t request_id);
  void OnDisconnect(const PeerRef& peer);
  /// Waits until nothing runs any more.
  Task<void> Drain() { co_await flows_.Join(); }

 private:
  /// One request under way; owned by its coroutine.
  struct Flow {
    std::vector<std::byte> bytes;  // the message that the views of keys point into
    std::uint64_t request_id = 0;
    PrefetchRequest prefetch;
    RetainRequest retain;
    PrefixRequest prefix;
  };
  using FlowPtr = std::unique_ptr<Flow>;

  void StartPrefetch(const PeerRef& peer, FlowPtr flow, const wire::Prefetch& body);
  void Touch(const PeerRef& peer, std::uint64_t request_id, const wire::Touch& body,
             const RequestFacts& facts);
  void StartRetain(const PeerRef& peer, FlowPtr flow, const wire::Retain& body);
  void StartRelease(const PeerRef& peer, FlowPtr flow, const wire::ReleaseRetained& body);
  void StartRemovePrefix(const PeerRef& peer, FlowPtr flow, const wire::RemovePrefix& body);

  Task<void> Prefetch(PeerRef peer, FlowPtr flow);
  Task<void> Retain(PeerRef peer, FlowPtr flow);
  Task<void> Release(PeerRef peer, FlowPtr flow);
  Task<void> RemovePrefix(PeerRef peer, FlowPtr flow);
  Task<void> ClearTenant(PeerRef peer, FlowPtr flow);

  /// The chain of a body, of a namespace of the peer's tenant.
  template <typename Body>
  Result<ChainSlice> ChainOf(const PeerRef& peer, const Body& body, std::uint32_t group,
                             std::uint32_t shard) const;
  /// Runs a flow that its peer may cancel.
  void Run(const PeerRef& peer, FlowPtr flow, Task<void> (HintService::*task)(PeerRef, FlowPtr));
  void Ended(const PeerRef& peer, std::uint64_t request_id);

  Cache& cache_;
  NamespaceRegistry& registry_;
  const ShardPlace place_;
  std::unordered_map<std::uint64_t, std::unordered_map<std::uint64_t, Flow*>> in_progress_;
  TaskScope flows_;
};

}  // namespace terrace
