"""The words of the package: statuses, exceptions, what calls take and answer."""

import enum
from collections.abc import Iterator, Sequence
from ctypes import sizeof, string_at
from struct import calcsize
from typing import Any, Literal, NamedTuple, overload

from terrace import _library
from terrace._library import AnswerStruct, ErrorStruct


class Status(enum.IntEnum):
    """How a call, or one block of it, ended: docs/client.md says what to do about each."""
    OK = 0
    MISS = 1
    EXISTS = 2
    PENDING = 3
    RETRY = 4
    EXPIRED = 5
    CORRUPT = 6
    TIMEOUT = 7
    CANCELLED = 8
    PEER_DEAD = 9
    INCOMPATIBLE = 10
    INVALID = 11
    IO = 12
    UNSUPPORTED = 13
    IN_DOUBT = 14
    INTERNAL = 15


class Tier(enum.IntEnum):
    NONE = 0
    HBM = 1
    DRAM = 2
    NVME = 3


class Ack(enum.IntEnum):
    COMMITTED = 0
    DURABLE = 1


class NotDurable(enum.IntEnum):
    """Why a block that was to be durable is only committed."""
    NONE = 0
    NO_TIER = 1
    OFFLINE = 2
    WRITE_BUDGET = 3
    QUEUE_FULL = 4
    TOO_LARGE = 5
    WRITE_FAILED = 6
    TIMEOUT = 7
    GONE = 8


class Link(enum.IntEnum):
    AUTO = 0
    TCP = 1


class Presence(enum.IntEnum):
    MISS = 0
    READY = 1
    PENDING = 2
    RETRY = 3


class StopPolicy(enum.IntEnum):
    """Which blocks of a group an engine needs to continue after n blocks of the chain."""
    ALL = 0
    TRAILING = 1
    EXACT = 2
    SPARSE = 3


class Error(Exception):
    """A call that failed as a whole. `status` says how, the text says why."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(f"{status.name.lower()}: {message}" if message else status.name.lower())
        self.status = status
        self.message = message


class InvalidError(Error, ValueError):
    """An argument is wrong; the message names it."""

    def __init__(self, message: str, status: Status = Status.INVALID) -> None:
        super().__init__(status, message)


class DeadlineError(Error, TimeoutError):
    """The time was over."""


class PeerDeadError(Error, ConnectionError):
    """There is no daemon: go on without, the client reconnects by itself."""


class IncompatibleError(Error):
    """Versions or fingerprints differ: mend the configuration."""


class ExpiredError(Error):
    """A lease ended early: what was read must not be used."""


class RetryError(Error):
    """Refused for the moment."""


class UnsupportedError(Error):
    """Not in this build, on this host or on this link."""


_CLASSES: dict[Status, type[Error]] = {
    Status.TIMEOUT: DeadlineError,
    Status.PEER_DEAD: PeerDeadError,
    Status.INCOMPATIBLE: IncompatibleError,
    Status.EXPIRED: ExpiredError,
    Status.RETRY: RetryError,
    Status.UNSUPPORTED: UnsupportedError,
}


def error_of(status: int, message: str) -> Error:
    known = Status(status)
    if known is Status.INVALID:
        return InvalidError(message)
    return _CLASSES.get(known, Error)(known, message)


def call(name: str, *arguments: Any) -> None:
    """Runs terrace_<name> without the GIL; raises what it answers."""
    error = ErrorStruct()
    if getattr(_library.functions, name)(*arguments, error) != 0:
        raise error_of(error.status, error.message.decode(errors="replace"))


# For numpy.zeros(count, dtype=terrace.BLOCK_DTYPE) and the like; the layouts of client/terrace.h.
BLOCK_DTYPE = [("position", "<u4"), ("region", "<u4"), ("offset", "<u8"),
               ("valid_tokens", "<u4"), ("reserved", "<u4")]
PIECE_DTYPE = [("offset", "<u8"), ("length", "<u8"), ("region", "<u4"), ("reserved", "<u4")]
BLOCK_PIECES_DTYPE = [("position", "<u4"), ("valid_tokens", "<u4"), ("piece_count", "<u4"),
                      ("reserved", "<u4"), ("range_offset", "<u8"), ("range_bytes", "<u8"),
                      ("range_stride", "<u8"), ("range_count", "<u4"), ("range_reserved", "<u4")]
FRAGMENT_DTYPE = [("offset", "<u8"), ("piece_count", "<u4"), ("reserved", "<u4")]
BLOCK_RESULT_DTYPE = [("status", "<i4"), ("valid_tokens", "<u4"), ("tier", "u1"), ("ack", "u1"),
                      ("not_durable", "u1"), ("reserved", "u1", (5,))]
BLOCK_RESULT_BYTES = 16


class Block(NamedTuple):
    """A block's place in registered memory."""
    position: int
    region: int
    offset: int
    valid_tokens: int = 0


class Piece(NamedTuple):
    """A stretch of registered memory."""
    offset: int
    length: int
    region: int


class BlockPieces(NamedTuple):
    """A block, or a part of one, and how many of the call's pieces are its own."""
    position: int
    valid_tokens: int = 0
    piece_count: int = 1
    range_offset: int = 0
    range_bytes: int = 0
    range_stride: int = 0
    range_count: int = 0


class Fragment(NamedTuple):
    """A part of a reserved block, and how many of the call's pieces are its own."""
    offset: int
    piece_count: int = 1


class Group(NamedTuple):
    """One attention kind of a model."""
    id: int
    block_bytes: int
    attention: str = "full"


class Hints(NamedTuple):
    """What is known of a request: docs/client.md. None of it is a promise."""
    session: str = ""            # at most 64 bytes, as category
    turn: int = 0                # of the session, from 1 on; 0: not known
    category: str = ""
    will_continue: bool = False  # a later request is expected to go on where this one ends
    done: bool = False           # none is


class GroupPolicy(NamedTuple):
    group: int
    policy: StopPolicy = StopPolicy.ALL
    blocks: int = 0


class BlockResult(NamedTuple):
    status: Status
    valid_tokens: int
    tier: Tier
    ack: Ack
    not_durable: NotDurable


class BlockResults(Sequence[BlockResult]):
    """The outcome of each block. `raw` holds them as BLOCK_RESULT_DTYPE; `numpy()` shows that."""

    def __init__(self, raw: bytearray) -> None:
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw) // BLOCK_RESULT_BYTES

    @overload
    def __getitem__(self, index: int) -> BlockResult: ...
    @overload
    def __getitem__(self, index: slice) -> list[BlockResult]: ...
    def __getitem__(self, index: int | slice) -> BlockResult | list[BlockResult]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        at = index * BLOCK_RESULT_BYTES
        word = memoryview(self.raw)[at:at + 8].cast("I")
        return BlockResult(Status(word[0]), word[1], Tier(self.raw[at + 8]),
                           Ack(self.raw[at + 9]), NotDurable(self.raw[at + 10]))

    @property
    def statuses(self) -> list[int]:
        """The status of each block as a number."""
        return memoryview(self.raw).cast("i")[::4].tolist()

    @property
    def leading(self) -> int:
        """How many blocks from the first on are there: OK or EXISTS."""
        for index, status in enumerate(self.statuses):
            if status not in (Status.OK, Status.EXISTS):
                return index
        return len(self)

    @property
    def ok(self) -> bool:
        """All of them are there."""
        return self.leading == len(self)

    def numpy(self) -> Any:
        """The outcomes as a structured array that shares this memory."""
        import numpy  # only for those who have it
        return numpy.frombuffer(self.raw, dtype=BLOCK_RESULT_DTYPE)

    def __repr__(self) -> str:
        return f"BlockResults({[Status(status).name for status in self.statuses]})"


class LoadSource(NamedTuple):
    """A connection (Tier.DRAM), or a device (Tier.NVME) whose blocks cross the connection that
    stands before it, as the daemon has measured it."""
    tier: Tier
    bytes_per_s: int
    queue_us: int
    latency_us: int


class Match(NamedTuple):
    matched: int
    tiers: bytes  # Tier of each of them
    load_us: Sequence[int] = ()  # predicted time to get each of them alone; empty: an old daemon
    load_from: Sequence[LoadSource] = ()
    result: Any = None  # what `plan` reads
    sources: Sequence[int] = ()  # which of load_from each of them comes from

    def tier(self, position: int) -> Tier:
        return Tier(self.tiers[position])


class GroupPresence(NamedTuple):
    group: int
    shard: int
    consecutive: int
    blocks: bytes  # Presence of each block of the chain
    tiers: bytes
    load_us: Sequence[int] = ()  # as of Match; 0 unless it is ready
    sources: Sequence[int] = ()  # as of Match; 0xffff unless it is ready


class Sample(NamedTuple):
    name: str
    labels: str
    value: float


class NamespaceInfo(NamedTuple):
    tenant: str
    name: str
    fingerprint: str
    blocks: int
    bytes: int


class BlockStory(NamedTuple):
    """What the daemon knows of a block: BlockStoryInfo of client/explain.hpp."""
    reason: str  # what a get would meet: "none" (it would get the bytes), "evicted", ...
    published: bool
    tiers: tuple[Tier, ...]
    loading: bool
    writing: bool
    kept: bool
    leased: bool
    pins: int
    position: int
    valid_tokens: int
    gets: int
    block_bytes: int
    age: float  # seconds
    reactor: int


def story_of(story: Any) -> BlockStory:
    """Of a terrace_block_story."""
    return BlockStory(_library.functions.miss_reason_name(story.reason).decode(),
                      story.published != 0,
                      tuple(tier for tier in Tier if tier and story.tiers >> tier & 1),
                      story.loading != 0, story.writing != 0, story.kept != 0, story.leased != 0,
                      story.pins, story.position, story.valid_tokens, story.gets,
                      story.block_bytes, story.age_ms / 1000, story.reactor)


class Result:
    """Owns a terrace_result, and shows it."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.answer = AnswerStruct()
        self.answer.struct_size = sizeof(AnswerStruct)
        call("result_answer", handle, self.answer)

    def __del__(self) -> None:
        try:
            call("result_free", self.handle)
        except Exception:  # the interpreter ends, or the answer could not be had
            pass

    def raise_for_status(self) -> None:
        if self.answer.status != 0:
            raise error_of(self.answer.status, self.answer.message.decode(errors="replace"))

    def blocks(self) -> BlockResults:
        count = self.answer.block_count
        return BlockResults(bytearray(string_at(self.answer.blocks, count * BLOCK_RESULT_BYTES))
                            if count else bytearray())

    def match(self) -> Match:
        answer = self.answer
        return Match(answer.matched, bytes_at(answer.tiers, answer.matched),
                     numbers_at(answer.load_us, answer.matched, "I"), self.load_from(), self,
                     numbers_at(answer.sources, answer.matched, "H"))

    def load_from(self) -> list[LoadSource]:
        return [LoadSource(Tier(source.tier), source.bytes_per_s, source.queue_us,
                           source.latency_us)
                for source in _first(self.answer.load_from, self.answer.load_from_count)]

    def presence(self) -> list[GroupPresence]:
        answer = self.answer
        found = []
        for i in range(answer.group_count):
            group = answer.groups[i]
            loads = answer.group_loads[i] if answer.group_loads else None
            found.append(GroupPresence(group.group, group.shard, group.consecutive,
                                       bytes_at(group.presence, group.block_count),
                                       bytes_at(group.tiers, group.block_count),
                                       numbers_at(loads and loads.load_us, group.block_count, "I"),
                                       numbers_at(loads and loads.sources, group.block_count, "H")))
        return found

    def samples(self) -> list[Sample]:
        return [Sample(sample.name.decode(), sample.labels.decode(), sample.value)
                for sample in _first(self.answer.samples, self.answer.sample_count)]

    def namespaces(self) -> list[NamespaceInfo]:
        return [NamespaceInfo(info.tenant.decode(), info.name.decode(), info.fingerprint.decode(),
                              info.blocks, info.bytes)
                for info in _first(self.answer.namespaces, self.answer.namespace_count)]


def _first(pointer: Any, count: int) -> Iterator[Any]:
    return (pointer[i] for i in range(count))


def numbers_at(address: int | None, count: int, code: Literal["H", "I"]) -> Sequence[int]:
    """A copy of numbers of C of that struct code."""
    if not address:
        return ()
    return memoryview(bytes_at(address, calcsize(code) * count)).cast(code)


def bytes_at(address: int | None, count: int) -> bytes:
    return string_at(address, count) if address and count else b""
