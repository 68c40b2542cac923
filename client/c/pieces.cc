// terrace.h: lists of pieces, parts of blocks, and blocks from several writers.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "client/c/call.h"
#include "client/c/convert.h"

using namespace terrace::c;  // NOLINT: the functions below are C's, in no namespace
using std::chrono::milliseconds;
using terrace::BlockResult;
using terrace::Chain;
using terrace::Client;
using terrace::Result;
using terrace::Status;
using terrace::Ticket;

using Results = Result<std::vector<BlockResult>>;

extern "C" {

terrace_status terrace_get_pieces(TERRACE_TARGET_, TERRACE_PIECES_, terrace_deadline deadline,
                                  terrace_block_result* results, terrace_error* error) {
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        return its_client.GetPieces({space}, keys, gathered->parts, ToKind(kind),
                                    ToDeadline(deadline));
      });
}

terrace_status terrace_put_pieces(TERRACE_TARGET_, TERRACE_PIECES_, uint32_t ack,
                                  terrace_deadline deadline, terrace_block_result* results,
                                  terrace_error* error) {
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        const auto level = ToAck(ack);
        if (!level.ok()) return level.status();
        return its_client.PutPieces({space}, keys, gathered->parts, ToKind(kind),
                                    ToDeadline(deadline), *level);
      });
}

terrace_status terrace_submit_get_pieces(TERRACE_TARGET_, TERRACE_PIECES_, TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        return its_client.SubmitGetPieces({space}, keys, gathered->parts, ToKind(kind),
                                          ToDeadline(deadline));
      });
}

terrace_status terrace_submit_put_pieces(TERRACE_TARGET_, TERRACE_PIECES_, uint32_t ack,
                                         TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        const auto level = ToAck(ack);
        if (!level.ok()) return level.status();
        return its_client.SubmitPutPieces({space}, keys, gathered->parts, ToKind(kind),
                                          ToDeadline(deadline), *level);
      });
}

terrace_status terrace_reserve(TERRACE_TARGET_, uint32_t position, uint32_t valid_tokens,
                               uint32_t patience_ms, terrace_deadline deadline,
                               terrace_status* reservation, terrace_put_token* token,
                               terrace_error* error) {
  return WithChain(client, chain, error, [&](Client& its_client, const Chain& keys) -> Status {
    if (Status status = NotNull(reservation, "reservation"); !status.ok()) return status;
    if (Status status = NotNull(token, "token"); !status.ok()) return status;
    const auto reserved =
        its_client.Reserve({space}, keys, position, ToKind(kind), ToDeadline(deadline),
                           valid_tokens, milliseconds(patience_ms));
    if (!reserved.ok()) return reserved.status();
    *reservation = static_cast<terrace_status>(reserved->status);
    std::memcpy(token->bytes, reserved->token.bytes.data(), sizeof token->bytes);
    return {};
  });
}

terrace_status terrace_submit_reserve(TERRACE_TARGET_, uint32_t position, uint32_t valid_tokens,
                                      uint32_t patience_ms, TERRACE_TICKET_) {
  return SubmitAbout(client, chain, ticket, error, [&](Client& its_client, const Chain& keys) {
    return its_client.SubmitReserve({space}, keys, position, ToKind(kind), ToDeadline(deadline),
                                    valid_tokens, milliseconds(patience_ms));
  });
}

terrace_status terrace_write(terrace_client client, const terrace_put_token* token,
                             TERRACE_FRAGMENTS_, terrace_deadline deadline,
                             terrace_block_result* results, terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(results, "results"); !status.ok()) return status;
    const auto named = ToToken(token);
    if (!named.ok()) return named.status();
    const auto gathered = ToFragments(fragments, fragment_count, pieces, piece_count);
    if (!gathered.ok()) return gathered.status();
    return GiveBlocks(its_client.Write(*named, gathered->parts, ToDeadline(deadline)), results);
  });
}

terrace_status terrace_submit_write(terrace_client client, const terrace_put_token* token,
                                    TERRACE_FRAGMENTS_, TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) -> Result<Ticket> {
    const auto named = ToToken(token);
    if (!named.ok()) return named.status();
    const auto gathered = ToFragments(fragments, fragment_count, pieces, piece_count);
    if (!gathered.ok()) return gathered.status();
    return its_client.SubmitWrite(*named, gathered->parts, ToDeadline(deadline));
  });
}

terrace_status terrace_commit(terrace_client client, const terrace_put_token* token, uint32_t ack,
                              terrace_deadline deadline, terrace_block_result* result,
                              terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(result, "result"); !status.ok()) return status;
    const auto named = ToToken(token);
    if (!named.ok()) return named.status();
    const auto level = ToAck(ack);
    if (!level.ok()) return level.status();
    const auto committed = its_client.Commit(*named, ToDeadline(deadline), *level);
    if (!committed.ok()) return committed.status();
    *result = FromBlockResult(*committed);
    return {};
  });
}

terrace_status terrace_submit_commit(terrace_client client, const terrace_put_token* token,
                                     uint32_t ack, TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) -> Result<Ticket> {
    const auto named = ToToken(token);
    if (!named.ok()) return named.status();
    const auto level = ToAck(ack);
    if (!level.ok()) return level.status();
    return its_client.SubmitCommit(*named, ToDeadline(deadline), *level);
  });
}

terrace_status terrace_abort(terrace_client client, const terrace_put_token* token, TERRACE_END_) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    const auto named = ToToken(token);
    if (!named.ok()) return named.status();
    return its_client.Abort(*named, ToDeadline(deadline));
  });
}

terrace_status terrace_submit_abort(terrace_client client, const terrace_put_token* token,
                                    TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) -> Result<Ticket> {
    const auto named = ToToken(token);
    if (!named.ok()) return named.status();
    return its_client.SubmitAbort(*named, ToDeadline(deadline));
  });
}

}  // extern "C"
