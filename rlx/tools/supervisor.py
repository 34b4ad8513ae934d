"""Runs work that may bring the process down in a child, and says what happened when it does.

Passes of the host check much of their input with assertions, or not at all. A tool must survive
that with an error message, so the work happens in a forked child; the parent, which never loads the
host, reports a child that died. Where there is no `fork`, the work runs in place.
"""

import ctypes
import json
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable

__all__ = ["Phase", "supervise"]

_SIZE = 1 << 16


class Phase:
    """What the work is about to do, kept where the parent can read it after a crash."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _SIZE)

    def set(self, what: str, **more: str) -> None:
        """``what`` completes the sentence "crashed while ...". ``more`` is for the reporter."""
        data = json.dumps({"what": what, **more}).encode()
        if len(data) < _SIZE:
            self._shared[: len(data) + 1] = data + b"\0"

    def get(self) -> dict[str, str]:
        data = self._shared[:].partition(b"\0")[0]
        return json.loads(data) if data else {"what": "starting"}


def supervise(work: Callable[[Phase], int], crashed: Callable[[dict[str, str], str], int]) -> int:
    """Runs ``work`` in a child and returns its exit code.

    Args:
        work: the work; told where to note its phase.
        crashed: called in the parent with the last phase and the name of the signal when the child
            was killed; returns the exit code.
    """
    phase = Phase()
    replaced = sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__
    if not hasattr(os, "fork") or replaced:  # output that only this process can see
        return work(phase)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        # Python's exception could surface anywhere, and a pass of the host would swallow it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _die_with(parent)
        _grow_stack()
        _child(work, phase)
    with _forwarded(pid):
        # A signal that came to both may be forwarded late: until then the child must be known.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        return 128 + number
    return crashed(phase.get(), signal.Signals(number).name)


def _child(work: Callable[[Phase], int], phase: Phase) -> None:
    code = 1
    try:
        code = work(phase)
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except BrokenPipeError:
        code = 1
    finally:
        os._exit(code)


def _die_with(parent: int) -> None:
    """Without its parent, say after a timeout that killed it, nobody waits for the child."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _grow_stack() -> None:
    """The host parses, verifies and prints with recursion; Linux lets the main stack grow late."""
    if sys.platform == "linux":
        import resource  # not on every platform

        _, most = resource.getrlimit(resource.RLIMIT_STACK)
        wanted = 100 << 20
        if most == resource.RLIM_INFINITY or most > wanted:
            resource.setrlimit(resource.RLIMIT_STACK, (wanted, most))


class _forwarded:
    """While active, requests to end go to the child, whose end ends this process too."""

    def __init__(self, pid: int):
        self.pid = pid
        main = threading.current_thread() is threading.main_thread()
        self.signals = (signal.SIGTERM, signal.SIGINT) if main else ()

    def __enter__(self) -> None:
        self.before = {
            number: signal.signal(number, lambda number, frame: os.kill(self.pid, number))
            for number in self.signals
        }

    def __exit__(self, *_: object) -> None:
        for number, before in self.before.items():
            signal.signal(number, before)
