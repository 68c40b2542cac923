// Terrace client library for C: an engine's paged cache, since 1.3. The model and the promises
// stand in layout.hpp and paged.hpp, the rules for all calls in terrace.h; docs/gpu.md draws the
// layouts.
//
//   terrace_make_layout says how the cache lies, for the usual forms; terrace_open_paged opens it
//   over a client; terrace_paged_get and terrace_paged_put name blocks and pages.
#pragma once

#include "client/terrace.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t terrace_paged; /* a handle, as terrace_client */

enum { TERRACE_ELEMENT_BF16 = 0, TERRACE_ELEMENT_FP16 = 1, TERRACE_ELEMENT_FP8_E4M3 = 2 };
enum { TERRACE_ELEMENT_FP8_E5M2 = 3, TERRACE_ELEMENT_INT8 = 4, TERRACE_ELEMENT_FP32 = 5 };
enum { TERRACE_STORED_LOSSLESS = 0, TERRACE_STORED_FP8_E4M3 = 1, TERRACE_STORED_INT8 = 2 };
enum { TERRACE_TOKENS_FIRST = 0, TERRACE_HEADS_FIRST = 1 };
enum { TERRACE_PLACE_CPU = 0, TERRACE_PLACE_CUDA = 1 };

/* The makers of layout.hpp. */
enum {
  TERRACE_FORM_PARTS_FIRST_NHD = 0, /* per layer [2, pages, tokens, heads, dim] */
  TERRACE_FORM_PARTS_FIRST_HND = 1, /* per layer [2, pages, heads, tokens, dim] */
  TERRACE_FORM_PAGES_FIRST_NHD = 2, /* per layer [pages, 2, tokens, heads, dim] */
  TERRACE_FORM_PAGES_FIRST_HND = 3,
  TERRACE_FORM_FUSED_NHD = 4, /* per layer [pages, tokens, heads, 2 * dim] */
  TERRACE_FORM_FUSED_HND = 5,
  TERRACE_FORM_SEPARATE_NHD = 6, /* K and V of each layer: [pages, tokens, heads, dim] */
  TERRACE_FORM_SEPARATE_HND = 7,
  TERRACE_FORM_LATENT = 8,          /* per layer [pages, tokens, dim] */
  TERRACE_FORM_CROSS_LAYER_NHD = 9, /* [pages, layers, 2, tokens, heads, dim] */
  TERRACE_FORM_CROSS_LAYER_HND = 10,
  TERRACE_FORM_LBHNC = 11, /* one tensor of all layers, K and V side by side */
  TERRACE_FORM_LBNHC = 12,
  TERRACE_FORM_LHBNC = 13,
  TERRACE_FORM_BLHNC = 14,
  TERRACE_FORM_BLNHC = 15,
  TERRACE_FORM_BHLNC = 16
};

typedef struct terrace_cache_layout {
  uint32_t struct_size;
  uint32_t layers;
  uint32_t parts;
  uint32_t pages;
  uint32_t page_tokens;
  uint32_t heads;
  uint32_t head_dim; /* elements */
  uint32_t type;     /* TERRACE_ELEMENT_... */
  int64_t part_stride;
  int64_t page_stride;
  int64_t token_stride;
  int64_t head_stride;
} terrace_cache_layout;
#define TERRACE_CACHE_LAYOUT_INIT {sizeof(terrace_cache_layout), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Zeros mean the default of StoredLayout; block_tokens: none. */
typedef struct terrace_stored_layout {
  uint32_t struct_size;
  uint32_t block_tokens;
  uint32_t layers_total;
  uint32_t first_layer;
  uint32_t heads_total;
  uint32_t first_head;
  uint32_t order; /* TERRACE_..._FIRST */
  uint32_t type;  /* TERRACE_STORED_... */
  uint32_t group_tokens;
  uint32_t reserved;
} terrace_stored_layout;
#define TERRACE_STORED_LAYOUT_INIT \
  {sizeof(terrace_stored_layout), 0, 0, 0, 0, 0, TERRACE_HEADS_FIRST, 0, 0, 0}

typedef struct terrace_paged_options {
  uint32_t struct_size;
  uint32_t place;  /* TERRACE_PLACE_... of the cache's memory */
  uint32_t device; /* of TERRACE_PLACE_CUDA: the addresses say it, too; not looked at */
  uint32_t direct_bytes;
  const terrace_cache_layout* cache;
  const terrace_stored_layout* stored;
  void* const* layer_bases;
  uint64_t layer_base_count;
  uint64_t staging_bytes;    /* 0: 64 MiB */
  uint32_t frames_on_device; /* since 1.6: 1, or 0; as PagedCacheOptions has it */
  uint32_t reserved;
} terrace_paged_options;
#define TERRACE_PAGED_OPTIONS_INIT \
  {sizeof(terrace_paged_options), 0, 0, 4096, NULL, NULL, NULL, 0, 0, 0, 0}

typedef struct terrace_paged_block {
  uint32_t position;     /* in the chain */
  uint32_t valid_tokens; /* put: tokens the block holds; 0: all */
} terrace_paged_block;

/* Null: the defaults. */
typedef struct terrace_paged_call {
  uint32_t struct_size;
  uint32_t first_layer;
  uint32_t layer_count; /* 0: all from the first on */
  uint32_t ack;         /* TERRACE_ACK_... of a put */
  void* stream;         /* the engine's, of a GPU */
} terrace_paged_call;
#define TERRACE_PAGED_CALL_INIT {sizeof(terrace_paged_call), 0, 0, 0, NULL}

/* Numbers as terrace_cache_layout has them, for a tensor, or tensors, without gaps. The strides of
   `layout` are filled in, and layers, parts and head_dim as the form has them. layer_stride, which
   may be null: from one layer's base to the next; 0 where each layer is a tensor of its own. */
TERRACE_CALL_ terrace_make_layout(uint32_t form, terrace_cache_layout* layout,
                                  int64_t* layer_stride, terrace_error* error);
/* Of a whole stored block, and how many pages hold one. Either may be null. */
TERRACE_CALL_ terrace_stored_block(const terrace_cache_layout* cache,
                                   const terrace_stored_layout* stored, uint64_t* block_bytes,
                                   uint32_t* block_pages, terrace_error* error);

/* The client stays, closed or not, until the paged cache is closed. TERRACE_UNSUPPORTED: a place
   that this library was built without. */
TERRACE_CALL_ terrace_open_paged(terrace_client client, const terrace_paged_options* options,
                                 terrace_paged* paged, terrace_error* error);
/* The memory of the cache is the engine's again when this, and every call inside, has returned. */
TERRACE_CALL_ terrace_close_paged(terrace_paged paged, terrace_error* error);
/* A descriptor without groups gets `group`; without a layout it gets this cache's. */
TERRACE_CALL_ terrace_paged_open_namespace(terrace_paged paged,
                                           const terrace_descriptor* descriptor, uint32_t group,
                                           terrace_deadline deadline, terrace_space* space,
                                           terrace_error* error);

/* Blocks, and the pages of one after the other: block_pages each. */
#define TERRACE_PAGED_                                                                \
  terrace_paged paged, terrace_space space, terrace_chain chain, terrace_kind kind,   \
      const terrace_paged_block *blocks, uint64_t block_count, const uint32_t *pages, \
      uint64_t page_count, const terrace_paged_call *call
#define TERRACE_PAGED_PARTS_                                                  \
  terrace_paged paged, const terrace_put_token *tokens, uint64_t token_count, \
      const uint32_t *pages, uint64_t page_count, const terrace_paged_call *call

TERRACE_CALL_ terrace_paged_get(TERRACE_PAGED_, terrace_deadline deadline,
                                terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_paged_put(TERRACE_PAGED_, terrace_deadline deadline,
                                terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_paged_submit_get(TERRACE_PAGED_, TERRACE_TICKET_);
TERRACE_CALL_ terrace_paged_submit_put(TERRACE_PAGED_, TERRACE_TICKET_);
/* This rank's part of blocks that were reserved: one result per token. */
TERRACE_CALL_ terrace_paged_write(TERRACE_PAGED_PARTS_, terrace_deadline deadline,
                                  terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_paged_submit_write(TERRACE_PAGED_PARTS_, TERRACE_TICKET_);

/* As terrace_poll and its sisters, of calls that were submitted to this paged cache. */
TERRACE_CALL_ terrace_paged_poll(terrace_paged paged, terrace_result* results, uint64_t capacity,
                                 uint64_t* count, terrace_error* error);
TERRACE_CALL_ terrace_paged_wait_for_completion(terrace_paged paged, TERRACE_END_);
TERRACE_CALL_ terrace_paged_completion_fd(terrace_paged paged, int* fd, terrace_error* error);
TERRACE_CALL_ terrace_paged_cancel(terrace_paged paged, terrace_ticket ticket, TERRACE_END_);
/* TERRACE_OK once nothing touches these pages any more. */
TERRACE_CALL_ terrace_paged_fence(terrace_paged paged, const uint32_t* pages, uint64_t page_count,
                                  TERRACE_END_);
TERRACE_CALL_ terrace_paged_drain(terrace_paged paged, TERRACE_END_);

#ifdef __cplusplus
}  // extern "C"
#endif
