#include "client/calls/client_impl.h"

#include <new>

#include <algorithm>

#include "client/calls/validation.h"
#include "client/request/validate_pieces.h"

namespace terrace {
namespace {

constexpr Nanos kDeadlineMax = 3600 * kSecond;
// A library thread that is silent for so long after a call should have ended is broken; the caller
// is let go all the same.
constexpr Nanos kLibraryStallMax = 5 * kSecond;

}  // namespace

Nanos ToNanos(Deadline deadline, Nanos now) noexcept {
  const Nanos time =
      std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
  return std::min(time, now + kDeadlineMax);
}

Client::Impl::~Impl() {
  if (SameProcess()) {
    Close();
    return;
  }
  // A forked child: no thread to join, locks in any state, and sockets that are the parent's. It
  // must touch nothing of this, so the memory is given up.
  [[maybe_unused]] const auto* abandoned =
      new std::shared_ptr<ClientCore>(std::move(core_));  // NOLINT
}

void Client::Impl::Close() {
  if (SameProcess() && !closed_.exchange(true)) core_->Stop();
}

Status Client::Impl::CheckProcess() const {
  if (SameProcess()) return {};
  return Status::Invalid("this Client belongs to process " + std::to_string(process_) +
                         ": after fork() the child must connect anew");
}

Status Client::Impl::OutOfMemory() {
  return {StatusCode::kRetry, "out of memory"};  // so short that the text needs no memory either
}

Status Client::Impl::NotConnected() const {
  return {StatusCode::kPeerDead, "not connected to " + address_};
}

Result<Client::Impl::Target> Client::Impl::FindSpace(NamespaceId space, Deadline deadline) const {
  if (Status status = CheckProcess(); !status.ok()) return status;
  Target target;
  // The session first: a namespace that was opened for a later one does not fit, and is noticed.
  target.session = core_->View();
  Result<NamespaceView> view = core_->namespaces().Find(space);
  if (!view.ok()) return view.status();
  target.space = std::move(view.value());
  target.now = core_->clock().Now();
  target.deadline = ToNanos(deadline, target.now);
  return target;
}

Result<Client::Impl::Target> Client::Impl::FindTarget(NamespaceId space, const Chain& chain,
                                                      BlockKind kind, Deadline deadline) const {
  Result<Target> target = FindSpace(space, deadline);
  if (!target.ok()) return target;
  if (Status status = ValidateChain(*target->space.descriptor, chain, kind); !status.ok()) {
    return status;
  }
  return target;
}

Status Client::Impl::CheckTarget(const Target& target) const {
  if (target.session.epoch == 0 || target.space.epoch != target.session.epoch) {
    return NotConnected();
  }
  if (!target.space.failure.ok()) return target.space.failure;
  if (target.deadline <= target.now) return {StatusCode::kTimeout, "the deadline has passed"};
  return {};
}

RequestBuilder Client::Impl::BuilderFor(const Target& target) const {
  return {core_->request_ids(), core_->incarnation(), target.session, target.now, target.deadline};
}

Result<RequestRef> Client::Impl::PrepareMatch(NamespaceId space, const Chain& chain, BlockKind kind,
                                              Deadline deadline) const try {
  const Result<Target> target = FindTarget(space, chain, kind, deadline);
  if (!target.ok()) return target.status();
  if (Status status = CheckTarget(*target); !status.ok()) return status;
  return BuilderFor(*target).Match(target->space, chain, kind);
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PrepareTransfer(TransferKind transfer, NamespaceId space,
                                                 const Chain& chain,
                                                 std::span<const BlockBuffer> blocks,
                                                 BlockKind kind, Deadline deadline) const try {
  const Result<Target> target = FindTarget(space, chain, kind, deadline);
  if (!target.ok()) return target.status();
  const NamespaceView& view = target->space;
  if (Status status = ValidateBlocks(*view.descriptor, chain, blocks); !status.ok()) return status;
  if (Status status = ValidateAck(transfer.ack); !status.ok()) return status;
  if (Status status = ValidateTokenIds(transfer.token_ids, blocks.size()); !status.ok()) {
    return status;
  }
  std::vector<std::span<std::byte>> memory;
  Result<RegionUse> regions = core_->regions().Use(blocks, view.BlockBytes(kind.group), memory);
  if (!regions.ok()) return regions.status();
  if (transfer.kind == RequestKind::kGet) {  // two blocks in one place would both be called good
    if (Status status = CheckDisjoint(memory); !status.ok()) return status;
  }
  if (Status status = CheckTarget(*target); !status.ok()) return status;
  return BuilderFor(*target).Transfer(transfer, view, chain, blocks, kind, memory,
                                      std::move(regions.value()));
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PrepareLend(NamespaceId space, const Chain& chain,
                                             std::span<const std::uint32_t> positions,
                                             BlockKind kind, Deadline deadline,
                                             const LendOptions& options) const try {
  const Result<Target> target = FindTarget(space, chain, kind, deadline);
  if (!target.ok()) return target.status();
  if (Status status = ValidatePositions(chain, positions); !status.ok()) return status;
  if (Status status = ValidateLease(options.lease); !status.ok()) return status;
  if (Status status = ValidateLendGpu(options.gpu); !status.ok()) return status;
  if (Status status = CheckTarget(*target); !status.ok()) return status;
  const bool asks = !options.gpu.empty() && core_->lent_gpus().Ask(options.gpu);
  return BuilderFor(*target).Lend(target->space, chain, positions, kind,
                                  static_cast<std::uint32_t>(options.lease.count()),
                                  asks ? options.gpu : std::string());
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PrepareRemove(NamespaceId space, const Chain& chain,
                                               std::uint32_t first, std::uint32_t count,
                                               BlockKind kind, Deadline deadline) const try {
  const Result<Target> target = FindTarget(space, chain, kind, deadline);
  if (!target.ok()) return target.status();
  if (Status status = ValidateRange(chain, first, count); !status.ok()) return status;
  if (Status status = CheckTarget(*target); !status.ok()) return status;
  return BuilderFor(*target).Remove(target->space, chain, first, count, kind);
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PreparePlain(
    Deadline deadline, const std::function<RequestRef(const RequestBuilder&)>& build) const try {
  if (Status status = CheckProcess(); !status.ok()) return status;
  Target target;
  target.session = core_->View();
  if (target.session.epoch == 0) return NotConnected();
  target.now = core_->clock().Now();
  target.deadline = ToNanos(deadline, target.now);
  if (target.deadline <= target.now) {
    return Status(StatusCode::kTimeout, "the deadline has passed");
  }
  return build(BuilderFor(target));
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Status Client::Impl::Run(const Result<RequestRef>& request) const noexcept {
  if (!request.ok()) return request.status();
  const std::shared_ptr<ClientCore> core = core_;
  const RequestRef& call = request.value();
  const Nanos give_up = call->deadline + kQuietGrace + kLibraryStallMax;
  if (Status status = core->Submit(call, ClientCore::WhoRuns::kAwait); !status.ok()) return status;
  if (!core->Await(call->done, give_up)) {
    return {StatusCode::kInDoubt, "the library thread does not answer"};
  }
  return call->status;
}

Result<Ticket> Client::Impl::Submit(const Result<RequestRef>& request) const noexcept {
  if (!request.ok()) return request.status();
  const RequestRef& call = request.value();
  const Ticket ticket = core_->NextTicket();
  call->ticket = ticket;
  if (Status status = core_->Submit(call); !status.ok()) return status;
  return ticket;
}

}  // namespace terrace
