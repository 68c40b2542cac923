"""The three processes of the example: a daemon that can be killed and started again, two workers.
"""

import ctypes
import json
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
START_S = 60.0  # for a process to come up, on a machine that is busy with other things


PR_SET_PDEATHSIG = 1  # of prctl(2)


def die_with_parent() -> None:
    """In a child, before it runs its program: nothing is left behind, however `run` ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Died(Exception):
    """A process ended that was to answer."""


class Daemon:
    """A terraced of its own, on a free port that it keeps when it is started again."""

    def __init__(self, program: pathlib.Path, folder: pathlib.Path, dram: str, nvme: str) -> None:
        """`dram`, `nvme`: capacities such as "64MiB"; an empty nvme is no NVMe tier."""
        self._program, self._folder = program, folder
        self.dram, self.nvme = dram, nvme  # of the next start
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.store = folder / "nvme" / "log-0"
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        ports, config = self._folder / "ports", self._folder / "terraced.toml"
        ports.unlink(missing_ok=True)
        nvme = (f'[nvme]\nfolder = "{self.store.parent}"\ncapacity = "{self.nvme}"\n'
                f'block_max = "1MiB"\n')  # so that a log of 64 MiB is large enough
        config.write_text(
            f'[server]\nlisten = "127.0.0.1:{self._port}"\nport_file = "{ports}"\n'
            f'[dram]\ncapacity = "{self.dram}"\n{nvme if self.nvme else ""}'
            f'[metrics]\nenabled = false\n', encoding="utf-8")
        with open(self._folder / "terraced.log", "ab") as log:
            self._process = subprocess.Popen([self._program, "--config", config], stderr=log,
                                             preexec_fn=die_with_parent)
        end = time.monotonic() + START_S
        while not (ports.exists() and ports.read_text(encoding="utf-8").strip()):
            if self._process.poll() is not None or time.monotonic() > end:
                raise Died(f"terraced did not start: see {self._folder}/terraced.log")
            time.sleep(0.01)
        self._port = int(ports.read_text(encoding="utf-8").split()[0])

    @property
    def running(self) -> bool:
        return self._process is not None

    def freeze(self) -> None:
        """SIGSTOP: it answers nothing, and whatever it was about to do it does when it wakes.
        Returns once every thread of it has stopped: on a busy machine that takes a while."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)
        tasks = pathlib.Path(f"/proc/{self._process.pid}/task")
        end = time.monotonic() + START_S
        while any(self._state(task) != "T" for task in tasks.iterdir()):
            if time.monotonic() > end:
                raise Died("terraced did not stop")
            time.sleep(0.001)

    @staticmethod
    def _state(task: pathlib.Path) -> str:
        """The letter of proc(5); the name before it, in brackets, may have any letters."""
        return (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: nothing is written any more."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(START_S)
            self._process = None
            # A tier whose daemons keep dying is left alone after three of them; these died of us.
            (self.store.parent / "starts").unlink(missing_ok=True)


class Worker:
    """An engine process, prefill.py or decode.py: requests go in, events come out."""

    def __init__(self, script: str, folder: pathlib.Path, address: str, seed: int, pages: int,
                 call_s: float) -> None:
        self.name = script.removesuffix(".py")
        with open(folder / f"{self.name}.log", "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, HERE / script, address, str(seed), str(pages), str(call_s)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                preexec_fn=die_with_parent)
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.expect("ready", START_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(json.loads(line))
        self._events.put(None)

    def send(self, **request: Any) -> None:
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise Died(f"{self.name} is dead") from None

    def go_on(self, give_up: bool = False) -> None:
        """Lets a worker that holds (Pipe.hold) continue, or give up what it computes."""
        self.send(give_up=give_up)

    def expect(self, event: str, deadline_s: float) -> dict[str, Any]:
        """The next event, which must be this one."""
        try:
            found = self._events.get(timeout=deadline_s)
        except queue.Empty:
            raise TimeoutError(f"{self.name}: no {event!r} within {deadline_s} s") from None
        if found is None:
            self._events.put(None)
            raise Died(f"{self.name} ended")
        if found["event"] != event:
            raise AssertionError(f"{self.name} told {found}, not {event!r}")
        return found

    def await_daemon(self) -> None:
        self.send(await_daemon_s=START_S)
        if not self.expect("daemon", 2 * START_S)["connected"]:
            raise Died(f"{self.name} did not reach the daemon")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(START_S)

    def close(self) -> None:
        """Ends it: its standard input ends."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self._process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.kill()
