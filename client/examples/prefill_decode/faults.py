"""The fault cases: whatever breaks, decode's output is that of computing all alone.

Each case says what it expects beyond that: how much came from Terrace, and for those in which
somebody dies that nobody waited for the dead.
"""

import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model import Shape
from scenario import GRACE_S, Outcome, Rig, Setting, rig

SHAPE = Shape()


@dataclass
class Case:
    """One request that goes wrong somewhere."""
    name: str
    setting: Setting
    expect: Callable[[int], bool]  # of the blocks that came from Terrace
    expected: str                  # the same in words
    stored: bool = False           # prefill has stored it before
    exact: bool = True
    by_layer: bool = False         # no layer may have been missing
    told: bool = False             # what broke ends waits, not their deadline


def full_blocks(tokens: int) -> int:
    return (tokens - 1) // SHAPE.block_tokens


def kill_daemon(on: Rig) -> None:
    on.daemon.kill()


def restart_daemon(on: Rig) -> None:
    on.daemon.kill()
    on.daemon.start()


def freeze_daemon(on: Rig) -> None:
    on.daemon.freeze()


def kill_prefill(on: Rig) -> None:
    on.prefill.kill()


def push_out(tokens: int) -> Callable[[Rig], None]:
    """Evicts what is stored: prefill stores another prompt, which takes all the DRAM."""
    def fault(on: Rig) -> None:
        on.prefill.send(tokens=tokens, seed=900, layerwise=False, durable=False, step_blocks=0,
                        hold=None, deadline_s=on.patience_s(tokens))
        on.prefill.expect("done", on.patience_s(tokens))
    return fault


def corrupt_on_disk(tokens: int, prompt: int, block: int) -> Callable[[Rig], None]:
    """Flips a byte of one block's KV in the log of the NVMe tier while no daemon runs. The block
    is found by its bytes, which this process computes as prefill did."""
    def fault(on: Rig) -> None:
        on.daemon.kill()
        content = layer_of(tokens, prompt, block, on.seed)
        log = bytearray(on.daemon.store.read_bytes())
        places = [place for place in find_all(log, content[:4096])]
        if not places:
            raise AssertionError(f"block {block} is not in {on.daemon.store}")
        with open(on.daemon.store, "r+b") as file:
            for place in places:
                file.seek(place + 100)
                file.write(bytes([log[place + 100] ^ 0x10]))
        on.daemon.start()
        on.decode.await_daemon()
    return fault


def find_all(where: bytearray, what: bytes) -> Iterator[int]:
    place = where.find(what)
    while place >= 0:
        yield place
        place = where.find(what, place + 1)


def layer_of(tokens: int, prompt: int, block: int, seed: int) -> bytes:
    """K and V of one block in the last layer."""
    from engine import Engine, Hooks
    from protocol import prompt_tokens
    engine = Engine(SHAPE, seed, block + 1)
    table = engine.allocate(block + 1)
    engine.blocks(prompt_tokens(SHAPE, prompt, tokens), table, range(block + 1), Hooks())
    content: bytes = engine.pool[SHAPE.layers - 1, table[block]].tobytes()
    return content


def run_case(on: Rig, case: Case, tokens: int, prompt: int) -> tuple[Outcome, list[str]]:
    """The outcome, and what was not as it must be."""
    if case.stored:
        store(on, tokens, prompt, case.setting.durable)
    outcome = on.serve(case.name, tokens, prompt, case.setting)
    wrong = []
    if outcome.exact != case.exact:
        wrong.append("the logits differ from computing it alone" if case.exact else
                     "the logits are right although the KV was spoiled: this proof proves nothing")
    blocks = outcome.from_cache // SHAPE.block_tokens
    if not case.expect(blocks):
        wrong.append(f"{blocks} of {full_blocks(tokens)} blocks came from Terrace, not "
                     f"{case.expected}")
    if case.by_layer and not outcome.by_layer:
        wrong.append("it was not served layer by layer")
    if outcome.overdue_s > GRACE_S:
        wrong.append(f"a wait ended {outcome.overdue_s:.1f} s after its deadline")
    if case.told and outcome.longest_wait[1] > GRACE_S:
        wrong.append(f"waited {outcome.longest_wait[1]:.1f} s for somebody dead "
                     f"({outcome.longest_wait[0]})")
    return outcome, [f"{case.name}: {what}" for what in wrong]


def store(on: Rig, tokens: int, prompt: int, durable: bool) -> None:
    """Has prefill compute and store a prompt, in whole blocks."""
    on.mend()
    on.prefill.send(tokens=tokens, seed=prompt, layerwise=False, durable=durable, step_blocks=0,
                    hold=None, deadline_s=on.patience_s(tokens))
    done = on.prefill.expect("done", on.patience_s(tokens))
    if durable and done["stored"] != full_blocks(tokens):
        raise AssertionError(f"{done['stored']} of {full_blocks(tokens)} blocks are durable")


def cases(tokens: int, layerwise: bool, first_prompt: int) -> list[Case]:
    """With a daemon of enough DRAM and an NVMe tier."""
    full, half = full_blocks(tokens), full_blocks(tokens) // 2
    way = "layer-wise" if layerwise else "blocking"
    step = max(1, full // 5)
    middle = [2, SHAPE.layers // 2]  # step, layer
    at_layer = [0, SHAPE.layers // 2]

    def setting(**options: object) -> Setting:
        return Setting(layerwise=layerwise, **options)  # type: ignore[arg-type]

    every, none = (lambda n: n == full, "all"), (lambda n: n == 0, "none")
    some = (lambda n: n == 2 * step, f"the {2 * step} of two steps")
    found = [
        Case(f"no fault, stored before, {way}", setting(), *every, stored=True,
             by_layer=layerwise),
        Case(f"no fault, hand-off, {way}", setting(handoff=True), *every,
             by_layer=layerwise),
        Case(f"daemon killed before the get, {way}", setting(at_decode=kill_daemon), *none,
             stored=True, told=True),
        Case(f"daemon killed and restarted in the hand-off, {way}",
             setting(handoff=True, step_blocks=step, hold_prefill=middle,
                     at_prefill=restart_daemon), lambda n: n <= full, "anything", told=True),
        Case(f"daemon stands still before the get, {way}", setting(at_decode=freeze_daemon), *none,
             stored=True),
        Case(f"daemon stands still in the hand-off, {way}",
             setting(handoff=True, step_blocks=step, hold_prefill=middle,
                     at_prefill=freeze_daemon), lambda n: n <= full, "anything"),
        Case(f"block {half} corrupted on disk, {way}",
             setting(durable=True, between=corrupt_on_disk(tokens, first_prompt + 6, half)),
             lambda n: n == half, f"the {half} before it", stored=True),
        Case(f"producer killed in step 3, {way}",
             setting(handoff=True, step_blocks=step, hold_prefill=middle, at_prefill=kill_prefill,
                     prefill_dies=True), *some, told=True),
    ]
    found.append(Case(f"producer gives up in step 3, {way}",
                      setting(handoff=True, step_blocks=step, hold_prefill=middle,
                              prefill_gives_up=True), *some, told=True))
    if layerwise:
        found.append(Case(
            "producer killed in the middle layer, one step, layer-wise",
            setting(handoff=True, hold_prefill=at_layer, at_prefill=kill_prefill,
                    prefill_dies=True), *none, told=True))
    else:
        found.append(Case("control: one number of the KV is wrong", setting(spoil=True), *every,
                          stored=True, exact=False))
    return found


def eviction_cases(tokens: int, layerwise: bool) -> list[Case]:
    """With a daemon whose DRAM holds about one prompt, and no NVMe tier."""
    full = full_blocks(tokens)
    way = "layer-wise" if layerwise else "blocking"
    fewer = (lambda n: n < full, "fewer than all")
    found = [
        Case(f"evicted before the match, {way}",
             Setting(layerwise=layerwise, between=push_out(tokens)), *fewer, stored=True),
        Case(f"evicted between match and get, {way}",
             Setting(layerwise=layerwise, at_decode=push_out(tokens)), *fewer, stored=True),
    ]
    if layerwise:
        found.append(Case("no room for the hand-off: stored in whole blocks instead",
                          Setting(layerwise=True, handoff=True), lambda n: n <= full, "anything"))
    return found


def run_faults(program: pathlib.Path, folder: pathlib.Path, tokens: int, layerwise: list[bool]
               ) -> Iterator[tuple[Outcome, list[str]]]:
    """Runs all cases, and yields each as it ends."""
    with rig(program, folder / "faults", tokens, dram="64MiB", nvme="64MiB",
             call_s=5.0) as on:
        for which in layerwise:
            first = 100 + 50 * which
            for number, case in enumerate(cases(tokens, which, first)):
                yield run_case(on, case, tokens, first + number)
        # From here on a daemon that has room for little more than one prompt.
        room_mib = max(4, full_blocks(tokens) * SHAPE.block_bytes * 5 // 4 >> 20)
        on.daemon.kill()
        on.daemon.dram, on.daemon.nvme = f"{room_mib}MiB", ""
        for which in layerwise:
            for number, case in enumerate(eviction_cases(tokens, which)):
                yield run_case(on, case, tokens, 200 + 50 * which + number)
