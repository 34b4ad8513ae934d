"""How long a fresh process takes to compile a block, and to find it compiled."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Startup", "measure_startup"]

_ROOT = Path(__file__).resolve().parents[1]

_SCRIPT = """
import json, sys, time
start = time.perf_counter()
import numpy
import rlx
rlx.compile
imported = time.perf_counter()
rlx.compile(open(sys.argv[1]).read(), cache=sys.argv[2])
ready = time.perf_counter()
print(json.dumps([imported - start, ready - imported]))
"""


@dataclass(frozen=True)
class Startup:
    """Seconds, in processes that have done nothing before.

    Attributes:
        imports: to import NumPy and `rlx.compile`.
        cold: to compile, after that.
        second: to get the same function ready when it lies in the cache on disk.
    """

    imports: float
    cold: float
    second: float


def measure_startup(text: str, cores: Sequence[int], runs: int = 3) -> Startup:
    """Medians over several processes that compile ``text``."""
    imports, cold, second = [], [], []
    with tempfile.TemporaryDirectory(prefix="rlx-bench-") as folder:
        source = Path(folder, "source.txt")
        source.write_text(text)
        for number in range(runs):
            cache = str(Path(folder, f"cache{number}"))
            for times in (cold, second):
                seconds = _run([str(source), cache], cores)
                imports.append(seconds[0])
                times.append(seconds[1])
    return Startup(*map(statistics.median, (imports, cold, second)))


def _run(arguments: list[str], cores: Sequence[int]) -> list[float]:
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        check=True,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return json.loads(run.stdout)
