"""Lines of JSON between `run`, which routes requests, and the two engine processes.

A request is one line on a worker's standard input; what it answers are events, one a line, on its
standard output. Times are of CLOCK_MONOTONIC in nanoseconds, which all processes of a host share.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from model import Shape


def prompt_tokens(shape: Shape, seed: int, count: int) -> Any:
    """A prompt of random tokens [count], the same in every process."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, shape.vocabulary, count)


class Pipe:
    """A worker's end."""

    def __init__(self) -> None:
        # What libraries print must not come between the events.
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def tell(self, event: str, **values: Any) -> None:
        print(json.dumps({"event": event, **values}), file=self._out, flush=True)

    def hold(self, place: str) -> dict[str, Any]:
        """Says that this place is reached, and stands still until told how to go on."""
        self.tell("holding", place=place)
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        told: dict[str, Any] = json.loads(line)
        return told

    def serve(self, handle: Callable[[dict[str, Any]], None],
              await_daemon: Callable[[float], bool]) -> None:
        """Answers requests until standard input ends."""
        self.tell("ready")
        while line := sys.stdin.readline():
            request = json.loads(line)
            if "await_daemon_s" in request:
                self.tell("daemon", connected=await_daemon(request["await_daemon_s"]))
            else:
                handle(request)
