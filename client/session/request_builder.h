// RequestBuilder: turns a caller's arguments into a Request with its messages encoded. The caller's
// thread; arguments were validated before (validation.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "client/request/lease_book.h"
#include "client/request/namespace_table.h"
#include "client/request/request.h"
#include "client/terrace.hpp"
#include "client/wire/encode.h"
#include "transport/codec.h"

namespace terrace {

/// The connection to a daemon as callers see it.
struct SessionView {
  std::uint64_t epoch = 0;   ///< 0: not connected; each connection has another
  std::uint32_t shards = 0;  ///< reactors of the daemon
  std::uint64_t daemon_incarnation = 0;
};

class RequestBuilder {
 public:
  /// `ids`: the client's request numbers; outlives the builder. `deadline` and `now`: SteadyClock.
  RequestBuilder(std::atomic<std::uint64_t>& ids, std::uint64_t incarnation, SessionView session,
                 Nanos now, Nanos deadline)
      : ids_(ids), incarnation_(incarnation), session_(session), now_(now), deadline_(deadline) {}

  RequestRef Match(const NamespaceView& space, const Chain& chain, BlockKind kind) const;
  /// `memory` and `regions` are what RegionTable::Use said of `blocks`.
  RequestRef Transfer(TransferKind transfer, const NamespaceView& space, const Chain& chain,
                      std::span<const BlockBuffer> blocks, BlockKind kind,
                      std::span<const std::span<std::byte>> memory, RegionUse regions) const;
  /// client_pieces.cc. `memory` has the memory of all pieces, one after the other.
  RequestRef TransferPieces(TransferKind transfer, const NamespaceView& space, const Chain& chain,
                            std::span<const BlockPieces> blocks, BlockKind kind,
                            std::span<const std::span<std::byte>> memory, RegionUse regions) const;
  // client_fragments.cc; `shard` is the reactor that the token names.
  RequestRef Reserve(const NamespaceView& space, const Chain& chain, const BlockBuffer& block,
                     BlockKind kind, std::uint32_t patience_ms) const;
  RequestRef Write(const PutToken& token, std::uint32_t shard,
                   std::span<const BlockFragment> fragments, PieceMemory memory,
                   RegionUse regions) const;
  RequestRef Commit(const PutToken& token, std::uint32_t shard, Ack ack) const;
  RequestRef Abort(const PutToken& token, std::uint32_t shard) const;
  /// As EncodeLend (client/wire/encode.h).
  RequestRef Lend(const NamespaceView& space, const Chain& chain,
                  std::span<const std::uint32_t> positions, BlockKind kind, std::uint32_t lease_ms,
                  const std::string& gpu) const;
  RequestRef Remove(const NamespaceView& space, const Chain& chain, std::uint32_t first,
                    std::uint32_t count, BlockKind kind) const;
  RequestRef MatchGroups(const NamespaceView& space, const Chain& chain,
                         PrefixQuestion question) const;
  /// `epoch`: the session that the lease belongs to.
  RequestRef RenewLease(std::uint64_t epoch, std::span<const LeaseBook::Part> parts,
                        std::uint32_t lease_ms) const;
  RequestRef OpenNamespace(const NamespaceDescriptor& descriptor) const;
  /// kPing, kStat or kListNamespaces, to every reactor.
  RequestRef ToEveryShard(RequestKind kind) const;
  RequestRef ClearNamespace(std::string_view name) const;
  /// A call about positions [first, first + count), that moves no bytes; `encode` makes the message
  /// of each reactor that has some.
  using EncodeQuestion =
      std::function<std::vector<std::byte>(const MessageHead&, const BlockQuestion&)>;
  RequestRef Range(RequestKind kind, const NamespaceView& space, const Chain& chain,
                   std::uint32_t first, std::uint32_t count, BlockKind of,
                   const EncodeQuestion& encode) const;
  /// events.cc. kReadEvents or kReadSnapshot, to every reactor that has something to say.
  RequestRef ReadEvents(RequestKind kind, const EventCursor& cursor, const EventQuery& query) const;
  /// explain.cc. To every reactor.
  RequestRef Explain(const ExplainQuery& query) const;
  /// device_regions.cc. To every reactor, each of which maps for itself.
  RequestRef RegisterDevice(const RegionTable::Region& region) const;
  RequestRef ForgetDevice(std::uint32_t region) const;
  /// A call to every reactor.
  RequestRef EachShard(
      RequestKind kind,
      const std::function<std::vector<std::byte>(const MessageHead&)>& encode) const;

 private:
  RequestRef Start(RequestKind kind) const;
  [[nodiscard]] MessageHead NextHead(const RequestHints* hints) const;
  /// The part of a request that goes to a plan's reactor, with the chain's hints; `encode(head)`
  /// makes its message from the plan, whose blocks the part then takes.
  template <typename Encode>
  RequestPart& AddPart(Request& request, const Chain& chain, ShardPlan& plan,
                       const Encode& encode) const {
    return AddPart(request, plan, encode, &chain.hints());
  }
  /// Likewise, of blocks that a token names.
  template <typename Encode>
  RequestPart& AddPart(Request& request, ShardPlan& plan, const Encode& encode,
                       const RequestHints* hints = nullptr) const {
    RequestPart& part = AddPart(request, plan.shard, encode, hints);
    part.blocks = std::move(plan.blocks);
    return part;
  }
  /// One that is about no blocks.
  template <typename Encode>
  RequestPart& AddPart(Request& request, std::uint32_t shard, const Encode& encode,
                       const RequestHints* hints = nullptr) const {
    RequestPart& part = request.parts.emplace_back();
    const MessageHead head = NextHead(hints);
    part.shard = shard;
    part.request_id = head.request_id;
    part.message = encode(head);
    return part;
  }
  [[nodiscard]] Placement PlacementOf(const NamespaceView& space) const;

  std::atomic<std::uint64_t>& ids_;
  const std::uint64_t incarnation_;
  const SessionView session_;
  const Nanos now_;
  const Nanos deadline_;
};

}  // namespace terrace
