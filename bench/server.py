"""A tool in a process of its own: does what the other end of a pipe asks for.

    python -m bench.server PEER THREADS

Requests and replies are pickled tuples on standard input and output; a reply is ``("ok", value)``
or ``("error", text)``. What tools print goes to standard error.
"""

import contextlib
import importlib
import os
import pickle
import sys
import time
from typing import Any, BinaryIO

import numpy as np

from bench.cases import Case
from bench.peers import PEERS
from bench.peers.base import Peer, Variant

__all__ = ["Server", "main"]

_SLOW = 5.0  # seconds


class Server:
    """Answers requests: methods by name."""

    def __init__(self, name: str, threads: int):
        module, _, attribute = PEERS[name].partition(":")
        kind = getattr(importlib.import_module(module), attribute)
        if missing := kind.missing():
            raise ModuleNotFoundError(f"not installed: {missing}")
        self._peer: Peer = kind(threads)
        self.versions = self._peer.versions()
        self._makers: dict[str, Any] = {}
        self._ready: dict[str, Variant] = {}

    def variants(self, case: Case, dtype: str) -> list[str]:
        """Names of the ways to compute a case; forgets the case before."""
        self._ready.clear()
        self._makers = dict(self._peer.variants(case, dtype))
        return list(self._makers)

    def prepare(self, name: str, rows: np.ndarray) -> tuple[float, float, str, np.ndarray]:
        """Makes a variant and runs it, twice unless it is slow.

        Returns:
            Seconds until it was done, those of the last run, the problem, and rows of the result.
        """
        start = time.perf_counter()
        variant = self._makers[name]()
        found, seconds = _timed(variant)
        if seconds < _SLOW:
            found, seconds = _timed(variant)
        ready = time.perf_counter() - start
        self._ready[name] = variant
        return ready, seconds, variant.problem, found[rows].astype(np.float64)

    def turn(self, name: str, seconds: float, least: int, warm: bool) -> list[float]:
        """Runs a variant again and again: seconds of each run.

        Args:
            name: of the variant.
            seconds: for how long.
            least: how many runs there are at least.
            warm: whether there is one more at the start that does not count.
        """
        variant = self._ready[name]
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < least + warm or time.perf_counter() < end:
            start = time.perf_counter()
            variant.run()
            times.append(time.perf_counter() - start)
            if variant.after is not None:
                variant.after()
        return times[warm:]

    def forget(self, name: str) -> None:
        self._ready.pop(name, None)


def _timed(variant: Variant) -> tuple[np.ndarray, float]:
    """The result of one run, and how long it took."""
    start = time.perf_counter()
    found = variant.run()
    seconds = time.perf_counter() - start
    result = np.asarray(variant.result(found))
    if variant.after is not None:
        variant.after()
    return result, seconds


def serve(server: Server, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers until the other end hangs up."""
    while True:
        try:
            method, *arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            reply = ("ok", getattr(server, method)(*arguments))
        except Exception as error:  # whatever a tool raises is a row of the table
            reply = ("error", f"{type(error).__name__}: {error}")
        pickle.dump(reply, replies)
        replies.flush()


def main() -> None:
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):
        try:
            server = Server(sys.argv[1], int(sys.argv[2]))
        except Exception as error:
            pickle.dump(("error", f"{type(error).__name__}: {error}"), replies)
            replies.flush()
            return
        pickle.dump(("ok", server.versions), replies)
        replies.flush()
        serve(server, requests, replies)


if __name__ == "__main__":
    main()
