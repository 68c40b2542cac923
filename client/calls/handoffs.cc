// Hand-off: its member functions of Client, from arguments to request.
#include <new>
#include <utility>

#include "base/random.h"
#include "client/calls/answer_of.h"
#include "client/calls/client_impl.h"
#include "client/calls/validation.h"
#include "client/request/validate_pieces.h"
#include "client/wire/encode_pieces.h"

namespace terrace {

Result<RequestRef> Client::Impl::PrepareOpenHandoff(const HandoffToken& token, NamespaceId space,
                                                    const Chain& chain, std::uint32_t first,
                                                    std::uint32_t count, BlockKind kind,
                                                    const HandoffOptions& options,
                                                    Deadline deadline) const try {
  if (Status status = ValidateHandoffToken(token); !status.ok()) return status;
  const Result<Target> target = FindTarget(space, chain, kind, deadline);
  if (!target.ok()) return target.status();
  Status status = ValidateHandoff(options, target->space.descriptor->block_tokens);
  if (!status.ok()) return status;
  return PrepareRange(RequestKind::kOpenHandoff, space, chain, first, count, kind, deadline,
                      [&](const MessageHead& head, const BlockQuestion& question) {
                        return EncodeOpenHandoff(head, question, token, count, options);
                      });
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PrepareEndHandoff(const HandoffToken& token, bool abort,
                                                   Deadline deadline) const {
  if (Status status = ValidateHandoffToken(token); !status.ok()) return status;
  return PreparePlain(deadline, [&](const RequestBuilder& builder) {
    return builder.EachShard(RequestKind::kEndHandoff, [&](const MessageHead& head) {
      return EncodeEndHandoff(head, token, abort);
    });
  });
}

Result<HandoffToken> Client::NewHandoff() const {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  const SessionView session = impl_->core()->View();
  if (session.epoch == 0) return Status(StatusCode::kPeerDead, "not connected to a daemon");
  SystemRandom random;
  HandoffTokenParts parts{.incarnation = session.daemon_incarnation, .number = {}};
  while (!parts.number) parts.number = {.high = random.Next(), .low = random.Next()};
  return HandoffToken{PackHandoffToken(parts)};
}

Result<std::vector<BlockResult>> Client::OpenHandoff(const HandoffToken& token, NamespaceId space,
                                                     const Chain& chain, std::uint32_t first,
                                                     std::uint32_t count, BlockKind kind,
                                                     const HandoffOptions& options,
                                                     Deadline deadline) {
  const auto request =
      impl_->PrepareOpenHandoff(token, space, chain, first, count, kind, options, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitOpenHandoff(const HandoffToken& token, NamespaceId space,
                                         const Chain& chain, std::uint32_t first,
                                         std::uint32_t count, BlockKind kind,
                                         const HandoffOptions& options, Deadline deadline) {
  return impl_->Submit(
      impl_->PrepareOpenHandoff(token, space, chain, first, count, kind, options, deadline));
}

Result<std::vector<BlockResult>> Client::Send(const HandoffToken& token, NamespaceId space,
                                              const Chain& chain,
                                              std::span<const BlockPieces> blocks, BlockKind kind,
                                              Deadline deadline) {
  const auto request = impl_->PreparePieces({.kind = RequestKind::kPut, .handoff = token}, space,
                                            chain, blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitSend(const HandoffToken& token, NamespaceId space, const Chain& chain,
                                  std::span<const BlockPieces> blocks, BlockKind kind,
                                  Deadline deadline) {
  return impl_->Submit(impl_->PreparePieces({.kind = RequestKind::kPut, .handoff = token}, space,
                                            chain, blocks, kind, deadline));
}

Result<std::vector<BlockResult>> Client::Receive(const HandoffToken& token, NamespaceId space,
                                                 const Chain& chain,
                                                 std::span<const BlockPieces> blocks,
                                                 BlockKind kind, Deadline deadline) {
  const auto request =
      impl_->PreparePieces({.kind = RequestKind::kGet, .waits = true, .handoff = token}, space,
                           chain, blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitReceive(const HandoffToken& token, NamespaceId space,
                                     const Chain& chain, std::span<const BlockPieces> blocks,
                                     BlockKind kind, Deadline deadline) {
  return impl_->Submit(
      impl_->PreparePieces({.kind = RequestKind::kGet, .waits = true, .handoff = token}, space,
                           chain, blocks, kind, deadline));
}

Result<std::vector<BlockResult>> Client::GetArriving(NamespaceId space, const Chain& chain,
                                                     std::span<const BlockPieces> blocks,
                                                     BlockKind kind, Deadline deadline) {
  const auto request = impl_->PreparePieces({.kind = RequestKind::kGet, .waits = true}, space,
                                            chain, blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitGetArriving(NamespaceId space, const Chain& chain,
                                         std::span<const BlockPieces> blocks, BlockKind kind,
                                         Deadline deadline) {
  return impl_->Submit(impl_->PreparePieces({.kind = RequestKind::kGet, .waits = true}, space,
                                            chain, blocks, kind, deadline));
}

Status Client::AckHandoff(const HandoffToken& token, Deadline deadline) {
  return impl_->Run(impl_->PrepareEndHandoff(token, false, deadline));
}

Result<Ticket> Client::SubmitAckHandoff(const HandoffToken& token, Deadline deadline) {
  return impl_->Submit(impl_->PrepareEndHandoff(token, false, deadline));
}

Status Client::AbortHandoff(const HandoffToken& token, Deadline deadline) {
  return impl_->Run(impl_->PrepareEndHandoff(token, true, deadline));
}

Result<Ticket> Client::SubmitAbortHandoff(const HandoffToken& token, Deadline deadline) {
  return impl_->Submit(impl_->PrepareEndHandoff(token, true, deadline));
}

}  // namespace terrace
