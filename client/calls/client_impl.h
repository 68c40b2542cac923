// Client::Impl: checks the arguments of a call, and runs it through the core.
//
// Any thread. Every call holds the core by itself, so that one that is under way while the Client
// is destroyed ends with kCancelled instead of touching what is gone.
#pragma once

#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "client/calls/client_core.h"
#include "client/terrace.hpp"

namespace terrace {

class Client::Impl {
 public:
  Impl(std::shared_ptr<ClientCore> core, std::string address)
      : core_(std::move(core)), address_(std::move(address)), process_(::getpid()) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  /// Stops the core, once; not in a forked child.
  void Close();
  /// False in a child that was forked: it has no library thread.
  [[nodiscard]] bool SameProcess() const noexcept { return ::getpid() == process_; }
  [[nodiscard]] Status CheckProcess() const;
  /// Nothing of the request has been sent. So short that the text needs no memory either.
  [[nodiscard]] static Status OutOfMemory();
  [[nodiscard]] const std::shared_ptr<ClientCore>& core() const noexcept { return core_; }

  // Arguments to request. kInvalid names the argument; kPeerDead when not connected; kRetry when
  // there is no memory for it.
  Result<RequestRef> PrepareMatch(NamespaceId space, const Chain& chain, BlockKind kind,
                                  Deadline deadline) const;
  Result<RequestRef> PrepareMatchGroups(NamespaceId space, const Chain& chain,
                                        const MatchQuery& query, Deadline deadline) const;
  Result<RequestRef> PrepareTransfer(TransferKind transfer, NamespaceId space, const Chain& chain,
                                     std::span<const BlockBuffer> blocks, BlockKind kind,
                                     Deadline deadline) const;
  Result<RequestRef> PrepareLend(NamespaceId space, const Chain& chain,
                                 std::span<const std::uint32_t> positions, BlockKind kind,
                                 Deadline deadline, const LendOptions& options) const;
  Result<RequestRef> PrepareRemove(NamespaceId space, const Chain& chain, std::uint32_t first,
                                   std::uint32_t count, BlockKind kind, Deadline deadline) const;
  // hints.cc
  Result<RequestRef> PreparePrefetch(NamespaceId space, const Chain& chain, std::uint32_t first,
                                     std::uint32_t count, BlockKind kind,
                                     const PrefetchOptions& options, Deadline deadline) const;
  /// A call about positions [first, first + count).
  Result<RequestRef> PrepareRange(RequestKind call, NamespaceId space, const Chain& chain,
                                  std::uint32_t first, std::uint32_t count, BlockKind kind,
                                  Deadline deadline,
                                  const RequestBuilder::EncodeQuestion& encode) const;
  Result<RequestRef> PrepareTouch(NamespaceId space, const Chain& chain, std::uint32_t first,
                                  std::uint32_t count, BlockKind kind, Deadline deadline) const;
  Result<RequestRef> PrepareRetain(NamespaceId space, const Chain& chain, std::uint32_t first,
                                   std::uint32_t count, BlockKind kind,
                                   const RetainOptions& options, Deadline deadline) const;
  Result<RequestRef> PrepareReleaseRetained(std::string_view label, Deadline deadline) const;
  Result<RequestRef> PrepareRemovePrefix(NamespaceId space, const Chain& chain, std::uint32_t first,
                                         Deadline deadline) const;
  // leases.cc
  Result<RequestRef> PrepareRenewLease(LeaseId lease, std::chrono::milliseconds time,
                                       Deadline deadline) const;
  // client_pieces.cc, client_fragments.cc
  Result<RequestRef> PreparePieces(TransferKind transfer, NamespaceId space, const Chain& chain,
                                   std::span<const BlockPieces> blocks, BlockKind kind,
                                   Deadline deadline) const;
  /// `block`: position and tokens.
  Result<RequestRef> PrepareReserve(NamespaceId space, const Chain& chain, const BlockBuffer& block,
                                    BlockKind kind, Deadline deadline,
                                    std::chrono::milliseconds patience) const;
  Result<RequestRef> PrepareWrite(const PutToken& token, std::span<const BlockFragment> fragments,
                                  Deadline deadline) const;
  Result<RequestRef> PrepareCommit(const PutToken& token, Deadline deadline, Ack ack) const;
  Result<RequestRef> PrepareAbort(const PutToken& token, Deadline deadline) const;
  /// A call that goes to the reactor that the token names; `build` makes its request.
  Result<RequestRef> PrepareForToken(
      const PutToken& token, Deadline deadline,
      const std::function<RequestRef(const RequestBuilder&, std::uint32_t shard)>& build) const;

  // client_handoffs.cc
  Result<RequestRef> PrepareOpenHandoff(const HandoffToken& token, NamespaceId space,
                                        const Chain& chain, std::uint32_t first,
                                        std::uint32_t count, BlockKind kind,
                                        const HandoffOptions& options, Deadline deadline) const;
  Result<RequestRef> PrepareEndHandoff(const HandoffToken& token, bool abort,
                                       Deadline deadline) const;
  // events.cc
  Result<RequestRef> PrepareEvents(RequestKind kind, const EventCursor& cursor,
                                   const EventQuery& query, Deadline deadline) const;

  /// A call that names no namespace id; `build` makes its request.
  Result<RequestRef> PreparePlain(
      Deadline deadline, const std::function<RequestRef(const RequestBuilder&)>& build) const;

  /// device_regions.cc. Before a region is removed: memory of a GPU is not mapped any more by the
  /// daemon when it is ok.
  [[nodiscard]] Status LetGoOfDevice(std::uint32_t region) const;

  /// Hands the request over and waits for its end. The answer is in the request when ok. From here
  /// on the caller may run the library's loop, which cannot be left in the middle: memory that is
  /// refused there ends the process (docs/fault-model.md).
  [[nodiscard]] Status Run(const Result<RequestRef>& request) const noexcept;
  /// Hands the request over; likewise.
  Result<Ticket> Submit(const Result<RequestRef>& request) const noexcept;

 private:
  /// What a call about blocks needs to know.
  struct Target {
    SessionView session;
    NamespaceView space;
    Nanos now = 0;
    Nanos deadline = 0;
  };
  Result<Target> FindSpace(NamespaceId space, Deadline deadline) const;
  Result<Target> FindTarget(NamespaceId space, const Chain& chain, BlockKind kind,
                            Deadline deadline) const;
  /// The session is there, has the namespace, and the deadline lies ahead.
  [[nodiscard]] Status CheckTarget(const Target& target) const;
  [[nodiscard]] Status NotConnected() const;
  [[nodiscard]] RequestBuilder BuilderFor(const Target& target) const;

  std::shared_ptr<ClientCore> core_;
  const std::string address_;
  const pid_t process_;
  std::atomic<bool> closed_{false};
};

/// Nothing of the request has been sent. So short that the text needs no memory either.
[[nodiscard]] inline Status OutOfMemory() { return {StatusCode::kRetry, "out of memory"}; }

/// A deadline of a caller on SteadyClock, at most an hour ahead.
[[nodiscard]] Nanos ToNanos(Deadline deadline, Nanos now) noexcept;

}  // namespace terrace
