/* The layout of terrace.h, as C11 on x86-64 and arm64 sees it. Callers that were compiled with
   version 1.0 hold these bytes: a change here is a new major version, and not a number to mend. */
#include <stddef.h>

#include "client/terrace.h"
#include "client/terrace_events.h"
#include "client/terrace_paged.h"
#include "tests/client/c_story.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " has another size")
#define AT(type, field, offset) \
  _Static_assert(offsetof(type, field) == (offset), #type "." #field " lies elsewhere")

SIZE(terrace_client, 8);
SIZE(terrace_chain, 8);
SIZE(terrace_result, 8);
SIZE(terrace_space, 4);
SIZE(terrace_region, 4);
SIZE(terrace_lease, 8);
SIZE(terrace_ticket, 8);
SIZE(terrace_deadline, 8);
SIZE(terrace_status, 4);

SIZE(terrace_error, 512);
AT(terrace_error, status, 0);
AT(terrace_error, message, 8);

/* May grow: the fields of version 1.0 stay where they are. */
_Static_assert(sizeof(terrace_client_options) >= 48, "version 1.0 has 48 bytes");
AT(terrace_client_options, struct_size, 0);
AT(terrace_client_options, abi_version, 4);
AT(terrace_client_options, address, 8);
AT(terrace_client_options, tenant, 16);
AT(terrace_client_options, name, 24);
AT(terrace_client_options, link, 32);
AT(terrace_client_options, connect_timeout_ms, 36);
AT(terrace_client_options, verify_same_host, 40);
AT(terrace_client_options, spin_us, 44);

SIZE(terrace_block_story, 48);
AT(terrace_block_story, age_ms, 8);
AT(terrace_block_story, reactor, 16);
AT(terrace_block_story, gets, 32);
AT(terrace_block_story, reason, 36);
AT(terrace_block_story, tiers, 37);
AT(terrace_block_story, leased, 42);

_Static_assert(sizeof(terrace_descriptor) >= 88, "version 1.0 has 88 bytes");
AT(terrace_descriptor, struct_size, 0);
AT(terrace_descriptor, block_tokens, 4);
AT(terrace_descriptor, name, 8);
AT(terrace_descriptor, model, 16);
AT(terrace_descriptor, weights, 24);
AT(terrace_descriptor, kv_dtype, 32);
AT(terrace_descriptor, layout, 40);
AT(terrace_descriptor, hash_algorithm, 48);
AT(terrace_descriptor, hash_seed, 56);
AT(terrace_descriptor, groups, 64);
AT(terrace_descriptor, group_count, 72);
AT(terrace_descriptor, shard_count, 80);
AT(terrace_descriptor, run_blocks, 84);
AT(terrace_descriptor, prefill_rate, 88);
AT(terrace_descriptor, prefill_rate_count, 96);

_Static_assert(sizeof(terrace_match_query) >= 48, "version 1.0 has 48 bytes");
AT(terrace_match_query, mode, 4);
AT(terrace_match_query, groups, 8);
AT(terrace_match_query, group_count, 16);
AT(terrace_match_query, shards, 24);
AT(terrace_match_query, shard_count, 32);
AT(terrace_match_query, lease_ms, 40);

_Static_assert(sizeof(terrace_prefetch_options) >= 16, "version 1.0 has 16 bytes");
AT(terrace_prefetch_options, target, 4);
AT(terrace_prefetch_options, priority, 8);

_Static_assert(sizeof(terrace_retain_options) >= 24, "version 1.0 has 24 bytes");
AT(terrace_retain_options, label, 8);
AT(terrace_retain_options, time_ms, 16);

_Static_assert(sizeof(terrace_hints) >= 32, "version 1.2 has 32 bytes");
AT(terrace_hints, turn, 4);
AT(terrace_hints, session, 8);
AT(terrace_hints, category, 16);
AT(terrace_hints, continuation, 24);

_Static_assert(sizeof(terrace_handoff_options) >= 24, "version 1.1 has 24 bytes");
AT(terrace_handoff_options, receivers, 4);
AT(terrace_handoff_options, patience_ms, 8);
AT(terrace_handoff_options, keep_ms, 12);
AT(terrace_handoff_options, last_valid_tokens, 16);

_Static_assert(sizeof(terrace_answer) >= 184, "version 1.0 has 184 bytes");
AT(terrace_answer, struct_size, 0);
AT(terrace_answer, status, 4);
AT(terrace_answer, message, 8);
AT(terrace_answer, ticket, 16);
AT(terrace_answer, blocks, 24);
AT(terrace_answer, block_count, 32);
AT(terrace_answer, lent, 40);
AT(terrace_answer, lent_count, 48);
AT(terrace_answer, tiers, 56);
AT(terrace_answer, stops, 64);
AT(terrace_answer, stop_count, 72);
AT(terrace_answer, groups, 80);
AT(terrace_answer, group_count, 88);
AT(terrace_answer, lease, 96);
AT(terrace_answer, lease_status, 104);
AT(terrace_answer, matched, 108);
AT(terrace_answer, reservation, 112);
AT(terrace_answer, region, 116);
AT(terrace_answer, token, 120);
AT(terrace_answer, samples, 152);
AT(terrace_answer, sample_count, 160);
AT(terrace_answer, namespaces, 168);
AT(terrace_answer, namespace_count, 176);
_Static_assert(sizeof(terrace_answer) >= 224, "version 1.2 has 224 bytes");
AT(terrace_answer, load_us, 184);
AT(terrace_answer, sources, 192);
AT(terrace_answer, group_loads, 200);
AT(terrace_answer, load_from, 208);
AT(terrace_answer, load_from_count, 216);

SIZE(terrace_load_source, 24);
AT(terrace_load_source, bytes_per_s, 0);
AT(terrace_load_source, queue_us, 8);
AT(terrace_load_source, latency_us, 12);
AT(terrace_load_source, tier, 16);
SIZE(terrace_group_loads, 16);
SIZE(terrace_rate_point, 16);
AT(terrace_rate_point, tokens_per_s, 8);
_Static_assert(sizeof(terrace_plan_request) >= 32, "version 1.2 has 32 bytes");
AT(terrace_plan_request, no_overlap, 4);
AT(terrace_plan_request, tokens, 8);
AT(terrace_plan_request, rate, 16);
AT(terrace_plan_request, rate_count, 24);
SIZE(terrace_token_span, 16);
SIZE(terrace_block_span, 8);
_Static_assert(sizeof(terrace_load_plan) >= 80, "version 1.2 has 80 bytes");
AT(terrace_load_plan, front, 4);
AT(terrace_load_plan, back, 8);
AT(terrace_load_plan, stop, 12);
AT(terrace_load_plan, meanwhile, 16);
AT(terrace_load_plan, then, 32);
AT(terrace_load_plan, seconds, 48);
AT(terrace_load_plan, load_seconds, 56);
AT(terrace_load_plan, load_all_seconds, 64);
AT(terrace_load_plan, compute_all_seconds, 72);

/* Stand in arrays: they keep their size, too. */
SIZE(terrace_group, 24);
AT(terrace_group, attention, 8);
AT(terrace_group, block_bytes, 16);

SIZE(terrace_kind, 8);
AT(terrace_kind, shard, 4);

SIZE(terrace_block, 24);
AT(terrace_block, position, 0);
AT(terrace_block, region, 4);
AT(terrace_block, offset, 8);
AT(terrace_block, valid_tokens, 16);
AT(terrace_block, reserved, 20);

SIZE(terrace_piece, 24);
AT(terrace_piece, offset, 0);
AT(terrace_piece, length, 8);
AT(terrace_piece, region, 16);

SIZE(terrace_range, 32);
AT(terrace_range, bytes, 8);
AT(terrace_range, stride, 16);
AT(terrace_range, count, 24);

SIZE(terrace_block_pieces, 48);
AT(terrace_block_pieces, valid_tokens, 4);
AT(terrace_block_pieces, piece_count, 8);
AT(terrace_block_pieces, range, 16);

SIZE(terrace_fragment, 16);
AT(terrace_fragment, piece_count, 8);

SIZE(terrace_put_token, 32);
SIZE(terrace_handoff_token, 32);

SIZE(terrace_block_result, 16);
AT(terrace_block_result, valid_tokens, 4);
AT(terrace_block_result, tier, 8);
AT(terrace_block_result, ack, 9);
AT(terrace_block_result, not_durable, 10);

SIZE(terrace_group_policy, 16);
AT(terrace_group_policy, policy, 4);
AT(terrace_group_policy, blocks, 8);

SIZE(terrace_lent, 32);
AT(terrace_lent, length, 8);
AT(terrace_lent, status, 16);
AT(terrace_lent, valid_tokens, 20);
AT(terrace_lent, tier, 24);
AT(terrace_lent, on_gpu, 25);

SIZE(terrace_group_presence, 32);
AT(terrace_group_presence, consecutive, 8);
AT(terrace_group_presence, block_count, 12);
AT(terrace_group_presence, presence, 16);
AT(terrace_group_presence, tiers, 24);

SIZE(terrace_sample, 24);
AT(terrace_sample, value, 16);

SIZE(terrace_namespace_info, 40);
AT(terrace_namespace_info, fingerprint, 16);
AT(terrace_namespace_info, blocks, 24);
AT(terrace_namespace_info, bytes, 32);

SIZE(terrace_event, 120);
AT(terrace_event, token_ids, 32);
AT(terrace_event, sequence, 40);
AT(terrace_event, parent_low, 72);
AT(terrace_event, token_count, 80);
AT(terrace_event, shard, 104);
AT(terrace_event, kind, 108);
AT(terrace_event, placement_bytes, 113);

SIZE(terrace_event_gap, 24);
AT(terrace_event_gap, reactor, 16);

SIZE(terrace_paged, 8);
SIZE(terrace_paged_block, 8);
_Static_assert(sizeof(terrace_cache_layout) >= 64, "version 1.3 has 64 bytes");
AT(terrace_cache_layout, layers, 4);
AT(terrace_cache_layout, type, 28);
AT(terrace_cache_layout, part_stride, 32);
AT(terrace_cache_layout, head_stride, 56);
_Static_assert(sizeof(terrace_stored_layout) >= 40, "version 1.3 has 40 bytes");
AT(terrace_stored_layout, block_tokens, 4);
AT(terrace_stored_layout, group_tokens, 32);
_Static_assert(sizeof(terrace_paged_options) >= 56, "version 1.3 has 56 bytes");
AT(terrace_paged_options, place, 4);
AT(terrace_paged_options, cache, 16);
AT(terrace_paged_options, layer_bases, 32);
AT(terrace_paged_options, staging_bytes, 48);
_Static_assert(sizeof(terrace_paged_call) >= 24, "version 1.3 has 24 bytes");
AT(terrace_paged_call, ack, 12);
AT(terrace_paged_call, stream, 16);

_Static_assert(sizeof(terrace_event_query) >= 24, "version 1.0 has 24 bytes");
AT(terrace_event_query, space, 8);
AT(terrace_event_query, no_wait, 16);

_Static_assert(sizeof(terrace_event_batch) >= 72, "version 1.0 has 72 bytes");
AT(terrace_event_batch, events, 16);
AT(terrace_event_batch, cursor, 48);
AT(terrace_event_batch, behind, 64);

uint32_t CLayoutVersion(void) { return TERRACE_ABI_VERSION; }
