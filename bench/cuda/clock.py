"""Times on a GPU."""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Clock"]

_HEAD_START = 2_000_000  # cycles: about a millisecond


class Clock:
    """Times calls on the GPU."""

    def __init__(self, torch: Any, rounds: int):
        self.torch, self.rounds = torch, rounds
        self.scratch = torch.empty(2**30, dtype=torch.uint8, device="cuda")

    def once(self, call: Callable[[], Any]) -> float:
        """Seconds, with a cold cache, and without what Python takes to get the call going."""
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.scratch.zero_()
        self.torch.cuda._sleep(_HEAD_START)
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def compare(self, calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
        """Medians in seconds, of those that work; all take turns."""
        working = {}
        for name, call in calls.items():
            try:
                for _ in range(2):
                    call()
                    self.torch.cuda.synchronize()
                working[name] = call
            except Exception as error:
                if name == "rlx":
                    raise
                print(f"    {name}: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
        times: dict[str, list[float]] = {name: [] for name in working}
        for _ in range(self.rounds):
            for name, call in working.items():
                times[name].append(self.once(call))
        return {name: float(np.median(found)) for name, found in times.items()}

    def peaks(self) -> tuple[float, float]:
        """Measured: operations per second of a product, bytes per second of a copy."""
        torch = self.torch
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        x, y = (torch.empty(2**30, dtype=torch.uint8, device="cuda") for _ in range(2))
        seconds = self.compare({"product": lambda: a @ b, "copy": lambda: y.copy_(x)})
        return 2 * 8192**3 / seconds["product"], 2 * 2**30 / seconds["copy"]
