"""A stub of vLLM's engine: one scheduler, a worker per rank, a paged cache, and no model.

It calls a connector in the order in which vLLM's V1 engine calls a KVConnector, with what is hard
about it: lookups that say None, update_state_after_alloc twice for an asynchronous load, chunked
prefill, preemption that gives a request's blocks to another in the same step, frees that wait for
get_finished, loads that fail. What the model would compute follows from the tokens (see Pages), so
the engine knows every byte. A page is computed right only when all pages before it are right: who
loads wrong bytes and does not say so, or stores what was computed from them, is found.
"""

import dataclasses
import enum
import hashlib
import pickle
import time
from typing import Any, Protocol

from contract_common import WAIT_S, Pages, chain_keys

BLOCK_TOKENS = 16


class State(enum.Enum):
    WAITING = 0
    WAITING_FOR_REMOTE = 1
    RUNNING = 2
    FINISHED = 3


@dataclasses.dataclass
class Request:
    id: str
    tokens: list[int]
    params: dict[str, Any] | None = None  # kv_transfer_params of the one who asks
    state: State = State.WAITING
    block_ids: list[int] = dataclasses.field(default_factory=list)
    computed: int = 0         # tokens
    external: int = 0         # tokens that the connector said it would bring
    received: bool = False
    waited: int = 0           # times that its lookup said None
    loaded: int = 0           # blocks that came from the connector and were right
    preempted: int = 0
    answer: dict[str, Any] | None = None  # kv_transfer_params of request_finished

    def __post_init__(self) -> None:
        self.keys = chain_keys(self.tokens, BLOCK_TOKENS)  # of full blocks
        rest = self.tokens[len(self.keys) * BLOCK_TOKENS:]
        tail = hashlib.sha256(b"tail" + b"".join(self.keys[-1:]) + repr(rest).encode()).digest()
        self.page_keys = self.keys + [tail] * bool(rest)


@dataclasses.dataclass
class Chunk:
    """Tokens [first, end) of a request, to be computed in this step."""
    id: str
    block_ids: list[int]
    page_keys: list[bytes]
    first: int
    end: int


@dataclasses.dataclass
class SchedulerOutput:
    chunks: list[Chunk] = dataclasses.field(default_factory=list)
    preempted: list[str] = dataclasses.field(default_factory=list)
    finished: list[str] = dataclasses.field(default_factory=list)
    freed: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class ConnectorOutput:
    """Of one worker, and then of all."""
    sent: set[str] = dataclasses.field(default_factory=set)
    received: set[str] = dataclasses.field(default_factory=set)
    invalid: set[int] = dataclasses.field(default_factory=set)


class SchedulerSide(Protocol):
    def get_num_new_matched_tokens(self, request: Request,
                                   computed: int) -> tuple[int | None, bool]: ...
    def update_state_after_alloc(self, request: Request, block_ids: list[int],
                                 external: int) -> None: ...
    def build_connector_meta(self, output: SchedulerOutput) -> Any: ...
    def update_connector_output(self, output: ConnectorOutput) -> None: ...
    def request_finished(self, request: Request,
                         block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]: ...


class WorkerSide(Protocol):
    def register_kv_caches(self, buffer: Pages) -> None: ...
    def handle_preemptions(self, meta: Any) -> None: ...
    def bind_connector_metadata(self, meta: Any) -> None: ...
    def start_load_kv(self) -> None: ...
    def wait_for_layer_load(self, layer: int) -> None: ...
    def save_kv_layer(self, layer: int) -> None: ...
    def wait_for_save(self) -> None: ...
    def get_finished(self, finished: set[str]) -> tuple[set[str], set[str]]: ...
    def get_block_ids_with_load_errors(self) -> set[int]: ...
    def clear_connector_metadata(self) -> None: ...


class Worker:
    """One rank: its pages, and the forward pass."""

    def __init__(self, connector: WorkerSide, buffer: Pages) -> None:
        self.connector, self.buffer = connector, buffer
        self.token_bytes = buffer.part_bytes // BLOCK_TOKENS
        self.tainted: set[str] = set()  # requests whose attention read wrong bytes in this step
        connector.register_kv_caches(buffer)

    def execute(self, output: SchedulerOutput, meta: Any) -> ConnectorOutput:
        self.tainted.clear()
        meta = pickle.loads(pickle.dumps(meta))  # workers are other processes
        connector = self.connector
        connector.handle_preemptions(meta)
        for page in output.freed:  # from here on they are somebody else's
            self.buffer.poison(page)
        connector.bind_connector_metadata(meta)
        connector.start_load_kv()
        if output.chunks:
            for layer in range(self.buffer.layers):
                connector.wait_for_layer_load(layer)
                for chunk in output.chunks:
                    self._compute(chunk, layer)
                connector.save_kv_layer(layer)
            connector.wait_for_save()
        sent, received = connector.get_finished(set(output.finished))
        invalid = connector.get_block_ids_with_load_errors()
        connector.clear_connector_metadata()
        assert self.buffer.guards_hold(), "somebody wrote beside a page"
        return ConnectorOutput(sent, received, invalid)

    def _slots(self, chunk: Chunk, first: int, end: int, layer: int) -> list[tuple[Any, Any]]:
        """(memory, what belongs there) of tokens [first, end)."""
        found = []
        for block in range(first // BLOCK_TOKENS, (end + BLOCK_TOKENS - 1) // BLOCK_TOKENS):
            low = max(first - block * BLOCK_TOKENS, 0) * self.token_bytes
            high = min(end - block * BLOCK_TOKENS, BLOCK_TOKENS) * self.token_bytes
            expected = self.buffer.expected(chunk.page_keys[block], layer)
            found.append((self.buffer.part(chunk.block_ids[block], layer)[low:high],
                          expected[low:high]))
        return found

    def _compute(self, chunk: Chunk, layer: int) -> None:
        """Attention over all tokens before, then the new ones' K and V."""
        right = chunk.id not in self.tainted and all(
            bool((memory == expected).all())
            for memory, expected in self._slots(chunk, 0, chunk.first, layer))
        if not right:
            self.tainted.add(chunk.id)
        for memory, expected in self._slots(chunk, chunk.first, chunk.end, layer):
            memory[:] = expected if right else ~expected

    def holds(self, request: Request) -> bool:
        chunk = Chunk(request.id, request.block_ids, request.page_keys, 0, 0)
        return all(bool((memory == expected).all()) for layer in range(self.buffer.layers)
                   for memory, expected in self._slots(chunk, 0, len(request.tokens), layer))


class Engine:
    def __init__(self, scheduler: SchedulerSide, workers: list[Worker], *,
                 step_tokens: int = 8 * BLOCK_TOKENS,
                 chunk_tokens: int = 4 * BLOCK_TOKENS) -> None:
        """Computes so many tokens in a step, and of one request."""
        self.connector, self.workers = scheduler, workers
        self.step_tokens, self.chunk_tokens = step_tokens, chunk_tokens
        self.free = list(range(workers[0].buffer.pages))
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.delayed: dict[str, Request] = {}  # finished, their blocks still being read
        self.aborted: dict[str, Request] = {}  # while their load was under way
        self.done: dict[str, Request] = {}
        self.steps = 0
        self._finished: list[str] = []
        self._freed: list[int] = []
        self._reports: dict[tuple[str, str], int] = {}

    # ---- the scheduler ----

    def add(self, name: str, tokens: list[int], params: dict[str, Any] | None = None) -> Request:
        request = Request(name, tokens, params)
        self.waiting.append(request)
        return request

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running or self.delayed or self.aborted)

    def _release(self, request: Request) -> None:
        self.free.extend(request.block_ids)
        self._freed.extend(request.block_ids)
        request.block_ids = []

    def _preempt(self, request: Request, output: SchedulerOutput) -> None:
        """Its blocks are free at once, also for this very step."""
        (self.running if request in self.running else self.waiting).remove(request)
        output.chunks = [chunk for chunk in output.chunks if chunk.id != request.id]
        self._release(request)
        request.state, request.computed, request.external = State.WAITING, 0, 0
        request.received = False
        request.preempted += 1
        self.waiting.insert(0, request)
        output.preempted.append(request.id)

    def _grow(self, request: Request, tokens: int, output: SchedulerOutput | None) -> bool:
        """Blocks for so many tokens; with `output` at the cost of those who run."""
        missing = -(-tokens // BLOCK_TOKENS) - len(request.block_ids)
        while missing > len(self.free):
            if output is None:
                return False
            victim = self.running[-1]
            self._preempt(victim, output)
            if victim is request:
                return False
        for _ in range(missing):
            request.block_ids.append(self.free.pop())
        return True

    def _schedule_chunk(self, request: Request, output: SchedulerOutput, budget: int,
                        preempts: bool = True) -> int:
        count = min(budget, self.chunk_tokens, len(request.tokens) - request.computed)
        if count <= 0 or not self._grow(request, request.computed + count,
                                        output if preempts else None):
            return 0
        output.chunks.append(Chunk(request.id, list(request.block_ids), request.page_keys,
                                   request.computed, request.computed + count))
        return count

    def _admit(self, request: Request, output: SchedulerOutput, budget: int) -> int:
        """A waiting request: looked up, allocated, and run or loaded."""
        if request.state is State.WAITING_FOR_REMOTE:
            if not request.received:
                return 0
            request.computed = min(request.external, len(request.tokens) - 1)
            count = self._schedule_chunk(request, output, budget, preempts=False)
            if count == 0:
                return 0
            self.connector.update_state_after_alloc(request, list(request.block_ids), 0)
        else:
            external, is_async = self.connector.get_num_new_matched_tokens(request, 0)
            if external is None:
                request.waited += 1
                return 0
            assert 0 <= external <= len(request.tokens) and external % BLOCK_TOKENS == 0
            if not self._grow(request, max(external, 1), None):
                return 0
            request.external = external
            self.connector.update_state_after_alloc(request, list(request.block_ids), external)
            if external and is_async:
                request.state = State.WAITING_FOR_REMOTE
                return 0
            request.computed = min(external, len(request.tokens) - 1)
            count = self._schedule_chunk(request, output, budget, preempts=False)
        self.waiting.remove(request)
        request.state = State.RUNNING
        self.running.append(request)
        return count

    def _schedule(self) -> SchedulerOutput:
        output = SchedulerOutput()
        budget = self.step_tokens
        for request in list(self.running):
            if request.state is State.RUNNING:
                budget -= self._schedule_chunk(request, output, budget)
        for request in list(self.waiting):
            if budget > 0 and request.id not in output.preempted:
                budget -= self._admit(request, output, budget)
        self._untangle(output)
        output.finished, self._finished = self._finished, []
        output.freed, self._freed = self._freed, []
        return output

    def _untangle(self, output: SchedulerOutput) -> None:
        """Loaded requests may hold all pages, and each too few to run: one gives way."""
        loaded = [request for request in self.waiting
                  if request.state is State.WAITING_FOR_REMOTE and request.received]
        loading = any(request.state is State.WAITING_FOR_REMOTE and not request.received
                      for request in self.waiting)
        if len(loaded) > 1 and not (loading or self.running or self.delayed or self.aborted):
            self._preempt(loaded[-1], output)

    # ---- a step ----

    def step(self) -> SchedulerOutput:
        self.steps += 1
        output = self._schedule()
        meta = self.connector.build_connector_meta(output)
        outputs = [worker.execute(output, meta) for worker in self.workers]
        together = self._together(outputs)
        self._update(output, together)
        self.connector.update_connector_output(together)
        return output

    def _together(self, outputs: list[ConnectorOutput]) -> ConnectorOutput:
        """A request counts when every worker has named it; a block is lost when one lost it."""
        together = ConnectorOutput(invalid=set().union(*(one.invalid for one in outputs)))
        for one in outputs:
            for kind, names, into in (("sent", one.sent, together.sent),
                                      ("received", one.received, together.received)):
                for name in names:
                    count = self._reports.get((kind, name), 0) + 1
                    if count == len(self.workers):
                        into.add(name)
                        count = 0
                    self._reports[kind, name] = count
        return together

    def _update(self, output: SchedulerOutput, workers: ConnectorOutput) -> None:
        for chunk in output.chunks:
            self._of(chunk.id).computed = chunk.end
        lost: set[str] = set()
        for request in self.waiting + self.running:
            bad = [i for i, block in enumerate(request.block_ids) if block in workers.invalid]
            if not bad:
                continue
            lost.add(request.id)
            valid = bad[0] * BLOCK_TOKENS
            request.external = min(request.external, valid)
            request.computed = min(request.computed, valid)
        for worker in self.workers:
            silent = worker.tainted - lost
            assert not silent, f"{silent} read wrong bytes, and no block was reported"
        for name in workers.received:
            self._receive(name)
        for name in workers.sent:
            request = self.delayed.pop(name)  # KeyError: named twice, or nobody waits for it
            for worker in self.workers:
                assert worker.holds(request), f"{name}: overwritten while it was being stored"
            self._release(request)
        for request in list(self.running):
            if request.computed == len(request.tokens):
                self._finish(request)

    def _receive(self, name: str) -> None:
        if name in self.aborted:
            self._release(self.aborted.pop(name))
            return
        request = self._of(name)
        assert request.state is State.WAITING_FOR_REMOTE and not request.received, name
        request.received = True
        request.loaded = request.external // BLOCK_TOKENS
        for worker in self.workers:
            for i in range(request.loaded):
                assert worker.buffer.holds(request.block_ids[i], request.keys[i]), \
                    f"{name}: block {i} was reported received and holds other bytes"

    def _of(self, name: str) -> Request:
        return next(request for request in self.waiting + self.running if request.id == name)

    def _finish(self, request: Request) -> None:
        for worker in self.workers:
            assert worker.holds(request), f"{request.id}: the cache holds wrong bytes"
        self.running.remove(request)
        self._end(request)

    def _end(self, request: Request) -> None:
        request.state = State.FINISHED
        self.done[request.id] = request
        self._finished.append(request.id)
        delay, request.answer = self.connector.request_finished(request, list(request.block_ids))
        if delay:
            self.delayed[request.id] = request
        else:
            self._release(request)

    def abort(self, request: Request) -> None:
        """The caller went away."""
        if request.state is State.WAITING_FOR_REMOTE and not request.received:
            self.waiting.remove(request)
            request.state = State.FINISHED
            self.aborted[request.id] = request  # until the load's end is reported
            self._finished.append(request.id)
            self.connector.request_finished(request, list(request.block_ids))
            return
        (self.running if request in self.running else self.waiting).remove(request)
        if request.computed < len(request.tokens):
            # Not whole: what is checked at its free is what was computed.
            request.tokens = request.tokens[:request.computed]
        self._end(request)

    def run(self, limit: float = WAIT_S) -> None:
        """Until there is nothing left to do."""
        end = time.monotonic() + limit
        while self.busy:
            assert time.monotonic() < end, (
                f"stuck after {self.steps} steps: waiting {[r.id for r in self.waiting]}, running "
                f"{[r.id for r in self.running]}, delayed {list(self.delayed)}, aborted "
                f"{list(self.aborted)}")
            if not self.step().chunks:
                time.sleep(0.001)  # a pass without a forward
        self.step()  # the last frees reach the workers
