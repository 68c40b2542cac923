"""A stub of SGLang's HiCache controller: ranks of one tensor-parallel group, each a thread with a
host pool and a storage backend of its own, that must agree on every number by all_reduce(min).

A prefetch asks in batches of 128 pages, goes on while all pages of a batch came, may be terminated
in the middle, and gives back pages that nobody inserts, to be used again at once. A rank whose
thread dies, hangs or gets None from its backend stops all ranks: here that is a failure.
"""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from contract_common import WAIT_S, Pages

BATCH_PAGES = 128
Answer = TypeVar("Answer")


@dataclasses.dataclass
class StorageConfig:
    """HiCacheStorageConfig."""
    tp_rank: int
    tp_size: int
    model_name: str
    page_tokens: int
    extra_config: dict[str, Any] = dataclasses.field(default_factory=dict)
    is_mla_model: bool = False


@dataclasses.dataclass
class ExtraInfo:
    prefix_keys: list[bytes] = dataclasses.field(default_factory=list)
    extra_info: dict[str, Any] = dataclasses.field(default_factory=dict)


class Storage(Protocol):
    """What HiCache calls; all of it from threads that may block, and must never see None."""

    def register_mem_pool_host(self, pool: Pages) -> None: ...
    def batch_exists(self, keys: Sequence[bytes], extra_info: ExtraInfo | None = None) -> int: ...
    def batch_get_v1(self, keys: Sequence[bytes], host_indices: Sequence[int],
                     extra_info: ExtraInfo | None = None) -> list[bool]: ...
    def batch_set_v1(self, keys: Sequence[bytes], host_indices: Sequence[int],
                     extra_info: ExtraInfo | None = None) -> list[bool]: ...
    def abort(self, host_indices: Sequence[int]) -> bool: ...


class Group:
    """What all ranks do together. A rank that does not come within the limit is an error."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self._values = [0] * ranks
        self._barrier = threading.Barrier(ranks)

    def least(self, rank: int, value: int) -> int:
        """all_reduce(min)."""
        self._values[rank] = value
        self._barrier.wait(WAIT_S)
        least = min(self._values)
        self._barrier.wait(WAIT_S)  # nobody writes the next value before all have read
        return least

    def run(self, work: Callable[[int], Answer]) -> list[Answer]:
        """`work` on every rank at the same time; what they answered, in their order."""
        answers: dict[int, Answer] = {}
        errors: list[BaseException] = []

        def one(rank: int) -> None:
            try:
                answers[rank] = work(rank)
            except BaseException as error:  # pylint: disable=broad-except
                errors.append(error)
                self._barrier.abort()
        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.ranks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * WAIT_S)
            assert not thread.is_alive(), "a rank hangs, and with it all of them"
        self._barrier.reset()
        if errors:
            raise errors[0]
        return [answers[rank] for rank in range(self.ranks)]


class Prefetch:
    """One request's, on one rank."""

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys
        self.host_indices: list[int] = []
        self.terminated = threading.Event()
        self.in_batch = threading.Event()  # the first batch was given to the backend


class Controller:
    """One rank's."""

    def __init__(self, rank: int, group: Group, storage: Storage, pool: Pages) -> None:
        self.rank, self.group, self.storage, self.pool = rank, group, storage, pool
        self.free = list(range(pool.pages))
        self.lost: list[int] = []            # pages that cannot be used for the time being
        self.tree: dict[bytes, int] = {}     # what is in the host pool, by key
        self.backup_pages = BATCH_PAGES      # of one call
        storage.register_mem_pool_host(pool)

    def _allocate(self, count: int) -> list[int]:
        assert count <= len(self.free), "the host pool is too small for this test"
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    def release(self, pages: Sequence[int]) -> None:
        """Somebody else writes there at once: poison, here."""
        for page in pages:
            self.pool.poison(page)
        self.free = list(pages) + self.free

    # ---- prefetch ----

    def hits(self, keys: list[bytes]) -> int:
        """Pages from the first on that the backend has, batch by batch, and all ranks agree on."""
        found = 0
        for first in range(0, len(keys), BATCH_PAGES):
            batch = keys[first:first + BATCH_PAGES]
            count = self.storage.batch_exists(batch, ExtraInfo(keys[:first]))
            assert isinstance(count, int) and 0 <= count <= len(batch)
            found += count
            if count < len(batch):
                break
        return self.group.least(self.rank, found)

    def fetch(self, prefetch: Prefetch) -> int:
        """The io thread: pages that came, from the first on. Inserts what all ranks have."""
        keys = prefetch.keys
        prefetch.host_indices = self._allocate(len(keys))
        completed = 0
        for first in range(0, len(keys), BATCH_PAGES):
            if prefetch.terminated.is_set():
                break
            batch = keys[first:first + BATCH_PAGES]
            prefetch.in_batch.set()
            came = self.storage.batch_get_v1(batch, prefetch.host_indices[first:first + len(batch)],
                                             ExtraInfo(keys[:first]))
            assert came is not None and len(came) == len(batch), "the io thread would have died"
            good = came.index(False) if False in came else len(batch)
            for i in range(good):
                self.must_hold(prefetch.host_indices[first + i], batch[i])
            completed += good
            if good < len(batch):
                break
        return completed

    def insert(self, prefetch: Prefetch, completed: int) -> int:
        least = self.group.least(self.rank, completed)
        pages = prefetch.host_indices
        for key, page in zip(prefetch.keys[:least], pages):
            self.tree[key] = page
        unused = pages[least:]
        # Pages that the backend may still write are nobody's until it says otherwise.
        if self.storage.abort(unused):
            self.release(unused)
        else:
            self.lost += unused
        return least

    def prefetch(self, prefetch: Prefetch) -> int:
        prefetch.keys = prefetch.keys[:self.hits(prefetch.keys)]
        return self.insert(prefetch, self.fetch(prefetch))

    def recover(self) -> bool:
        """Looks whether lost pages may be used again."""
        if self.lost and self.storage.abort(self.lost):
            self.release(self.lost)
            self.lost = []
        return not self.lost

    # ---- backup ----

    def compute(self, keys: Sequence[bytes]) -> None:
        """Prefill, and its pages come down from the GPU."""
        for key, page in zip(keys, self._allocate(len(keys))):
            self.pool.fill(page, key)
            self.tree[key] = page

    def backup(self, keys: list[bytes]) -> list[bool]:
        """Write-through: every page of the chain, batch by batch."""
        stored: list[bool] = []
        for first in range(0, len(keys), self.backup_pages):
            batch = keys[first:first + self.backup_pages]
            answer = self.storage.batch_set_v1(batch, [self.tree[key] for key in batch],
                                               ExtraInfo(keys[:first]))
            assert answer is not None and len(answer) == len(batch)
            stored += answer
        return stored

    def write_back(self, keys: list[bytes]) -> list[bool]:
        """Backup when the pages are evicted: they are another's as soon as it has returned."""
        stored = self.backup(keys)
        pages = [self.tree.pop(key) for key in keys]
        if self.storage.abort(pages):
            self.release(pages)
        else:
            self.lost += pages
        return stored

    def must_hold(self, page: int, key: bytes) -> None:
        assert self.pool.holds(page, key), f"rank {self.rank}: page {page} came with other bytes"

    def check(self) -> None:
        """What is in the tree is right, what is free is poisoned, and nothing lies beside."""
        assert self.pool.guards_hold(), "somebody wrote beside a page"
        for key, page in self.tree.items():
            self.must_hold(page, key)
        for page in self.free:
            assert self.pool.poisoned(page), f"rank {self.rank}: free page {page} was written"
