"""The prefill process: computes prompts and hands their KV on, at once or layer by layer.

Usage: prefill.py ADDRESS SEED PAGES CALL_SECONDS, with requests on standard input (protocol.py).
"""

import sys
import time
from typing import Any

import terrace
from connector import GOOD, Connector, Prompt, in_doubt, log, tell_failures, waited
from engine import Engine, Hooks
from model import Shape
from protocol import Pipe, prompt_tokens


PATIENCE_MAX_S = 600.0  # the most that a hand-off may have; between two sends, that is


class GivenUp(Exception):
    """Prefill was told to stop computing a prompt (its user went away, say)."""


class Hold(Hooks):
    """Stands still after one layer of one step, for the faults that `run` injects there."""

    def __init__(self, pipe: Pipe, at: list[int] | None) -> None:
        """`at`: step, layer."""
        self._pipe, self._at, self._step = pipe, at, 0
        self.computed_ns = 0  # when the layer before after_layer was done

    def pass_on(self, layer: int, blocks: range) -> None:
        """Hands a layer on; here whole blocks are stored later."""

    def next_step(self) -> None:
        self._step += 1

    def after_layer(self, layer: int, blocks: range) -> None:
        self.computed_ns = time.monotonic_ns()
        self.pass_on(layer, blocks)
        if self._at == [self._step, layer]:
            if self._pipe.hold(f"step {self._step} layer {layer}").get("give_up"):
                raise GivenUp


class LayerSend(Hold):
    """Sends every layer of a hand-off as soon as it is computed, without waiting."""

    def __init__(self, pipe: Pipe, at: list[int] | None, connector: Connector, prompt: Prompt,
                 deadline_s: float) -> None:
        super().__init__(pipe, at)
        self._connector, self._prompt = connector, prompt
        self._deadline_s = deadline_s
        self._tickets: dict[int, list[int]] = {}  # of sends under way -> their blocks
        self._doubtful: set[int] = set()          # blocks that the daemon may still read
        self._failed = False
        self.token: bytes = connector.client.new_handoff()
        opened = connector.run("open", connector.call_s, connector.client.open_handoff,
                               self.token, connector.space, prompt.chain, 0, prompt.full,
                               patience=min(deadline_s, PATIENCE_MAX_S))
        statuses = opened.statuses if opened is not None else []
        tell_failures("open", statuses, 0)
        self.opened = opened is not None and opened.ok
        # The others are stored already, and need not be sent.
        self._sending = {block for block, status in enumerate(statuses)
                         if status == terrace.Status.OK}

    def pass_on(self, layer: int, blocks: range) -> None:
        self._collect()
        chosen = [block for block in blocks if block in self._sending]
        if chosen and not self._failed:
            client, connector = self._connector.client, self._connector
            what, pieces = connector.layer(self._prompt, chosen, layer)
            try:
                ticket = client.submit_send(self.token, connector.space, self._prompt.chain, what,
                                            pieces, timeout=self._deadline_s)
                self._tickets[ticket] = chosen
            except terrace.InvalidError:
                raise
            except terrace.Error as error:
                log(f"layer {layer} was not sent: {error}")
                self._fail()

    def _collect(self) -> None:
        """Takes the ends of sends. Never waits."""
        for done in self._connector.client.poll():
            blocks = self._tickets.pop(done.ticket, [])
            if not blocks:
                continue
            try:
                statuses = done.blocks.statuses
            except terrace.Error as error:
                log(f"send: {error}")
                statuses = [error.status] * len(blocks)
            tell_failures("send", statuses, blocks[0])
            self._doubtful |= in_doubt(blocks, statuses)
            if not all(status in GOOD for status in statuses):
                self._fail()

    def _fail(self) -> None:
        """The rest is of no use without what was not sent: receivers shall not wait for it."""
        if not self._failed:
            self._failed = True
            self._connector.abort(self.token)

    def give_up(self) -> None:
        self._fail()

    def finish(self) -> int:
        """Returns when the pages may be used again: everything was sent, or given up. How many
        blocks are stored."""
        connector = self._connector
        while self._tickets and not self._failed:
            if connector.run("sent", connector.call_s, waited, connector.client) is None:
                self._fail()
            self._collect()
        if connector.cancel(self._tickets):
            self._collect()
        else:
            self._doubtful.update(*self._tickets.values())
        connector.replace(self._prompt, self._doubtful)
        return 0 if self._failed else self._prompt.full


class Prefill:
    """Answers {"tokens", "seed", "layerwise", "durable", "step_blocks", "hold", "deadline_s"} with
    an event "open" (layer-wise: the token, or null), perhaps "holding", and "done"."""

    def __init__(self, pipe: Pipe, engine: Engine, connector: Connector) -> None:
        self._pipe, self._engine, self._connector = pipe, engine, connector

    def handle(self, request: dict[str, Any]) -> None:
        engine, connector = self._engine, self._connector
        connector.waits.clear()
        connector.settle()
        tokens = prompt_tokens(engine.shape, request["seed"], request["tokens"])
        prompt = Prompt(engine, tokens, 0)
        hooks: Hold = Hold(self._pipe, request["hold"])
        if request["layerwise"]:
            hooks = self._open(request, prompt)
        stored, complete = 0, True
        step = request["step_blocks"] or prompt.full
        try:
            for first in range(0, prompt.full, step):
                blocks = range(first, min(first + step, prompt.full))
                engine.blocks(tokens, prompt.table, blocks, hooks)
                if not isinstance(hooks, LayerSend):
                    stored += connector.put(prompt, blocks, request["durable"])
                hooks.next_step()
        except GivenUp:
            complete = False
            if isinstance(hooks, LayerSend):
                hooks.give_up()
        if isinstance(hooks, LayerSend):
            stored = hooks.finish()
        engine.release(prompt.table)
        self._pipe.tell("done", computed_ns=hooks.computed_ns, complete=complete, stored=stored,
                        waits=[(wait.what, wait.took, wait.allowed) for wait in connector.waits])

    def _open(self, request: dict[str, Any], prompt: Prompt) -> Hold:
        """Opens a hand-off. What cannot be handed off is stored in whole blocks instead."""
        send = LayerSend(self._pipe, request["hold"], self._connector, prompt,
                         request["deadline_s"])
        if send.opened:
            self._pipe.tell("open", token=send.token.hex())
            return send
        self._connector.abort(send.token)
        self._pipe.tell("open", token=None)
        return Hold(self._pipe, request["hold"])


def main() -> None:
    address, seed, pages, call_s = sys.argv[1:]
    pipe = Pipe()
    engine = Engine(Shape(), int(seed), int(pages))
    connector = Connector(engine, int(seed), address, float(call_s))
    engine.warm(int(pages) // 2 * engine.shape.block_tokens)
    pipe.serve(Prefill(pipe, engine, connector).handle, connector.await_daemon)


if __name__ == "__main__":
    main()
