// terrace_events.h.
#include <algorithm>
#include <cstring>
#include <string>

#include "client/c/call.h"
#include "client/c/convert.h"
#include "client/c/sized.h"
#include "client/terrace_events.h"

using namespace terrace::c;  // NOLINT: the functions below are C's, in no namespace
using terrace::Chain;
using terrace::Client;
using terrace::EventBatch;
using terrace::EventCursor;
using terrace::EventQuery;
using terrace::PutOptions;
using terrace::Result;
using terrace::Status;
using terrace::Ticket;

using Results = Result<std::vector<terrace::BlockResult>>;

namespace {

constexpr std::uint32_t kEventQuerySize = 24;  // when it first was; never changes

Result<EventCursor> ToCursor(const void* cursor, std::uint64_t cursor_bytes) {
  if (cursor_bytes == 0) return EventCursor();
  if (Status status = NotNull(cursor, "cursor"); !status.ok()) return status;
  return EventCursor::Parse({static_cast<const std::byte*>(cursor), cursor_bytes});
}

Result<EventQuery> ToEventQuery(const terrace_event_query* query) {
  if (query == nullptr) return EventQuery();
  const auto known = ReadSized(query, kEventQuerySize, "query");
  if (!known.ok()) return known.status();
  if (known->reserved != 0) return Status::Invalid("query.reserved is not 0");
  if (known->no_wait > 1) return Status::Invalid("query.no_wait is not 0 or 1");
  return EventQuery{.most = known->most,
                    .space = known->space == nullptr ? "" : known->space,
                    .wait = known->no_wait == 0};
}

/// `read(client, cursor, query)` -> what the C++ call answers.
template <typename Read>
auto ReadFrom(Client& client, const void* cursor, std::uint64_t cursor_bytes,
              const terrace_event_query* query, Read read)
    -> decltype(read(client, EventCursor(), EventQuery())) {
  const Result<EventCursor> from = ToCursor(cursor, cursor_bytes);
  if (!from.ok()) return from.status();
  const Result<EventQuery> asked = ToEventQuery(query);
  if (!asked.ok()) return asked.status();
  return read(client, *from, *asked);
}

/// The same, to a terrace_result.
template <typename Read>
terrace_status ReadTo(terrace_client client, const void* cursor, std::uint64_t cursor_bytes,
                      const terrace_event_query* query, terrace_result* result,
                      terrace_error* error, Read read) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(result, "result"); !status.ok()) return status;
    Result<EventBatch> batch = ReadFrom(its_client, cursor, cursor_bytes, query, read);
    if (!batch.ok()) return batch.status();
    return GiveAnswer(std::make_shared<Answer>(std::move(*batch)), result);
  });
}

/// A put's ids as C++ has them, in `lists`.
Result<PutOptions> ToPutOptions(std::uint32_t ack, std::uint64_t block_count,
                                const std::uint32_t* token_ids, const std::uint32_t* token_counts,
                                std::vector<std::span<const std::uint32_t>>& lists) {
  const Result<terrace::Ack> level = ToAck(ack);
  if (!level.ok()) return level.status();
  if (Status status = NotNullUnless(block_count == 0, token_counts, "token_counts"); !status.ok()) {
    return status;
  }
  std::uint64_t next = 0;
  for (std::uint64_t i = 0; i < block_count; ++i) {
    const std::uint32_t count = token_counts[i];
    if (Status status = NotNullUnless(count == 0, token_ids, "token_ids"); !status.ok()) {
      return status;
    }
    lists.emplace_back(count == 0 ? nullptr : token_ids + next, count);
    next += count;
  }
  return PutOptions{.ack = *level, .token_ids = lists};
}

}  // namespace

extern "C" {

terrace_status terrace_read_events(TERRACE_CURSOR_, terrace_deadline deadline,
                                   terrace_result* result, terrace_error* error) {
  return ReadTo(client, cursor, cursor_bytes, query, result, error,
                [deadline](Client& from, const EventCursor& place, const EventQuery& asked) {
                  return from.ReadEvents(place, asked, ToDeadline(deadline));
                });
}

terrace_status terrace_read_snapshot(TERRACE_CURSOR_, terrace_deadline deadline,
                                     terrace_result* result, terrace_error* error) {
  return ReadTo(client, cursor, cursor_bytes, query, result, error,
                [deadline](Client& from, const EventCursor& place, const EventQuery& asked) {
                  return from.ReadSnapshot(place, asked, ToDeadline(deadline));
                });
}

terrace_status terrace_submit_read_events(TERRACE_CURSOR_, TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) {
    return ReadFrom(its_client, cursor, cursor_bytes, query,
                    [deadline](Client& from, const EventCursor& place, const EventQuery& asked) {
                      return from.SubmitReadEvents(place, asked, ToDeadline(deadline));
                    });
  });
}

terrace_status terrace_submit_read_snapshot(TERRACE_CURSOR_, TERRACE_TICKET_) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) {
    return ReadFrom(its_client, cursor, cursor_bytes, query,
                    [deadline](Client& from, const EventCursor& place, const EventQuery& asked) {
                      return from.SubmitReadSnapshot(place, asked, ToDeadline(deadline));
                    });
  });
}

terrace_status terrace_result_events(terrace_result result, terrace_event_batch* batch,
                                     terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const auto found = Answers().Find(result, "result");
    if (!found.ok()) return found.status();
    if (Status status = NotNull(batch, "batch"); !status.ok()) return status;
    const terrace_event_batch* events = (*found)->events();
    if (events == nullptr) return Status::Invalid("result is not of a read of events");
    const std::uint32_t size = batch->struct_size;
    if (size < sizeof(terrace_event_batch)) {
      return Status::Invalid("batch.struct_size is " + std::to_string(size) + ", at least " +
                             std::to_string(sizeof(terrace_event_batch)));
    }
    *batch = *events;
    batch->struct_size = size;
    return {};
  });
}

terrace_status terrace_event_identity(terrace_kind kind, const void* key, uint32_t key_bytes,
                                      uint64_t* high, uint64_t* low, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    if (Status status = NotNull(key, "key"); !status.ok()) return status;
    if (Status status = NotNull(high, "high"); !status.ok()) return status;
    if (Status status = NotNull(low, "low"); !status.ok()) return status;
    if (key_bytes == 0 || key_bytes > terrace::kKeyBytesMax) {
      return Status::Invalid("key_bytes is " + std::to_string(key_bytes) + ", not 1 to " +
                             std::to_string(terrace::kKeyBytesMax));
    }
    const auto identity =
        terrace::IdentityOf(ToKind(kind), {static_cast<const std::byte*>(key), key_bytes});
    *high = identity.high;
    *low = identity.low;
    return {};
  });
}

terrace_status terrace_put_tokens(TERRACE_TARGET_, const terrace_block* blocks,
                                  uint64_t block_count, uint32_t ack, const uint32_t* token_ids,
                                  const uint32_t* token_counts, terrace_deadline deadline,
                                  terrace_block_result* results, terrace_error* error) {
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto buffers = ToBlocks(blocks, block_count);
        if (!buffers.ok()) return buffers.status();
        std::vector<std::span<const std::uint32_t>> lists;
        const auto options = ToPutOptions(ack, block_count, token_ids, token_counts, lists);
        if (!options.ok()) return options.status();
        return its_client.Put({space}, keys, *buffers, ToKind(kind), ToDeadline(deadline),
                              *options);
      });
}

terrace_status terrace_submit_put_tokens(TERRACE_TARGET_, const terrace_block* blocks,
                                         uint64_t block_count, uint32_t ack,
                                         const uint32_t* token_ids, const uint32_t* token_counts,
                                         TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto buffers = ToBlocks(blocks, block_count);
        if (!buffers.ok()) return buffers.status();
        std::vector<std::span<const std::uint32_t>> lists;
        const auto options = ToPutOptions(ack, block_count, token_ids, token_counts, lists);
        if (!options.ok()) return options.status();
        return its_client.SubmitPut({space}, keys, *buffers, ToKind(kind), ToDeadline(deadline),
                                    *options);
      });
}

terrace_status terrace_put_pieces_tokens(TERRACE_TARGET_, TERRACE_PIECES_, uint32_t ack,
                                         const uint32_t* token_ids, const uint32_t* token_counts,
                                         terrace_deadline deadline, terrace_block_result* results,
                                         terrace_error* error) {
  return BlocksAbout(
      client, chain, results, error, [&](Client& its_client, const Chain& keys) -> Results {
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        std::vector<std::span<const std::uint32_t>> lists;
        const auto options = ToPutOptions(ack, block_count, token_ids, token_counts, lists);
        if (!options.ok()) return options.status();
        return its_client.PutPieces({space}, keys, gathered->parts, ToKind(kind),
                                    ToDeadline(deadline), *options);
      });
}

terrace_status terrace_submit_put_pieces_tokens(TERRACE_TARGET_, TERRACE_PIECES_, uint32_t ack,
                                                const uint32_t* token_ids,
                                                const uint32_t* token_counts, TERRACE_TICKET_) {
  return SubmitAbout(
      client, chain, ticket, error, [&](Client& its_client, const Chain& keys) -> Result<Ticket> {
        const auto gathered = ToBlockPieces(blocks, block_count, pieces, piece_count);
        if (!gathered.ok()) return gathered.status();
        std::vector<std::span<const std::uint32_t>> lists;
        const auto options = ToPutOptions(ack, block_count, token_ids, token_counts, lists);
        if (!options.ok()) return options.status();
        return its_client.SubmitPutPieces({space}, keys, gathered->parts, ToKind(kind),
                                          ToDeadline(deadline), *options);
      });
}

// The names are literals: their views end with a zero byte.
const char* terrace_event_kind_name(uint8_t kind) {
  return terrace::EventKindName(static_cast<terrace::EventKind>(kind)).data();
}

const char* terrace_event_cause_name(uint8_t cause) {
  return terrace::EventCauseName(static_cast<terrace::EventCause>(cause)).data();
}

}  // extern "C"
