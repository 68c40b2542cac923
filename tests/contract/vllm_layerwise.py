"""The worker's half that stores layer by layer: what each save_kv_layer does for a prefill whose
blocks shall be on their way before the forward pass ends.

A block is reserved when the step begins, each layer is written as it is computed, and the block is
committed when all of them have arrived. Nobody sees it before; a block that is given up in between
is aborted, and was never there. Nothing here waits, but abort.
"""

import dataclasses
from collections.abc import Callable

import terrace
from contract_common import Pages, told_chain
from terrace import Status
from vllm_connector import STORED, Config, Store, WorkerConnector, statuses_of

ABORT_S = 0.1  # a reservation that cannot be aborted in time ends by its patience


@dataclasses.dataclass(eq=False)
class Parts:
    """One block on its way."""
    store: Store          # of this block alone
    token: bytes = b""    # none: not reserved yet
    ready: list[int] = dataclasses.field(default_factory=list)  # layers computed, not written
    written: int = 0      # layers that arrived
    under_way: int = 0    # calls
    sealed: bool = False  # the forward pass ended well
    ended: bool = False   # nothing more is to be sent


class LayerwiseWorker(WorkerConnector):
    def __init__(self, config: Config, rank: int = 0) -> None:
        super().__init__(config, rank)
        self._parts: list[Parts] = []
        self._step_of: dict[int, tuple[Parts, Callable[[Parts, terrace.Completion], None]]] = {}

    def start_load_kv(self) -> None:
        super().start_load_kv()
        for store in self.meta.stores:
            chain = told_chain(store.keys, store.hints)
            for i, block in enumerate(store.block_ids):
                parts = Parts(Store(store.id, store.keys, store.first + i, [block],
                                    store.hints))
                self._parts.append(parts)
                self._submit(parts, self._reserved, lambda: self.client.submit_reserve(
                    self.space, chain, parts.store.first, shard=self.rank,
                    timeout=self.config.transfer_s))

    def _submit(self, parts: Parts, then: Callable[[Parts, terrace.Completion], None],
                send: Callable[[], int]) -> None:
        try:
            self._step_of[send()] = (parts, then)
            parts.under_way += 1
        except terrace.Error:
            parts.ended = True  # not stored, this time

    def _store_step(self, completion: terrace.Completion) -> None:
        parts, then = self._step_of.pop(completion.ticket)
        parts.under_way -= 1
        then(parts, completion)

    def _reserved(self, parts: Parts, completion: terrace.Completion) -> None:
        status = completion.status
        if status is Status.OK:
            reservation = completion.reservation
            status, parts.token = reservation.status, reservation.token
        if status is not Status.OK:  # stored already, somebody stores it, no room, no daemon
            self.outcomes.append(status)
            parts.ended = True
        elif parts.ended:
            self._abort(parts)
        else:
            self._send_ready(parts)

    def _send_ready(self, parts: Parts) -> None:
        part, block = self.config.part_bytes, parts.store.block_ids[0]
        layers, parts.ready = parts.ready, []
        if not layers or parts.ended:
            return
        fragments = [terrace.Fragment(layer * part) for layer in layers]
        pieces = [terrace.Piece(self.buffer.offset(block, layer), part, self.region.id)
                  for layer in layers]
        self._submit(parts, self._wrote, lambda: self.client.submit_write(
            parts.token, fragments, pieces, timeout=self.config.transfer_s))

    def _wrote(self, parts: Parts, completion: terrace.Completion) -> None:
        statuses = statuses_of(completion, 1)
        if any(status is not Status.OK for status in statuses):
            self.outcomes += statuses[:1]
            if Status.IN_DOUBT in statuses:
                self._doubtful.append(parts.store)
            if not parts.ended:
                self._abort(parts)
            return
        parts.written += len(statuses)
        self._commit_if_whole(parts)

    def _commit_if_whole(self, parts: Parts) -> None:
        if parts.sealed and parts.written == self.config.layers and not parts.ended:
            self._submit(parts, self._committed, lambda: self.client.submit_commit(
                parts.token, timeout=self.config.transfer_s))

    def _committed(self, parts: Parts, completion: terrace.Completion) -> None:
        parts.ended = True
        status = (completion.blocks[0].status if completion.status is Status.OK
                  else completion.status)
        self.outcomes.append(status)
        if status not in STORED:
            self._abort(parts)

    def _abort(self, parts: Parts) -> None:
        parts.ended = True
        try:
            if parts.token:
                self.client.abort(parts.token, timeout=ABORT_S)
        except terrace.Error:
            pass  # ended already, or it ends by itself

    def save_kv_layer(self, layer: int) -> None:
        self._pump()
        for parts in self._parts:
            if not parts.sealed and not parts.ended:
                parts.ready.append(layer)
                if parts.token:
                    self._send_ready(parts)

    def wait_for_save(self) -> None:
        if not self.config.asynchronous:
            self._end_sync_loads()
        for parts in self._parts:
            if parts.sealed:
                continue
            parts.sealed = True
            if parts.store.id in self._failed:
                self._abort(parts)  # computed from blocks that did not come
            else:
                self._commit_if_whole(parts)

    def _stores_of(self, name: str) -> list[Store]:
        self._parts = [parts for parts in self._parts if parts.under_way or not parts.ended]
        return super()._stores_of(name) + [parts.store for parts in self._parts
                                           if parts.store.id == name]

    def _drop_unsent(self, name: str) -> None:
        for parts in self._parts:
            if parts.store.id == name and not parts.ended:
                parts.ready.clear()
                self._abort(parts)


def worker(config: Config, rank: int, buffer: Pages) -> WorkerConnector:
    """The half that stores as `config` says."""
    made = LayerwiseWorker(config, rank) if config.layerwise else WorkerConnector(config, rank)
    assert buffer.rank == rank
    return made
