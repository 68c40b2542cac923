"""Events of blocks as Python has them. docs/events.md is the page about them."""

import enum
from ctypes import c_uint64, sizeof, string_at
from typing import Any, NamedTuple

from terrace._library import EventBatchStruct, EventStruct, KindStruct
from terrace._memory import u32
from terrace._types import Result, Tier, call


class EventKind(enum.IntEnum):
    COMMITTED = 1
    MOVED = 2
    REMOVED = 3
    CLEARED = 4


class EventCause(enum.IntEnum):
    """Why a block was removed."""
    NONE = 0
    EVICTED = 1
    REQUESTED = 2
    CORRUPT = 3
    LOST = 4
    CLEARED = 5


class Event(NamedTuple):
    """What happened to a block. A table of blocks is kept by (reactor, space, identity)."""
    kind: EventKind
    cause: EventCause
    tiers: frozenset[Tier]  # where copies are from now on
    reactor: int
    sequence: int           # 0 in a snapshot
    space: str              # name of the namespace
    identity: bytes         # identity_of(key, ...); not of CLEARED
    position: int
    valid_tokens: int
    key: bytes              # empty: the daemon has it on NVMe only, and no group or shard either
    group: int
    shard: int
    parent: bytes           # identity of the block before it; empty when it is not known
    parent_key: bytes       # likewise
    placement: bytes
    token_ids: tuple[int, ...]


class EventGap(NamedTuple):
    """Events that a reader was too slow for."""
    reactor: int
    first: int
    last: int


class EventBatch(NamedTuple):
    """What a read of events, or a part of a snapshot, answers."""
    events: list[Event]
    cursor: bytes  # to go on from
    restarted: bool
    gaps: list[EventGap]
    behind: int
    complete: bool
    begins: bool = False  # of watch: a snapshot begins; what is known does not count


def _identity(high: int, low: int) -> bytes:
    return (high << 64 | low).to_bytes(16, "big")


def identity_of(key: bytes, *, group: int = 0, shard: int = 0) -> bytes:
    """Of a block whose key is known, to look it up among those that events named."""
    high, low = c_uint64(), c_uint64()
    call("event_identity", KindStruct(u32("group", group), u32("shard", shard)), key, len(key),
         high, low)
    return _identity(high.value, low.value)


_TIERS = {bits: frozenset(tier for tier in Tier if tier and bits & 1 << tier)
          for bits in range(256)}


def _event(event: EventStruct) -> Event:
    known = event.parent_high or event.parent_low
    return Event(EventKind(event.kind), EventCause(event.cause), _TIERS[event.tiers],
                 event.reactor, event.sequence, event.space.decode(errors="replace"),
                 _identity(event.identity_high, event.identity_low), event.position,
                 event.valid_tokens, _bytes(event.key, event.key_bytes), event.group,
                 event.shard, _identity(event.parent_high, event.parent_low) if known else b"",
                 _bytes(event.parent_key, event.parent_bytes),
                 _bytes(event.placement, event.placement_bytes),
                 tuple(event.token_ids[:event.token_count]) if event.token_count else ())


def _bytes(pointer: Any, count: int) -> bytes:
    return string_at(pointer, count) if count else b""


def batch_of(result: Result) -> EventBatch:
    batch = EventBatchStruct()
    batch.struct_size = sizeof(EventBatchStruct)
    call("result_events", result.handle, batch)
    return EventBatch([_event(batch.events[i]) for i in range(batch.event_count)],
                      string_at(batch.cursor, batch.cursor_bytes), batch.restarted != 0,
                      [EventGap(gap.reactor, gap.first, gap.last)
                       for gap in (batch.gaps[i] for i in range(batch.gap_count))],
                      batch.behind, batch.complete != 0)
