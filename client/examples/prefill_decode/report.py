"""What `run` prints: a line for each request, as soon as it has been served."""

import pathlib
from collections.abc import Iterator, Sequence

from faults import full_blocks, run_faults
from model import Shape
from scenario import Outcome, Rig, Setting, rig

NAME_WIDTH = 56
BLOCK_TOKENS = Shape().block_tokens


def header() -> None:
    print(f"{'case':{NAME_WIDTH}} {'tokens':>6} {'cached':>6} {'computed':>8} {'TTFT s':>8} "
          f"{'after s':>8} {'exact':>5}  longest wait")


def line(outcome: Outcome) -> None:
    after = f"{outcome.after_prefill_s:8.3f}" if outcome.after_prefill_s is not None else f"{'':8}"
    what, took = outcome.longest_wait
    print(f"{outcome.name:{NAME_WIDTH}} {outcome.tokens:6} {outcome.from_cache:6} "
          f"{outcome.computed:8} {outcome.ttft_s:8.3f} {after} "
          f"{'yes' if outcome.exact else 'no':>5}  {took:.3f} s {what}", flush=True)


def sizes(program: pathlib.Path, folder: pathlib.Path, counts: Sequence[int],
          ways: Sequence[bool]) -> list[str]:
    """Each prompt alone, handed off, and once more when it is stored. Returns what is wrong."""
    header()
    wrong = []
    for tokens in counts:
        # One client's hand-offs may take a quarter of the DRAM tier.
        room_mib = 16 + (5 * full_blocks(tokens) * Shape().block_bytes >> 20)
        with rig(program, folder / str(tokens), tokens, dram=f"{room_mib}MiB") as on:
            for outcome in one_size(on, tokens, ways):
                line(outcome)
                if not outcome.exact:
                    wrong.append(f"{outcome.name}, {tokens} tokens: other logits")
                expected = 0 if outcome.name == "alone" else full_blocks(tokens) * BLOCK_TOKENS
                if outcome.by_layer != ("layer-wise" in outcome.name):
                    wrong.append(f"{outcome.name}: by_layer is {outcome.by_layer}")
                if outcome.from_cache != expected:
                    wrong.append(f"{outcome.name}: {outcome.from_cache} tokens came from Terrace, "
                                 f"not {expected}")
    return wrong


def one_size(on: Rig, tokens: int, ways: Sequence[bool]) -> Iterator[Outcome]:
    yield on.alone(tokens, 1)
    for layerwise in ways:
        way = "layer-wise" if layerwise else "blocking"
        on.daemon.kill()  # what the way before left is gone; serve() starts it again
        yield on.serve(f"handed off, {way}", tokens, 1,
                       Setting(layerwise=layerwise, handoff=True))
        yield on.serve(f"stored before, {way}", tokens, 1, Setting(layerwise=layerwise))


def faults(program: pathlib.Path, folder: pathlib.Path, tokens: int) -> list[str]:
    """All fault cases, blocking and layer-wise. Returns what is wrong."""
    header()
    wrong = []
    for outcome, problems in run_faults(program, folder, tokens, [False, True]):
        line(outcome)
        wrong += problems
    return wrong
