// The words of the Terrace client library in C: what its calls take and answer. Included by
// terrace.h, which has the rules. Plain data, any thread. Sizes and offsets are bytes.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERRACE_C_API __attribute__((visibility("default")))

/* Major version in the upper, minor version in the lower 16 bits. */
#define TERRACE_ABI_VERSION 0x00010006u

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
enum { TERRACE_CONTINUATION_UNKNOWN = 0, TERRACE_WILL_CONTINUE = 1, TERRACE_DONE = 2 };

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
  uint32_t spin_us;            /* since 1.5: ClientOptions::spin */
} terrace_client_options;
#define TERRACE_CLIENT_OPTIONS_INIT \
  {sizeof(terrace_client_options), TERRACE_ABI_VERSION, NULL, NULL, NULL, 0, 0, 0, 0}

typedef struct terrace_group {
  uint32_t id;
  uint32_t reserved;
  const char* attention; /* null: "full" */
  uint64_t block_bytes;
} terrace_group;

typedef struct terrace_rate_point {
  uint64_t context; /* tokens before it */
  double tokens_per_s;
} terrace_rate_point;

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
  const terrace_rate_point* prefill_rate; /* since 1.5 */
  uint64_t prefill_rate_count;
} terrace_descriptor;
#define TERRACE_DESCRIPTOR_INIT \
  {sizeof(terrace_descriptor), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, NULL, 0}

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

/* Names a hand-off: opaque bytes that fit a request's metadata. */
typedef struct terrace_handoff_token {
  uint8_t bytes[32];
} terrace_handoff_token;

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

/* HandoffOptions; 0: its default. */
typedef struct terrace_handoff_options {
  uint32_t struct_size;
  uint32_t receivers;
  uint32_t patience_ms;
  uint32_t keep_ms;
  uint32_t last_valid_tokens;
  uint32_t reserved;
} terrace_handoff_options;
#define TERRACE_HANDOFF_OPTIONS_INIT {sizeof(terrace_handoff_options), 1, 0, 0, 0, 0}

/* RequestHints: what is known of the request that a chain is of. */
typedef struct terrace_hints {
  uint32_t struct_size;
  uint32_t turn;       /* of the session; the first is 1; 0: not known */
  const char* session; /* at most 64 bytes; null: not known */
  const char* category;
  uint32_t continuation; /* TERRACE_WILL_CONTINUE, TERRACE_DONE */
  uint32_t reserved;
} terrace_hints;
#define TERRACE_HINTS_INIT {sizeof(terrace_hints), 0, NULL, NULL, 0, 0}

/* A block in the daemon's own memory. Read, then terrace_lent_release, and use what was read only
   when that answers TERRACE_OK. */
typedef struct terrace_lent {
  const void* data; /* null unless status is TERRACE_OK; readable until terrace_result_free */
  uint64_t length;
  terrace_status status;
  uint32_t valid_tokens;
  uint8_t tier;
  uint8_t
      on_gpu; /* since 1.6, terrace_lend_with: `data` is memory of that GPU, never to be written */
  uint8_t reserved[6];
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

/* What the daemon knows of a block: BlockStoryInfo. Since 1.5. */
typedef struct terrace_block_story {
  uint64_t block_bytes;
  uint64_t age_ms;
  uint32_t reactor;
  uint32_t pins;
  uint32_t position;
  uint32_t valid_tokens;
  uint32_t gets;
  uint8_t reason; /* what a get would meet: terrace_miss_reason_name; 0: the bytes */
  uint8_t tiers;  /* bit t: on tier t */
  uint8_t published;
  uint8_t loading;
  uint8_t writing;
  uint8_t kept;
  uint8_t leased;
  uint8_t reserved[5];
} terrace_block_story;

typedef struct terrace_namespace_info {
  const char* tenant;
  const char* name;
  const char* fingerprint;
  uint64_t blocks;
  uint64_t bytes;
} terrace_namespace_info;

/* A connection, or a device whose blocks cross the connection that stands before it: LoadSource. */
typedef struct terrace_load_source {
  uint64_t bytes_per_s;
  uint32_t queue_us;
  uint32_t latency_us;
  uint8_t tier; /* TERRACE_TIER_DRAM: a connection; TERRACE_TIER_NVME: a device */
  uint8_t reserved[7];
} terrace_load_source;

/* Of a group of one shard: block_count long each, null when the daemon is older than this. */
typedef struct terrace_group_loads {
  const uint32_t* load_us; /* time to get that block alone; 0 unless it is ready */
  const uint16_t* sources; /* which of load_from it comes from; 0xffff unless it is ready */
} terrace_group_loads;

/* PlanRequest. One point of rate: for any context. */
typedef struct terrace_plan_request {
  uint32_t struct_size;
  uint32_t no_overlap; /* 0 or 1: the engine cannot compute while blocks behind that are loaded */
  uint64_t tokens;     /* of the prompt */
  const terrace_rate_point* rate;
  uint64_t rate_count;
} terrace_plan_request;
#define TERRACE_PLAN_REQUEST_INIT {sizeof(terrace_plan_request), 0, 0, NULL, 0}

typedef struct terrace_token_span {
  uint64_t first;
  uint64_t count;
} terrace_token_span;

typedef struct terrace_block_span {
  uint32_t first;
  uint32_t count;
} terrace_block_span;

/* LoadPlan: load blocks [0, front) and [back, stop); when the first are there compute `meanwhile`,
   when all are there compute `then`. */
typedef struct terrace_load_plan {
  uint32_t struct_size;
  uint32_t front;
  uint32_t back;
  uint32_t stop;
  terrace_token_span meanwhile; /* count 0: nothing */
  terrace_token_span then;
  double seconds; /* predicted, from the match on */
  double load_seconds;
  double load_all_seconds;
  double compute_all_seconds;
} terrace_load_plan;
#define TERRACE_LOAD_PLAN_INIT {sizeof(terrace_load_plan), 0, 0, 0, {0, 0}, {0, 0}, 0, 0, 0, 0}

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
  /* Since 1.2. What loading takes; null and 0 when the daemon is older than this. */
  const uint32_t* load_us;                /* match: `matched` long, as of terrace_group_loads */
  const uint16_t* sources;                /* likewise */
  const terrace_group_loads* group_loads; /* match_groups: one per entry of groups */
  const terrace_load_source* load_from;   /* of both */
  uint64_t load_from_count;
} terrace_answer;

#define TERRACE_TARGET_ \
  terrace_client client, terrace_space space, terrace_chain chain, terrace_kind kind
#define TERRACE_END_ terrace_deadline deadline, terrace_error *error
#define TERRACE_TICKET_ terrace_deadline deadline, terrace_ticket *ticket, terrace_error *error
#define TERRACE_CALL_ TERRACE_C_API terrace_status

#ifdef __cplusplus
}  // extern "C"
#endif
