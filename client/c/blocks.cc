// terrace.h: match, get, put, lend and remove; groups and leases.
#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <utility>

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

namespace {

using Results = Result<std::vector<BlockResult>>;

/// The positions of a call that lends, which the C++ call checks one by one.
Result<std::span<const std::uint32_t>> ToPositions(const std::uint32_t* positions,
                                                   std::uint64_t count) {
  if (Status status = NotNullUnless(count == 0, positions, "positions"); !status.ok()) {
    return status;
  }
  if (count > terrace::kChainBlocksMax) {
    return Status::Invalid("positions has " + std::to_string(count) + " entries, at most " +
                           std::to_string(terrace::kChainBlocksMax));
  }
  return std::span(positions, count);
}

}  // namespace

extern "C" {

terrace_status terrace_match(TERRACE_TARGET_, terrace_deadline deadline, uint32_t* matched,
                             uint8_t* tiers, terrace_error* error) {
  return WithChain(client, chain, error, [&](Client& its_client, const Chain& keys) -> Status {
    if (Status status = NotNull(matched, "matched"); !status.ok()) return status;
    const auto match = its_client.Match({space}, keys, ToKind(kind), ToDeadline(deadline));
    if (!match.ok()) return match.status();
    *matched = match->matched;
    if (tiers != nullptr) {
      std::transform(match->tiers.begin(), match->tiers.end(), tiers,
                     [](terrace::Tier tier) { return static_cast<uint8_t>(tier); });
    }
    return {};
  });
}

terrace_status terrace_get(TERRACE_TARGET_, const terrace_block* blocks, uint64_t block_count,
                           terrace_deadline deadline, terrace_block_result* results,
                           terrace_error* error) {
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto buffers = ToBlocks(blocks, block_count);
        if (!buffers.ok()) return buffers.status();
        return its_client.Get({space}, keys, *buffers, ToKind(kind), ToDeadline(deadline));
      });
}

terrace_status terrace_put(TERRACE_TARGET_, const terrace_block* blocks, uint64_t block_count,
                           uint32_t ack, terrace_deadline deadline, terrace_block_result* results,
                           terrace_error* error) {
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto buffers = ToBlocks(blocks, block_count);
        if (!buffers.ok()) return buffers.status();
        const auto level = ToAck(ack);
        if (!level.ok()) return level.status();
        return its_client.Put({space}, keys, *buffers, ToKind(kind), ToDeadline(deadline), *level);
      });
}

terrace_status terrace_lend(TERRACE_TARGET_, const uint32_t* positions, uint64_t position_count,
                            uint32_t lease_ms, terrace_deadline deadline, terrace_result* result,
                            terrace_error* error) {
  return terrace_lend_with(client, space, chain, kind, "", positions, position_count, lease_ms,
                           deadline, result, error);
}

terrace_status terrace_lend_with(TERRACE_TARGET_, const char* gpu, const uint32_t* positions,
                                 uint64_t position_count, uint32_t lease_ms,
                                 terrace_deadline deadline, terrace_result* result,
                                 terrace_error* error) {
  return WithChain(client, chain, error, [&](Client& its_client, const Chain& keys) -> Status {
    if (Status status = NotNull(result, "result"); !status.ok()) return status;
    if (Status status = NotNull(gpu, "gpu"); !status.ok()) return status;
    const auto named = ToPositions(positions, position_count);
    if (!named.ok()) return named.status();
    auto lent = its_client.LendWith({space}, keys, *named, ToKind(kind), ToDeadline(deadline),
                                    {.lease = milliseconds(lease_ms), .gpu = gpu});
    if (!lent.ok()) return lent.status();
    return GiveAnswer(std::make_shared<Answer>(std::move(*lent)), result);
  });
}

terrace_status terrace_device_lending(terrace_client client, const char* gpu,
                                      terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(gpu, "gpu"); !status.ok()) return status;
    return its_client.DeviceLending(gpu);
  });
}

terrace_status terrace_remove(TERRACE_TARGET_, uint32_t first, uint32_t count,
                              terrace_deadline deadline, terrace_block_result* results,
                              terrace_error* error) {
  return BlocksAbout(client, chain, results, error, [&](Client& its_client, const Chain& keys) {
    return its_client.Remove({space}, keys, first, count, ToKind(kind), ToDeadline(deadline));
  });
}

terrace_status terrace_submit_match(TERRACE_TARGET_, TERRACE_TICKET_) {
  return SubmitAbout(client, chain, ticket, error, [&](Client& its_client, const Chain& keys) {
    return its_client.SubmitMatch({space}, keys, ToKind(kind), ToDeadline(deadline));
  });
}

terrace_status terrace_submit_get(TERRACE_TARGET_, const terrace_block* blocks,
                                  uint64_t block_count, TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto buffers = ToBlocks(blocks, block_count);
        if (!buffers.ok()) return buffers.status();
        return its_client.SubmitGet({space}, keys, *buffers, ToKind(kind), ToDeadline(deadline));
      });
}

terrace_status terrace_submit_put(TERRACE_TARGET_, const terrace_block* blocks,
                                  uint64_t block_count, uint32_t ack, TERRACE_TICKET_) {
  return SubmitAbout(client, chain, ticket, error,
                     [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
                       const auto buffers = ToBlocks(blocks, block_count);
                       if (!buffers.ok()) return buffers.status();
                       const auto level = ToAck(ack);
                       if (!level.ok()) return level.status();
                       return its_client.SubmitPut({space}, keys, *buffers, ToKind(kind),
                                                   ToDeadline(deadline), *level);
                     });
}

terrace_status terrace_submit_lend(TERRACE_TARGET_, const uint32_t* positions,
                                   uint64_t position_count, uint32_t lease_ms, TERRACE_TICKET_) {
  return terrace_submit_lend_with(client, space, chain, kind, "", positions, position_count,
                                  lease_ms, deadline, ticket, error);
}

terrace_status terrace_submit_lend_with(TERRACE_TARGET_, const char* gpu, const uint32_t* positions,
                                        uint64_t position_count, uint32_t lease_ms,
                                        TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        if (Status status = NotNull(gpu, "gpu"); !status.ok()) return status;
        const auto named = ToPositions(positions, position_count);
        if (!named.ok()) return named.status();
        return its_client.SubmitLendWith({space}, keys, *named, ToKind(kind), ToDeadline(deadline),
                                         {.lease = milliseconds(lease_ms), .gpu = gpu});
      });
}

terrace_status terrace_submit_remove(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                     TERRACE_TICKET_) {
  return SubmitAbout(client, chain, ticket, error, [&](Client& its_client, const Chain& keys) {
    return its_client.SubmitRemove({space}, keys, first, count, ToKind(kind), ToDeadline(deadline));
  });
}

terrace_status terrace_match_groups(terrace_client client, terrace_space space, terrace_chain chain,
                                    const terrace_match_query* query, terrace_deadline deadline,
                                    terrace_result* result, terrace_error* error) {
  return WithChain(client, chain, error, [&](Client& its_client, const Chain& keys) -> Status {
    if (Status status = NotNull(result, "result"); !status.ok()) return status;
    const auto asked = ToQuery(query);
    if (!asked.ok()) return asked.status();
    auto prefix = its_client.MatchGroups({space}, keys, *asked, ToDeadline(deadline));
    if (!prefix.ok()) return prefix.status();
    return GiveAnswer(std::make_shared<Answer>(std::move(*prefix)), result);
  });
}

terrace_status terrace_submit_match_groups(terrace_client client, terrace_space space,
                                           terrace_chain chain, const terrace_match_query* query,
                                           TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto asked = ToQuery(query);
        if (!asked.ok()) return asked.status();
        return its_client.SubmitMatchGroups({space}, keys, *asked, ToDeadline(deadline));
      });
}

terrace_status terrace_renew_lease(terrace_client client, terrace_lease lease, uint32_t time_ms,
                                   TERRACE_END_) {
  return WithClient(client, error, [&](Client& its_client) {
    return its_client.RenewLease({lease}, milliseconds(time_ms), ToDeadline(deadline));
  });
}

terrace_status terrace_submit_renew_lease(terrace_client client, terrace_lease lease,
                                          uint32_t time_ms, TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) {
    return its_client.SubmitRenewLease({lease}, milliseconds(time_ms), ToDeadline(deadline));
  });
}

terrace_status terrace_release_lease(terrace_client client, terrace_lease lease,
                                     terrace_error* error) {
  return WithClient(client, error,
                    [&](Client& its_client) { return its_client.ReleaseLease({lease}); });
}

}  // extern "C"
