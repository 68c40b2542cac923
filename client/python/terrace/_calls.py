"""Client: all calls. Here are those beyond copying and lending blocks."""

from collections.abc import Iterable
from ctypes import c_int32, c_uint32, c_uint64, sizeof
from typing import Any

from terrace._client import Namespace, Prepared, milliseconds, token_of
from terrace._events import EventCalls
from terrace._handoffs import HandoffCalls
from terrace._library import (BlockStoryStruct, KindStruct, PrefetchStruct, RetainStruct,
                              TokenStruct)
from terrace._memory import PIECE, Chain, Pinned, Records, text, u32, u64
from terrace._plan import LoadPlan, plan
from terrace._rate import Rate
from terrace._results import PrefixMatch, Reservation, prefix_of
from terrace._types import (BLOCK_RESULT_BYTES, BlockResult, BlockResults, BlockStory, GroupPolicy,
                            Match, NamespaceInfo, Sample, Status, Tier, call, story_of)


def _retain_options(label: str, seconds: float) -> RetainStruct:
    return RetainStruct(sizeof(RetainStruct), 0, text("label", label),
                        milliseconds("seconds", seconds))


class Client(EventCalls, HandoffCalls):
    """A connection to a daemon. Every method may be called from any thread at the same time; all
    of them run without the GIL. `timeout` is in seconds. A context manager.

    Methods raise an Error when the call as a whole failed; else each block has a status.
    """

    def __enter__(self) -> "Client":
        return self

    # ---- groups, shards, leases ----

    def match_groups(self, space: Namespace, chain: Chain, groups: Iterable[GroupPolicy], *,
                     shards: Iterable[int] = (), lease: float | None = None,
                     timeout: float | None = None) -> PrefixMatch:
        """Where every block stands, over groups and shards in one call. With `lease` (seconds; 0
        is the daemon's default) what the longest stop point needs stays where it is."""
        query = self._query(groups, shards, lease)
        return prefix_of(self._run_result("match_groups", self._number(), space.id, chain.handle,
                                          query, self._deadline(timeout)), self)

    def submit_match_groups(self, space: Namespace, chain: Chain, groups: Iterable[GroupPolicy],
                            *, shards: Iterable[int] = (), lease: float | None = None,
                            timeout: float | None = None) -> int:
        query = self._query(groups, shards, lease)
        return self._submit(Prepared("match_groups", (self._number(), space.id, chain.handle,
                                                      query), 0, None), timeout)

    def _renew(self, lease: int, seconds: float, timeout: float | None) -> None:
        call("renew_lease", self._number(), lease, milliseconds("seconds", seconds),
             self._deadline(timeout))

    def _submit_renew(self, lease: int, seconds: float, timeout: float | None) -> int:
        arguments = (self._number(), lease, milliseconds("seconds", seconds))
        return self._submit(Prepared("renew_lease", arguments, 0, None), timeout)

    # ---- lists of pieces ----

    def get_pieces(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any, *,
                   group: int = 0, shard: int = 0, timeout: float | None = None) -> BlockResults:
        """As get, into lists of pieces. `blocks`: BlockPieces, or an array of BLOCK_PIECES_DTYPE,
        each of which takes the next piece_count of `pieces`: Piece, or PIECE_DTYPE."""
        target = self._target(space, chain, group, shard)
        return self._run_blocks(self._pieces("get_pieces", target, blocks, pieces), timeout)

    def put_pieces(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any, *,
                   group: int = 0, shard: int = 0, durable: bool = False, token_ids: Any = None,
                   timeout: float | None = None) -> BlockResults:
        """As put, from lists of pieces."""
        target = self._target(space, chain, group, shard)
        return self._run_blocks(self._pieces("put_pieces", target, blocks, pieces, durable,
                                             token_ids), timeout)

    def submit_get_pieces(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any, *,
                          group: int = 0, shard: int = 0, timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._pieces("get_pieces", target, blocks, pieces), timeout)

    def submit_put_pieces(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any, *,
                          group: int = 0, shard: int = 0, durable: bool = False,
                          token_ids: Any = None, timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._pieces("put_pieces", target, blocks, pieces, durable,
                                         token_ids), timeout)

    # ---- a block from several writers ----

    def reserve(self, space: Namespace, chain: Chain, position: int, *, group: int = 0,
                shard: int = 0, valid_tokens: int = 0, patience: float = 0,
                timeout: float | None = None) -> Reservation:
        status, token = c_int32(), TokenStruct()
        call("reserve", *self._target(space, chain, group, shard), u32("position", position),
             u32("valid_tokens", valid_tokens), milliseconds("patience", patience),
             self._deadline(timeout), status, token)
        return Reservation(self, Status(status.value), bytes(token.bytes))

    def submit_reserve(self, space: Namespace, chain: Chain, position: int, *, group: int = 0,
                       shard: int = 0, valid_tokens: int = 0, patience: float = 0,
                       timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        arguments = (*target, u32("position", position), u32("valid_tokens", valid_tokens),
                     milliseconds("patience", patience))
        return self._submit(Prepared("reserve", arguments, 0, None), timeout)

    def write(self, token: bytes, fragments: Any, pieces: Any, *,
              timeout: float | None = None) -> BlockResults:
        """Writes parts of a reserved block. `fragments`: Fragment, or FRAGMENT_DTYPE."""
        return self._run_blocks(self._write(token, fragments, pieces), timeout)

    def submit_write(self, token: bytes, fragments: Any, pieces: Any, *,
                     timeout: float | None = None) -> int:
        return self._submit(self._write(token, fragments, pieces), timeout)

    def commit(self, token: bytes, *, durable: bool = False,
               timeout: float | None = None) -> BlockResult:
        raw = bytearray(BLOCK_RESULT_BYTES)
        pinned = Pinned("result", raw)
        call("commit", self._number(), token_of(token), int(durable), self._deadline(timeout),
             pinned.address)
        return BlockResults(raw)[0]

    def submit_commit(self, token: bytes, *, durable: bool = False,
                      timeout: float | None = None) -> int:
        arguments = (self._number(), token_of(token), int(durable))
        return self._submit(Prepared("commit", arguments, 1, None), timeout)

    def abort(self, token: bytes, *, timeout: float | None = None) -> None:
        call("abort", self._number(), token_of(token), self._deadline(timeout))

    def submit_abort(self, token: bytes, *, timeout: float | None = None) -> int:
        arguments = (self._number(), token_of(token))
        return self._submit(Prepared("abort", arguments, 0, None), timeout)

    # ---- memory without waiting ----

    def submit_register(self, buffer: Any) -> int:
        """As register, on a thread of the library: Completion.region."""
        pinned = Pinned("buffer", buffer)
        ticket = c_uint64()
        call("submit_register_memory", self._number(), pinned.address, pinned.nbytes, ticket)
        if self._handle is not None:
            self._handle.registering[ticket.value] = pinned
        return ticket.value

    def submit_allocate(self, nbytes: int) -> int:
        ticket = c_uint64()
        call("submit_allocate_region", self._number(), u64("nbytes", nbytes), ticket)
        return ticket.value

    # ---- cancel and fence ----

    def cancel(self, ticket: int, *, timeout: float | None = None) -> None:
        """Ends a submitted call; returns when nothing touches its memory any more."""
        call("cancel", self._number(), u64("ticket", ticket), self._deadline(timeout))

    def fence(self, memory: Any, *, timeout: float | None = None) -> None:
        """The same for every call that uses any byte of these pieces."""
        records = Records("memory", memory, PIECE)
        call("fence", self._number(), records.address, records.count, self._deadline(timeout))

    def drain(self, *, timeout: float | None = None) -> None:
        """Waits until every call submitted before has ended."""
        call("drain", self._number(), self._deadline(timeout))

    # ---- what to keep, and where ----

    def prefetch(self, space: Namespace, chain: Chain, first: int, count: int, *, group: int = 0,
                 shard: int = 0, target: Tier = Tier.DRAM, priority: int = 0,
                 timeout: float | None = None) -> BlockResults:
        """Brings blocks to a faster tier."""
        options = PrefetchStruct(sizeof(PrefetchStruct), target, u32("priority", priority))
        about = self._target(space, chain, group, shard)
        return self._run_blocks(self._range("prefetch", about, first, count, options), timeout)

    def submit_prefetch(self, space: Namespace, chain: Chain, first: int, count: int, *,
                        group: int = 0, shard: int = 0, target: Tier = Tier.DRAM,
                        priority: int = 0, timeout: float | None = None) -> int:
        options = PrefetchStruct(sizeof(PrefetchStruct), target, u32("priority", priority))
        about = self._target(space, chain, group, shard)
        return self._submit(self._range("prefetch", about, first, count, options), timeout)

    def touch(self, space: Namespace, chain: Chain, first: int, count: int, *, group: int = 0,
              shard: int = 0, timeout: float | None = None) -> BlockResults:
        """Makes blocks recent, as a get would."""
        target = self._target(space, chain, group, shard)
        return self._run_blocks(self._range("touch", target, first, count), timeout)

    def submit_touch(self, space: Namespace, chain: Chain, first: int, count: int, *,
                     group: int = 0, shard: int = 0, timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._range("touch", target, first, count), timeout)

    def retain(self, space: Namespace, chain: Chain, first: int, count: int, *, label: str,
               seconds: float = 60, group: int = 0, shard: int = 0,
               timeout: float | None = None) -> BlockResults:
        """Asks the daemon to evict these blocks after all others."""
        target = self._target(space, chain, group, shard)
        options = _retain_options(label, seconds)
        return self._run_blocks(self._range("retain", target, first, count, options), timeout)

    def submit_retain(self, space: Namespace, chain: Chain, first: int, count: int, *, label: str,
                      seconds: float = 60, group: int = 0, shard: int = 0,
                      timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        options = _retain_options(label, seconds)
        return self._submit(self._range("retain", target, first, count, options), timeout)

    def release_retained(self, label: str, *, timeout: float | None = None) -> int:
        return self._count("release_retained", self._number(), text("label", label),
                           self._deadline(timeout))

    def submit_release_retained(self, label: str, *, timeout: float | None = None) -> int:
        """Its completion does not say how many blocks there were."""
        arguments = (self._number(), text("label", label))
        return self._submit(Prepared("release_retained", arguments, 0, None), timeout)

    def remove_prefix(self, space: Namespace, chain: Chain, first: int, *,
                      timeout: float | None = None) -> int:
        """Forgets blocks from `first` on in every group and shard. Returns how many."""
        return self._count("remove_prefix", self._number(), space.id, chain.handle,
                           u32("first", first), self._deadline(timeout))

    def clear_namespace(self, name: str, *, timeout: float | None = None) -> int:
        return self._count("clear_namespace", self._number(), text("name", name),
                           self._deadline(timeout))

    def clear_tenant(self, *, timeout: float | None = None) -> int:
        return self._count("clear_tenant", self._number(), self._deadline(timeout))

    @staticmethod
    def _count(name: str, *arguments: Any) -> int:
        count = c_uint64()
        call(name, *arguments, count)
        return count.value

    # ---- load or compute ----

    @staticmethod
    def plan(match: Match | PrefixMatch, *, tokens: int, rate: Rate,
             overlap: bool = True) -> LoadPlan:
        """What of a match to load and what to compute: terrace.plan."""
        return plan(match, tokens=tokens, rate=rate, overlap=overlap)

    # ---- the daemon ----

    def explain(self, space: str, keys: Iterable[bytes], *, group: int = 0, shard: int = 0,
                timeout: float | None = None) -> list[BlockStory]:
        """What the daemon knows of blocks of the namespace of that name, one story per key."""
        listed = Chain._listed(keys)
        lengths = (c_uint32 * max(len(listed), 1))(*map(len, listed))
        stories = (BlockStoryStruct * max(len(listed), 1))()
        kind = KindStruct(u32("group", group), u32("shard", shard))
        call("explain", self._number(), text("space", space), kind, b"".join(listed), lengths,
             len(listed), self._deadline(timeout), stories)
        return [story_of(stories[i]) for i in range(len(listed))]

    def ping(self, *, timeout: float | None = None) -> None:
        call("ping", self._number(), self._deadline(timeout))

    def stat(self, *, timeout: float | None = None) -> list[Sample]:
        """The daemon's counters."""
        return self._run_result("stat", self._number(), self._deadline(timeout)).samples()

    def list_namespaces(self, *, timeout: float | None = None) -> list[NamespaceInfo]:
        return self._run_result("list_namespaces", self._number(),
                                self._deadline(timeout)).namespaces()
