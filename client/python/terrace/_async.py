"""AsyncClient: the same calls for asyncio, finished by the client's completion descriptor."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, TypeVar

from terrace._calls import Client
from terrace._client import Namespace
from terrace._event_types import EventBatch
from terrace._events import Watcher
from terrace._memory import Chain, Region
from terrace._results import Completion, Lease, LentBlocks, PrefixMatch, Reservation
from terrace._types import (BlockResult, BlockResults, Error, Group, GroupPolicy, InvalidError,
                            Match, Status, Tier)

Answer = TypeVar("Answer")


class AsyncClient:
    """A Client of its own for one event loop, whose methods are to be awaited there.

        async with await terrace.AsyncClient.connect("127.0.0.1:7420") as client:
            blocks = await client.get(space, chain, blocks)

    A call is sent at once, by the loop's thread, and never blocks it; what has no submit in the
    library (open_namespace, stat, ...) runs on a thread of the loop's executor. A task that is
    cancelled gives its call up and does not wait for the daemon to let go: before the memory is
    used again, await client.run("fence", pieces). What its call was given all the same, a lease or
    a reservation, goes back.
    """

    def __init__(self, client: Client) -> None:
        """Takes `client` over; to be called in the loop."""
        self.client = client
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[Completion]] = {}
        self._descriptor: int = client.completion_fd
        self._loop.add_reader(self._descriptor, self._take)

    @classmethod
    async def connect(cls, address: str = "127.0.0.1:7420", **options: Any) -> "AsyncClient":
        return cls(await asyncio.to_thread(Client, address, **options))

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every call in flight, as Client.close does."""
        if self.client.closed:
            return
        self._loop.remove_reader(self._descriptor)
        await asyncio.to_thread(self.client.close)
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(Error(Status.CANCELLED, "the client was closed"))

    def _take(self) -> None:
        if self.client.closed:
            return
        for completion in self.client.poll():
            future = self._waiting.pop(completion.ticket, None)
            if future is not None and not future.done():
                future.set_result(completion)
            else:
                self._give_back(completion)

    async def _end(self, ticket: int, read: Callable[[Completion], Answer]) -> Answer:
        future: asyncio.Future[Completion] = self._loop.create_future()
        self._waiting[ticket] = future
        try:
            return read(await future)
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._give_back(future.result())  # it came, and nobody will read it
            else:
                self._give_up(ticket)
            raise

    def _give_back(self, completion: Completion) -> None:
        """Of a call whose task was cancelled. Blocks that are lent go with the completion."""
        try:
            completion.give_back()
        except Error:  # the connection is gone, and all of it with that
            pass

    def _give_up(self, ticket: int) -> None:
        if self.client.closed:
            return
        try:
            self.client.cancel(ticket, timeout=0)
        except Error:  # under way; or the client is being closed, which ends the call as well
            pass

    # ---- calls with a submit ----

    async def match(self, space: Namespace, chain: Chain, **options: Any) -> Match:
        return await self._end(self.client.submit_match(space, chain, **options),
                               lambda done: done.match)

    async def get(self, space: Namespace, chain: Chain, blocks: Any,
                  **options: Any) -> BlockResults:
        return await self._end(self.client.submit_get(space, chain, blocks, **options),
                               lambda done: done.blocks)

    async def put(self, space: Namespace, chain: Chain, blocks: Any,
                  **options: Any) -> BlockResults:
        return await self._end(self.client.submit_put(space, chain, blocks, **options),
                               lambda done: done.blocks)

    async def lend(self, space: Namespace, chain: Chain, positions: Any,
                   **options: Any) -> LentBlocks:
        return await self._end(self.client.submit_lend(space, chain, positions, **options),
                               lambda done: done.lent)

    async def remove(self, space: Namespace, chain: Chain, first: int, count: int,
                     **options: Any) -> BlockResults:
        return await self._end(self.client.submit_remove(space, chain, first, count, **options),
                               lambda done: done.blocks)

    async def match_groups(self, space: Namespace, chain: Chain, groups: Iterable[GroupPolicy],
                           **options: Any) -> PrefixMatch:
        return await self._end(self.client.submit_match_groups(space, chain, groups, **options),
                               lambda done: done.prefix)

    async def get_pieces(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any,
                         **options: Any) -> BlockResults:
        return await self._end(
            self.client.submit_get_pieces(space, chain, blocks, pieces, **options),
            lambda done: done.blocks)

    async def put_pieces(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any,
                         **options: Any) -> BlockResults:
        return await self._end(
            self.client.submit_put_pieces(space, chain, blocks, pieces, **options),
            lambda done: done.blocks)

    async def send(self, token: bytes, space: Namespace, chain: Chain, blocks: Any, pieces: Any,
                   **options: Any) -> BlockResults:
        return await self._end(
            self.client.submit_send(token, space, chain, blocks, pieces, **options),
            lambda done: done.blocks)

    async def receive(self, token: bytes, space: Namespace, chain: Chain, blocks: Any, pieces: Any,
                      **options: Any) -> BlockResults:
        return await self._end(
            self.client.submit_receive(token, space, chain, blocks, pieces, **options),
            lambda done: done.blocks)

    async def get_arriving(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any,
                           **options: Any) -> BlockResults:
        return await self._end(
            self.client.submit_get_arriving(space, chain, blocks, pieces, **options),
            lambda done: done.blocks)

    async def reserve(self, space: Namespace, chain: Chain, position: int,
                      **options: Any) -> Reservation:
        """The reservation's own methods wait: await client.write(reservation.token, ...)."""
        return await self._end(self.client.submit_reserve(space, chain, position, **options),
                               lambda done: done.reservation)

    async def write(self, token: bytes, fragments: Any, pieces: Any,
                    **options: Any) -> BlockResults:
        return await self._end(self.client.submit_write(token, fragments, pieces, **options),
                               lambda done: done.blocks)

    async def commit(self, token: bytes, **options: Any) -> BlockResult:
        return await self._end(self.client.submit_commit(token, **options),
                               lambda done: done.blocks[0])

    async def abort(self, token: bytes, **options: Any) -> None:
        await self._end(self.client.submit_abort(token, **options), Completion.raise_for_status)

    async def open_handoff(self, token: bytes, space: Namespace, chain: Chain, first: int,
                           count: int, **options: Any) -> BlockResults:
        return await self._end(
            self.client.submit_open_handoff(token, space, chain, first, count, **options),
            lambda done: done.blocks)

    async def ack_handoff(self, token: bytes, **options: Any) -> None:
        await self._end(self.client.submit_ack_handoff(token, **options),
                        Completion.raise_for_status)

    async def abort_handoff(self, token: bytes, **options: Any) -> None:
        await self._end(self.client.submit_abort_handoff(token, **options),
                        Completion.raise_for_status)

    async def touch(self, space: Namespace, chain: Chain, first: int, count: int,
                    **options: Any) -> BlockResults:
        return await self._end(self.client.submit_touch(space, chain, first, count, **options),
                               lambda done: done.blocks)

    async def retain(self, space: Namespace, chain: Chain, first: int, count: int, *, label: str,
                     **options: Any) -> BlockResults:
        return await self._end(
            self.client.submit_retain(space, chain, first, count, label=label, **options),
            lambda done: done.blocks)

    async def renew(self, lease: Lease, seconds: float = 0, **options: Any) -> None:
        await self._end(lease.submit_renew(seconds, **options), Completion.raise_for_status)

    async def prefetch(self, space: Namespace, chain: Chain, first: int, count: int, *,
                       target: Tier = Tier.DRAM, **options: Any) -> BlockResults:
        return await self._end(
            self.client.submit_prefetch(space, chain, first, count, target=target, **options),
            lambda done: done.blocks)

    # ---- events ----

    async def read_events(self, cursor: bytes = b"", **options: Any) -> EventBatch:
        return await self._end(self.client.submit_read_events(cursor, **options),
                               lambda done: done.events)

    async def read_snapshot(self, cursor: bytes = b"", **options: Any) -> EventBatch:
        return await self._end(self.client.submit_read_snapshot(cursor, **options),
                               lambda done: done.events)

    async def watch(self, cursor: bytes = b"", **options: Any) -> AsyncIterator[EventBatch]:
        """As Client.watch: `async for batch in client.watch(): ...`."""
        watcher = Watcher(cursor)
        while True:
            read = self.read_snapshot if watcher.walking else self.read_events
            yield watcher.took(await read(watcher.cursor, **options))

    # ---- calls without ----

    async def open_namespace(self, name: str, *, block_tokens: int, groups: Sequence[Group],
                             **options: Any) -> Namespace:
        return await asyncio.to_thread(self.client.open_namespace, name,
                                       block_tokens=block_tokens, groups=groups, **options)

    async def allocate(self, nbytes: int) -> Region:
        return await asyncio.to_thread(self.client.allocate, nbytes)

    async def register(self, buffer: Any) -> Region:
        return await asyncio.to_thread(self.client.register, buffer)

    async def run(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Any other method of Client, by name, on a thread of the executor."""
        if method.startswith(("_", "submit_", "poll", "wait_", "close")):
            raise InvalidError(f"method is {method!r}: not one to run beside the loop")
        return await asyncio.to_thread(getattr(self.client, method), *arguments, **options)
