// Terrace client library for C and for every language that can call C. The model, the promises and
// the rules about threads and fork() stand in terrace.hpp; this header gives the same calls, each
// with the name of its C++ sister. docs/client.md shows both beside each other.
//
//   terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
//   terrace_error error;
//   terrace_client client;
//   if (terrace_connect(&options, &client, &error) != TERRACE_OK) puts(error.message);
//
// Rules for all calls, where nothing else is said:
//   - They return a status. On TERRACE_OK what they promise was written; otherwise nothing was, and
//     `error`, which may be null, says why: it belongs to the caller, needs no preparation, and no
//     call keeps it. A bad argument is TERRACE_INVALID, and the message names it.
//   - Any thread, at the same time. No C++ exception comes out; out of memory is TERRACE_RETRY.
//   - A handle (terrace_client, terrace_chain, terrace_result) is a number. One that was closed or
//     freed, of another kind or made up is TERRACE_INVALID, never a crash, also when it is closed
//     while others use it.
//   - Arguments are copied, but registered memory; the caller's again when the call returns.
//     Results are written to arrays of the caller's, or held by a terrace_result that owns every
//     pointer it shows until terrace_result_free. Texts are UTF-8 and end with a zero byte.
//   - Deadlines are nanoseconds on CLOCK_MONOTONIC: terrace_in_ms(50) is 50 ms from now.
//
// Growth. Structs that begin with struct_size may get new fields at their end: the library takes
// an older, shorter struct, and a newer one whose unknown fields are 0. All other structs, which
// stand in arrays, keep their layout within a major version; `reserved` must be 0. Within a major
// version functions and constants are only added. Compiles as C11 and as C++.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERRACE_C_API __attribute__((visibility("default")))

/* Major version in the upper, minor version in the lower 16 bits. */
#define TERRACE_ABI_VERSION 0x00010000u

typedef uint64_t terrace_client; /* handles: 0 is none */
typedef uint64_t terrace_chain;
typedef uint64_t terrace_result;
typedef uint32_t terrace_space; /* of one client: void once it is closed; 0 is none */
typedef uint32_t terrace_region;
typedef uint64_t terrace_lease;
typedef uint64_t terrace_ticket;
typedef int64_t terrace_deadline;

/* What the caller should do: base/status.h. */
typedef int32_t terrace_status;
enum {
  TERRACE_OK = 0,
  TERRACE_MISS = 1,          /* not stored: compute it */
  TERRACE_EXISTS = 2,        /* put: stored already */
  TERRACE_PENDING = 3,       /* being written by somebody now */
  TERRACE_RETRY = 4,         /* refused for the moment */
  TERRACE_EXPIRED = 5,       /* a lease ended: the bytes must not be used */
  TERRACE_CORRUPT = 6,       /* a checksum did not match */
  TERRACE_TIMEOUT = 7,       /* the deadline passed; nothing touches the memory */
  TERRACE_CANCELLED = 8,     /* likewise, by the caller */
  TERRACE_PEER_DEAD = 9,     /* no daemon: treat as a miss */
  TERRACE_INCOMPATIBLE = 10, /* versions or fingerprints differ: mend the configuration */
  TERRACE_INVALID = 11,      /* a wrong argument: the message names it */
  TERRACE_IO = 12,           /* a device failed */
  TERRACE_UNSUPPORTED = 13,  /* not in this build, on this host or on this link */
  TERRACE_IN_DOUBT = 14,     /* the daemon may still touch the memory: terrace_quiesce */
  TERRACE_INTERNAL = 15      /* a bug; the message says where */
};
enum { TERRACE_TIER_NONE = 0, TERRACE_TIER_HBM = 1, TERRACE_TIER_DRAM = 2, TERRACE_TIER_NVME = 3 };
enum { TERRACE_ACK_COMMITTED = 0, TERRACE_ACK_DURABLE = 1 };
enum { TERRACE_LINK_AUTO = 0, TERRACE_LINK_TCP = 1 };
enum { TERRACE_MATCH_PROBE = 0, TERRACE_MATCH_LEASE = 1 };
enum { TERRACE_STOP_ALL = 0, TERRACE_STOP_TRAILING = 1, TERRACE_STOP_EXACT = 2 };
enum { TERRACE_STOP_SPARSE = 3 };
enum { TERRACE_PRESENCE_MISS = 0, TERRACE_PRESENCE_READY = 1 };
enum { TERRACE_PRESENCE_PENDING = 2, TERRACE_PRESENCE_RETRY = 3 };

/* Written by every call that is given one, also by one that ends well. Never grows. */
typedef struct terrace_error {
  terrace_status status; /* what the call returned */
  uint32_t reserved;
  char message[504]; /* empty, or the exact cause; cut where it is longer */
} terrace_error;

/* Null texts and zeros mean the default of ClientOptions. */
typedef struct terrace_client_options {
  uint32_t struct_size;
  uint32_t abi_version; /* TERRACE_ABI_VERSION of the header that the caller was compiled with */
  const char* address;  /* HOST:PORT; null: 127.0.0.1:7420 */
  const char* tenant;
  const char* name;
  uint32_t link;               /* TERRACE_LINK_... */
  uint32_t connect_timeout_ms; /* 0: 2,000 */
  uint32_t verify_same_host;   /* 0 or 1 */
  uint32_t reserved;
} terrace_client_options;
#define TERRACE_CLIENT_OPTIONS_INIT \
  {sizeof(terrace_client_options), TERRACE_ABI_VERSION, NULL, NULL, NULL, 0, 0, 0, 0}

typedef struct terrace_group {
  uint32_t id;
  uint32_t reserved;
  const char* attention; /* null: "full" */
  uint64_t block_bytes;
} terrace_group;

/* Null texts and zeros mean the default of NamespaceDescriptor; name, block_tokens, groups: none.
 */
typedef struct terrace_descriptor {
  uint32_t struct_size;
  uint32_t block_tokens;
  const char* name;
  const char* model;
  const char* weights;
  const char* kv_dtype;
  const char* layout;
  const char* hash_algorithm;
  const char* hash_seed;
  const terrace_group* groups;
  uint64_t group_count;
  uint32_t shard_count;
  uint32_t run_blocks;
} terrace_descriptor;
#define TERRACE_DESCRIPTOR_INIT \
  {sizeof(terrace_descriptor), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0}

typedef struct terrace_kind {
  uint32_t group;
  uint32_t shard;
} terrace_kind;

typedef struct terrace_block {
  uint32_t position; /* in the chain */
  terrace_region region;
  uint64_t offset;       /* bytes from the start of the region */
  uint32_t valid_tokens; /* put: tokens the block holds; 0: all */
  uint32_t reserved;
} terrace_block;

typedef struct terrace_piece {
  uint64_t offset; /* bytes from the start of the region */
  uint64_t length; /* bytes, at least 1 */
  terrace_region region;
  uint32_t reserved;
} terrace_piece;

/* All 0: the whole block. Otherwise as BlockRange; count 0 is 1. */
typedef struct terrace_range {
  uint64_t offset;
  uint64_t bytes;
  uint64_t stride;
  uint32_t count;
  uint32_t reserved;
} terrace_range;

/* A block and its pieces: the next piece_count of the call's one array of pieces. */
typedef struct terrace_block_pieces {
  uint32_t position;
  uint32_t valid_tokens; /* put; 0: all */
  uint32_t piece_count;
  uint32_t reserved;
  terrace_range range; /* get only */
} terrace_block_pieces;

/* A part of a reserved block, and its pieces: likewise. */
typedef struct terrace_fragment {
  uint64_t offset; /* bytes from the start of the block */
  uint32_t piece_count;
  uint32_t reserved;
} terrace_fragment;

typedef struct terrace_put_token {
  uint8_t bytes[32];
} terrace_put_token;

typedef struct terrace_block_result {
  terrace_status status;
  uint32_t valid_tokens; /* get: tokens the block holds */
  uint8_t tier;          /* where it was found or stored */
  uint8_t ack;           /* durable put: the level that was reached */
  uint8_t not_durable;   /* and why no more: terrace_not_durable_name */
  uint8_t reserved[5];
} terrace_block_result;

typedef struct terrace_group_policy {
  uint32_t group;
  uint32_t policy; /* TERRACE_STOP_... */
  uint32_t blocks;
  uint32_t reserved;
} terrace_group_policy;

typedef struct terrace_match_query {
  uint32_t struct_size;
  uint32_t mode; /* TERRACE_MATCH_... */
  const terrace_group_policy* groups;
  uint64_t group_count;
  const uint32_t* shards; /* shard_count 0: all */
  uint64_t shard_count;
  uint32_t lease_ms; /* 0: the daemon's default */
  uint32_t reserved;
} terrace_match_query;
#define TERRACE_MATCH_QUERY_INIT {sizeof(terrace_match_query), 0, NULL, 0, NULL, 0, 0, 0}

typedef struct terrace_prefetch_options {
  uint32_t struct_size;
  uint32_t target; /* TERRACE_TIER_DRAM */
  uint32_t priority;
  uint32_t reserved;
} terrace_prefetch_options;
#define TERRACE_PREFETCH_OPTIONS_INIT {sizeof(terrace_prefetch_options), TERRACE_TIER_DRAM, 0, 0}

typedef struct terrace_retain_options {
  uint32_t struct_size;
  uint32_t reserved;
  const char* label;
  uint64_t time_ms;
} terrace_retain_options;
#define TERRACE_RETAIN_OPTIONS_INIT {sizeof(terrace_retain_options), 0, NULL, 60000}

/* A block in the daemon's own memory. Read, then terrace_lent_release, and use what was read only
   when that answers TERRACE_OK. */
typedef struct terrace_lent {
  const void* data; /* null unless status is TERRACE_OK; readable until terrace_result_free */
  uint64_t length;
  terrace_status status;
  uint32_t valid_tokens;
  uint8_t tier;
  uint8_t reserved[7];
} terrace_lent;

typedef struct terrace_group_presence {
  uint32_t group;
  uint32_t shard;
  uint32_t consecutive;    /* leading blocks that are ready */
  uint32_t block_count;    /* of the chain; so long are: */
  const uint8_t* presence; /* TERRACE_PRESENCE_... */
  const uint8_t* tiers;
} terrace_group_presence;

typedef struct terrace_sample {
  const char* name;
  const char* labels;
  double value;
} terrace_sample;

typedef struct terrace_namespace_info {
  const char* tenant;
  const char* name;
  const char* fingerprint;
  uint64_t blocks;
  uint64_t bytes;
} terrace_namespace_info;

/* What a terrace_result holds. What is not of its call is 0 or null. */
typedef struct terrace_answer {
  uint32_t struct_size;
  terrace_status status;              /* of the call as a whole */
  const char* message;                /* never null */
  terrace_ticket ticket;              /* 0 unless it came from terrace_poll */
  const terrace_block_result* blocks; /* calls that answer per block; a commit has one */
  uint64_t block_count;
  const terrace_lent* lent; /* lend: one per position */
  uint64_t lent_count;
  const uint8_t* tiers;  /* match: `matched` long */
  const uint32_t* stops; /* match_groups, ascending */
  uint64_t stop_count;
  const terrace_group_presence* groups;
  uint64_t group_count;
  terrace_lease lease; /* match_groups; 0 is none */
  terrace_status lease_status;
  uint32_t matched;           /* match: leading blocks. match_groups: the longest stop point */
  terrace_status reservation; /* reserve */
  terrace_region region;      /* register_memory, allocate_region */
  terrace_put_token token;    /* reserve */
  const terrace_sample* samples;
  uint64_t sample_count;
  const terrace_namespace_info* namespaces;
  uint64_t namespace_count;
} terrace_answer;

#define TERRACE_TARGET_ \
  terrace_client client, terrace_space space, terrace_chain chain, terrace_kind kind
#define TERRACE_END_ terrace_deadline deadline, terrace_error *error
#define TERRACE_TICKET_ terrace_deadline deadline, terrace_ticket *ticket, terrace_error *error
#define TERRACE_CALL_ TERRACE_C_API terrace_status

/* ---- The library: no call here fails ----------------------------------------------------------
 */

/* Of the library. A caller needs its own major version, and at least its own minor one. */
TERRACE_C_API uint32_t terrace_abi_version(void);
TERRACE_C_API const char* terrace_version(void); /* "0.1.0" */
/* "miss", "dram", "no_tier"; "unknown" for other numbers. Static. */
TERRACE_C_API const char* terrace_status_name(terrace_status status);
TERRACE_C_API const char* terrace_tier_name(uint8_t tier);
TERRACE_C_API const char* terrace_not_durable_name(uint8_t reason);
TERRACE_C_API terrace_deadline terrace_in_us(uint64_t microseconds);
TERRACE_C_API terrace_deadline terrace_in_ms(uint64_t milliseconds);

/* ---- Clients ----------------------------------------------------------------------------------
 */

/* TERRACE_INCOMPATIBLE: options->abi_version is none that this library serves. */
TERRACE_CALL_ terrace_connect(const terrace_client_options* options, terrace_client* client,
                              terrace_error* error);
/* Ends every call in flight with TERRACE_CANCELLED, at most 1 s; calls that come later answer
   TERRACE_CANCELLED or TERRACE_PEER_DEAD. Regions stay readable, completions can be polled. */
TERRACE_CALL_ terrace_shutdown(terrace_client client, terrace_error* error);
/* The same, and the handle is void. Memory of terrace_allocate_region is freed as soon as no call
   is inside. In a forked child it gives up the parent's client without harm to it. */
TERRACE_CALL_ terrace_close(terrace_client client, terrace_error* error);
TERRACE_CALL_ terrace_connected(terrace_client client, uint32_t* connected, terrace_error* error);
TERRACE_CALL_ terrace_reconnects(terrace_client client, uint64_t* count, terrace_error* error);
/* "shm", "tcp", "rdma" or "none". Static. */
TERRACE_CALL_ terrace_link_name(terrace_client client, const char** name, terrace_error* error);
TERRACE_CALL_ terrace_ping(terrace_client client, TERRACE_END_);
/* -> terrace_answer.samples */
TERRACE_CALL_ terrace_stat(terrace_client client, terrace_deadline deadline, terrace_result* result,
                           terrace_error* error);

/* ---- Namespaces, chains, memory ---------------------------------------------------------------
 */

TERRACE_CALL_ terrace_open_namespace(terrace_client client, const terrace_descriptor* descriptor,
                                     terrace_deadline deadline, terrace_space* space,
                                     terrace_error* error);
/* -> terrace_answer.namespaces */
TERRACE_CALL_ terrace_list_namespaces(terrace_client client, terrace_deadline deadline,
                                      terrace_result* result, terrace_error* error);
TERRACE_CALL_ terrace_clear_namespace(terrace_client client, const char* name,
                                      terrace_deadline deadline, uint64_t* blocks,
                                      terrace_error* error);

/* A chain belongs to no client. While it is changed no other thread may name it: TERRACE_INVALID.
   Calls under way keep what it was. */
TERRACE_CALL_ terrace_chain_new(terrace_chain* chain, terrace_error* error);
/* Appends `count` keys of `key_bytes` bytes, one after the other in `keys`. All or none. Copies
   what the chain holds: many keys in one call are cheaper than many calls. */
TERRACE_CALL_ terrace_chain_append(terrace_chain chain, const void* keys, uint32_t key_bytes,
                                   uint32_t count, terrace_error* error);
/* The same, each with a length of its own. */
TERRACE_CALL_ terrace_chain_append_each(terrace_chain chain, const void* keys,
                                        const uint32_t* key_bytes, uint32_t count,
                                        terrace_error* error);
TERRACE_CALL_ terrace_chain_clear(terrace_chain chain, terrace_error* error);
TERRACE_CALL_ terrace_chain_size(terrace_chain chain, uint32_t* size, terrace_error* error);
TERRACE_CALL_ terrace_chain_free(terrace_chain chain, terrace_error* error);

TERRACE_CALL_ terrace_register_memory(terrace_client client, void* base, uint64_t length,
                                      terrace_region* region, terrace_error* error);
TERRACE_CALL_ terrace_allocate_region(terrace_client client, uint64_t length,
                                      terrace_region* region, terrace_error* error);
/* -> terrace_answer.region */
TERRACE_CALL_ terrace_submit_register_memory(terrace_client client, void* base, uint64_t length,
                                             terrace_ticket* ticket, terrace_error* error);
TERRACE_CALL_ terrace_submit_allocate_region(terrace_client client, uint64_t length,
                                             terrace_ticket* ticket, terrace_error* error);
/* Valid until the region is deregistered or the client closed. `length` may be null. */
TERRACE_CALL_ terrace_region_memory(terrace_client client, terrace_region region, void** base,
                                    uint64_t* length, terrace_error* error);
TERRACE_CALL_ terrace_deregister_memory(terrace_client client, terrace_region region,
                                        terrace_error* error);
TERRACE_CALL_ terrace_quiesce(terrace_client client, terrace_region region, TERRACE_END_);

/* ---- Blocks: `results` has one entry per block, position or member of the range ----------------
 */

/* `tiers`: null, or as long as the chain; `*matched` of them are written. */
TERRACE_CALL_ terrace_match(TERRACE_TARGET_, terrace_deadline deadline, uint32_t* matched,
                            uint8_t* tiers, terrace_error* error);
TERRACE_CALL_ terrace_get(TERRACE_TARGET_, const terrace_block* blocks, uint64_t block_count,
                          terrace_deadline deadline, terrace_block_result* results,
                          terrace_error* error);
TERRACE_CALL_ terrace_put(TERRACE_TARGET_, const terrace_block* blocks, uint64_t block_count,
                          uint32_t ack, terrace_deadline deadline, terrace_block_result* results,
                          terrace_error* error);
/* -> terrace_answer.lent. lease_ms 0: the daemon's default. */
TERRACE_CALL_ terrace_lend(TERRACE_TARGET_, const uint32_t* positions, uint64_t position_count,
                           uint32_t lease_ms, terrace_deadline deadline, terrace_result* result,
                           terrace_error* error);
TERRACE_CALL_ terrace_remove(TERRACE_TARGET_, uint32_t first, uint32_t count,
                             terrace_deadline deadline, terrace_block_result* results,
                             terrace_error* error);
TERRACE_CALL_ terrace_submit_match(TERRACE_TARGET_, TERRACE_TICKET_);
TERRACE_CALL_ terrace_submit_get(TERRACE_TARGET_, const terrace_block* blocks, uint64_t block_count,
                                 TERRACE_TICKET_);
TERRACE_CALL_ terrace_submit_put(TERRACE_TARGET_, const terrace_block* blocks, uint64_t block_count,
                                 uint32_t ack, TERRACE_TICKET_);
TERRACE_CALL_ terrace_submit_lend(TERRACE_TARGET_, const uint32_t* positions,
                                  uint64_t position_count, uint32_t lease_ms, TERRACE_TICKET_);
TERRACE_CALL_ terrace_submit_remove(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                    TERRACE_TICKET_);

/* ---- Completions and results ------------------------------------------------------------------
 */

/* At most `capacity` finished calls, oldest first, each a result to free; never blocks. */
TERRACE_CALL_ terrace_poll(terrace_client client, terrace_result* results, uint64_t capacity,
                           uint64_t* count, terrace_error* error);
TERRACE_CALL_ terrace_wait_for_completion(terrace_client client, TERRACE_END_);
/* Readable while terrace_poll would return something. The client's: not to be read or closed. */
TERRACE_CALL_ terrace_completion_fd(terrace_client client, int* fd, terrace_error* error);
/* answer->struct_size must be set. What it points to lives until terrace_result_free. */
TERRACE_CALL_ terrace_result_answer(terrace_result result, terrace_answer* answer,
                                    terrace_error* error);
/* TERRACE_OK: what was read before is the block. TERRACE_EXPIRED: it must not be used. */
TERRACE_CALL_ terrace_lent_intact(terrace_result result, uint64_t index, terrace_error* error);
/* The same, and gives the block back. TERRACE_INVALID: there is nothing to give back. */
TERRACE_CALL_ terrace_lent_release(terrace_result result, uint64_t index, terrace_error* error);
/* Gives back what is still lent. */
TERRACE_CALL_ terrace_result_free(terrace_result result, terrace_error* error);

/* ---- Groups, shards and leases ----------------------------------------------------------------
 */

/* -> terrace_answer.stops, groups, lease. */
TERRACE_CALL_ terrace_match_groups(terrace_client client, terrace_space space, terrace_chain chain,
                                   const terrace_match_query* query, terrace_deadline deadline,
                                   terrace_result* result, terrace_error* error);
TERRACE_CALL_ terrace_submit_match_groups(terrace_client client, terrace_space space,
                                          terrace_chain chain, const terrace_match_query* query,
                                          TERRACE_TICKET_);
TERRACE_CALL_ terrace_renew_lease(terrace_client client, terrace_lease lease, uint32_t time_ms,
                                  TERRACE_END_);
TERRACE_CALL_ terrace_release_lease(terrace_client client, terrace_lease lease,
                                    terrace_error* error);

/* ---- Lists of pieces, parts of blocks, blocks from several writers -----------------------------
 */

#define TERRACE_PIECES_                                                                  \
  const terrace_block_pieces *blocks, uint64_t block_count, const terrace_piece *pieces, \
      uint64_t piece_count
#define TERRACE_FRAGMENTS_                                                                 \
  const terrace_fragment *fragments, uint64_t fragment_count, const terrace_piece *pieces, \
      uint64_t piece_count

TERRACE_CALL_ terrace_get_pieces(TERRACE_TARGET_, TERRACE_PIECES_, terrace_deadline deadline,
                                 terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_put_pieces(TERRACE_TARGET_, TERRACE_PIECES_, uint32_t ack,
                                 terrace_deadline deadline, terrace_block_result* results,
                                 terrace_error* error);
TERRACE_CALL_ terrace_submit_get_pieces(TERRACE_TARGET_, TERRACE_PIECES_, TERRACE_TICKET_);
TERRACE_CALL_ terrace_submit_put_pieces(TERRACE_TARGET_, TERRACE_PIECES_, uint32_t ack,
                                        TERRACE_TICKET_);
/* `*reservation`: Reservation::status; `*token` is written when it is TERRACE_OK. */
TERRACE_CALL_ terrace_reserve(TERRACE_TARGET_, uint32_t position, uint32_t valid_tokens,
                              uint32_t patience_ms, terrace_deadline deadline,
                              terrace_status* reservation, terrace_put_token* token,
                              terrace_error* error);
TERRACE_CALL_ terrace_submit_reserve(TERRACE_TARGET_, uint32_t position, uint32_t valid_tokens,
                                     uint32_t patience_ms, TERRACE_TICKET_);
/* One result per fragment. */
TERRACE_CALL_ terrace_write(terrace_client client, const terrace_put_token* token,
                            TERRACE_FRAGMENTS_, terrace_deadline deadline,
                            terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_submit_write(terrace_client client, const terrace_put_token* token,
                                   TERRACE_FRAGMENTS_, TERRACE_TICKET_);
TERRACE_CALL_ terrace_commit(terrace_client client, const terrace_put_token* token, uint32_t ack,
                             terrace_deadline deadline, terrace_block_result* result,
                             terrace_error* error);
TERRACE_CALL_ terrace_submit_commit(terrace_client client, const terrace_put_token* token,
                                    uint32_t ack, TERRACE_TICKET_);
TERRACE_CALL_ terrace_abort(terrace_client client, const terrace_put_token* token, TERRACE_END_);

/* ---- Cancel and fence -------------------------------------------------------------------------
 */

TERRACE_CALL_ terrace_cancel(terrace_client client, terrace_ticket ticket, TERRACE_END_);
TERRACE_CALL_ terrace_fence(terrace_client client, const terrace_piece* memory,
                            uint64_t piece_count, TERRACE_END_);
TERRACE_CALL_ terrace_drain(terrace_client client, TERRACE_END_);

/* ---- What to keep, and where: `options` may be null for the defaults, but of retain ------------
 */

TERRACE_CALL_ terrace_prefetch(TERRACE_TARGET_, uint32_t first, uint32_t count,
                               const terrace_prefetch_options* options, terrace_deadline deadline,
                               terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_submit_prefetch(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                      const terrace_prefetch_options* options, TERRACE_TICKET_);
TERRACE_CALL_ terrace_touch(TERRACE_TARGET_, uint32_t first, uint32_t count,
                            terrace_deadline deadline, terrace_block_result* results,
                            terrace_error* error);
TERRACE_CALL_ terrace_retain(TERRACE_TARGET_, uint32_t first, uint32_t count,
                             const terrace_retain_options* options, terrace_deadline deadline,
                             terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_release_retained(terrace_client client, const char* label,
                                       terrace_deadline deadline, uint64_t* blocks,
                                       terrace_error* error);
TERRACE_CALL_ terrace_remove_prefix(terrace_client client, terrace_space space, terrace_chain chain,
                                    uint32_t first, terrace_deadline deadline, uint64_t* blocks,
                                    terrace_error* error);
TERRACE_CALL_ terrace_clear_tenant(terrace_client client, terrace_deadline deadline,
                                   uint64_t* blocks, terrace_error* error);

#ifdef __cplusplus
}  // extern "C"
#endif
