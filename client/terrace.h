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

#include "client/terrace_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The library: no call here fails ----------------------------------------------------------
 */

/* Of the library. A caller needs its own major version, and at least its own minor one. */
TERRACE_C_API uint32_t terrace_abi_version(void);
TERRACE_C_API const char* terrace_version(void); /* "0.1.0" */
/* "miss", "dram", "no_tier"; "unknown" for other numbers. Static. */
TERRACE_C_API const char* terrace_status_name(terrace_status status);
TERRACE_C_API const char* terrace_tier_name(uint8_t tier);
TERRACE_C_API const char* terrace_not_durable_name(uint8_t reason);
TERRACE_C_API const char* terrace_miss_reason_name(uint8_t reason);
TERRACE_C_API terrace_deadline terrace_in_us(uint64_t microseconds);
TERRACE_C_API terrace_deadline terrace_in_ms(uint64_t milliseconds);

/* ---- Clients ----------------------------------------------------------------------------------
 */

/* TERRACE_INCOMPATIBLE: options->abi_version is none that this library serves. */
TERRACE_CALL_ terrace_connect(const terrace_client_options* options, terrace_client* client,
                              terrace_error* error);
/* Ends every call in flight with TERRACE_CANCELLED, at most 1 s; calls that come later answer
   TERRACE_CANCELLED or TERRACE_PEER_DEAD. Regions stay readable, completions can be polled. Blocks
   that a stopped daemon of this host may yet touch are TERRACE_IN_DOUBT, and so is their region. */
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
/* What the daemon knows of `count` blocks, of a namespace that need not be opened: one story per
   key. `keys` and `key_bytes` as of terrace_chain_append_each. Since 1.5. */
TERRACE_CALL_ terrace_explain(terrace_client client, const char* space, terrace_kind kind,
                              const void* keys, const uint32_t* key_bytes, uint32_t count,
                              terrace_deadline deadline, terrace_block_story* stories,
                              terrace_error* error);
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
/* What is known of its request, for every call that is given the chain from now on; null: nothing
   any more. As an append it is refused, or changes the chain as a whole. */
TERRACE_CALL_ terrace_chain_hint(terrace_chain chain, const terrace_hints* hints,
                                 terrace_error* error);
/* No keys and no hints any more. */
TERRACE_CALL_ terrace_chain_clear(terrace_chain chain, terrace_error* error);
TERRACE_CALL_ terrace_chain_size(terrace_chain chain, uint32_t* size, terrace_error* error);
TERRACE_CALL_ terrace_chain_free(terrace_chain chain, terrace_error* error);

TERRACE_CALL_ terrace_register_memory(terrace_client client, void* base, uint64_t length,
                                      terrace_region* region, terrace_error* error);
TERRACE_CALL_ terrace_allocate_region(terrace_client client, uint64_t length,
                                      terrace_region* region, terrace_error* error);
/* Since 1.4. Memory of a GPU, in one allocation of this process: TERRACE_UNSUPPORTED where the
   daemon has not that GPU, or is on another host. It must be deregistered before it is freed. */
TERRACE_CALL_ terrace_register_device_memory(terrace_client client, void* base, uint64_t length,
                                             terrace_deadline deadline, terrace_region* region,
                                             terrace_error* error);
/* -> terrace_answer.region */
TERRACE_CALL_ terrace_submit_register_memory(terrace_client client, void* base, uint64_t length,
                                             terrace_ticket* ticket, terrace_error* error);
TERRACE_CALL_ terrace_submit_allocate_region(terrace_client client, uint64_t length,
                                             terrace_ticket* ticket, terrace_error* error);
/* Valid until the region is deregistered or the client closed. `length` may be null. */
TERRACE_CALL_ terrace_region_memory(terrace_client client, terrace_region region, void** base,
                                    uint64_t* length, terrace_error* error);
/* Memory of a GPU: TERRACE_RETRY, the daemon has not unmapped it within a second; TERRACE_IN_DOUBT,
   the connection is lost and the daemon lives: try again, and do not free it before TERRACE_OK. */
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
/* Since 1.6. The same for who can read memory of the GPU `gpu` (its UUID, as nvidia-smi -L prints
   it): a block that lies there is lent there, where the daemon lets this tenant;
   terrace_lent.on_gpu says so. What cannot be mapped here is lent in memory of the host:
   terrace_device_lending. */
TERRACE_CALL_ terrace_lend_with(TERRACE_TARGET_, const char* gpu, const uint32_t* positions,
                                uint64_t position_count, uint32_t lease_ms,
                                terrace_deadline deadline, terrace_result* result,
                                terrace_error* error);
/* Since 1.6. Not TERRACE_OK: why the client asks for no memory of that GPU any more. */
TERRACE_CALL_ terrace_device_lending(terrace_client client, const char* gpu, terrace_error* error);
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
/* Since 1.6. A block that was lent on a GPU and could not be mapped is TERRACE_UNSUPPORTED here. */
TERRACE_CALL_ terrace_submit_lend_with(TERRACE_TARGET_, const char* gpu, const uint32_t* positions,
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
TERRACE_CALL_ terrace_submit_renew_lease(terrace_client client, terrace_lease lease,
                                         uint32_t time_ms, TERRACE_TICKET_); /* since 1.5 */
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
TERRACE_CALL_ terrace_submit_abort(terrace_client client, const terrace_put_token* token,
                                   TERRACE_TICKET_); /* since 1.5 */

/* ---- Hand-off: a chain sent layer by layer to who waits for it ---------------------------------
 */

TERRACE_CALL_ terrace_new_handoff(terrace_client client, terrace_handoff_token* token,
                                  terrace_error* error);
/* `results` has one entry per member of the range; `options` may be null for the defaults. */
TERRACE_CALL_ terrace_open_handoff(TERRACE_TARGET_, const terrace_handoff_token* token,
                                   uint32_t first, uint32_t count,
                                   const terrace_handoff_options* options,
                                   terrace_deadline deadline, terrace_block_result* results,
                                   terrace_error* error);
TERRACE_CALL_ terrace_submit_open_handoff(TERRACE_TARGET_, const terrace_handoff_token* token,
                                          uint32_t first, uint32_t count,
                                          const terrace_handoff_options* options, TERRACE_TICKET_);
TERRACE_CALL_ terrace_send(TERRACE_TARGET_, const terrace_handoff_token* token, TERRACE_PIECES_,
                           terrace_deadline deadline, terrace_block_result* results,
                           terrace_error* error);
TERRACE_CALL_ terrace_submit_send(TERRACE_TARGET_, const terrace_handoff_token* token,
                                  TERRACE_PIECES_, TERRACE_TICKET_);
TERRACE_CALL_ terrace_receive(TERRACE_TARGET_, const terrace_handoff_token* token, TERRACE_PIECES_,
                              terrace_deadline deadline, terrace_block_result* results,
                              terrace_error* error);
TERRACE_CALL_ terrace_submit_receive(TERRACE_TARGET_, const terrace_handoff_token* token,
                                     TERRACE_PIECES_, TERRACE_TICKET_);
TERRACE_CALL_ terrace_get_arriving(TERRACE_TARGET_, TERRACE_PIECES_, terrace_deadline deadline,
                                   terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_submit_get_arriving(TERRACE_TARGET_, TERRACE_PIECES_, TERRACE_TICKET_);
TERRACE_CALL_ terrace_ack_handoff(terrace_client client, const terrace_handoff_token* token,
                                  TERRACE_END_);
TERRACE_CALL_ terrace_submit_ack_handoff(terrace_client client, const terrace_handoff_token* token,
                                         TERRACE_TICKET_);
TERRACE_CALL_ terrace_abort_handoff(terrace_client client, const terrace_handoff_token* token,
                                    TERRACE_END_);
TERRACE_CALL_ terrace_submit_abort_handoff(terrace_client client,
                                           const terrace_handoff_token* token,
                                           TERRACE_TICKET_); /* since 1.5 */

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
TERRACE_CALL_ terrace_submit_touch(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                   TERRACE_TICKET_); /* since 1.5, as the next two submits */
TERRACE_CALL_ terrace_retain(TERRACE_TARGET_, uint32_t first, uint32_t count,
                             const terrace_retain_options* options, terrace_deadline deadline,
                             terrace_block_result* results, terrace_error* error);
TERRACE_CALL_ terrace_submit_retain(TERRACE_TARGET_, uint32_t first, uint32_t count,
                                    const terrace_retain_options* options, TERRACE_TICKET_);
TERRACE_CALL_ terrace_release_retained(terrace_client client, const char* label,
                                       terrace_deadline deadline, uint64_t* blocks,
                                       terrace_error* error);
TERRACE_CALL_ terrace_submit_release_retained(terrace_client client, const char* label,
                                              TERRACE_TICKET_);
TERRACE_CALL_ terrace_remove_prefix(terrace_client client, terrace_space space, terrace_chain chain,
                                    uint32_t first, terrace_deadline deadline, uint64_t* blocks,
                                    terrace_error* error);
TERRACE_CALL_ terrace_clear_tenant(terrace_client client, terrace_deadline deadline,
                                   uint64_t* blocks, terrace_error* error);

/* ---- Load or compute (since 1.2) ---------------------------------------------------------------
 */

/* As terrace_match -> terrace_answer.tiers, load_us, sources, load_from, matched. */
TERRACE_CALL_ terrace_match_loads(TERRACE_TARGET_, terrace_deadline deadline,
                                  terrace_result* result, terrace_error* error);
/* What of a match to load and what to compute. `match`: of terrace_match_groups,
   terrace_match_loads, or a submitted match. plan->struct_size must be set. Asks nobody and never
   waits. TERRACE_UNSUPPORTED: the daemon's matches say nothing of times. */
TERRACE_CALL_ terrace_plan(terrace_result match, const terrace_plan_request* request,
                           terrace_load_plan* plan, terrace_error* error);
/* The blocks of a group that a plan loads: spans[0] of its front, spans[1] of its back; counts may
   be 0. `policy` may be null: all blocks before the stop. */
TERRACE_CALL_ terrace_blocks_to_load(const terrace_load_plan* plan,
                                     const terrace_group_policy* policy, terrace_block_span* spans,
                                     terrace_error* error);

#ifdef __cplusplus
}  // extern "C"
#endif
