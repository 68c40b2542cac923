// Terrace client library for C: events of blocks, for cache-aware routers. docs/events.md is the
// page about it; the model and the fields are those of events.hpp.
//
// A cursor is bytes, to be kept or passed on as they are; none (null, 0) is a reader that knows
// nothing. Each answer has the cursor to go on from, and lives as long as its terrace_result.
//
//   terrace_read_snapshot until batch.complete, then terrace_read_events for ever;
//   batch.restarted, or a gap: what is known does not count, begin with a snapshot again.
#pragma once

#include "client/terrace.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { /* terrace_event.kind */
       TERRACE_EVENT_COMMITTED = 1,
       TERRACE_EVENT_MOVED = 2,
       TERRACE_EVENT_REMOVED = 3,
       TERRACE_EVENT_CLEARED = 4
};

enum { /* bits of terrace_event.tiers */
       TERRACE_TIER_SET_HBM = 1 << TERRACE_TIER_HBM,
       TERRACE_TIER_SET_DRAM = 1 << TERRACE_TIER_DRAM,
       TERRACE_TIER_SET_NVME = 1 << TERRACE_TIER_NVME
};

typedef struct terrace_event {
  const char* space;         /* name of the namespace */
  const uint8_t* key;        /* absent (key_bytes 0): group and shard mean nothing then */
  const uint8_t* parent_key; /* absent when it is not known; likewise placement */
  const uint8_t* placement;
  const uint32_t* token_ids;
  uint64_t sequence; /* 0 in a snapshot */
  uint64_t identity_high;
  uint64_t identity_low;
  uint64_t parent_high; /* 0 and 0: not known */
  uint64_t parent_low;
  uint32_t token_count;
  uint32_t reactor;
  uint32_t space_number;
  uint32_t position;
  uint32_t valid_tokens;
  uint32_t group;
  uint32_t shard;
  uint8_t kind;
  uint8_t cause; /* terrace_event_cause_name */
  uint8_t tiers;
  uint8_t key_bytes;
  uint8_t parent_bytes;
  uint8_t placement_bytes;
  uint8_t reserved[6];
} terrace_event;

typedef struct terrace_event_gap {
  uint64_t first; /* sequences that are lost */
  uint64_t last;
  uint32_t reactor;
  uint32_t reserved;
} terrace_event_gap;

typedef struct terrace_event_query {
  uint32_t struct_size;
  uint32_t most;     /* events of each reactor, 1 to 4096 */
  const char* space; /* name of a namespace; null: all of the tenant */
  uint32_t no_wait;  /* 1: read_events answers at once */
  uint32_t reserved; /* 0 */
} terrace_event_query;
#define TERRACE_EVENT_QUERY_INIT {sizeof(terrace_event_query), 1024, 0, 0, 0}

typedef struct terrace_event_batch {
  uint32_t struct_size;
  uint32_t restarted;
  uint32_t complete; /* read_snapshot: that was the last of it */
  uint32_t reserved;
  const terrace_event* events;
  uint64_t event_count;
  const terrace_event_gap* gaps;
  uint64_t gap_count;
  const void* cursor;
  uint64_t cursor_bytes;
  uint64_t behind;
} terrace_event_batch;

#define TERRACE_CURSOR_ \
  terrace_client client, const void *cursor, uint64_t cursor_bytes, const terrace_event_query *query

/* -> terrace_result_events. `query` may be null for the defaults. */
TERRACE_CALL_ terrace_read_events(TERRACE_CURSOR_, terrace_deadline deadline,
                                  terrace_result* result, terrace_error* error);
TERRACE_CALL_ terrace_submit_read_events(TERRACE_CURSOR_, TERRACE_TICKET_);
TERRACE_CALL_ terrace_read_snapshot(TERRACE_CURSOR_, terrace_deadline deadline,
                                    terrace_result* result, terrace_error* error);
TERRACE_CALL_ terrace_submit_read_snapshot(TERRACE_CURSOR_, TERRACE_TICKET_);
/* batch->struct_size must be set. TERRACE_INVALID: the result is not of such a call. */
TERRACE_CALL_ terrace_result_events(terrace_result result, terrace_event_batch* batch,
                                    terrace_error* error);
/* The identity of the block of a key, to look it up among those that events named. */
TERRACE_CALL_ terrace_event_identity(terrace_kind kind, const void* key, uint32_t key_bytes,
                                     uint64_t* high, uint64_t* low, terrace_error* error);
/* As terrace_put, with ids of tokens for the events: token_counts has an entry per block, and each
   takes its next ids. */
TERRACE_CALL_ terrace_put_tokens(TERRACE_TARGET_, const terrace_block* blocks, uint64_t block_count,
                                 uint32_t ack, const uint32_t* token_ids,
                                 const uint32_t* token_counts, terrace_deadline deadline,
                                 terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_submit_put_tokens(TERRACE_TARGET_, const terrace_block* blocks,
                                        uint64_t block_count, uint32_t ack,
                                        const uint32_t* token_ids, const uint32_t* token_counts,
                                        TERRACE_TICKET_);
/* As terrace_put_pieces, likewise. Since 1.5. */
TERRACE_CALL_ terrace_put_pieces_tokens(TERRACE_TARGET_, TERRACE_PIECES_, uint32_t ack,
                                        const uint32_t* token_ids, const uint32_t* token_counts,
                                        terrace_deadline deadline, terrace_block_result* results,
                                        terrace_error* error);
TERRACE_CALL_ terrace_submit_put_pieces_tokens(TERRACE_TARGET_, TERRACE_PIECES_, uint32_t ack,
                                               const uint32_t* token_ids,
                                               const uint32_t* token_counts, TERRACE_TICKET_);
/* "committed", "evicted"; "unknown" for other numbers. Static. */
TERRACE_C_API const char* terrace_event_kind_name(uint8_t kind);
TERRACE_C_API const char* terrace_event_cause_name(uint8_t cause);

#ifdef __cplusplus
}  // extern "C"
#endif
