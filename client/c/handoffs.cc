// terrace.h: hand-off.
#include <cstring>
#include <span>
#include <vector>

#include "client/c/call.h"
#include "client/c/convert.h"

using namespace terrace::c;  // NOLINT: the functions below are C's, in no namespace
using terrace::BlockResult;
using terrace::Chain;
using terrace::Client;
using terrace::Result;
using terrace::Status;
using terrace::Ticket;

using Results = Result<std::vector<BlockResult>>;

namespace {

/// What a call about parts names, and the parts.
struct PartsOf {
  terrace_client client;
  terrace_space space;
  terrace_chain chain;
  terrace_kind kind;
  const terrace_handoff_token* token;
};
struct PartList {
  const terrace_block_pieces* blocks;
  uint64_t block_count;
  const terrace_piece* pieces;
  uint64_t piece_count;
};

/// Send or Receive; likewise below.
template <typename Answer>
using PartsCall = Result<Answer> (Client::*)(const terrace::HandoffToken&, terrace::NamespaceId,
                                             const Chain&, std::span<const terrace::BlockPieces>,
                                             terrace::BlockKind, terrace::Deadline);

template <typename Answer>
Result<Answer> CallParts(PartsCall<Answer> call, const PartsOf& of, const PartList& list,
                         terrace_deadline deadline, Client& client, const Chain& keys) {
  const auto named = ToHandoffToken(of.token);
  if (!named.ok()) return named.status();
  const auto gathered = ToBlockPieces(list.blocks, list.block_count, list.pieces, list.piece_count);
  if (!gathered.ok()) return gathered.status();
  return (client.*call)(*named, {of.space}, keys, gathered->parts, ToKind(of.kind),
                        ToDeadline(deadline));
}

terrace_status PartsAbout(PartsCall<std::vector<BlockResult>> call, const PartsOf& of,
                          const PartList& list, terrace_deadline deadline,
                          terrace_block_result* results, terrace_error* error) noexcept {
  return BlocksAbout(of.client, of.chain, results, error,
                     [&](Client& client, const Chain& keys) -> Results {
                       return CallParts(call, of, list, deadline, client, keys);
                     });
}

terrace_status SubmitParts(PartsCall<Ticket> call, const PartsOf& of, const PartList& list,
                           terrace_deadline deadline, terrace_ticket* ticket,
                           terrace_error* error) noexcept {
  return SubmitAbout(of.client, of.chain, ticket, error,
                     [&](Client& client, const Chain& keys) -> Result<Ticket> {
                       return CallParts(call, of, list, deadline, client, keys);
                     });
}

}  // namespace

extern "C" {

terrace_status terrace_new_handoff(terrace_client client, terrace_handoff_token* token,
                                   terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(token, "token"); !status.ok()) return status;
    const auto made = its_client.NewHandoff();
    if (!made.ok()) return made.status();
    std::memcpy(token->bytes, made->bytes.data(), sizeof token->bytes);
    return {};
  });
}

terrace_status terrace_open_handoff(TERRACE_TARGET_, const terrace_handoff_token* token,
                                    uint32_t first, uint32_t count,
                                    const terrace_handoff_options* options,
                                    terrace_deadline deadline, terrace_block_result* results,
                                    terrace_error* error) {
  return BlocksAbout(client, chain, results, error,
                     [&](Client& its_client, const Chain& keys) -> Results {
                       const auto named = ToHandoffToken(token);
                       if (!named.ok()) return named.status();
                       const auto known = ToHandoffOptions(options);
                       if (!known.ok()) return known.status();
                       return its_client.OpenHandoff(*named, {space}, keys, first, count,
                                                     ToKind(kind), *known, ToDeadline(deadline));
                     });
}

terrace_status terrace_submit_open_handoff(TERRACE_TARGET_, const terrace_handoff_token* token,
                                           uint32_t first, uint32_t count,
                                           const terrace_handoff_options* options,
                                           TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto named = ToHandoffToken(token);
        if (!named.ok()) return named.status();
        const auto known = ToHandoffOptions(options);
        if (!known.ok()) return known.status();
        return its_client.SubmitOpenHandoff(*named, {space}, keys, first, count, ToKind(kind),
                                            *known, ToDeadline(deadline));
      });
}

terrace_status terrace_send(TERRACE_TARGET_, const terrace_handoff_token* token, TERRACE_PIECES_,
                            terrace_deadline deadline, terrace_block_result* results,
                            terrace_error* error) {
  return PartsAbout(&Client::Send, {client, space, chain, kind, token},
                    {blocks, block_count, pieces, piece_count}, deadline, results, error);
}

terrace_status terrace_submit_send(TERRACE_TARGET_, const terrace_handoff_token* token,
                                   TERRACE_PIECES_, TERRACE_TICKET_) {
  return SubmitParts(&Client::SubmitSend, {client, space, chain, kind, token},
                     {blocks, block_count, pieces, piece_count}, deadline, ticket, error);
}

terrace_status terrace_receive(TERRACE_TARGET_, const terrace_handoff_token* token, TERRACE_PIECES_,
                               terrace_deadline deadline, terrace_block_result* results,
                               terrace_error* error) {
  return PartsAbout(&Client::Receive, {client, space, chain, kind, token},
                    {blocks, block_count, pieces, piece_count}, deadline, results, error);
}

terrace_status terrace_submit_receive(TERRACE_TARGET_, const terrace_handoff_token* token,
                                      TERRACE_PIECES_, TERRACE_TICKET_) {
  return SubmitParts(&Client::SubmitReceive, {client, space, chain, kind, token},
                     {blocks, block_count, pieces, piece_count}, deadline, ticket, error);
}

terrace_status terrace_get_arriving(TERRACE_TARGET_, TERRACE_PIECES_, terrace_deadline deadline,
                                    terrace_block_result* results, terrace_error* error) {
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        return its_client.GetArriving({space}, keys, gathered->parts, ToKind(kind),
                                      ToDeadline(deadline));
      });
}

terrace_status terrace_submit_get_arriving(TERRACE_TARGET_, TERRACE_PIECES_, TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        return its_client.SubmitGetArriving({space}, keys, gathered->parts, ToKind(kind),
                                            ToDeadline(deadline));
      });
}

terrace_status terrace_ack_handoff(terrace_client client, const terrace_handoff_token* token,
                                   TERRACE_END_) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    const auto named = ToHandoffToken(token);
    if (!named.ok()) return named.status();
    return its_client.AckHandoff(*named, ToDeadline(deadline));
  });
}

terrace_status terrace_submit_ack_handoff(terrace_client client, const terrace_handoff_token* token,
                                          TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) -> Result<Ticket> {
    const auto named = ToHandoffToken(token);
    if (!named.ok()) return named.status();
    return its_client.SubmitAckHandoff(*named, ToDeadline(deadline));
  });
}

terrace_status terrace_abort_handoff(terrace_client client, const terrace_handoff_token* token,
                                     TERRACE_END_) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    const auto named = ToHandoffToken(token);
    if (!named.ok()) return named.status();
    return its_client.AbortHandoff(*named, ToDeadline(deadline));
  });
}

terrace_status terrace_submit_abort_handoff(terrace_client client,
                                            const terrace_handoff_token* token, TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) -> Result<Ticket> {
    const auto named = ToHandoffToken(token);
    if (!named.ok()) return named.status();
    return its_client.SubmitAbortHandoff(*named, ToDeadline(deadline));
  });
}

}  // extern "C"
