"""What an adapter for vLLM's KVConnector V1 does with Terrace, without vLLM's types.

The scheduler's half must never wait: it submits matches and polls. The worker's half submits gets
and puts straight from and into the paged cache, and waits only where vLLM lets it. One Client per
process, as there one worker is one process.
"""

import dataclasses
from typing import Any

import terrace
from contract_common import WAIT_S, Pages, told_chain
from terrace import Status
from vllm_engine import BLOCK_TOKENS, ConnectorOutput, Request, SchedulerOutput

STORED = (Status.OK, Status.EXISTS)


def statuses_of(completion: terrace.Completion, blocks: int) -> list[Status]:
    """Of each block, also of a call that failed as a whole."""
    if completion.status != Status.OK:
        return [completion.status] * blocks
    return [Status(status) for status in completion.blocks.statuses]


@dataclasses.dataclass
class Config:
    """kv_connector_extra_config."""
    address: str
    layers: int
    part_bytes: int
    ranks: int = 1
    asynchronous: bool = True  # loads; False: layer by layer, inside the forward pass
    layerwise: bool = False    # stores
    lookup_s: float = 5.0
    transfer_s: float = 5.0
    lease_s: float = 10.0

    def open(self, client: terrace.Client) -> terrace.Namespace:
        return client.open_namespace(
            "vllm", block_tokens=BLOCK_TOKENS, shard_count=self.ranks,
            groups=[terrace.Group(0, self.layers * self.part_bytes)], model="stub",
            hash_algorithm="sha256", hash_seed="seed", timeout=WAIT_S)


@dataclasses.dataclass
class Load:
    id: str
    keys: list[bytes]
    block_ids: list[int]
    hints: Any = None


@dataclasses.dataclass
class Store:
    """Blocks [first, first + len(block_ids)) of the chain."""
    id: str
    keys: list[bytes]
    first: int
    block_ids: list[int]
    hints: Any = None


@dataclasses.dataclass
class Meta:
    """KVConnectorMetadata: all that the workers learn."""
    loads: list[Load] = dataclasses.field(default_factory=list)
    stores: list[Store] = dataclasses.field(default_factory=list)
    preempted: list[str] = dataclasses.field(default_factory=list)


class Lookup:
    """A match that was submitted, and its answer once there is one."""

    def __init__(self, ticket: int | None) -> None:
        self.ticket = ticket  # None: answered
        self.blocks = 0
        self.lease: terrace.Lease | None = None


class SchedulerConnector:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.client = terrace.Client(config.address, connect_timeout=WAIT_S, name="scheduler")
        self.space = config.open(self.client)
        self.lookups: dict[str, Lookup] = {}
        self.asked = 0  # matches that were sent
        self._loads: list[Load] = []
        self._leases: dict[str, terrace.Lease] = {}  # of loads under way
        self._storing: set[str] = set()
        self._hints: dict[str, Any] = {}  # by request: what its params tell of its conversation

    def get_num_new_matched_tokens(self, request: Request,
                                   computed: int) -> tuple[int | None, bool]:
        """Once submitted, every later call only looks whether the answer came."""
        if len(request.keys) * BLOCK_TOKENS <= computed:
            return 0, False
        self._hints[request.id] = (request.params or {}).get("terrace_hints")
        if request.id not in self.lookups:
            self.lookups[request.id] = self._ask(request)
        self._pump()
        lookup = self.lookups[request.id]
        if lookup.ticket is not None:
            return None, False
        tokens = max(lookup.blocks * BLOCK_TOKENS - computed, 0)
        return tokens, self.config.asynchronous and tokens > 0

    def _ask(self, request: Request) -> Lookup:
        self.asked += 1
        try:
            return Lookup(self.client.submit_match_groups(
                self.space, told_chain(request.keys, self._hints.get(request.id)),
                [terrace.GroupPolicy(0)],
                lease=self.config.lease_s, timeout=self.config.lookup_s))
        except terrace.Error:  # no daemon, or too busy: a miss
            return Lookup(None)

    def _pump(self) -> None:
        waiting = {lookup.ticket: lookup for lookup in self.lookups.values()
                   if lookup.ticket is not None}
        for completion in self.client.poll():
            lookup = waiting.get(completion.ticket)
            if completion.status is not Status.OK:
                if lookup is not None:
                    lookup.ticket = None  # its deadline passed, or the daemon died: a miss
                continue
            prefix = completion.prefix
            if lookup is None:  # its request is gone
                self._give_back(prefix.lease)
                continue
            lookup.ticket, lookup.blocks, lookup.lease = None, prefix.longest, prefix.lease

    @staticmethod
    def _give_back(lease: terrace.Lease | None) -> None:
        try:
            if lease is not None:
                lease.release()
        except terrace.Error:
            pass  # it had ended

    def update_state_after_alloc(self, request: Request, block_ids: list[int],
                                 external: int) -> None:
        """The second call, for blocks that were loaded, has external 0 and finds no lookup."""
        lookup = self.lookups.pop(request.id, None)
        if lookup is None:
            return
        if external == 0:
            self._give_back(lookup.lease)
            return
        count = external // BLOCK_TOKENS
        if lookup.lease is not None:
            self._leases[request.id] = lookup.lease
        self._loads.append(Load(request.id, request.keys[:count], block_ids[:count],
                                self._hints.get(request.id)))

    def build_connector_meta(self, output: SchedulerOutput) -> Meta:
        meta = Meta(self._loads, [], list(output.preempted))
        self._loads = []
        for name in output.preempted:
            self._forget(name)
            self._storing.discard(name)
        for chunk in output.chunks:
            first, end = chunk.first // BLOCK_TOKENS, chunk.end // BLOCK_TOKENS
            if first < end:  # blocks that become full in this step
                meta.stores.append(Store(chunk.id, chunk.page_keys[:end], first,
                                         chunk.block_ids[first:end],
                                         self._hints.get(chunk.id)))
                self._storing.add(chunk.id)
        if not self.config.asynchronous:  # what is loaded in the step needs no lease after it
            self._ended = {load.id for load in meta.loads}
        return meta

    def update_connector_output(self, output: ConnectorOutput) -> None:
        for name in output.received | getattr(self, "_ended", set()):
            self._give_back(self._leases.pop(name, None))

    def _forget(self, name: str) -> None:
        lookup = self.lookups.pop(name, None)
        if lookup is not None:
            self._give_back(lookup.lease)
            if lookup.ticket is not None:
                try:
                    self.client.cancel(lookup.ticket, timeout=0)
                except terrace.Error:
                    pass  # it ends by its deadline
        self._give_back(self._leases.pop(name, None))

    def request_finished(self, request: Request,
                         block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        self._forget(request.id)
        self._hints.pop(request.id, None)
        delay = request.id in self._storing
        self._storing.discard(request.id)
        count = min(len(request.keys), request.computed // BLOCK_TOKENS)
        return delay, {"terrace": {"namespace": self.space.name,
                                   "keys": [key.hex() for key in request.keys[:count]]}}

    def close(self) -> None:
        self.client.close()


@dataclasses.dataclass
class PendingLoad:
    """Of one request: tickets that have not come back, per layer (one for all if asynchronous)."""
    load: Load
    tickets: set[int] = dataclasses.field(default_factory=set)
    doubtful: bool = False  # the daemon may still write into its pages


class WorkerConnector:
    def __init__(self, config: Config, rank: int = 0) -> None:
        self.config, self.rank = config, rank
        self.client = terrace.Client(config.address, connect_timeout=WAIT_S, name=f"worker{rank}")
        self.space = config.open(self.client)
        self.meta = Meta()
        self.outcomes: list[Status] = []  # of blocks that were stored
        self._errors: set[int] = set()
        self._failed: set[str] = set()   # requests that lost a block in this step
        self._loads: dict[str, PendingLoad] = {}
        self._layer_of: dict[int, int] = {}       # ticket -> layer
        self._of_ticket: dict[int, str] = {}      # ticket -> request, of loads
        self._puts: dict[int, Store] = {}         # ticket -> what it stores
        self._doubtful: list[Store] = []          # ended, but the daemon may still read the pages
        self._storing: set[str] = set()           # requests that get_finished must name
        self._finished: set[str] = set()

    def register_kv_caches(self, buffer: Pages) -> None:
        self.buffer = buffer
        self.region = self.client.register(buffer.memory)

    def bind_connector_metadata(self, meta: Meta) -> None:
        self.meta = meta
        self._failed.clear()
        self._storing |= {store.id for store in meta.stores}

    def clear_connector_metadata(self) -> None:
        self.meta = Meta()

    # ---- completions ----

    def _pump(self) -> None:
        for completion in self.client.poll():
            if completion.ticket in self._of_ticket:
                self._load_ended(self._of_ticket.pop(completion.ticket), completion)
            elif completion.ticket in self._puts:
                self._put_ended(self._puts.pop(completion.ticket), completion)
            else:
                self._store_step(completion)

    def _put_ended(self, store: Store, completion: terrace.Completion) -> None:
        statuses = statuses_of(completion, len(store.block_ids))
        self.outcomes += statuses
        if Status.IN_DOUBT in statuses:
            self._doubtful.append(store)

    def _store_step(self, completion: terrace.Completion) -> None:
        """For those that store in several steps."""

    def _load_ended(self, name: str, completion: terrace.Completion) -> None:
        pending = self._loads[name]
        pending.tickets.discard(completion.ticket)
        blocks = pending.load.block_ids
        for block, status in zip(blocks, statuses_of(completion, len(blocks))):
            if status is not Status.OK:
                self._lost(name, [block])
            if status is Status.IN_DOUBT:
                pending.doubtful = True

    def _lost(self, name: str, block_ids: list[int]) -> None:
        self._errors.update(block_ids)
        self._failed.add(name)

    def _settled(self, pending: PendingLoad) -> bool:
        """Nothing will write into its pages any more. Does not wait."""
        if pending.tickets:
            return False
        pending.doubtful = pending.doubtful and not self._quiet()
        return not pending.doubtful

    def _quiet(self) -> bool:
        try:
            self.region.quiesce(timeout=0)
        except terrace.Error:
            return False
        return True

    # ---- loads ----

    def start_load_kv(self) -> None:
        for load in self.meta.loads:
            pending = self._loads[load.id] = PendingLoad(load)
            layers = [-1] if self.config.asynchronous else list(range(self.config.layers))
            try:
                for layer in layers:
                    ticket = self._submit_get(load, layer)
                    pending.tickets.add(ticket)
                    self._of_ticket[ticket] = load.id
                    self._layer_of[ticket] = layer
            except terrace.Error:  # no daemon, or the region is in doubt
                self._lost(load.id, load.block_ids)

    def _submit_get(self, load: Load, layer: int) -> int:
        chain = told_chain(load.keys, load.hints)
        part = self.config.part_bytes
        if layer < 0:
            blocks = [terrace.BlockPieces(i, piece_count=len(self.buffer.pieces(0, 0)))
                      for i in range(len(load.keys))]
            pieces = [piece for block in load.block_ids
                      for piece in self.buffer.pieces(block, self.region.id)]
        else:
            blocks = [terrace.BlockPieces(i, range_offset=layer * part, range_bytes=part)
                      for i in range(len(load.keys))]
            pieces = [terrace.Piece(self.buffer.offset(block, layer), part, self.region.id)
                      for block in load.block_ids]
        return self.client.submit_get_pieces(self.space, chain, blocks, pieces, shard=self.rank,
                                             timeout=self.config.transfer_s)

    def wait_for_layer_load(self, layer: int) -> None:
        """Of loads inside the forward pass: they end by their deadline."""
        if self.config.asynchronous:
            return
        for load in self.meta.loads:
            pending = self._loads.get(load.id)
            while pending is not None and (
                    any(self._layer_of[ticket] == layer for ticket in pending.tickets)):
                self.client.wait_for_completion(timeout=WAIT_S)
                self._pump()
            if pending is not None and pending.doubtful:
                # The engine computes these pages again, in place: nothing may write there then.
                self.region.quiesce(timeout=WAIT_S)
                pending.doubtful = False

    def get_block_ids_with_load_errors(self) -> set[int]:
        errors, self._errors = self._errors, set()
        return errors

    # ---- stores ----

    def save_kv_layer(self, layer: int) -> None:
        """Stores whole blocks, at the end of the forward pass."""

    def wait_for_save(self) -> None:
        """Does not wait: the pages are kept until get_finished, or handle_preemptions."""
        if not self.config.asynchronous:
            self._end_sync_loads()
        for store in self.meta.stores:
            if store.id in self._failed:
                continue  # computed from blocks that did not come: these are wrong bytes
            blocks = [terrace.BlockPieces(store.first + i,
                                          piece_count=len(self.buffer.pieces(0, 0)))
                      for i in range(len(store.block_ids))]
            pieces = [piece for block in store.block_ids
                      for piece in self.buffer.pieces(block, self.region.id)]
            try:
                ticket = self.client.submit_put_pieces(
                    self.space, told_chain(store.keys, store.hints), blocks, pieces,
                    shard=self.rank, timeout=self.config.transfer_s)
                self._puts[ticket] = store
            except terrace.Error:
                pass  # not stored, this time

    def _end_sync_loads(self) -> None:
        for load in self.meta.loads:
            pending = self._loads.pop(load.id)
            assert not pending.tickets  # wait_for_layer_load was called for every layer

    def handle_preemptions(self, meta: Meta) -> None:
        """Waits as long as the daemon may read or write these pages: there is no other safe answer.
        Ends with the daemon's answer, or its death."""
        for name in meta.preempted:
            blocks = [block for store in self._stores_of(name) for block in store.block_ids]
            if blocks:
                self._drop_unsent(name)
                pieces = [piece for block in blocks
                          for piece in self.buffer.pieces(block, self.region.id)]
                self.client.fence(pieces, timeout=WAIT_S)
                self._pump()
                self._doubtful = [store for store in self._doubtful if store.id != name]
            self._storing.discard(name)

    def _stores_of(self, name: str) -> list[Store]:
        return [store for store in [*self._puts.values(), *self._doubtful] if store.id == name]

    def _drop_unsent(self, name: str) -> None:
        """For those that store in several steps."""

    # ---- the end of a step ----

    def get_finished(self, finished: set[str]) -> tuple[set[str], set[str]]:
        self._pump()
        if self._doubtful and self._quiet():
            self._doubtful.clear()
        self._finished |= finished & self._storing
        for name in finished & self._loads.keys():  # aborted: give the load up
            for ticket in list(self._loads[name].tickets):
                try:
                    self.client.cancel(ticket, timeout=0)
                except terrace.Error:
                    pass  # confirmed later
        sent = {name for name in self._finished if not self._stores_of(name)}
        self._finished -= sent
        self._storing -= sent
        received = set()
        if self.config.asynchronous:
            received = {name for name, pending in self._loads.items() if self._settled(pending)}
            for name in received:
                del self._loads[name]
        return sent, received

    def close(self) -> None:
        self.client.close()
