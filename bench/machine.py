"""Where a benchmark runs."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Machine", "describe", "pick_cores"]


@dataclass(frozen=True)
class Machine:
    """Attributes:
    processor: its name.
    cores: how many this process may use.
    used: the cores that the benchmark runs on.
    load: of the machine, over the minute before.
    date: of the run.
    versions: of every tool.
    isa: the instruction set that tools are held to; empty for what the processor has.
    """

    processor: str
    cores: int
    used: tuple[int, ...]
    load: float
    date: str
    versions: dict[str, str] = field(default_factory=dict)
    isa: str = ""


def describe(used: Sequence[int], isa: str = "") -> Machine:
    """This machine; ``isa`` as in :class:`Machine`."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(": ")[2] for line in info.splitlines() if "model name" in line]
    name = names[0] if names else platform.processor()
    return Machine(
        f"{name} with {isa} only" if isa else name,
        os.cpu_count() or 1,
        tuple(used),
        round(os.getloadavg()[0], 1),
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        {"Python": platform.python_version()},
        isa,
    )


def pick_cores(threads: int) -> list[int]:
    """The last cores that this process may use.

    Raises:
        ValueError: there are fewer.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(allowed):
        raise ValueError(f"expected 1 to {len(allowed)} threads, but got {threads}")
    return allowed[-threads:]
