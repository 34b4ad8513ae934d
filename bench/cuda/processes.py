"""Cases in processes of their own, so that one that fails or hangs leaves the others alone.

A process goes from case to case as long as all is right: what it takes to begin is paid once.
"""

import contextlib
import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["run_each"]

_POLL = 0.05


def run_each(
    command: Sequence[str], names: Sequence[str], patience: float, limit: float
) -> Iterator[dict[str, Any]]:
    """Runs cases, and yields their rows as they come.

    Args:
        command: takes ``--cases=NAMES`` and ``--rows=FILE``, a file that it appends to: a row for
            each thing that it finds, and one with ``begins`` and one with ``ends`` for each case.
        names: of the cases.
        patience: seconds without a row after which a process is ended.
        limit: seconds for everything.
    """
    end = time.monotonic() + limit
    left = list(names)
    while left:
        if time.monotonic() >= end:
            yield from ({"case": name, "failed": "there was no time", "ok": False} for name in left)
            return
        at = left[0]
        with tempfile.TemporaryDirectory() as temporary:
            rows = Path(temporary, "rows")
            rows.touch()
            process = subprocess.Popen([*command, f"--cases={','.join(left)}", f"--rows={rows}"])
            try:
                for row in _follow(process, rows, patience, end):
                    if row.get("begins"):
                        at = row["case"]
                    elif row.get("ends"):
                        left.remove(row["case"])
                    else:
                        yield row
            finally:
                problem = _end(process, patience, end)
        if at in left:
            left.remove(at)
            yield {"case": at, "failed": problem, "ok": False}


def _follow(
    process: "subprocess.Popen[bytes]", rows: Path, patience: float, end: float
) -> Iterator[dict[str, Any]]:
    """Rows of a process, until it ends or its time is over."""
    news, started = time.monotonic(), ""
    with rows.open() as file:
        while True:
            over = process.poll() is not None  # asked first, so that no row is missed
            *lines, started = (started + file.read()).split("\n")
            for line in lines:
                news = time.monotonic()
                yield json.loads(line)
            if over or time.monotonic() > min(news + patience, end):
                return
            time.sleep(_POLL)


def _end(process: "subprocess.Popen[bytes]", patience: float, end: float) -> str:
    """Ends a process that has not ended; what became of it."""
    code = process.poll()
    if code is None:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the GPU's driver may hold it
            process.wait(20)
        over = time.monotonic() >= end
        return "there was no time" if over else f"nothing happened for {patience:.0f} s"
    return (
        f"the process ended early, by {signal.Signals(-code).name}"
        if code < 0
        else (f"the process ended early, with {code}")
    )
