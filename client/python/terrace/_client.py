"""A client's life, its memory, and the calls that copy, lend and forget blocks."""

import atexit
import time
import weakref
from collections.abc import Iterable, Sequence
from ctypes import addressof, c_char_p, c_int, c_uint32, c_uint64, c_void_p, sizeof
from typing import Any

from terrace._library import (ABI_MAJOR, ABI_MINOR, DescriptorStruct, GroupStruct, KindStruct,
                              OptionsStruct, PolicyStruct, QueryStruct, TokenStruct)
from terrace._memory import (BLOCK, BLOCK_PIECES, FRAGMENT, PIECE, POSITION, Chain, DevicePinned,
                             Pinned, Records, Region, text, u32, u64)
from terrace._rate import Rate, curve_of
from terrace._results import Completion, LentBlocks
from terrace._tensors import device_memory_of
from terrace._types import (BLOCK_RESULT_BYTES, BlockResults, Error, Group, GroupPolicy,
                            InvalidError, Link, Match, Result, Status, call)


CHAIN_MAX = 65536  # most keys of a chain
POLL_MAX = 4096  # no more calls are ever in flight


class Handle:
    """Owns a terrace_client, and holds what is registered with it until it is closed. Views of
    memory that it allocated keep it alive."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.pins: dict[int, Pinned] = {}  # by region
        self.registering: dict[int, Pinned] = {}  # of submit_register, by ticket
        _living.add(self)

    def __del__(self) -> None:
        try:
            call("shutdown", self.value)
            for region, pinned in self.pins.items():
                try:
                    call("quiesce", self.value, region, 0)
                except Error:  # the daemon may write there when it wakes: it stays for ever
                    _in_doubt.append(pinned)
            call("close", self.value)
        except Exception:  # the interpreter ends
            pass


_in_doubt: list[Pinned] = []
_living: "weakref.WeakSet[Handle]" = weakref.WeakSet()


@atexit.register
def _shut_down() -> None:
    """Ends the threads of the library before the process tears itself down."""
    for handle in list(_living):
        try:
            call("shutdown", handle.value)
        except Exception:  # closed meanwhile
            pass


class Namespace:
    """An open namespace of a client. Stays valid while the client reconnects."""

    def __init__(self, number: int, name: str, groups: Sequence[Group]) -> None:
        self.id = number
        self.name = name
        self.groups = {group.id: group for group in groups}

    def block_bytes(self, group: int = 0) -> int:
        return self.groups[group].block_bytes


class Prepared:
    """Arguments of a call about blocks, for the call that waits and the one that submits."""

    def __init__(self, name: str, arguments: tuple[Any, ...], count: int, keep: Any) -> None:
        self.name = name
        self.arguments = arguments
        self.count = count  # of results
        self.keep = keep    # what the arguments point to


class ClientBase:
    """Connection, memory and arguments of a Client."""

    def __init__(self, address: str = "127.0.0.1:7420", *, tenant: str = "default",
                 name: str = "python", link: Link = Link.AUTO, connect_timeout: float = 2.0,
                 verify_same_host: bool = False, spin: float = 0.0,
                 timeout: float = 5.0) -> None:
        """`timeout`: seconds, of every call that is given none of its own. `spin`: seconds that a
        call which waits polls before its thread sleeps; only with cores to spare."""
        if not 0 <= spin <= 1:
            raise InvalidError(f"spin is {spin} s, not 0 to 1")
        options = OptionsStruct(sizeof(OptionsStruct), ABI_MAJOR << 16 | ABI_MINOR,
                                address.encode(), tenant.encode(), name.encode(), link,
                                max(1, milliseconds("connect_timeout", connect_timeout)),
                                verify_same_host, round(spin * 1e6))
        number = c_uint64()
        call("connect", options, number)
        self._handle: Handle | None = Handle(number.value)
        self._timeout = timeout
        self._regions: dict[int, Region] = {}

    # ---- life ----

    @property
    def closed(self) -> bool:
        return self._handle is None

    def close(self) -> None:
        """Ends every call in flight. Memory that the client allocated goes with its last view."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        call("shutdown", handle.value)
        for region in self._regions.values():
            region.closed = True
        self._regions.clear()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _number(self) -> int:
        if self._handle is None:
            raise InvalidError("client was closed")
        return self._handle.value

    def _deadline(self, timeout: float | None) -> int:
        seconds = self._timeout if timeout is None else timeout
        if seconds != seconds:
            raise InvalidError(f"timeout is {seconds}")
        return time.monotonic_ns() + int(max(min(seconds, 3600.0), -1.0) * 1e9)

    @property
    def connected(self) -> bool:
        value = c_uint32()
        call("connected", self._number(), value)
        return value.value != 0

    @property
    def reconnects(self) -> int:
        """Times that the connection was lost and made anew."""
        value = c_uint64()
        call("reconnects", self._number(), value)
        return value.value

    @property
    def link_name(self) -> str:
        """How the bytes move: shm, tcp, rdma, or none while not connected."""
        value = c_char_p()
        call("link_name", self._number(), value)
        return (value.value or b"").decode()

    # ---- memory ----

    def register(self, buffer: Any) -> Region:
        """Makes a buffer, a numpy array or a CPU tensor usable in calls, as it lies. A read-only
        one can be put from, not got into. The object is kept until the region is closed."""
        pinned = Pinned("buffer", buffer)
        number = c_uint32()
        call("register_memory", self._number(), pinned.address, pinned.nbytes, number)
        return self._remember(Region(self, number.value, pinned.address, pinned.nbytes,
                                     pinned))

    def register_device(self, tensor: Any, timeout: float | None = None) -> Region:
        """Makes a tensor on a GPU (torch, __cuda_array_interface__ or DLPack), contiguous and as
        it lies, usable in calls: the daemon's GPU copies into and out of it. UnsupportedError,
        with the reason, where the daemon cannot. The object is kept until the region is closed.

        Calls do not wait for streams: synchronize before a put, and before a get what still uses
        the tensor."""
        address, nbytes = device_memory_of("tensor", tensor)
        number = c_uint32()
        call("register_device_memory", self._number(), address, nbytes, self._deadline(timeout),
             number)
        return self._remember(Region(self, number.value, address, nbytes,
                                     DevicePinned(tensor, address, nbytes)))

    def allocate(self, nbytes: int) -> Region:
        """Memory of the library's, on huge pages where the host gives them; the fastest."""
        number = c_uint32()
        call("allocate_region", self._number(), u64("nbytes", nbytes), number)
        return self._adopt(number.value, None)

    def _adopt_of(self, ticket: int, number: int) -> Region:
        pins = self._handle.registering if self._handle is not None else {}
        return self._adopt(number, pins.pop(ticket, None))

    def _adopt(self, number: int, pinned: Pinned | None) -> Region:
        base, length = c_void_p(), c_uint64()
        call("region_memory", self._number(), number, base, length)
        return self._remember(Region(self, number, base.value or 0, length.value, pinned))

    def _remember(self, region: Region) -> Region:
        self._regions[region.id] = region
        if region._pinned is not None and self._handle is not None:
            self._handle.pins[region.id] = region._pinned
        return region

    def _forget(self, region: Region) -> None:
        self._regions.pop(region.id, None)
        if self._handle is not None:
            self._handle.pins.pop(region.id, None)

    def _refuse_read_only(self, argument: str, records: Records, word: int) -> None:
        refused = {region.id for region in self._regions.values() if not region.writable}
        if not refused:
            return
        for index, number in enumerate(records.column(word)):
            if number in refused:
                raise InvalidError(f"{argument}[{index}].region is {number}, which was registered "
                                   f"from a read-only buffer: a get cannot write there")

    # ---- arguments ----

    def _target(self, space: Namespace, chain: Chain, group: int, shard: int) -> tuple[Any, ...]:
        kind = KindStruct(u32("group", group), u32("shard", shard))
        return (self._number(), space.id, chain.handle, kind)

    def _transfer(self, name: str, target: tuple[Any, ...], blocks: Any,
                  durable: bool = False) -> Prepared:
        records = Records("blocks", blocks, BLOCK)
        if name == "get":
            self._refuse_read_only("blocks", records, 1)
        more = (int(durable),) if name == "put" else ()
        return Prepared(name, (*target, records.address, records.count, *more), records.count,
                        records)

    def _put(self, target: tuple[Any, ...], blocks: Any, durable: bool,
             token_ids: Any) -> Prepared:
        if token_ids is None:
            return self._transfer("put", target, blocks, durable)
        records = Records("blocks", blocks, BLOCK)
        tokens, keep = _tokens(token_ids, records.count)
        return Prepared("put_tokens", (*target, records.address, records.count, int(durable),
                                       *tokens), records.count, (records, keep))

    def _pieces(self, name: str, target: tuple[Any, ...], blocks: Any, pieces: Any,
                durable: bool = False, token_ids: Any = None) -> Prepared:
        """`target`: with the token behind it for the calls of a hand-off."""
        heads = Records("blocks", blocks, BLOCK_PIECES)
        parts = Records("pieces", pieces, PIECE)
        if token_ids is not None:
            tokens, keep = _tokens(token_ids, heads.count)
            return Prepared("put_pieces_tokens",
                            (*target, heads.address, heads.count, parts.address, parts.count,
                             int(durable), *tokens), heads.count, (heads, parts, keep))
        if name in ("get_pieces", "get_arriving", "receive"):
            self._refuse_read_only("pieces", parts, 4)
        more = (int(durable),) if name == "put_pieces" else ()
        return Prepared(name, (*target, heads.address, heads.count, parts.address, parts.count,
                               *more), heads.count, (heads, parts))

    def _write(self, token: bytes, fragments: Any, pieces: Any) -> Prepared:
        heads = Records("fragments", fragments, FRAGMENT)
        parts = Records("pieces", pieces, PIECE)
        return Prepared("write", (self._number(), token_of(token), heads.address, heads.count,
                                  parts.address, parts.count), heads.count, (heads, parts))

    @staticmethod
    def _range(name: str, target: tuple[Any, ...], first: int, count: int,
               *options: Any) -> Prepared:
        arguments = (*target, u32("first", first), u32("count", count, CHAIN_MAX), *options)
        return Prepared(name, arguments, count, options)

    def _lend(self, target: tuple[Any, ...], positions: Any, lease: float,
              gpu: str | None) -> Prepared:
        if isinstance(positions, Iterable) and not hasattr(positions, "__array_interface__"):
            positions = [(position,) for position in positions]
        records = Records("positions", positions, POSITION)
        named = () if gpu is None else (text("gpu", gpu),)
        return Prepared("lend" if gpu is None else "lend_with",
                        (*target, *named, records.address, records.count,
                         milliseconds("lease", lease)), records.count, records)

    @staticmethod
    def _query(groups: Iterable[GroupPolicy], shards: Iterable[int],
               lease: float | None) -> QueryStruct:
        policies, listed = list(groups), list(shards)
        query = QueryStruct(sizeof(QueryStruct), 0 if lease is None else 1)
        query.groups = (PolicyStruct * len(policies))(
            *[PolicyStruct(*policy) for policy in policies])
        query.group_count = len(policies)
        query.shards = (c_uint32 * len(listed))(*listed)
        query.shard_count = len(listed)
        query.lease_ms = milliseconds("lease", lease or 0)
        return query

    # ---- running ----

    def _run_blocks(self, prepared: Prepared, timeout: float | None) -> BlockResults:
        raw = bytearray(max(prepared.count, 1) * BLOCK_RESULT_BYTES)
        results = Pinned("results", raw)
        call(prepared.name, *prepared.arguments, self._deadline(timeout), results.address)
        del results
        del raw[prepared.count * BLOCK_RESULT_BYTES:]
        return BlockResults(raw)

    def _run_result(self, name: str, *arguments: Any) -> Result:
        handle = c_uint64()
        call(name, *arguments, handle)
        return Result(handle.value)

    def _submit(self, prepared: Prepared, timeout: float | None) -> int:
        ticket = c_uint64()
        call("submit_" + prepared.name, *prepared.arguments, self._deadline(timeout), ticket)
        return ticket.value


def _tokens(token_ids: Any, blocks: int) -> tuple[tuple[int, int], Any]:
    """Where the ids of all blocks and their counts lie, and what keeps them there."""
    lists = [[] if ids is None else list(ids) for ids in token_ids]
    if len(lists) != blocks:
        raise InvalidError(f"token_ids has {len(lists)} entries, not one for each of "
                           f"{blocks} blocks")
    counts = (c_uint32 * max(len(lists), 1))(*[len(ids) for ids in lists])
    numbers = [u32("token_ids", number) for ids in lists for number in ids]
    every = (c_uint32 * max(len(numbers), 1))(*numbers)
    return (addressof(every), addressof(counts)), (every, counts)


def milliseconds(argument: str, seconds: float) -> int:
    if not 0 <= seconds <= 1e6:
        raise InvalidError(f"{argument} is {seconds} s, not 0 to 1,000,000")
    return round(seconds * 1000)


def token_of(token: bytes) -> TokenStruct:
    if len(token) != 32:
        raise InvalidError(f"token has {len(token)} bytes, not 32")
    return TokenStruct.from_buffer_copy(token)


class BlockCalls(ClientBase):
    """Calls about blocks. `timeout` is in seconds."""

    def open_namespace(self, name: str, *, block_tokens: int, groups: Sequence[Group],
                       model: str = "", weights: str = "", kv_dtype: str = "bf16",
                       layout: str = "", hash_algorithm: str = "sha256", hash_seed: str = "",
                       shard_count: int = 1, run_blocks: int = 64, prefill_rate: Rate = (),
                       timeout: float | None = None) -> Namespace:
        """Opens or makes it. IncompatibleError when it exists with another fingerprint.
        `prefill_rate`: tokens per second of one GPU, as `rate` of plan; what costs most to compute
        again for its bytes is kept."""
        curve = curve_of("prefill_rate", prefill_rate)
        members = (GroupStruct * len(groups))(*[
            GroupStruct(group.id, 0, group.attention.encode(), group.block_bytes)
            for group in groups])
        descriptor = DescriptorStruct(
            sizeof(DescriptorStruct), block_tokens, name.encode(), model.encode(),
            weights.encode(), kv_dtype.encode(), layout.encode(), hash_algorithm.encode(),
            hash_seed.encode(), members, len(groups), shard_count, run_blocks, curve, len(curve))
        number = c_uint32()
        call("open_namespace", self._number(), descriptor, self._deadline(timeout), number)
        return Namespace(number.value, name, groups)

    # ---- blocks ----

    def match(self, space: Namespace, chain: Chain, *, group: int = 0, shard: int = 0,
              timeout: float | None = None) -> Match:
        """How many leading blocks of the chain are stored, the tier of each, and how long it
        takes to get each."""
        return self._run_result("match_loads", *self._target(space, chain, group, shard),
                                self._deadline(timeout)).match()

    def get(self, space: Namespace, chain: Chain, blocks: Any, *, group: int = 0, shard: int = 0,
            timeout: float | None = None) -> BlockResults:
        """Copies blocks into registered memory. `blocks`: a sequence of Block, or an array of
        BLOCK_DTYPE, which is passed as it is."""
        target = self._target(space, chain, group, shard)
        return self._run_blocks(self._transfer("get", target, blocks), timeout)

    def put(self, space: Namespace, chain: Chain, blocks: Any, *, group: int = 0, shard: int = 0,
            durable: bool = False, token_ids: Any = None,
            timeout: float | None = None) -> BlockResults:
        """Stores blocks from registered memory. `token_ids`: for the events that tell of the
        blocks, the ids of each block's tokens (or None), one entry per block."""
        target = self._target(space, chain, group, shard)
        return self._run_blocks(self._put(target, blocks, durable, token_ids), timeout)

    def lend(self, space: Namespace, chain: Chain, positions: Any, *, group: int = 0,
             shard: int = 0, lease: float = 0, gpu: str | None = None,
             timeout: float | None = None) -> LentBlocks:
        """Lends blocks instead of copying them. `lease`: seconds; 0 is the daemon's default.
        `gpu`: UUID of a GPU whose memory can be read; a block that lies there is lent there, where
        the daemon lets this tenant: LentBlock.on_gpu. See device_lending."""
        prepared = self._lend(self._target(space, chain, group, shard), positions, lease, gpu)
        return LentBlocks(self._run_result(prepared.name, *prepared.arguments,
                                           self._deadline(timeout)))

    def device_lending(self, gpu: str) -> str | None:
        """Why no memory of that GPU is asked for any more: what was lent of it could not be
        mapped. None: that has not happened."""
        arguments = (self._number(), text("gpu", gpu))
        try:
            call("device_lending", *arguments)
        except Error as error:
            return str(error)
        return None

    def remove(self, space: Namespace, chain: Chain, first: int, count: int, *, group: int = 0,
               shard: int = 0, timeout: float | None = None) -> BlockResults:
        target = self._target(space, chain, group, shard)
        return self._run_blocks(self._range("remove", target, first, count), timeout)

    def submit_match(self, space: Namespace, chain: Chain, *, group: int = 0, shard: int = 0,
                     timeout: float | None = None) -> int:
        """Like the call of the name, but returns at once, with a ticket; so do all submit_..."""
        target = self._target(space, chain, group, shard)
        return self._submit(Prepared("match", target, 0, None), timeout)

    def submit_get(self, space: Namespace, chain: Chain, blocks: Any, *, group: int = 0,
                   shard: int = 0, timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._transfer("get", target, blocks), timeout)

    def submit_put(self, space: Namespace, chain: Chain, blocks: Any, *, group: int = 0,
                   shard: int = 0, durable: bool = False, token_ids: Any = None,
                   timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._put(target, blocks, durable, token_ids), timeout)

    def submit_lend(self, space: Namespace, chain: Chain, positions: Any, *, group: int = 0,
                    shard: int = 0, lease: float = 0, gpu: str | None = None,
                    timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._lend(target, positions, lease, gpu), timeout)

    def submit_remove(self, space: Namespace, chain: Chain, first: int, count: int, *,
                      group: int = 0, shard: int = 0, timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._range("remove", target, first, count), timeout)

    # ---- completions ----

    def poll(self, most: int = 64) -> list[Completion]:
        """At most `most` finished calls, oldest first; never blocks."""
        most = min(u32("most", most), POLL_MAX)
        handles, count = (c_uint64 * most)(), c_uint64()
        call("poll", self._number(), handles, most, count)
        done = [Completion(Result(handles[i]), self) for i in range(count.value)]
        for completion in done:
            if completion.status is not Status.OK and self._handle is not None:
                self._handle.registering.pop(completion.ticket, None)  # no region came of it
        return done

    def wait_for_completion(self, timeout: float | None = None) -> None:
        """Returns when poll would return something; DeadlineError otherwise."""
        call("wait_for_completion", self._number(), self._deadline(timeout))

    @property
    def completion_fd(self) -> int:
        """Readable while poll would return something. Not to be read or closed."""
        value = c_int()
        call("completion_fd", self._number(), value)
        return value.value
