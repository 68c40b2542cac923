"""Reading events: EventCalls, which Client is, and what a watcher does next."""

from collections.abc import Iterator
from ctypes import sizeof
from typing import Any

from terrace._client import BlockCalls, Prepared
from terrace._event_types import EventBatch, batch_of
from terrace._library import EventQueryStruct
from terrace._memory import text, u32


class Watcher:
    """Whether a snapshot or events are to be read next, and from where."""

    def __init__(self, cursor: bytes) -> None:
        self.cursor = cursor
        self.walking = not cursor
        self._begins = self.walking

    def took(self, batch: EventBatch) -> EventBatch:
        """Notes an answer, and says whether the reader begins anew with it."""
        again = batch.restarted or bool(batch.gaps)
        if again:
            # The cursor of a new snapshot: none. What came behind a gap is of no use without it.
            self.cursor, self.walking, self._begins = b"", True, True
            return batch._replace(events=[])
        self.cursor = batch.cursor
        begins, self._begins = self._begins, False
        if self.walking and batch.complete:
            self.walking = False
        return batch._replace(begins=begins)


class EventCalls(BlockCalls):
    """Calls about events. `timeout` is in seconds."""

    def _events(self, name: str, cursor: bytes, most: int, space: str, wait: bool) -> Prepared:
        query = EventQueryStruct(sizeof(EventQueryStruct), u32("most", most),
                                 text("space", space) if space else None, int(not wait))
        return Prepared(name, (self._number(), cursor, len(cursor), query), 0, query)

    def read_events(self, cursor: bytes = b"", *, most: int = 1024, space: str = "",
                    wait: bool = True, timeout: float | None = None) -> EventBatch:
        """Events since the cursor; waits for the first, at most for the daemon's heartbeat of
        1 s. `most`: of each reactor. `space`: only of the namespace of that name."""
        prepared = self._events("read_events", cursor, most, space, wait)
        return batch_of(self._run_result(prepared.name, *prepared.arguments,
                                         self._deadline(timeout)))

    def read_snapshot(self, cursor: bytes = b"", *, most: int = 1024, space: str = "",
                      timeout: float | None = None) -> EventBatch:
        """The next part of a walk over all blocks, as committed events, until `complete`."""
        prepared = self._events("read_snapshot", cursor, most, space, True)
        return batch_of(self._run_result(prepared.name, *prepared.arguments,
                                         self._deadline(timeout)))

    def submit_read_events(self, cursor: bytes = b"", *, most: int = 1024, space: str = "",
                           wait: bool = True, timeout: float | None = None) -> int:
        return self._submit(self._events("read_events", cursor, most, space, wait), timeout)

    def submit_read_snapshot(self, cursor: bytes = b"", *, most: int = 1024, space: str = "",
                             timeout: float | None = None) -> int:
        return self._submit(self._events("read_snapshot", cursor, most, space, True), timeout)

    def watch(self, cursor: bytes = b"", **options: Any) -> Iterator[EventBatch]:
        """Batches for ever: a snapshot first unless there is a cursor, then events, and a snapshot
        again when something was missed. With a batch that `begins` a snapshot all that is known is
        forgotten; then its events are applied. Raises what the calls raise; `options` are theirs.

            for batch in client.watch():
                if batch.begins:
                    table.clear()
                for event in batch.events: ...
        """
        watcher = Watcher(cursor)
        while True:
            if watcher.walking:
                batch = self.read_snapshot(watcher.cursor, **options)
            else:
                batch = self.read_events(watcher.cursor, **options)
            yield watcher.took(batch)
