"""The other end of :mod:`bench.server`: a tool that can be asked, and told to hold still."""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Client", "PeerError"]

_ROOT = Path(__file__).resolve().parents[1]


_PR_SET_PDEATHSIG = 1


class PeerError(RuntimeError):
    """A tool is not there, or has failed."""


class Client:
    """A tool in a process of its own, stopped except while it works.

    Threads that wait for more work in a busy loop would otherwise take the time of others.

    Args:
        name: one of :data:`bench.peers.PEERS`.
        cores: where it may run; one thread on each.
        python: the interpreter that has it installed.
        environment: variables that it sees beside those that are set.

    Attributes:
        versions: of what the tool consists of.

    Raises:
        PeerError: the tool is not installed there.
    """

    def __init__(
        self,
        name: str,
        cores: Sequence[int],
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ):
        self.name = name
        threads = str(len(cores))
        variables = os.environ | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONPATH": f"{_ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            **(environment or {}),
        }
        try:
            self._process = subprocess.Popen(
                [python, "-m", "bench.server", name, threads],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=variables,
                cwd=_ROOT,
                preexec_fn=lambda: _settle(cores),
            )
        except OSError as error:
            raise PeerError(f"cannot run {python}: {error.strerror}") from None
        try:
            self.versions: dict[str, str] = self._receive()
        except PeerError:
            self.close()
            raise

    def ask(self, method: str, *arguments: Any) -> Any:
        """What the server's method returns.

        Raises:
            PeerError: it has failed, or the process has ended.
        """
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None
        try:
            pickle.dump((method, *arguments), self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"{self.name} has ended") from None
        return self._receive()

    def close(self) -> None:
        """Ends the process, which may have ended before."""
        self._process.kill()
        self._process.wait()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            kind, value = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            raise PeerError(f"{self.name} has ended") from None
        self._process.send_signal(signal.SIGSTOP)
        if kind == "error":
            raise PeerError(str(value).strip().splitlines()[0][:200])
        return value


def _settle(cores: Sequence[int]) -> None:
    """Of a new process: where it runs, and that it ends with this one, even while it is stopped."""
    os.sched_setaffinity(0, cores)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
