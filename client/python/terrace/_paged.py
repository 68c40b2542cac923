"""PagedCache: get and put of an engine's paged cache, by page numbers."""

import atexit
import weakref
from collections.abc import Iterable, Sequence
from ctypes import POINTER, c_int, c_uint32, c_uint64, c_void_p, cast, pointer, sizeof
from typing import Any

from terrace._calls import Client
from terrace._client import Namespace, token_of
from terrace._library import (DescriptorStruct, GroupStruct, KindStruct, PagedBlockStruct,
                              PagedCallStruct, PagedOptionsStruct, TokenStruct)
from terrace._memory import Chain, Pinned, text, u32
from terrace._rate import Rate, curve_of
from terrace._results import Completion
from terrace._tensors import Element, Layout, StoredLayout, layout_of
from terrace._types import BLOCK_RESULT_BYTES, BlockResults, Group, InvalidError, Result, call

_living: "weakref.WeakSet[PagedCache]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Before the tensors go, whose pages a call may be about."""
    for cache in list(_living):
        try:
            cache.close()
        except Exception:  # closed meanwhile
            pass


class PagedCache:
    """A paged cache of an engine over a Client: client/paged.hpp in Python. Any thread. A context
    manager. Pages are numbers: of each block those that hold it, in the order of its tokens.

        cache = terrace.PagedCache.from_tensors(
            client, kv_caches, ("parts", "pages", "tokens", "heads", "dim"),
            terrace.StoredLayout(block_tokens=64))
        space = cache.open_namespace("llama", model="...")
        results = cache.get(space, chain, [[7, 3, 12, 5], [8, 1, 0, 2]])
    """

    def __init__(self, client: Client, layout: Layout, bases: Sequence[int],
                 stored: StoredLayout, *, device: int | None = None, keep: Any = None,
                 staging_bytes: int = 64 << 20, direct_bytes: int = 4096,
                 frames_on_device: bool = False) -> None:
        """`bases`: the address of each layer. `device`: of CUDA; None: memory of the CPU. `keep`:
        what must live as long as this. `frames_on_device`: see docs/gpu.md."""
        self.layout, self.stored = layout, stored
        self._client, self._keep = client, keep
        self._number = 0
        cache, its_stored = layout.struct(), stored.struct()
        size, pages = c_uint64(), c_uint32()
        call("stored_block", cache, its_stored, size, pages)
        self.block_bytes: int = size.value
        self.block_pages: int = pages.value
        addresses = (c_void_p * max(len(bases), 1))(*bases)
        options = PagedOptionsStruct(
            sizeof(PagedOptionsStruct), 0 if device is None else 1, device or 0,
            u32("direct_bytes", direct_bytes), pointer(cache), pointer(its_stored),
            cast(addresses, POINTER(c_void_p)), len(bases), staging_bytes,
            int(frames_on_device), 0)
        number = c_uint64()
        call("open_paged", client._number(), options, number)
        self._number = number.value
        _living.add(self)

    @staticmethod
    def from_tensors(client: Client, tensors: Any, axes: Sequence[str], stored: StoredLayout, *,
                     page_tokens: int = 0, element: Element | None = None,
                     staging_bytes: int = 64 << 20, direct_bytes: int = 4096,
                     frames_on_device: bool = False) -> "PagedCache":
        """Over tensors as they lie, without a copy: layout_of says what may be passed. They are
        kept until this is closed."""
        layout, bases, views = layout_of(tensors, axes, page_tokens=page_tokens,
                                         element=element)
        return PagedCache(client, layout, bases, stored, device=views[0].device, keep=views,
                          staging_bytes=staging_bytes, direct_bytes=direct_bytes,
                          frames_on_device=frames_on_device)

    # ---- life ----

    def close(self) -> None:
        """Returns when nothing touches the tensors any more."""
        number, self._number = self._number, 0
        if number != 0:
            call("close_paged", number)
        self._keep = None

    def __enter__(self) -> "PagedCache":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # the interpreter ends
            pass

    def open_namespace(self, name: str, *, group: int = 0, model: str = "", weights: str = "",
                       hash_algorithm: str = "sha256", hash_seed: str = "",
                       shard_count: int = 1, run_blocks: int = 64, prefill_rate: Rate = (),
                       timeout: float | None = None) -> Namespace:
        """As Client.open_namespace; layout, kv_dtype, block_tokens and the group are those of this
        cache."""
        curve = curve_of("prefill_rate", prefill_rate)
        descriptor = DescriptorStruct(
            sizeof(DescriptorStruct), 0, text("name", name), text("model", model),
            text("weights", weights), None, None, text("hash_algorithm", hash_algorithm),
            text("hash_seed", hash_seed), POINTER(GroupStruct)(), 0, shard_count, run_blocks,
            curve, len(curve))
        number = c_uint32()
        call("paged_open_namespace", self._number, descriptor, u32("group", group),
             self._client._deadline(timeout), number)
        return Namespace(number.value, name, [Group(group, self.block_bytes)])

    # ---- blocks ----

    def get(self, space: Namespace, chain: Chain, pages: Any, *,
            positions: Iterable[int] | None = None, group: int = 0, shard: int = 0,
            layers: tuple[int, int] = (0, 0), stream: int = 0,
            timeout: float | None = None) -> BlockResults:
        """Brings blocks into pages: pages[i] are those of block positions[i] of the chain (of
        block i). `layers`: the first and how many; `stream`: the engine's, of a GPU."""
        return self._wait("paged_get", self._about(space, chain, pages, positions, None, group,
                                                   shard, layers, 0, stream), timeout)

    def put(self, space: Namespace, chain: Chain, pages: Any, *,
            positions: Iterable[int] | None = None, valid_tokens: Iterable[int] | None = None,
            group: int = 0, shard: int = 0, durable: bool = False, stream: int = 0,
            timeout: float | None = None) -> BlockResults:
        """Stores blocks from pages."""
        return self._wait("paged_put",
                          self._about(space, chain, pages, positions, valid_tokens, group, shard,
                                      (0, 0), int(durable), stream), timeout)

    def submit_get(self, space: Namespace, chain: Chain, pages: Any, *,
                   positions: Iterable[int] | None = None, group: int = 0, shard: int = 0,
                   layers: tuple[int, int] = (0, 0), stream: int = 0,
                   timeout: float | None = None) -> int:
        """Like the call of the name, but returns at once, with a ticket; so do all submit_..."""
        return self._submit("paged_submit_get",
                            self._about(space, chain, pages, positions, None, group, shard,
                                        layers, 0, stream), timeout)

    def submit_put(self, space: Namespace, chain: Chain, pages: Any, *,
                   positions: Iterable[int] | None = None,
                   valid_tokens: Iterable[int] | None = None, group: int = 0, shard: int = 0,
                   durable: bool = False, stream: int = 0, timeout: float | None = None) -> int:
        return self._submit("paged_submit_put",
                            self._about(space, chain, pages, positions, valid_tokens, group,
                                        shard, (0, 0), int(durable), stream), timeout)

    def write(self, tokens: Sequence[bytes], pages: Any, *, layers: tuple[int, int] = (0, 0),
              stream: int = 0, timeout: float | None = None) -> BlockResults:
        """This rank's layers and heads of blocks that were reserved (Client.reserve)."""
        return self._wait("paged_write", self._parts(tokens, pages, layers, stream), timeout)

    def submit_write(self, tokens: Sequence[bytes], pages: Any, *,
                     layers: tuple[int, int] = (0, 0), stream: int = 0,
                     timeout: float | None = None) -> int:
        return self._submit("paged_submit_write", self._parts(tokens, pages, layers, stream),
                            timeout)

    # ---- completions, cancel, fence ----

    def poll(self, most: int = 64) -> list[Completion]:
        """At most `most` finished calls, oldest first; never blocks."""
        handles, count = (c_uint64 * most)(), c_uint64()
        call("paged_poll", self._number, handles, most, count)
        return [Completion(Result(handles[i]), self._client) for i in range(count.value)]

    def wait_for_completion(self, timeout: float | None = None) -> None:
        """Returns when poll would return something; DeadlineError otherwise."""
        call("paged_wait_for_completion", self._number, self._client._deadline(timeout))

    @property
    def completion_fd(self) -> int:
        """Readable while poll would return something. Not to be read or closed."""
        value = c_int()
        call("paged_completion_fd", self._number, value)
        return value.value

    def cancel(self, ticket: int, timeout: float | None = None) -> None:
        """Returns once nothing touches the call's pages; DeadlineError otherwise."""
        call("paged_cancel", self._number, ticket, self._client._deadline(timeout))

    def fence(self, pages: Iterable[int], timeout: float | None = None) -> None:
        """The same for every call that names one of these pages."""
        numbers = self._numbers("pages", pages)
        call("paged_fence", self._number, numbers, len(numbers), self._client._deadline(timeout))

    def drain(self, timeout: float | None = None) -> None:
        call("paged_drain", self._number, self._client._deadline(timeout))

    # ---- arguments ----

    @staticmethod
    def _numbers(argument: str, numbers: Iterable[int]) -> Any:
        listed = [u32(argument, int(number)) for number in numbers]
        return (c_uint32 * len(listed))(*listed)

    def _flat(self, pages: Any) -> tuple[Any, int]:
        """The pages of all blocks, and how many blocks there are."""
        flat: list[int] = []
        count = 0
        for index, block in enumerate(pages):
            numbers = [int(number) for number in block]
            if len(numbers) != self.block_pages:
                raise InvalidError(f"pages[{index}] has {len(numbers)} pages, and a block has "
                                   f"{self.block_pages}")
            flat += numbers
            count += 1
        return self._numbers("pages", flat), count

    @staticmethod
    def _call(layers: tuple[int, int], ack: int, stream: int) -> PagedCallStruct:
        return PagedCallStruct(sizeof(PagedCallStruct), u32("layers[0]", layers[0]),
                               u32("layers[1]", layers[1]), ack, stream)

    def _about(self, space: Namespace, chain: Chain, pages: Any,
               positions: Iterable[int] | None, valid_tokens: Iterable[int] | None, group: int,
               shard: int, layers: tuple[int, int], ack: int,
               stream: int) -> tuple[tuple[Any, ...], int]:
        numbers, count = self._flat(pages)
        places = range(count) if positions is None else list(positions)
        valid = [0] * count if valid_tokens is None else list(valid_tokens)
        for argument, listed in (("positions", places), ("valid_tokens", valid)):
            if len(listed) != count:
                raise InvalidError(f"{argument} has {len(listed)} entries, not one for each of "
                                   f"{count} blocks")
        blocks = (PagedBlockStruct * count)(*[
            PagedBlockStruct(u32("positions", int(place)), u32("valid_tokens", int(tokens)))
            for place, tokens in zip(places, valid)])
        kind = KindStruct(u32("group", group), u32("shard", shard))
        return (self._number, space.id, chain.handle, kind, blocks, count, numbers, len(numbers),
                self._call(layers, ack, stream)), count

    def _parts(self, tokens: Sequence[bytes], pages: Any, layers: tuple[int, int],
               stream: int) -> tuple[tuple[Any, ...], int]:
        numbers, count = self._flat(pages)
        named = (TokenStruct * len(tokens))(*[token_of(token) for token in tokens])
        return (self._number, named, len(tokens), numbers, len(numbers),
                self._call(layers, 0, stream)), count

    def _wait(self, name: str, about: tuple[tuple[Any, ...], int],
              timeout: float | None) -> BlockResults:
        arguments, count = about
        raw = bytearray(max(count, 1) * BLOCK_RESULT_BYTES)
        results = Pinned("results", raw)
        call(name, *arguments, self._client._deadline(timeout), results.address)
        del results
        del raw[count * BLOCK_RESULT_BYTES:]
        return BlockResults(raw)

    def _submit(self, name: str, about: tuple[tuple[Any, ...], int],
                timeout: float | None) -> int:
        ticket = c_uint64()
        call(name, *about[0], self._client._deadline(timeout), ticket)
        return ticket.value
