"""The decode process: gets the KV of prompts, computes what did not come, generates tokens.

Usage: decode.py ADDRESS SEED PAGES CALL_SECONDS, with requests on standard input (protocol.py).
"""

import pathlib
import sys
import time
from typing import Any

from connector import Connector, Incomplete, LayerLoad, Prompt, log
from engine import Engine, Hooks
from model import Shape
from protocol import Pipe, prompt_tokens

GENERATE = 16  # tokens, of which the prompt's own logits give the first


class Decode:
    """Answers {"how", "tokens", "seed", "layerwise", "token", "step_blocks", "hold", "deadline_s",
    "spoil", "save"} with "done", perhaps after "holding".

    `how`: "alone" computes all, "cached" asks what is stored, "handoff" receives what a prefill
    process computes right now."""

    def __init__(self, pipe: Pipe, engine: Engine, connector: Connector) -> None:
        self._pipe, self._engine, self._connector = pipe, engine, connector

    def handle(self, request: dict[str, Any]) -> None:
        engine, connector = self._engine, self._connector
        connector.waits.clear()
        connector.settle()
        tokens = prompt_tokens(engine.shape, request["seed"], request["tokens"])
        prompt = Prompt(engine, tokens, GENERATE)
        logits = self._load(request, prompt)
        loaded = prompt.usable
        by_layer = logits is not None
        if request["spoil"]:
            engine.pool[0, prompt.table[0], 0] += 1
        if logits is None:
            logits = self._compute(request, prompt)
        first_token_ns = time.monotonic_ns()
        every = list(engine.generate(logits, prompt.table, len(tokens), GENERATE))
        pathlib.Path(request["save"]).write_bytes(b"".join(part.tobytes() for part in every))
        engine.release(prompt.table)
        self._pipe.tell("done", first_token_ns=first_token_ns, loaded=loaded, by_layer=by_layer,
                        waits=[(wait.what, wait.took, wait.allowed) for wait in connector.waits])

    def _load(self, request: dict[str, Any], prompt: Prompt) -> Any:
        """Brings what Terrace has. Layer-wise the rest of the prompt is computed meanwhile: then
        its logits are returned, if everything came."""
        connector = self._connector
        if request["how"] == "alone":
            return None
        logits, matched = None, 0
        if request["how"] == "handoff":
            token = bytes.fromhex(request["token"])
            logits = self._by_layer(prompt, request["deadline_s"], token)
            connector.ack(token)
        else:
            matched = connector.match(prompt)
            if request["hold"]:
                self._pipe.hold("matched")
            if not request["layerwise"]:
                connector.get(prompt, range(matched))
                return None
            if matched == prompt.full:
                logits = self._by_layer(prompt, connector.call_s, None)
        if logits is None:
            # What is missing in one layer, or was never handed off, may be stored in whole blocks.
            connector.get(prompt, range(prompt.usable, connector.match(prompt)))
        return logits

    def _by_layer(self, prompt: Prompt, deadline_s: float, token: bytes | None) -> Any:
        """Logits of the prompt, or None and what has come in prompt.usable."""
        load = LayerLoad(self._connector, prompt, range(prompt.full), deadline_s, token)
        try:
            return self._last_chunk(prompt, load)
        except Incomplete as missing:
            log(f"layer-wise load ends: {missing}")
            return None
        finally:
            load.finish()

    def _compute(self, request: dict[str, Any], prompt: Prompt) -> Any:
        """Computes all that has not come."""
        step = request["step_blocks"] or prompt.full
        for first in range(prompt.usable, prompt.full, max(step, 1)):
            blocks = range(first, min(first + step, prompt.full))
            self._engine.blocks(prompt.tokens, prompt.table, blocks, Hooks())
        return self._last_chunk(prompt, Hooks())

    def _last_chunk(self, prompt: Prompt, hooks: Hooks) -> Any:
        first = prompt.full * self._engine.shape.block_tokens
        return self._engine.chunk(prompt.tokens[first:], prompt.table, first, hooks)


def main() -> None:
    address, seed, pages, call_s = sys.argv[1:]
    pipe = Pipe()
    engine = Engine(Shape(), int(seed), int(pages))
    connector = Connector(engine, int(seed), address, float(call_s))
    engine.warm(int(pages) // 2 * engine.shape.block_tokens)
    pipe.serve(Decode(pipe, engine, connector).handle, connector.await_daemon)


if __name__ == "__main__":
    main()
