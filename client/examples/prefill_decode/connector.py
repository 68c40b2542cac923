"""Between an engine and Terrace: keys, and the pages of blocks as pieces of one registered region.

Nothing here raises because Terrace failed: what could not be had is computed, and every wait has a
deadline. `Connector.waits` tells how long each of them took.
"""

import hashlib
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import terrace
from engine import Engine, Hooks

NAMESPACE = "prefill-decode"
KEY_BYTES = 32
GOOD = (terrace.Status.OK, terrace.Status.EXISTS)


@dataclass(frozen=True)
class Wait:
    """One wait for Terrace, in seconds."""
    what: str
    took: float
    allowed: float  # until its deadline


def block_keys(tokens: Any, block_tokens: int, count: int) -> bytes:
    """Chained SHA-256 of the first `count` full blocks, KEY_BYTES each: a key names its block's
    tokens and all before them."""
    keys, parent = bytearray(), bytes(KEY_BYTES)
    words = np.asarray(tokens, "<u4")
    for block in range(count):
        part = words[block * block_tokens:(block + 1) * block_tokens]
        parent = hashlib.sha256(parent + part.tobytes()).digest()
        keys += parent
    return bytes(keys)


class Prompt:
    """A prompt's full blocks: their keys, and the page that each of them has in this process.

    The last block is never one of them, even if it is full: somebody has to compute the logits of
    the last token, in one chunk with the tokens beside it."""

    def __init__(self, engine: Engine, tokens: Any, generate: int) -> None:
        """Takes pages for the prompt and for `generate` tokens after it."""
        size = engine.shape.block_tokens
        self.tokens = tokens
        self.full = (len(tokens) - 1) // size
        self.chain = terrace.Chain(block_keys(tokens, size, self.full), key_bytes=KEY_BYTES)
        self.table = engine.allocate(-(-(len(tokens) + generate) // size))
        self.usable = 0  # leading blocks that stand in their pages, in every layer


class Connector:
    """A client of a daemon for one engine, whose pool is registered with it. Only the constructor
    raises when there is no daemon."""

    def __init__(self, engine: Engine, seed: int, address: str, call_s: float) -> None:
        """`seed`: of the weights. `call_s`: deadline of calls that wait for nobody's computing."""
        self.engine = engine
        self.call_s = call_s
        self.waits: list[Wait] = []
        self._doubtful: list[int] = []  # pages that a daemon which stands still may write into
        shape = engine.shape
        self.client = terrace.Client(address, name="prefill-decode", timeout=call_s)
        self.space = self.client.open_namespace(
            NAMESPACE, model=f"random/{shape.layers}x{shape.hidden}", kv_dtype="float32",
            weights=shape.fingerprint(seed), layout="layer, K(head,dim,token) V(head,token,dim)",
            block_tokens=shape.block_tokens, groups=[terrace.Group(0, shape.block_bytes)])
        self.region = self.client.register(engine.pool)

    # ---- blocks as pieces ----

    def whole(self, prompt: Prompt, blocks: range) -> tuple[Any, Any]:
        """Arguments of get_pieces and put_pieces: each block gathered from its layers."""
        layers = self.engine.shape.layers
        what = np.zeros(len(blocks), terrace.BLOCK_PIECES_DTYPE)
        what["position"], what["piece_count"] = blocks, layers
        return what, np.concatenate([self._pieces(prompt, range(layers), block)
                                     for block in blocks])

    def layer(self, prompt: Prompt, blocks: Sequence[int], layer: int) -> tuple[Any, Any]:
        """The same for one layer of each block: one range of it, one piece."""
        size = self.engine.shape.layer_bytes
        what = np.zeros(len(blocks), terrace.BLOCK_PIECES_DTYPE)
        what["position"], what["piece_count"] = blocks, 1
        what["range_offset"], what["range_bytes"], what["range_count"] = layer * size, size, 1
        return what, np.concatenate([self._pieces(prompt, range(layer, layer + 1), block)
                                     for block in blocks])

    def _pieces(self, prompt: Prompt, layers: range, block: int) -> Any:
        pieces = np.zeros(len(layers), terrace.PIECE_DTYPE)
        pieces["region"], pieces["length"] = self.region.id, self.engine.shape.layer_bytes
        pieces["offset"] = [self.engine.offset(layer, prompt.table[block]) for layer in layers]
        return pieces

    # ---- calls that wait ----

    def run(self, what: str, deadline_s: float, method: Any, *arguments: Any,
            **options: Any) -> Any:
        """Calls, and notes how long it took. None: it failed as a whole, which is logged. What is
        wrong with the arguments is a bug here, and raised."""
        began = time.monotonic()
        try:
            return method(*arguments, timeout=deadline_s, **options)
        except terrace.InvalidError:
            raise
        except terrace.Error as error:
            log(f"{what}: {error}")
            return None
        finally:
            self.waits.append(Wait(what, time.monotonic() - began, deadline_s))

    def put(self, prompt: Prompt, blocks: range, durable: bool = False) -> int:
        """Stores blocks. Returns how many of them are stored now."""
        results = self.run("put", self.call_s, self.client.put_pieces, self.space, prompt.chain,
                           *self.whole(prompt, blocks), durable=durable)
        if results is None:
            return 0
        self.replace(prompt, in_doubt(blocks, results.statuses))
        if durable:
            return sum(result.status in GOOD and result.ack is terrace.Ack.DURABLE
                       for result in results)
        return sum(status in GOOD for status in results.statuses)

    def match(self, prompt: Prompt) -> int:
        """Leading blocks that are stored."""
        found: terrace.Match | None = self.run("match", self.call_s, self.client.match, self.space,
                                               prompt.chain)
        return found.matched if found is not None else 0

    def get(self, prompt: Prompt, blocks: range) -> None:
        """Fetches blocks into their pages: prompt.usable grows by those that came."""
        if not blocks:
            return
        results = self.run("get", self.call_s, self.client.get_pieces, self.space, prompt.chain,
                           *self.whole(prompt, blocks))
        if results is None:
            return
        statuses = results.statuses
        tell_failures("get", statuses, blocks.start)
        prompt.usable = blocks.start + results.leading
        self.replace(prompt, in_doubt(blocks, statuses))

    def cancel(self, tickets: Iterable[int]) -> bool:
        """Gives submitted calls up, within call_s for all of them. False: bytes of one of them may
        still be on their way."""
        settled, end = True, time.monotonic() + self.call_s
        for ticket in tickets:
            left = max(0.0, end - time.monotonic())
            if self.run("cancel", left, _cancelled, self.client, ticket) is None:
                settled = False
        return settled

    def ack(self, token: bytes) -> None:
        """Of a hand-off: this receiver has all it wants."""
        self.run("ack", self.call_s, _acked, self.client, token)

    def abort(self, token: bytes) -> None:
        """Of a hand-off: its producer gives up."""
        self.run("abort", self.call_s, _aborted, self.client, token)

    def await_daemon(self, deadline_s: float) -> bool:
        """Waits until the daemon answers (again)."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            try:
                self.client.ping(timeout=self.call_s)
                return True
            except terrace.Error:
                time.sleep(0.02)
        return False

    # ---- pages in doubt ----

    def replace(self, prompt: Prompt, doubtful: set[int]) -> None:
        """Gives blocks other pages, because bytes may still be written into theirs."""
        for block in doubtful:
            self._doubtful.append(prompt.table[block])
            prompt.table[block] = self.engine.allocate(1)[0]

    def settle(self) -> None:
        """Takes pages back that were in doubt, once nothing can write into them. Never waits."""
        if self._doubtful:
            try:
                self.region.quiesce(0)
            except terrace.Error:
                return
            self.engine.release(self._doubtful)
            self._doubtful = []


class Incomplete(Exception):
    """A layer did not come for all blocks."""


class LayerLoad(Hooks):
    """Brings blocks layer by layer, all layers asked for at once. before_layer waits for its own.

    With a token the layers are those of a hand-off, which may not have been computed yet; without
    one they are read from blocks that are stored.
    """

    def __init__(self, connector: Connector, prompt: Prompt, blocks: range, deadline_s: float,
                 token: bytes | None = None) -> None:
        self._connector, self._prompt, self._blocks = connector, prompt, blocks
        self._end = time.monotonic() + deadline_s
        self._tickets: dict[int, int] = {}  # ticket -> layer, of calls that have not ended
        self._statuses: dict[int, list[int]] = {}  # layer -> of each block
        client, space = connector.client, connector.space
        for layer in range(connector.engine.shape.layers if blocks else 0):
            what, pieces = connector.layer(prompt, blocks, layer)
            try:
                if token is None:
                    ticket = client.submit_get_pieces(space, prompt.chain, what, pieces,
                                                      timeout=deadline_s)
                else:
                    ticket = client.submit_receive(token, space, prompt.chain, what, pieces,
                                                   timeout=deadline_s)
            except terrace.InvalidError:
                raise
            except terrace.Error as error:
                log(f"layer {layer} was not asked for: {error}")
                break
            self._tickets[ticket] = layer

    def before_layer(self, layer: int) -> None:
        if not self._blocks:
            return
        began = time.monotonic()
        while layer in self._tickets.values():
            if not self._take():
                break
        now = time.monotonic()
        self._connector.waits.append(Wait(f"layer {layer}", now - began, self._end - began))
        if not all(status in GOOD for status in self._statuses.get(layer, [-1])):
            raise Incomplete(f"layer {layer}")

    def _take(self) -> bool:
        """Waits for completions, at most until the deadline and what the library needs after it.
        False: none came."""
        left = self._end - time.monotonic() + 2.0
        try:
            self._connector.client.wait_for_completion(timeout=max(left, 0.0))
        except terrace.Error as error:
            log(f"waiting for a layer: {error}")
            return False
        for done in self._connector.client.poll():
            layer = self._tickets.pop(done.ticket, None)
            if layer is None:
                continue
            try:
                self._statuses[layer] = done.blocks.statuses
            except terrace.Error as error:
                log(f"layer {layer}: {error}")
                self._statuses[layer] = [error.status] * len(self._blocks)
            tell_failures(f"layer {layer}", self._statuses[layer], self._blocks.start)
        return True

    def finish(self) -> None:
        """Gives up what has not come, and says in prompt.usable what has. Pages into which bytes
        may still be written are replaced."""
        connector, count = self._connector, len(self._blocks)
        doubtful: set[int] = set()
        if not connector.cancel(list(self._tickets)):
            doubtful.update(self._blocks)
        while self._tickets and not doubtful and self._take():
            pass
        for statuses in self._statuses.values():
            doubtful |= in_doubt(self._blocks, statuses)
        layers = [self._statuses.get(layer, [-1] * count)
                  for layer in range(connector.engine.shape.layers)]
        usable = 0
        while usable < count and all(statuses[usable] in GOOD for statuses in layers):
            usable += 1
        self._prompt.usable = self._blocks.start + usable
        connector.replace(self._prompt, {block for block in doubtful
                                         if block >= self._prompt.usable})


# Calls that return nothing, for Connector.run, to which None is a failure.

def _cancelled(client: terrace.Client, ticket: int, timeout: float) -> bool:
    client.cancel(ticket, timeout=timeout)
    return True


def _acked(client: terrace.Client, token: bytes, timeout: float) -> bool:
    client.ack_handoff(token, timeout=timeout)
    return True


def _aborted(client: terrace.Client, token: bytes, timeout: float) -> bool:
    client.abort_handoff(token, timeout=timeout)
    return True


def waited(client: terrace.Client, timeout: float) -> bool:
    client.wait_for_completion(timeout=timeout)
    return True


def in_doubt(blocks: Iterable[int], statuses: Iterable[int]) -> set[int]:
    """The blocks whose memory the daemon may still read or write."""
    return {block for block, status in zip(blocks, statuses, strict=True)
            if status == terrace.Status.IN_DOUBT}


def tell_failures(what: str, statuses: Sequence[int], first: int) -> None:
    """Logs the first block that did not come, and how many did."""
    for index, status in enumerate(statuses):
        if status not in GOOD:
            log(f"{what}: block {first + index} is {terrace.Status(status).name}, "
                f"{sum(other in GOOD for other in statuses)} of {len(statuses)} came")
            return


def log(text: str) -> None:
    """To standard error, which `run` keeps in a file of the process."""
    print(f"{time.monotonic():.3f} {text}", file=sys.stderr, flush=True)
