"""libterrace.so by ctypes: where it is, the structs and the functions of client/terrace.h.

Calls through ctypes run without the GIL.
"""

import ctypes
import os
import pathlib
from ctypes import (POINTER, Structure, c_char, c_char_p, c_double, c_int, c_int32, c_int64,
                    c_uint8, c_uint32, c_uint64, c_void_p)
from typing import Any

ABI_MAJOR = 1
ABI_MINOR = 6  # the oldest minor version that has everything used here
NAME = "libterrace.so.1"


class ErrorStruct(Structure):
    _fields_ = [("status", c_int32), ("reserved", c_uint32), ("message", c_char * 504)]


class OptionsStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("abi_version", c_uint32), ("address", c_char_p),
                ("tenant", c_char_p), ("name", c_char_p), ("link", c_uint32),
                ("connect_timeout_ms", c_uint32), ("verify_same_host", c_uint32),
                ("spin_us", c_uint32)]


class GroupStruct(Structure):
    _fields_ = [("id", c_uint32), ("reserved", c_uint32), ("attention", c_char_p),
                ("block_bytes", c_uint64)]


class RatePointStruct(Structure):
    _fields_ = [("context", c_uint64), ("tokens_per_s", c_double)]


class DescriptorStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("block_tokens", c_uint32), ("name", c_char_p),
                ("model", c_char_p), ("weights", c_char_p), ("kv_dtype", c_char_p),
                ("layout", c_char_p), ("hash_algorithm", c_char_p), ("hash_seed", c_char_p),
                ("groups", POINTER(GroupStruct)), ("group_count", c_uint64),
                ("shard_count", c_uint32), ("run_blocks", c_uint32),
                ("prefill_rate", POINTER(RatePointStruct)), ("prefill_rate_count", c_uint64)]


class KindStruct(Structure):
    _fields_ = [("group", c_uint32), ("shard", c_uint32)]


class TokenStruct(Structure):
    _fields_ = [("bytes", c_uint8 * 32)]


class PolicyStruct(Structure):
    _fields_ = [("group", c_uint32), ("policy", c_uint32), ("blocks", c_uint32),
                ("reserved", c_uint32)]


class QueryStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("mode", c_uint32), ("groups", POINTER(PolicyStruct)),
                ("group_count", c_uint64), ("shards", POINTER(c_uint32)),
                ("shard_count", c_uint64), ("lease_ms", c_uint32), ("reserved", c_uint32)]


class HintsStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("turn", c_uint32), ("session", c_char_p),
                ("category", c_char_p), ("continuation", c_uint32), ("reserved", c_uint32)]


class PrefetchStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("target", c_uint32), ("priority", c_uint32),
                ("reserved", c_uint32)]


class RetainStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("label", c_char_p),
                ("time_ms", c_uint64)]


class HandoffStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("receivers", c_uint32), ("patience_ms", c_uint32),
                ("keep_ms", c_uint32), ("last_valid_tokens", c_uint32), ("reserved", c_uint32)]


class LentStruct(Structure):
    _fields_ = [("data", c_void_p), ("length", c_uint64), ("status", c_int32),
                ("valid_tokens", c_uint32), ("tier", c_uint8), ("on_gpu", c_uint8),
                ("reserved", c_uint8 * 6)]


class PresenceStruct(Structure):
    _fields_ = [("group", c_uint32), ("shard", c_uint32), ("consecutive", c_uint32),
                ("block_count", c_uint32), ("presence", c_void_p), ("tiers", c_void_p)]


class SampleStruct(Structure):
    _fields_ = [("name", c_char_p), ("labels", c_char_p), ("value", c_double)]


class NamespaceStruct(Structure):
    _fields_ = [("tenant", c_char_p), ("name", c_char_p), ("fingerprint", c_char_p),
                ("blocks", c_uint64), ("bytes", c_uint64)]


class BlockStoryStruct(Structure):
    _fields_ = [("block_bytes", c_uint64), ("age_ms", c_uint64), ("reactor", c_uint32),
                ("pins", c_uint32), ("position", c_uint32), ("valid_tokens", c_uint32),
                ("gets", c_uint32), ("reason", c_uint8), ("tiers", c_uint8),
                ("published", c_uint8), ("loading", c_uint8), ("writing", c_uint8),
                ("kept", c_uint8), ("leased", c_uint8), ("reserved", c_uint8 * 5)]


class LoadSourceStruct(Structure):
    _fields_ = [("bytes_per_s", c_uint64), ("queue_us", c_uint32), ("latency_us", c_uint32),
                ("tier", c_uint8), ("reserved", c_uint8 * 7)]


class GroupLoadsStruct(Structure):
    _fields_ = [("load_us", c_void_p), ("sources", c_void_p)]


class PlanRequestStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("no_overlap", c_uint32), ("tokens", c_uint64),
                ("rate", POINTER(RatePointStruct)), ("rate_count", c_uint64)]


class TokenSpanStruct(Structure):
    _fields_ = [("first", c_uint64), ("count", c_uint64)]


class BlockSpanStruct(Structure):
    _fields_ = [("first", c_uint32), ("count", c_uint32)]


class LoadPlanStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("front", c_uint32), ("back", c_uint32),
                ("stop", c_uint32), ("meanwhile", TokenSpanStruct), ("then", TokenSpanStruct),
                ("seconds", c_double), ("load_seconds", c_double), ("load_all_seconds", c_double),
                ("compute_all_seconds", c_double)]


class AnswerStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("status", c_int32), ("message", c_char_p),
                ("ticket", c_uint64), ("blocks", c_void_p), ("block_count", c_uint64),
                ("lent", POINTER(LentStruct)), ("lent_count", c_uint64), ("tiers", c_void_p),
                ("stops", POINTER(c_uint32)), ("stop_count", c_uint64),
                ("groups", POINTER(PresenceStruct)), ("group_count", c_uint64),
                ("lease", c_uint64), ("lease_status", c_int32), ("matched", c_uint32),
                ("reservation", c_int32), ("region", c_uint32), ("token", TokenStruct),
                ("samples", POINTER(SampleStruct)), ("sample_count", c_uint64),
                ("namespaces", POINTER(NamespaceStruct)), ("namespace_count", c_uint64),
                ("load_us", c_void_p), ("sources", c_void_p),
                ("group_loads", POINTER(GroupLoadsStruct)),
                ("load_from", POINTER(LoadSourceStruct)), ("load_from_count", c_uint64)]


class EventStruct(Structure):
    _fields_ = [("space", c_char_p), ("key", c_void_p), ("parent_key", c_void_p),
                ("placement", c_void_p), ("token_ids", POINTER(c_uint32)),
                ("sequence", c_uint64), ("identity_high", c_uint64), ("identity_low", c_uint64),
                ("parent_high", c_uint64), ("parent_low", c_uint64), ("token_count", c_uint32),
                ("reactor", c_uint32), ("space_number", c_uint32), ("position", c_uint32),
                ("valid_tokens", c_uint32), ("group", c_uint32), ("shard", c_uint32),
                ("kind", c_uint8), ("cause", c_uint8), ("tiers", c_uint8),
                ("key_bytes", c_uint8), ("parent_bytes", c_uint8), ("placement_bytes", c_uint8),
                ("reserved", c_uint8 * 6)]


class EventGapStruct(Structure):
    _fields_ = [("first", c_uint64), ("last", c_uint64), ("reactor", c_uint32),
                ("reserved", c_uint32)]


class EventQueryStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("most", c_uint32), ("space", c_char_p),
                ("no_wait", c_uint32), ("reserved", c_uint32)]


class EventBatchStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("restarted", c_uint32), ("complete", c_uint32),
                ("reserved", c_uint32), ("events", POINTER(EventStruct)),
                ("event_count", c_uint64), ("gaps", POINTER(EventGapStruct)),
                ("gap_count", c_uint64), ("cursor", c_void_p), ("cursor_bytes", c_uint64),
                ("behind", c_uint64)]


class CacheLayoutStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("layers", c_uint32), ("parts", c_uint32),
                ("pages", c_uint32), ("page_tokens", c_uint32), ("heads", c_uint32),
                ("head_dim", c_uint32), ("type", c_uint32), ("part_stride", c_int64),
                ("page_stride", c_int64), ("token_stride", c_int64), ("head_stride", c_int64)]


class StoredLayoutStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("block_tokens", c_uint32),
                ("layers_total", c_uint32), ("first_layer", c_uint32),
                ("heads_total", c_uint32), ("first_head", c_uint32), ("order", c_uint32),
                ("type", c_uint32), ("group_tokens", c_uint32), ("reserved", c_uint32)]


class PagedOptionsStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("place", c_uint32), ("device", c_uint32),
                ("direct_bytes", c_uint32), ("cache", POINTER(CacheLayoutStruct)),
                ("stored", POINTER(StoredLayoutStruct)), ("layer_bases", POINTER(c_void_p)),
                ("layer_base_count", c_uint64), ("staging_bytes", c_uint64),
                ("frames_on_device", c_uint32), ("reserved", c_uint32)]


class PagedBlockStruct(Structure):
    _fields_ = [("position", c_uint32), ("valid_tokens", c_uint32)]


class PagedCallStruct(Structure):
    _fields_ = [("struct_size", c_uint32), ("first_layer", c_uint32),
                ("layer_count", c_uint32), ("ack", c_uint32), ("stream", c_void_p)]


HANDLE, TIME, COUNT = c_uint64, c_int64, c_uint64
TARGET = (HANDLE, c_uint32, HANDLE, KindStruct)
RECORDS = (c_void_p, COUNT)
TWO_RECORDS = RECORDS + RECORDS
RANGE = (c_uint32, c_uint32)
TICKET = (TIME, POINTER(c_uint64))
RESULTS = (TIME, c_void_p)
RESULT = (TIME, POINTER(c_uint64))
QUERY = (HANDLE, c_uint32, HANDLE, POINTER(QueryStruct))
TOKEN = (HANDLE, POINTER(TokenStruct))
HANDOFF = TARGET + (POINTER(TokenStruct),)
CURSOR = (HANDLE, c_char_p, COUNT, POINTER(EventQueryStruct))
TOKENS = TARGET + RECORDS + (c_uint32, c_void_p, c_void_p)
PIECES_TOKENS = TARGET + TWO_RECORDS + (c_uint32, c_void_p, c_void_p)
RESERVE = TARGET + (c_uint32, c_uint32, c_uint32)
PAGED = TARGET + TWO_RECORDS + (POINTER(PagedCallStruct),)
PAGED_PARTS = (HANDLE,) + TWO_RECORDS + (POINTER(PagedCallStruct),)

# Arguments of each function but the last, which is a terrace_error*.
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "connect": (POINTER(OptionsStruct), POINTER(HANDLE)),
    "shutdown": (HANDLE,),
    "close": (HANDLE,),
    "connected": (HANDLE, POINTER(c_uint32)),
    "reconnects": (HANDLE, POINTER(c_uint64)),
    "link_name": (HANDLE, POINTER(c_char_p)),
    "ping": (HANDLE, TIME),
    "stat": (HANDLE,) + RESULT,
    "open_namespace": (HANDLE, POINTER(DescriptorStruct), TIME, POINTER(c_uint32)),
    "list_namespaces": (HANDLE,) + RESULT,
    "explain": (HANDLE, c_char_p, KindStruct, c_char_p, POINTER(c_uint32), c_uint32, TIME,
                POINTER(BlockStoryStruct)),
    "clear_namespace": (HANDLE, c_char_p, TIME, POINTER(c_uint64)),
    "chain_new": (POINTER(HANDLE),),
    "chain_append": (HANDLE, c_void_p, c_uint32, c_uint32),
    "chain_append_each": (HANDLE, c_char_p, POINTER(c_uint32), c_uint32),
    "chain_hint": (HANDLE, POINTER(HintsStruct)),
    "chain_clear": (HANDLE,),
    "chain_size": (HANDLE, POINTER(c_uint32)),
    "chain_free": (HANDLE,),
    "register_memory": (HANDLE, c_void_p, c_uint64, POINTER(c_uint32)),
    "register_device_memory": (HANDLE, c_void_p, c_uint64, TIME, POINTER(c_uint32)),
    "allocate_region": (HANDLE, c_uint64, POINTER(c_uint32)),
    "submit_register_memory": (HANDLE, c_void_p, c_uint64, POINTER(c_uint64)),
    "submit_allocate_region": (HANDLE, c_uint64, POINTER(c_uint64)),
    "region_memory": (HANDLE, c_uint32, POINTER(c_void_p), POINTER(c_uint64)),
    "deregister_memory": (HANDLE, c_uint32),
    "quiesce": (HANDLE, c_uint32, TIME),
    "match": TARGET + (TIME, POINTER(c_uint32), c_void_p),
    "get": TARGET + RECORDS + RESULTS,
    "put": TARGET + RECORDS + (c_uint32,) + RESULTS,
    "lend": TARGET + RECORDS + (c_uint32,) + RESULT,
    "lend_with": TARGET + (c_char_p,) + RECORDS + (c_uint32,) + RESULT,
    "device_lending": (HANDLE, c_char_p),
    "remove": TARGET + RANGE + RESULTS,
    "submit_match": TARGET + TICKET,
    "submit_get": TARGET + RECORDS + TICKET,
    "submit_put": TARGET + RECORDS + (c_uint32,) + TICKET,
    "submit_lend": TARGET + RECORDS + (c_uint32,) + TICKET,
    "submit_lend_with": TARGET + (c_char_p,) + RECORDS + (c_uint32,) + TICKET,
    "submit_remove": TARGET + RANGE + TICKET,
    "poll": (HANDLE, POINTER(HANDLE), COUNT, POINTER(c_uint64)),
    "wait_for_completion": (HANDLE, TIME),
    "completion_fd": (HANDLE, POINTER(c_int)),
    "result_answer": (HANDLE, POINTER(AnswerStruct)),
    "lent_intact": (HANDLE, c_uint64),
    "lent_release": (HANDLE, c_uint64),
    "result_free": (HANDLE,),
    "match_groups": QUERY + RESULT,
    "submit_match_groups": QUERY + TICKET,
    "renew_lease": (HANDLE, c_uint64, c_uint32, TIME),
    "submit_renew_lease": (HANDLE, c_uint64, c_uint32) + TICKET,
    "release_lease": (HANDLE, c_uint64),
    "get_pieces": TARGET + TWO_RECORDS + RESULTS,
    "put_pieces": TARGET + TWO_RECORDS + (c_uint32,) + RESULTS,
    "submit_get_pieces": TARGET + TWO_RECORDS + TICKET,
    "submit_put_pieces": TARGET + TWO_RECORDS + (c_uint32,) + TICKET,
    "reserve": RESERVE + (TIME, POINTER(c_int32), POINTER(TokenStruct)),
    "submit_reserve": RESERVE + TICKET,
    "write": TOKEN + TWO_RECORDS + RESULTS,
    "submit_write": TOKEN + TWO_RECORDS + TICKET,
    "commit": TOKEN + (c_uint32,) + RESULTS,
    "submit_commit": TOKEN + (c_uint32,) + TICKET,
    "abort": TOKEN + (TIME,),
    "submit_abort": TOKEN + TICKET,
    "new_handoff": TOKEN,
    "open_handoff": HANDOFF + RANGE + (POINTER(HandoffStruct),) + RESULTS,
    "submit_open_handoff": HANDOFF + RANGE + (POINTER(HandoffStruct),) + TICKET,
    "send": HANDOFF + TWO_RECORDS + RESULTS,
    "submit_send": HANDOFF + TWO_RECORDS + TICKET,
    "receive": HANDOFF + TWO_RECORDS + RESULTS,
    "submit_receive": HANDOFF + TWO_RECORDS + TICKET,
    "get_arriving": TARGET + TWO_RECORDS + RESULTS,
    "submit_get_arriving": TARGET + TWO_RECORDS + TICKET,
    "ack_handoff": TOKEN + (TIME,),
    "submit_ack_handoff": TOKEN + TICKET,
    "abort_handoff": TOKEN + (TIME,),
    "submit_abort_handoff": TOKEN + TICKET,
    "cancel": (HANDLE, c_uint64, TIME),
    "fence": (HANDLE,) + RECORDS + (TIME,),
    "drain": (HANDLE, TIME),
    "prefetch": TARGET + RANGE + (POINTER(PrefetchStruct),) + RESULTS,
    "submit_prefetch": TARGET + RANGE + (POINTER(PrefetchStruct),) + TICKET,
    "touch": TARGET + RANGE + RESULTS,
    "submit_touch": TARGET + RANGE + TICKET,
    "retain": TARGET + RANGE + (POINTER(RetainStruct),) + RESULTS,
    "submit_retain": TARGET + RANGE + (POINTER(RetainStruct),) + TICKET,
    "release_retained": (HANDLE, c_char_p, TIME, POINTER(c_uint64)),
    "submit_release_retained": (HANDLE, c_char_p) + TICKET,
    "remove_prefix": (HANDLE, c_uint32, HANDLE, c_uint32, TIME, POINTER(c_uint64)),
    "clear_tenant": (HANDLE, TIME, POINTER(c_uint64)),
    "match_loads": TARGET + RESULT,
    "plan": (HANDLE, POINTER(PlanRequestStruct), POINTER(LoadPlanStruct)),
    "blocks_to_load": (POINTER(LoadPlanStruct), POINTER(PolicyStruct), POINTER(BlockSpanStruct)),
    # terrace_events.h
    "read_events": CURSOR + RESULT,
    "submit_read_events": CURSOR + TICKET,
    "read_snapshot": CURSOR + RESULT,
    "submit_read_snapshot": CURSOR + TICKET,
    "result_events": (HANDLE, POINTER(EventBatchStruct)),
    "event_identity": (KindStruct, c_char_p, c_uint32, POINTER(c_uint64), POINTER(c_uint64)),
    "put_tokens": TOKENS + RESULTS,
    "submit_put_tokens": TOKENS + TICKET,
    "put_pieces_tokens": PIECES_TOKENS + RESULTS,
    "submit_put_pieces_tokens": PIECES_TOKENS + TICKET,
    # terrace_paged.h
    "make_layout": (c_uint32, POINTER(CacheLayoutStruct), POINTER(c_int64)),
    "stored_block": (POINTER(CacheLayoutStruct), POINTER(StoredLayoutStruct), POINTER(c_uint64),
                     POINTER(c_uint32)),
    "open_paged": (HANDLE, POINTER(PagedOptionsStruct), POINTER(HANDLE)),
    "close_paged": (HANDLE,),
    "paged_open_namespace": (HANDLE, POINTER(DescriptorStruct), c_uint32, TIME,
                             POINTER(c_uint32)),
    "paged_get": PAGED + RESULTS,
    "paged_put": PAGED + RESULTS,
    "paged_submit_get": PAGED + TICKET,
    "paged_submit_put": PAGED + TICKET,
    "paged_write": PAGED_PARTS + RESULTS,
    "paged_submit_write": PAGED_PARTS + TICKET,
    "paged_poll": (HANDLE, POINTER(HANDLE), COUNT, POINTER(c_uint64)),
    "paged_wait_for_completion": (HANDLE, TIME),
    "paged_completion_fd": (HANDLE, POINTER(c_int)),
    "paged_cancel": (HANDLE, c_uint64, TIME),
    "paged_fence": (HANDLE,) + RECORDS + (TIME,),
    "paged_drain": (HANDLE, TIME),
}


def _load() -> ctypes.CDLL:
    """TERRACE_LIBRARY, else what came with the package, else what the dynamic linker finds."""
    named = os.environ.get("TERRACE_LIBRARY")
    bundled = pathlib.Path(__file__).with_name(NAME)
    path = named or (str(bundled) if bundled.is_file() else NAME)
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(
            f"cannot load {path}: {error}. Set TERRACE_LIBRARY to libterrace.so, or build it "
            f"before `pip install ./client/python`, which then packs it") from error
    library.terrace_abi_version.restype = c_uint32
    version = library.terrace_abi_version()
    if version >> 16 != ABI_MAJOR or version & 0xffff < ABI_MINOR:
        raise ImportError(f"{path} has ABI version {version >> 16}.{version & 0xffff}, this "
                          f"package needs {ABI_MAJOR}.{ABI_MINOR} or a later {ABI_MAJOR}.x")
    return library


class _Functions:
    """The functions, with the types of their arguments; `functions.get` is terrace_get."""

    def __init__(self) -> None:
        library = _load()
        library.terrace_version.restype = c_char_p
        library.terrace_miss_reason_name.argtypes = (c_uint8,)
        library.terrace_miss_reason_name.restype = c_char_p
        self.miss_reason_name: Any = library.terrace_miss_reason_name
        self.version: str = library.terrace_version().decode()
        self.abi_version: int = library.terrace_abi_version()
        for name, arguments in PROTOTYPES.items():
            function = getattr(library, "terrace_" + name)
            function.argtypes = (*arguments, POINTER(ErrorStruct))
            function.restype = c_int32
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # for type checkers; all are set above
        raise AttributeError(name)


functions = _Functions()
