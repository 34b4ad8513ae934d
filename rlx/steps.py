"""The steps of a compilation: who wants to know about them, and how long they take."""

import time
from collections.abc import Callable

__all__ = ["Progress", "Steps"]

Progress = Callable[[str], None]
"""Called with the name of each step as it begins."""


class Steps:
    """Times steps, one after the other.

    Attributes:
        seconds: of each step, in order.
    """

    def __init__(self, progress: Progress | None = None):
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._current: tuple[str, float] | None = None

    def begin(self, step: str) -> None:
        """Ends the current step and begins another."""
        self.end()
        if self._progress is not None:
            self._progress(step)
        self._current = (step, time.perf_counter())

    def end(self) -> None:
        if self._current is not None:
            step, start = self._current
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start
            self._current = None
