// terrace.h: cancel and fence; what to keep, and where.
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

terrace_status terrace_cancel(terrace_client client, terrace_ticket ticket, TERRACE_END_) {
  return WithClient(client, error, [&](Client& its_client) {
    return its_client.Cancel(ticket, ToDeadline(deadline));
  });
}

terrace_status terrace_fence(terrace_client client, const terrace_piece* memory,
                             uint64_t piece_count, TERRACE_END_) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    const auto pieces = ToPieces(memory, piece_count, "memory");
    if (!pieces.ok()) return pieces.status();
    return its_client.Fence(*pieces, ToDeadline(deadline));
  });
}

terrace_status terrace_drain(terrace_client client, TERRACE_END_) {
  return WithClient(client, error,
                    [&](Client& its_client) { return its_client.Drain(ToDeadline(deadline)); });
}

terrace_status terrace_prefetch(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                const terrace_prefetch_options* options, terrace_deadline deadline,
                                terrace_block_result* results, terrace_error* error) {
  return BlocksAbout(client, chain, results, error,
                     [&](Client& its_client, const Chain& keys) -> Results {
                       const auto known = ToPrefetchOptions(options);
                       if (!known.ok()) return known.status();
                       return its_client.Prefetch({space}, keys, first, count, ToKind(kind), *known,
                                                  ToDeadline(deadline));
                     });
}

terrace_status terrace_submit_prefetch(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                       const terrace_prefetch_options* options, TERRACE_TICKET_) {
  return SubmitAbout(client, chain, ticket, error,
                     [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
                       const auto known = ToPrefetchOptions(options);
                       if (!known.ok()) return known.status();
                       return its_client.SubmitPrefetch({space}, keys, first, count, ToKind(kind),
                                                        *known, ToDeadline(deadline));
                     });
}

terrace_status terrace_touch(TERRACE_TARGET_, uint32_t first, uint32_t count,
                             terrace_deadline deadline, terrace_block_result* results,
                             terrace_error* error) {
  return BlocksAbout(client, chain, results, error, [&](Client& its_client, const Chain& keys) {
    return its_client.Touch({space}, keys, first, count, ToKind(kind), ToDeadline(deadline));
  });
}

terrace_status terrace_submit_touch(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                    TERRACE_TICKET_) {
  return SubmitAbout(client, chain, ticket, error, [&](Client& its_client, const Chain& keys) {
    return its_client.SubmitTouch({space}, keys, first, count, ToKind(kind), ToDeadline(deadline));
  });
}

terrace_status terrace_retain(TERRACE_TARGET_, uint32_t first, uint32_t count,
                              const terrace_retain_options* options, terrace_deadline deadline,
                              terrace_block_result* results, terrace_error* error) {
  return BlocksAbout(client, chain, results, error,
                     [&](Client& its_client, const Chain& keys) -> Results {
                       const auto known = ToRetainOptions(options);
                       if (!known.ok()) return known.status();
                       return its_client.Retain({space}, keys, first, count, ToKind(kind), *known,
                                                ToDeadline(deadline));
                     });
}

terrace_status terrace_submit_retain(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                     const terrace_retain_options* options, TERRACE_TICKET_) {
  return SubmitAbout(client, chain, ticket, error,
                     [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
                       const auto known = ToRetainOptions(options);
                       if (!known.ok()) return known.status();
                       return its_client.SubmitRetain({space}, keys, first, count, ToKind(kind),
                                                      *known, ToDeadline(deadline));
                     });
}

terrace_status terrace_submit_release_retained(terrace_client client, const char* label,
                                               TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) -> Result<Ticket> {
    if (Status status = NotNull(label, "label"); !status.ok()) return status;
    return its_client.SubmitReleaseRetained(label, ToDeadline(deadline));
  });
}

terrace_status terrace_release_retained(terrace_client client, const char* label,
                                        terrace_deadline deadline, uint64_t* blocks,
                                        terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(label, "label"); !status.ok()) return status;
    if (Status status = NotNull(blocks, "blocks"); !status.ok()) return status;
    return GiveCount(its_client.ReleaseRetained(label, ToDeadline(deadline)), blocks);
  });
}

terrace_status terrace_remove_prefix(terrace_client client, terrace_space space,
                                     terrace_chain chain, uint32_t first, terrace_deadline deadline,
                                     uint64_t* blocks, terrace_error* error) {
  return WithChain(client, chain, error, [&](Client& its_client, const Chain& keys) -> Status {
    if (Status status = NotNull(blocks, "blocks"); !status.ok()) return status;
    return GiveCount(its_client.RemovePrefix({space}, keys, first, ToDeadline(deadline)), blocks);
  });
}

terrace_status terrace_clear_tenant(terrace_client client, terrace_deadline deadline,
                                    uint64_t* blocks, terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(blocks, "blocks"); !status.ok()) return status;
    return GiveCount(its_client.ClearTenant(ToDeadline(deadline)), blocks);
  });
}

}  // extern "C"
