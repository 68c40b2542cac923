"""One request through prefill and decode, and what is known of it afterwards."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from model import Shape
from processes import Daemon, Died, Worker

# What a call may take beyond its deadline until the library is sure that nothing touches its
# memory any more (docs/client.md), and ten times the room for a busy machine.
GRACE_S = 10 * 1.0

Fault = Callable[["Rig"], None]


@dataclass
class Outcome:
    """A request's way, its times in seconds, and whether the logits are those of `alone`."""
    name: str
    tokens: int
    from_cache: int    # tokens whose KV came from Terrace
    computed: int      # tokens of the prompt that decode computed
    ttft_s: float      # from the request to its first token
    after_prefill_s: float | None  # from the end of prefill's computing to the first token
    exact: bool
    longest_wait: tuple[str, float]  # of decode and prefill for Terrace: what, seconds
    by_layer: bool     # every layer was waited for alone, none of the blocks as a whole
    overdue_s: float   # most that a wait took beyond its deadline


@dataclass
class Setting:
    """How a request is served. The holds stop a worker at one place and run a fault there."""
    layerwise: bool = False
    handoff: bool = False      # prefill computes it; otherwise decode takes what is stored
    durable: bool = False
    step_blocks: int = 0       # blocks that are computed before the next ones begin; 0: all
    hold_prefill: list[int] | None = None  # step, layer
    at_prefill: Fault | None = None
    prefill_dies: bool = False
    prefill_gives_up: bool = False         # at the hold
    at_decode: Fault | None = None         # between decode's match and its get
    between: Fault | None = None           # after prefill, before decode
    spoil: bool = False        # decode uses KV with one wrong number: the logits must differ


@dataclass
class Rig:
    """A daemon and both workers, started by rig(). Not shared by threads."""
    program: pathlib.Path
    folder: pathlib.Path
    seed: int
    pages: int
    call_s: float
    daemon: Daemon
    prefill: Worker
    decode: Worker
    references: dict[tuple[int, int], tuple[bytes, float]] = field(default_factory=dict)

    # ---- processes ----

    def mend(self) -> None:
        """Starts again what a fault killed or stopped; returns when both workers are connected.
        Not while one of them serves a request."""
        self.daemon.thaw()
        if not self.daemon.running:
            self.daemon.start()
        if not self.prefill.running:
            self.prefill.close()
            self.prefill = self._worker("prefill.py")
        self.decode.await_daemon()
        self.prefill.await_daemon()

    def _worker(self, script: str) -> Worker:
        return Worker(script, self.folder, self.daemon.address, self.seed, self.pages, self.call_s)

    # ---- requests ----

    def patience_s(self, tokens: int) -> float:
        """For computing so many tokens: about 20 times what it takes alone on an idle core."""
        return 60.0 + (tokens / 64) ** 2 / 100

    def alone(self, tokens: int, prompt: int) -> Outcome:
        """Computes all in decode; its logits are what every other way must give."""
        began_ns = time.monotonic_ns()
        done, logits = self._decode(tokens, prompt, "alone", Setting(), None, None)
        ttft_s = (done["first_token_ns"] - began_ns) / 1e9
        before = self.references.setdefault((tokens, prompt), (logits, ttft_s))
        return Outcome("alone", tokens, 0, tokens, ttft_s, None, logits == before[0], ("", 0.0),
                       False, 0.0)

    def serve(self, name: str, tokens: int, prompt: int, setting: Setting) -> Outcome:
        """One request. `prompt` is the seed of its tokens."""
        if (tokens, prompt) not in self.references:
            self.alone(tokens, prompt)
        self.mend()
        began_ns = time.monotonic_ns()
        told: dict[str, Any] = {"waits": []}
        token = None
        if setting.handoff:
            token = self._begin_prefill(tokens, prompt, setting)
        if setting.handoff and token is None:
            told = self._end_prefill(tokens, setting)
        if setting.between is not None:
            setting.between(self)
            began_ns = time.monotonic_ns()  # what the fault itself took is not the request's
        if token is None:
            done, logits = self._decode(tokens, prompt, "cached", setting, None, None)
        else:
            done, logits = self._decode(tokens, prompt, "handoff", setting, token,
                                        lambda: told.update(self._end_prefill(tokens, setting)))
        loaded = done["loaded"] * Shape().block_tokens
        waits: list[tuple[str, float, float]] = done["waits"] + told["waits"]
        took_s, longest = max(((wait[1], wait[0]) for wait in waits), default=(0.0, ""))
        after = (done["first_token_ns"] - told["computed_ns"]) / 1e9 \
            if told.get("complete") and loaded else None
        return Outcome(name, tokens, loaded, tokens - loaded,
                       (done["first_token_ns"] - began_ns) / 1e9, after,
                       logits == self.references[(tokens, prompt)][0], (longest, took_s),
                       done["by_layer"],
                       max((took - allowed for _, took, allowed in waits), default=0.0))

    def _begin_prefill(self, tokens: int, prompt: int, setting: Setting) -> str | None:
        """Returns the token of a layer-wise hand-off."""
        self.prefill.send(tokens=tokens, seed=prompt, layerwise=setting.layerwise,
                          durable=setting.durable, step_blocks=setting.step_blocks,
                          hold=setting.hold_prefill, deadline_s=self.patience_s(tokens))
        if not setting.layerwise:
            return None
        token = self.prefill.expect("open", self.patience_s(tokens))["token"]
        return str(token) if token is not None else None

    def _end_prefill(self, tokens: int, setting: Setting) -> dict[str, Any]:
        limit_s = 2 * self.patience_s(tokens)
        if setting.hold_prefill is not None:
            self.prefill.expect("holding", limit_s)
            if setting.at_prefill is not None:
                setting.at_prefill(self)
            if not setting.prefill_dies:
                self.prefill.go_on(setting.prefill_gives_up)
        try:
            return self.prefill.expect("done", limit_s)
        except Died:
            if not setting.prefill_dies:
                raise
            return {"waits": []}

    def _decode(self, tokens: int, prompt: int, how: str, setting: Setting, token: str | None,
                meanwhile: Callable[[], None] | None) -> tuple[dict[str, Any], bytes]:
        """What decode told, and its logits. `meanwhile` runs while decode works."""
        save = self.folder / "logits"
        limit_s = 2 * self.patience_s(tokens)
        self.decode.send(how=how, tokens=tokens, seed=prompt, layerwise=setting.layerwise,
                         token=token, step_blocks=setting.step_blocks,
                         hold=setting.at_decode is not None and how == "cached",
                         deadline_s=self.patience_s(tokens), save=str(save),
                         spoil=setting.spoil)
        if meanwhile is not None:
            meanwhile()
        if setting.at_decode is not None and how == "cached":
            self.decode.expect("holding", limit_s)
            setting.at_decode(self)
            self.decode.go_on()
        done = self.decode.expect("done", limit_s)
        return done, save.read_bytes()


@contextlib.contextmanager
def rig(program: pathlib.Path, folder: pathlib.Path, tokens: int, *, dram: str, nvme: str = "",
        seed: int = 1, call_s: float = 10.0) -> Iterator[Rig]:
    """Starts a daemon and two engines for prompts of up to `tokens` tokens; ends them at exit."""
    folder.mkdir(parents=True)
    # Twice the pages of a prompt: blocks whose memory is in doubt are computed in others.
    pages = 2 * (tokens // Shape().block_tokens + 2)
    daemon = Daemon(program, folder, dram, nvme)
    try:
        prefill = Worker("prefill.py", folder, daemon.address, seed, pages, call_s)
        decode = Worker("decode.py", folder, daemon.address, seed, pages, call_s)
        made = Rig(program, folder, seed, pages, call_s, daemon, prefill, decode)
        try:
            yield made
        finally:
            made.prefill.close()
            made.decode.close()
    finally:
        daemon.kill()
