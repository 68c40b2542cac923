"""What a HiCacheStorage backend for SGLang does with Terrace, without SGLang's types.

One Client per rank, one shard per rank. batch_exists asks about the shards of all ranks in one
match, so that every rank gets the same answer; pages go straight from and into the host pool.
Whatever happens, the answer is a number or a list of bools.
"""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import numpy

import terrace
from contract_common import WAIT_S, Bytes, Pages, told_chain
from hicache_engine import ExtraInfo, StorageConfig
from terrace import Status

STORED = (Status.OK, Status.EXISTS, Status.PENDING)  # or somebody stores it just now


@dataclasses.dataclass
class PoolTransfer:
    """One pool's part of a v2 call: kv, a sliding window's pages, a recurrent state."""
    group: int
    host_indices: list[int]


class Backend:
    def __init__(self, config: StorageConfig, kwargs: dict[str, Any] | None = None) -> None:
        """`extra_config`: address, timeout (s), lease (s; 0: none), run_blocks, groups (pages'
        bytes by group; without it, the pool's)."""
        self.config = config
        extra = config.extra_config
        self.timeout: float = extra.get("timeout", 5.0)
        self.lease_s: float = extra.get("lease", 0.0)
        self.client = terrace.Client(extra["address"], connect_timeout=WAIT_S,
                                     name=f"hicache{config.tp_rank}")
        self.shards = 1 if config.is_mla_model else config.tp_size
        self.shard = 0 if config.is_mla_model else config.tp_rank
        self.stats: dict[str, int] = {}
        self._leases: dict[tuple[bytes, ...], terrace.Lease] = {}
        self._lock = threading.Lock()
        self.regions: dict[int, terrace.Region] = {}
        self.pools: dict[int, Pages] = {}

    # ---- memory ----

    def register_mem_pool_host(self, pool: Pages) -> None:
        self.register_mem_host_pool_v2([pool])

    def register_mem_host_pool_v2(self, pools: Sequence[Pages]) -> None:
        """One pool per group. The pages' size is known from here on, so the namespace is opened."""
        self.space = self.client.open_namespace(
            self.config.model_name, block_tokens=self.config.page_tokens, model="stub",
            groups=[terrace.Group(i, pool.page_bytes) for i, pool in enumerate(pools)],
            shard_count=self.shards, run_blocks=self.config.extra_config.get("run_blocks", 64),
            timeout=WAIT_S)
        for group, pool in enumerate(pools):
            self.pools[group] = pool
            self.regions[group] = self.client.register(pool.memory)

    def _pieces(self, group: int, pages: Sequence[int]) -> list[terrace.Piece]:
        pool, region = self.pools[group], self.regions[group].id
        return [piece for page in pages for piece in pool.pieces(page, region)]

    # ---- exists ----

    def _match(self, chain: terrace.Chain, policies: Sequence[terrace.GroupPolicy],
               keys: tuple[bytes, ...]) -> list[int]:
        """Where the engine can continue, counted from the chain's first key."""
        try:
            match = self.client.match_groups(
                self.space, chain, policies, lease=self.lease_s or None, timeout=self.timeout)
        except terrace.Error as error:
            self._count(error.status)
            return []
        if match.lease is not None:
            with self._lock:
                old, self._leases[keys] = self._leases.pop(keys, None), match.lease
            if old is not None:
                old.release()
        return match.stops

    def batch_exists(self, keys: Sequence[bytes], extra_info: ExtraInfo | None = None) -> int:
        prefix, chain = self._chain(keys, extra_info)
        stops = self._match(chain, [terrace.GroupPolicy(0)], tuple(keys))
        return max(stops[-1] - len(prefix), 0) if stops else 0

    @staticmethod
    def _chain(keys: Sequence[bytes],
               extra_info: ExtraInfo | None) -> tuple[list[bytes], terrace.Chain]:
        if extra_info is None:
            return [], terrace.Chain(keys)
        return extra_info.prefix_keys, told_chain([*extra_info.prefix_keys, *keys],
                                                  extra_info.extra_info.get("terrace_hints"))

    def exists(self, key: bytes) -> bool:
        return self.batch_exists([key]) == 1

    def batch_exists_v2(self, keys: Sequence[bytes],
                        policies: Sequence[terrace.GroupPolicy]) -> list[int]:
        """The restorable stop points. ALL_PAGES is ALL, TRAILING_PAGES is TRAILING."""
        return self._match(terrace.Chain(keys), policies, tuple(keys))

    def release(self, keys: Sequence[bytes]) -> None:
        """The request that asked batch_exists has ended."""
        with self._lock:
            lease = self._leases.pop(tuple(keys), None)
        if lease is not None:
            lease.release()

    # ---- get and set ----

    def batch_get_v1(self, keys: Sequence[bytes], host_indices: Sequence[int],
                     extra_info: ExtraInfo | None = None) -> list[bool]:
        return self._move("get_pieces", keys, host_indices, extra_info, 0, (Status.OK,))

    def batch_set_v1(self, keys: Sequence[bytes], host_indices: Sequence[int],
                     extra_info: ExtraInfo | None = None) -> list[bool]:
        if self.config.is_mla_model and self.config.tp_rank != 0:
            return [True] * len(keys)  # all ranks have the same bytes: the first one stores them
        return self._move("put_pieces", keys, host_indices, extra_info, 0, STORED)

    def batch_get_v2(self, keys: Sequence[bytes],
                     transfers: Sequence[PoolTransfer]) -> dict[int, list[bool]]:
        return {one.group: self._move("get_pieces", keys[-len(one.host_indices):],
                                      one.host_indices,
                                      ExtraInfo(list(keys[:-len(one.host_indices)])), one.group,
                                      (Status.OK,)) for one in transfers}

    def batch_set_v2(self, keys: Sequence[bytes],
                     transfers: Sequence[PoolTransfer]) -> dict[int, list[bool]]:
        return {one.group: self._move("put_pieces", keys, one.host_indices, None, one.group, STORED)
                for one in transfers}

    def _move(self, call: str, keys: Sequence[bytes], pages: Sequence[int],
              extra_info: ExtraInfo | None, group: int, good: tuple[Status, ...]) -> list[bool]:
        prefix, chain = self._chain(keys, extra_info)
        per_page = len(self.pools[group].pieces(0, 0))
        blocks = [terrace.BlockPieces(len(prefix) + i, piece_count=per_page)
                  for i in range(len(keys))]
        try:
            moved = getattr(self.client, call)(
                self.space, chain, blocks, self._pieces(group, pages), group=group,
                shard=self.shard, timeout=self.timeout)
        except terrace.Error as error:  # as a whole: no daemon, too busy, a region in doubt
            self._count(error.status, len(keys))
            return [False] * len(keys)
        for status in moved.statuses:
            self._count(Status(status))
        return [status in good for status in moved.statuses]

    # ---- the slow path: bytes that lie anywhere ----

    def set(self, key: bytes, value: Bytes) -> bool:
        with self.client.register(numpy.ascontiguousarray(value)) as region:
            return self.client.put(self.space, terrace.Chain([key]),
                                   region.blocks(1, value.nbytes), shard=self.shard,
                                   timeout=self.timeout).ok

    def get(self, key: bytes, target: Bytes) -> Bytes | None:
        with self.client.register(target) as region:
            got = self.client.get(self.space, terrace.Chain([key]),
                                  region.blocks(1, target.nbytes), shard=self.shard,
                                  timeout=self.timeout)
        return target if got.ok else None

    # ---- the rest ----

    def abort(self, host_indices: Sequence[int]) -> bool:
        """Ends what moves these pages. True: nothing touches them any more."""
        if not host_indices:
            return True
        try:
            self.client.fence(self._pieces(0, host_indices), timeout=self.timeout)
        except terrace.Error as error:
            self._count(error.status)
            return False
        return True

    def clear(self) -> None:
        self.client.clear_namespace(self.space.name)

    def get_stats(self) -> dict[str, int]:
        return dict(self.stats)

    def _count(self, status: Status, blocks: int = 1) -> None:
        with self._lock:
            name = status.name.lower()
            self.stats[name] = self.stats.get(name, 0) + blocks

    def close(self) -> None:
        self.client.close()
