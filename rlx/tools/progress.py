"""What a tool is doing, for people who watch it."""

import sys

__all__ = ["Progress"]


class Progress:
    """One line on a terminal that says what is going on; nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, step: str) -> None:
        if self._shown:
            print(f"\r\x1b[K{step} ...", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
