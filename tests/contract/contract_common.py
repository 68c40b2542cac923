"""What the contract tests share: a daemon to be hurt, and memory that knows what it must hold.

An oracle says of every page which bytes belong there: they follow from the block's key, the layer
and the rank alone. Pages lie between guards that nobody may touch, and a page that is free is
poisoned, so that a late write shows.
"""

import functools
import hashlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

import terrace

Bytes = NDArray[numpy.uint8]

WAIT_S = 60.0  # longer than anything here takes, on any machine
GUARD_BYTES = 64
GUARD, POISON = 0xA5, 0xDB


class Daemon:
    """A terraced that can be stopped, killed, and started again at the same address."""

    program = ""  # terraced; set by the test's main

    def __init__(self, dram: str = "64MiB", reactors: int = 1, more: str = "") -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="terrace-contract-test-")
        self._ports = os.path.join(self.folder.name, "ports")
        self._dram, self._reactors, self._more = dram, reactors, more
        self._log = open(os.path.join(self.folder.name, "log"), "ab")
        self.address = ""
        self._start("127.0.0.1:0")

    def _start(self, listen: str) -> None:
        config = os.path.join(self.folder.name, "terraced.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'[server]\nlisten = "{listen}"\nport_file = "{self._ports}"\n'
                       f'reactors = {self._reactors}\n[dram]\ncapacity = "{self._dram}"\n'
                       f'[cache]\npolicy = "leaf-lru"\n'
                       f'[metrics]\nenabled = false\n{self._more}')
        if os.path.exists(self._ports):
            os.unlink(self._ports)
        self.process = subprocess.Popen([self.program, "--config", config], stderr=self._log)
        end = time.monotonic() + WAIT_S
        while not (os.path.exists(self._ports) and os.path.getsize(self._ports)):
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self._log.name, encoding="utf-8") as file:
                    raise AssertionError("terraced did not start: " + file.read()[-2000:])
            time.sleep(0.01)
        with open(self._ports, encoding="utf-8") as file:
            self.address = f"127.0.0.1:{file.readline().strip()}"

    def freeze(self) -> None:
        """Returns when every thread stands still."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = f"/proc/{self.process.pid}/task"

        def still() -> bool:
            states = set()
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/stat", encoding="utf-8") as file:
                    states.add(file.read().rpartition(")")[2].split()[0])
            return states == {"T"}
        until(still, "the daemon stands still")

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)

    def start_again(self) -> None:
        """After a kill. All blocks are gone; clients come back by themselves."""
        self._start(self.address)

    def stop(self) -> None:
        """AssertionError when it had ended by itself, or does not end well."""
        said = ""
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            self.process.wait(WAIT_S)
        if self.process.returncode not in (0, -signal.SIGKILL):
            with open(self._log.name, encoding="utf-8") as file:
                said = f"terraced ended with {self.process.returncode}: {file.read()[-2000:]}"
        self._log.close()
        self.folder.cleanup()
        assert not said, said


def until(true: Callable[[], bool], what: str, limit: float = WAIT_S) -> None:
    """Waits for something that another process or thread does."""
    end = time.monotonic() + limit
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.002)


@functools.lru_cache(maxsize=4096)
def content(key: bytes, part: int, rank: int, nbytes: int) -> Bytes:
    """What a page of the block `key` must hold: `part` is the layer."""
    seed = key + part.to_bytes(4, "little") + rank.to_bytes(4, "little")
    made = numpy.frombuffer(hashlib.shake_128(seed).digest(nbytes), numpy.uint8)
    made.flags.writeable = False
    return made


def chain_keys(tokens: list[int], block_tokens: int, salt: bytes = b"") -> list[bytes]:
    """One key per full block; each follows from all tokens before it."""
    keys, parent = [], hashlib.sha256(b"seed" + salt).digest()
    for first in range(0, len(tokens) - block_tokens + 1, block_tokens):
        words = b"".join(token.to_bytes(4, "little")
                         for token in tokens[first:first + block_tokens])
        parent = hashlib.sha256(parent + words).digest()
        keys.append(parent)
    return keys


class Pages:
    """`pages` pages, each of `layers` parts of `part_bytes`: a GPU's paged cache or a host pool.

    scattered: part l of all pages lies together, so a page is `layers` pieces. Otherwise a page is
    one piece. Guards stand between all that is not one piece.
    """

    def __init__(self, pages: int, layers: int, part_bytes: int, *, scattered: bool,
                 rank: int = 0) -> None:
        self.pages, self.layers, self.part_bytes = pages, layers, part_bytes
        self.scattered, self.rank = scattered, rank
        piece = part_bytes if scattered else part_bytes * layers
        self._stride = piece + GUARD_BYTES
        rows = pages * layers if scattered else pages
        self.memory: Bytes = numpy.full(GUARD_BYTES + rows * self._stride, GUARD, numpy.uint8)
        self._rows = self.memory[GUARD_BYTES:].reshape(rows, self._stride)
        self._rows[:, :piece] = POISON
        self._piece = piece

    @property
    def page_bytes(self) -> int:
        return self.layers * self.part_bytes

    def offset(self, page: int, part: int) -> int:
        """Of that part, from the start of `memory`."""
        if self.scattered:
            return GUARD_BYTES + (part * self.pages + page) * self._stride
        return GUARD_BYTES + page * self._stride + part * self.part_bytes

    def part(self, page: int, part: int) -> Bytes:
        at = self.offset(page, part)
        return self.memory[at:at + self.part_bytes]

    def pieces(self, page: int, region: int) -> list[terrace.Piece]:
        """The page as a gather list."""
        if not self.scattered:
            return [terrace.Piece(self.offset(page, 0), self.page_bytes, region)]
        return [terrace.Piece(self.offset(page, part), self.part_bytes, region)
                for part in range(self.layers)]

    def expected(self, key: bytes, part: int) -> Bytes:
        return content(key, part, self.rank, self.part_bytes)

    def fill(self, page: int, key: bytes) -> None:
        for part in range(self.layers):
            self.part(page, part)[:] = self.expected(key, part)

    def poison(self, page: int) -> None:
        for part in range(self.layers):
            self.part(page, part)[:] = POISON

    def part_holds(self, page: int, part: int, key: bytes) -> bool:
        return bool((self.part(page, part) == self.expected(key, part)).all())

    def holds(self, page: int, key: bytes) -> bool:
        return all(self.part_holds(page, part, key) for part in range(self.layers))

    def poisoned(self, page: int) -> bool:
        return all(bool((self.part(page, part) == POISON).all()) for part in range(self.layers))

    def guards_hold(self) -> bool:
        return bool((self.memory[:GUARD_BYTES] == GUARD).all()
                    and (self._rows[:, self._piece:] == GUARD).all())


def whole_block(key: bytes, layers: int, part_bytes: int, rank: int) -> Bytes:
    return numpy.concatenate([content(key, part, rank, part_bytes) for part in range(layers)])


def told_chain(keys: Sequence[bytes], told: Any) -> terrace.Chain:
    """With what a router or a client told of the request's conversation: the fields of
    terrace.Hints by name. Whatever else it is, the request is served without."""
    try:
        return terrace.Chain(keys, hints=terrace.Hints(**told) if told else None)
    except (TypeError, terrace.InvalidError):
        return terrace.Chain(keys)


def hints_taken(address: str) -> dict[str, int]:
    """Hints that the daemon took since it began, by kind."""
    with terrace.Client(address, connect_timeout=WAIT_S, timeout=WAIT_S) as client:
        return {sample.labels.split('"')[1]: int(sample.value) for sample in client.stat()
                if sample.name == "terrace_hints_total"}


def evict_all(address: str, mebibytes: int) -> None:
    """Puts so many blocks of another namespace that everything without a lease has to go."""
    size = 1 << 20
    with terrace.Client(address, connect_timeout=WAIT_S, timeout=WAIT_S) as client:
        space = client.open_namespace("pressure", block_tokens=16,
                                      groups=[terrace.Group(0, size)])
        with client.register(numpy.ones(size, numpy.uint8)) as region:
            for i in range(mebibytes):
                chain = terrace.Chain([os.urandom(16) + i.to_bytes(4, "little")])
                client.put(space, chain, region.blocks(1, size))
