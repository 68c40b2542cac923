// terrace.h: hand-off.
#include <cstring>

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
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto named = ToHandoffToken(token);
        if (!named.ok()) return named.status();
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        return its_client.Send(*named, {space}, keys, gathered->parts, ToKind(kind),
                               ToDeadline(deadline));
      });
}

terrace_status terrace_submit_send(TERRACE_TARGET_, const terrace_handoff_token* token,
                                   TERRACE_PIECES_, TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto named = ToHandoffToken(token);
        if (!named.ok()) return named.status();
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        return its_client.SubmitSend(*named, {space}, keys, gathered->parts, ToKind(kind),
                                     ToDeadline(deadline));
      });
}

terrace_status terrace_receive(TERRACE_TARGET_, const terrace_handoff_token* token, TERRACE_PIECES_,
                               terrace_deadline deadline, terrace_block_result* results,
                               terrace_error* error) {
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto named = ToHandoffToken(token);
        if (!named.ok()) return named.status();
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        return its_client.Receive(*named, {space}, keys, gathered->parts, ToKind(kind),
                                  ToDeadline(deadline));
      });
}

terrace_status terrace_submit_receive(TERRACE_TARGET_, const terrace_handoff_token* token,
                                      TERRACE_PIECES_, TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto named = ToHandoffToken(token);
        if (!named.ok()) return named.status();
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        return its_client.SubmitReceive(*named, {space}, keys, gathered->parts, ToKind(kind),
                                        ToDeadline(deadline));
      });
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

}  // extern "C"
